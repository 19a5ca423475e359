//! Owns the bridge from text to a checkpoint: messages become ids, ids become text and likelihoods.
//! Knows templates and tokenizers as the model brings them; knows no config, no scorer, no file.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use datasets::Message;
use eval::{Completion, Error, Finish, GenerateOptions, LanguageModel};
use model::Model;
use model::chat_template::{ChatMessage, ChatTemplate};
use model::engine::AdapterId;
use model::generate::Limits;
use model::sampler::Sampler;
use model::tokenizer::Tokenizer;

use crate::controls::Stopped;
use crate::data::messages::for_template;

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
        if checkpoint.config.eos_token_ids.is_empty() {
            bail!("{}: no end-of-turn token is named", checkpoint.path().display());
        }
        let stop = checkpoint.config.eos_token_ids.clone();
        Ok(Speech { tokenizer: Rc::new(tokenizer), template: Rc::new(template), stop })
    }

    /// The text of a prompt, up to where the assistant begins.
    pub fn prompt_text(&self, messages: &[Message]) -> Result<String> {
        self.template.render(&for_template(messages), true).context(TEMPLATE_REFUSED)
    }

    /// The ids of a prompt.
    pub fn prompt_ids(&self, messages: &[Message]) -> Result<Vec<u32>> {
        Ok(self.tokenizer.encode(&self.prompt_text(messages)?)?)
    }

    /// Prompt ids, and the ids of `answer` as the assistant's whole turn with its end.
    pub fn answer_ids(&self, messages: &[Message], answer: &str) -> Result<(Vec<u32>, Vec<u32>)> {
        let mut all = for_template(messages);
        all.push(ChatMessage { role: "assistant".to_owned(), content: answer.to_owned() });
        let rendered = self.template.render_last_span(&all).context(TEMPLATE_REFUSED)?;
        let span = rendered.assistant.first().context("the template renders no answer")?.span.clone();
        let prompt = self.tokenizer.encode(&rendered.text[..span.start])?;
        let whole = self.tokenizer.encode(&rendered.text[..span.end])?;
        // A token that straddles the border would make training and serving see different ids.
        match whole.strip_prefix(prompt.as_slice()) {
            Some(answer) if !answer.is_empty() => Ok((prompt, answer.to_vec())),
            _ => bail!("the answer {answer:?} does not start at a token border after this prompt"),
        }
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
            let (ids, answer) = self.speech.answer_ids(prompt, label)?;
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
        let completions = ids.iter().zip(generated).map(|(prompt, generated)| {
            let text = self.speech.tokenizer.decode(&generated.ids, true).map_err(|error| self.failed(error))?;
            let stopped = generated.finish == model::generate::Finish::Stop;
            Ok(Completion {
                text,
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
