//! Owns asking the driver of a GPU how it does: utilisation, power, temperature and memory, once a second on a thread of
//! its own, through NVML where there is one. Knows no run; what it finds becomes an event every few seconds.

use std::ffi::OsStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;

use crate::event::Event;

/// Seconds between two questions.
const PAUSE: Duration = Duration::from_secs(1);
/// Questions that become one event.
const PER_EVENT: u32 = 5;
/// Where a machine has the driver but no development files, the library has this name only.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// One answer of the driver.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Answer {
    utilisation: Option<f64>,
    power_watts: Option<f64>,
    power_limit_watts: Option<f64>,
    temperature_celsius: Option<f64>,
    memory: Option<(u64, u64)>,
}

/// Answers since the last event.
#[derive(Debug, Clone, Default)]
struct Gathered {
    name: String,
    answers: Vec<Answer>,
}

/// Asks until it is dropped.
pub struct DeviceSampler {
    gathered: Arc<Mutex<Gathered>>,
    _until: Sender<()>,
}

impl DeviceSampler {
    /// Begins to ask about the GPU that this process computes on. `device` is how the program describes it. Where there
    /// is no NVML, or it is not sure which GPU that is, nobody asks and there are no events.
    #[must_use]
    pub fn start(device: &str) -> DeviceSampler {
        let gathered = Arc::<Mutex<Gathered>>::default();
        let (until, over) = channel();
        let (theirs, device) = (Arc::clone(&gathered), device.to_owned());
        let named = std::thread::Builder::new().name("device-sampler".to_owned());
        // Without the thread there are no numbers, and a run needs none.
        let _ = named.spawn(move || ask_until(&over, &device, &theirs));
        DeviceSampler { gathered, _until: until }
    }

    /// What the last seconds came to, if there are enough of them.
    #[must_use]
    pub fn take(&self) -> Option<Event> {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.answers.len() < PER_EVENT as usize {
            return None;
        }
        let answers = std::mem::take(&mut gathered.answers);
        Some(summed_up(&gathered.name, &answers))
    }
}

fn ask_until(over: &Receiver<()>, device: &str, gathered: &Mutex<Gathered>) {
    let Ok(nvml) = Nvml::builder().lib_path(OsStr::new(LIBRARY)).init() else { return };
    let mut known: Option<u32> = None;
    while over.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        known = known.or_else(|| which(&nvml, device));
        let Some(index) = known else { continue };
        let Ok(gpu) = nvml.device_by_index(index) else { continue };
        let answer = Answer {
            utilisation: gpu.utilization_rates().ok().map(|rates| f64::from(rates.gpu) / 100.0),
            power_watts: gpu.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1000.0),
            power_limit_watts: gpu.enforced_power_limit().ok().map(|milliwatts| f64::from(milliwatts) / 1000.0),
            temperature_celsius: gpu.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
            memory: gpu.memory_info().ok().map(|memory| (memory.used, memory.total)),
        };
        let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.name.is_empty() {
            gathered.name = gpu.name().unwrap_or_default();
        }
        if gathered.answers.len() == 10 * PER_EVENT as usize {
            // Nobody takes them, as in a long pause: the newest are worth most.
            gathered.answers.remove(0);
        }
        gathered.answers.push(answer);
    }
}

/// The GPU of this process: the only one, the one that has this process on it, or the only one of its name.
fn which(nvml: &Nvml, device: &str) -> Option<u32> {
    let all: Vec<u32> = (0..nvml.device_count().ok()?).collect();
    if let [only] = all[..] {
        return Some(only);
    }
    let is_ours = |index: &u32| {
        let processes = nvml.device_by_index(*index).and_then(|gpu| gpu.running_compute_processes());
        processes.is_ok_and(|processes| processes.iter().any(|process| process.pid == std::process::id()))
    };
    // Inside a container the driver may name processes by numbers of the machine, so that none is ours.
    let is_named = |index: &u32| {
        let name = nvml.device_by_index(*index).and_then(|gpu| gpu.name());
        name.is_ok_and(|name| !name.is_empty() && device.contains(&name))
    };
    let only = |found: Vec<u32>| if let [only] = found[..] { Some(only) } else { None };
    let ours = all.iter().copied().filter(is_ours).collect();
    only(ours).or_else(|| only(all.iter().copied().filter(is_named).collect()))
}

/// Means of what varies, and the highest of what must not be missed.
fn summed_up(name: &str, answers: &[Answer]) -> Event {
    let known = |of: fn(&Answer) -> Option<f64>| answers.iter().filter_map(of).collect::<Vec<f64>>();
    let mean = |of: fn(&Answer) -> Option<f64>| {
        let values = known(of);
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let memory = answers.iter().filter_map(|answer| answer.memory).max();
    Event::DeviceSample {
        name: name.to_owned(),
        utilisation: mean(|answer| answer.utilisation),
        power_watts: mean(|answer| answer.power_watts),
        power_limit_watts: mean(|answer| answer.power_limit_watts),
        temperature_celsius: known(|answer| answer.temperature_celsius).into_iter().reduce(f64::max),
        memory_used_bytes: memory.map(|(used, _)| used),
        memory_total_bytes: memory.map(|(_, total)| total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_summed_up_by_means_and_by_what_was_highest() {
        let answer = |share: f64, celsius: f64, used: u64| Answer {
            utilisation: Some(share),
            temperature_celsius: Some(celsius),
            memory: Some((used, 80)),
            ..Answer::default()
        };
        let event = summed_up("GPU", &[answer(0.5, 60.0, 7), answer(1.0, 71.0, 9), Answer::default()]);
        let expected = Event::DeviceSample {
            name: "GPU".into(),
            utilisation: Some(0.75),
            power_watts: None,
            power_limit_watts: None,
            temperature_celsius: Some(71.0),
            memory_used_bytes: Some(9),
            memory_total_bytes: Some(80),
        };
        assert_eq!(event, expected);
    }

    #[test]
    fn without_answers_there_is_no_event() {
        assert_eq!(DeviceSampler::start("cpu").take(), None);
    }
}
