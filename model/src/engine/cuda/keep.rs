//! Owns what stays in memory between the forward and the backward pass of each layer, and the choice of it to fit a device.
//! Pure arithmetic; knows bytes and counts.

use crate::train::Recompute;

/// What a layer keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// All that costs a matrix product to rebuild, and the norm before gate and up, which their adapters read again.
    Products,
    /// All of that but gate and up, which are the largest and are rebuilt piece by piece.
    AllButMlp,
    /// The input only.
    Input,
}

impl Keep {
    /// Whether attention and what leads to it is kept.
    pub(super) fn attention(self) -> bool {
        self != Keep::Input
    }

    /// Whether gate and up are kept.
    pub(super) fn mlp(self) -> bool {
        self == Keep::Products
    }
}

/// A choice for every layer: the first layers give up most, so that what is rebuilt first in the backward pass is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeepPlan {
    layers: usize,
    input: usize,
    all_but_mlp: usize,
}

impl KeepPlan {
    /// Every layer keeps the same.
    pub(super) fn all(layers: usize, keep: Keep) -> Self {
        let count = |of: Keep| if keep == of { layers } else { 0 };
        KeepPlan { layers, input: count(Keep::Input), all_but_mlp: count(Keep::AllButMlp) }
    }

    /// What a layer keeps.
    pub(super) fn of(&self, layer: usize) -> Keep {
        if layer < self.input {
            Keep::Input
        } else if layer < self.input + self.all_but_mlp {
            Keep::AllButMlp
        } else {
            Keep::Products
        }
    }

    /// Whether any layer keeps gate and up.
    pub(super) fn any_mlp(&self) -> bool {
        self.input + self.all_but_mlp < self.layers
    }

    /// Whether any layer keeps its attention.
    pub(super) fn any_attention(&self) -> bool {
        self.input < self.layers
    }

    /// Whether any layer rebuilds gate and up.
    pub(super) fn any_rebuilt(&self) -> bool {
        self.input + self.all_but_mlp > 0
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        let of = |count: usize| {
            if count == self.layers { "every layer".to_owned() } else { format!("{count} of {} layers", self.layers) }
        };
        match (self.input, self.all_but_mlp) {
            (0, 0) => "nothing".to_owned(),
            (0, mlp) => format!("gate and up of {}", of(mlp)),
            (input, 0) => of(input),
            (input, mlp) => format!("{}, and gate and up of {}", of(input), of(mlp)),
        }
    }

    /// The plan that computes least twice among those whose `bytes` are at most `available`. `None` if none fits.
    pub(super) fn fit(
        layers: usize,
        recompute: Recompute,
        available: u64,
        bytes: impl Fn(KeepPlan) -> u64,
    ) -> Option<Self> {
        let fits = |plan: &KeepPlan| bytes(*plan) <= available;
        match recompute {
            Recompute::Never => Some(Self::all(layers, Keep::Products)).filter(fits),
            Recompute::Always => Some(Self::all(layers, Keep::Input)).filter(fits),
            Recompute::Auto => {
                let mlp = (0..=layers).map(|count| KeepPlan { layers, input: 0, all_but_mlp: count });
                let input = (1..=layers).map(|count| KeepPlan { layers, input: count, all_but_mlp: layers - count });
                mlp.chain(input).find(fits)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Ten bytes a layer for all products, four without gate and up, one for the input.
    fn bytes(plan: KeepPlan) -> u64 {
        (0..plan.layers).map(|layer| [10, 4, 1][plan.of(layer) as usize]).sum()
    }

    #[test]
    fn as_little_is_computed_twice_as_memory_allows() {
        let fit = |recompute, available| KeepPlan::fit(4, recompute, available, bytes);
        assert_eq!(fit(Recompute::Auto, 40), Some(KeepPlan::all(4, Keep::Products)));
        let two = fit(Recompute::Auto, 29).unwrap();
        assert_eq!(
            [0, 1, 2, 3].map(|layer| two.of(layer)),
            [Keep::AllButMlp, Keep::AllButMlp, Keep::Products, Keep::Products]
        );
        assert_eq!(two.words(), "gate and up of 2 of 4 layers");
        let mixed = fit(Recompute::Auto, 12).unwrap();
        assert_eq!(mixed.words(), "2 of 4 layers, and gate and up of 2 of 4 layers");
        assert_eq!(fit(Recompute::Auto, 3), None);
        assert_eq!(fit(Recompute::Never, 39), None);
        assert_eq!(fit(Recompute::Always, 4), Some(KeepPlan::all(4, Keep::Input)));
    }
}
