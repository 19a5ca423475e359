//! Owns the lines above and below every screen: which run, how it is, how far, and what can be typed.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::pane;
use crate::tui::app::{App, Role, Screen};
use crate::tui::health::Level;
use crate::tui::theme::Ink;
use crate::tui::watched::{State, Watched};
use crate::tui::words::{duration, one_line, or_dash};

/// Rows of the head.
pub(super) fn height(app: &App, area: Rect) -> u16 {
    match app.screen {
        Screen::Fit | Screen::Eval if area.height >= 30 => 3,
        Screen::Fit | Screen::Eval => 2,
        Screen::Compare | Screen::Runs => 1,
    }
}

/// Draws the head.
pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let lines = match (app.screen, app.run()) {
        (Screen::Fit | Screen::Eval, Some(run)) => {
            let about: Vec<String> = run.about.iter().map(|(_, text)| one_line(text)).collect();
            let about = Span::styled(about.join(app.theme.sign(" · ", " | ")), app.theme.dim());
            vec![state(app, run), progress(app, run, area.width), about.into()]
        }
        (Screen::Compare, _) => {
            let words = format!("{} runs side by side", app.runs.len());
            vec![Line::from(vec![Span::styled("trainer watch  ", app.theme.bold()), Span::raw(words)])]
        }
        _ => vec![Line::from(vec![Span::styled("trainer watch  ", app.theme.bold()), Span::raw("runs")])],
    };
    pane::lines(lines, area, buffer);
}

/// The name, what it does, and how it is.
fn state(app: &App, run: &Watched) -> Line<'static> {
    let theme = &app.theme;
    let name = if run.name.is_empty() { "-".to_owned() } else { one_line(&run.name) };
    let ink = match run.state {
        State::Failed(_) => Ink::Vermilion,
        State::Paused | State::Stopped | State::Waiting => Ink::Orange,
        _ => Ink::Teal,
    };
    let mut line = vec![Span::styled(name, theme.bold()), Span::raw("  ")];
    line.push(Span::styled(run.state.word(), theme.ink(ink)));
    if let State::Failed(message) = &run.state {
        line.push(Span::raw(format!(": {}", one_line(message))));
    }
    let findings = run.findings();
    if findings.is_empty() && run.newest.is_some() && !matches!(run.state, State::Failed(_)) {
        line.push(Span::styled(format!("  {} healthy", theme.sign("●", "*")), theme.ink(Ink::Teal)));
    }
    for finding in findings {
        let (ink, sign) = match finding.level {
            Level::Bad => (Ink::Vermilion, theme.sign("▲", "!")),
            Level::Notice => (Ink::Orange, theme.sign("△", "~")),
        };
        line.push(Span::styled(format!("  {sign} {}", finding.words), theme.ink(ink)));
    }
    Line::from(line)
}

/// A bar with steps, or with rows where they are what is being done.
fn progress(app: &App, run: &Watched, width: u16) -> Line<'static> {
    let arms = &run.board.arms;
    let (what, done, total, tail) = if app.screen == Screen::Eval && !arms.is_empty() {
        let sum = |of: fn(&crate::event::ArmStanding) -> u64| {
            arms.iter().fold(0, |sum: u64, arm| sum.saturating_add(of(arm)))
        };
        let spent = run.board.spent_usd().map_or_else(String::new, |spent| format!("  ${spent:.2} spent"));
        ("rows", sum(|arm| arm.done), sum(|arm| arm.rows), spent)
    } else {
        let epoch = run.newest.map_or_else(String::new, |newest| format!("  epoch {:.2}", newest.epoch));
        let left = match run.state {
            State::Training | State::Paused => {
                let secs = or_dash(run.seconds_left(), duration);
                format!("  {secs} left")
            }
            _ => String::new(),
        };
        ("step", run.step, run.total_steps, format!("{epoch}{left}"))
    };
    let share = if total == 0 { 0.0 } else { (done as f64 / total as f64).min(1.0) };
    let head = format!("{what} {done}/{total} ");
    let tail = format!(" {:.0} %{tail}", (100.0 * share).floor());
    let room = usize::from(width).saturating_sub(head.len() + tail.len());
    let bar = app.theme.bar(share, room.min(60));
    Line::from(vec![Span::raw(head), Span::styled(bar, app.theme.ink(Ink::Blue)), Span::raw(tail)])
}

/// Draws the line at the bottom: what is typed, else what is to be told, else what is waited for, else the keys.
pub(super) fn draw_footer(app: &App, area: Rect, buffer: &mut Buffer) {
    let theme = &app.theme;
    let line = if app.typing {
        Line::from(vec![Span::styled("/", theme.bold()), Span::raw(format!("{}_", one_line(&app.filter)))])
    } else if let Some(notice) = &app.notice {
        Line::from(Span::styled(one_line(notice), theme.ink(Ink::Orange)))
    } else if let Some(waiting) = &app.waiting {
        Line::from(Span::styled(one_line(waiting), theme.ink(Ink::Orange)))
    } else {
        keys(app)
    };
    pane::lines(vec![line], area, buffer);
}

fn keys(app: &App) -> Line<'static> {
    let mut keys = vec![("?", "help"), ("q", "leave")];
    match app.screen {
        Screen::Runs => keys.extend([("enter", "open"), ("space", "mark"), ("c", "compare"), ("/", "filter")]),
        screen => {
            keys.extend([("tab", "pane"), ("enter", "full")]);
            match screen {
                Screen::Eval => keys.push(("1", "training")),
                Screen::Fit => keys.push(("2", "evaluation")),
                _ => {}
            }
            if app.role == Role::Running {
                keys.extend([("s", "save"), ("p", "pause")]);
            }
            keys.extend([("l", "log axis"), ("+-", "zoom"), ("/", "filter")]);
        }
    }
    let mut spans = Vec::new();
    if !app.filter.is_empty() {
        spans.push(Span::styled(format!("/{}  ", one_line(&app.filter)), app.theme.ink(Ink::Orange)));
    }
    for (key, what) in keys {
        spans.push(Span::styled(key, app.theme.bold()));
        spans.push(Span::styled(format!(" {what}  "), app.theme.dim()));
    }
    Line::from(spans)
}
