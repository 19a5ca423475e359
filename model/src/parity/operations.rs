//! Owns the list of the custom operations and the shapes they are compared over. Knows each operation's inputs; knows no device.

use burn::tensor::{DType, Tensor};

use super::{Place, Run, host};
use crate::dropout::DropoutKey;
use crate::kernels::adamw::{AdamWStep, Moments};
use crate::kernels::{
    CachedDocuments, Documents, Heads, Kernels, LoraOperand, LoraPart, Prepared, RopeTable, Rotation, Vocabulary,
};

/// An operation, its shape, and how it is run.
pub(super) type Case = (&'static str, String, Run);

/// Every operation over its shapes.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    norms(&mut cases);
    rows(&mut cases);
    swiglu(&mut cases);
    heads(&mut cases);
    cached(&mut cases);
    linears(&mut cases);
    vocabulary(&mut cases);
    optimiser(&mut cases);
    cases
}

fn add(
    cases: &mut Vec<Case>,
    operation: &'static str,
    shape: String,
    run: impl Fn(&dyn Kernels, Place<'_>) -> Vec<f32> + 'static,
) {
    cases.push((operation, shape, Box::new(run)));
}

fn norms(cases: &mut Vec<Case>) {
    for (rows, width) in [(1, 7), (33, 64), (70, 130)] {
        let shape = format!("{rows} x {width}");
        add(cases, "rms_norm", shape.clone(), move |kernels, at| {
            host(&kernels.rms_norm(&at.stream("x", [rows, width]), &at.values("w", [width]), 1e-5))
        });
        for residual in [false, true] {
            let shape = format!("{shape}{}", if residual { ", residual" } else { "" });
            add(cases, "rms_norm_backward", shape, move |kernels, at| {
                let (x, weight) = (at.stream("x", [rows, width]), at.values("w", [width]));
                let residual = residual.then(|| at.stream("r", [rows, width]));
                host(&kernels.rms_norm_backward(at.values("dy", [rows, width]), &x, &weight, 1e-5, residual))
            });
        }
    }
}

fn rows(cases: &mut Vec<Case>) {
    let rows = [7_u32, 0, 39, 12];
    add(cases, "gather", "4 of 40 x 38".to_owned(), move |kernels, at| {
        host(&kernels.gather(&at.values("x", [40, 38]), &rows))
    });
    add(cases, "scatter", "4 to 40 x 38".to_owned(), move |kernels, at| {
        host(&kernels.scatter(at.stream("x", [4, 38]), &rows, 40))
    });
}

fn swiglu(cases: &mut Vec<Case>) {
    for (rows, width) in [(1, 2), (40, 38), (33, 258)] {
        let shape = format!("{rows} x {width}");
        add(cases, "swiglu", shape.clone(), move |kernels, at| host(&kernels.swiglu(&at.values("g", [rows, width]))));
        add(cases, "swiglu_backward", shape, move |kernels, at| {
            host(&kernels.swiglu_backward(&at.values("g", [rows, width]), at.values("dh", [rows, width / 2])))
        });
    }
}

fn shapes() -> Vec<(Heads, Vec<usize>)> {
    let heads = |query, key_value, head_dim, window| Heads { query, key_value, head_dim, window };
    vec![
        (heads(4, 2, 16, None), vec![0, 13, 34]),
        (heads(9, 3, 64, None), vec![0, 1, 130, 200]),
        (heads(2, 2, 80, None), vec![0, 65]),
        (heads(4, 1, 8, Some(6)), vec![0, 21, 150]),
        (heads(2, 1, 96, Some(64)), vec![0, 128, 129]),
    ]
}

fn heads(cases: &mut Vec<Case>) {
    for (heads, bounds) in shapes() {
        let documents = Documents::new(bounds);
        let tokens = documents.tokens();
        let packed = [tokens, heads.packed_width()];
        let shape = format!("{tokens} tokens, {} / {} heads of {}", heads.query, heads.key_value, heads.head_dim);
        let norms = move |at: Place<'_>| (at.values("q", [heads.head_dim]), at.values("k", [heads.head_dim]));
        add(cases, "head_norm", shape.clone(), move |kernels, at| {
            let (q, k) = norms(at);
            host(&kernels.head_norm(&at.values("qkv", packed), &q, &k, heads, 1e-6))
        });
        add(cases, "head_norm_backward", shape.clone(), move |kernels, at| {
            let (q, k) = norms(at);
            host(&kernels.head_norm_backward(at.values("dy", packed), &at.values("qkv", packed), &q, &k, heads, 1e-6))
        });
        for (operation, rotation) in [("rope", Rotation::Forward), ("rope backward", Rotation::Backward)] {
            let documents = documents.clone();
            add(cases, operation, shape.clone(), move |kernels, at| {
                let frequencies: Vec<f32> = (0..heads.head_dim / 2).map(|i| 1.0 / (i as f32 + 1.0)).collect();
                let table = RopeTable::new(&frequencies, 1.1, 256, at.device);
                host(&kernels.rope(at.values("qkv", packed), heads, &table, documents.positions(), rotation))
            });
        }
        let of = documents.clone();
        add(cases, "attention", shape.clone(), move |kernels, at| {
            let (output, sums) = kernels.attention(&at.values("qkv", packed), heads, &of);
            [host(&output), host(&sums)].concat()
        });
        add(cases, "attention_backward", shape, move |kernels, at| {
            let qkv = at.values("qkv", packed);
            let (output, sums) = kernels.attention(&qkv, heads, &documents);
            let dy = at.values("dy", [tokens, heads.query_width()]);
            host(&kernels.attention_backward(dy, &qkv, &output, &sums, heads, &documents))
        });
    }
}

fn cached(cases: &mut Vec<Case>) {
    for (heads, _) in shapes() {
        let (first, second) = (17, 90);
        let shape =
            format!("{first} and {second} tokens, {} / {} heads of {}", heads.query, heads.key_value, heads.head_dim);
        add(cases, "attention_cached, cache_append", shape, move |kernels, at| {
            let qkv = at.values("qkv", [first + second, heads.packed_width()]);
            let rows = |from: usize, to: usize| qkv.clone().slice([from..to, 0..heads.packed_width()]);
            let empty = || Tensor::<3>::zeros([3, 128, heads.key_width()], (at.device, at.dtype));
            let head = CachedDocuments { bounds: vec![0, first], rows: vec![1], past: vec![0] };
            let tail = CachedDocuments { bounds: vec![0, second], rows: vec![1], past: vec![first] };
            let start = kernels.attention_cached(&rows(0, first), &empty(), &empty(), heads, &head);
            let (keys, values) = kernels.cache_append((empty(), empty()), &rows(0, first), heads, &head);
            let rest = kernels.attention_cached(&rows(first, first + second), &keys, &values, heads, &tail);
            [host(&start), host(&rest), host(&keys), host(&values)].concat()
        });
    }
}

fn linears(cases: &mut Vec<Case>) {
    for (rows, inner, widths, rank) in [(5, 8, vec![6, 4, 4], 2), (70, 33, vec![40], 4), (130, 64, vec![72, 56], 16)] {
        for (adapted, dropout) in [(0, None), (1, None), (widths.len(), None), (1, Some(0.3))] {
            let width: usize = widths.iter().sum();
            let widths = widths.clone();
            let operand = move |at: Place<'_>| {
                let mut column = 0;
                let part = |(index, &out): (usize, &usize)| {
                    column += out;
                    let (columns, ranks) = (column - out..column, index * rank..(index + 1) * rank);
                    LoraPart { b: at.stream(&format!("b{index}"), [out, rank]), columns, ranks }
                };
                let parts: Vec<LoraPart> = widths.iter().take(adapted).enumerate().map(part).collect();
                let a = at.scaled_stream("a", [rank * adapted.max(1), inner], 0.3);
                let dropout = dropout.map(|p| DropoutKey::new(&[1, 2], p));
                (adapted > 0).then_some(LoraOperand { a, parts, scale: 0.7, dropout, prepared: Prepared::default() })
            };
            let shape = format!(
                "{rows} x {inner} x {width}, {adapted} adapters of {rank}{}",
                if dropout.is_some() { ", dropout" } else { "" }
            );
            let inputs =
                move |at: Place<'_>| (at.values("x", [rows, inner]), at.scaled_values("w", [width, inner], 0.3));
            for (what, biased, added) in [("", false, false), (", bias", true, false), (", residual", false, true)] {
                let operand = operand.clone();
                add(cases, "lora_linear", format!("{shape}{what}"), move |kernels, at| {
                    let ((x, weight), operand) = (inputs(at), operand(at));
                    let bias = biased.then(|| at.values("bias", [width]));
                    let residual = added.then(|| at.stream("res", [rows, width]));
                    let (y, u) = kernels.lora_linear(&x, &weight, bias.as_ref(), operand.as_ref(), residual);
                    let ranks = operand.as_ref().map_or(0, |operand| operand.a.dims()[0]);
                    let u = u.map(|u| host(&u.slice([0..rows, 0..ranks])));
                    [host(&y), u.unwrap_or_default()].concat()
                });
            }
            add(cases, "lora_linear_backward", shape, move |kernels, at| {
                let ((x, weight), operand) = (inputs(at), operand(at));
                let u = kernels.lora_linear(&x, &weight, None, operand.as_ref(), None).1;
                let dy = at.scaled_stream("dy", [rows, width], 0.1);
                let adapter = operand.as_ref().zip(u.as_ref());
                let (dx, gradients) = kernels.lora_linear_backward(&dy, &x, &weight, adapter, true);
                [dx.as_ref().map(host).unwrap_or_default(), gradients.as_ref().map(host).unwrap_or_default()].concat()
            });
        }
    }
}

fn vocabulary(cases: &mut Vec<Case>) {
    for (rows, width, size, pieces) in [(1, 8, 11, 1), (40, 16, 71, 1), (40, 16, 71, 3), (20, 4, 50_000, 2)] {
        let height = usize::div_ceil(size, pieces);
        let table = move |at: Place<'_>| {
            let starts = (0..size).step_by(height);
            let piece = |first: usize| at.rows("head", first..size.min(first + height), width);
            Vocabulary { pieces: starts.map(piece).collect() }
        };
        let ids: Vec<u32> = (0..rows).map(|row| (row * 7919 % size) as u32).collect();
        let shape = format!("{rows} x {width}, vocabulary of {size} in {pieces}");
        let some = ids.clone();
        add(cases, "embed", shape.clone(), move |kernels, at| host(&kernels.embed(&table(at), &some)));
        add(cases, "logits", shape.clone(), move |kernels, at| {
            host(&kernels.logits(&at.values("h", [rows, width]), &table(at)))
        });
        add(cases, "cross_entropy", shape, move |kernels, at| {
            let (losses, gradient) =
                kernels.cross_entropy(&at.values("h", [rows, width]), &table(at), &ids, Some(0.25));
            [host(&losses), gradient.as_ref().map(host).unwrap_or_default()].concat()
        });
    }
}

fn optimiser(cases: &mut Vec<Case>) {
    for length in [1, 50, 70_001] {
        add(cases, "sum_of_squares", format!("{length}"), move |kernels, at| {
            // As a mean, so that the bound means the same for every length.
            vec![(kernels.sum_of_squares(&at.stream("g", [length])) / length as f64) as f32]
        });
    }
    add(cases, "adamw", "50, five steps".to_owned(), |kernels, at| {
        let zeros = || Tensor::<1>::zeros([50], (at.device, DType::F32));
        let mut moments = Moments { first: zeros(), second: zeros() };
        let mut parameters = at.stream("p", [50]);
        for step in 1..=5 {
            let gradient = at.stream(&format!("g{step}"), [50]);
            let (learning_rate, gradient_scale) = (0.01, 0.5);
            let step = AdamWStep {
                learning_rate,
                beta_1: 0.9,
                beta_2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.01,
                gradient_scale,
                step,
            };
            (moments, parameters) = kernels.adamw(moments, parameters, gradient, step);
        }
        [host(&parameters), host(&moments.first), host(&moments.second)].concat()
    });
}
