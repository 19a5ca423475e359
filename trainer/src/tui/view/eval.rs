//! Owns the screen of an evaluation: a row for each arm, flips and verdict, and rows to read.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::{pane, rows, texts};
use crate::event::ArmStanding;
use crate::tui::app::{App, Pane};
use crate::tui::theme::Ink;
use crate::tui::watched::Watched;
use crate::tui::words::{duration, one_line, or_dash, seconds};

/// Draws the screen.
pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(run) = app.run() else { return };
    for (pane, area) in layout(app.focus, app.full, run.board.arms.len(), area) {
        match pane {
            Pane::Arms => arms(app, run, area, buffer),
            Pane::Verdict => verdict(app, run, area, buffer),
            Pane::Disagreements => rows::disagreements(app, run, area, buffer),
            _ => rows::samples(app, run, area, buffer),
        }
    }
}

fn layout(focus: Pane, full: bool, num_arms: usize, area: Rect) -> Vec<(Pane, Rect)> {
    if full || area.height < 12 || area.width < 60 {
        return vec![(focus, area)];
    }
    let table = (num_arms as u16).saturating_add(3).clamp(5, area.height / 2);
    let [above, below] = Layout::vertical([Constraint::Length(table), Constraint::Fill(1)]).areas(area);
    if area.width >= 110 && area.height >= 26 {
        let [left, right] = Layout::horizontal([Constraint::Fill(2), Constraint::Fill(3)]).areas(below);
        let [verdict, samples] = Layout::vertical([Constraint::Fill(5), Constraint::Fill(3)]).areas(left);
        return vec![
            (Pane::Arms, above),
            (Pane::Verdict, verdict),
            (Pane::Samples, samples),
            (Pane::Disagreements, right),
        ];
    }
    let other = if focus == Pane::Samples { Pane::Samples } else { Pane::Disagreements };
    let [left, right] = Layout::horizontal([Constraint::Fill(2), Constraint::Fill(3)]).areas(below);
    vec![(Pane::Arms, above), (Pane::Verdict, left), (other, right)]
}

fn arms(app: &App, run: &Watched, area: Rect, buffer: &mut Buffer) {
    let arms: Vec<&ArmStanding> = run.board.arms.iter().collect();
    let metric = arms.iter().map(|arm| arm.metric.as_str()).find(|metric| !metric.is_empty()).unwrap_or("score");
    let inner = pane::open(app, Pane::Arms, &format!("arms, {}", one_line(metric)), area, buffer);
    if arms.is_empty() {
        let line = Span::styled("no arm was asked yet", app.theme.dim());
        return pane::lines(vec![Line::from(line)], inner, buffer);
    }
    // A bar for the interval, where there is room for one.
    let room = usize::from(inner.width).saturating_sub(96).min(60);
    let cells = |arm: &&ArmStanding| cells(app, arm, room);
    let rows: Vec<Vec<Span<'static>>> = arms.iter().map(cells).collect();
    let mut head = vec!["arm", "rows", "score", "95 % interval"];
    if room >= 12 {
        head.push("0 to 100 %");
    }
    head.extend(["p50", "p95", "spent", "open", "errors"]);
    let mut lines = pane::table(app, &head, &rows);
    let from = texts::scroll(app, Pane::Arms, arms.len());
    lines.drain(1..=from.min(lines.len() - 1)).for_each(drop);
    pane::lines(lines, inner, buffer);
}

fn cells(app: &App, arm: &ArmStanding, room: usize) -> Vec<Span<'static>> {
    let theme = &app.theme;
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let interval = arm.low.zip(arm.high).map(|(low, high)| format!("[{:.1}, {:.1}]", 100.0 * low, 100.0 * high));
    let spent = match (arm.spent_usd, arm.budget_usd) {
        (Some(spent), Some(budget)) => format!("${spent:.2} of ${budget:.2}"),
        (Some(spent), None) => format!("${spent:.2}"),
        _ => "-".to_owned(),
    };
    let errors: Vec<String> = arm.errors.iter().map(|(class, count)| format!("{count} {}", one_line(class))).collect();
    let errors = match &arm.skipped {
        Some(reason) => Span::styled(format!("not measured: {}", one_line(reason)), theme.ink(Ink::Orange)),
        None if errors.is_empty() => Span::raw("-"),
        None => Span::styled(errors.join(", "), theme.ink(Ink::Orange)),
    };
    let sign = if arm.finished { theme.sign("✓ ", "+ ") } else { theme.sign("… ", ". ") };
    let mut cells = vec![
        Span::styled(format!("{sign}{}", one_line(&arm.arm)), theme.bold()),
        Span::raw(format!("{}/{}", arm.done, arm.rows)),
        Span::styled(or_dash(arm.score, percent), theme.bold()),
        Span::raw(or_dash(interval, |text| text)),
    ];
    if room >= 12 {
        cells.push(Span::styled(whisker(app, arm, room), theme.ink(Ink::Blue)));
    }
    cells.extend([
        Span::raw(or_dash(arm.p50_secs, seconds)),
        Span::raw(or_dash(arm.p95_secs, seconds)),
        Span::raw(spent),
        Span::raw(arm.in_flight.to_string()),
        errors,
    ]);
    cells
}

/// The interval and the score on a line from nothing to all.
fn whisker(app: &App, arm: &ArmStanding, room: usize) -> String {
    let at = |share: f64| ((share.clamp(0.0, 1.0) * room as f64) as usize).min(room - 1);
    let mut signs = vec![app.theme.sign("·", "."); room];
    if let (Some(low), Some(high)) = (arm.low, arm.high) {
        let (low, high) = (at(low.min(high)), at(high.max(low)));
        signs[low..=high].fill(app.theme.sign("━", "-"));
    }
    if let Some(score) = arm.score {
        signs[at(score)] = app.theme.sign("●", "o");
    }
    signs.concat()
}

fn verdict(app: &App, run: &Watched, area: Rect, buffer: &mut Buffer) {
    let inner = pane::open(app, Pane::Verdict, "verdict and flips", area, buffer);
    let board = &run.board;
    let mut lines = Vec::new();
    match &board.verdict {
        Some((answer, reason)) => {
            let ink = match answer.as_str() {
                "REPLACE" | "REPLACE_BETTER" => Ink::Teal,
                "KEEP_FRONTIER" => Ink::Vermilion,
                _ => Ink::Orange,
            };
            let style = app.theme.ink(ink).add_modifier(ratatui::style::Modifier::BOLD);
            lines.push(Line::from(Span::styled(one_line(answer), style)));
            lines.push(Line::from(one_line(reason)));
        }
        None => lines.push(Line::from(Span::styled("the verdict falls when all arms are done", app.theme.dim()))),
    }
    if let Some((rows, secs)) = board.finished {
        lines.push(Line::from(Span::styled(format!("{rows} rows in {}", duration(secs)), app.theme.dim())));
    }
    for flips in &board.flips {
        lines.push(Line::default());
        let (candidate, baseline) = (one_line(&flips.candidate), one_line(&flips.baseline));
        let head = [format!("{candidate} \\ {baseline}"), "right".to_owned(), "wrong".to_owned()];
        let row = |name: &str, right: u64, wrong: u64| {
            vec![Span::raw(name.to_owned()), Span::raw(right.to_string()), Span::raw(wrong.to_string())]
        };
        let table = [row("right", flips.both_right, flips.gains), row("wrong", flips.regressions, flips.both_wrong)];
        lines.extend(pane::table(app, &head.each_ref().map(String::as_str), &table));
    }
    pane::wrapped(lines, inner, buffer);
}
