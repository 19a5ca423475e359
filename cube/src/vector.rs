//! Owns how many values a unit reads at once, and how units share a row and its sum. Knows no operation.

use cubecl::client::Client;
use cubecl::ir::features::Plane;
use cubecl::prelude::*;

/// Units of a workgroup that reads long rows.
const UNITS: usize = 256;
/// Rows shorter than this share a workgroup.
const ALONE: usize = 64;

/// How many values a unit reads at once: at most 16 bytes of the smallest format, as far as the device has such vectors, and
/// a divisor of every length.
#[must_use]
pub fn vector_size(client: &Client, dtypes: &[ElemType], lengths: &[usize]) -> usize {
    let smallest = dtypes.iter().map(ElemType::size).min().unwrap_or(4);
    let most = client.properties().hardware.max_vector_size.min(16 / smallest);
    let mut size = 1;
    while size * 2 <= most && lengths.iter().all(|length| length.is_multiple_of(size * 2)) {
        size *= 2;
    }
    size
}

/// How the units of a workgroup share rows. Part of a kernel's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sharing {
    /// Vectors of a row.
    pub vectors: usize,
    /// Units of a row, a power of two.
    pub lanes: usize,
    /// Units of a workgroup, a multiple of `lanes`.
    pub units: usize,
    /// Units of a plane where sums may go through planes, else zero.
    pub plane: usize,
}

impl Sharing {
    /// For rows of so many vectors.
    #[must_use]
    pub fn new(client: &Client, vectors: usize) -> Self {
        Sharing::of(client, vectors, UNITS)
    }

    /// For rows of so many vectors, with at most so many units for one.
    #[must_use]
    pub fn of(client: &Client, vectors: usize, most: usize) -> Self {
        let most = most.min(client.properties().hardware.max_units_per_cube as usize).max(1);
        let lanes = (1 << vectors.max(1).ilog2()).min(1 << most.ilog2());
        let units = if lanes >= ALONE { lanes } else { UNITS.min(1 << most.ilog2()) };
        Sharing { vectors, lanes, units, plane: if lanes == units { plane_size(client, units) } else { 0 } }
    }

    /// Workgroups for so many rows; a kernel must leave out rows that are over.
    #[must_use]
    pub fn grid(&self, client: &Client, rows: usize) -> CubeCount {
        crate::launch::grid(client, rows.div_ceil(self.units / self.lanes))
    }

    /// Units of each workgroup.
    #[must_use]
    pub fn dim(&self) -> CubeDim {
        CubeDim::new_1d(self.units as u32)
    }
}

/// Where the size of a plane is one number, since a kernel is compiled for it.
fn plane_size(client: &Client, units: usize) -> usize {
    let properties = client.properties();
    let [least, most] = [properties.hardware.plane_size_min, properties.hardware.plane_size_max].map(|it| it as usize);
    let fits = least == most && least > 1 && units.is_multiple_of(least);
    if fits && properties.features.plane.contains(Plane::Ops) { least } else { 0 }
}

/// The row of this unit; may be beyond the last.
#[cube]
pub(crate) fn row_of(#[comptime] sharing: Sharing) -> usize {
    CUBE_POS * comptime!(sharing.units / sharing.lanes) + UNIT_POS as usize / comptime!(sharing.lanes)
}

/// The place of this unit among those of its row.
#[cube]
pub(crate) fn lane_of(#[comptime] sharing: Sharing) -> usize {
    UNIT_POS as usize % comptime!(sharing.lanes)
}

/// Sum over the units of a row, for all of them, in a fixed order. Every unit of the workgroup must come here.
#[cube]
pub(crate) fn row_sum(value: f32, #[comptime] sharing: Sharing) -> f32 {
    let mut sum = value;
    if comptime!(sharing.plane > 0) {
        let planes = comptime!(sharing.units / sharing.plane);
        let mut shared = Shared::<[f32]>::new_slice(planes);
        let part = plane_sum(value);
        if UNIT_POS_PLANE == 0 {
            shared[PLANE_POS as usize] = part;
        }
        sync_cube();
        sum = shared[0];
        for plane in 1..planes {
            sum += shared[plane];
        }
        sync_cube();
    } else if comptime!(sharing.lanes > 1) {
        let mut shared = Shared::<[f32]>::new_slice(comptime!(sharing.units));
        let unit = UNIT_POS as usize;
        let lane = unit % comptime!(sharing.lanes);
        shared[unit] = value;
        sync_cube();
        #[unroll]
        for step in 0..comptime!(sharing.lanes.ilog2() as usize) {
            let half = comptime!(sharing.lanes >> (step + 1));
            if lane < half {
                let other = shared[unit + half];
                shared[unit] += other;
            }
            sync_cube();
        }
        sum = shared[unit - lane];
        sync_cube();
    }
    sum
}

/// Largest value of the units of a row, for all of them. Every unit of the workgroup must come here.
#[cube]
pub(crate) fn row_max(value: f32, #[comptime] sharing: Sharing) -> f32 {
    let mut largest = value;
    if comptime!(sharing.plane > 0) {
        let planes = comptime!(sharing.units / sharing.plane);
        let mut shared = Shared::<[f32]>::new_slice(planes);
        let part = plane_max(value);
        if UNIT_POS_PLANE == 0 {
            shared[PLANE_POS as usize] = part;
        }
        sync_cube();
        largest = shared[0];
        for plane in 1..planes {
            largest = max(largest, shared[plane]);
        }
        sync_cube();
    } else if comptime!(sharing.lanes > 1) {
        let mut shared = Shared::<[f32]>::new_slice(comptime!(sharing.units));
        let unit = UNIT_POS as usize;
        let lane = unit % comptime!(sharing.lanes);
        shared[unit] = value;
        sync_cube();
        #[unroll]
        for step in 0..comptime!(sharing.lanes.ilog2() as usize) {
            let half = comptime!(sharing.lanes >> (step + 1));
            if lane < half {
                let other = shared[unit + half];
                shared[unit] = max(shared[unit], other);
            }
            sync_cube();
        }
        largest = shared[unit - lane];
        sync_cube();
    }
    largest
}
