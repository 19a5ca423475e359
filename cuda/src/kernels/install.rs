//! Owns how trained adapters get to where products read them: the matrices of one flat f32 buffer are copied as bfloat16 into
//! free columns and rows beside frozen weights, all in one launch. Knows no adapter by name.

use half::bf16;

use crate::device::Device;
use crate::error::Result;
use crate::launch;
use crate::launch::{Function, Grid};
use crate::memory::{Block, Matrix, Span};
use crate::source::Source;

static SOURCE: Source = Source { name: "install", text: include_str!("../../kernels/install.cu"), hopper: false };

/// Threads of a block.
const THREADS: usize = 256;
/// Values that a block copies.
const SHARE: usize = 4096;
/// Words of an entry as the kernel reads it.
const ENTRY_WORDS: usize = 4;

/// One matrix to copy.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Where it goes. Fastest where it begins at a multiple of sixteen bytes and its columns and pitch are multiples of eight.
    pub destination: Matrix<bf16>,
    /// Where its first value lies in the flat buffer; the others follow row by row without gaps.
    pub source: usize,
    /// What every value is multiplied by.
    pub scale: f32,
}

/// The kernel with its table. What it writes to must stay allocated for as long as it is run.
pub struct Install {
    function: Function,
    entries: Block,
    first_blocks: Block,
    count: usize,
    blocks: usize,
    /// The shortest flat buffer that holds every source.
    needed: usize,
}

impl Install {
    /// Compiles it and writes its table.
    pub fn new(device: &Device, entries: &[Entry]) -> Result<Self> {
        let mut words = Vec::with_capacity(ENTRY_WORDS * entries.len());
        let mut first_blocks = vec![0_u32];
        let (mut blocks, mut needed) = (0, 0);
        for Entry { destination, source, scale } in entries {
            let (rows, columns, pitch) = (destination.rows(), destination.columns(), destination.pitch());
            let length = rows * columns;
            assert!(length <= i32::MAX as usize, "an adapter matrix of [{rows}, {columns}]");
            let scale = u64::from(scale.to_bits());
            let shape = rows as u64 | (columns as u64) << 32;
            words.extend([destination.address(), *source as u64, shape, pitch as u64 | scale << 32]);
            blocks += length.div_ceil(SHARE);
            first_blocks.push(blocks as u32);
            needed = needed.max(source + length);
        }
        let install = Install {
            function: device.program(&SOURCE, &[])?.function("install")?,
            entries: device.allocate(size_of_val(words.as_slice()))?,
            first_blocks: device.allocate(size_of_val(first_blocks.as_slice()))?,
            count: entries.len(),
            blocks,
            needed,
        };
        device.upload(install.entries.span(0, words.len()), &words)?;
        device.upload(install.first_blocks.span(0, first_blocks.len()), &first_blocks)?;
        Ok(install)
    }

    /// Copies every matrix from where it lies in `flat`.
    ///
    /// # Panics
    /// When `flat` is too short for a matrix.
    pub fn run(&self, flat: Span<f32>) -> Result<()> {
        assert!(flat.len() >= self.needed, "{} flat values where {} are read", flat.len(), self.needed);
        let entries = self.entries.span::<u64>(0, ENTRY_WORDS * self.count);
        let first_blocks = self.first_blocks.span::<u32>(0, self.count + 1);
        launch!(self.function, Grid::new(self.blocks, THREADS); flat, entries, first_blocks, self.count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, device};

    /// Rows, columns, pitch of the whole, first column, place in the flat buffer, scale.
    type Part = ([usize; 3], usize, usize, f32);

    #[test]
    fn matrices_land_in_their_places_and_nowhere_else() {
        let device = device();
        let cases: [Vec<Part>; 3] = [
            vec![([1, 8, 8], 0, 0, 1.0)],
            vec![([16, 576, 640], 0, 0, 2.0), ([960, 16, 640], 576, 9216, 0.5), ([960, 16, 640], 592, 24_576, 1.0)],
            vec![
                ([3, 577, 584], 0, 1, 1.0),
                ([700, 3, 72], 65, 1732, 2.0),
                ([0, 8, 8], 0, 0, 1.0),
                ([5, 16, 33], 16, 3832, 1.0),
                ([1030, 8, 24], 8, 3912, 0.25),
                ([513, 8, 24], 12, 12_152, 4.0),
            ],
        ];
        for parts in cases {
            let mut case = Case::new(&device);
            let flat: Vec<f32> = (0..40_000).map(|_| case.uniform() as f32).collect();
            let (_flat, span) = case.upload(&flat);
            let wholes: Vec<_> = parts.iter().map(|part| case.random("w", part.0[0], part.0[2], part.0[2])).collect();
            let entries: Vec<Entry> = parts
                .iter()
                .zip(&wholes)
                .map(|(&([_, columns, _], first, source, scale), whole)| Entry {
                    destination: whole.matrix().column_range(first, columns),
                    source,
                    scale,
                })
                .collect();
            Install::new(&device, &entries).unwrap().run(span).unwrap();
            for (&([rows, columns, _], first, source, scale), whole) in parts.iter().zip(&wholes) {
                let mut expected: Vec<Vec<f64>> = (0..rows).map(|row| whole.row(row).to_vec()).collect();
                for (at, value) in flat[source..][..rows * columns].iter().enumerate() {
                    expected[at / columns][first + at % columns] = bf16::from_f32(value * scale).to_f64();
                }
                assert_eq!(whole.read(), expected.concat());
            }
        }
    }
}
