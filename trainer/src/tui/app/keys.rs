//! Owns what each key does to the state of the dashboard, and what it asks of others. Knows no terminal.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{App, Pane, Request, Role, Screen, Zoom};

const STOPPING: &str = "stopping after this step and saving; Ctrl-C once more ends at once";

impl App {
    /// Hears that the run is being stopped, whoever asked; true if that is news. The next Ctrl-C ends it at once.
    pub fn hear_of_stop(&mut self) -> bool {
        let is_news = self.stop_asked < 2;
        if is_news {
            (self.stop_asked, self.notice) = (2, Some(STOPPING.to_owned()));
        }
        is_news
    }

    /// Takes a key; what it asks of others is handed back.
    pub fn key(&mut self, key: KeyEvent) -> Option<Request> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return self.interrupt();
        }
        if self.stop_asked < 2 {
            (self.stop_asked, self.notice) = (0, None);
        }
        if self.typing {
            self.type_filter(key.code);
            return None;
        }
        if self.help {
            self.help = false;
            return None;
        }
        match key.code {
            KeyCode::Char('q') => return Some(Request::Leave),
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('s') => return self.ask(Request::Save, "saving after this step"),
            KeyCode::Char('p') => return self.ask(Request::TogglePause, "pausing after this step, or going on"),
            KeyCode::Char('1') if !self.runs.is_empty() => self.choose(Screen::Fit),
            KeyCode::Char('2') if !self.runs.is_empty() => self.choose(Screen::Eval),
            KeyCode::Char('3') if self.runs.len() > 1 => self.choose(Screen::Compare),
            KeyCode::Char('r') if self.role == Role::Watching => return Some(Request::List),
            KeyCode::Tab => self.next_pane(1),
            KeyCode::BackTab => self.next_pane(-1),
            KeyCode::Enter => return self.enter(),
            KeyCode::Char(' ') => self.mark(),
            KeyCode::Char('c') if self.marked.len() > 1 => return Some(Request::Open(self.marked.clone())),
            KeyCode::Esc => self.escape(),
            code => self.page(code),
        }
        None
    }

    fn interrupt(&mut self) -> Option<Request> {
        if self.role == Role::Watching {
            return Some(Request::Leave);
        }
        self.stop_asked = (self.stop_asked + 1).min(3);
        let (request, notice) = match self.stop_asked {
            1 => (None, "Ctrl-C once more saves and ends the run; q only closes the view"),
            2 => (Some(Request::Stop), STOPPING),
            _ => (Some(Request::Kill), "ending"),
        };
        self.notice = Some(notice.to_owned());
        request
    }

    fn ask(&mut self, request: Request, notice: &str) -> Option<Request> {
        let can = self.role == Role::Running;
        let refused = "only the terminal of `trainer fit` can do that; this one looks on";
        self.notice = Some(if can { notice } else { refused }.to_owned());
        can.then_some(request)
    }

    fn next_pane(&mut self, by: isize) {
        let panes = self.screen.panes();
        let at = panes.iter().position(|pane| *pane == self.focus).unwrap_or(0) as isize;
        self.focus = panes[(at + by).rem_euclid(panes.len() as isize) as usize];
        self.scroll = 0;
    }

    fn enter(&mut self) -> Option<Request> {
        if self.screen == Screen::Runs {
            let chosen = self.shown_entries().get(self.scroll).map(|entry| entry.path.clone());
            return chosen.map(|path| Request::Open(vec![path]));
        }
        self.full = !self.full;
        None
    }

    fn mark(&mut self) {
        if self.screen != Screen::Runs {
            return;
        }
        if let Some(path) = self.shown_entries().get(self.scroll).map(|entry| entry.path.clone()) {
            match self.marked.iter().position(|marked| *marked == path) {
                Some(at) => drop(self.marked.remove(at)),
                None => self.marked.push(path),
            }
        }
    }

    fn escape(&mut self) {
        if self.full {
            self.full = false;
        } else if self.cursor.is_some() {
            self.cursor = None;
        } else if !self.filter.is_empty() {
            self.filter.clear();
        } else {
            (self.zoom, self.scroll) = (Zoom::default(), 0);
        }
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) if self.filter.len() < 100 => self.filter.push(c),
            _ => {}
        }
        self.scroll = 0;
    }

    fn page(&mut self, code: KeyCode) {
        let ten = if self.focus == Pane::Samples || self.focus == Pane::Disagreements { 5 } else { 10 };
        match code {
            KeyCode::Char('l') => self.log_axis = !self.log_axis,
            KeyCode::Char('+' | '=') => self.zoom_by(0.5),
            KeyCode::Char('-') => self.zoom_by(2.0),
            KeyCode::Char('0') => self.zoom = Zoom::default(),
            KeyCode::Left => self.move_cursor(-0.01),
            KeyCode::Right => self.move_cursor(0.01),
            KeyCode::Char('[') => self.move_cursor(-0.1),
            KeyCode::Char(']') => self.move_cursor(0.1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(ten),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(ten),
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        self.scroll = self.scroll.min(self.most_scroll());
    }

    /// The last place that a pane can be paged to.
    fn most_scroll(&self) -> usize {
        let Some(run) = self.run() else { return self.shown_entries().len().saturating_sub(1) };
        let length = match self.focus {
            Pane::List => self.shown_entries().len(),
            Pane::Log => run.lines.len(),
            Pane::Samples => run.samples.len(),
            Pane::Disagreements => run.board.disagreements.len(),
            Pane::Ledger => run.ledger.len(),
            Pane::Keys => self.differing.len(),
            Pane::Arms => run.board.arms.len(),
            _ => 0,
        };
        length.saturating_sub(1)
    }

    /// Zooms around the cursor, or towards the newest steps.
    fn zoom_by(&mut self, factor: f64) {
        let Zoom { share, end } = self.zoom;
        let at = self.cursor.unwrap_or(1.0);
        let fixed = end - share * (1.0 - at);
        let share = (share * factor).clamp(1.0 / 1024.0, 1.0);
        self.zoom = Zoom { share, end: (fixed + share * (1.0 - at)).clamp(share, 1.0) };
    }

    /// Moves the cursor, and what is shown when it is at an edge.
    fn move_cursor(&mut self, by: f64) {
        let at = self.cursor.unwrap_or(1.0) + by;
        let beyond = at - at.clamp(0.0, 1.0);
        self.zoom.end = (self.zoom.end + beyond * self.zoom.share).clamp(self.zoom.share, 1.0);
        self.cursor = Some(at.clamp(0.0, 1.0));
    }
}
