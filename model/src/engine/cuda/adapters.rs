//! Owns adapters on a device: each as one flat f32 buffer, and the one that is installed in the free columns and rows of the
//! frozen linears. Knows no gradient.

use cuda::kernels::install::{Entry, Install};
use cuda::{Block, Device, Span};

use super::training::{adapter_bytes, padded_length};
use super::weights::Weights;
use crate::error::Result;
use crate::lora::LoraLayout;
use crate::nn::Group;

/// An adapter.
pub(super) struct Held {
    pub(super) layout: LoraLayout,
    block: Block,
    install: Install,
}

impl Held {
    /// Puts an adapter on a device. `weights` have room for its layout.
    pub(super) fn new(device: &Device, weights: &Weights, layout: &LoraLayout, values: &[f32]) -> Result<Self> {
        let block = device.allocate_zeroed(adapter_bytes(layout))?;
        let held = Held { layout: layout.clone(), block, install: Install::new(device, &entries(weights, layout))? };
        device.upload(held.values(), values)?;
        Ok(held)
    }

    /// Its values, flat.
    pub(super) fn values(&self) -> Span<f32> {
        self.block.span(0, self.layout.length())
    }

    /// Its values and the zeros behind them.
    pub(super) fn padded_values(&self) -> Span<f32> {
        self.block.span(0, padded_length(self.layout.length()))
    }

    /// Rounds its values into the weights' free columns and rows.
    pub(super) fn install(&self) -> Result<()> {
        Ok(self.install.run(self.values())?)
    }
}

/// Empties the free columns and rows, so that an adapter that uses fewer of them adds nothing in the rest.
pub(super) fn clear(device: &Device, weights: &Weights) -> Result<()> {
    for linear in weights.layers.iter().flat_map(|layer| &layer.linears).filter(|linear| linear.ranks > 0) {
        device.zero_matrix(linear.a())?;
        device.zero_matrix(linear.b())?;
    }
    Ok(())
}

/// Where each matrix goes: A as it is, B times the adapter's scale.
fn entries(weights: &Weights, layout: &LoraLayout) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (index, layer) in weights.layers.iter().enumerate() {
        for group in Group::ALL {
            let (Some(slot), linear) = (layout.slot(index, group as usize), &layer.linears[group as usize]) else {
                continue;
            };
            let a = linear.a().top(slot.ranks());
            entries.push(Entry { destination: a, source: slot.a.start, scale: 1.0 });
            for (part, ranks) in slot.parts.iter().zip(slot.part_ranks()) {
                let rows = linear.b().row_range(part.columns.start, part.columns.len());
                let b = rows.column_range(ranks.start, ranks.len());
                entries.push(Entry { destination: b, source: part.b.start, scale: layout.scale() });
            }
        }
    }
    entries
}
