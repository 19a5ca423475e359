//! Owns reading the record of a run while it is being written: whole lines only, from where the last read ended, and
//! from the start when the record was cut or replaced. Knows `events.jsonl`; knows nothing of what events mean.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::event::Event;

/// Bytes read at most in one go, so that a long record does not keep the view from its keys.
const MOST_BYTES: u64 = 8 << 20;
/// A line that is longer is no event. What is kept of a run is some hundreds of lines, so this bounds it all.
const LONGEST_LINE: usize = 1 << 20;
/// Bytes before the place of the last read that must still be the same.
const TAIL_BYTES: usize = 64;

/// What one look at the record found.
#[derive(Debug, Default)]
pub struct Found {
    /// New events in order.
    pub events: Vec<Event>,
    /// The record was cut or replaced: everything known of it is void, and `events` begin at its start.
    pub restarted: bool,
    /// Whether more lies ready.
    pub more: bool,
    /// What is waited for, and what to do if it does not come; none when all whole lines are read.
    pub waiting: Option<String>,
}

/// A reader that stays behind a writer.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    offset: u64,
    lines: u64,
    tail: Vec<u8>,
    rest: Vec<u8>,
    /// Whether the line that is being read is too long: nothing of it is kept.
    too_long: bool,
    broken: Option<String>,
}

impl Follower {
    /// Follows a file, which need not be there yet.
    #[must_use]
    pub fn new(path: &Path) -> Follower {
        Follower {
            path: path.to_path_buf(),
            offset: 0,
            lines: 0,
            tail: Vec::new(),
            rest: Vec::new(),
            too_long: false,
            broken: None,
        }
    }

    /// Reads what is new. Nothing here is an error that ends the view: what is missing may still come.
    pub fn look(&mut self) -> Found {
        let mut found = Found::default();
        match self.read(&mut found) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                found.restarted = self.offset > 0;
                self.begin();
                found.waiting = Some(format!("waiting for {} to be written", self.path.display()));
            }
            Err(error) => found.waiting = Some(format!("cannot read {}: {error}", self.path.display())),
        }
        found
    }

    fn begin(&mut self) {
        *self = Follower::new(&self.path);
    }

    fn read(&mut self, found: &mut Found) -> std::io::Result<()> {
        let mut file = ground::read::open(&self.path)?;
        let length = file.metadata()?.len();
        if length < self.offset || !self.is_same(&mut file)? {
            self.begin();
            found.restarted = true;
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let bytes = ground::read::at_most(file.take(MOST_BYTES), MOST_BYTES)?;
        self.offset += bytes.len() as u64;
        found.more = self.offset < length;
        let kept = self.tail.len() + bytes.len();
        self.tail.extend(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL_BYTES.min(kept)));
        self.rest.extend(bytes);
        self.take_lines(found);
        found.waiting = self.waiting();
        Ok(())
    }

    /// Whether the bytes before the place of the last read are those that were read: a resumed run cuts its record and
    /// may have grown beyond that place since.
    fn is_same(&self, file: &mut File) -> std::io::Result<bool> {
        let mut now = vec![0; self.tail.len()];
        file.seek(SeekFrom::Start(self.offset - self.tail.len() as u64))?;
        file.read_exact(&mut now)?;
        Ok(now == self.tail)
    }

    fn take_lines(&mut self, found: &mut Found) {
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let open = self.rest.split_off(end);
        let whole = std::mem::replace(&mut self.rest, open);
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            self.lines += 1;
            let is_too_long = std::mem::take(&mut self.too_long) || line.len() > LONGEST_LINE;
            let read = match is_too_long {
                true => Err("it is too long".to_owned()),
                false => serde_json::from_slice(line).map_err(|error| error.to_string()),
            };
            match read {
                Ok(event) => found.events.push(event),
                Err(error) => {
                    // One broken line is told and passed over; the lines behind it still say how the run does.
                    self.broken.get_or_insert_with(|| {
                        format!(
                            "{}:{} is not an event of this version ({error}); hint: watch it with the program that wrote it",
                            self.path.display(),
                            self.lines
                        )
                    });
                }
            }
        }
        if self.rest.len() > LONGEST_LINE {
            self.too_long = true;
            self.rest = Vec::new();
        }
    }

    fn waiting(&self) -> Option<String> {
        if self.too_long {
            return Some(format!("{}:{} never ends", self.path.display(), self.lines + 1));
        }
        if !self.rest.is_empty() {
            return Some(format!(
                "waiting for the rest of line {} ({} bytes are there); a killed run goes on with --resume",
                self.lines + 1,
                self.rest.len()
            ));
        }
        if self.offset == 0 {
            return Some(format!("waiting for the first line of {}", self.path.display()));
        }
        self.broken.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    struct Scene {
        _folder: tempfile::TempDir,
        path: PathBuf,
        follower: Follower,
    }

    impl Scene {
        fn new() -> Scene {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("events.jsonl");
            Scene { follower: Follower::new(&path), path, _folder: folder }
        }

        fn append(&self, text: &str) {
            let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        /// The messages of the warnings that are new, and what is waited for.
        fn look(&mut self) -> (Vec<String>, bool, String) {
            let found = self.follower.look();
            let messages = found.events.into_iter().map(|event| match event {
                Event::Warning { message } => message,
                other => format!("{other:?}"),
            });
            (messages.collect(), found.restarted, found.waiting.unwrap_or_default())
        }
    }

    fn line(message: &str) -> String {
        format!("{{\"event\":\"warning\",\"message\":\"{message}\"}}\n")
    }

    #[test]
    fn a_file_that_is_not_there_yet_is_waited_for() {
        let mut scene = Scene::new();
        let (events, restarted, waiting) = scene.look();
        assert!(events.is_empty() && !restarted && waiting.ends_with("events.jsonl to be written"), "{waiting}");
        scene.append("");
        assert!(scene.look().2.starts_with("waiting for the first line"));
        scene.append(&line("a"));
        assert_eq!(scene.look(), (vec!["a".to_owned()], false, String::new()));
        assert_eq!(scene.look().0, Vec::<String>::new());
    }

    #[test]
    fn a_half_written_line_is_waited_for_and_the_wait_is_told() {
        let mut scene = Scene::new();
        let text = line("b");
        scene.append(&(line("a") + &text[..10]));
        let (events, _, waiting) = scene.look();
        assert_eq!(events, ["a"]);
        assert!(waiting.starts_with("waiting for the rest of line 2 (10 bytes are there); "), "{waiting}");
        scene.append(&text[10..]);
        assert_eq!(scene.look(), (vec!["b".to_owned()], false, String::new()));
    }

    #[test]
    fn a_record_that_was_cut_is_read_again_even_if_it_has_grown_since() {
        let mut scene = Scene::new();
        scene.append(&(line("a") + &line("b") + &line("c")));
        assert_eq!(scene.look().0, ["a", "b", "c"]);
        fs::write(&scene.path, line("a")).unwrap();
        assert_eq!(scene.look(), (vec!["a".to_owned()], true, String::new()));
        fs::write(&scene.path, line("a") + &line("B") + &line("C") + &line("D")).unwrap();
        assert_eq!(scene.look().0, ["B", "C", "D"], "the start is the same, so only the rest is new");
        fs::write(&scene.path, line("x") + &line("y") + &line("z") + &line("d") + &line("e")).unwrap();
        assert_eq!(scene.look(), (["x", "y", "z", "d", "e"].map(str::to_owned).to_vec(), true, String::new()));
        fs::remove_file(&scene.path).unwrap();
        assert!(scene.look().1);
    }

    #[test]
    fn a_broken_line_is_told_and_passed_over() {
        let mut scene = Scene::new();
        scene.append(&(line("a") + "{\"event\":\"coffee\"}\n" + &line("b")));
        let (events, _, waiting) = scene.look();
        assert_eq!(events, ["a", "b"]);
        assert!(waiting.contains("events.jsonl:2 is not an event of this version"), "{waiting}");
        assert!(scene.look().2.contains(":2 is not an event"), "it stays told");
    }

    #[test]
    fn a_line_without_end_takes_no_memory_and_what_follows_it_is_read() {
        let mut scene = Scene::new();
        let piece = vec![b'x'; 3 << 20];
        scene.append(&line("a"));
        for _ in 0..8 {
            fs::OpenOptions::new().append(true).open(&scene.path).unwrap().write_all(&piece).unwrap();
            let (_, _, waiting) = scene.look();
            assert!(waiting.contains(":2 never ends"), "{waiting}");
            assert!(scene.follower.rest.len() <= LONGEST_LINE);
        }
        scene.append(&format!("\n{}", line("b")));
        let (events, _, waiting) = scene.look();
        assert_eq!(events, ["b"]);
        assert!(waiting.contains(":2 is not an event") && waiting.contains("too long"), "{waiting}");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_that_nobody_writes_to_is_told_and_not_waited_for() {
        let mut scene = Scene::new();
        assert!(std::process::Command::new("mkfifo").arg(&scene.path).status().unwrap().success());
        assert!(scene.look().2.contains("is a pipe, not a file"));
        fs::remove_file(&scene.path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &scene.path).unwrap();
        assert!(scene.look().2.contains("is a device, not a file"));
    }

    #[test]
    fn changed_records_are_followed_without_a_panic_and_within_bounds() {
        let recorded = include_bytes!("../../../tests/recorded/smoke-events.jsonl");
        let lines: Vec<&[u8]> = recorded.split_inclusive(|byte| *byte == b'\n').collect();
        // Some lines of each kind; the rest repeats them.
        let some: Vec<u8> = lines.iter().step_by(lines.len().div_ceil(40)).flat_map(|line| line.to_vec()).collect();
        let scene = Scene::new();
        crate::fuzz::run(60, &(crate::fuzz::spoilt(some.clone()), crate::fuzz::spoilt(some)), |(first, second)| {
            let mut follower = Follower::new(&scene.path);
            let mut app = crate::tui::app::App::new(
                crate::tui::theme::Theme { colours: crate::tui::theme::Colours::None, unicode: false },
                crate::tui::app::Role::Watching,
                1,
            );
            for bytes in [&first, &second] {
                fs::write(&scene.path, bytes).unwrap();
                let found = follower.look();
                found.events.iter().for_each(|event| app.update_run(0, event));
                proptest::prop_assert!(follower.rest.len() <= LONGEST_LINE);
                let area = ratatui::layout::Rect::new(0, 0, 100, 30);
                let _ = app.runs[0].findings();
                let mut buffer = ratatui::buffer::Buffer::empty(area);
                crate::tui::view::draw_into(&app, area, &mut buffer);
            }
            Ok(())
        });
    }
}
