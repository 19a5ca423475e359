//! Owns how new keys and values get into a cache. Knows rows `[queries | keys | values]` and places; knows no document.

use half::bf16;

use crate::device::Device;
use crate::error::Result;
use crate::kernels::{assert_aligned, each_vector};
use crate::launch;
use crate::launch::Function;
use crate::memory::{Matrix, Span};
use crate::source::Source;

static SOURCE: Source = Source { name: "kv_cache", text: include_str!("../../kernels/kv_cache.cu"), hopper: false };

/// The kernel of the cache.
#[derive(Clone)]
pub struct KvCache {
    append: Function,
}

/// Keys and values of a layer.
///
/// # Shapes
/// - keys, values `[rows * capacity, kv_heads * D]`
#[derive(Clone, Copy)]
pub struct Cache {
    /// The keys of every place.
    pub keys: Matrix<bf16>,
    /// The values of every place.
    pub values: Matrix<bf16>,
    /// Places of a cache row.
    pub capacity: usize,
}

impl KvCache {
    /// Compiles it.
    pub fn new(device: &Device) -> Result<Self> {
        Ok(KvCache { append: device.program(&SOURCE, &[])?.function("kv_cache_append")? })
    }

    /// Copies the keys and values of token t to place `positions[t]` of cache row `cache_rows[t]`. A place that the cache
    /// does not have is left out: the caller sees to the capacity.
    ///
    /// # Shapes
    /// - qkv `[T, (heads + 2 * kv_heads) * D]`, cache_rows and positions `[T]`, `kv_heads * D` a multiple of eight
    pub fn append(&self, qkv: Matrix<bf16>, cache: Cache, cache_rows: Span<u32>, positions: Span<u32>) -> Result<()> {
        let Cache { keys, values, capacity } = cache;
        let (tokens, width) = (qkv.rows(), keys.columns());
        assert!(values.columns() == width && values.rows() == keys.rows(), "shapes of a cache");
        assert!(capacity > 0 && keys.rows().is_multiple_of(capacity), "{} places in rows of {capacity}", keys.rows());
        assert!(
            qkv.columns() > 2 * width && cache_rows.len() == tokens && positions.len() == tokens,
            "shapes to append"
        );
        let first = qkv.columns() - 2 * width;
        assert_aligned(&[qkv.column_range(first, 2 * width), keys, values]);
        launch!(
            self.append, each_vector(tokens, 2 * width);
            qkv, qkv.pitch(), first, keys, keys.pitch(), values, values.pitch(),
            cache_rows, positions, keys.rows() / capacity, capacity, tokens, width,
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kernels::testing::{Case, device};

    #[test]
    fn tokens_land_at_their_places_and_nowhere_else() {
        let device = device();
        let kernels = KvCache::new(&device).unwrap();
        for (heads, width, pitch, rows, capacity, places) in [
            (8, 8, 24, 1, 1, vec![(0, 0)]),
            (64, 16, 96, 3, 5, vec![(0, 4), (2, 0), (1, 3), (2, 1)]),
            (576, 192, 960, 2, 3, vec![(1, 2), (0, 0), (0, 1), (2, 0), (0, 3)]),
        ] {
            let mut case = Case::new(&device);
            let qkv = case.random("qkv", places.len(), heads + 2 * width, pitch);
            let caches = ["keys", "values"].map(|name| case.random(name, rows * capacity, width, width + 8));
            let (_rows, cache_rows) = case.upload(&places.iter().map(|place| place.0).collect::<Vec<u32>>());
            let (_positions, positions) = case.upload(&places.iter().map(|place| place.1).collect::<Vec<u32>>());
            let cache = Cache { keys: caches[0].matrix(), values: caches[1].matrix(), capacity };
            kernels.append(qkv.matrix(), cache, cache_rows, positions).unwrap();
            for (which, cache) in caches.iter().enumerate() {
                let mut expected: Vec<Vec<f64>> = (0..rows * capacity).map(|row| cache.row(row).to_vec()).collect();
                for (token, &(row, position)) in places.iter().enumerate() {
                    if (row as usize) < rows && (position as usize) < capacity {
                        let from = &qkv.row(token)[heads + which * width..][..width];
                        expected[row as usize * capacity + position as usize] = from.to_vec();
                    }
                }
                assert_eq!(cache.read(), expected.concat());
            }
        }
    }
}
