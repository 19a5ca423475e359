//! Owns causal grouped-query attention over packed documents, with and without a cache: shapes and plain twins.
//! Knows document bounds; knows neither batches nor layers. Positions are the business of `rope`.

use burn::tensor::{Bool, DType, Tensor, TensorData, activation};

/// Head counts and what attention does with them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads; divides `query`.
    pub key_value: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Tokens a query sees, itself included; `None` means all before it.
    pub window: Option<usize>,
}

impl Heads {
    /// Width of all query heads.
    #[must_use]
    pub fn query_width(&self) -> usize {
        self.query * self.head_dim
    }

    /// Width of all key heads, and of all value heads.
    #[must_use]
    pub fn key_width(&self) -> usize {
        self.key_value * self.head_dim
    }

    /// Width of a packed row.
    #[must_use]
    pub fn packed_width(&self) -> usize {
        self.query_width() + 2 * self.key_width()
    }

    /// Query heads that share one key head.
    #[must_use]
    pub fn group(&self) -> usize {
        self.query / self.key_value
    }

    /// What scores are multiplied by.
    #[must_use]
    pub fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// The first key a query at `position` sees.
    #[must_use]
    pub fn first_key(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// Documents packed side by side: bounds start at 0 and end at the number of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    bounds: Vec<usize>,
    positions: Vec<u32>,
}

impl Documents {
    /// From ascending bounds; positions restart at each document.
    #[must_use]
    pub fn new(bounds: Vec<usize>) -> Self {
        let positions = bounds.windows(2).flat_map(|pair| 0..(pair[1] - pair[0]) as u32).collect();
        Documents { bounds, positions }
    }

    /// Start and end of each document.
    pub fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.bounds.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// Position of each token in its document.
    #[must_use]
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Number of tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.positions.len()
    }
}

/// New tokens of several documents, each continuing a row of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedDocuments {
    /// Bounds of the new tokens, as in [`Documents`].
    pub bounds: Vec<usize>,
    /// The cache row each document continues.
    pub rows: Vec<usize>,
    /// How many tokens of that row are valid.
    pub past: Vec<usize>,
}

impl CachedDocuments {
    /// New tokens, cache row and past length of each document.
    pub fn entries(&self) -> impl Iterator<Item = (std::ops::Range<usize>, usize, usize)> + '_ {
        let ranges = self.bounds.windows(2).map(|pair| pair[0]..pair[1]);
        ranges.zip(&self.rows).zip(&self.past).map(|((range, &row), &past)| (range, row, past))
    }

    /// Position of each new token in its document.
    #[must_use]
    pub fn positions(&self) -> Vec<u32> {
        self.entries().flat_map(|(range, _, past)| (past..past + range.len()).map(|p| p as u32)).collect()
    }
}

/// Plain twin of `Kernels::attention`.
pub fn plain(qkv: &Tensor<2>, heads: Heads, documents: &Documents) -> (Tensor<2>, Tensor<2>) {
    let (mut outputs, mut sums) = (Vec::new(), Vec::new());
    for range in documents.ranges() {
        let (q, k, v) = split(qkv, heads, &range);
        let (output, log_sum_exp) = one_document(q, k, v, heads, 0);
        outputs.push(output);
        sums.push(log_sum_exp);
    }
    (Tensor::cat(outputs, 0).cast(qkv.dtype()), Tensor::cat(sums, 0))
}

/// Plain twin of `Kernels::attention_backward`.
pub fn plain_backward(
    d_output: Tensor<2>,
    qkv: &Tensor<2>,
    output: &Tensor<2>,
    log_sum_exp: &Tensor<2>,
    heads: Heads,
    documents: &Documents,
) -> Tensor<2> {
    let mut gradients = Vec::new();
    for range in documents.ranges() {
        let tokens = range.len();
        let (q, k, v) = split(qkv, heads, &range);
        let rows = |tensor: &Tensor<2>| {
            let width = tensor.dims()[1];
            let rows = tensor.clone().slice([range.clone(), 0..width]).cast(DType::F32);
            rows.reshape([tokens, heads.query, width / heads.query]).swap_dims(0, 1)
        };
        let (d_o, o, lse) = (rows(&d_output), rows(output), rows(log_sum_exp));
        let p = (scores(&q, &k, heads, 0) - lse).exp();
        let dp = d_o.clone().matmul(v.swap_dims(1, 2));
        let delta = (d_o.clone() * o).sum_dim(2);
        let ds = p.clone() * (dp - delta) * heads.scale();
        let dq = ds.clone().matmul(k);
        let dk = over_group(ds.swap_dims(1, 2).matmul(q), heads);
        let dv = over_group(p.swap_dims(1, 2).matmul(d_o), heads);
        gradients.push(Tensor::cat(vec![side_by_side(dq), side_by_side(dk), side_by_side(dv)], 1));
    }
    Tensor::cat(gradients, 0).cast(qkv.dtype())
}

/// Plain twin of `Kernels::attention_cached`.
pub fn plain_cached(
    qkv: &Tensor<2>,
    keys: &Tensor<3>,
    values: &Tensor<3>,
    heads: Heads,
    documents: &CachedDocuments,
) -> Tensor<2> {
    let mut outputs = Vec::new();
    for (range, row, past) in documents.entries() {
        let (q, k, v) = split(qkv, heads, &range);
        let before = |cache: &Tensor<3>| {
            let width = heads.key_width();
            let rows = cache.clone().slice([row..row + 1, 0..past, 0..width]).cast(DType::F32);
            repeat_group(rows.reshape([past, heads.key_value, heads.head_dim]).swap_dims(0, 1), heads)
        };
        let (k, v) = if past == 0 {
            (k, v)
        } else {
            (Tensor::cat(vec![before(keys), k], 1), Tensor::cat(vec![before(values), v], 1))
        };
        outputs.push(one_document(q, k, v, heads, past).0);
    }
    Tensor::cat(outputs, 0).cast(qkv.dtype())
}

/// Plain twin of `Kernels::cache_append`.
pub fn plain_append(
    (mut keys, mut values): (Tensor<3>, Tensor<3>),
    qkv: &Tensor<2>,
    heads: Heads,
    documents: &CachedDocuments,
) -> (Tensor<3>, Tensor<3>) {
    let (q_width, k_width) = (heads.query_width(), heads.key_width());
    for (range, row, past) in documents.entries() {
        let new = range.len();
        let part = |from: usize| {
            qkv.clone().slice([range.clone(), from..from + k_width]).cast(keys.dtype()).reshape([1, new, k_width])
        };
        let place = [row..row + 1, past..past + new, 0..k_width];
        let (k, v) = (part(q_width), part(q_width + k_width));
        keys = keys.slice_assign(place.clone(), k);
        values = values.slice_assign(place, v);
    }
    (keys, values)
}

/// Queries, keys and values of a document as `[heads, tokens, head_dim]` in f32, keys and values repeated per group.
fn split(qkv: &Tensor<2>, heads: Heads, range: &std::ops::Range<usize>) -> (Tensor<3>, Tensor<3>, Tensor<3>) {
    let (q_width, k_width) = (heads.query_width(), heads.key_width());
    let part = |from: usize, count: usize| {
        let rows = qkv.clone().slice([range.clone(), from..from + count * heads.head_dim]).cast(DType::F32);
        rows.reshape([range.len(), count, heads.head_dim]).swap_dims(0, 1)
    };
    let q = part(0, heads.query);
    let k = repeat_group(part(q_width, heads.key_value), heads);
    let v = repeat_group(part(q_width + k_width, heads.key_value), heads);
    (q, k, v)
}

/// Attention of one document whose first query stands at position `past`.
fn one_document(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: Heads, past: usize) -> (Tensor<2>, Tensor<2>) {
    let scores = scores(&q, &k, heads, past);
    let peak = scores.clone().max_dim(2);
    let log_sum_exp = (scores.clone() - peak.clone()).exp().sum_dim(2).log() + peak;
    let output = activation::softmax(scores, 2).matmul(v);
    (side_by_side(output), side_by_side(log_sum_exp))
}

/// Scaled scores with what a query may not see at minus infinity.
fn scores(q: &Tensor<3>, k: &Tensor<3>, heads: Heads, past: usize) -> Tensor<3> {
    let [_, queries, _] = q.dims();
    let [_, keys, _] = k.dims();
    let hidden: Vec<bool> = (0..queries)
        .flat_map(|query| (0..keys).map(move |key| key > past + query || key < heads.first_key(past + query)))
        .collect();
    let mask = Tensor::<3, Bool>::from_data(TensorData::new(hidden, [1, queries, keys]), &q.device());
    let scores = q.clone().matmul(k.clone().swap_dims(1, 2)) * heads.scale();
    scores.mask_fill(mask.expand([heads.query, queries, keys]), f32::NEG_INFINITY)
}

fn repeat_group(tensor: Tensor<3>, heads: Heads) -> Tensor<3> {
    let [count, tokens, width] = tensor.dims();
    let repeated: Tensor<4> = tensor.reshape([count, 1, tokens, width]).repeat_dim(1, heads.group());
    repeated.reshape([heads.query, tokens, width])
}

fn over_group(tensor: Tensor<3>, heads: Heads) -> Tensor<3> {
    let [_, tokens, width] = tensor.dims();
    let grouped: Tensor<4> = tensor.reshape([heads.key_value, heads.group(), tokens, width]);
    grouped.sum_dim(1).reshape([heads.key_value, tokens, width])
}

/// `[heads, tokens, width]` to `[tokens, heads * width]`.
fn side_by_side(tensor: Tensor<3>) -> Tensor<2> {
    let [count, tokens, width] = tensor.dims();
    tensor.swap_dims(0, 1).reshape([tokens, count * width])
}
