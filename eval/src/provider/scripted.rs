//! A language model that says what it was told to say: for tests, dry runs and replays.
//! Knows nothing about language; it counts words as tokens.

use std::collections::HashMap;

use crate::{Completion, Error, Finish, GenerateOptions, LanguageModel, Message};

/// The name of the provider in the list.
pub const NAME: &str = "scripted";

type Answer = Box<dyn FnMut(&[Message], &GenerateOptions) -> Completion>;
type Ranking = Box<dyn FnMut(&[Message], &[String]) -> Vec<f64>>;

/// A fake model made of closures.
pub struct Scripted {
    name: String,
    answer: Answer,
    ranking: Option<Ranking>,
}

impl Scripted {
    /// A model that answers each prompt with what `answer` returns.
    pub fn new(
        name: impl Into<String>,
        answer: impl FnMut(&[Message], &GenerateOptions) -> Completion + 'static,
    ) -> Self {
        Self { name: name.into(), answer: Box::new(answer), ranking: None }
    }

    /// A model that looks up the last message of the prompt; a prompt that is not in the map is a failed row.
    pub fn from_map(name: impl Into<String>, answers: HashMap<String, String>) -> Self {
        Self::new(name, move |prompt, _| {
            let last = prompt.last().map(|message| message.content.as_str()).unwrap_or_default();
            match answers.get(last) {
                Some(text) => says(prompt, text),
                None => Completion {
                    finish: Finish::Failed { reason: "no scripted answer".to_owned() },
                    ..says(prompt, "")
                },
            }
        })
    }

    /// Gives the model the capability to rank.
    #[must_use]
    pub fn with_ranking(mut self, ranking: impl FnMut(&[Message], &[String]) -> Vec<f64> + 'static) -> Self {
        self.ranking = Some(Box::new(ranking));
        self
    }
}

/// A completion that ends by itself and says `text`.
pub fn says(prompt: &[Message], text: &str) -> Completion {
    Completion {
        text: text.to_owned(),
        written: None,
        finish: Finish::Stop,
        prompt_tokens: prompt.iter().map(|message| num_words(&message.content)).sum(),
        completion_tokens: num_words(text) + 1,
    }
}

impl LanguageModel for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    fn generate(&mut self, prompts: &[Vec<Message>], options: &GenerateOptions) -> Result<Vec<Completion>, Error> {
        Ok(prompts.iter().map(|prompt| (self.answer)(prompt, options)).collect())
    }

    fn rank(&mut self, prompts: &[Vec<Message>], labels: &[String]) -> Result<Vec<Vec<f64>>, Error> {
        match &mut self.ranking {
            Some(ranking) => Ok(prompts.iter().map(|prompt| ranking(prompt, labels)).collect()),
            None => Err(Error::Unsupported { model: self.name.clone(), capability: "rank labels by likelihood" }),
        }
    }
}

fn num_words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::Role;

    #[test]
    fn a_mapped_prompt_is_answered_and_an_unknown_one_fails_as_a_row() {
        let answers = HashMap::from([("2 + 2".to_owned(), "4".to_owned())]);
        let mut model = Scripted::from_map("sums", answers);
        let prompts = [vec![Message::new(Role::User, "2 + 2")], vec![Message::new(Role::User, "3 + 3")]];
        let options = GenerateOptions { max_tokens: 4, temperature: 0.0, seed: 0 };
        let said = model.generate(&prompts, &options).unwrap();
        assert_eq!((said[0].text.as_str(), &said[0].finish), ("4", &Finish::Stop));
        assert!(matches!(said[1].finish, Finish::Failed { .. }));
    }

    #[test]
    fn a_model_without_a_ranking_says_that_it_cannot_rank() {
        let mut model = Scripted::from_map("plain", HashMap::new());
        assert_eq!(model.rank(&[], &[]).unwrap_err().to_string(), "plain cannot rank labels by likelihood");
    }
}
