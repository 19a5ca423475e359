//! Owns the timing of single kernels and products on a GPU against what they could take: the bytes they must move at 3.0 TB/s,
//! or their operations at 790 TFLOP/s, both as measured on an H100.
//!
//! Run: `cargo run --release --workspace --example kernel_speed -- [FILTER]`. Prints a line each: what, shape, microseconds,
//! the floor, and the share of the floor that is reached.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use cuda::kernels::adamw::{AdamW, Buffers, StepNumbers, StepReport};
use cuda::kernels::attention::{Attention, AttentionBackward, HeadShape, Tiles};
use cuda::kernels::cross_entropy::CrossEntropy;
use cuda::kernels::output_adapters::{self, OutputAdapters};
use cuda::kernels::rms_norm::{Backward, RmsNorm};
use cuda::kernels::rope::{Angles, Heads, Rope};
use cuda::kernels::swiglu::Swiglu;
use cuda::kernels::swiglu_adapters::{self, BackwardPass, SwigluAdapters};
use cuda::{Block, Device, Element, Matrix, Operand, Product, Span, Target};
use half::bf16;

const BYTES_PER_MICROSECOND: f64 = 3.0e6;
const FLOP_PER_MICROSECOND: f64 = 790e6;

/// A large block of random values that every operand is a view of, at places of its own.
struct Bench {
    device: Device,
    values: Block,
    next: std::cell::Cell<usize>,
    filter: String,
}

impl Bench {
    fn open(filter: String) -> Self {
        let device = Device::open(0, std::env::var_os("KERNEL_CACHE").map(Into::into)).unwrap();
        let bytes = 24_usize << 30;
        let values = device.allocate(bytes).unwrap();
        let mut state = 7_u64;
        let random: Vec<bf16> = (0..1 << 22)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                bf16::from_f32((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
            })
            .collect();
        for at in (0..bytes).step_by(2 * random.len()) {
            device.upload(values.span(at, random.len()), &random).unwrap();
        }
        Bench { device, values, next: std::cell::Cell::new(0), filter }
    }

    /// `count` values nobody else has, until the block is full; then from its start again.
    fn span<T: Element>(&self, count: usize) -> Span<T> {
        let bytes = count * size_of::<T>();
        let mut start = self.next.get().next_multiple_of(1024);
        if start + bytes > self.values.bytes() {
            start = 0;
        }
        self.next.set(start + bytes);
        self.values.span(start, count)
    }

    fn matrix(&self, rows: usize, columns: usize, pitch: usize) -> Matrix<bf16> {
        self.span(rows * pitch).matrix(rows, columns, pitch)
    }

    /// Times `work`, which must move `bytes` or do `flop` operations.
    fn time(&self, what: &str, bytes: f64, flop: f64, mut work: impl FnMut()) {
        if !what.contains(&self.filter) {
            return;
        }
        for _ in 0..3 {
            work();
        }
        self.device.synchronize().unwrap();
        let mut times: Vec<f32> = (0..5)
            .map(|_| {
                let start = self.device.mark().unwrap();
                for _ in 0..10 {
                    work();
                }
                let end = self.device.mark().unwrap();
                self.device.elapsed(start, end).unwrap() * 100.0
            })
            .collect();
        times.sort_by(f32::total_cmp);
        let (median, floor) = (f64::from(times[2]), (bytes / BYTES_PER_MICROSECOND).max(flop / FLOP_PER_MICROSECOND));
        let rate = if flop > 0.0 {
            format!("{:6.0} TFLOP/s", flop / median / 1e6)
        } else {
            format!("{:6.2} TB/s", bytes / median / 1e6)
        };
        println!("{what:<58} {median:9.1} us  floor {floor:8.1} us  {:5.0} %  {rate}", 100.0 * floor / median);
    }
}

fn pitch(width: usize, ranks: usize) -> usize {
    (width + ranks).next_multiple_of(64)
}

/// The products of one linear and of the adapters beside it.
fn linear(bench: &Bench, tokens: usize, name: &str, outer: usize, inner: usize, parts: &[(usize, usize)]) {
    let device = &bench.device;
    let ranks = 16 * parts.len();
    let (x, y) = (bench.matrix(tokens, inner, pitch(inner, ranks)), bench.matrix(tokens, outer, pitch(outer, ranks)));
    let (w, dx) = (bench.matrix(outer + ranks, inner, pitch(inner, ranks)), bench.matrix(tokens, inner, inner));
    let u = bench.matrix(tokens, ranks, ranks);
    let flop = 2.0 * (tokens * inner * outer) as f64;
    let of = |what: &str| format!("{what} {name} {tokens} x {inner} x {outer}");
    let product = |a, b, target| Product::new(a, b, Target::Bf16(target));
    let forward = product(
        Operand::plain(x.column_range(0, inner + ranks)),
        Operand::transposed(w.top(outer).column_range(0, inner + ranks)),
        y,
    );
    bench.time(&of("product forward"), 0.0, flop, || device.product(&forward).unwrap());
    let backward = product(Operand::plain(y.column_range(0, outer + ranks)), Operand::plain(w), dx);
    bench.time(&of("product backward"), 0.0, flop, || device.product(&backward).unwrap());
    let (a, b) = (w.row_range(outer, ranks), w.top(outer).column_range(inner, ranks));
    let (x_bytes, y_bytes) = (2.0 * (tokens * inner) as f64, 2.0 * (tokens * outer) as f64);
    let tail = x.column_range(inner, ranks);
    let library = product(Operand::plain(x), Operand::transposed(a), tail);
    bench.time(&of("u"), x_bytes, 0.0, || device.product(&library).unwrap());
    let p = y.column_range(outer, ranks);
    let library = product(Operand::plain(y), Operand::plain(b), p);
    bench.time(&of("p"), y_bytes, 0.0, || device.product(&library).unwrap());
    let (da, db) = (bench.span::<f32>(ranks * inner), bench.span::<f32>(16 * outer));
    let sum = |a, b, target| Product::new(Operand::transposed(a), Operand::plain(b), Target::F32(target)).accumulated();
    let library = sum(p, x, da.matrix(ranks, inner, inner));
    bench.time(&of("dA"), x_bytes, 0.0, || device.product(&library).unwrap());
    let each = |(index, &(start, columns)): (usize, &(usize, usize))| {
        (y.column_range(start, columns), u.column_range(16 * index, 16), db.part(16 * start, 16 * columns))
    };
    bench.time(&of("dB"), y_bytes, 0.0, || {
        for (y, u, out) in parts.iter().enumerate().map(each) {
            device.product(&sum(y, u, out.matrix(y.columns(), 16, 16))).unwrap();
        }
    });
}

/// What is bound by memory in a layer.
fn elementwise(
    bench: &Bench,
    tokens: usize,
    hidden: usize,
    mlp: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
) {
    let device = &bench.device;
    let of = |what: &str, width: usize| format!("{what} {tokens} x {width}");
    let norm = RmsNorm::new(device).unwrap();
    let [x, y, dy, dx] = [0; 4].map(|_| bench.matrix(tokens, hidden, pitch(hidden, 48)));
    let weight = bench.span(hidden);
    let row = 2.0 * (tokens * hidden) as f64;
    bench.time(&of("rms_norm", hidden), 2.0 * row, 0.0, || norm.forward(x, weight, y, 1e-5).unwrap());
    let backward = Backward { dy, x, residual: Some(dx), dx, y: Some(y) };
    bench.time(&of("rms_norm backward", hidden), 5.0 * row, 0.0, || norm.backward(backward, weight, 1e-5).unwrap());
    let swiglu = Swiglu::new(device).unwrap();
    let (gate_up, h) = (bench.matrix(tokens, 2 * mlp, pitch(2 * mlp, 32)), bench.matrix(tokens, mlp, pitch(mlp, 16)));
    let row = 2.0 * (tokens * mlp) as f64;
    bench.time(&of("swiglu", mlp), 3.0 * row, 0.0, || swiglu.forward(gate_up, h).unwrap());
    bench.time(&of("swiglu backward", mlp), 6.0 * row, 0.0, || swiglu.backward(gate_up, h).unwrap());
    let width = (heads + 2 * kv_heads) * head_dim;
    let qkv = bench.matrix(tokens, width, pitch(width, 48));
    let rope = Rope::new(device, Heads { query: heads, key_value: kv_heads, head_dim }).unwrap();
    let positions = bench.span::<u32>(tokens);
    device.upload(positions, &(0..tokens as u32).map(|token| token % 2048).collect::<Vec<_>>()).unwrap();
    let (cos, sin) = (bench.span(2048 * head_dim / 2), bench.span(2048 * head_dim / 2));
    let angles = Angles { cos, sin, positions };
    let rotated = 4.0 * (tokens * (heads + kv_heads) * head_dim) as f64;
    bench.time(&of("rope", width), rotated, 0.0, || rope.forward(qkv, qkv, angles, None).unwrap());
}

/// The gradient of the gated activation with the narrow products of it.
fn gated(bench: &Bench, tokens: usize, hidden: usize, mlp: usize, ranks: usize) {
    let device = &bench.device;
    let of = |what: &str| format!("{what} {tokens} x {mlp} r {ranks}");
    let kernels = SwigluAdapters::new(device).unwrap();
    let gate_up = bench.matrix(tokens, 2 * mlp, pitch(2 * mlp, 2 * ranks));
    let h = bench.matrix(tokens, mlp, pitch(mlp, ranks));
    let scratch = bench.span::<f32>(swiglu_adapters::scratch_values(tokens, mlp, ranks, device.info()));
    let row = 2.0 * (tokens * mlp) as f64;
    let b = bench.matrix(2 * mlp, hidden, pitch(hidden, 2 * ranks)).column_range(hidden, 2 * ranks);
    let pass = BackwardPass {
        gate_up,
        dh: h,
        stores_h: false,
        b: [b.row_range(0, mlp).column_range(0, ranks), b.row_range(mlp, mlp).column_range(ranks, ranks)],
        p: gate_up.column_range(2 * mlp, 2 * ranks),
        u: bench.matrix(tokens, 2 * ranks, 2 * ranks),
        p_down: bench.matrix(tokens, hidden, pitch(hidden, ranks)).column_range(hidden, ranks),
        scale: 2.0,
        d_b: [0; 2].map(|_| bench.span(mlp * ranks)),
        d_a: bench.span(mlp * ranks),
        add: true,
    };
    bench.time(&of("swiglu backward, p, dB and dA"), 5.0 * row, 0.0, || kernels.backward(&pass, scratch).unwrap());
}

/// The narrow products of a gradient of `widths` columns, of which the first `turned` are turned back.
fn output(bench: &Bench, tokens: usize, widths: &[usize], head_dim: usize, turned: usize) {
    let (device, ranks) = (&bench.device, 16);
    let (width, all) = (widths.iter().sum::<usize>(), ranks * widths.len());
    let kernels = OutputAdapters::new(device).unwrap();
    let positions = bench.span(tokens);
    device.upload(positions, &(0..tokens).map(|at| at as u32 % 2048).collect::<Vec<_>>()).unwrap();
    let (cos, sin) = (bench.span(2048 * head_dim / 2), bench.span(2048 * head_dim / 2));
    let parts: Vec<_> = widths
        .iter()
        .map(|columns| output_adapters::Part { columns: *columns, d_b: bench.span(columns * ranks) })
        .collect();
    let d = bench.matrix(tokens, width, pitch(width, all));
    let angles = Angles { cos, sin, positions };
    let pass = output_adapters::BackwardPass {
        d,
        rotation: (turned > 0).then_some(output_adapters::Rotation { angles, head_dim, columns: turned }),
        parts: &parts,
        b: bench.matrix(width, all, pitch(width, all)),
        p: d.column_range(width, all),
        u: bench.matrix(tokens, all, all),
        scale: 2.0,
        add: true,
    };
    let scratch = bench.span(output_adapters::scratch_values(tokens, widths, ranks, device.info()));
    let bytes = 2.0 * (tokens * (width + turned)) as f64;
    let what = format!("rotation back {turned}, p and dB {tokens} x {width}");
    bench.time(&what, bytes, 0.0, || kernels.backward(&pass, scratch).unwrap());
}

fn attention(bench: &Bench, documents: usize, length: usize, heads: usize, kv_heads: usize, head_dim: usize) {
    let (device, tokens) = (&bench.device, documents * length);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let shape = HeadShape { heads, kv_heads, head_dim, window: 0, soft_cap: 0.0, scale };
    let kernels = Attention::new(device, shape).unwrap();
    let (qkv, d_qkv) = (
        bench.matrix(tokens, shape.packed_width(), shape.packed_width()),
        bench.matrix(tokens, shape.packed_width(), shape.packed_width()),
    );
    let (out, d_out) =
        (bench.matrix(tokens, shape.width(), shape.width()), bench.matrix(tokens, shape.width(), shape.width()));
    let sums = || bench.span::<f32>(heads * tokens).matrix(heads, tokens, tokens);
    let (log_sum_exp, delta) = (sums(), sums());
    let bounds: Vec<usize> = (0..=documents).map(|document| document * length).collect();
    let [forward, keys, queries] = kernels.tables(&bounds).map(|table| {
        let span = bench.span(table.len());
        device.upload(span, &table).unwrap();
        span
    });
    let tiles = Tiles { forward, keys, queries };
    let flop = 2.0 * (tokens * length * heads * head_dim) as f64;
    let of = |what: &str| format!("attention {what} {documents} x {length}, {heads}/{kv_heads} x {head_dim}");
    bench.time(&of("forward"), 0.0, flop, || kernels.forward(qkv, out, log_sum_exp, tiles).unwrap());
    let backward = AttentionBackward { d_out, qkv, out, log_sum_exp, delta, d_qkv };
    bench.time(&of("backward"), 0.0, 2.5 * flop, || kernels.backward(backward, tiles).unwrap());
}

fn head(bench: &Bench, rows: usize, hidden: usize, vocabulary: usize) {
    let device = &bench.device;
    let (x, w) = (bench.matrix(rows, hidden, hidden), bench.matrix(vocabulary, hidden, hidden));
    let logits = bench.span::<f32>(rows * vocabulary).matrix(rows, vocabulary, vocabulary);
    let flop = 2.0 * (rows * hidden * vocabulary) as f64;
    let of = |what: &str| format!("{what} {rows} x {hidden} x {vocabulary}");
    let product = Product::new(Operand::plain(x), Operand::transposed(w), Target::F32(logits));
    bench.time(&of("head forward"), 0.0, flop, || device.product(&product).unwrap());
    let product = Product::new(Operand::plain(logits.halves()), Operand::plain(w), Target::Bf16(x));
    bench.time(&of("head backward"), 0.0, flop, || device.product(&product).unwrap());
    let kernel = CrossEntropy::new(device).unwrap();
    let (targets, losses) = (bench.span(rows), bench.span(rows));
    device.upload(targets, &vec![5; rows]).unwrap();
    let bytes = 6.0 * (rows * vocabulary) as f64;
    bench.time(&of("cross-entropy"), bytes, 0.0, || {
        kernel.loss_and_gradient(logits, targets, losses, 0.0, 1.0).unwrap();
    });
}

fn optimiser(bench: &Bench, count: usize) {
    let kernel = AdamW::new(&bench.device).unwrap();
    let [first, second, parameters, gradient] = [0; 4].map(|_| bench.span::<f32>(count));
    let (loss, halted, report) = (bench.span::<f64>(1), bench.span::<u32>(1), bench.span::<StepReport>(1));
    let numbers =
        StepNumbers { learning_rate: 1e-4, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0, step: 1 };
    let buffers = Buffers { first, second, parameters, gradient };
    bench.device.zero(halted).unwrap();
    bench.time(&format!("adamw with norm, {count}"), 32.0 * count as f64, 0.0, || {
        kernel.judge(gradient, loss, 1.0, halted, report).unwrap();
        kernel.update(buffers, report, numbers).unwrap();
    });
}

fn main() {
    let bench = Bench::open(std::env::args().nth(1).unwrap_or_default());
    println!("{:?}", bench.device.info());
    for (tokens, hidden, mlp, heads, kv_heads, head_dim) in [
        (4096, 4096, 14_336, 32, 8, 128),
        (8192, 4096, 14_336, 32, 8, 128),
        (4096, 3584, 18_944, 28, 4, 128),
        (16_384, 576, 1536, 9, 3, 64),
    ] {
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        linear(&bench, tokens, "qkv", q + 2 * kv, hidden, &[(0, q), (q, kv), (q + kv, kv)]);
        linear(&bench, tokens, "output", hidden, q, &[(0, hidden)]);
        linear(&bench, tokens, "gate_up", 2 * mlp, hidden, &[(0, mlp), (mlp, mlp)]);
        linear(&bench, tokens, "down", hidden, mlp, &[(0, hidden)]);
        elementwise(&bench, tokens, hidden, mlp, heads, kv_heads, head_dim);
        output(&bench, tokens, &[q, kv, kv], head_dim, q + kv);
        output(&bench, tokens, &[hidden], head_dim, 0);
        [16, 32].iter().for_each(|ranks| gated(&bench, tokens, hidden, mlp, *ranks));
    }
    for (documents, length, heads, kv_heads, head_dim) in
        [(2, 2048, 32, 8, 128), (4, 2048, 32, 8, 128), (2, 4096, 32, 8, 128), (8, 2048, 9, 3, 64), (4, 1024, 32, 8, 64)]
    {
        attention(&bench, documents, length, heads, kv_heads, head_dim);
    }
    head(&bench, 1024, 4096, 128_256);
    head(&bench, 1024, 576, 49_152);
    optimiser(&bench, 41_943_040);
}
