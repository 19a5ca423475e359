//! Owns what is said when training does not fit the memory of its device: which settings would.
//! Numbers in, text out; knows no device and asks none.

use model::Error;

use crate::config::Config;
use crate::config::raw::Recompute;
use crate::data::loader::Extent;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Tokens of the largest micro-batch.
    pub tokens: usize,
    /// Tokens of the longest row. No row is cut between micro-batches, so none can be smaller.
    pub longest_row: usize,
    /// `data.max_tokens`, which `train.micro_batch_tokens` may not be under.
    pub max_tokens: usize,
    /// `train.recompute`.
    pub recompute: Recompute,
    /// `lora.r`.
    pub rank: usize,
}

impl Attempt {
    /// The attempt to train as a config says on micro-batches of this extent.
    #[must_use]
    pub fn new(config: &Config, extent: &Extent) -> Self {
        Attempt {
            tokens: extent.max_tokens,
            longest_row: extent.longest_row,
            max_tokens: config.data.max_tokens,
            recompute: config.train.recompute,
            rank: config.lora.r,
        }
    }

    /// An error as it was, or with the settings to type if its cause is too little memory.
    #[must_use]
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let causes = error.chain().filter_map(|cause| cause.downcast_ref::<Error>());
        let settings = match causes.into_iter().find(|cause| cause.is_out_of_memory()) {
            None => return error,
            Some(&Error::DoesNotFit { tokens_that_fit, tokens_that_fit_recomputed, .. }) => {
                self.that_fit(tokens_that_fit, tokens_that_fit_recomputed)
            }
            Some(&Error::BufferTooLarge { tokens_that_fit, .. }) => self.that_fit(tokens_that_fit, None),
            Some(_) => self.that_need_less(),
        };
        let what = format!("training with micro-batches of {} tokens does not fit the device", self.tokens);
        error.context(format!("{what}\n{}", hints(&settings)))
    }

    /// Settings that fit: `tokens` are those of the largest micro-batch that does, as it is and with every layer
    /// computed twice.
    fn that_fit(&self, tokens: Option<usize>, recomputed: Option<usize>) -> Vec<String> {
        let (tokens, recomputed) = match self.recompute {
            Recompute::Never => (tokens, recomputed.filter(|_| recomputed > tokens)),
            // What must be computed twice is, so there is nothing to gain by saying so.
            Recompute::Auto | Recompute::Always => (tokens.max(recomputed), None),
        };
        let mut settings = Vec::new();
        if let Some(tokens) = tokens.filter(|tokens| *tokens >= self.longest_row) {
            settings.push(self.micro_batches_of(tokens));
        }
        if let Some(tokens) = recomputed.filter(|tokens| *tokens >= self.longest_row) {
            let smaller = (tokens < self.tokens).then(|| format!(" {}", self.micro_batches_of(tokens)));
            settings.push(format!("{RECOMPUTE}{}", smaller.unwrap_or_default()));
        }
        match tokens.filter(|tokens| (1..self.longest_row).contains(tokens)) {
            Some(tokens) => settings.push(self.rows_up_to(tokens)),
            None => settings.push(self.smaller_model()),
        }
        if let Some(tokens) = recomputed.filter(|tokens| (1..self.longest_row).contains(tokens)) {
            settings.insert(0, format!("{RECOMPUTE} {}", self.rows_up_to(tokens)));
        }
        settings
    }

    /// Settings that need less, where nobody knows how much less is enough.
    #[must_use]
    pub fn that_need_less(&self) -> Vec<String> {
        let mut settings = Vec::new();
        let half = (self.tokens / 2).max(self.longest_row);
        if half < self.tokens {
            settings.push(self.micro_batches_of(half));
        }
        if self.recompute != Recompute::Always {
            // `auto` relies on what seems free, and that was too much.
            settings.push(RECOMPUTE.to_owned());
        }
        settings.push(if half < self.tokens { self.smaller_model() } else { self.rows_up_to(self.tokens / 2) });
        settings
    }

    fn micro_batches_of(&self, tokens: usize) -> String {
        let rows = (tokens < self.max_tokens).then(|| format!(" --set data.max_tokens={tokens}"));
        format!("--set train.micro_batch_tokens={tokens}{}", rows.unwrap_or_default())
    }

    fn rows_up_to(&self, tokens: usize) -> String {
        format!(
            "--set data.max_tokens={tokens} --set train.micro_batch_tokens={tokens} (the longest row has {} tokens)",
            self.longest_row
        )
    }

    fn smaller_model(&self) -> String {
        format!("a lora.r below {}, or a smaller model.base", self.rank)
    }
}

const RECOMPUTE: &str = "--set train.recompute=always";

/// Alternatives as hints, one a line.
#[must_use]
pub fn hints(settings: &[String]) -> String {
    let line = |(at, setting): (usize, &String)| format!("hint: {}{setting}", if at == 0 { "" } else { "or " });
    settings.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPT: Attempt =
        Attempt { tokens: 4096, longest_row: 700, max_tokens: 1024, recompute: Recompute::Never, rank: 16 };

    fn text(attempt: Attempt, tokens: Option<usize>, recomputed: Option<usize>) -> String {
        hints(&attempt.that_fit(tokens, recomputed))
    }

    #[test]
    fn a_smaller_micro_batch_or_computing_twice_is_told_with_what_fits() {
        let expected = "hint: --set train.micro_batch_tokens=1500\n\
                        hint: or --set train.recompute=always\n\
                        hint: or a lora.r below 16, or a smaller model.base";
        assert_eq!(text(ATTEMPT, Some(1500), Some(9000)), expected);
        let both = text(ATTEMPT, Some(1500), Some(3000));
        assert!(both.contains("or --set train.recompute=always --set train.micro_batch_tokens=3000"), "{both}");
    }

    #[test]
    fn a_micro_batch_below_the_limit_of_rows_lowers_that_too() {
        let text = text(ATTEMPT, Some(800), Some(2000));
        assert!(text.starts_with("hint: --set train.micro_batch_tokens=800 --set data.max_tokens=800\n"), "{text}");
        assert!(text.contains("recompute=always --set train.micro_batch_tokens=2000\n"), "{text}");
    }

    #[test]
    fn a_row_that_fits_only_computed_twice_offers_that_first_and_shorter_rows_after() {
        let expected = "hint: --set train.recompute=always --set train.micro_batch_tokens=900 --set data.max_tokens=900\n\
                        hint: or --set data.max_tokens=300 --set train.micro_batch_tokens=300 (the longest row has 700 tokens)";
        assert_eq!(text(ATTEMPT, Some(300), Some(900)), expected);
    }

    #[test]
    fn rows_that_fit_in_no_way_must_be_shorter() {
        let expected = "hint: --set train.recompute=always --set data.max_tokens=500 --set train.micro_batch_tokens=500 \
                        (the longest row has 700 tokens)\n\
                        hint: or --set data.max_tokens=300 --set train.micro_batch_tokens=300 (the longest row has 700 tokens)";
        assert_eq!(text(ATTEMPT, Some(300), Some(500)), expected);
    }

    #[test]
    fn what_is_done_already_is_not_offered() {
        let always = Attempt { recompute: Recompute::Always, ..ATTEMPT };
        assert!(!text(always, Some(1500), Some(1500)).contains("recompute"));
        let auto = Attempt { recompute: Recompute::Auto, ..ATTEMPT };
        let found = text(auto, Some(1500), Some(3000));
        assert!(found.starts_with("hint: --set train.micro_batch_tokens=3000\nhint: or a lora.r"), "{found}");
        assert_eq!(text(auto, None, None), "hint: a lora.r below 16, or a smaller model.base");
    }

    #[test]
    fn an_error_of_another_kind_stays_as_it_is_and_one_of_memory_says_what_to_type() {
        let other = ATTEMPT.explain(anyhow::anyhow!("no"));
        assert_eq!(format!("{other:#}"), "no");
        let full = Error::DoesNotFit {
            needed_bytes: 31_000_000_000,
            free_bytes: 24_000_000_000,
            tokens_that_fit: Some(2048),
            tokens_that_fit_recomputed: Some(8192),
        };
        let text = crate::words::of(&ATTEMPT.explain(anyhow::Error::from(full).context("the first batch")));
        let expected = "training with micro-batches of 4096 tokens does not fit the device: the first batch: \
                        31.0 GB are needed, 24.0 GB of the device can be had\n\
                        hint: --set train.micro_batch_tokens=2048\n\
                        hint: or --set train.recompute=always\n\
                        hint: or a lora.r below 16, or a smaller model.base";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_tensor_that_no_kernel_could_read_asks_for_fewer_tokens_and_memory_that_was_refused_for_half() {
        let wide = Error::BufferTooLarge {
            what: "one activation of 4096 tokens".to_owned(),
            bytes: 300_000_000,
            limit_bytes: 128_000_000,
            tokens_that_fit: Some(1700),
            hint: None,
        };
        let expected = "training with micro-batches of 4096 tokens does not fit the device: one activation of 4096 tokens \
                        would take 0.30 GB, the largest tensor of the device is 0.13 GB\n\
                        hint: --set train.micro_batch_tokens=1700\n\
                        hint: or a lora.r below 16, or a smaller model.base";
        assert_eq!(crate::words::of(&ATTEMPT.explain(wide.into())), expected);
        let refused = model::device::DeviceFailure::told("out of device memory allocating 9 bytes");
        let text = crate::words::of(&ATTEMPT.explain(Error::from(refused).into()));
        assert!(text.contains("hint: --set train.micro_batch_tokens=2048\n"), "{text}");
    }

    #[test]
    fn what_needs_less_is_half_a_micro_batch_or_half_a_row() {
        let wide = hints(&ATTEMPT.that_need_less());
        assert!(
            wide.starts_with("hint: --set train.micro_batch_tokens=2048\nhint: or --set train.recompute"),
            "{wide}"
        );
        let one_row = Attempt { tokens: 700, recompute: Recompute::Always, ..ATTEMPT };
        let text = hints(&one_row.that_need_less());
        assert!(text.starts_with("hint: --set data.max_tokens=350 --set train.micro_batch_tokens=350"), "{text}");
    }
}
