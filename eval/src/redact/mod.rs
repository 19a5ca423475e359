//! The list of what a redactor hides, and the redactor: it stands before every outbound prompt and puts placeholders for values.
//! Knows nothing about where prompts go. It hides what has a form or stands in a list; what can only be understood, it cannot hide.

pub mod national;

mod card;
mod digits;
mod email;
mod fold;
mod iban;
mod ip;
mod names;
mod options;
mod originals;
mod overlap;
mod pattern;
mod phone;

pub use card::Card;
pub use email::Email;
pub use iban::Iban;
pub use ip::Ip;
pub use names::Names;
pub use options::{PatternOptions, RedactOptions};
pub use originals::{Originals, Restored};
pub use pattern::Pattern;
pub use phone::Phone;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use crate::Message;
use fold::Folded;

/// Every kind that is no national number, by the name a config writes.
pub const ALL: [&dyn Kind; 5] = [&Email, &Iban, &Card, &Ip, &Phone];

/// What a config writes for all national numbers at once.
pub const NATIONAL: &str = "national_id";

/// Something that a redactor hides.
pub trait Kind: Send + Sync {
    /// The name in configs and counts; in capitals it is the label of the placeholders.
    fn name(&self) -> &str;
    /// What is taken for a value, in one sentence.
    fn policy(&self) -> &str;
    /// Where the values are, in any order; `text` is folded: look-alikes have one spelling and invisible characters are gone.
    fn find(&self, text: &str) -> Vec<Range<usize>>;
    /// What the spellings of one value have in common, so that they share a placeholder.
    fn canonical(&self, value: &str) -> String {
        value.to_owned()
    }
}

impl<K: Kind + ?Sized> Kind for &K {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn policy(&self) -> &str {
        (**self).policy()
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        (**self).find(text)
    }

    fn canonical(&self, value: &str) -> String {
        (**self).canonical(value)
    }
}

/// A prompt that may leave.
#[derive(Clone, Debug)]
pub struct Redacted {
    /// The messages with placeholders for values.
    pub messages: Vec<Message>,
    /// The way back, and the counts by kind.
    pub originals: Originals,
}

/// Hides values behind placeholders such as `[EMAIL_1]`.
///
/// Where finds overlap, the longest stands, then the one whose kind comes first; what a shorter one holds beyond it is hidden
/// as well. A text is read again until nothing more is found, so that redacting twice changes nothing.
pub struct Redactor {
    kinds: Vec<Box<dyn Kind>>,
    labels: BTreeSet<String>,
}

impl Redactor {
    /// A redactor of `kinds`; where finds are equally long, the kind that comes first wins.
    pub fn new(kinds: Vec<Box<dyn Kind>>) -> Self {
        let labels = kinds.iter().map(|kind| kind.name().to_ascii_uppercase()).collect();
        Self { kinds, labels }
    }

    /// The kinds, in order.
    pub fn kinds(&self) -> impl Iterator<Item = &dyn Kind> {
        self.kinds.iter().map(AsRef::as_ref)
    }

    /// Hides the values of one prompt; the same value has the same placeholder in all its messages.
    pub fn redact(&self, messages: &[Message]) -> Redacted {
        let mut originals = Originals::default();
        for message in messages {
            self.reserve(&message.content, &mut originals);
        }
        let hide = |message: &Message| Message::new(message.role, self.hide(&message.content, &mut originals));
        Redacted { messages: messages.iter().map(hide).collect(), originals }
    }

    /// Hides the values of one text.
    pub fn redact_text(&self, text: &str) -> (String, Originals) {
        let mut originals = Originals::default();
        self.reserve(text, &mut originals);
        (self.hide(text, &mut originals), originals)
    }

    fn reserve(&self, text: &str, originals: &mut Originals) {
        self.placeholders(text).into_iter().for_each(|place| originals.reserve(&text[place]));
    }

    /// Ends because each round turns text into placeholders, in which nothing is found.
    fn hide(&self, text: &str, originals: &mut Originals) -> String {
        let mut hidden = text.to_owned();
        while let Some(next) = self.round(&hidden, originals) {
            hidden = next;
        }
        hidden
    }

    /// The text with placeholders for what is found in it, or nothing when there is no find.
    fn round(&self, text: &str, originals: &mut Originals) -> Option<String> {
        let folded = Folded::new(text, &self.placeholders(text));
        let finds = self.kinds.iter().enumerate();
        let finds =
            finds.flat_map(|(kind, finder)| finder.find(folded.text()).into_iter().map(move |range| (range, kind)));
        let parts = overlap::resolve(folded.text(), finds.collect(), folded.masks());
        if parts.is_empty() {
            return None;
        }
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        for (range, kind) in parts {
            let origin = folded.origin(&range);
            // Characters of one composed letter share their bytes: what is hidden already is not hidden again.
            let start = origin.start.max(at);
            if start >= origin.end {
                continue;
            }
            let kind = &self.kinds[kind];
            let canonical = kind.canonical(&folded.text()[range]);
            out.push_str(&text[at..start]);
            out.push_str(&originals.placeholder(kind.name(), canonical, &text[start..origin.end]));
            at = origin.end;
        }
        out.push_str(&text[at..]);
        Some(out)
    }

    /// Where placeholders of this redactor already are.
    fn placeholders(&self, text: &str) -> Vec<Range<usize>> {
        let found = originals::shape().into_iter().flat_map(|shape| shape.find_iter(text));
        found
            .filter(|found| originals::label(found.as_str()).is_some_and(|label| self.labels.contains(label)))
            .map(|found| found.range())
            .collect()
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("labels", &self.labels).finish_non_exhaustive()
    }
}

/// Latin letters in capitals and digits; all else is left out.
fn letters_and_digits(value: &str) -> String {
    value.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

#[cfg(test)]
mod tests;
