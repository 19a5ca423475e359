//! Owns waiting for keys, and noticing that the terminal they come from is gone. Knows a file descriptor; knows no key.

use std::io::{ErrorKind, Result};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// A terminal that keys come from.
///
/// The reader of keys must only be asked after this says that there is something: asked about a terminal that hung up,
/// it reads nothing over and over and never answers.
pub struct Input {
    poll: Poll,
    events: Events,
}

impl Input {
    /// Waits on standard input.
    pub fn stdin() -> Result<Input> {
        Input::of(std::io::stdin().as_raw_fd())
    }

    fn of(terminal: RawFd) -> Result<Input> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&terminal), Token(0), Interest::READABLE)?;
        Ok(Input { poll, events: Events::with_capacity(4) })
    }

    /// Waits for a key, but not for long. An error says that none will ever come.
    pub fn wait(&mut self, most: Duration) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(most)) {
            // A signal, such as that of another size.
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
            Ok(()) if self.events.iter().any(|event| event.is_read_closed() || event.is_error()) => {
                Err(ErrorKind::BrokenPipe.into())
            }
            Ok(()) => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_typed_ends_the_wait_and_a_closed_end_is_told() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut input = Input::of(reader.as_raw_fd()).unwrap();
        input.wait(Duration::from_millis(1)).unwrap();
        writer.write_all(b"q").unwrap();
        input.wait(Duration::from_secs(60)).unwrap();
        drop(writer);
        assert!(input.wait(Duration::from_secs(60)).is_err());
    }
}
