//! Owns the bridge from text to a checkpoint: messages become ids, ids become text and likelihoods.
//! Knows templates and tokenizers as the model brings them; knows no config, no scorer, no file.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use datasets::Message;
use eval::reasoning::MARKS;
use eval::{Completion, Error, Finish, GenerateOptions, LanguageModel};
use ground::terminal::shown_in_line;
use model::Model;
use model::chat_template::{ChatMessage, ChatTemplate};
use model::engine::AdapterId;
use model::generate::Limits;
use model::sampler::Sampler;
use model::tokenizer::Tokenizer;

use crate::config::Config;
use crate::controls::Stopped;
use crate::data::messages::for_template;
use crate::data::{Language, contents};

/// Before the message of a template.
const TEMPLATE_REFUSED: &str = "the messages cannot be written as a chat\nhint: change the prompt or the system message, or use the chat template the model was made for";

/// Text to ids and back, as the base model was made for.
#[derive(Clone)]
pub struct Speech {
    /// The tokenizer.
    pub tokenizer: Rc<Tokenizer>,
    /// The chat template.
    pub template: Rc<ChatTemplate>,
    /// Ids that end an answer.
    pub stop: Vec<u32>,
    /// Of these, the token that ends a learnt answer and that the model itself does not name as an end.
    pub learnt_end: Option<String>,
}

/// The system message of what is asked. Rows were held against their own before.
fn system_of(messages: &[ChatMessage]) -> Option<&str> {
    messages.first().filter(|message| message.role == "system").map(|message| message.content.as_str())
}

impl Speech {
    /// What a checkpoint brings; a checkpoint without a chat template is refused.
    pub fn of(checkpoint: &model::Checkpoint) -> Result<Self> {
        let tokenizer = checkpoint.tokenizer()?;
        let Some(template) = tokenizer.chat_template()? else {
            bail!(
                "{}: no chat template\nhint: use the instruct version of the model, or put chat_template.jinja beside it",
                checkpoint.path().display()
            );
        };
        let mut stop = checkpoint.config.eos_token_ids.clone();
        let end = template.end_of_answer().and_then(|end| Some((tokenizer.token_id(&end)?, end)));
        let learnt_end = end.filter(|(id, _)| !stop.contains(id));
        stop.extend(learnt_end.as_ref().map(|(id, _)| *id));
        if stop.is_empty() {
            bail!("{}: no end-of-turn token is named", checkpoint.path().display());
        }
        let learnt_end = learnt_end.map(|(_, end)| end);
        Ok(Speech { tokenizer: Rc::new(tokenizer), template: Rc::new(template), stop, learnt_end })
    }

    /// The same with what a config says of the chat template.
    pub fn worded(mut self, config: &Config) -> Self {
        let bare = (*self.template).clone();
        let template = config
            .template
            .iter()
            .fold(bare, |template, (name, value)| template.with_variable(name, serde_json::json!(value)));
        self.template = Rc::new(template.with_closed_block(config.data.close_think_block));
        self
    }

    /// What turns the messages of rows into tokens for a checkpoint.
    pub fn language(&self, checkpoint: &model::Checkpoint) -> Language<'_> {
        let context_tokens = checkpoint.config.max_position_embeddings;
        Language { tokenizer: &self.tokenizer, template: &self.template, context_tokens }
    }

    /// What to say where learnt answers end with a token that the model does not name.
    pub fn note(&self) -> Option<String> {
        let end = shown_in_line(self.learnt_end.as_deref()?);
        let named: Vec<String> = self.stop.iter().filter_map(|id| self.tokenizer.token(*id)).collect();
        let others: Vec<String> = named
            .iter()
            .filter(|name| Some(name.as_str()) != self.learnt_end.as_deref())
            .map(|name| shown_in_line(name).into())
            .collect();
        let stops = match others.len() {
            0 => format!("no token as its end, so generation stops at {end}"),
            1 => format!("{} as its end, so generation stops at both", others[0]),
            _ => format!("{} as its ends, so generation stops at any of them", others.join(", ")),
        };
        Some(format!("answers end with {end}; the model names {stops}"))
    }

    /// The ids of a prompt, up to where the assistant begins. What it says is text, and all of it stands there.
    pub fn prompt_ids(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let messages = for_template(messages);
        contents::refuse_control(&self.tokenizer, &messages)?;
        let prompt = self.template.render(&messages, true).context(TEMPLATE_REFUSED)?;
        contents::check(&messages, &prompt, &[], false, system_of(&messages))?;
        Ok(self.tokenizer.encode(&prompt)?)
    }

    /// Prompt ids, and the ids of a label as the assistant's whole turn with its end. It is no row, so that a block which the
    /// prompt opens is closed in front of it.
    fn label_ids(&self, messages: &[Message], label: &str) -> Result<(Vec<u32>, Vec<u32>)> {
        let mut all = for_template(messages);
        all.push(ChatMessage { role: "assistant".to_owned(), content: label.to_owned() });
        contents::refuse_control(&self.tokenizer, &all)?;
        let rendered = self.template.render_last_answer(&all).context(TEMPLATE_REFUSED)?;
        let span = rendered.assistant.first().context("the template renders no answer")?.span.clone();
        contents::check(&all, &rendered.text, std::slice::from_ref(&span), false, system_of(&all))?;
        let prompt = self.tokenizer.encode(&rendered.text[..span.start])?;
        let whole = self.tokenizer.encode(&rendered.text[..span.end])?;
        // A token that straddles the border would make training and serving see different ids.
        match whole.strip_prefix(prompt.as_slice()) {
            Some(answer) if !answer.is_empty() => Ok((prompt, answer.to_vec())),
            _ => bail!("label {label:?} does not start at a token border after this prompt"),
        }
    }

    /// What a model said, of the ids that it wrote after a prompt: reasoning stands between its marks, those that the
    /// prompt wrote included; what the template writes around an answer is none of it.
    /// With it comes all that was written, where that is more.
    fn said(&self, messages: &[Message], ids: &[u32]) -> Result<(String, Option<String>)> {
        let written = self.tokenizer.decode(ids, false)?;
        let frame = self.template.frame(&for_template(messages)).context(TEMPLATE_REFUSED)?;
        let said = format!("{}{}", frame.opened, frame.content(&written));
        let is_mark = |token: &str| MARKS.iter().any(|(open, close)| [open, close].contains(&&token));
        let others = self.tokenizer.special_tokens().all.iter().filter(|token| !token.is_empty() && !is_mark(token));
        let said =
            others.fold(said, |said, token| if said.contains(token.as_str()) { said.replace(token, "") } else { said });
        let written = format!("{}{written}", frame.opened);
        Ok(if said == written { (said, None) } else { (said, Some(written)) })
    }
}

/// A local checkpoint, with or without an adapter, as a provider of answers.
pub struct LocalModel {
    name: String,
    model: Model,
    adapter: Option<AdapterId>,
    speech: Speech,
    labels: HashMap<String, Vec<u32>>,
    stop: Option<Arc<AtomicBool>>,
}

impl LocalModel {
    /// A model under a name.
    #[must_use]
    pub fn new(name: &str, model: Model, adapter: Option<AdapterId>, speech: Speech) -> Self {
        LocalModel { name: name.to_owned(), model, adapter, speech, labels: HashMap::new(), stop: None }
    }

    /// Refuses further work once the flag is set.
    #[must_use]
    pub fn stopped_by(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = Some(stop);
        self
    }

    fn check_stop(&self) -> Result<(), Error> {
        match &self.stop {
            Some(stop) if stop.load(Ordering::SeqCst) => {
                Err(Error::Model { model: self.name.clone(), source: Stopped.into() })
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, error: impl Into<anyhow::Error>) -> Error {
        // A cause that stays what it is keeps its hint.
        let source = match error.into().downcast::<model::Error>() {
            Ok(error) => error.into(),
            Err(error) => error.into(),
        };
        Error::Model { model: self.name.clone(), source }
    }

    /// Prompt ids, and the ids of every label, which must not depend on the prompt.
    fn encode(&mut self, prompt: &[Message], labels: &[String]) -> Result<(Vec<u32>, Vec<Vec<u32>>)> {
        let mut prompt_ids = Vec::new();
        let mut label_ids = Vec::with_capacity(labels.len());
        for label in labels {
            let (ids, answer) = self.speech.label_ids(prompt, label)?;
            let known = self.labels.entry(label.clone()).or_insert_with(|| answer.clone());
            if *known != answer {
                bail!("label {label:?} has other tokens after another prompt");
            }
            prompt_ids = ids;
            label_ids.push(answer);
        }
        Ok((prompt_ids, label_ids))
    }
}

impl LanguageModel for LocalModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn generate(&mut self, prompts: &[Vec<Message>], options: &GenerateOptions) -> Result<Vec<Completion>, Error> {
        self.check_stop()?;
        let ids: Result<Vec<Vec<u32>>> = prompts.iter().map(|prompt| self.speech.prompt_ids(prompt)).collect();
        let ids = ids.map_err(|error| self.failed(error))?;
        let limits = Limits { max_tokens: options.max_tokens, stop: self.speech.stop.clone() };
        let sampler = Sampler { temperature: options.temperature as f32, seed: options.seed };
        let generated = self.model.generate(self.adapter, &ids, &limits, sampler);
        let generated = generated.map_err(|error| self.failed(error))?;
        let completions = prompts.iter().zip(&ids).zip(generated).map(|((messages, prompt), generated)| {
            let (text, written) = self.speech.said(messages, &generated.ids).map_err(|error| self.failed(error))?;
            let stopped = generated.finish == model::generate::Finish::Stop;
            Ok(Completion {
                text,
                written,
                finish: if stopped { Finish::Stop } else { Finish::Length },
                prompt_tokens: prompt.len(),
                completion_tokens: generated.ids.len() + usize::from(stopped),
            })
        });
        completions.collect()
    }

    fn rank(&mut self, prompts: &[Vec<Message>], labels: &[String]) -> Result<Vec<Vec<f64>>, Error> {
        self.check_stop()?;
        let mut ids = Vec::with_capacity(prompts.len());
        let mut continuations = Vec::new();
        for prompt in prompts {
            let encoded = self.encode(prompt, labels);
            let (prompt, labels) = encoded.map_err(|error| self.failed(error))?;
            ids.push(prompt);
            continuations = labels;
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let scores = self.model.score(self.adapter, &ids, &continuations).map_err(|error| self.failed(error))?;
        let sum = |tokens: &Vec<f32>| tokens.iter().map(|&token| f64::from(token)).sum();
        Ok(scores.iter().map(|row| row.iter().map(sum).collect()).collect())
    }
}
