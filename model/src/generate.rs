//! Owns generation and scoring with a cache: ids in, ids out.
//! Knows no text, no template and no prompt file.

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::kernels::CachedDocuments;
use crate::nn::decoder::Adapters;
use crate::nn::{Decoder, KvCache};
use crate::sampler::Sampler;

/// Tokens of continuations that are scored in one pass: enough to keep the matrix products wide.
const SCORED_TOKENS: usize = 1024;

/// When generation of a row ends.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most new tokens of a row.
    pub max_tokens: usize,
    /// Tokens that end a row; they are not part of the output.
    pub stop: Vec<u32>,
}

/// Why a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    Stop,
    /// The limit of new tokens was reached.
    Length,
}

/// What came out of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// New ids without the end token.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
}

/// Continues every prompt. Rows are one batch: the cache holds all of them, and a row that ended takes no more work.
pub(crate) fn generate(
    decoder: &Decoder,
    adapters: &Adapters,
    prompts: &[Vec<u32>],
    limits: &Limits,
    sampler: Sampler,
) -> Result<Vec<Generated>> {
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let positions = decoder.table.length();
    if let Some(prompt) = prompts.iter().find(|prompt| prompt.is_empty() || prompt.len() > positions) {
        return Err(Error::TooLong { tokens: prompt.len(), limit: positions });
    }
    // A row may reach the end of the context before it reaches the limit of new tokens.
    let capacity = longest.saturating_add(limits.max_tokens).min(positions);
    let (mut cache, mut logits) = prefill(decoder, adapters, prompts, capacity);
    let mut rows: Vec<usize> = (0..prompts.len()).collect();
    let mut out: Vec<Generated> =
        prompts.iter().map(|_| Generated { ids: Vec::new(), finish: Finish::Length }).collect();
    loop {
        let mut next = Vec::with_capacity(rows.len());
        let mut going = Vec::with_capacity(rows.len());
        for (&row, logits) in rows.iter().zip(logits.iter()) {
            if out[row].ids.len() == limits.max_tokens {
                continue;
            }
            if logits.iter().any(|logit| logit.is_nan()) {
                return Err(Error::NonFinite { what: format!("a logit of prompt {row}") });
            }
            let id = sampler.sample(logits, row, out[row].ids.len());
            if limits.stop.contains(&id) {
                out[row].finish = Finish::Stop;
                continue;
            }
            out[row].ids.push(id);
            if out[row].ids.len() < limits.max_tokens && cache.length(row) < cache.capacity() {
                next.push(id);
                going.push(row);
            }
        }
        if going.is_empty() {
            return Ok(out);
        }
        rows = going;
        let past = rows.iter().map(|&row| cache.length(row)).collect();
        let documents = CachedDocuments { bounds: (0..=rows.len()).collect(), rows: rows.clone(), past };
        let hidden = decoder.forward_cached(&next, &documents, &mut cache, adapters, true);
        logits = rows_of(&decoder.logits(hidden));
    }
}

/// Log-probability of every token of each continuation after its prompt: `[prompt][continuation][token]`.
/// A prompt is run once and all its continuations read its cache.
pub(crate) fn score(
    decoder: &Decoder,
    adapters: &Adapters,
    prompts: &[Vec<u32>],
    continuations: &[Vec<u32>],
) -> Result<Vec<Vec<Vec<f32>>>> {
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let extra = continuations.iter().map(Vec::len).max().unwrap_or(0);
    let positions = decoder.table.length();
    if longest + extra > positions || continuations.iter().any(Vec::is_empty) {
        return Err(Error::TooLong { tokens: longest + extra, limit: positions });
    }
    let (mut cache, first) = prefill(decoder, adapters, prompts, longest);
    // The last token of a continuation predicts nothing that is asked for.
    let fed: Vec<&[u32]> =
        continuations.iter().map(|ids| &ids[..ids.len() - 1]).filter(|ids| !ids.is_empty()).collect();
    let ids: Vec<u32> = fed.concat();
    let targets: Vec<u32> = continuations.iter().flat_map(|ids| ids[1..].iter().copied()).collect();
    let together = (SCORED_TOKENS / ids.len().max(1)).max(1);
    let mut all = Vec::with_capacity(prompts.len());
    for start in (0..prompts.len()).step_by(together) {
        let rows = start..prompts.len().min(start + together);
        let mut later = Vec::new();
        if !ids.is_empty() {
            let mut documents = CachedDocuments { bounds: vec![0], rows: Vec::new(), past: Vec::new() };
            for row in rows.clone() {
                for ids in &fed {
                    documents.bounds.push(documents.bounds.last().copied().unwrap_or(0) + ids.len());
                    documents.rows.push(row);
                    documents.past.push(cache.length(row));
                }
            }
            let hidden = decoder.forward_cached(&ids.repeat(rows.len()), &documents, &mut cache, adapters, false);
            let targets = targets.repeat(rows.len());
            let (losses, _) = decoder.kernels.cross_entropy(&hidden, &decoder.lm_head, &targets, None);
            later = crate::device::read::host_or_unwind(&losses);
        }
        let mut later = later.into_iter();
        for row in rows {
            let scored = continuations.iter().map(|ids| {
                let mut scores = vec![log_probability(&first[row], ids[0])];
                scores.extend(later.by_ref().take(ids.len() - 1).map(|loss| -loss));
                scores
            });
            all.push(scored.collect());
        }
    }
    Ok(all)
}

/// Runs all prompts and returns the filled cache and the logits after each prompt.
fn prefill(decoder: &Decoder, adapters: &Adapters, prompts: &[Vec<u32>], capacity: usize) -> (KvCache, Vec<Vec<f32>>) {
    let mut cache = KvCache::new(&decoder.config, prompts.len(), capacity, &decoder.device, decoder.dtype);
    let mut bounds = vec![0];
    for prompt in prompts {
        bounds.push(bounds.last().copied().unwrap_or(0) + prompt.len());
    }
    let ids: Vec<u32> = prompts.iter().flatten().copied().collect();
    let last: Vec<u32> = bounds[1..].iter().map(|end| *end as u32 - 1).collect();
    let documents = CachedDocuments { bounds, rows: (0..prompts.len()).collect(), past: vec![0; prompts.len()] };
    let hidden = decoder.forward_cached(&ids, &documents, &mut cache, adapters, true);
    let hidden = decoder.kernels.gather(&hidden, &last);
    let logits = rows_of(&decoder.logits(hidden));
    (cache, logits)
}

fn rows_of(logits: &Tensor<2>) -> Vec<Vec<f32>> {
    let [_, vocabulary] = logits.dims();
    let values = crate::device::read::host_or_unwind(logits);
    values.chunks_exact(vocabulary).map(<[f32]>::to_vec).collect()
}

fn log_probability(logits: &[f32], id: u32) -> f32 {
    let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - peak).exp()).sum();
    logits[id as usize] - peak - sum.ln() as f32
}
