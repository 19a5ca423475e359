//! Owns answers with a cache of keys and values on the device: prompts are run once, packed; then every row grows by a token a
//! pass, or continuations are scored side by side. Knows ids; knows no text.
//!
//! Prompts whose caches do not fit the device together are answered in groups.

use cuda::kernels::cached_attention::CachedRows;
use cuda::kernels::kv_cache::Cache;
use cuda::kernels::sample::{Choice, INVALID};
use cuda::{Block, Span};

use super::CudaEngine;
use super::head::NO_CAP;
use super::inputs::{DeviceInputs, Inputs};
use super::layout::{self, Layout, Size};
use super::pass::Work;
use crate::engine::AdapterId;
use crate::error::{Error, Result};
use crate::generate::{Finish, Generated, Limits};
use crate::sampler::Sampler;

/// Tokens of prompts that are run at once, unless one prompt is longer.
const PROMPT_TOKENS: usize = 8192;
/// Tokens of continuations that are scored at once.
const SCORED_TOKENS: usize = 4096;

/// Keys and values of some rows, in every layer.
struct Caches {
    block: Block,
    /// Parts of attention over long caches.
    scratch: Block,
    rows: usize,
    capacity: usize,
    width: usize,
}

/// Tokens of a pass that read the cache.
struct Step<'a> {
    ids: &'a [u32],
    /// The cache row of each token.
    rows: &'a [u32],
    /// Valid tokens of that row before the token's document.
    past: &'a [u32],
    /// Where the token's document begins in this pass.
    first: &'a [u32],
}

impl Caches {
    /// Keys and values of a layer.
    fn layer(&self, layer: usize) -> Cache {
        let (rows, values) = (self.rows * self.capacity, self.rows * self.capacity * self.width);
        let part = |which: usize| {
            self.block.span(2 * values * (2 * layer + which), values).matrix(rows, self.width, self.width)
        };
        Cache { keys: part(0), values: part(1), capacity: self.capacity }
    }
}

impl CudaEngine {
    /// Continues every prompt.
    pub(super) fn continue_prompts(
        &mut self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        limits: &Limits,
        sampler: Sampler,
    ) -> Result<Vec<Generated>> {
        let longest = self.longest(prompts, 0)?;
        // A row may reach the end of the context before it reaches the limit of new tokens.
        let capacity = longest.saturating_add(limits.max_tokens).min(self.shape.positions);
        let group = self.rows_that_fit(capacity, longest, 0)?.min(prompts.len().max(1));
        let mut answers = Vec::with_capacity(prompts.len());
        for (index, prompts) in prompts.chunks(group).enumerate() {
            answers.extend(self.continue_group(adapter, prompts, index * group, capacity, limits, sampler)?);
        }
        Ok(answers)
    }

    fn continue_group(
        &mut self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        first_row: usize,
        capacity: usize,
        limits: &Limits,
        sampler: Sampler,
    ) -> Result<Vec<Generated>> {
        let caches = self.caches(prompts.len(), capacity, prompts.len())?;
        let choice = Choice { temperature: sampler.temperature, key: sampler.key() };
        let mut chosen = Vec::with_capacity(prompts.len());
        self.run_prompts(adapter, prompts, &caches, |engine, work, rows| {
            let normed = work.final_norm(rows.len())?;
            let names: Vec<u32> = rows.map(|row| (first_row + row) as u32).collect();
            chosen.extend(engine.sample(work, normed.rows(), &names, &vec![0; names.len()], choice)?);
            Ok(())
        })?;
        let mut answers: Vec<Generated> =
            prompts.iter().map(|_| Generated { ids: Vec::new(), finish: Finish::Length }).collect();
        let mut lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
        let mut rows: Vec<usize> = (0..prompts.len()).collect();
        loop {
            let (mut going, mut ids) = (Vec::new(), Vec::new());
            for (&row, &id) in rows.iter().zip(&chosen) {
                let answer = &mut answers[row];
                if answer.ids.len() == limits.max_tokens {
                    continue;
                }
                if id == INVALID {
                    return Err(Error::NonFinite { what: format!("a logit of prompt {}", first_row + row) });
                }
                if limits.stop.contains(&id) {
                    answer.finish = Finish::Stop;
                    continue;
                }
                answer.ids.push(id);
                if answer.ids.len() < limits.max_tokens && lengths[row] < capacity {
                    going.push(row);
                    ids.push(id);
                }
            }
            if going.is_empty() {
                return Ok(answers);
            }
            rows = going;
            let cache_rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
            let past: Vec<u32> = rows.iter().map(|&row| lengths[row] as u32).collect();
            let first: Vec<u32> = (0..rows.len() as u32).collect();
            let step = Step { ids: &ids, rows: &cache_rows, past: &past, first: &first };
            let layout = self.prepare(adapter, rows.len(), rows.len(), false)?;
            let work = self.read_cache(adapter, &layout, &step, &caches, true)?;
            work.final_norm(rows.len())?;
            rows.iter().for_each(|&row| lengths[row] += 1);
            let names: Vec<u32> = rows.iter().map(|&row| (first_row + row) as u32).collect();
            let places: Vec<u32> = rows.iter().map(|&row| answers[row].ids.len() as u32).collect();
            chosen = self.sample(&work, rows.len(), &names, &places, choice)?;
        }
    }

    /// Log-probability of every token of each continuation after each prompt.
    pub(super) fn score_continuations(
        &mut self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        continuations: &[Vec<u32>],
    ) -> Result<Vec<Vec<Vec<f32>>>> {
        let extra = continuations.iter().map(Vec::len).max().unwrap_or(0);
        if continuations.iter().any(Vec::is_empty) {
            return Err(Error::TooLong { tokens: 0, limit: self.shape.positions });
        }
        let longest = self.longest(prompts, extra)?;
        let fed: usize = continuations.iter().map(|ids| ids.len() - 1).sum();
        let group = self.rows_that_fit(longest, longest, fed.max(SCORED_TOKENS))?;
        let mut scores = Vec::with_capacity(prompts.len());
        for prompts in prompts.chunks(group) {
            scores.extend(self.score_group(adapter, prompts, continuations, longest)?);
        }
        Ok(scores)
    }

    fn score_group(
        &mut self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        continuations: &[Vec<u32>],
        capacity: usize,
    ) -> Result<Vec<Vec<Vec<f32>>>> {
        // The last token of a continuation predicts nothing that is asked for.
        let fed: Vec<(usize, &[u32])> =
            continuations.iter().enumerate().map(|(at, ids)| (at, &ids[..ids.len() - 1])).collect();
        let fed: Vec<(usize, &[u32])> = fed.into_iter().filter(|(_, ids)| !ids.is_empty()).collect();
        let tokens: usize = fed.iter().map(|(_, ids)| ids.len()).sum();
        let together = (SCORED_TOKENS / tokens.max(1)).clamp(1, prompts.len().max(1));
        let caches = self.caches(prompts.len(), capacity, together * tokens)?;
        let mut scores: Vec<Vec<Vec<f32>>> = Vec::with_capacity(prompts.len());
        // The first token of each continuation follows the prompt; all of them read the same logits.
        self.run_prompts(adapter, prompts, &caches, |engine, work, rows| {
            let normed = work.final_norm(rows.len())?;
            let mut found: Vec<Vec<Vec<f32>>> = vec![Vec::with_capacity(continuations.len()); rows.len()];
            let memory = engine.device.allocate(8 * rows.len())?;
            let (targets, losses) = (memory.span::<u32>(0, rows.len()), memory.span::<f32>(4 * rows.len(), rows.len()));
            for (first, count) in work.logit_pieces(rows.len()) {
                let logits = work.logits(normed.row_range(first, count))?;
                for continuation in continuations {
                    engine.device.upload(targets.part(0, count), &vec![continuation[0]; count])?;
                    let losses = losses.part(0, count);
                    engine.kernels.cross_entropy.loss(logits, targets.part(0, count), losses, NO_CAP)?;
                    let losses = engine.device.download(losses)?;
                    found[first..].iter_mut().zip(losses).for_each(|(found, loss)| found.push(vec![-loss]));
                }
            }
            scores.extend(found);
            Ok(())
        })?;
        if tokens == 0 {
            return Ok(scores);
        }
        for start in (0..prompts.len()).step_by(together) {
            let rows = start..prompts.len().min(start + together);
            let (mut ids, mut targets) = (Vec::new(), Vec::new());
            let (mut cache_rows, mut past, mut first) = (Vec::new(), Vec::new(), Vec::new());
            for row in rows.clone() {
                for (at, fed) in &fed {
                    first.extend(vec![ids.len() as u32; fed.len()]);
                    cache_rows.extend(vec![row as u32; fed.len()]);
                    past.extend(vec![prompts[row].len() as u32; fed.len()]);
                    ids.extend_from_slice(fed);
                    targets.extend_from_slice(&continuations[*at][1..]);
                }
            }
            let step = Step { ids: &ids, rows: &cache_rows, past: &past, first: &first };
            let layout = self.prepare(adapter, ids.len(), ids.len(), false)?;
            let work = self.read_cache(adapter, &layout, &step, &caches, false)?;
            let memory = self.device.allocate(4 * targets.len())?;
            let on_device = memory.span::<u32>(0, targets.len());
            self.device.upload(on_device, &targets)?;
            let losses = self.device.download(work.losses_of(work.final_norm(ids.len())?, on_device)?)?;
            let mut losses = losses.into_iter();
            for row in rows {
                for (at, fed) in &fed {
                    scores[row][*at].extend(losses.by_ref().take(fed.len()).map(|loss| -loss));
                }
            }
        }
        Ok(scores)
    }

    /// The longest prompt, if all fit the context with `extra` tokens more.
    fn longest(&self, prompts: &[Vec<u32>], extra: usize) -> Result<usize> {
        let positions = self.shape.positions;
        match prompts.iter().find(|prompt| prompt.is_empty() || prompt.len() + extra > positions) {
            Some(prompt) => Err(Error::TooLong { tokens: prompt.len() + extra, limit: positions }),
            None => Ok(prompts.iter().map(Vec::len).max().unwrap_or(0)),
        }
    }

    /// Rows whose caches fit the memory that is free, at least one. `scored` tokens are asked at once at most.
    fn rows_that_fit(&self, capacity: usize, longest: usize, scored: usize) -> Result<usize> {
        let scratch = |tokens: usize| 4 * self.kernels.cached_attention.scratch_values(tokens, capacity);
        let row = 2 * 2 * self.shape.layers * capacity * self.shape.kv_heads * self.shape.head_dim + scratch(1);
        let tokens = longest.max(PROMPT_TOKENS);
        let pass = layout::answering(&self.shape, Size { tokens, rows: tokens, chosen: true, dropout: false });
        let held = self.scratch.as_ref().map_or(0, Block::bytes);
        let taken = (pass.bytes.saturating_sub(held) + scratch(scored)) as u64 + super::RESERVE_BYTES;
        let free = self.device.memory()?.0.saturating_sub(taken);
        Ok(usize::try_from(free / row.max(1) as u64).unwrap_or(usize::MAX).max(1))
    }

    /// For so many rows, of which so many tokens are asked at once.
    fn caches(&self, rows: usize, capacity: usize, tokens: usize) -> Result<Caches> {
        let width = self.shape.kv_heads * self.shape.head_dim;
        let block = self.device.allocate(2 * 2 * self.shape.layers * rows * capacity * width)?;
        let scratch = self.device.allocate(4 * self.kernels.cached_attention.scratch_values(tokens, capacity))?;
        Ok(Caches { block, scratch, rows, capacity, width })
    }

    /// Runs prompts, some at a time, and fills their caches. `after` gets the pass, whose last rows are those of the last
    /// tokens, and which prompts they are of.
    fn run_prompts(
        &mut self,
        adapter: Option<AdapterId>,
        prompts: &[Vec<u32>],
        caches: &Caches,
        mut after: impl FnMut(&Self, &Work<'_>, std::ops::Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let mut start = 0;
        while start < prompts.len() {
            let (mut ids, mut bounds, mut rows) = (Vec::new(), vec![0], Vec::new());
            let mut end = start;
            while end < prompts.len() && (end == start || ids.len() + prompts[end].len() <= PROMPT_TOKENS) {
                rows.extend(vec![end as u32; prompts[end].len()]);
                ids.extend_from_slice(&prompts[end]);
                bounds.push(ids.len());
                end += 1;
            }
            let inputs = Inputs::last_tokens(&ids, &bounds, &self.kernels.attention);
            let layout = self.prepare(adapter, inputs.tokens, inputs.rows, true)?;
            let uploaded = inputs.upload(&self.device, self.memory_of_a_pass()?.1)?;
            let memory = self.device.allocate(4 * rows.len())?;
            let cache_rows = memory.span(0, rows.len());
            self.device.upload(cache_rows, &rows)?;
            let work = self.answering(&layout, uploaded, inputs.tokens, adapter)?;
            work.embed()?;
            for layer in 0..self.shape.layers {
                work.project(layer)?;
                let b = work.buffers(layer);
                let cache = &self.kernels.kv_cache;
                cache.append(b.qkv, caches.layer(layer), cache_rows, uploaded.positions)?;
                self.kernels.attention.forward(b.qkv, b.attention, b.log_sum_exp, uploaded.tiles)?;
                let chosen = work.chosen(&inputs, layer);
                work.after_attention(layer, chosen)?;
                work.finish_layer(layer, chosen)?;
            }
            after(self, &work, start..end)?;
            start = end;
        }
        Ok(())
    }

    /// All layers for tokens that read the cache and the tokens before them in their document. With `append` their keys and
    /// values are written to the cache.
    fn read_cache<'a>(
        &'a self,
        adapter: Option<AdapterId>,
        layout: &'a Layout,
        step: &Step<'_>,
        caches: &Caches,
        append: bool,
    ) -> Result<Work<'a>> {
        let (_, words) = self.memory_of_a_pass()?;
        let tokens = step.ids.len();
        let positions: Vec<u32> =
            step.past.iter().zip(step.first).enumerate().map(|(at, (past, first))| past + at as u32 - first).collect();
        let lists = [step.ids, &positions, step.rows, step.past, step.first];
        let all: Vec<u32> = lists.concat();
        self.device.upload(words.span(0, all.len()), &all)?;
        let list = |which: usize| words.span::<u32>(4 * which * tokens, tokens);
        let most_keys = positions.iter().max().map_or(0, |last| *last as usize + 1);
        let rows = CachedRows { cache_rows: list(2), past: list(3), first: list(4), most_keys };
        let scratch = caches.scratch.span(0, self.kernels.cached_attention.scratch_values(tokens, most_keys));
        let inputs = DeviceInputs::without_head(words, list(0), list(1));
        let work = self.answering(layout, inputs, tokens, adapter)?;
        work.embed()?;
        for layer in 0..self.shape.layers {
            work.project(layer)?;
            let b = work.buffers(layer);
            self.kernels.cached_attention.run(b.qkv, caches.layer(layer), rows, b.attention, scratch)?;
            if append {
                self.kernels.kv_cache.append(b.qkv, caches.layer(layer), rows.cache_rows, list(1))?;
            }
            work.after_attention(layer, None)?;
            work.finish_layer(layer, None)?;
        }
        Ok(work)
    }

    /// The next token of some rows, which are named for the randomness of their choice. The rows were normed.
    fn sample(&self, work: &Work<'_>, rows: usize, names: &[u32], places: &[u32], choice: Choice) -> Result<Vec<u32>> {
        let memory = self.device.allocate(3 * 4 * rows)?;
        let list = |which: usize| -> Span<u32> { memory.span(4 * which * rows, rows) };
        self.device.upload(list(0), names)?;
        self.device.upload(list(1), places)?;
        let normed = work.rows(&work.layout.normed).top(rows);
        for (first, count) in work.logit_pieces(rows) {
            let logits = work.logits(normed.row_range(first, count))?;
            let (names, places) = (list(0).part(first, count), list(1).part(first, count));
            self.kernels.sample.run(logits, choice, names, places, list(2).part(first, count))?;
        }
        Ok(self.device.download(list(2))?)
    }
}
