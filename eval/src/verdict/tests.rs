//! Tests of the verdict table, in the order of its lines.
//! Knows nothing about the statistics behind the bounds; those have their own.

use super::*;
use crate::decision::tests::decision;
use crate::decision::{Guardrail, Slices};
use crate::stats::Clusters;

#[test]
fn an_answer_reaches_itself_and_all_that_are_worse_for_the_candidate() {
    use Answer::{Insufficient, KeepFrontier, Replace, ReplaceBetter};
    for (at, answer) in [ReplaceBetter, Replace, Insufficient, KeepFrontier].into_iter().enumerate() {
        let reached: Vec<Answer> = Answer::ALL.into_iter().filter(|bar| answer.reaches(*bar)).collect();
        assert_eq!(reached, Answer::ALL[at..], "{answer:?}");
        assert_eq!(serde_json::to_value(answer).unwrap(), answer.name(), "as files have it");
    }
}

/// Rows under both arms, and which belong together.
pub(crate) struct Made {
    pub(crate) new: Vec<Side>,
    pub(crate) old: Vec<Side>,
    pub(crate) clusters: Clusters,
}

impl Made {
    /// Right-or-wrong rows: `lost` only the baseline gets right, `gained` only the candidate, 5 % neither, the rest both.
    fn flips(n: usize, lost: usize, gained: usize) -> Self {
        let score = |right: bool| Side::scored(f64::from(u8::from(right)));
        let wrong = n / 20;
        let new = (0..n).map(|row| score(row >= lost && row < n - wrong)).collect();
        let old = (0..n).map(|row| score(!(lost..lost + gained).contains(&row) && row < n - wrong)).collect();
        Self { new, old, clusters: Clusters::new(vec![None; n]) }
    }

    pub(crate) fn evidence<'a>(&'a self, candidate: &'a str) -> Evidence<'a> {
        Evidence {
            candidate,
            clusters: &self.clusters,
            new: &self.new,
            old: &self.old,
            replicates: None,
            worst_case: None,
            slices: Vec::new(),
            leaked_rows: Some(0),
            judge: Judge::NotUsed,
            reads: 1,
        }
    }
}

pub(crate) fn confirmatory() -> Standing {
    Standing::Confirmatory { registered_sha256: "e".repeat(64) }
}

fn judge<'a>(made: &'a Made, change: impl FnOnce(&mut Decision, &mut Evidence<'a>)) -> Verdict {
    let mut decision = decision();
    let mut evidence = made.evidence("tuned");
    change(&mut decision, &mut evidence);
    decision.check().unwrap();
    decide(&decision, &confirmatory(), &evidence).unwrap()
}

#[test]
fn each_line_of_the_table_has_its_verdict() {
    let plain = |lost, gained| judge(&Made::flips(1000, lost, gained), |_, _| {}).answer;
    assert_eq!(plain(140, 20), Answer::KeepFrontier);
    assert_eq!(plain(20, 60), Answer::ReplaceBetter);
    assert_eq!(plain(40, 40), Answer::Replace);
    assert_eq!(plain(60, 40), Answer::Insufficient);
}

#[test]
fn a_failed_gate_comes_before_everything_else() {
    let made = Made::flips(1000, 20, 60);
    let found = judge(&made, |_, evidence| evidence.leaked_rows = Some(3));
    assert_eq!(found.answer, Answer::Insufficient);
    assert_eq!(found.reason, "a validity gate fails: 3 evaluation rows are in a training shard");
    let worse = judge(&Made::flips(1000, 140, 20), |_, evidence| evidence.leaked_rows = None);
    assert_eq!(worse.answer, Answer::Insufficient);
}

#[test]
fn a_broken_guardrail_keeps_the_frontier_and_an_open_one_proves_nothing() {
    let mut made = Made::flips(1000, 20, 60);
    let guarded =
        |made: &Made| judge(made, |decision, _| decision.guardrails = vec![Guardrail::RefusalRate { margin: 0.02 }]);
    assert_eq!(guarded(&made).answer, Answer::ReplaceBetter);
    made.new[..20].iter_mut().for_each(|side| side.refused = true);
    let open = guarded(&made);
    assert_eq!(open.answer, Answer::Insufficient);
    assert!(open.reason.starts_with("a guardrail is not proven: refusals +2.0 points"), "{}", open.reason);
    assert_eq!(open.needed, None);
    made.new[..60].iter_mut().for_each(|side| side.refused = true);
    let broken = guarded(&made);
    assert_eq!(broken.answer, Answer::KeepFrontier);
    assert!(broken.reason.starts_with("a guardrail is broken: refusals +6.0 points"), "{}", broken.reason);
    let unmeasured = judge(&made, |decision, _| decision.guardrails = vec![Guardrail::SchemaValidity { margin: 0.02 }]);
    assert_eq!(unmeasured.answer, Answer::Insufficient);
}

#[test]
fn items_needed_follow_the_power_formula_and_a_loss_of_the_margin_is_hopeless() {
    let near = judge(&Made::flips(1000, 60, 40), |_, _| {});
    let error = (near.estimate.unwrap() - near.low.unwrap()) / 1.644_853_626_951_472_2;
    let total = (2.486_474_860_524_863_f64 * error / 0.01).powi(2) * 1000.0;
    assert_eq!(near.needed, Some(total.ceil() as u64 - 1000));
    assert!(near.reason.contains("more rows like these are needed"), "{}", near.reason);
    let hopeless = judge(&Made::flips(200, 16, 10), |_, _| {});
    assert_eq!((hopeless.answer, hopeless.needed, hopeless.more_data_can_help), (Answer::Insufficient, None, false));
    assert!(hopeless.reason.contains("more data will not turn this into REPLACE"));
}

#[test]
fn unreadable_judgements_must_not_carry_the_claim() {
    let mut made = Made::flips(1000, 42, 30);
    let judged = |made: &Made| judge(made, |_, evidence| evidence.judge = Judge::Audited);
    assert_eq!((judged(&made).answer, judged(&made).worst_case_low), (Answer::Replace, None));
    made.new[500..515].iter_mut().for_each(|side| side.score = Score::JudgeUnreadable);
    made.old[500..515].iter_mut().for_each(|side| side.score = Score::JudgeUnreadable);
    let found = judged(&made);
    assert_eq!((found.answer, found.missing), (Answer::Insufficient, 15));
    assert!(found.worst_case_low.unwrap() < -0.03 && found.low.unwrap() > -0.03);
    assert!(found.reason.contains("unreadable judgement"), "{}", found.reason);
}

#[test]
fn no_flips_in_few_groups_are_not_certainty_and_say_how_many_rows_are_missing() {
    let mut made = Made::flips(232, 0, 0);
    let names: Vec<String> = (0..232).map(|row| format!("owner {}", row % 36)).collect();
    made.clusters = Clusters::new(names.iter().map(|name| Some(name.as_str())));
    let found = judge(&made, |decision, _| decision.test = Test::ClusteredT);
    assert_eq!((found.answer, found.clusters, found.estimate), (Answer::Insufficient, 36, Some(0.0)));
    assert!(found.low.unwrap() < -0.06 && found.needed.unwrap() > 232, "{}", found.sentence());
    let mut many = Made::flips(600, 0, 0);
    let names: Vec<String> = (0..600).map(|row| format!("owner {}", row % 200)).collect();
    many.clusters = Clusters::new(names.iter().map(|name| Some(name.as_str())));
    assert_eq!(judge(&many, |decision, _| decision.test = Test::ClusteredT).answer, Answer::Replace);
}

#[test]
fn rows_that_all_differ_alike_promise_no_power() {
    let found = judge(&Made::flips(12, 12, 0), |_, _| {});
    assert_eq!((found.estimate, found.detectable, found.power_if_equal), (Some(-1.0), None, None));
}

#[test]
fn slices_are_corrected_together_and_have_their_own_gates() {
    let made = Made::flips(2000, 40, 40);
    let slice = |name: &str, rows: std::ops::Range<usize>| SliceRows {
        name: name.to_owned(),
        rows: rows.collect(),
        replicates: None,
    };
    let found = judge(&made, |decision, evidence| {
        decision.slices =
            Slices { names: vec!["easy".to_owned(), "flips".to_owned(), "few".to_owned()], ..Slices::default() };
        evidence.slices = vec![slice("easy", 200..1500), slice("flips", 0..60), slice("few", 1500..1510)];
    });
    let answers: Vec<_> = found.slices.iter().map(|slice| slice.answer).collect();
    assert_eq!(answers, [Answer::Replace, Answer::KeepFrontier, Answer::Insufficient]);
    assert!((found.slices[0].p_holm - 3.0 * found.slices[0].p).abs() < 1e-12);
    assert_eq!((found.slices[2].p, found.slices[2].p_holm), (1.0, 1.0));
    assert!(found.slices[2].reason.contains("10 independent groups"), "{}", found.slices[2].reason);
}

#[test]
fn several_candidates_share_the_error_rate() {
    let (good, near) = (Made::flips(1000, 30, 40), Made::flips(1000, 45, 42));
    let mut decision = decision();
    decision.candidates = vec!["good".to_owned(), "near".to_owned()];
    let both = |first: &Made, second: &Made| {
        let evidence = [first.evidence("good"), second.evidence("near")];
        decide_candidates(&decision, &confirmatory(), &evidence).unwrap()
    };
    let found = both(&good, &near);
    // The better one is proven at α/2, which leaves the whole α for the other.
    assert_eq!((found[0].alpha, found[1].alpha), (0.025, 0.05));
    assert!(found[0].replaces() && found[1].replaces());
    let bad = Made::flips(1000, 100, 10);
    let found = both(&bad, &near);
    assert_eq!((found[0].alpha, found[1].alpha), (0.05, 0.025));
    assert_eq!(found[0].answer, Answer::KeepFrontier);
    assert!(decide(&decision, &confirmatory(), &good.evidence("good")).is_err());
}

#[test]
fn evidence_that_does_not_fit_the_decision_is_refused() {
    let made = Made::flips(100, 2, 2);
    let mut decision = decision();
    let refused = |decision: &Decision, evidence: &Evidence<'_>| {
        decide(decision, &confirmatory(), evidence).unwrap_err().to_string()
    };
    assert!(refused(&decision, &made.evidence("other")).contains("registered candidate"));
    decision.n_max = 99;
    assert!(refused(&decision, &made.evidence("tuned")).contains("n_max"));
    decision.n_max = 100;
    decision.slices.names = vec!["long".to_owned()];
    assert!(refused(&decision, &made.evidence("tuned")).contains("registered slices"));
    decision.slices.names.clear();
    decision.test = Test::ClusterBootstrap;
    assert!(refused(&decision, &made.evidence("tuned")).contains("needs replicates"));
    decision.test = Test::Tango;
    let mut graded = Made::flips(100, 2, 2);
    graded.new[50].score = Score::Given(0.5);
    assert!(refused(&decision, &graded.evidence("tuned")).contains("hint: register clustered_t"));
}

#[test]
fn a_metric_that_is_not_a_mean_is_judged_by_its_replicates() {
    let made = Made::flips(400, 10, 12);
    let sorted: Vec<f64> = (0..10_000).map(|i| -0.02 + 0.000_005 * f64::from(i)).collect();
    let replicates = Replicates { value: 0.005, baseline: 0.8, sorted: &sorted };
    let found = judge(&made, |decision, evidence| {
        decision.test = Test::ClusterBootstrap;
        evidence.replicates = Some(replicates);
    });
    assert_eq!((found.answer, found.flips), (Answer::Replace, None));
    let flat = vec![0.0; 10_000];
    let found = judge(&made, |decision, evidence| {
        decision.test = Test::ClusterBootstrap;
        evidence.replicates = Some(Replicates { value: 0.0, baseline: 0.8, sorted: &flat });
    });
    assert_eq!(found.answer, Answer::Insufficient);
}

#[test]
fn no_pair_at_all_is_insufficient_and_carries_no_number() {
    let mut made = Made::flips(100, 0, 0);
    made.new.iter_mut().for_each(|side| side.score = Score::Outage);
    let found = judge(&made, |_, _| {});
    assert_eq!((found.answer, found.estimate, found.low, found.n), (Answer::Insufficient, None, None, 0));
    assert!(found.sentence().starts_with("INSUFFICIENT: nothing is proven"), "{}", found.sentence());
}

#[test]
fn a_verdict_survives_writing_and_reading_and_unknown_keys_are_refused() {
    let found = judge(&Made::flips(1000, 40, 40), |_, _| {});
    let text = serde_json::to_string(&found).unwrap();
    assert!(text.contains("\"answer\":\"REPLACE\""), "{text}");
    assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap().answer, found.answer);
    assert!(serde_json::from_str::<Verdict>(&text.replacen('{', "{\"more\":1,", 1)).is_err());
}

#[test]
fn sentences_can_be_read_alone() {
    let check = |verdict: &Verdict, expect: &str| assert_eq!(verdict.sentence(), expect);
    let mut found = judge(&Made::flips(1000, 40, 44), |_, _| {});
    check(
        &found,
        "REPLACE: tuned is not worse than tfidf by more than 3.0 points on 1000 independent prompts \
         (difference +0.4, 95 % one-sided bound −1.1)",
    );
    (found.n, found.clusters, found.alpha, found.reads) = (232, 36, 0.025, 3);
    let changed = vec!["margin".to_owned()];
    found.standing = Standing::Exploratory { registered_sha256: Some("e".repeat(64)), changed };
    check(
        &found,
        "REPLACE: tuned is not worse than tfidf by more than 3.0 points on 232 prompts of 36 owners \
         (difference +0.4, 97.5 % one-sided bound −1.1); these rows were read 3 times; \
         exploratory: margin changed after the first output",
    );
    check(
        &judge(&Made::flips(1000, 140, 20), |_, _| {}),
        "KEEP_FRONTIER: tfidf stays, the candidate is worse by more than the margin on 1000 independent prompts \
         (difference −12.0, 95 % one-sided bound −10.1)",
    );
    let better = judge(&Made::flips(1000, 20, 60), |_, _| {});
    check(
        &better,
        "REPLACE_BETTER: tuned is better than tfidf on 1000 independent prompts (difference +4.0, 95 % one-sided bound +2.6)",
    );
    check(
        &judge(&Made::flips(400, 20, 16), |_, _| {}),
        "INSUFFICIENT: nothing is proven about tuned against tfidf on 400 independent prompts \
         (difference −1.0, 95 % one-sided bound −3.6): about 1103 more rows like these are needed; \
         judge them as fresh sealed rows, reading the same rows again is no test",
    );
}
