//! JSON fields: precision, recall and F1 of the fields of an extracted record.
//! Knows nothing about how leaves are compared or lists matched; it reads the rules of a task and hands them to `json::record`.

use crate::task::Figures;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Answer, Scored, Scorer, Tally, Target, best, written};
use crate::json::record::{ListRule, Rule, Rules, tally};
use crate::json::{Comparator, NumberFormat, Path, parse, without_fence};
use crate::work::Work;
use crate::{Error, Parse, Reason};

/// The similarity that fuzzy text needs when the task names none.
const THRESHOLD: f64 = 0.9;

/// What a task may say about this scorer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Remove one code fence around the whole answer.
    pub lenient: bool,
    /// What the score of a row is; with `"exact_record"` the metrics begin with `json_record`.
    pub row_score: RowScore,
    /// Rules of single fields; a field without one is compared exactly, a list without one in order.
    #[schemars(length(max = 1000))]
    pub field: Vec<FieldRule>,
}

/// What the score of a row is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowScore {
    /// F1 over the leaves.
    #[default]
    F1,
    /// 1 when every leaf is right and none is extra.
    ExactRecord,
}

/// The rule of one field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldRule {
    /// Keys with points between them and `[]` for each item of a list: `parties[].name`; `$` is the whole record.
    pub path: String,
    /// How leaves at this path are compared.
    #[schemars(extend("x-default" = "`\"exact\"`"))]
    pub compare: Option<Compare>,
    /// How the items of the list at this path find each other.
    #[schemars(extend("x-default" = "`\"ordered\"`"))]
    pub list: Option<List>,
    /// The key that tells the objects of the list apart, for `list = "by_key"`.
    #[schemars(extend("x-default" = "needed by `\"by_key\"`"))]
    pub key: Option<String>,
    /// Least similarity, for `compare = "fuzzy"`: 1 − Levenshtein distance / length of the longer text.
    #[schemars(range(min = 0, max = 1), extend("x-default" = "`0.9`"))]
    pub threshold: Option<f64>,
    /// Largest difference, for `compare = "number"` and `"money"`.
    #[schemars(range(min = 0, max = 1e15), extend("x-default" = "`0.0`"))]
    pub absolute_tolerance: Option<f64>,
    /// Largest difference as a share of the wanted number, for `compare = "number"`.
    #[schemars(range(min = 0, max = 1e6), extend("x-default" = "`0.0`"))]
    pub relative_tolerance: Option<f64>,
    /// `1.234,5` instead of `1,234.5` in text, for `compare = "number"` and `"money"`.
    #[schemars(extend("x-default" = "`false`"))]
    pub decimal_comma: Option<bool>,
}

/// How leaves are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// The same type and value, text in Unicode normal form C.
    Exact,
    /// Text without case and with single spaces.
    Folded,
    /// Numbers, also in text, within a tolerance.
    Number,
    /// Days of ISO 8601; of a date and time only the day as written counts.
    Date,
    /// Currency and amount.
    Money,
    /// A list whose order and repeats do not count; a rule for `path[]` says how its items are compared.
    Set,
    /// Folded text of enough similarity: 1 − Levenshtein distance / length of the longer text.
    Fuzzy,
}

/// How the items of a list find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum List {
    /// First with first, second with second.
    Ordered,
    /// So that as many leaves as possible are right.
    Assignment,
    /// Objects with the same value of a key.
    ByKey,
}

/// F1 over the leaves of the answer and the target, with counts by field.
#[derive(Clone, Debug)]
pub struct JsonFields {
    lenient: bool,
    row_score: RowScore,
    rules: Option<Rules>,
    shown: String,
}

impl JsonFields {
    /// Strict JSON, every field exact, every list in order.
    pub const fn plain() -> Self {
        Self { lenient: false, row_score: RowScore::F1, rules: None, shown: String::new() }
    }

    /// The scorer of these options.
    ///
    /// # Errors
    /// The first rule that cannot work: a bad or repeated path, or an option that its comparison does not have.
    pub fn build(options: Options) -> Result<Self, Error> {
        let mut rules = Rules::new();
        let mut shown = Vec::new();
        for field in &options.field {
            let bad = |problem: String| Error::BadField { path: field.path.clone(), problem };
            let path = Path::parse(&field.path).map_err(bad)?;
            let rule = rule(field).map_err(|problem| bad(problem.to_owned()))?;
            shown.push(format!("{path} {}", describe(&rule)));
            if rules.insert(path, rule).is_some() {
                return Err(bad("has two rules\nhint: one rule per path".to_owned()));
            }
        }
        Ok(Self { lenient: options.lenient, row_score: options.row_score, rules: Some(rules), shown: shown.join(", ") })
    }

    fn judge(&self, predicted: Result<&Value, &Scored>, wanted: &str, work: &mut Work) -> Scored {
        let wanted = match parse(wanted) {
            Ok(wanted) => wanted,
            Err(message) => return Scored::unscored(format!("the target is not JSON: {message}")),
        };
        let none = Rules::new();
        let rules = self.rules.as_ref().unwrap_or(&none);
        match (tally(predicted.ok(), &wanted, rules, work), predicted) {
            (Ok(tally), Ok(_)) => {
                let score = self.row_score(&tally);
                Scored { counts: tally.into_counts(), ..Scored::graded(score) }
            }
            (Ok(tally), Err(scored)) => Scored { counts: tally.into_counts(), ..scored.clone() },
            // What it would have missed counts, so that the figures over all rows do not rise without it.
            (Err(much), _) => {
                let missed = tally(None, &wanted, rules, &mut Work::of_a_judgement());
                let counts = missed.map(Tally::into_counts).unwrap_or_default();
                Scored { counts, ..Scored::unscored(much.to_string()) }
            }
        }
    }

    fn row_score(&self, tally: &Tally) -> f64 {
        let f1 = tally.f1();
        match self.row_score {
            RowScore::F1 => f1,
            // F1 of whole counts is exactly 1 only when nothing is wrong.
            RowScore::ExactRecord => f1.floor(),
        }
    }
}

impl Scorer for JsonFields {
    fn name(&self) -> &'static str {
        match self.row_score {
            RowScore::F1 => "json_fields",
            RowScore::ExactRecord => "json_record",
        }
    }

    fn policy(&self) -> String {
        let fence = if self.lenient { "one code fence around the whole answer is removed; " } else { "" };
        let score = match self.row_score {
            RowScore::F1 => "F1 over leaves",
            RowScore::ExactRecord => "1 when every leaf is right and none is extra",
        };
        let rules = if self.shown.is_empty() { String::new() } else { format!("{}; otherwise ", self.shown) };
        format!(
            "{fence}{score}; {rules}leaves are compared exactly and lists in order; a wrong value is one false positive and one false negative, null and empty lists and objects are absent, invalid JSON misses every leaf"
        )
    }

    fn figures(&self) -> Vec<Figures> {
        vec![Figures::Valid, Figures::Fields]
    }

    fn is_right_or_wrong(&self) -> bool {
        matches!(self.row_score, RowScore::ExactRecord)
    }

    fn score(&self, answer: Answer<'_>, target: Target<'_>) -> Scored {
        match written(answer) {
            // No answer at all is missing, and what is missing counts nowhere.
            Err(scored) if matches!(scored.parse, Parse::Unscored { .. }) => scored,
            text => {
                let predicted = text.and_then(|text| {
                    parse(if self.lenient { without_fence(text) } else { text })
                        .map_err(|message| Scored::unparsed(Reason::InvalidJson).with_note(message))
                });
                let mut work = Work::of_a_judgement();
                best(target, |wanted| self.judge(predicted.as_ref(), wanted, &mut work))
            }
        }
    }
}

fn rule(field: &FieldRule) -> Result<Rule, &'static str> {
    let compare = field.compare.unwrap_or(Compare::Exact);
    let has_tolerance = matches!(compare, Compare::Number | Compare::Money);
    if field.list.is_some() && field.compare.is_some() {
        return Err(
            "has both `list` and `compare`\nhint: `list` is for the list, write `compare` in a rule for its items: `path = \"...[]\"`",
        );
    }
    if field.key.is_some() != (field.list == Some(List::ByKey)) {
        return Err("`list = \"by_key\"` and `key` belong together");
    }
    if field.threshold.is_some() && compare != Compare::Fuzzy {
        return Err("`threshold` needs `compare = \"fuzzy\"`");
    }
    if (field.absolute_tolerance.is_some() || field.decimal_comma.is_some()) && !has_tolerance {
        return Err("`absolute_tolerance` and `decimal_comma` need `compare = \"number\"` or `\"money\"`");
    }
    if field.relative_tolerance.is_some() && compare != Compare::Number {
        return Err("`relative_tolerance` needs `compare = \"number\"`");
    }
    let threshold = field.threshold.unwrap_or(THRESHOLD);
    if !(0.0..=1.0).contains(&threshold) {
        return Err("`threshold` must be between 0 and 1");
    }
    let (absolute, relative) = (field.absolute_tolerance.unwrap_or(0.0), field.relative_tolerance.unwrap_or(0.0));
    if ![absolute, relative].iter().all(|tolerance| tolerance.is_finite() && *tolerance >= 0.0) {
        return Err("a tolerance must be a finite number of at least 0");
    }
    let format = NumberFormat { decimal_comma: field.decimal_comma.unwrap_or(false), percent_is_fraction: false };
    let comparator = match compare {
        Compare::Exact | Compare::Set => Comparator::Exact,
        Compare::Folded => Comparator::Folded,
        Compare::Number => Comparator::Number { absolute, relative, format },
        Compare::Date => Comparator::Date,
        Compare::Money => Comparator::Money { absolute, format },
        Compare::Fuzzy => Comparator::Fuzzy { threshold },
    };
    let list = match (&field.list, &field.key) {
        (Some(List::ByKey), Some(key)) => ListRule::ByKey(key.clone()),
        (Some(List::Assignment), _) => ListRule::Assignment,
        _ if compare == Compare::Set => ListRule::Set,
        _ => ListRule::Ordered,
    };
    Ok(Rule { comparator, list })
}

fn describe(rule: &Rule) -> String {
    let how = match &rule.list {
        ListRule::Ordered => "",
        ListRule::Assignment => return "matched as is best".to_owned(),
        ListRule::Set => return "as a set".to_owned(),
        ListRule::ByKey(key) => return format!("matched by {key}"),
    };
    match rule.comparator {
        Comparator::Exact => format!("exact{how}"),
        Comparator::Folded => format!("folded{how}"),
        Comparator::Number { absolute, relative, .. } => {
            format!("as a number within the larger of {absolute} and {relative} of the target")
        }
        Comparator::Date => "as an ISO day".to_owned(),
        Comparator::Money { absolute, .. } => format!("as money within {absolute}"),
        Comparator::Fuzzy { threshold } => format!("with a similarity of at least {threshold}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::{Completion, Finish};

    const CONTRACT: &str = r#"
        [[field]]
        path = "parties"
        list = "by_key"
        key = "name"
        [[field]]
        path = "parties[].name"
        compare = "fuzzy"
        threshold = 0.8
        [[field]]
        path = "fee"
        compare = "money"
        [[field]]
        path = "tags"
        compare = "set"
        [[field]]
        path = "tags[]"
        compare = "folded"
        [[field]]
        path = "signed"
        compare = "date"
    "#;
    const TARGET: &str = r#"{"parties": [{"name": "Acme Inc.", "role": "seller"}, {"name": "Foo", "role": "buyer"}],
        "fee": "$1,200", "tags": ["A", "b"], "signed": "2024-05-01"}"#;

    fn score(options: &str, text: &str, finish: Finish) -> Scored {
        let scorer = JsonFields::build(toml::from_str(options).unwrap()).unwrap();
        let completion = Completion::of(text, finish);
        scorer.score(Answer::Written(&completion), Target { text: TARGET, ..Target::default() })
    }

    #[test]
    fn each_field_is_compared_by_its_own_rule() {
        let text = r#"{"parties": [{"name": "foo", "role": "buyer"}, {"name": "ACME Inc", "role": "licensor"}],
            "fee": "USD 1200.00", "tags": ["B", "a", "A"], "signed": "2024-05-01T10:00:00Z"}"#;
        let scored = score(CONTRACT, text, Finish::Stop);
        let counts: Vec<_> = scored.counts.iter().map(|c| (c.name.as_str(), c.credit, c.predicted, c.wanted)).collect();
        // "a" and "A" are two items of a set, because repeats are found before items are compared.
        let expect = [
            ("fee", 1.0, 1.0, 1.0),
            ("parties[].name", 2.0, 2.0, 2.0),
            ("parties[].role", 1.0, 2.0, 2.0),
            ("signed", 1.0, 1.0, 1.0),
            ("tags[]", 2.0, 3.0, 2.0),
        ];
        assert_eq!(counts, expect);
        assert_eq!(scored.score, Some(2.0 * 7.0 / 17.0));
    }

    #[test]
    fn an_answer_that_cannot_be_read_misses_every_leaf() {
        let unreadable = [
            ("{", Finish::Stop, Reason::InvalidJson),
            (TARGET, Finish::Length, Reason::Truncated),
            (" ", Finish::Stop, Reason::Empty),
        ];
        for (text, finish, reason) in unreadable {
            let scored = score(CONTRACT, text, finish);
            assert_eq!((scored.score, scored.parse), (Some(0.0), Parse::Unparsed { reason }));
            assert_eq!(scored.counts.iter().map(|count| count.wanted).sum::<f64>(), 8.0);
            assert!(scored.counts.iter().all(|count| count.predicted == 0.0 && count.credit == 0.0));
        }
        let lost = score(CONTRACT, TARGET, Finish::Failed { reason: "lost".to_owned() });
        assert_eq!((lost.score, lost.counts.len()), (None, 0));
    }

    #[test]
    fn an_exact_record_has_every_leaf_and_no_other() {
        let exact = "row_score = \"exact_record\"";
        assert_eq!(score(exact, TARGET, Finish::Stop).score, Some(1.0));
        assert_eq!(score(exact, &TARGET.replace("Foo", "Bar"), Finish::Stop).score, Some(0.0));
        assert_eq!(score(exact, &TARGET.replace("\"fee\"", "\"x\": 1, \"fee\""), Finish::Stop).score, Some(0.0));
        let fenced = format!("```json\n{TARGET}\n```");
        assert_eq!(score(exact, &fenced, Finish::Stop).score, Some(0.0));
        assert_eq!(score(&format!("lenient = true\n{exact}"), &fenced, Finish::Stop).score, Some(1.0));
    }

    #[test]
    fn a_target_that_is_not_json_is_a_fault_of_the_data() {
        let completion = Completion::of("{}", Finish::Stop);
        let target = Target { text: "{", ..Target::default() };
        let scored = JsonFields::plain().score(Answer::Written(&completion), target);
        assert_eq!(scored.score, None);
        assert!(matches!(scored.parse, Parse::Unscored { reason } if reason.starts_with("the target is not JSON: ")));
    }

    #[test]
    fn rules_that_cannot_work_are_refused_with_their_path() {
        for (rule, expect) in [
            ("path = \"a..b\"", "field \"a..b\": a key is empty"),
            ("path = \"a\"\nthreshold = 0.5", "field \"a\": `threshold` needs"),
            ("path = \"a\"\ncompare = \"fuzzy\"\nthreshold = 1.5", "field \"a\": `threshold` must be"),
            ("path = \"a\"\ncompare = \"date\"\nabsolute_tolerance = 1", "field \"a\": `absolute_tolerance`"),
            ("path = \"a\"\ncompare = \"money\"\nrelative_tolerance = 0.1", "field \"a\": `relative_tolerance`"),
            ("path = \"a\"\ncompare = \"number\"\nabsolute_tolerance = -1", "field \"a\": a tolerance"),
            ("path = \"a\"\nlist = \"by_key\"", "field \"a\": `list = \"by_key\"` and `key`"),
            ("path = \"a\"\nlist = \"assignment\"\ncompare = \"folded\"", "field \"a\": has both"),
            ("path = \"a\"\n[[field]]\npath = '\"a\"'", "field \"\"a\"\": has two rules"),
        ] {
            let options: Options = toml::from_str(&format!("[[field]]\n{rule}")).unwrap();
            let message = JsonFields::build(options).unwrap_err().to_string();
            assert!(message.starts_with(expect), "{message}");
        }
        assert!(toml::from_str::<Options>("[[field]]\npath = \"a\"\ncomparator = \"exact\"").is_err());
    }

    #[test]
    fn the_policy_names_every_rule() {
        let policy = JsonFields::build(toml::from_str(CONTRACT).unwrap()).unwrap().policy();
        for part in [
            "parties matched by name",
            "parties[].name with a similarity of at least 0.8",
            "tags as a set",
            "signed as an ISO day",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
    }
}
