//! Proofs about what is known of a run after what was heard.

use super::*;

fn step(step: u64, loss: f64, elapsed_secs: f64) -> Event {
    Event::Step {
        step,
        epoch: 0.1,
        loss,
        learning_rate: 1e-3,
        gradient_norm: 1.0,
        clipped: step.is_multiple_of(2),
        tokens: 100,
        supervised_tokens: 25,
        tokens_per_second: 50.0,
        host_memory_bytes: Some(95),
        device_memory_bytes: None,
        elapsed_secs,
        waited_secs: Some(0.5),
    }
}

#[test]
fn sums_and_the_newest_step_are_kept() {
    let mut run = Watched { total_steps: 100, ..Watched::default() };
    (1..=20).for_each(|at| run.update(&step(at, 1.0, 2.0 * at as f64)));
    assert_eq!((run.sums.clipped, run.sums.tokens, run.sums.supervised), (10, 2000, 500));
    assert_eq!(run.mean_throughput(), Some(50.0));
    assert_eq!(run.waited_share(), Some(0.25));
    assert!(run.seconds_left().is_some_and(|left| (left - 160.0).abs() < 1.0));
    run.memory[0] = Some(100);
    let words: Vec<String> = run.findings().into_iter().map(|finding| finding.words).collect();
    let expected = ["data-starved: the device waits 25 % of the time", "host memory near the limit: 95 %"];
    assert_eq!(words, expected);
}

#[test]
fn a_resumed_run_forgets_what_came_after_its_checkpoint() {
    let mut run = Watched::default();
    (1..=20).for_each(|at| run.update(&step(at, 1.0, at as f64)));
    run.update(&Event::Valid { step: 20, loss: 0.5, tokens: 3 });
    run.update(&Event::Resumed { step: 10 });
    assert_eq!((run.step, run.loss.extent(), run.valid.len()), (10, Some((1.0, 10.0)), 0));
    run.update(&step(11, 3.0, 1.0));
    assert_eq!(run.loss.last(), Some(3.0));
    run.update(&step(8, 2.0, 1.0));
    assert_eq!((run.step, run.loss.extent()), (8, Some((1.0, 8.0))), "a cut that nobody told of");
}

#[test]
fn memory_is_bounded_and_the_best_validation_stays() {
    let mut run = Watched::default();
    for at in 0..20_000_u64 {
        let loss = if at == 17 { 0.1 } else { 1.0 };
        run.update(&Event::Valid { step: at, loss, tokens: 1 });
        run.update(&Event::Sample(Box::default()));
    }
    assert!(run.valid.len() <= MOST_VALID && run.lines.len() <= MOST_LINES && run.samples.len() <= MOST_SAMPLES);
    assert_eq!(run.best_valid(), Some((17, 0.1)));
}

#[test]
fn its_state_follows_what_happens() {
    let mut run = Watched::default();
    let mut seen = vec![run.state.word()];
    for event in [
        step(1, 1.0, 1.0),
        Event::Paused { step: 1 },
        Event::Unpaused { step: 1 },
        Event::EvalProgress { arm: "base".into(), done: 1, rows: 2 },
        Event::Failed { message: "disk full".into() },
    ] {
        run.update(&event);
        seen.push(run.state.word());
    }
    assert_eq!(seen, ["waiting", "training", "paused", "training", "evaluating", "failed"]);
}
