//! Owns the pane with the numbers of now: loss, speed, memory, device.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{curves, pane};
use crate::tui::app::{App, Pane};
use crate::tui::theme::Ink;
use crate::tui::watched::Watched;
use crate::tui::words::{bytes, number, one_line, or_dash, percent};

/// Draws the pane.
pub(super) fn draw(app: &App, run: &Watched, area: Rect, buffer: &mut Buffer) {
    let inner = pane::open(app, Pane::Numbers, "now", area, buffer);
    pane::lines(all(app, run, inner.height >= 12), inner, buffer);
}

/// The numbers, what matters most first; with bars where there is room.
fn all(app: &App, run: &Watched, roomy: bool) -> Vec<Line<'static>> {
    let Some(newest) = run.newest else {
        return vec![Line::from(Span::styled("no steps yet", app.theme.dim()))];
    };
    let sums = &run.sums;
    let share = |part: u64, all: u64| percent(part as f64 / all.max(1) as f64);
    let smoothed = or_dash(curves::smoothed_last(&run.loss), number);
    let speed = format!("{} now, {} mean", number(newest.tokens_per_second), or_dash(run.mean_throughput(), number));
    let clipped = share(sums.clipped, sums.steps);
    let mut lines = vec![
        pane::labelled(app, "loss", format!("{} now, {smoothed} smoothed", number(newest.loss))),
        pane::labelled(app, "tokens/s", speed),
        pane::labelled(app, "grad norm", format!("{}, {clipped} clipped", number(newest.gradient_norm))),
        pane::labelled(app, "lr", number(newest.learning_rate)),
    ];
    let [host_total, device_total, planned] = run.memory;
    let memories = [
        ("device", newest.device_memory_bytes, planned, device_total),
        ("host", newest.host_memory_bytes, None, host_total),
    ];
    for (what, held, planned, total) in memories {
        if let Some(held) = held {
            lines.push(pane::labelled(app, what, memory(held, planned, total)));
            lines.extend(gauge(app, held, total).filter(|_| roomy));
        }
    }
    // Rows are packed side by side, so that there is no padding to count.
    lines.push(pane::labelled(app, "tokens", format!("{} learnt, no padding", share(sums.supervised, sums.tokens))));
    if let Some(waited) = run.waited_share() {
        lines.push(pane::labelled(app, "waiting", format!("{} of the time for rows", percent(waited))));
    }
    lines.extend(device(app, run));
    lines
}

/// What the driver says of the device.
fn device(app: &App, run: &Watched) -> Vec<Line<'static>> {
    let Some(device) = &run.device else { return Vec::new() };
    let (watts, limit) = device.power_watts;
    let limit = limit.map_or_else(String::new, |limit| format!(" of {limit:.0}"));
    let watts = or_dash(watts, |watts| format!("{watts:.0}"));
    let degrees = app.theme.sign("°C", "C");
    let heat = or_dash(device.temperature_celsius, |celsius| format!("{celsius:.0} {degrees}"));
    let busy = or_dash(device.utilisation, percent);
    let mut lines = vec![
        pane::labelled(app, "", one_line(&device.name)),
        pane::labelled(app, "", format!("busy {busy}  {watts}{limit} W  {heat}")),
    ];
    if let (Some(used), total) = device.memory_bytes {
        lines.push(pane::labelled(app, "", format!("{} in use by all", memory(used, None, total))));
    }
    lines
}

fn memory(held: u64, planned: Option<u64>, total: Option<u64>) -> String {
    let planned = planned.map_or_else(String::new, |planned| format!(", {} planned", bytes(planned)));
    let total = total.map_or_else(String::new, |total| format!(" of {}", bytes(total)));
    format!("{}{total}{planned}", bytes(held))
}

fn gauge(app: &App, held: u64, total: Option<u64>) -> Option<Line<'static>> {
    let share = held as f64 / total.filter(|total| *total > 0)? as f64;
    let is_near = crate::tui::health::near_limit((held, total?)).is_some();
    let ink = if is_near { Ink::Orange } else { Ink::Blue };
    let bar = Span::styled(app.theme.bar(share, 20), app.theme.ink(ink));
    Some(Line::from(vec![Span::raw(" ".repeat(10)), bar, Span::raw(format!(" {}", percent(share)))]))
}
