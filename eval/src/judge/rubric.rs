//! Grades single answers by criteria, each passed or failed or on a scale from 1 to k, as one score from 0 to 1.
//! Knows nothing about other arms; a row that could not be graded has no score.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::prompt::{JudgePrompt, Material};
use super::reply::scores;
use super::spread::{Spread, mean, mean_with};
use super::{JudgeOptions, Missing, ask, check_repeats, count};
use crate::scorer::{Answer, readable};
use crate::{Completion, Error, LanguageModel};

/// One thing that is graded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// Its name: letters, digits, hyphens and underscores.
    pub name: String,
    /// What the judge asks itself.
    pub question: String,
    /// The best grade of a scale from 1; none means pass or fail.
    #[serde(default)]
    pub points: Option<u32>,
    /// How much it counts beside the others.
    #[serde(default = "one")]
    pub weight: f64,
}

/// One answer to one row.
#[derive(Clone, Debug)]
pub struct Graded<'a> {
    /// What was asked.
    pub material: Material<'a>,
    /// The answer.
    pub answer: &'a Completion,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RubricJudgement {
    /// The row.
    pub id: String,
    /// The weighted score of each repeat; none where the reply could not be read or there was no answer to grade.
    pub repeats: Vec<Option<f64>>,
    /// The mean score of each criterion over the repeats that could be read; none when there is none, or no question was asked.
    pub criteria: Option<Vec<f64>>,
    /// Whether the judge was asked; a refusal or a cut answer scores 0 without it.
    pub asked: bool,
}

/// All rows of one arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RubricResult {
    /// The version of the prompt.
    pub prompt_version: String,
    /// The rows, in the order given.
    pub judgements: Vec<RubricJudgement>,
    /// Why replies gave no score.
    pub missing: Missing,
    /// How repeats differ.
    pub spread: Spread,
}

impl Criterion {
    /// A criterion that is passed or failed.
    pub fn pass_or_fail(name: impl Into<String>, question: impl Into<String>) -> Self {
        Self { name: name.into(), question: question.into(), points: None, weight: 1.0 }
    }

    /// A criterion on a scale from 1 to `points`.
    pub fn points(name: impl Into<String>, question: impl Into<String>, points: u32) -> Self {
        Self { points: Some(points), ..Self::pass_or_fail(name, question) }
    }

    /// The score from 0 to 1 of what a judge wrote; none when it is not on the scale.
    pub(super) fn score(&self, value: &Value) -> Option<f64> {
        match self.points {
            Some(best) => {
                let grade = value.as_u64().filter(|grade| (1..=u64::from(best)).contains(grade))?;
                Some((grade - 1) as f64 / f64::from(best - 1))
            }
            None => match value.as_str()? {
                "pass" => Some(1.0),
                "fail" => Some(0.0),
                _ => None,
            },
        }
    }
}

impl RubricJudgement {
    /// The mean over the repeats that could be read; none when there is none.
    pub fn score(&self) -> Option<f64> {
        mean(&self.repeats)
    }

    /// The score with 0 for every missing repeat: what the candidate has in the worst case.
    pub fn worst_case_candidate(&self) -> f64 {
        mean_with(&self.repeats, 0.0)
    }

    /// The score with 1 for every missing repeat: what the baseline has in the worst case.
    pub fn worst_case_baseline(&self) -> f64 {
        mean_with(&self.repeats, 1.0)
    }
}

/// Asks `model` to grade every answer, `options.repeats` times.
///
/// A refusal and an answer that is cut, filtered, late or empty score 0 without a question; where there is no answer at all,
/// the row is missing.
///
/// # Errors
/// When there are fewer than two repeats, the prompt is not one of a rubric, a template fails, or the model fails as a whole.
pub fn judge_rubric(
    model: &mut dyn LanguageModel,
    prompt: &JudgePrompt,
    rows: &[Graded<'_>],
    options: &JudgeOptions,
) -> Result<RubricResult, Error> {
    check_repeats(options)?;
    check(prompt.criteria())?;
    let texts: Vec<Result<String, Option<f64>>> =
        rows.iter().map(|row| readable(Answer::Written(row.answer)).map_err(|scored| scored.score)).collect();
    let mut judgements: Vec<RubricJudgement> =
        rows.iter().zip(&texts).map(|(row, text)| fresh(row, text, options.repeats)).collect();
    let mut sums = vec![(vec![0.0; prompt.criteria().len()], 0usize); rows.len()];
    let mut missing = Missing::new();
    for repeat in 0..options.repeats {
        let mut prompts = Vec::new();
        for (row, text) in rows.iter().zip(&texts) {
            if let Ok(text) = text {
                prompts.push(prompt.messages(&row.material, &[text], repeat)?);
            }
        }
        let replies = ask(model, &prompts, options, repeat)?;
        let asked = judgements.iter_mut().zip(&mut sums).filter(|(judgement, _)| judgement.asked);
        for ((judgement, (sum, num)), reply) in asked.zip(&replies) {
            let Some(scores) = count(scores(reply, prompt.form(), prompt.criteria()), &mut missing) else { continue };
            judgement.repeats[repeat] = Some(weighted(&scores, prompt.criteria()));
            sum.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score);
            *num += 1;
        }
    }
    for (judgement, (sum, num)) in judgements.iter_mut().zip(sums) {
        judgement.criteria = (num > 0).then(|| sum.iter().map(|sum| sum / num as f64).collect());
    }
    let asked = judgements.iter().filter(|judgement| judgement.asked);
    let spread = Spread::of(&asked.map(|judgement| judgement.repeats.clone()).collect::<Vec<_>>());
    Ok(RubricResult { prompt_version: prompt.version().to_owned(), judgements, missing, spread })
}

/// Checks that every criterion can be asked for, read back and scored.
pub(super) fn check(criteria: &[Criterion]) -> Result<(), Error> {
    let bad = |name: &str, problem| Error::BadCriterion { name: name.to_owned(), problem };
    if criteria.is_empty() {
        return Err(bad("", "a rubric needs at least one criterion"));
    }
    for (at, criterion) in criteria.iter().enumerate() {
        let name = criterion.name.as_str();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            return Err(bad(name, "a name is letters, digits, hyphens and underscores"));
        }
        if criteria[..at].iter().any(|other| other.name == name) {
            return Err(bad(name, "two criteria have this name"));
        }
        if criterion.question.trim().is_empty() {
            return Err(bad(name, "it asks nothing"));
        }
        if criterion.points.is_some_and(|points| !(2..=100).contains(&points)) {
            return Err(bad(name, "points must be 2 to 100; leave them out for pass or fail"));
        }
        if !(criterion.weight.is_finite() && criterion.weight > 0.0) {
            return Err(bad(name, "its weight must be above 0"));
        }
    }
    Ok(())
}

fn fresh(row: &Graded<'_>, text: &Result<String, Option<f64>>, repeats: usize) -> RubricJudgement {
    let known = text.as_ref().err().copied().flatten();
    RubricJudgement {
        id: row.material.id.to_owned(),
        repeats: vec![known; repeats],
        criteria: None,
        asked: text.is_ok(),
    }
}

fn weighted(scores: &[f64], criteria: &[Criterion]) -> f64 {
    let total: f64 = criteria.iter().map(|criterion| criterion.weight).sum();
    scores.iter().zip(criteria).map(|(score, criterion)| score * criterion.weight).sum::<f64>() / total
}

fn one() -> f64 {
    1.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::judge::Form;
    use crate::provider::scripted::{Scripted, says};
    use crate::{Finish, Message, Role};

    fn graded(answers: &[Completion], form: Form, mut reply: impl FnMut(usize) -> String + 'static) -> RubricResult {
        let criteria = vec![
            Criterion { weight: 3.0, ..Criterion::points("right", "is it right?", 5) },
            Criterion::pass_or_fail("polite", "is it?"),
        ];
        let prompt = JudgePrompt::rubric(None, form, criteria).unwrap();
        let mut calls = 0;
        let mut model = Scripted::new("judge", move |prompt, _| {
            assert!(prompt[0].content.contains("right") && prompt[0].content.contains("polite"));
            calls += 1;
            says(prompt, &reply(calls - 1))
        });
        let task = [Message::new(Role::User, "sum up")];
        let rows: Vec<Graded<'_>> = answers
            .iter()
            .map(|answer| Graded { material: Material { id: "r", task: &task, reference: Some("a sum") }, answer })
            .collect();
        judge_rubric(&mut model, &prompt, &rows, &JudgeOptions::default()).unwrap()
    }

    #[test]
    fn criteria_are_weighted_and_repeats_keep_their_spread() {
        let result = graded(&[says(&[], "x")], Form::LastLine, |call| {
            format!("fine\nSCORES: right={}; polite=pass", if call == 0 { 5 } else { 3 })
        });
        let judgement = &result.judgements[0];
        assert_eq!(judgement.repeats, [Some(1.0), Some(0.625)]);
        assert_eq!(judgement.criteria, Some(vec![0.75, 1.0]));
        assert_eq!((result.spread.differing, result.spread.highest_mean), (1, Some(1.0)));
    }

    #[test]
    fn what_cannot_be_read_is_missing_and_never_a_pass() {
        let result = graded(&[says(&[], "x")], Form::Json, |call| match call {
            0 => r#"{"scores": {"right": 5, "polite": "pass"}}"#.to_owned(),
            _ => r#"{"scores": {"right": 5}}"#.to_owned(),
        });
        let judgement = &result.judgements[0];
        assert_eq!((judgement.score(), judgement.repeats.as_slice()), (Some(1.0), &[Some(1.0), None][..]));
        assert_eq!((judgement.worst_case_candidate(), judgement.worst_case_baseline()), (0.5, 1.0));
        assert_eq!(result.missing.get("1 scores for 2 criteria"), Some(&1));
    }

    #[test]
    fn a_refusal_scores_nothing_and_an_outage_has_no_score() {
        let refusal = Completion { finish: Finish::Refusal { category: None }, ..says(&[], "") };
        let outage = Completion { finish: Finish::Failed { reason: "down".to_owned() }, ..says(&[], "") };
        let result = graded(&[refusal, outage], Form::Json, |_| panic!("the judge is not asked"));
        assert_eq!((result.judgements[0].score(), result.judgements[1].score()), (Some(0.0), None));
        assert_eq!(
            (result.judgements[1].worst_case_candidate(), result.judgements[1].worst_case_baseline()),
            (0.0, 1.0)
        );
    }

    #[test]
    fn rubrics_that_cannot_be_scored_are_refused() {
        let fine = Criterion::pass_or_fail("a", "?");
        for (criteria, expect) in [
            (vec![], "at least one"),
            (vec![fine.clone(), fine.clone()], "two criteria"),
            (vec![Criterion::points("a", "?", 1)], "points must be"),
            (vec![Criterion::pass_or_fail("a=b", "?")], "a name is"),
            (vec![Criterion { weight: 0.0, ..fine }], "weight"),
        ] {
            let error = JudgePrompt::rubric(None, Form::Json, criteria).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
    }
}
