//! Proofs that nothing breaks the view: random events, keys and sizes, and a record of a million steps.

use std::time::Instant;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::{draw, draw_into};
use crate::event::{ArmStanding, Disagreement, Event, Flips, Sample};
use crate::tui::app::{App, Role};
use crate::tui::runs::Entry;
use crate::tui::theme::{Colours, Theme};

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn number(&mut self) -> f64 {
        const ODD: [f64; 8] =
            [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, 1e-300];
        match self.roll(6) {
            0 => ODD[self.roll(8) as usize],
            _ => self.roll(1_000_000) as f64 / 1e5,
        }
    }

    fn count(&mut self) -> u64 {
        if self.roll(30) == 0 { u64::MAX } else { self.roll(2000) }
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.roll(3) > 0).then(|| value(self))
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 11] = [
            "word ",
            "\u{1b}[2J",
            "\u{202e}",
            "\u{9b}2J\u{7}",
            "\r\u{200b}",
            "\n",
            "漢字仮名",
            "e\u{301}",
            "🏴\u{200d}☠\u{fe0f}",
            "\t",
            "averyveryverylongwordwithoutanyspace",
        ];
        (0..self.roll(12)).map(|_| PIECES[self.roll(11) as usize]).collect()
    }

    fn event(&mut self) -> Event {
        match self.roll(20) {
            0 => Event::RunStarted {
                version: 1,
                name: self.text(),
                program: self.text(),
                device: self.text(),
                base: self.text(),
                data: self.text(),
                total_steps: self.count(),
                trainable: self.count(),
                host_total_bytes: self.maybe(Self::count),
                device_total_bytes: self.maybe(Self::count),
                device_planned_bytes: self.maybe(Self::count),
            },
            1 => Event::Ledger { lines: (0..self.roll(9)).map(|_| self.text()).collect() },
            2 => Event::Resumed { step: self.count() },
            3 => Event::Valid { step: self.count(), loss: self.number(), tokens: self.count() },
            4 => Event::Checkpoint { step: self.count(), path: self.text().into() },
            5 => Event::Warning { message: self.text() },
            6 => Event::EvalProgress { arm: self.text(), done: self.count(), rows: self.count() },
            7 => Event::EvalArm(Box::new(ArmStanding {
                arm: self.text(),
                done: self.count(),
                rows: self.count(),
                metric: self.text(),
                score: self.maybe(Self::number),
                low: self.maybe(Self::number),
                high: self.maybe(Self::number),
                p50_secs: self.maybe(Self::number),
                p95_secs: self.maybe(Self::number),
                spent_usd: self.maybe(Self::number),
                budget_usd: self.maybe(Self::number),
                errors: [(self.text(), self.count())].into(),
                skipped: self.maybe(Self::text),
                ..ArmStanding::default()
            })),
            8 => Event::EvalFlips(Flips {
                candidate: self.text(),
                baseline: self.text(),
                both_right: self.count(),
                ..Flips::default()
            }),
            9 => Event::EvalDisagreement(Box::new(Disagreement {
                id: self.text(),
                prompt: self.text(),
                target: self.text(),
                candidate_output: self.text(),
                baseline_output: self.text(),
                candidate_score: self.maybe(Self::number),
                ..Disagreement::default()
            })),
            10 => Event::EvalVerdict { answer: self.text(), reason: self.text() },
            11 => Event::Sample(Box::new(Sample {
                arm: self.text(),
                id: self.text(),
                prompt: self.text(),
                output: self.text(),
                score: self.maybe(Self::number),
                ..Sample::default()
            })),
            12 => Event::Failed { message: self.text() },
            13 => Event::Paused { step: self.count() },
            14 => Event::DeviceSample {
                name: self.text(),
                utilisation: self.maybe(Self::number),
                power_watts: self.maybe(Self::number),
                power_limit_watts: self.maybe(Self::number),
                temperature_celsius: self.maybe(Self::number),
                memory_used_bytes: self.maybe(Self::count),
                memory_total_bytes: self.maybe(Self::count),
            },
            _ => step(self.count(), self.number(), self.number(), self.number()),
        }
    }

    fn key(&mut self) -> KeyEvent {
        const CODES: [KeyCode; 14] = [
            KeyCode::Tab,
            KeyCode::BackTab,
            KeyCode::Enter,
            KeyCode::Esc,
            KeyCode::Left,
            KeyCode::Right,
            KeyCode::Up,
            KeyCode::Down,
            KeyCode::PageUp,
            KeyCode::PageDown,
            KeyCode::Home,
            KeyCode::Backspace,
            KeyCode::Delete,
            KeyCode::F(5),
        ];
        const LETTERS: &[u8] = b"?hqspl+-0123[]jkrc /xyz=";
        match self.roll(3) {
            0 => CODES[self.roll(14) as usize].into(),
            1 if self.roll(10) == 0 => KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL),
            _ => KeyCode::Char(char::from(LETTERS[self.roll(LETTERS.len() as u64) as usize])).into(),
        }
    }
}

fn step(step: u64, loss: f64, gradient_norm: f64, elapsed_secs: f64) -> Event {
    Event::Step {
        step,
        epoch: 0.5,
        loss,
        learning_rate: 1e-3,
        gradient_norm,
        clipped: step.is_multiple_of(3),
        tokens: 4096,
        supervised_tokens: 400,
        tokens_per_second: 9000.0,
        host_memory_bytes: Some(1 << 30),
        device_memory_bytes: Some(60 << 30),
        elapsed_secs,
        waited_secs: Some(0.0),
    }
}

#[test]
fn ten_thousand_random_events_keys_and_sizes_break_nothing() {
    for (num_runs, seed) in [(1, 7), (3, 8), (0, 9)] {
        let mut dice = Dice(seed);
        let theme = Theme { colours: Colours::Many, unicode: seed == 7 };
        let mut app = App::new(theme, Role::Running, num_runs);
        app.entries = (0..30).map(|at| Entry { name: format!("run {at}"), ..Entry::default() }).collect();
        app.differing = vec![("train.seed".into(), vec!["1".into(); 3])];
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        for _ in 0..10_000 {
            match dice.roll(8) {
                0..=4 => app.update_run(dice.roll(3) as usize, &dice.event()),
                5 | 6 => drop(app.key(dice.key())),
                _ => {
                    let (width, height) = (dice.roll(150) as u16 + 1, dice.roll(50) as u16 + 1);
                    terminal.backend_mut().resize(width, height);
                    terminal.draw(|frame| draw(&app, frame)).unwrap();
                }
            }
        }
        // No text of a run reaches the terminal as a command.
        let cells = terminal.backend().buffer().content();
        assert!(cells.iter().all(|cell| !cell.symbol().chars().any(ground::terminal::is_steering)));
    }
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("VmRSS: 0 kB");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
#[allow(clippy::print_stderr)]
fn a_million_events_take_little_memory_and_a_frame_little_time() {
    let before = resident();
    let mut dice = Dice(1);
    let mut app = App::new(Theme { colours: Colours::Many, unicode: true }, Role::Watching, 1);
    let started = Instant::now();
    for at in 1..=1_000_000_u64 {
        let noise = dice.roll(1000) as f64 / 1000.0;
        app.update(&step(at, 3.0 / (1.0 + at as f64 / 1e5) + noise, 1.0 + noise, at as f64 * 0.1));
        if at.is_multiple_of(1000) {
            app.update(&Event::Valid { step: at, loss: 1.0 + noise, tokens: 100 });
        }
    }
    let update = started.elapsed();
    let grown = resident().saturating_sub(before);
    let mut slowest = std::time::Duration::ZERO;
    for (width, height) in [(80, 24), (220, 60), (960, 270)] {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        draw_into(&app, area, &mut buffer);
        let started = Instant::now();
        for _ in 0..5 {
            draw_into(&app, area, &mut buffer);
        }
        slowest = slowest.max(started.elapsed() / 5);
        eprintln!("{width} x {height}: {:.1} ms a frame", started.elapsed().as_secs_f64() * 200.0);
    }
    eprintln!("{:.0} ns an event, {:.1} MiB more", update.as_nanos() as f64 / 1e6, grown as f64 / f64::from(1 << 20));
    assert!(grown < 50 << 20, "{grown} bytes");
    // Unoptimised code and a busy machine are no measure; the figure above is.
    assert!(slowest.as_millis() < if cfg!(debug_assertions) { 400 } else { 16 * 4 }, "{slowest:?}");
}
