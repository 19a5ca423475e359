//! Owns the proof that every override of a custom operation equals its plain twin, over shapes.
//! Knows the list of operations; each is run through both implementations on the same random values.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::adamw::{AdamWStep, Moments};
use super::cpu::Cpu;
use super::{CachedDocuments, Documents, Heads, Kernels, LoraOperand, LoraPart, Plain, RopeTable, Rotation};
use crate::dropout::{DropoutKey, key_of, normal};

fn random<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
    let key = key_of(11, name);
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| normal(key, i as u64)).collect();
    Tensor::from_data(TensorData::new(values, shape), (&Device::flex(), DType::F32))
}

fn check<const D: usize>(what: &str, fast: &Tensor<D>, plain: &Tensor<D>) {
    assert_eq!(fast.dims(), plain.dims(), "{what}");
    let (fast, plain) = (fast.to_data(), plain.to_data());
    for (index, (a, b)) in fast.iter::<f32>().zip(plain.iter::<f32>()).enumerate() {
        let tolerance = 2e-5 * (1.0 + b.abs());
        assert!((a - b).abs() <= tolerance, "{what}: value {index} is {a}, its twin {b}");
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

#[test]
fn norms_equal_their_twins() {
    for (rows, width) in [(1, 7), (33, 64), (70, 130)] {
        let (x, weight) = (random("x", [rows, width]), random("w", [width]));
        let (dy, residual) = (random("dy", [rows, width]), random("r", [rows, width]));
        check("rms_norm", &Cpu.rms_norm(&x, &weight, 1e-5), &Plain.rms_norm(&x, &weight, 1e-5));
        for residual in [None, Some(residual)] {
            let fast = Cpu.rms_norm_backward(dy.clone(), &x, &weight, 1e-5, residual.clone());
            check("rms_norm_backward", &fast, &Plain.rms_norm_backward(dy.clone(), &x, &weight, 1e-5, residual));
        }
    }
    for (heads, bounds) in shapes() {
        let rows = *bounds.last().unwrap();
        let (x, dy) = (random("x", [rows, heads.packed_width()]), random("dy", [rows, heads.packed_width()]));
        let (q, k) = (random("q", [heads.head_dim]), random("k", [heads.head_dim]));
        check("head_norm", &Cpu.head_norm(&x, &q, &k, heads, 1e-6), &Plain.head_norm(&x, &q, &k, heads, 1e-6));
        let fast = Cpu.head_norm_backward(dy.clone(), &x, &q, &k, heads, 1e-6);
        check("head_norm_backward", &fast, &Plain.head_norm_backward(dy, &x, &q, &k, heads, 1e-6));
    }
}

#[test]
fn swiglu_equals_its_twin() {
    for (rows, width) in [(1, 2), (40, 38), (33, 258)] {
        let (gate_up, dh) = (random("g", [rows, width]) * 4.0, random("dh", [rows, width / 2]));
        check("swiglu", &Cpu.swiglu(&gate_up), &Plain.swiglu(&gate_up));
        let fast = Cpu.swiglu_backward(&gate_up, dh.clone());
        check("swiglu_backward", &fast, &Plain.swiglu_backward(&gate_up, dh));
    }
}

#[test]
fn rope_and_attention_equal_their_twins() {
    for (heads, bounds) in shapes() {
        let documents = Documents::new(bounds);
        let tokens = documents.tokens();
        let frequencies: Vec<f32> = (0..heads.head_dim / 2).map(|i| 1.0 / (i as f32 + 1.0)).collect();
        let table = RopeTable::new(&frequencies, 1.1, 256, &Device::flex());
        let qkv = random("qkv", [tokens, heads.packed_width()]);
        for rotation in [Rotation::Forward, Rotation::Backward] {
            let rotate =
                |kernels: &dyn Kernels| kernels.rope(qkv.clone(), heads, &table, documents.positions(), rotation);
            check("rope", &rotate(&Cpu), &rotate(&Plain));
        }
        let (fast, fast_lse) = Cpu.attention(&qkv, heads, &documents);
        let (plain, plain_lse) = Plain.attention(&qkv, heads, &documents);
        check("attention", &fast, &plain);
        check("log_sum_exp", &fast_lse, &plain_lse);
        let dy = random("dy", [tokens, heads.query_width()]);
        let backward =
            |kernels: &dyn Kernels| kernels.attention_backward(dy.clone(), &qkv, &plain, &plain_lse, heads, &documents);
        check("attention_backward", &backward(&Cpu), &backward(&Plain));
    }
}

#[test]
fn cached_attention_equals_its_twin_and_uncached_attention() {
    for (heads, _) in shapes() {
        let (first, second) = (17, 90);
        let qkv = random("qkv", [first + second, heads.packed_width()]);
        let rows = |from: usize, to: usize| qkv.clone().slice([from..to, 0..heads.packed_width()]);
        let empty = || Tensor::<3>::zeros([3, 128, heads.key_width()], (&Device::flex(), DType::F32));
        let whole = Plain.attention(&qkv, heads, &Documents::new(vec![0, first + second])).0;
        for kernels in [&Cpu as &dyn Kernels, &Plain] {
            let head = CachedDocuments { bounds: vec![0, first], rows: vec![1], past: vec![0] };
            let tail = CachedDocuments { bounds: vec![0, second], rows: vec![1], past: vec![first] };
            let start = kernels.attention_cached(&rows(0, first), &empty(), &empty(), heads, &head);
            let (keys, values) = kernels.cache_append((empty(), empty()), &rows(0, first), heads, &head);
            let rest = kernels.attention_cached(&rows(first, first + second), &keys, &values, heads, &tail);
            check(kernels.name(), &Tensor::cat(vec![start, rest], 0), &whole);
        }
    }
}

#[test]
fn lora_linears_equal_their_twins() {
    for (rows, inner, widths, rank) in [(5, 8, vec![6, 4, 4], 2), (70, 33, vec![40], 4), (1, 16, vec![3, 5], 1)] {
        let width: usize = widths.iter().sum();
        for (adapted, dropout) in [(0, None), (1, None), (widths.len(), None), (1, Some(0.3))] {
            let mut column = 0;
            let parts: Vec<LoraPart> = widths
                .iter()
                .take(adapted)
                .enumerate()
                .map(|(i, &out)| {
                    column += out;
                    LoraPart {
                        b: random(&format!("b{i}"), [out, rank]),
                        columns: column - out..column,
                        ranks: i * rank..(i + 1) * rank,
                    }
                })
                .collect();
            let operand = LoraOperand {
                a: random("a", [rank * adapted.max(1), inner]),
                parts,
                scale: 0.7,
                dropout: dropout.map(|p| DropoutKey::new(&[1, 2], p)),
            };
            let operand = (adapted > 0).then_some(&operand);
            let (x, weight) = (random("x", [rows, inner]), random("w", [width, inner]));
            let (bias, residual) = (random("bias", [width]), random("res", [rows, width]));
            let dy = random("dy", [rows, width]);
            for (bias, residual) in [(None, None), (Some(&bias), None), (None, Some(residual))] {
                let forward = |kernels: &dyn Kernels| kernels.lora_linear(&x, &weight, bias, operand, residual.clone());
                let ((fast, fast_u), (plain, plain_u)) = (forward(&Cpu), forward(&Plain));
                check("lora_linear", &fast, &plain);
                if let (Some(fast), Some(plain)) = (&fast_u, &plain_u) {
                    check("u", fast, plain);
                }
                let adapter = operand.zip(plain_u.as_ref());
                let backward = |kernels: &dyn Kernels| kernels.lora_linear_backward(&dy, &x, &weight, adapter, true);
                let ((fast_dx, fast), (plain_dx, plain)) = (backward(&Cpu), backward(&Plain));
                check("dx", &fast_dx.unwrap(), &plain_dx.unwrap());
                if let (Some(fast), Some(plain)) = (fast, plain) {
                    check("da", &fast.a, &plain.a);
                    fast.b.iter().zip(&plain.b).for_each(|(fast, plain)| check("db", fast, plain));
                }
            }
        }
    }
}

#[test]
fn cross_entropy_equals_its_twin() {
    for (rows, width, vocabulary) in [(1, 8, 11), (40, 16, 71), (20, 4, 1_050_000)] {
        let (hidden, head) = (random("h", [rows, width]), random("head", [vocabulary, width]));
        let targets: Vec<u32> = (0..rows).map(|row| (row * 7919 % vocabulary) as u32).collect();
        let run = |kernels: &dyn Kernels| kernels.cross_entropy(&hidden, &head, &targets, Some(0.25));
        let ((fast, fast_d), (plain, plain_d)) = (run(&Cpu), run(&Plain));
        fast.iter().zip(&plain).for_each(|(a, b)| assert!((a - b).abs() < 2e-5 * (1.0 + b.abs()), "{a} {b}"));
        check("d_hidden", &fast_d.unwrap(), &plain_d.unwrap());
    }
}

#[test]
fn adamw_equals_its_twin() {
    let run = |kernels: &dyn Kernels| {
        let mut moments = Moments { first: random("m", [50]) * 0.0, second: random("v", [50]) * 0.0 };
        let mut parameters = random("p", [50]);
        for step in 1..=5 {
            let gradient = random(&format!("g{step}"), [50]);
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
        parameters
    };
    check("adamw", &run(&Cpu), &run(&Plain));
}
