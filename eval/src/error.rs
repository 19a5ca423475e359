//! Everything that can stop an evaluation, as one enum.
//! Knows nothing about how an error is shown; a wrong answer of a model is not an error but an outcome.

use std::path::PathBuf;

use crate::right_targets::wrong::{Listed, WrongTarget};

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
    /// Targets that the scorers of the task do not take for right, all of them in one error.
    #[error(
        "{total} of {rows} held-out rows have a target that its own scorer does not score 1{}\nhint: a model that had learnt these rows by heart would fail them: correct the targets, or choose a scorer under [[eval.scorer]], or options of it, that reads them",
        Listed { shown, total: *total }
    )]
    WrongTargets {
        /// Held-out rows.
        rows: usize,
        /// Rows with such a target.
        total: usize,
        /// The first of them.
        shown: Vec<WrongTarget>,
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
    /// A scorer of labels where there is no closed list of them.
    #[error(
        "the scorer {scorer} needs a closed list of labels\nhint: write labels = [...] under [eval], or choose another scorer"
    )]
    NeedsLabels {
        /// The scorer.
        scorer: String,
    },
    /// An arm lacks a metric that a decision needs.
    #[error("arm {arm} has no {metric}\nhint: decide by a metric that both arms have")]
    MetricMissing {
        /// The arm.
        arm: String,
        /// The metric.
        metric: String,
    },
    /// A picture or page could not be made.
    #[error("the report cannot be drawn: {what}")]
    Picture {
        /// What went wrong.
        what: String,
    },
    /// A page could not be filled.
    #[error("the report cannot be filled: {source}")]
    Page {
        /// What the template engine said.
        #[from]
        source: minijinja::Error,
    },
    /// A pattern that is not a regular expression.
    #[error(
        "the pattern \"{pattern}\" is no regular expression: {message}\nhint: look-around and back-references are not supported; name the part to compare with (?<answer>...)"
    )]
    BadRegex {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// Two results were judged in different ways.
    #[error("the two results were scored by different scorers\nhint: evaluate both with the same config")]
    DifferentScorers,
    /// An arm was not measured.
    #[error("arm {arm} was not measured: {reason}")]
    NotMeasured {
        /// The arm.
        arm: String,
        /// Why.
        reason: String,
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
    /// No dialect has this name.
    #[error("no provider is named \"{name}\"\nhint: the providers are {}", known.join(", "))]
    UnknownDialect {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// An environment variable holds something that cannot be sent as a key.
    #[error(
        "the key in {variable} cannot be sent\nhint: it must be one line of printable ASCII; set it again without quotes or line breaks"
    )]
    BadKey {
        /// The variable.
        variable: String,
    },
    /// A price table that cannot be trusted.
    #[error("{file}: {}", problems.join("\n"))]
    BadPrices {
        /// The file.
        file: String,
        /// Everything that is wrong with it, with hints.
        problems: Vec<String>,
    },
    /// The journal of calls cannot be used.
    #[error("{}: {problem}", path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another process has the journal of calls.
    #[error(
        "{}: another process is using this journal of calls\nhint: wait until it ends, or give this run its own results folder",
        path.display()
    )]
    JournalInUse {
        /// The file.
        path: PathBuf,
    },
    /// A journal of calls of a version that this program does not read.
    #[error(
        "{}: the journal of calls has version {found}, this program reads version {expected}\nhint: go on with the program that wrote it, or start in a new folder",
        path.display()
    )]
    JournalVersion {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: i64,
        /// The version this program reads.
        expected: i64,
    },
    /// A provider cannot be asked in the way that an arm says.
    #[error("{model}: {problem}\nhint: {hint}")]
    BadForm {
        /// The model.
        model: String,
        /// What cannot be done.
        problem: String,
        /// What to type.
        hint: String,
    },
    /// An address to which no key and no prompt may be sent.
    #[error("the address {address} of {model} cannot be used: {problem}\nhint: {hint}")]
    BadAddress {
        /// The model.
        model: String,
        /// The address, without what may be secret in it.
        address: String,
        /// What is wrong with it.
        problem: &'static str,
        /// What to type.
        hint: &'static str,
    },
    /// A money cap cannot be kept without a price.
    #[error(
        "the price of {model} is not known, so the cap of {cap_usd} USD cannot be kept\nhint: add the model to a price table, or remove the cap"
    )]
    UnknownPrice {
        /// The model.
        model: String,
        /// The cap.
        cap_usd: String,
    },
    /// The provider refuses every request of an arm in the same way.
    #[error("{model} refuses the requests of this arm: {problem}\nhint: {hint}")]
    ArmRefused {
        /// The model.
        model: String,
        /// What the provider said.
        problem: String,
        /// What to look at.
        hint: String,
    },
    /// So many rows in a row could not be answered that the rest would be lost too.
    #[error(
        "{model}: {rows} rows in a row could not be answered, the last one because of: {problem}\nhint: answers so far are kept, run the same command again later to go on"
    )]
    ProviderDown {
        /// The model.
        model: String,
        /// Rows in a row.
        rows: u32,
        /// What happened to the last.
        problem: String,
    },
    /// A file of recorded answers cannot be used.
    #[error(
        "{}{}: {problem}\nhint: one JSON line a row, such as {{\"id\": \"row-1\", \"text\": \"the answer\"}}",
        path.display(),
        if *line == 0 { String::new() } else { format!(":{line}") }
    )]
    Recording {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 for the file as a whole.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// Rows that a file of recorded answers says nothing about.
    #[error(
        "{} holds no answer to {absent} of {rows} rows: \"{}\"{}\nhint: write a line for each; where a call brought no answer, {{\"id\": \"{}\", \"text\": \"\", \"finish\": \"missing\"}} says so, or take the row out of the held-out rows",
        path.display(),
        shown.join("\", \""),
        if *absent > shown.len() { ", …" } else { "" },
        shown.first().map_or("", String::as_str)
    )]
    NotRecorded {
        /// The file.
        path: PathBuf,
        /// Rows that are asked.
        rows: usize,
        /// Rows that it says nothing about.
        absent: usize,
        /// The first of them.
        shown: Vec<String>,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A redactor was asked for something that it does not know.
    #[error("nothing that can be redacted is called \"{name}\"\nhint: the kinds are {}", known.join(", "))]
    UnknownKind {
        /// What was asked for.
        name: String,
        /// The kinds there are.
        known: Vec<String>,
    },
    /// A pattern of the user that cannot be used.
    #[error(
        "pattern \"{label}\" ({pattern}): {problem}\nhint: try it at the command line with a few texts that it must and must not hide"
    )]
    BadPattern {
        /// Its label.
        label: String,
        /// The expression.
        pattern: String,
        /// What is wrong.
        problem: String,
    },
    /// More patterns than are tried on every text.
    #[error("{found} patterns, and at most {most} are tried on every text\nhint: join patterns with |")]
    TooManyPatterns {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// A label that is used twice, so that a placeholder could mean either.
    #[error("the label \"{label}\" is taken\nhint: give the pattern a label of its own")]
    TakenLabel {
        /// The label.
        label: String,
    },
    /// A name so short that it would hide half of a text.
    #[error("name \"{name}\" on line {line} has fewer than two letters\nhint: leave it out, or write the whole name")]
    ShortName {
        /// The name.
        name: String,
        /// Its line in the list.
        line: usize,
    },
    /// A list of names without a name.
    #[error("the list of names is empty\nhint: one name on each line; leave the key out to hide no names")]
    NoNames,
    /// A redactor that hides nothing is a mistake.
    #[error("the redactor hides nothing\nhint: name kinds, names or patterns, or leave the section out")]
    HidesNothing,
    /// An address whose host cannot be told for sure.
    #[error("the address of {arm} cannot be used: {problem}\nhint: write it as https://host:port/path")]
    BadUrl {
        /// The arm.
        arm: String,
        /// What is wrong; the address is not repeated, since it may hold a password.
        problem: &'static str,
    },
    /// A prompt would go further than the config allows.
    #[error("{arm} sends prompts to {host}, which is {needed}, but egress is \"{allowed}\"\nhint: {}", .needed.hint())]
    Egress {
        /// The arm.
        arm: String,
        /// Where it would send.
        host: String,
        /// The class of that host.
        needed: crate::egress::Egress,
        /// The class that is allowed.
        allowed: crate::egress::Egress,
    },
    /// A template of a judge that cannot be used.
    #[error("judge template {name}: {problem}\nhint: a template may use {variables}")]
    BadTemplate {
        /// The template.
        name: String,
        /// What is wrong with it.
        problem: String,
        /// The variables it is given.
        variables: &'static str,
    },
    /// A rubric that cannot be used.
    #[error("rubric criterion \"{name}\": {problem}")]
    BadCriterion {
        /// The criterion.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Labels of people that cannot be compared with a judge.
    #[error("audit: {problem}: \"{id}\"\nhint: an audit has one label for each id of the sheet, and nothing else")]
    BadAudit {
        /// What is wrong.
        problem: &'static str,
        /// The id or label.
        id: String,
    },
    /// Numbers that a statistic has no answer for.
    #[error("{statistic}: {problem}")]
    BadStatistic {
        /// The statistic.
        statistic: &'static str,
        /// What is wrong with the numbers.
        problem: &'static str,
    },
    /// A decision that cannot be registered, with everything that is wrong with it.
    #[error("the decision cannot be registered: {}", problems.join("\n"))]
    BadDecision {
        /// Each problem, with its key.
        problems: Vec<String>,
    },
    /// A candidate answered before the decision was registered.
    #[error(
        "no decision is registered\nhint: register margin, alpha, metric and test before the first output of a candidate"
    )]
    NotRegistered,
    /// What a verdict is asked to judge does not fit the decision or itself.
    #[error("this evidence cannot be judged: {problem}")]
    BadEvidence {
        /// What does not fit.
        problem: String,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A registration or a log of reads that is not what this program wrote.
    #[error(
        "{}:{line}: {problem}\nhint: these files are evidence and are never repaired; restore the file, or register again in a new folder and judge fresh rows",
        path.display()
    )]
    BadRegistration {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// An alias could mean two labels.
    #[error(
        "alias \"{alias}\" of label \"{label}\" already means label \"{other}\"\nhint: labels and aliases are compared without case, quotes and a final full stop"
    )]
    AmbiguousAlias {
        /// The alias.
        alias: String,
        /// The label it was declared for.
        label: String,
        /// The label it means already.
        other: String,
    },
    /// Aliases are declared for something that is not a closed label.
    #[error("aliases are declared for \"{label}\", which is not one of the labels\nhint: the labels are {}", known.join(", "))]
    UnknownAliasLabel {
        /// What the aliases were declared for.
        label: String,
        /// The closed labels.
        known: Vec<String>,
    },
    /// A file that an option names cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    ReadFile {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A JSON Schema that cannot be used.
    #[error(
        "the schema {} cannot be used: {message}\nhint: schemas are never fetched; keep every $ref inside the file, under $defs",
        path.display()
    )]
    BadSchema {
        /// The file of the schema.
        path: std::path::PathBuf,
        /// What is wrong, with the place inside the schema.
        message: String,
    },
    /// The rule of a field cannot work.
    #[error("field \"{path}\": {problem}")]
    BadField {
        /// The field, by its path without indices.
        path: String,
        /// What is wrong with its rule.
        problem: String,
    },
    /// Results that are not what this program writes.
    #[error("results cannot be read or written: {source}")]
    Json {
        /// The reason, with line and column.
        #[from]
        source: serde_json::Error,
    },
}
