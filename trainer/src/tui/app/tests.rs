//! Proofs about keys: what each asks for, and where it leads.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::tui::theme::Colours;

fn app(role: Role) -> App {
    App::new(Theme { colours: Colours::None, unicode: true }, role, 1)
}

fn press(app: &mut App, keys: &str) -> Vec<Request> {
    keys.chars().filter_map(|key| app.key(KeyCode::Char(key).into())).collect()
}

fn interrupt(app: &mut App) -> Option<Request> {
    app.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL))
}

#[test]
fn ctrl_c_twice_stops_a_run_and_once_only_says_so() {
    let mut running = app(Role::Running);
    assert_eq!(interrupt(&mut running), None);
    assert!(running.notice.as_ref().unwrap().contains("once more saves"));
    press(&mut running, "l");
    assert_eq!(interrupt(&mut running), None, "another key in between begins again");
    assert_eq!(interrupt(&mut running), Some(Request::Stop));
    press(&mut running, "l");
    assert_eq!(interrupt(&mut running), Some(Request::Kill), "it is being stopped already");
    assert_eq!(interrupt(&mut app(Role::Watching)), Some(Request::Leave));
}

#[test]
fn after_a_signal_that_stops_the_run_ctrl_c_ends_it_at_once() {
    let mut running = app(Role::Running);
    assert!(running.hear_of_stop() && !running.hear_of_stop(), "it is news once");
    assert!(running.notice.as_ref().unwrap().contains("Ctrl-C once more ends at once"));
    press(&mut running, "l");
    assert_eq!(interrupt(&mut running), Some(Request::Kill));
}

#[test]
fn only_the_terminal_of_the_run_can_change_it() {
    assert_eq!(press(&mut app(Role::Running), "spq"), [Request::Save, Request::TogglePause, Request::Leave]);
    let mut watching = app(Role::Watching);
    assert_eq!(press(&mut watching, "sp"), []);
    assert!(watching.notice.unwrap().contains("looks on"));
}

#[test]
fn tab_goes_through_all_panes_and_back() {
    let mut app = app(Role::Watching);
    let mut seen = vec![app.focus];
    for _ in 1..Screen::Fit.panes().len() {
        app.key(KeyCode::Tab.into());
        seen.push(app.focus);
    }
    assert_eq!(seen, Screen::Fit.panes());
    app.key(KeyCode::Tab.into());
    assert_eq!(app.focus, Pane::Loss);
    app.key(KeyCode::BackTab.into());
    assert_eq!(app.focus, Pane::Ledger);
}

#[test]
fn zoom_keeps_the_cursor_where_it_is() {
    let mut app = app(Role::Watching);
    app.runs[0].step = 1001;
    app.cursor = Some(0.5);
    assert_eq!(app.cursor_step(), Some(501.0));
    press(&mut app, "++");
    assert_eq!(app.cursor_step(), Some(501.0));
    assert_eq!(app.span(), (376.0, 626.0));
    press(&mut app, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
    assert_eq!(app.span().1, 1001.0, "the cursor takes what is shown along");
    press(&mut app, "0");
    assert_eq!(app.span(), (1.0, 1001.0));
}

#[test]
fn a_filter_is_typed_and_taken_back() {
    let mut app = app(Role::Watching);
    press(&mut app, "/warq");
    app.key(KeyCode::Backspace.into());
    assert_eq!((app.filter.as_str(), app.typing), ("war", true));
    app.key(KeyCode::Enter.into());
    assert!(!app.typing);
    app.key(KeyCode::Esc.into());
    assert_eq!(app.filter, "");
}

#[test]
fn the_screen_follows_the_run_until_a_person_chooses() {
    let eval = Event::EvalProgress { arm: "base".into(), done: 1, rows: 2 };
    let mut follows = app(Role::Watching);
    follows.update(&eval);
    assert_eq!((follows.screen, follows.focus), (Screen::Eval, Pane::Arms));
    let mut chosen = app(Role::Watching);
    press(&mut chosen, "1");
    chosen.update(&eval);
    assert_eq!(chosen.screen, Screen::Fit);
}
