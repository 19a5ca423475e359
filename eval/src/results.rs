//! Everything one evaluation found: what was measured, every arm row by row, what was decided, and where it came from.
//! Knows nothing about how it is shown or kept.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::arm_result::measure;
use crate::held_out::check_rows;
use crate::metric::confusion::Form;
use crate::metric::{Confusion, Metric, Setting, Unit};
use crate::proof::Decided;
use crate::proof::withhold::Withheld;
use crate::scorer::ScorerSpec;
use crate::stats::Clusters;
use crate::task::{Named, count_names};
use crate::{ArmResult, Comparison, Error, HeldOut, Row, Task, arm_result, compare};

/// The version of the results that this program writes.
pub const VERSION: u64 = 3;
/// The oldest version that it reads: there a confusion table has a count for every pair of labels, zeros too.
pub const OLDEST: u64 = 2;

/// Everything one evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// The version of this format.
    pub version: u64,
    /// The program that wrote it.
    pub program: String,
    /// Where rows, prompts and prices came from.
    pub provenance: Provenance,
    /// What was decided; none when nothing was registered or an arm is missing.
    pub decided: Option<Decided>,
    /// Why nothing was decided.
    pub no_verdict: Option<String>,
    /// What was measured.
    pub measured: Measured,
    /// Groups the rows belong to; as many as rows when rows are independent.
    pub groups: usize,
    /// What a group is, in the plural.
    pub group_name: Option<String>,
    /// The closed labels, or nothing for free text.
    pub labels: Option<Vec<String>>,
    /// The two-sided level of every interval.
    pub level: f64,
    /// What the draws of bootstrap intervals started from.
    pub seed: u64,
    /// The arm that the others are compared with.
    pub candidate: Option<String>,
    /// Paired differences of one arm with the others.
    pub comparisons: Vec<Comparison>,
    /// Each arm.
    pub arms: Vec<ArmResult>,
    /// The rows, in the order of each arm's outcomes.
    pub rows: Vec<ResultRow>,
    /// What was taken out before others were shown these results; none when everything is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
}

/// Where rows, prompts and prices came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The name of the task.
    pub name: String,
    /// The held-out set.
    pub set: String,
    /// SHA-256 of its files.
    pub set_sha256: String,
    /// SHA-256 of the words around each row.
    pub prompt_sha256: String,
    /// SHA-256 of the scorers and their options.
    pub scorer_sha256: String,
    /// The files that prices came from, each with its day and SHA-256.
    pub prices: Vec<String>,
    /// What to type to do it again.
    pub command: String,
    /// When it was done, RFC 3339.
    pub finished_at: String,
    /// Held-out rows that are among the rows that were learnt; none when nobody looked for near repeats.
    pub leaked_rows: Option<usize>,
    /// What must be said beside results of this set.
    pub attribution: Option<String>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// What judged single answers.
    pub scorers: Vec<ScorerFacts>,
    /// What was computed over many rows.
    pub metrics: Vec<MetricFacts>,
    /// The metric that decides.
    pub primary: String,
    /// The scorer whose score is that of a single row.
    pub primary_scorer: String,
}

/// One scorer as reports name it, and what it was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorerFacts {
    /// The names and what it compares.
    pub named: Named,
    /// What it was made from.
    pub spec: ScorerSpec,
}

/// One metric as reports name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricFacts {
    /// The names and what it counts.
    pub named: Named,
    /// How its value is written.
    pub unit: Unit,
}

/// One held-out row as results keep it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultRow {
    /// The row.
    pub id: String,
    /// The document or owner that clustered errors use; none means that the row stands alone.
    pub group: Option<String>,
    /// The bare input, without the instructions that all rows share.
    pub text: String,
    /// What an arm should have written.
    pub target: String,
    /// Further answers that are as right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// Numbers known before the answer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub covariates: BTreeMap<String, f64>,
    /// Parts of the set this row belongs to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slices: BTreeMap<String, String>,
}

impl Results {
    /// Puts arms together, computes their metrics and compares `candidate`, if one is named, with the others.
    ///
    /// # Errors
    /// When there is no such arm or metric, or arms were scored on other rows.
    pub fn new(
        held_out: &HeldOut,
        task: &Task,
        arms: Vec<ArmResult>,
        candidate: Option<&str>,
        seed: u64,
    ) -> Result<Self, Error> {
        let rows = held_out.rows();
        if let Some(arm) = arms.iter().find(|arm| arm.is_measured() && arm.outcomes.len() != rows.len()) {
            let (arm, found) = (arm.name.clone(), arm.outcomes.len());
            return Err(Error::OtherRows { arm, found, expected: rows.len() });
        }
        let mut results = Self {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            provenance: Provenance { scorer_sha256: task.sha256()?, ..Provenance::default() },
            decided: None,
            no_verdict: None,
            measured: Measured::of(task)?,
            groups: held_out.clusters().num_clusters(),
            group_name: held_out.group_name().map(str::to_owned),
            labels: held_out.labels().map(<[String]>::to_vec),
            level: crate::stats::LEVEL,
            seed,
            candidate: candidate.map(str::to_owned),
            arms,
            comparisons: Vec::new(),
            rows: rows.iter().map(ResultRow::from).collect(),
            withheld: None,
        };
        results.compute(task)?;
        Ok(results)
    }

    /// Refuses what no version of this program wrote: an unknown version, or a part in the form of another one.
    ///
    /// # Errors
    /// When it is of another version, or not whole.
    pub(crate) fn check_version(&self) -> Result<(), Error> {
        known_version(self.version)?;
        let form = form_of(self.version);
        let other = self.arms.iter().find(|arm| arm.confusion.as_ref().is_some_and(|found| found.form() != form));
        match other {
            Some(arm) => Err(Error::BadEvidence {
                problem: format!("the confusion table of {} is not written as in version {}", arm.name, self.version),
            }),
            None => Ok(()),
        }
    }

    /// The same in the version that this program writes.
    #[must_use]
    pub(crate) fn upgraded(mut self) -> Self {
        self.version = VERSION;
        for arm in &mut self.arms {
            arm.confusion = arm.confusion.as_ref().map(Confusion::compact);
        }
        self
    }

    /// The metric of this name.
    pub fn metric(&self, name: &str) -> Option<&MetricFacts> {
        self.measured.metrics.iter().find(|metric| metric.named.name == name)
    }

    /// Which rows belong together.
    pub fn clusters(&self) -> Clusters {
        Clusters::new(self.rows.iter().map(|row| row.group.as_deref()))
    }

    /// The results without a row of their own, which is all that a summary holds and small however many rows there are.
    pub(crate) fn without_rows(&self) -> Self {
        Self {
            version: self.version,
            program: self.program.clone(),
            provenance: self.provenance.clone(),
            decided: self.decided.clone(),
            no_verdict: self.no_verdict.clone(),
            measured: self.measured.clone(),
            groups: self.groups,
            group_name: self.group_name.clone(),
            labels: self.labels.clone(),
            level: self.level,
            seed: self.seed,
            candidate: self.candidate.clone(),
            comparisons: self.comparisons.clone(),
            arms: self.arms.iter().map(ArmResult::without_outcomes).collect(),
            rows: Vec::new(),
            withheld: self.withheld.clone(),
        }
    }

    /// What the results were made from and nothing that was computed: rows, answers, what the calls took, how answers are judged.
    ///
    /// What is computed again from this cannot have been copied from what was claimed.
    pub(crate) fn inputs(&self) -> Self {
        let facts = |scorer: &ScorerFacts| ScorerFacts { named: Named::default(), spec: scorer.spec.clone() };
        Self {
            version: self.version,
            program: self.program.clone(),
            provenance: Provenance { scorer_sha256: String::new(), ..self.provenance.clone() },
            decided: None,
            no_verdict: self.no_verdict.clone(),
            measured: Measured {
                scorers: self.measured.scorers.iter().map(facts).collect(),
                metrics: Vec::new(),
                primary: self.measured.primary.clone(),
                primary_scorer: String::new(),
            },
            groups: 0,
            group_name: self.group_name.clone(),
            labels: self.labels.clone(),
            level: crate::stats::LEVEL,
            seed: self.seed,
            candidate: self.candidate.clone(),
            comparisons: Vec::new(),
            // Without the answers nobody can judge them again, so then the judgements are inputs.
            arms: self.arms.iter().map(|arm| arm.inputs(self.withheld.is_some())).collect(),
            rows: self.rows.clone(),
            withheld: self.withheld.clone(),
        }
    }

    /// Judges every answer again, and from the judgements computes everything else again; nothing is decided.
    ///
    /// # Errors
    /// When rows, labels, scorers or arms are none that an evaluation could have had.
    pub(crate) fn recompute(mut self) -> Result<Self, Error> {
        check_rows(&self.rows, self.labels.as_deref())?;
        let task = task(&self)?;
        let num_rows = self.rows.len();
        for arm in &mut self.arms {
            if arm.is_measured() && arm.outcomes.len() != num_rows {
                let (arm, found) = (arm.name.clone(), arm.outcomes.len());
                return Err(Error::OtherRows { arm, found, expected: num_rows });
            }
            match &self.withheld {
                None => arm_result::judge_again(arm, &self.rows, self.labels.as_deref(), &task),
                Some(_) => arm_result::count_again(arm, &self.rows, &task)?,
            }
        }
        self.provenance.scorer_sha256 = task.sha256()?;
        self.measured = Measured::of(&task)?;
        self.groups = self.clusters().num_clusters();
        self.compute(&task)?;
        Ok(self)
    }

    /// Computes every metric and comparison from the outcomes.
    fn compute(&mut self, task: &Task) -> Result<(), Error> {
        let mut names = HashSet::new();
        if let Some(twice) = self.arms.iter().find(|arm| !names.insert(arm.name.as_str())) {
            return Err(Error::DuplicateArm { name: twice.name.clone() });
        }
        let metrics = task.metrics()?;
        let clusters = self.clusters();
        let targets: Vec<String> = self.rows.iter().map(|row| row.target.clone()).collect();
        let names = count_names(self.arms.iter().flat_map(|arm| &arm.outcomes));
        let labels = self.labels.clone();
        let setting = Setting {
            targets: &targets,
            labels: labels.as_deref(),
            names: &names,
            clusters: &clusters,
            seed: self.seed,
        };
        let form = form_of(self.version);
        for arm in &mut self.arms {
            measure(arm, &metrics, task.primary_scorer(), setting);
            if let (Form::Square, Some(confusion)) = (form, &arm.confusion) {
                arm.confusion = Some(confusion.square(labels.as_deref().unwrap_or_default()));
            }
        }
        self.comparisons = match &self.candidate {
            Some(candidate) => compare(task, &metrics, &self.arms, candidate, setting)?,
            None => Vec::new(),
        };
        Ok(())
    }
}

/// Whether this program reads results of a version.
pub(crate) fn known_version(found: u64) -> Result<(), Error> {
    if (OLDEST..=VERSION).contains(&found) { Ok(()) } else { Err(Error::UnknownVersion { found, expected: VERSION }) }
}

fn form_of(version: u64) -> Form {
    if version < VERSION { Form::Square } else { Form::Cells }
}

impl Measured {
    /// What a task measures.
    fn of(task: &Task) -> Result<Self, Error> {
        let metric = |metric: &dyn Metric| MetricFacts {
            named: Named { name: metric.name(), title: metric.title(), policy: metric.policy() },
            unit: metric.unit(),
        };
        let described = task.described().into_iter().zip(task.specs());
        Ok(Self {
            scorers: described.map(|(named, spec)| ScorerFacts { named, spec: spec.clone() }).collect(),
            metrics: task.metrics()?.iter().map(|found| metric(found.as_ref())).collect(),
            primary: task.primary().to_owned(),
            primary_scorer: task.primary_scorer().to_owned(),
        })
    }
}

impl Provenance {
    /// The title of reports.
    pub fn title(&self) -> String {
        match (self.name.as_str(), self.set.as_str()) {
            ("", _) => "Evaluation".to_owned(),
            (name, "") => name.to_owned(),
            (name, set) => format!("{name}: held-out rows of {set}"),
        }
    }

    /// What identifies the evaluation, for tables.
    pub fn facts(&self) -> Vec<(String, String)> {
        let facts = [
            ("set", &self.set),
            ("set SHA-256", &self.set_sha256),
            ("prompt SHA-256", &self.prompt_sha256),
            ("scorer SHA-256", &self.scorer_sha256),
        ];
        let known = facts.into_iter().filter(|(_, value)| !value.is_empty());
        let mut facts: Vec<_> = known.map(|(name, value)| (name.to_owned(), value.clone())).collect();
        facts.extend(self.prices.iter().map(|prices| ("prices".to_owned(), prices.clone())));
        facts.extend(self.attribution.iter().map(|words| ("attribution".to_owned(), words.clone())));
        facts
    }
}

impl From<&Row> for ResultRow {
    fn from(row: &Row) -> Self {
        Self {
            id: row.id.clone(),
            group: row.group.clone(),
            text: row.text.clone(),
            target: row.target.clone(),
            others: row.others.clone(),
            covariates: row.covariates.clone(),
            slices: row.slices.clone(),
        }
    }
}

/// What metrics need, read off results.
pub(crate) struct Board<'a> {
    results: &'a Results,
    task: Task,
    targets: Vec<String>,
    names: BTreeMap<String, Vec<String>>,
    clusters: Clusters,
}

impl<'a> Board<'a> {
    /// Makes the scorers of the results again.
    pub(crate) fn of(results: &'a Results) -> Result<Self, Error> {
        let task = task(results)?;
        let targets = results.rows.iter().map(|row| row.target.clone()).collect();
        let names = count_names(results.arms.iter().flat_map(|arm| &arm.outcomes));
        Ok(Self { task, targets, names, clusters: results.clusters(), results })
    }

    /// The metrics of the task.
    pub(crate) fn metrics(&self) -> Result<Vec<Box<dyn Metric>>, Error> {
        self.task.metrics()
    }

    /// Which rows belong together.
    pub(crate) fn clusters(&self) -> &Clusters {
        &self.clusters
    }

    /// What metrics need over all rows.
    pub(crate) fn setting(&self) -> Setting<'_> {
        let (labels, seed) = (self.results.labels.as_deref(), self.results.seed);
        Setting { targets: &self.targets, labels, names: &self.names, clusters: &self.clusters, seed }
    }

    /// Which of some rows belong together.
    pub(crate) fn clusters_of(&self, rows: &[usize]) -> Clusters {
        Clusters::new(rows.iter().map(|&row| self.results.rows[row].group.as_deref()))
    }

    /// The results computed again from what the arms wrote: every judgement, metric and comparison. What was decided is left out.
    pub(crate) fn recompute(&self) -> Result<Results, Error> {
        self.results.inputs().recompute()
    }
}

/// The scorers and metrics of some results, made again.
fn task(results: &Results) -> Result<Task, Error> {
    let specs = results.measured.scorers.iter().map(|scorer| scorer.spec.clone()).collect();
    Task::new(specs, results.labels.as_deref(), Some(results.measured.primary.clone()))
}
