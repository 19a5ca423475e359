//! What a config says about scorers, and the scorers that it asks for.
//! Knows nothing about config files: paths are already absolute.

use ground::read::{self, Kind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Bleu, Chrf, ExactMatch, FirstLineAccept, Includes, JsonFields, JsonValid, Label, LabelLikelihood, Numeric,
    PrefixAccept, Regex, Rouge, Scorer, Spans, Ter, includes, json_fields, json_valid, label, numeric, regex, spans,
};
use crate::Error;
use crate::text::rouge::Variant;

/// A scorer without options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plain {}

/// One scorer as a config names it, by its `kind`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScorerOptions {
    /// The answer is the target, character for character.
    ExactMatch(Plain),
    /// The target stands in the answer.
    Includes(includes::Options),
    /// A pattern finds the target in the answer.
    Regex(regex::Options),
    /// The number in the answer is near that of the target.
    Numeric(numeric::Options),
    /// The answer is one of the closed labels.
    Label(label::Options),
    /// The label with the highest likelihood is the target; only for models in this process.
    LabelLikelihood(Plain),
    /// The same by likelihood per byte.
    LabelLikelihoodPerByte(Plain),
    /// Spans of named entities.
    Spans(spans::Options),
    /// The answer is JSON, and if there is a schema one that it allows.
    JsonValid(json_valid::Options),
    /// Fields of a JSON record.
    JsonFields(json_fields::Options),
    /// BLEU.
    Bleu(Plain),
    /// chrF.
    Chrf(Plain),
    /// chrF++.
    ChrfPlusPlus(Plain),
    /// Translation edit rate, as 1 − TER.
    Ter(Plain),
    /// ROUGE-1.
    #[serde(rename = "rouge_1")]
    Rouge1(Plain),
    /// ROUGE-2.
    #[serde(rename = "rouge_2")]
    Rouge2(Plain),
    /// ROUGE-L.
    RougeL(Plain),
    /// ROUGE-Lsum.
    RougeLsum(Plain),
    /// The accepted share of a suggestion.
    PrefixAccept(Plain),
    /// Whether the first line of a suggestion is accepted.
    FirstLineAccept(Plain),
}

/// A scorer with everything it was made from, so that it can be made again from results alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorerSpec {
    /// What the config says.
    pub options: ScorerOptions,
    /// The schema that JSON answers must meet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

impl ScorerSpec {
    /// A scorer whose schema, if it names one, was read; `set_schema` is that of the held-out set.
    ///
    /// # Errors
    /// When the file of a schema cannot be read or is not JSON.
    pub fn new(mut options: ScorerOptions, set_schema: Option<&Value>) -> Result<Self, Error> {
        let ScorerOptions::JsonValid(json) = &mut options else { return Ok(Self { options, schema: None }) };
        let schema = match json.schema.take() {
            None => set_schema.cloned(),
            Some(path) => {
                let text =
                    read::text(&path, Kind::Prompt).map_err(|source| Error::ReadFile { path: path.clone(), source })?;
                let parsed = serde_json::from_str(&text);
                Some(parsed.map_err(|error| Error::BadSchema { path, message: error.to_string() })?)
            }
        };
        Ok(Self { options, schema })
    }

    /// Whether [`Self::build`] would read a file; a spec that [`Self::new`] made never does.
    pub fn reads_a_file(&self) -> bool {
        matches!(&self.options, ScorerOptions::JsonValid(options) if options.schema.is_some())
    }

    /// The scorer.
    ///
    /// # Errors
    /// When an option cannot work.
    pub fn build(&self, labels: &[String]) -> Result<Box<dyn Scorer>, Error> {
        Ok(match &self.options {
            ScorerOptions::ExactMatch(_) => Box::new(ExactMatch),
            ScorerOptions::Includes(options) => Box::new(Includes::build(*options)?),
            ScorerOptions::Regex(options) => Box::new(Regex::build(options.clone())?),
            ScorerOptions::Numeric(options) => Box::new(Numeric::build(*options)?),
            ScorerOptions::Label(options) => Box::new(Label::build(options.clone(), labels)?),
            ScorerOptions::LabelLikelihood(_) => Box::new(LabelLikelihood { per_byte: false }),
            ScorerOptions::LabelLikelihoodPerByte(_) => Box::new(LabelLikelihood { per_byte: true }),
            ScorerOptions::Spans(options) => Box::new(Spans::build(*options)?),
            ScorerOptions::JsonValid(options) => match &self.schema {
                Some(schema) => {
                    Box::new(JsonValid::with_schema(options.lenient, schema, std::path::Path::new("the schema"))?)
                }
                None => Box::new(JsonValid::build(options.clone())?),
            },
            ScorerOptions::JsonFields(options) => Box::new(JsonFields::build(options.clone())?),
            ScorerOptions::Bleu(_) => Box::new(Bleu),
            ScorerOptions::Chrf(_) => Box::new(Chrf { words: false }),
            ScorerOptions::ChrfPlusPlus(_) => Box::new(Chrf { words: true }),
            ScorerOptions::Ter(_) => Box::new(Ter),
            ScorerOptions::Rouge1(_) => Box::new(Rouge(Variant::One)),
            ScorerOptions::Rouge2(_) => Box::new(Rouge(Variant::Two)),
            ScorerOptions::RougeL(_) => Box::new(Rouge(Variant::L)),
            ScorerOptions::RougeLsum(_) => Box::new(Rouge(Variant::Lsum)),
            ScorerOptions::PrefixAccept(_) => Box::new(PrefixAccept),
            ScorerOptions::FirstLineAccept(_) => Box::new(FirstLineAccept),
        })
    }
}
