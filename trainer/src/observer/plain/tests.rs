//! Proofs about what a person sees of a run.

use std::io::Write;
use std::sync::{Arc, Mutex};

use expect_test::expect;

use super::*;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn seen(live: bool, colour: bool, columns: usize, events: &[Event]) -> String {
    let out = Shared::default();
    let mut plain = Plain::to(Lines::to(Box::new(out.clone()), live, colour), columns, 1);
    events.iter().for_each(|event| plain.on(event).unwrap());
    let bytes = out.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn step(step: u64, elapsed_secs: f64) -> Event {
    Event::Step {
        step,
        epoch: 0.1,
        loss: 2.0 / step as f64,
        learning_rate: 1e-3,
        gradient_norm: 0.5,
        clipped: false,
        tokens: 2500,
        supervised_tokens: 50,
        tokens_per_second: 812.4,
        host_memory_bytes: Some(1_288_490_188),
        device_memory_bytes: None,
        elapsed_secs,
        waited_secs: None,
    }
}

fn started(total_steps: u64) -> Event {
    Event::RunStarted {
        version: 1,
        name: "legal".into(),
        program: "0.1.0".into(),
        device: "cpu (2 threads)".into(),
        base: "SmolLM2-135M-Instruct".into(),
        data: "legal-provisions".into(),
        total_steps,
        trainable: 4_884_480,
        host_total_bytes: None,
        device_total_bytes: None,
        device_planned_bytes: None,
    }
}

fn run(total: u64) -> Vec<Event> {
    let mut events = vec![started(total), Event::Ledger { lines: vec!["rows      10 read, 10 used".into()] }];
    for number in 1..=total {
        // The first step is slow, and one more; neither is what the rest will take.
        let extra = if number > 1 { 50.0 } else { 0.0 } + if number > total / 2 { 20.0 } else { 0.0 };
        events.push(step(number, extra + 3.0 * number as f64));
    }
    events.push(Event::Valid { step: total, loss: 0.125, tokens: 400 });
    events.push(Event::Checkpoint { step: total, path: "runs/legal/checkpoints/step-000040".into() });
    events.push(Event::Warning { message: "3 of 100 train rows (3.0 %) were left out or cut".into() });
    for done in 0..=8 {
        events.push(Event::EvalProgress { arm: "tuned".into(), done: 29 * done, rows: 232 });
    }
    events.push(Event::EvalFinished { rows: 232, path: "runs/legal/eval".into(), seconds: 71.0 });
    events.push(Event::Finished {
        step: total,
        complete: true,
        train_loss: Some(0.5),
        valid_loss: Some(0.125),
        wall_seconds: 754.0,
        adapter: Some("runs/legal/adapter".into()),
    });
    events
}

#[test]
fn a_pipe_gets_a_line_for_each_tenth_and_the_last() {
    let text = seen(false, false, 0, &run(40));
    assert!(text.is_ascii() && text.lines().all(|line| line.len() <= MAX_COLUMNS));
    expect![[r#"
        run       legal
        base      SmolLM2-135M-Instruct
        data      legal-provisions
        device    cpu (2 threads)
        training  40 steps, 4.9 M trainable weights
        rows      10 read, 10 used
        step 1/40 [------------------------] loss 2.0000  lr 1.0e-3  812 tok/s  2 min left  1.2 GiB
        step 2/40 [#-----------------------] loss 1.4737  lr 1.0e-3  812 tok/s  34 min left  1.2 GiB
        step 4/40 [##----------------------] loss 0.9794  lr 1.0e-3  812 tok/s  2 min left  1.2 GiB
        step 8/40 [####--------------------] loss 0.5756  lr 1.0e-3  812 tok/s  2 min left  1.2 GiB
        step 12/40 [#######-----------------] loss 0.3909  lr 1.0e-3  812 tok/s  84 s left  1.2 GiB
        step 16/40 [#########---------------] loss 0.2840  lr 1.0e-3  812 tok/s  72 s left  1.2 GiB
        step 20/40 [############------------] loss 0.2150  lr 1.0e-3  812 tok/s  60 s left  1.2 GiB
        step 24/40 [##############----------] loss 0.1677  lr 1.0e-3  812 tok/s  48 s left  1.2 GiB
        step 28/40 [################--------] loss 0.1342  lr 1.0e-3  812 tok/s  36 s left  1.2 GiB
        step 32/40 [###################-----] loss 0.1097  lr 1.0e-3  812 tok/s  24 s left  1.2 GiB
        step 36/40 [#####################---] loss 0.0914  lr 1.0e-3  812 tok/s  12 s left  1.2 GiB
        step 40/40 [########################] loss 0.0776  lr 1.0e-3  812 tok/s  0 s left  1.2 GiB
        valid     loss 0.1250 over 400 tokens after step 40
        saved     step 40 in runs/legal/checkpoints/step-000040
        warning: 3 of 100 train rows (3.0 %) were left out or cut
        eval tuned [------------------------] 0/232 rows
        eval tuned [######------------------] 58/232 rows
        eval tuned [############------------] 116/232 rows
        eval tuned [##################------] 174/232 rows
        eval tuned [########################] 232/232 rows
        scored    232 rows in 71 s, see runs/legal/eval
        done      step 40, 13 min, adapter in runs/legal/adapter
    "#]]
    .assert_eq(&text);
}

#[test]
fn a_slow_run_says_something_every_half_minute() {
    let events: Vec<Event> =
        std::iter::once(started(1000)).chain((1..=10).map(|number| step(number, 12.0 * number as f64))).collect();
    let lines = seen(false, false, 0, &events).lines().filter(|line| line.starts_with("step")).count();
    assert_eq!(lines, 4);
}

#[test]
fn a_terminal_line_is_rewritten_and_never_wider_than_the_terminal() {
    for columns in [40, 60, 79, 100, 200] {
        let text = seen(true, false, columns, &run(40));
        let shown: Vec<&str> = text.split("\r\x1b[K").skip(1).collect();
        assert!(shown.len() >= 40);
        for line in shown.iter().flat_map(|part| part.lines().take(1)) {
            assert!(line.chars().count() <= columns.min(MAX_COLUMNS), "{line}");
        }
        assert!(text.contains("tok/s\n") || columns > 40 || text.contains('\n'));
    }
}

#[test]
fn colour_is_only_where_it_was_asked_for() {
    let warning = [Event::Warning { message: "look".into() }];
    assert_eq!(seen(true, true, 79, &warning), "\x1b[33mwarning\x1b[0m: look\n");
    assert_eq!(seen(true, false, 79, &warning), "warning: look\n");
    let hinted = [Event::Warning { message: "slow\nhint: install it".into() }];
    assert_eq!(seen(false, false, 0, &hinted), "warning: slow\nhint: install it\n");
}

#[test]
fn steps_between_lines_are_kept_but_the_last_is_always_shown() {
    let out = Shared::default();
    let mut plain = Plain::to(Lines::to(Box::new(out.clone()), true, false), 79, 4);
    for event in std::iter::once(started(10)).chain((1..=10).map(|number| step(number, number as f64))) {
        plain.on(&event).unwrap();
    }
    let bytes = out.0.lock().unwrap().clone();
    assert_eq!(String::from_utf8(bytes).unwrap().matches("step ").count(), 3);
}

#[test]
fn no_text_of_an_event_steers_the_terminal() {
    let evil = "\u{1b}]0;TITLE\u{7}\u{202e}abc\r";
    let events = [
        Event::RunStarted {
            version: 1,
            name: evil.into(),
            program: evil.into(),
            device: evil.into(),
            base: evil.into(),
            data: evil.into(),
            total_steps: 1,
            trainable: 1,
            host_total_bytes: None,
            device_total_bytes: None,
            device_planned_bytes: None,
        },
        Event::Ledger { lines: vec![evil.into()] },
        Event::Warning { message: format!("{evil}\nhint: {evil}") },
        Event::Checkpoint { step: 1, path: evil.into() },
        Event::EvalProgress { arm: evil.into(), done: 1, rows: 2 },
        Event::EvalFinished { rows: 2, path: evil.into(), seconds: 1.0 },
        Event::Finished {
            step: 1,
            complete: true,
            train_loss: None,
            valid_loss: None,
            wall_seconds: 1.0,
            adapter: Some(evil.into()),
        },
    ];
    for live in [false, true] {
        let text = seen(live, live, 200, &events).replace("\r\x1b[K", "").replace("\x1b[33mwarning\x1b[0m", "");
        assert!(!text.chars().any(|sign| ground::terminal::is_steering(sign) && sign != '\n'), "{text:?}");
        assert!(text.matches("\\u{1b}]0;TITLE\\u{7}\\u{202e}abc\\u{d}").count() >= 9, "{text}");
    }
}
