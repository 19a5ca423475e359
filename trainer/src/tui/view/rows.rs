//! Owns the panes that show one row at a time, to page through: held-out rows with outputs, and rows on which two arms
//! disagree side by side.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{pane, texts};
use crate::event::{Disagreement, Sample};
use crate::tui::app::{App, Pane};
use crate::tui::theme::Ink;
use crate::tui::watched::Watched;
use crate::tui::words::{lines, matches, number, one_line};

/// Held-out rows.
pub(super) fn samples(app: &App, run: &Watched, area: Rect, buffer: &mut Buffer) {
    let passes = |sample: &&Sample| {
        let text = format!("{} {} {} {}", sample.id, sample.arm, sample.target, sample.output);
        matches(&app.filter, &text) || matches(&app.filter, &sample.prompt)
    };
    let shown: Vec<&Sample> = run.samples.iter().rev().filter(passes).collect();
    let at = texts::scroll(app, Pane::Samples, shown.len());
    let title = match shown.get(at) {
        Some(sample) => {
            format!("held-out {}/{}: {}, {}", at + 1, shown.len(), one_line(&sample.arm), one_line(&sample.id))
        }
        None => "held-out rows".to_owned(),
    };
    let inner = pane::open(app, Pane::Samples, &title, area, buffer);
    let Some(sample) = shown.get(at) else {
        let why =
            if run.samples.is_empty() { "none yet: they come with the evaluation" } else { "none with these words" };
        return pane::lines(vec![Line::from(Span::styled(why, app.theme.dim()))], inner, buffer);
    };
    let mut text = vec![verdict(app, sample)];
    text.extend(paragraph(app, "target", &sample.target, app.theme.bold()));
    text.extend(paragraph(app, "output", &sample.output, Style::new()));
    text.extend(paragraph(app, "prompt", &sample.prompt, app.theme.dim()));
    pane::wrapped(text, inner, buffer);
}

fn verdict(app: &App, sample: &Sample) -> Line<'static> {
    let (sign, ink) = score_sign(app, sample.score);
    let score = sample.score.map_or_else(|| "not judged".to_owned(), |score| format!("score {}", number(score)));
    let words = if sample.verdict.is_empty() { String::new() } else { format!(", {}", one_line(&sample.verdict)) };
    Line::from(Span::styled(format!("{sign} {score}{words}"), app.theme.ink(ink)))
}

/// The sign and the colour of a score.
fn score_sign(app: &App, score: Option<f64>) -> (&'static str, Ink) {
    match score {
        Some(score) if score >= 1.0 => (app.theme.sign("✓", "+"), Ink::Teal),
        Some(_) => (app.theme.sign("✗", "x"), Ink::Vermilion),
        None => ("?", Ink::Orange),
    }
}

fn paragraph(app: &App, label: &str, text: &str, style: Style) -> Vec<Line<'static>> {
    let mut all: Vec<Line<'static>> = lines(text)
        .enumerate()
        .map(|(at, line)| {
            let label = if at == 0 { label } else { "" };
            Line::from(vec![Span::styled(format!("{label:<8}"), app.theme.dim()), Span::styled(line, style)])
        })
        .collect();
    if all.is_empty() {
        all.push(Line::from(Span::styled(format!("{label:<8}(nothing)"), app.theme.dim())));
    }
    all
}

/// Rows on which two arms disagree.
pub(super) fn disagreements(app: &App, run: &Watched, area: Rect, buffer: &mut Buffer) {
    let passes = |row: &&Disagreement| {
        matches(&app.filter, &format!("{} {} {} {}", row.id, row.target, row.candidate_output, row.baseline_output))
            || matches(&app.filter, &row.prompt)
    };
    let shown: Vec<&Disagreement> = run.board.disagreements.iter().rev().filter(passes).collect();
    let at = texts::scroll(app, Pane::Disagreements, shown.len());
    let title = match shown.get(at) {
        Some(row) => format!("disagreement {}/{}: {}", at + 1, shown.len(), one_line(&row.id)),
        None => "disagreements".to_owned(),
    };
    let inner = pane::open(app, Pane::Disagreements, &title, area, buffer);
    let Some(row) = shown.get(at) else {
        let line = Span::styled("none yet: they come when two arms are done", app.theme.dim());
        return pane::lines(vec![Line::from(line)], inner, buffer);
    };
    let target = paragraph(app, "target", &row.target, app.theme.bold());
    let height = (target.len() as u16).min(inner.height / 3).max(1);
    let half = usize::from(inner.width / 2).max(1);
    let rows = |text: &str| 1 + lines(text).map(|line| 1 + Span::raw(line).width() / half).sum::<usize>();
    let sides = rows(&row.candidate_output).max(rows(&row.baseline_output)).min(usize::from(inner.height / 2));
    let parts = [Constraint::Length(height), Constraint::Length(1 + sides as u16), Constraint::Fill(1)];
    let [above, sides, below] = Layout::vertical(parts).areas(inner);
    pane::wrapped(target, above, buffer);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).spacing(1).areas(sides);
    let side = |arm: &str, output: &str, score: Option<f64>| {
        let (sign, ink) = score_sign(app, score);
        let head = Line::from(Span::styled(format!("{sign} {}", one_line(arm)), app.theme.ink(ink)));
        std::iter::once(head).chain(lines(output).map(Line::from)).collect::<Vec<_>>()
    };
    pane::wrapped(side(&row.candidate, &row.candidate_output, row.candidate_score), left, buffer);
    pane::wrapped(side(&row.baseline, &row.baseline_output, row.baseline_score), right, buffer);
    pane::wrapped(paragraph(app, "prompt", &row.prompt, app.theme.dim()), below, buffer);
}
