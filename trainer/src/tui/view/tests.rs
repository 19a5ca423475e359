//! Proofs about what is seen: every screen at three sizes, and that nothing a terminal or a run can do breaks it.

mod monkey;

use std::path::{Path, PathBuf};

use crossterm::event::KeyCode;
use expect_test::expect_file;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::event::Event;
use crate::tui::app::Role;
use crate::tui::runs::Entry;
use crate::tui::theme::{Colours, Theme};

fn text(app: &App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(app, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = (0..height).map(|row| (0..width).map(|column| buffer[(column, row)].symbol()).collect::<String>());
    rows.map(|row| row.trim_end().to_owned() + "\n").collect()
}

/// The record of a real run: `trainer fit configs/smoke.toml` with more epochs, its paths shortened.
fn recorded() -> Vec<Event> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recorded/smoke-events.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn app(events: &[Event], unicode: bool) -> App {
    let mut app = App::new(Theme { colours: Colours::None, unicode }, Role::Running, 1);
    events.iter().for_each(|event| app.update(event));
    app
}

/// The run after so many steps.
fn after(steps: u64) -> App {
    let events = recorded();
    let end = events.iter().position(|event| event.step().is_some_and(|step| step > steps)).unwrap();
    app(&events[..end], true)
}

/// Compares a screen at three sizes with those that were kept. `UPDATE_EXPECT=1` rewrites them.
fn check(name: &str, app: &App) {
    for (width, height) in [(80, 24), (120, 40), (220, 60)] {
        let path = format!("{}/../tests/screens/{name}-{width}x{height}.txt", env!("CARGO_MANIFEST_DIR"));
        expect_file![path].assert_eq(&text(app, width, height));
    }
}

#[test]
fn training_at_three_sizes() {
    check("fit", &after(87));
}

#[test]
fn evaluation_at_three_sizes() {
    check("eval", &app(&recorded(), true));
}

#[test]
fn a_comparison_at_three_sizes() {
    let mut app = App::new(Theme { colours: Colours::None, unicode: true }, Role::Watching, 2);
    for (run, event) in recorded()
        .into_iter()
        .enumerate()
        .flat_map(|(at, event)| [(0, event.clone()), (1, event)].into_iter().take(1 + usize::from(at < 80)))
    {
        app.update_run(run, &event);
    }
    app.differing = vec![("train.learning_rate".into(), vec!["0.008".into(), "0.001".into()])];
    check("compare", &app);
}

#[test]
fn a_list_of_runs_at_three_sizes() {
    let mut app = App::new(Theme { colours: Colours::None, unicode: true }, Role::Watching, 0);
    let entry = |name: &str, state: &str, steps: (u64, u64), score: Option<&str>| Entry {
        path: PathBuf::from(name),
        name: name.into(),
        state: state.into(),
        steps: Some(steps),
        valid_loss: Some(0.125),
        score: score.map(str::to_owned),
        age_secs: Some(steps.0),
        lives: false,
    };
    app.entries = vec![
        entry("legal", "training", (12, 148), None),
        entry("legal-r32", "finished", (148, 148), Some("exact match 0.931")),
        entry("licence-notices", "stopped, can be resumed", (300, 900), None),
    ];
    for key in [KeyCode::Down, KeyCode::Char(' ')] {
        app.key(key.into());
    }
    check("runs", &app);
}

#[test]
fn the_help_at_three_sizes() {
    let mut app = after(40);
    app.help = true;
    check("help", &app);
}

#[test]
fn a_pane_over_the_whole_screen_with_a_cursor_on_a_logarithmic_axis() {
    let mut app = after(100);
    for key in [KeyCode::Enter, KeyCode::Char('l'), KeyCode::Char('['), KeyCode::Char('['), KeyCode::Char('[')] {
        app.key(key.into());
    }
    check("loss", &app);
}

#[test]
fn every_pane_can_be_reached_in_the_smallest_terminal_without_unicode() {
    let mut app = app(&recorded(), false);
    for key in ['1', '2'] {
        app.key(KeyCode::Char(key).into());
        for _ in app.screen.panes() {
            let seen = text(&app, 40, 12);
            assert!(!seen.contains(['─', '│', '⣿', '█', '━']), "{seen}");
            assert!(seen.contains("> "), "the pane with the focus is there:\n{seen}");
            app.key(KeyCode::Tab.into());
        }
    }
}

/// What would set the title of a window and turn the direction of writing.
const EVIL: &str = "\u{1b}]0;T\u{7}\u{202e}abc\u{9b}m";

#[track_caller]
fn shows_escapes(app: &App) {
    let mut terminal = Terminal::new(TestBackend::new(160, 40)).unwrap();
    terminal.draw(|frame| draw(app, frame)).unwrap();
    let cells = terminal.backend().buffer().content();
    assert!(!cells.iter().any(|cell| cell.symbol().chars().any(ground::terminal::is_steering)));
    let seen: String = cells.iter().map(|cell| cell.symbol()).collect();
    assert!(seen.contains("\\u{1b}]0;T\\u{7}\\u{202e}abc"), "{seen}");
}

#[test]
fn text_of_a_run_is_shown_as_escapes_on_every_screen() {
    use crate::event::{ArmStanding, Disagreement, Sample};
    let evil = || EVIL.to_owned();
    let mut events = recorded();
    let sample =
        Sample { id: evil(), arm: evil(), target: evil(), output: evil(), prompt: evil(), ..Sample::default() };
    let standing = ArmStanding { arm: evil(), metric: evil(), skipped: Some(evil()), ..ArmStanding::default() };
    let row = Disagreement { id: evil(), target: evil(), candidate_output: evil(), ..Disagreement::default() };
    events.extend([
        Event::Ledger { lines: vec![evil()] },
        Event::Sample(Box::new(sample)),
        Event::EvalArm(Box::new(standing)),
        Event::EvalDisagreement(Box::new(row)),
        Event::EvalVerdict { answer: evil(), reason: evil() },
        Event::Warning { message: evil() },
        Event::Failed { message: evil() },
    ]);
    for screen in ['1', '2'] {
        let mut app = app(&events, true);
        app.runs[0].name = evil();
        app.key(KeyCode::Char(screen).into());
        shows_escapes(&app);
        app.key(KeyCode::Enter.into());
        for _ in app.screen.panes() {
            shows_escapes(&app);
            app.key(KeyCode::Tab.into());
        }
    }
    let mut app = App::new(Theme { colours: Colours::None, unicode: true }, Role::Watching, 2);
    app.runs[0].name = evil();
    app.differing = vec![(evil(), vec![evil(), evil()])];
    shows_escapes(&app);
    let mut app = App::new(Theme { colours: Colours::None, unicode: true }, Role::Watching, 0);
    app.entries = vec![Entry { name: evil(), state: evil(), score: Some(evil()), ..Entry::default() }];
    shows_escapes(&app);
}
