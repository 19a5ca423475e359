//! Owns running the binary on a terminal of its own: what a person at it would see, byte for byte, and keys that are typed.
//! Knows how systems make terminals; knows nothing of what is right or wrong.
#![expect(unsafe_code, reason = "the standard library makes no terminals")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longer than any command of these tests takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a command wrote to its terminal.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
}

/// Runs a command on a terminal of 60 rows and 200 columns, and types `keys` once `until` is on it.
pub(crate) fn on_a_terminal(mut command: Command, until: &str, keys: &str) -> Seen {
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
    let mut child = command.spawn().unwrap();
    drop((command, theirs));
    let mut writer = ours.try_clone().unwrap();
    let (send, receive) = channel();
    let reader = std::thread::spawn(move || {
        let mut ours = ours;
        let mut part = [0; 4096];
        // Reading fails once nobody has the other end any more.
        while let Ok(length @ 1..) = ours.read(&mut part) {
            if send.send(part[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let (start, mut bytes, mut typed) = (Instant::now(), Vec::new(), keys.is_empty());
    loop {
        match receive.recv_timeout(Duration::from_millis(100)) {
            Ok(part) => bytes.extend(part),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if !typed && String::from_utf8_lossy(&bytes).contains(until) {
            writer.write_all(keys.as_bytes()).unwrap();
            typed = true;
        }
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("not done after {PATIENCE:?}: {}", String::from_utf8_lossy(&bytes).escape_debug());
        }
    }
    reader.join().unwrap();
    Seen { code: child.wait().unwrap().code(), text: String::from_utf8(bytes).unwrap() }
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
