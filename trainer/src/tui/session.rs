//! Owns watching runs from outside: which records are followed, and which runs are opened and compared.
//! Knows run folders; knows no terminal.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use ground::read::Kind;

use super::app::{App, Request, Role};
use super::differing::differing;
use super::follower::Follower;
use super::runs::Runs;
use super::terminal::{Driver, Next};
use super::theme::Theme;

/// How often the list of runs is read again.
const LIST_PAUSE: Duration = Duration::from_secs(2);

/// Runs that are watched.
pub struct Session {
    folder: PathBuf,
    followers: Vec<Follower>,
    runs: Runs,
    listed: Option<Instant>,
}

impl Session {
    /// Watches runs by their folders; without any, the list of all runs in `folder`.
    #[must_use]
    pub fn new(theme: Theme, runs: &[PathBuf], folder: PathBuf) -> (Session, App) {
        let mut session = Session { folder, followers: Vec::new(), runs: Runs::default(), listed: None };
        let mut app = App::new(theme, Role::Watching, 0);
        session.open(runs, &mut app);
        (session, app)
    }

    fn open(&mut self, runs: &[PathBuf], app: &mut App) {
        let entries = std::mem::take(&mut app.entries);
        *app = App::new(app.theme, Role::Watching, runs.len());
        app.entries = entries;
        self.followers = runs.iter().map(|run| Follower::new(&record(run))).collect();
        self.listed = None;
        for (run, watched) in runs.iter().zip(&mut app.runs) {
            watched.name = run.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        }
        if runs.len() > 1 {
            let config = |run: &PathBuf| ground::read::text(&run.join("config.toml"), Kind::Config).unwrap_or_default();
            app.differing = differing(&runs.iter().map(config).collect::<Vec<_>>());
        }
    }

    fn follow(&mut self, app: &mut App) -> bool {
        let mut changed = false;
        let mut waiting = None;
        for (run, follower) in self.followers.iter_mut().enumerate() {
            let found = follower.look();
            if found.restarted {
                let name = app.runs.get(run).map(|run| run.name.clone()).unwrap_or_default();
                app.forget(run);
                app.runs.get_mut(run).into_iter().for_each(|run| run.name.clone_from(&name));
            }
            changed |= found.restarted || !found.events.is_empty();
            found.events.iter().for_each(|event| app.update_run(run, event));
            waiting = waiting.or(found.waiting);
        }
        changed |= app.waiting != waiting;
        app.waiting = waiting;
        changed
    }

    fn list(&mut self, app: &mut App) -> bool {
        if !self.runs.pending() && self.listed.is_some_and(|listed| listed.elapsed() < LIST_PAUSE) {
            return false;
        }
        self.listed = Some(Instant::now());
        let entries = self.runs.list(&self.folder, SystemTime::now());
        if self.runs.left_out() > 0 {
            let (listed, all) = (entries.len(), entries.len() + self.runs.left_out());
            app.notice = Some(format!("the newest {listed} of {all} runs; trainer watch RUN opens another"));
        }
        let changed = entries != app.entries;
        app.entries = entries;
        changed
    }
}

/// The record of a run, given its folder or the record itself.
fn record(run: &Path) -> PathBuf {
    if run.is_file() { run.to_path_buf() } else { run.join("events.jsonl") }
}

impl Driver for Session {
    fn feed(&mut self, app: &mut App) -> bool {
        if self.followers.is_empty() { self.list(app) } else { self.follow(app) }
    }

    fn act(&mut self, request: Request, app: &mut App) -> Next {
        match request {
            Request::Leave | Request::Kill | Request::Stop => Next::Leave,
            Request::Open(runs) => {
                self.open(&runs, app);
                Next::Stay
            }
            Request::List => {
                self.open(&[], app);
                Next::Stay
            }
            // The view refuses these itself where it only looks on.
            Request::Save | Request::TogglePause => Next::Stay,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use crossterm::event::KeyCode;

    use super::*;
    use crate::tui::app::Screen;
    use crate::tui::theme::Colours;

    fn write(folder: &Path, name: &str, lines: &str, config: &str) -> PathBuf {
        let run = folder.join(name);
        fs::create_dir_all(&run).unwrap();
        fs::write(run.join("events.jsonl"), lines).unwrap();
        fs::write(run.join("config.toml"), config).unwrap();
        run
    }

    #[test]
    fn runs_are_listed_marked_compared_and_left_again() {
        let folder = tempfile::tempdir().unwrap();
        let saved = "{\"event\":\"checkpoint\",\"step\":3,\"path\":\"c\"}\n";
        write(folder.path(), "a", saved, "seed = 1");
        write(folder.path(), "b", saved, "seed = 2");
        let theme = Theme { colours: Colours::None, unicode: false };
        let (mut session, mut app) = Session::new(theme, &[], folder.path().to_path_buf());
        assert!(session.feed(&mut app));
        assert_eq!((app.screen, app.entries.len()), (Screen::Runs, 2));
        let press = |session: &mut Session, app: &mut App, key: KeyCode| {
            let request = app.key(key.into());
            request.map(|request| session.act(request, app))
        };
        for key in [KeyCode::Char(' '), KeyCode::Down, KeyCode::Char(' '), KeyCode::Char('c')] {
            press(&mut session, &mut app, key);
        }
        assert!(session.feed(&mut app));
        assert_eq!(app.screen, Screen::Compare);
        assert_eq!(app.differing, [("seed".to_owned(), vec!["1".to_owned(), "2".to_owned()])]);
        assert!(app.runs.iter().all(|run| run.lines.len() == 1));
        press(&mut session, &mut app, KeyCode::Char('r'));
        press(&mut session, &mut app, KeyCode::Enter);
        session.feed(&mut app);
        assert_eq!((app.screen, app.runs.len()), (Screen::Fit, 1));
        assert!(!session.feed(&mut app), "nothing new is no frame");
        assert_eq!(press(&mut session, &mut app, KeyCode::Char('q')), Some(Next::Leave));
    }

    #[test]
    fn a_half_written_line_is_told_and_a_cut_record_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let warning = "{\"event\":\"warning\",\"message\":\"a\"}\n";
        let run = write(folder.path(), "a", &format!("{warning}{warning}{{\"event\""), "");
        let theme = Theme { colours: Colours::None, unicode: false };
        let (mut session, mut app) = Session::new(theme, std::slice::from_ref(&run), folder.path().to_path_buf());
        session.feed(&mut app);
        assert!(app.waiting.as_ref().unwrap().starts_with("waiting for the rest of line 3"), "{:?}", app.waiting);
        assert_eq!(app.runs[0].lines.len(), 2);
        fs::write(run.join("events.jsonl"), warning).unwrap();
        assert!(session.feed(&mut app));
        assert_eq!((app.runs[0].lines.len(), app.waiting.as_deref(), app.runs[0].name.as_str()), (1, None, "a"));
    }
}
