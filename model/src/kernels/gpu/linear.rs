//! Owns the packed linear with adapters on a GPU: from the engine's operands to those of the kernels, and gradients back.
//! Knows tensors and arrays; the mathematics stands in the kernels.

use burn::tensor::Tensor;
use cube::Array;
use cube::dropout::{add_dropped, dropped};
use cube::elementwise::cast;
use cube::lora::{self, Adapter, Backward};
use cube::product::Product;

use super::values::Values;
use crate::kernels::{LoraOperand, LoraPart};

/// See `Kernels::lora_linear`.
pub(super) fn forward(
    x: &Tensor<2>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    adapter: Option<&LoraOperand>,
    residual: Option<Tensor<2>>,
) -> (Tensor<2>, Option<Tensor<2>>) {
    let (x, weight) = (Values::read(x), Values::read(weight));
    let bias = bias.map(Values::read);
    let residual = residual.as_ref().map(Values::read);
    let dtype = residual.as_ref().map_or(x.array.dtype, |residual| residual.array.dtype);
    let input = adapter.and_then(|adapter| adapter.dropout).map(|key| dropped(&x.array, key.key, key.probability));
    let adapter = adapter.map(|adapter| prepared(adapter, &weight.array));
    let (y, u) = lora::forward(
        &x.array,
        input.as_ref(),
        &weight.array,
        bias.as_ref().map(|bias| &bias.array),
        adapter,
        residual.as_ref().map(|residual| &residual.array),
        dtype,
    );
    (x.matrix(y), u.map(|u| x.matrix(u)))
}

/// See `Kernels::lora_linear_backward`.
pub(super) fn backward(
    dy: &Tensor<2>,
    x: &Tensor<2>,
    weight: &Tensor<2>,
    adapter: Option<(&LoraOperand, &Tensor<2>)>,
    input_gradient: bool,
) -> (Option<Tensor<2>>, Option<Tensor<1>>) {
    let (x, weight, dy) = (Values::read(x), Values::read(weight), Values::read(dy));
    let dy = if dy.array.dtype == weight.array.dtype { dy.array } else { cast(&dy.array, weight.array.dtype, 1.0) };
    let key = adapter.and_then(|(adapter, _)| adapter.dropout);
    let input = key.map(|key| dropped(&x.array, key.key, key.probability));
    let held = adapter.map(|(_, u)| Values::read(u).array);
    let prepared = adapter.map(|(adapter, _)| prepared(adapter, &weight.array)).zip(held.as_ref());
    let backward =
        Backward { dy: &dy, x: input.as_ref().unwrap_or(&x.array), weight: &weight.array, adapter: prepared };
    let p = backward.p();
    let dx = input_gradient.then(|| match (key, prepared, &p) {
        // What comes back through the adapter passes the mask that its input had.
        (Some(key), Some((adapter, _)), Some(p)) => {
            let through = Product::of(p.plain(), adapter.a.plain()).run(dy.dtype);
            x.matrix(add_dropped(&backward.dx(None), &through, key.key, key.probability))
        }
        _ => x.matrix(backward.dx(p.as_ref())),
    });
    let gradients = p.and_then(|p| backward.gradients(&p)).map(|gradients| {
        let length = gradients.length();
        x.tensor(gradients, [length])
    });
    (dx, gradients)
}

/// The operand's numbers in the format of the weight; they are the same in both passes.
fn prepared<'a>(adapter: &'a LoraOperand, weight: &Array) -> &'a Adapter {
    adapter.prepared.get(|| {
        let part = |part: &LoraPart| (Values::read(&part.b).array, [part.columns.clone(), part.ranks.clone()]);
        let parts: Vec<_> = adapter.parts.iter().map(part).collect();
        Adapter::new(&Values::read(&adapter.a).array, &parts, weight.shape[0], adapter.scale, weight.dtype)
    })
}
