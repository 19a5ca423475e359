//! Random numbers as a pure function of (seed, replicate, position), so that the order of work and the number of threads cannot change a result.
//! Knows nothing about what is drawn; nothing here reads a clock or keeps a state.

use ground::random::{STEP, mix, unit_f64};

/// The numbers of one replicate.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: u64,
}

impl Stream {
    /// The stream of a replicate.
    pub fn new(seed: u64, replicate: u64) -> Self {
        Self { key: mix(mix(seed).wrapping_add(replicate)) }
    }

    /// 64 bits at a position.
    #[inline]
    pub fn bits(self, position: u64) -> u64 {
        mix(self.key.wrapping_add(position.wrapping_mul(STEP)))
    }

    /// A number in [0, 1) at a position, with 53 bits.
    pub fn uniform(self, position: u64) -> f64 {
        unit_f64(self.bits(position))
    }

    /// A number below `bound`, each equally likely; two draws share the bits of one position.
    #[inline]
    pub fn below(self, draw: u64, bound: u32) -> u32 {
        let half = (self.bits(draw / 2) >> (32 * (draw % 2))) as u32;
        self.unbiased(draw, half, bound)
    }

    /// Calls `visit` with the draws 0, 1, …, `count` − 1 below `bound`, the same as `below` gives one by one.
    #[inline]
    pub fn each_below(self, count: u32, bound: u32, mut visit: impl FnMut(u32, u32)) {
        for pair in 0..count / 2 {
            let (bits, draw) = (self.bits(u64::from(pair)), 2 * pair);
            visit(draw, self.unbiased(u64::from(draw), bits as u32, bound));
            visit(draw + 1, self.unbiased(u64::from(draw) + 1, (bits >> 32) as u32, bound));
        }
        if count % 2 == 1 {
            visit(count - 1, self.below(u64::from(count) - 1, bound));
        }
    }

    /// Multiply and shift with rejection (Lemire 2019, arXiv 1805.10941): without rejection some numbers would be more likely.
    #[inline]
    fn unbiased(self, draw: u64, half: u32, bound: u32) -> u32 {
        let product = u64::from(half) * u64::from(bound);
        if (product as u32) < bound { self.again(draw, product, bound) } else { (product >> 32) as u32 }
    }

    #[cold]
    fn again(self, draw: u64, mut product: u64, bound: u32) -> u32 {
        let refused_below = bound.wrapping_neg() % bound;
        // The key of the second tries is another one, so that they never meet a first try.
        let retry = Self { key: mix(mix(self.key).wrapping_add(draw)) };
        let mut attempt = 0;
        while (product as u32) < refused_below {
            product = u64::from(retry.bits(attempt) as u32) * u64::from(bound);
            attempt += 1;
        }
        (product >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The first outputs of SplitMix64 with state 0, as published with the reference code of xoshiro.
    #[test]
    fn the_mixer_is_splitmix64() {
        let stream = Stream { key: 0 };
        assert_eq!(stream.bits(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(stream.bits(1), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn draws_one_by_one_equal_draws_in_a_row() {
        for (count, bound) in [(0, 5), (1, 1), (7, 3), (1000, 0xc000_0001)] {
            let stream = Stream::new(3, 9);
            let mut row = Vec::new();
            stream.each_below(count, bound, |draw, value| row.push((draw, value)));
            let single: Vec<_> = (0..count).map(|draw| (draw, stream.below(u64::from(draw), bound))).collect();
            assert_eq!(row, single);
            assert!(row.iter().all(|&(_, value)| value < bound));
        }
    }

    // With a bound of 3·2^30 the plain multiply and shift hits every third number twice as often as the others.
    #[test]
    fn large_bounds_are_drawn_without_bias() {
        let mut thirds = [0_i32; 3];
        Stream::new(1, 0).each_below(300_000, 3 << 30, |_, value| thirds[value as usize % 3] += 1);
        assert!(thirds.iter().all(|count| (count - 100_000).abs() < 1_500), "{thirds:?}");
    }

    #[test]
    fn small_bounds_are_equally_likely() {
        let mut counts = [0_i32; 7];
        Stream::new(8, 2).each_below(70_000, 7, |_, value| counts[value as usize] += 1);
        let chi_square: f64 = counts.iter().map(|&count| f64::from(count - 10_000).powi(2) / 10_000.0).sum();
        assert!(chi_square < 22.5, "{chi_square}"); // the 99.9 % point with 6 degrees of freedom
    }

    #[test]
    fn uniform_numbers_have_mean_one_half() {
        let mean = (0..10_000).map(|position| Stream::new(5, 1).uniform(position)).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.012, "{mean}");
    }
}
