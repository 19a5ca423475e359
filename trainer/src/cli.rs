//! Owns what was typed: commands and their options. Knows nothing of what they do.

mod answer;
mod number;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use eval::verdict::Answer;

use crate::ending::{EXIT_CODES, SIGNALS};

/// Fine-tune a small model on your domain and prove whether it can replace a frontier API.
#[derive(Debug, Parser)]
// Without styles of its own, every sign in a message of clap that steers a terminal is foreign, and is shown.
#[command(name = "trainer", version, propagate_version = true, styles = clap::builder::Styles::plain())]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train as a config says, then evaluate on held-out rows
    #[command(after_help = SIGNALS)]
    Fit(Fit),
    /// Watch runs in the terminal, from any other one
    Watch(Watch),
    /// Prove on held-out rows whether a run may replace another model
    Eval(Eval),
    /// Compare two folders of results, paired on the same rows
    Compare(Compare),
    /// Compute every number of a proof again
    Verify(Verify),
    /// Write text
    Generate(Generate),
    /// Log-likelihood of the target of each row
    Score(Score),
    /// Add an adapter to its base and write a checkpoint folder
    Merge(Merge),
    /// Write a model or an adapter in the form of other programs
    Export(Export),
    /// Whether other programs would load an adapter, each with the reason
    CheckAdapter(CheckAdapter),
    /// Publish the adapter of a run to the model hub, with its card and evidence
    Publish(Publish),
    /// Fetch a base model, a set or an adapter by its name
    Pull(Pull),
    /// Validate a config and its data and report all errors at once
    Check(Check),
    /// Memory and time of a run, before it runs
    Plan(Plan),
    /// What is in a folder or file
    Show(Show),
    /// What devices and programs are here
    Doctor(Doctor),
}

/// A config and what overrides it.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The config file
    pub config: PathBuf,
    /// Override a key, such as --set train.epochs=1
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// auto, cpu, cuda[:N], vulkan[:N] or metal[:N]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Where the run folder goes, instead of runs/NAME
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `trainer fit`.
#[derive(Debug, Args)]
pub struct Fit {
    /// Config.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Go on from the last checkpoint of the run folder
    #[arg(long)]
    pub resume: bool,
    /// Go on if the run folder holds a run, else start one: the same line for every start of a job
    #[arg(long, conflicts_with = "resume")]
    pub resume_or_start: bool,
    /// Lines instead of the dashboard
    #[arg(long)]
    pub plain: bool,
    /// Stop after this many optimiser steps
    #[arg(long, value_name = "N", value_parser = number::whole::<u64>("train.max_steps"))]
    pub max_steps: Option<u64>,
    /// Print the summary as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `trainer watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// Folders of runs, or their names under runs/; several are compared, without any all are listed
    #[arg(value_name = "RUN")]
    pub runs: Vec<PathBuf>,
}

/// `trainer eval`.
#[derive(Debug, Args)]
pub struct Eval {
    /// Config.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The run whose adapter is scored; default is the config's run folder
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Ask only this arm; may be given several times
    #[arg(long = "arm", value_name = "NAME")]
    pub arms: Vec<String>,
    /// Score at most this many rows
    #[arg(long, value_name = "N", value_parser = number::whole::<usize>("eval.limit"))]
    pub limit: Option<usize>,
    /// Recorded answers as an arm of their own, one JSON line a row
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Lines instead of the dashboard
    #[arg(long)]
    pub plain: bool,
    /// Exit with 1 when the candidate is below a bar, such as exact_match=0.9; ARM:METRIC=VALUE for another arm
    #[arg(long, value_name = "METRIC=VALUE")]
    pub fail_under: Vec<String>,
    /// Exit with 1 unless the verdict is this or better: REPLACE_BETTER, REPLACE, INSUFFICIENT, KEEP_FRONTIER
    #[arg(long, value_name = "ANSWER", value_parser = answer::read)]
    pub require: Option<Answer>,
    /// Print the results as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `trainer compare`.
#[derive(Debug, Args)]
pub struct Compare {
    /// Results of what is in use now: a run, a folder of results or a results.json
    pub baseline: PathBuf,
    /// Results of what may replace it
    pub candidate: PathBuf,
    /// The arm of the first results; default is its candidate
    #[arg(long, value_name = "NAME")]
    pub baseline_arm: Option<String>,
    /// The arm of the second results; default is its candidate
    #[arg(long, value_name = "NAME")]
    pub candidate_arm: Option<String>,
    /// The largest loss that is still no loss
    #[arg(long, default_value_t = 0.03, value_name = "M", value_parser = number::number::<f64>("decision.margin"))]
    pub margin: f64,
    /// The fewest groups of rows that a verdict may rest on
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = number::whole::<usize>("decision.min_groups"))]
    pub min_groups: usize,
    /// Print the results as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `trainer verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// A proof.json, or the run or the folder of results that holds it
    pub proof: PathBuf,
    /// The whole proof that a published one was made from: its judgements are checked, and that nothing else was made of it
    #[arg(long, value_name = "FILE")]
    pub whole: Option<PathBuf>,
    /// Print what differs as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Which model.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// A name under configs/models/, a checkpoint folder, or a .gguf file; a run and an adapter know theirs
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// A run, which is asked with its own system message and prompt template, an adapter folder, or OWNER/NAME on the hub
    #[arg(long, value_name = "RUN|ADAPTER")]
    pub adapter: Option<String>,
    /// auto, cpu, cuda[:N], vulkan[:N] or metal[:N]
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// A system message before the prompt, instead of that of the run
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Ask without the system message and the prompt template of the run
    #[arg(long)]
    pub bare: bool,
}

/// `trainer generate`.
#[derive(Debug, Args)]
pub struct Generate {
    /// Model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Most new tokens
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = number::whole::<usize>("eval.max_new_tokens"))]
    pub max_tokens: usize,
    /// 0 takes the most likely token each time
    #[arg(long, default_value_t = 0.0, value_name = "T", value_parser = number::number::<f32>("eval.arm.temperature"))]
    pub temperature: f32,
    /// What random choices are a function of
    #[arg(long, default_value_t = 0, value_name = "S")]
    pub seed: u64,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// The prompt, or - for standard input
    #[arg(default_value = "-")]
    pub prompt: String,
}

/// `trainer score`.
#[derive(Debug, Args)]
pub struct Score {
    /// Model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Rows whose last assistant message is scored
    pub file: PathBuf,
    /// One entry for each token of the target
    #[arg(long)]
    pub tokens: bool,
    /// Score at most this many rows
    #[arg(long, value_name = "N", value_parser = number::whole::<usize>("eval.limit"))]
    pub limit: Option<usize>,
    /// Print JSON lines on stdout
    #[arg(long)]
    pub json: bool,
}

/// What a written model is compared with its origin on.
#[derive(Debug, Args)]
pub struct Compared {
    /// Held-out rows to compare on, instead of those of the run
    #[arg(long, value_name = "FILE.jsonl")]
    pub rows: Option<PathBuf>,
    /// Compare on at most this many rows; 0 compares on none
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = number::whole_or_none::<usize>("eval.limit"))]
    pub kl_rows: usize,
    /// auto, cpu, cuda[:N], vulkan[:N] or metal[:N]: where both are asked
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
}

/// `trainer merge`.
#[derive(Debug, Args)]
pub struct Merge {
    /// A run, an adapter folder, or OWNER/NAME on the hub
    #[arg(value_name = "RUN|ADAPTER")]
    pub what: String,
    /// The base, where it is not the one that the run or the adapter names
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// The folder to write; it must not be there yet
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// bf16 or f32
    #[arg(long, default_value = "bf16", value_name = "TYPE")]
    pub dtype: String,
    /// Most bytes of a file, such as 5GB or 500MB
    #[arg(long, default_value = "5GB", value_name = "SIZE")]
    pub max_shard_size: String,
    /// What to compare on.
    #[command(flatten)]
    pub compared: Compared,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `trainer export`.
#[derive(Debug, Args)]
pub struct Export {
    /// A run, an adapter folder, OWNER/NAME on the hub, or a checkpoint as --model takes it
    #[arg(value_name = "RUN|ADAPTER|CHECKPOINT")]
    pub what: String,
    /// gguf, or safetensors, which is `merge`
    #[arg(long, default_value = "gguf", value_name = "FORMAT")]
    pub format: String,
    /// f16, bf16, q8_0, q4_0, q4_k_m, or lora for the adapter alone; bf16 or f32 with --format safetensors
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// The base, where it is not the one that the run or the adapter names
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// The file to write, or the folder with --format safetensors; it must not be there yet
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// What to compare on.
    #[command(flatten)]
    pub compared: Compared,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `trainer check-adapter`.
#[derive(Debug, Args)]
pub struct CheckAdapter {
    /// An adapter folder, a run, or OWNER/NAME on the hub
    #[arg(value_name = "PATH")]
    pub what: String,
    /// The base, where it is not the one that the adapter names
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Exit with 1 unless this program would load it, such as vLLM; may be given several times
    #[arg(long = "require", value_name = "PROGRAM")]
    pub require: Vec<String>,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `trainer publish`.
#[derive(Debug, Args)]
pub struct Publish {
    /// The folder of a finished run
    pub run: PathBuf,
    /// The repository; it is made if it is not there
    #[arg(long, value_name = "OWNER/NAME")]
    pub repo: String,
    /// Publish to a private repository only; a new one is private anyway unless --public is given
    #[arg(long, conflicts_with = "public")]
    pub private: bool,
    /// Make a new repository public
    #[arg(long)]
    pub public: bool,
    /// The branch; it is made if it is not there
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    pub revision: String,
    /// The commit whose files may be replaced, after you looked at it
    #[arg(long, value_name = "COMMIT")]
    pub parent: Option<String>,
    /// The base model's name on the hub, where the config does not say it
    #[arg(long, value_name = "OWNER/NAME")]
    pub base: Option<String>,
    /// The set's name on the hub, if it is public there
    #[arg(long, value_name = "OWNER/NAME")]
    pub dataset: Option<String>,
    /// The language of the rows, such as en; may be given several times
    #[arg(long = "language", value_name = "CODE")]
    pub languages: Vec<String>,
    /// A licence that you read and that allows this; may be given several times, and the card names it
    #[arg(long, value_name = "NAME")]
    pub accept_licence: Vec<String>,
    /// Write the folder and list its files with sizes and SHA-256, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `trainer pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// A name under configs/models/ or datasets/, or OWNER/NAME of an adapter or a model on the hub
    pub name: String,
    /// Read all cached bytes again and compare their hashes
    #[arg(long)]
    pub verify: bool,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `trainer check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Config.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `trainer plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Config.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Arithmetic only, without the timed probe
    #[arg(long)]
    pub no_probe: bool,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `trainer show`.
#[derive(Debug, Args)]
pub struct Show {
    /// A run or its name under runs/, an adapter, a checkpoint, a .gguf or a .jsonl
    pub path: PathBuf,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `trainer doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}
