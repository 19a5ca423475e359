//! Owns what becomes of a failure that the framework tells in words: which kind it is, and what a user does about it.
//! Text in, value out; catches nothing.

/// What failed on a GPU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.words())]
pub struct DeviceFailure {
    /// The device, such as `vulkan:0`; empty where it is not known yet.
    pub device: String,
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What framework or driver say.
    pub reason: String,
}

/// Kinds of failure, by what a user does about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The driver gave the device up.
    Lost,
    /// Memory was refused.
    OutOfMemory,
    /// A kernel cannot be run on this device.
    Kernel,
    /// Anything else.
    Other,
}

/// Longest reason that is told.
const LONGEST: usize = 400;

impl DeviceFailure {
    /// From the words of framework or driver, which may hold causes and backtraces.
    #[must_use]
    pub fn told(text: &str) -> Self {
        DeviceFailure { device: String::new(), kind: kind(text), reason: innermost(text) }
    }

    /// The same with the name of the device, where it has none.
    #[must_use]
    pub(crate) fn on(mut self, device: &str) -> Self {
        if self.device.is_empty() {
            device.clone_into(&mut self.device);
        }
        self
    }

    fn words(&self) -> String {
        let device = if self.device.is_empty() { "the device" } else { &self.device };
        let reason = &self.reason;
        match self.kind {
            FailureKind::Lost => format!(
                "{device} was lost: {reason}\nhint: what was saved is intact, and --resume goes on with it; if it comes \
                 again, a smaller train.micro_batch_tokens makes each piece of work shorter, and the log of the system \
                 says what the driver saw"
            ),
            FailureKind::OutOfMemory => format!("{device} has too little memory: {reason}"),
            FailureKind::Kernel => format!(
                "{device} cannot run a kernel: {reason}\nhint: update its driver, or take another device, such as \
                 --device cpu; trainer doctor lists what each can do"
            ),
            FailureKind::Other => format!(
                "{device} failed: {reason}\nhint: what was saved is intact; --device cpu does without the driver; if it \
                 comes again, tell us this whole message and what trainer doctor says"
            ),
        }
    }
}

/// Words that tell the kind; the first row that has one counts.
const SIGNS: [(FailureKind, &[&str]); 3] = [
    (
        FailureKind::Lost,
        &[
            "poisoned",
            "device lost",
            "devicelost",
            "was lost",
            "device is lost",
            "error_device_lost",
            "could not be mapped",
        ],
    ),
    (
        FailureKind::OutOfMemory,
        &[
            "out of memory",
            "out-of-memory",
            "out of device memory",
            "outofmemory",
            "can't allocate",
            "no room for",
            "too big",
        ],
    ),
    (
        FailureKind::Kernel,
        &[
            "compilation",
            "the device refused the",
            "too many resources",
            "unsupported",
            "not supported",
            "expanding the kernel",
        ],
    ),
];

fn kind(text: &str) -> FailureKind {
    let text = text.to_lowercase();
    let of_sign = SIGNS.iter().find(|(_, signs)| signs.iter().any(|sign| text.contains(sign)));
    of_sign.map_or(FailureKind::Other, |(kind, _)| *kind)
}

/// The last cause of a chain, in one line and without backtraces.
fn innermost(text: &str) -> String {
    let told = text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_backtrace(line));
    let mut cause: Vec<&str> = Vec::new();
    for line in told {
        match line {
            "Caused by:" => cause.clear(),
            line => cause.push(line),
        }
    }
    let mut reason = cause.join(": ").replace("::", ":");
    if reason.chars().count() > LONGEST {
        reason = reason.chars().take(LONGEST).chain(['…']).collect();
    }
    if reason.is_empty() { "no reason was given".to_owned() } else { reason }
}

fn is_backtrace(line: &str) -> bool {
    let frame = line
        .split_once(": ")
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    let heads = ["Backtrace", "BACKTRACE", "Asked at:", "No backtrace available", "at /", "at ./", "stack backtrace"];
    frame || heads.iter().any(|head| line.starts_with(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_cause_is_told_without_backtraces() {
        let text = "Error while reading data: An error happened during execution\nCaused by:\n  The bytes were never \
                    written (failure #3, still claiming 2 buffer(s))\n  matmul\nCaused by:\n  An IO error happened\nCaused \
                    by:\n  out of device memory allocating 99 bytes\n   0: cubecl::alloc\n             at /x/y.rs:3:1\nAsked \
                    at:\nNo backtrace available";
        let failure = DeviceFailure::told(text);
        assert_eq!(failure.kind, FailureKind::OutOfMemory);
        assert_eq!(failure.reason, "out of device memory allocating 99 bytes");
        assert_eq!(
            failure.on("vulkan:0").to_string(),
            "vulkan:0 has too little memory: out of device memory allocating 99 bytes"
        );
    }

    #[test]
    fn each_kind_is_found_by_its_words_and_says_what_to_do() {
        for (text, kind, hint) in [
            ("The device is poisoned\nCaused by:\n  Unknown: Parent device is lost", FailureKind::Lost, "--resume"),
            (
                "A launch error happened\nCaused by:\n  An error caused the compilation to fail",
                FailureKind::Kernel,
                "driver",
            ),
            ("the device refused the pipeline of kernel `x`: Validation Error", FailureKind::Kernel, "--device cpu"),
            ("Too many resources were requested during launch\n48 KiB", FailureKind::Kernel, "--device cpu"),
            ("attempt to divide by zero", FailureKind::Other, "trainer doctor"),
        ] {
            let failure = DeviceFailure::told(text);
            assert_eq!(failure.kind, kind, "{text}");
            let words = failure.to_string();
            let (what, advice) = words.split_once("\nhint: ").unwrap_or((&words, ""));
            assert!(what.starts_with("the device ") && advice.contains(hint), "{words}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_and_an_absent_one_is_said() {
        assert_eq!(DeviceFailure::told(&"x".repeat(5000)).reason.chars().count(), LONGEST + 1);
        assert_eq!(DeviceFailure::told("  \nCaused by:\n").reason, "no reason was given");
    }
}
