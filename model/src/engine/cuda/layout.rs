//! Owns which buffers a micro-batch needs, how large they are and which lie over each other. Pure arithmetic: the plan of a
//! run and the run itself call the same function. Knows no device.
//!
//! | buffer | holds | between |
//! |---|---|---|
//! | of a layer | its input, queries with keys and values, attention, the sum after it, its norm, gate and up, and the narrow products `u` | forward and backward of the layer |
//! | of the moment | normed rows, the product of the MLP, gradients | two kernels |
//!
//! A layer that keeps less shares the buffers of what it rebuilds with the others.

use cuda::kernels::{output_adapters, swiglu_adapters};

use super::keep::{Keep, KeepPlan};
use super::places::{Places, Spot};
use super::shape::{Shape, pitch};
use crate::nn::Group;

/// Rows of logits at once: enough to keep the matrix unit busy.
pub(super) const LOGIT_ROWS: usize = 1024;
/// As many as take no more memory than the layers do, with the vocabularies of today.
const SMALL_LOGIT_ROWS: usize = 384;

/// Rows that are worked on at once where not all need be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pieces {
    /// Of the MLP, where it is rebuilt.
    pub(super) mlp: usize,
    /// Of the logits.
    pub(super) logits: usize,
}

impl Pieces {
    /// What is fast, or, where every layer keeps its input only and memory is what matters, what is small.
    fn of(keep: KeepPlan) -> Self {
        match keep.any_attention() {
            true => Pieces { mlp: 2048, logits: LOGIT_ROWS },
            false => Pieces { mlp: 1024, logits: SMALL_LOGIT_ROWS },
        }
    }
}

/// How large a micro-batch may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Tokens, padding included.
    pub(super) tokens: usize,
    /// Rows of the head, padding included.
    pub(super) rows: usize,
    /// Whether only the rows of the head go on after the last attention.
    pub(super) chosen: bool,
    /// Whether adapters drop some of their input.
    pub(super) dropout: bool,
}

/// Buffers of one layer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LayerSpots {
    pub(super) x: Spot,
    pub(super) qkv_before_norm: Spot,
    pub(super) qkv: Spot,
    pub(super) attention: Spot,
    pub(super) log_sum_exp: Spot,
    pub(super) middle: Spot,
    /// The norm of `middle`, where gate and up are kept.
    pub(super) mlp_normed: Spot,
    pub(super) gate_up: Spot,
    /// The narrow products of linears; the output's, and that of a kept gate and up, lie behind their inputs.
    pub(super) u: [Spot; 4],
}

/// All buffers of a micro-batch.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) layers: Vec<LayerSpots>,
    /// The output of the last layer.
    pub(super) last: Spot,
    /// Attention of the last layer for the rows that go on.
    pub(super) chosen_attention: Spot,
    pub(super) normed: Spot,
    /// The product of the MLP; over `d_qkv`, which is free while it is needed.
    pub(super) h: Spot,
    /// Two rows of the residual stream's gradient, which take turns.
    pub(super) d: [Spot; 2],
    /// Gradient of a norm's output; also serves as any row of at most that width.
    pub(super) dn: Spot,
    /// Gradient of attention; over `dn`, which is free while it is needed.
    pub(super) d_attention: Spot,
    /// Gradient of attention for the rows that went on.
    pub(super) d_chosen: Spot,
    pub(super) d_qkv: Spot,
    pub(super) delta: Spot,
    /// Partial sums of the gradients around gate and up; over `d_qkv`, which is free while they are needed.
    pub(super) partial: Spot,
    /// Partial sums of the gradients around queries, keys and values; over `dn`, which is free while they are needed.
    pub(super) qkv_partial: Spot,
    /// The input of an adapter after dropout.
    pub(super) dropped: Spot,
    pub(super) logits: Spot,
    pub(super) losses: Spot,
    pub(super) bytes: usize,
    /// Rows of the MLP at once where it is rebuilt.
    pub(super) mlp_rows: usize,
    pub(super) keep: KeepPlan,
    pub(super) kept_bytes: usize,
    pub(super) logits_bytes: usize,
}

impl Layout {
    /// Rows of logits at once.
    pub(super) fn logit_rows(&self) -> usize {
        self.logits.rows()
    }
}

/// The buffers of training.
pub(super) fn training(shape: &Shape, size: Size, keep: KeepPlan) -> Layout {
    training_in_pieces(shape, size, keep, Pieces::of(keep))
}

/// The buffers of training in pieces of a given size.
pub(super) fn training_in_pieces(shape: &Shape, size: Size, keep: KeepPlan, pieces: Pieces) -> Layout {
    let mut places = Places::default();
    let tokens = size.tokens;
    let shared = keep.any_rebuilt().then(|| attention_spots(shape, &mut places, tokens));
    let mlp_rows = pieces.mlp.min(tokens);
    let shared_mlp = keep.any_rebuilt().then(|| mlp_spots(shape, &mut places, mlp_rows, false));
    let mut layers = Vec::with_capacity(shape.layers);
    for layer in 0..shape.layers {
        let mut spots = match (keep.of(layer), shared) {
            (Keep::Input, Some(shared)) => shared,
            _ => attention_spots(shape, &mut places, tokens),
        };
        let mlp = match (keep.of(layer), shared_mlp) {
            (Keep::Products, _) | (_, None) => mlp_spots(shape, &mut places, tokens, true),
            (_, Some(shared)) => shared,
        };
        mlp.put_into(&mut spots);
        spots.x = places.narrow(tokens, shape.hidden);
        layers.push(spots);
    }
    // The last layer's attention is read before its output is written, and rebuilt after that was read.
    let last = match layers.last() {
        Some(spots) if keep.of(shape.layers - 1) == Keep::Input && shape.attention >= shape.hidden => {
            spots.attention.narrowed(shape.hidden)
        }
        _ => places.narrow(tokens, shape.hidden),
    };
    let chosen_attention = chosen_attention(shape, &mut places, size);
    let kept_bytes = places.bytes();
    let h_rows = if keep.any_mlp() { tokens } else { mlp_rows };
    let moment = moment(shape, &mut places, size, h_rows, Some(pieces.logits));
    Layout { layers, last, chosen_attention, keep, kept_bytes, mlp_rows, ..moment }
}

/// The buffers of answering: nothing is kept, two rows of the residual stream take turns.
pub(super) fn answering(shape: &Shape, size: Size) -> Layout {
    let mut places = Places::default();
    let pieces = Pieces { mlp: 2048, logits: LOGIT_ROWS };
    let mlp_rows = pieces.mlp.min(size.tokens);
    let mut spots = attention_spots(shape, &mut places, size.tokens);
    mlp_spots(shape, &mut places, mlp_rows, false).put_into(&mut spots);
    let stream = [places.narrow(size.tokens, shape.hidden), places.narrow(size.tokens, shape.hidden)];
    let layers = (0..shape.layers).map(|layer| LayerSpots { x: stream[layer % 2], ..spots }).collect();
    let chosen_attention = chosen_attention(shape, &mut places, size);
    let kept_bytes = places.bytes();
    let moment = moment(shape, &mut places, size, mlp_rows, None);
    let keep = KeepPlan::all(shape.layers, Keep::Input);
    Layout { layers, last: stream[shape.layers % 2], chosen_attention, keep, kept_bytes, mlp_rows, ..moment }
}

/// What leads from a layer's input to the sum after its attention.
fn attention_spots(shape: &Shape, places: &mut Places, tokens: usize) -> LayerSpots {
    let mut spots = LayerSpots::default();
    if shape.qk_norm {
        spots.qkv_before_norm = places.narrow(tokens, shape.qkv);
    }
    spots.qkv = places.narrow(tokens, shape.qkv);
    spots.attention = tailed(places, tokens, shape.attention, shape.ranks(Group::Output));
    spots.log_sum_exp = places.rows(shape.heads, tokens, tokens, 4);
    spots.middle = places.narrow(tokens, shape.hidden);
    spots.u[Group::Qkv as usize] = places.narrow(tokens, shape.ranks(Group::Qkv));
    spots
}

/// What leads from the sum after attention to gate and up.
#[derive(Clone, Copy)]
struct MlpSpots {
    normed: Spot,
    gate_up: Spot,
    u: [Spot; 2],
}

impl MlpSpots {
    fn put_into(self, spots: &mut LayerSpots) {
        (spots.mlp_normed, spots.gate_up) = (self.normed, self.gate_up);
        [spots.u[Group::GateUp as usize], spots.u[Group::Down as usize]] = self.u;
    }
}

/// Gate and up with the narrow products of the MLP's linears; where they are kept, also the normed rows they are made of.
fn mlp_spots(shape: &Shape, places: &mut Places, rows: usize, kept: bool) -> MlpSpots {
    let (gate_up_ranks, down_ranks) = (shape.ranks(Group::GateUp), shape.ranks(Group::Down));
    let gate_up = tailed(places, rows, 2 * shape.intermediate, gate_up_ranks);
    let (normed, u) = match kept {
        true => (tailed(places, rows, shape.hidden, gate_up_ranks), Spot::default()),
        false => (Spot::default(), places.narrow(rows, gate_up_ranks)),
    };
    MlpSpots { normed, gate_up, u: [u, places.narrow(rows, down_ranks)] }
}

/// Attention for the rows that go on, where not all do.
fn chosen_attention(shape: &Shape, places: &mut Places, size: Size) -> Spot {
    let rows = if size.chosen { size.rows } else { 0 };
    tailed(places, rows, shape.attention, shape.ranks(Group::Output))
}

/// What lives between two kernels, with a backward pass where the rows of its logits are given. The logits lie over what only
/// the layers need.
fn moment(shape: &Shape, places: &mut Places, size: Size, h_rows: usize, backward: Option<usize>) -> Layout {
    let tokens = size.tokens;
    let norm_ranks = shape.ranks(Group::Qkv).max(shape.ranks(Group::GateUp));
    let normed = tailed(places, tokens, shape.hidden, norm_ranks);
    let before = places.here();
    let dn = places.narrow(tokens, shape.hidden.max(shape.attention));
    let after = places.here();
    places.back_to(before);
    let values = if backward.is_some() { qkv_partial_values(shape, tokens) } else { 0 };
    let qkv_partial = places.rows(1, values, values, 4);
    places.back_to(places.here().max(after));
    let losses = places.rows(1, size.rows, size.rows, 4);
    let here = places.here();
    let product = |places: &mut Places| tailed(places, h_rows, shape.intermediate, shape.ranks(Group::Down));
    let h;
    let stream_ranks = shape.ranks(Group::Down).max(shape.ranks(Group::Output));
    let mut d = [Spot::default(); 2];
    let [mut d_chosen, mut d_qkv, mut delta, mut partial] = [Spot::default(); 4];
    if backward.is_some() {
        d = [0, 1].map(|_| tailed(places, tokens, shape.hidden, stream_ranks));
        d_chosen = places.narrow(if size.chosen { size.rows } else { 0 }, shape.attention);
        let before = places.here();
        h = product(places);
        let ranks = shape.ranks(Group::Down);
        let values = swiglu_adapters::scratch_values(h_rows, shape.intermediate, ranks, &shape.device);
        partial = places.rows(1, values, values, 4);
        let after = places.here();
        places.back_to(before);
        d_qkv = tailed(places, tokens, shape.qkv, shape.ranks(Group::Qkv));
        delta = places.rows(shape.heads, tokens, tokens, 4);
        places.back_to(places.here().max(after));
    } else {
        h = product(places);
    }
    let dropped = if size.dropout {
        places.narrow(tokens, shape.hidden.max(shape.attention).max(shape.intermediate))
    } else {
        Spot::default()
    };
    places.back_to(here);
    let before = places.bytes();
    let logit_rows = backward.unwrap_or(LOGIT_ROWS).min(size.rows);
    let logits = places.rows(logit_rows, shape.vocabulary, shape.vocabulary.next_multiple_of(4), 4);
    Layout {
        layers: Vec::new(),
        last: Spot::default(),
        chosen_attention: Spot::default(),
        normed,
        h,
        d,
        dn,
        d_attention: dn.narrowed(shape.attention),
        d_chosen,
        d_qkv,
        delta,
        partial,
        qkv_partial,
        dropped,
        logits,
        losses,
        bytes: places.bytes(),
        mlp_rows: 0,
        keep: KeepPlan::all(shape.layers, Keep::Input),
        kept_bytes: 0,
        logits_bytes: places.bytes() - before,
    }
}

/// Values of the partial sums around queries, keys and values.
fn qkv_partial_values(shape: &Shape, tokens: usize) -> usize {
    output_adapters::scratch_values(tokens, &shape.qkv_widths(), shape.ranks(Group::Qkv) / 3, &shape.device)
}

/// Rows with columns for adapters behind them.
fn tailed(places: &mut Places, rows: usize, columns: usize, ranks: usize) -> Spot {
    places.rows(rows, columns, pitch(columns, ranks), 2)
}
