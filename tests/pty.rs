//! Owns running the binary on a terminal of its own: what a person at it would see, byte for byte, and keys that are typed.
//! Knows how systems make terminals; knows nothing of what is right or wrong.
#![expect(unsafe_code, reason = "the standard library makes no terminals")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than any command of these tests takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a command wrote to its terminal.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
    /// Whether the terminal was left in the modes it had before.
    pub(crate) has_its_modes: bool,
}

/// Runs a command on a terminal of 60 rows and 200 columns, and types `keys` once `until` is on it.
pub(crate) fn on_a_terminal(command: Command, until: &str, keys: &str) -> Seen {
    let mut terminal = OnTerminal::start(command);
    if !keys.is_empty() && terminal.shows(until) {
        terminal.ours.write_all(keys.as_bytes()).unwrap();
    }
    terminal.end()
}

/// A command that runs on a terminal of its own.
pub(crate) struct OnTerminal {
    child: Child,
    ours: File,
    reader: JoinHandle<()>,
    is_closing: Arc<AtomicBool>,
    parts: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
    started: Instant,
    modes: [libc::tcflag_t; 4],
}

impl OnTerminal {
    /// Starts a command on a terminal of 60 rows and 200 columns.
    pub(crate) fn start(mut command: Command) -> Self {
        let (ours, theirs) = open();
        let end = || Stdio::from(theirs.try_clone().unwrap());
        command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
        // SAFETY: between fork and exec both calls are allowed, and neither touches memory of the parent.
        unsafe {
            command.pre_exec(|| {
                // A session of its own, whose terminal this one becomes.
                if libc::setsid() == -1 || libc::ioctl(0, libc::TIOCSCTTY as _, 0) == -1 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let modes = modes(&ours);
        let child = command.spawn().unwrap();
        drop((command, theirs));
        let is_closing = Arc::new(AtomicBool::new(false));
        let (send, parts) = channel();
        let (theirs, closes) = (ours.try_clone().unwrap(), Arc::clone(&is_closing));
        let reader = std::thread::spawn(move || read(theirs, &send, &closes));
        OnTerminal { child, ours, reader, is_closing, parts, bytes: Vec::new(), started: Instant::now(), modes }
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a text is on the terminal; false if the command ended before.
    fn shows(&mut self, text: &str) -> bool {
        while !String::from_utf8_lossy(&self.bytes).contains(text) {
            if !self.hears() {
                return false;
            }
        }
        true
    }

    /// Waits for the end of the command.
    pub(crate) fn end(mut self) -> Seen {
        while self.hears() {}
        self.reader.join().unwrap();
        Seen {
            code: self.child.wait().unwrap().code(),
            has_its_modes: modes(&self.ours) == self.modes,
            text: String::from_utf8(self.bytes).unwrap(),
        }
    }

    /// Closes the terminal, as somebody closes a window: the system sends SIGHUP to the command, which may go on.
    pub(crate) fn close(self) -> Child {
        self.is_closing.store(true, Ordering::SeqCst);
        self.reader.join().unwrap();
        drop(self.ours);
        self.child
    }

    /// Takes what the command wrote meanwhile; false once nobody has the other end any more.
    fn hears(&mut self) -> bool {
        match self.parts.recv_timeout(Duration::from_millis(100)) {
            Ok(part) => self.bytes.extend(part),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if self.started.elapsed() > PATIENCE {
            self.child.kill().unwrap();
            panic!("not done after {PATIENCE:?}: {}", String::from_utf8_lossy(&self.bytes).escape_debug());
        }
        true
    }
}

/// Hands on what is written to a terminal, until nobody has the other end any more, or this one is to be closed.
fn read(mut ours: File, send: &Sender<Vec<u8>>, is_closing: &AtomicBool) {
    let mut part = [0; 4096];
    while !is_closing.load(Ordering::SeqCst) {
        let mut ready = libc::pollfd { fd: ours.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry, for the time of the call.
        if unsafe { libc::poll(&raw mut ready, 1, 50) } < 1 {
            continue;
        }
        match ours.read(&mut part) {
            Ok(length @ 1..) if send.send(part[..length].to_vec()).is_ok() => {}
            _ => break,
        }
    }
}

/// The modes of a terminal.
fn modes(terminal: &File) -> [libc::tcflag_t; 4] {
    // SAFETY: a structure of numbers, for which zeros are valid; the pointer is valid for the call.
    let found = unsafe {
        let mut found: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &raw mut found), 0, "{}", std::io::Error::last_os_error());
        found
    };
    [found.c_iflag, found.c_oflag, found.c_cflag, found.c_lflag]
}

/// Both ends of a new terminal, ours first.
fn open() -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let mut size = libc::winsize { ws_row: 60, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: all pointers are valid for the call, and both descriptors are new and owned by nobody else.
    unsafe {
        let made = libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), std::ptr::null_mut(), &raw mut size);
        assert_eq!(made, 0, "no terminal: {}", std::io::Error::last_os_error());
        for end in [ours, theirs] {
            // Neither end is for the programs that other tests start meanwhile.
            assert_ne!(libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC), -1);
        }
        (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    }
}
