//! Owns the parts that are known of a run: what it does, what happened, its newest step, its device. Plain values.

/// What a run is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// Nothing was heard yet.
    #[default]
    Waiting,
    /// It trains.
    Training,
    /// It waits for a person.
    Paused,
    /// It is being evaluated.
    Evaluating,
    /// All is done.
    Finished,
    /// It ended early and can go on.
    Stopped,
    /// It broke off.
    Failed(String),
}

impl State {
    /// In a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Training => "training",
            State::Paused => "paused",
            State::Evaluating => "evaluating",
            State::Finished => "finished",
            State::Stopped => "stopped",
            State::Failed(_) => "failed",
        }
    }
}

/// A line of what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Steps done at the time.
    pub step: u64,
    /// Whether it is a warning or worse.
    pub is_warning: bool,
    /// What happened.
    pub text: String,
}

/// The newest step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Newest {
    /// Passes over the rows.
    pub epoch: f64,
    /// Loss.
    pub loss: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Gradient norm before clipping.
    pub gradient_norm: f64,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// Memory of the process.
    pub host_memory_bytes: Option<u64>,
    /// Memory of the device.
    pub device_memory_bytes: Option<u64>,
}

/// What a driver says of the device.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Device {
    /// The name.
    pub name: String,
    /// Share of time in which it computes.
    pub utilisation: Option<f64>,
    /// Power, and the most there may be.
    pub power_watts: (Option<f64>, Option<f64>),
    /// Temperature.
    pub temperature_celsius: Option<f64>,
    /// Memory in use by all, and in all.
    pub memory_bytes: (Option<u64>, Option<u64>),
}

/// Sums over all steps that were heard.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Steps.
    pub steps: u64,
    /// Steps whose gradient was clipped.
    pub clipped: u64,
    /// Tokens.
    pub tokens: u64,
    /// Tokens that were learnt.
    pub supervised: u64,
    /// Seconds of training, by the clocks of all processes.
    pub seconds: f64,
    /// Seconds without rows.
    pub waited: f64,
}
