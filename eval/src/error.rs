//! Everything that can stop an evaluation, as one enum.
//! Knows nothing about how an error is shown; a wrong answer of a model is not an error but an outcome.

/// What stopped an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model lacks a capability that was asked of it.
    #[error("{model} cannot {capability}")]
    Unsupported {
        /// The model that was asked.
        model: String,
        /// What it cannot do, as a verb phrase.
        capability: &'static str,
    },
    /// The model failed as a whole; a failure of one row is `Finish::Failed` instead.
    #[error("{model} failed: {source}")]
    Model {
        /// The model that failed.
        model: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model returned more or fewer answers than it was given prompts.
    #[error("{model} returned {found} {what} for {expected} asked")]
    WrongCount {
        /// The model that answered.
        model: String,
        /// What was counted.
        what: &'static str,
        /// How many were asked.
        expected: usize,
        /// How many came back.
        found: usize,
    },
    /// There is nothing to evaluate.
    #[error("no held-out rows\nhint: check the split rule and the leakage filter, they left nothing to score")]
    NoRows,
    /// A closed set of labels without a label.
    #[error("the closed set of labels is empty\nhint: leave the labels out for free-text targets")]
    NoLabels,
    /// Two rows share an id, so that outcomes could not be paired.
    #[error("row id \"{id}\" occurs more than once")]
    DuplicateId {
        /// The id.
        id: String,
    },
    /// Two labels are the same after normalisation, so that an answer could mean both.
    #[error(
        "labels \"{first}\" and \"{second}\" are the same after normalisation\nhint: labels are compared without case, quotes and a final full stop"
    )]
    DuplicateLabel {
        /// The label that came first.
        first: String,
        /// The label that equals it.
        second: String,
    },
    /// A target is not one of the closed labels.
    #[error(
        "row \"{id}\": the target \"{target}\" is not one of the labels\nhint: add it to the labels, or leave the labels out for free-text targets"
    )]
    UnknownTarget {
        /// The row.
        id: String,
        /// Its target.
        target: String,
    },
    /// A row cannot be used as it is.
    #[error("row \"{id}\": {problem}")]
    BadRow {
        /// The row.
        id: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An option has a value that cannot work.
    #[error("{option} must be {expected}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// No baseline has this name.
    #[error("no baseline is named \"{name}\"\nhint: the baselines are {}", known.join(", "))]
    UnknownBaseline {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// A baseline has nothing to learn from.
    #[error("baseline {baseline} has no training rows")]
    NoTrainingRows {
        /// The baseline.
        baseline: &'static str,
    },
    /// The training rows share no word that a baseline could learn from.
    #[error("no word stands in at least {min_df} of the {rows} training rows, so there is nothing to learn from")]
    NoFeatures {
        /// Training rows.
        rows: usize,
        /// Rows a word must stand in.
        min_df: usize,
    },
    /// The optimiser of a baseline refused to run.
    #[error("the solver of baseline {baseline} failed: {message}")]
    Solver {
        /// The baseline.
        baseline: &'static str,
        /// What the solver said.
        message: String,
    },
    /// Two arms do not hold the same rows, so that they cannot be paired.
    #[error(
        "arms {candidate} and {baseline} were not scored on the same rows\nhint: paired comparisons need the same ids in the same order"
    )]
    DifferentRows {
        /// The arm that is compared.
        candidate: String,
        /// The arm it is compared with.
        baseline: String,
    },
    /// An arm holds other rows than the evaluation.
    #[error(
        "arm {arm} has {found} rows, the evaluation {expected}\nhint: results of other rows cannot stand in one table"
    )]
    OtherRows {
        /// The arm.
        arm: String,
        /// Rows of the arm.
        found: usize,
        /// Rows of the evaluation.
        expected: usize,
    },
    /// Two scorers share a name, so that a metric could mean either.
    #[error("two scorers are named \"{name}\"\nhint: each kind of scorer stands once")]
    DuplicateScorer {
        /// The name.
        name: String,
    },
    /// Two arms share a name, so that a comparison could mean either.
    #[error("two arms are named \"{name}\"\nhint: give each arm its own name")]
    DuplicateArm {
        /// The name.
        name: String,
    },
    /// No arm has this name.
    #[error("no arm is named \"{name}\"\nhint: the arms are {}", known.join(", "))]
    UnknownArm {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// No metric has this name.
    #[error("no metric is named \"{name}\"\nhint: the metrics are {}", known.join(", "))]
    UnknownMetric {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// Results of a version that this program does not read.
    #[error(
        "results have version {found}, this program reads version {expected}\nhint: read them with the program that wrote them"
    )]
    UnknownVersion {
        /// The version found.
        found: u64,
        /// The version this program reads.
        expected: u64,
    },
    /// Results that are not what this program writes.
    #[error("results cannot be read or written: {source}")]
    Json {
        /// The reason, with line and column.
        #[from]
        source: serde_json::Error,
    },
}
