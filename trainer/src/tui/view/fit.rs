//! Owns the screen of training: which pane lies where at which size of terminal.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};

use super::{curves, numbers, rows, texts};
use crate::tui::app::{App, Pane};

/// Draws the screen.
pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let has_samples = app.run().is_some_and(|run| !run.samples.is_empty());
    let panes = if app.full { vec![(app.focus, area)] } else { layout(app.focus, has_samples, area) };
    for (pane, area) in panes {
        draw_pane(app, pane, area, buffer);
    }
}

/// Panes and their places. A pane that has the focus is always among them.
fn layout(focus: Pane, has_samples: bool, area: Rect) -> Vec<(Pane, Rect)> {
    let split = |area: Rect, above: u16, below: u16| -> [Rect; 2] {
        Layout::vertical([Constraint::Fill(above), Constraint::Fill(below)]).areas(area)
    };
    let mut panes = if area.width >= 170 && area.height >= 36 {
        let columns = [Constraint::Fill(5), Constraint::Fill(3), Constraint::Fill(3)];
        let [left, middle, right] = Layout::horizontal(columns).areas(area);
        let [loss, below] = split(left, 3, 2);
        let [norm, rate, speed] = Layout::vertical([Constraint::Fill(1); 3]).areas(middle);
        let [now, rest] = Layout::vertical([Constraint::Length(16), Constraint::Fill(1)]).areas(right);
        let mut panes = vec![
            (Pane::Loss, loss),
            (Pane::Numbers, now),
            (Pane::GradientNorm, norm),
            (Pane::LearningRate, rate),
            (Pane::Throughput, speed),
        ];
        if has_samples || focus == Pane::Samples {
            let [data, log] = split(rest, 2, 3);
            panes.extend([(Pane::Ledger, data), (Pane::Log, log), (Pane::Samples, below)]);
        } else {
            panes.extend([(Pane::Ledger, rest), (Pane::Log, below)]);
        }
        panes
    } else if area.width >= 110 && area.height >= 28 {
        let [left, right] = Layout::horizontal([Constraint::Fill(3), Constraint::Length(46)]).areas(area);
        let [loss, below] = split(left, 3, 2);
        let parts = [Constraint::Length(14), Constraint::Fill(1), Constraint::Fill(1)];
        let [now, norm, log] = Layout::vertical(parts).areas(right);
        let below = (if has_samples { Pane::Samples } else { Pane::Throughput }, below);
        vec![(Pane::Loss, loss), (Pane::Numbers, now), (Pane::GradientNorm, norm), (Pane::Log, log), below]
    } else if area.width >= 70 && area.height >= 14 {
        let [loss, below] = split(area, 3, 2);
        let [now, other] = Layout::horizontal([Constraint::Length(42), Constraint::Fill(1)]).areas(below);
        vec![(Pane::Loss, loss), (Pane::Numbers, now), (Pane::Log, other)]
    } else {
        // Too little room for two: the pane with the focus has all of it.
        vec![(focus, area)]
    };
    if panes.iter().all(|(pane, _)| *pane != focus)
        && let Some(last) = panes.last_mut()
    {
        last.0 = focus;
    }
    panes
}

fn draw_pane(app: &App, pane: Pane, area: Rect, buffer: &mut Buffer) {
    let Some(run) = app.run() else { return };
    match pane {
        Pane::Loss => curves::loss(app, run, area, buffer),
        Pane::Numbers => numbers::draw(app, run, area, buffer),
        Pane::Log => texts::log(app, run, area, buffer),
        Pane::Samples => rows::samples(app, run, area, buffer),
        Pane::Ledger => texts::ledger(app, run, area, buffer),
        _ => curves::single(app, run, pane, area, buffer),
    }
}
