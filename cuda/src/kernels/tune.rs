//! Owns which products are worth a choice between ways to compute them, and how two results are told apart: by a digest made
//! on the device. Knows products; the choice is the driver's.

use crate::device::Device;
use crate::error::Result;
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::Block;
use crate::product::{Product, Target};
use crate::source::Source;

static SOURCE: Source = Source { name: "digest", text: include_str!("../../kernels/digest.cu"), hopper: false };

/// Operations from which on a product is worth it: those of some ten microseconds.
const OPERATIONS: f64 = 1e10;
const THREADS: usize = 256;
const BLOCKS: usize = 1024;

/// The kernel, and room for its parts.
pub struct Tune {
    digest: Function,
    sums: Block,
    device: Device,
    operations: f64,
}

impl Tune {
    /// Compiles it.
    pub fn new(device: &Device) -> Result<Self> {
        Ok(Tune {
            digest: device.program(&SOURCE, &[])?.function("digest")?,
            sums: device.allocate(8 * BLOCKS)?,
            device: device.clone(),
            operations: OPERATIONS,
        })
    }

    /// Finds out how a product is computed fastest, if it is large and that is not known. Its operands hold real values, its
    /// target gets the product several times. A product that is added to its own target is left as it is.
    pub fn prepare(&self, product: &Product) -> Result<()> {
        if !product.can_repeat() {
            return Ok(());
        }
        let parts = product.parts(self.device.info().multiprocessors as usize);
        parts.iter().flatten().try_for_each(|part| {
            let operations = 2.0 * part.shape().iter().map(|&size| size as f64).product::<f64>();
            if operations < self.operations {
                return Ok(());
            }
            self.device.tune(part, &mut || self.digest(part.target))
        })
    }

    /// A number that differs where a bit of the target does.
    fn digest(&self, target: Target) -> Result<u64> {
        let [rows, columns] = target.shape();
        let (address, words, pitch) = match target {
            Target::Bf16(matrix) => (matrix.address(), columns / 2, matrix.pitch() / 2),
            Target::F32(matrix) => (matrix.address(), columns, matrix.pitch()),
        };
        let sums = self.sums.span::<u64>(0, BLOCKS);
        launch!(self.digest, Grid::new(BLOCKS, THREADS); address, rows, words, pitch, sums)?;
        Ok(self.device.download(sums)?.into_iter().fold(0, u64::wrapping_add))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::kernels::testing::{Case, device};
    use crate::product::Operand;

    #[test]
    fn a_digest_tells_bits_apart_and_reads_nothing_between_rows() {
        let device = device();
        let tune = Tune::new(&device).unwrap();
        let mut case = Case::new(&device);
        let target = case.random("target", 7, 24, 32);
        let matrix = target.matrix();
        let of = || tune.digest(Target::Bf16(matrix)).unwrap();
        let first = of();
        assert_eq!(of(), first);
        let free = matrix.column_range(24, 8).row_range(3, 1);
        device.zero_matrix(free).unwrap();
        assert_eq!(of(), first);
        let value = matrix.column_range(23, 1).row_range(6, 1);
        let old = device.download_matrix(value).unwrap()[0];
        device.upload_rows(value, bytemuck::bytes_of(&bf16::from_bits(old.to_bits() ^ 1))).unwrap();
        assert_ne!(of(), first);
        device.upload_rows(value, bytemuck::bytes_of(&old)).unwrap();
        assert_eq!(of(), first);
    }

    #[test]
    fn a_product_is_what_it_was_after_it_was_tuned() {
        let device = device();
        let tune = Tune { operations: 0.0, ..Tune::new(&device).unwrap() };
        let mut case = Case::new(&device);
        let (a, b) = (case.random("a", 320, 192, 192), case.random("b", 256, 192, 192));
        let target = case.empty(320, 256, 256);
        let product =
            Product::new(Operand::plain(a.matrix()), Operand::transposed(b.matrix()), Target::Bf16(target.matrix()));
        device.product(&product).unwrap();
        let expected = target.read();
        tune.prepare(&product).unwrap();
        // Fewer rows take what was found for more.
        let few = Product::new(
            Operand::plain(a.matrix().top(192)),
            Operand::transposed(b.matrix()),
            Target::Bf16(target.matrix().top(192)),
        );
        for product in [product, few] {
            device.product(&product).unwrap();
            assert!(expected.iter().zip(target.read()).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}
