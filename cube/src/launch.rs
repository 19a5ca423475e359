//! Owns how work is spread over workgroups. Knows no operation.

use cubecl::client::Client;
use cubecl::prelude::*;

/// Units of a workgroup where nothing asks for another number.
pub const UNITS: u32 = 256;

/// Workgroups and units for one unit a value, over as many axes as the device's limit of workgroups an axis asks for.
#[must_use]
pub fn spread(client: &Client, values: usize) -> (CubeCount, CubeDim) {
    (grid(client, values.div_ceil(UNITS as usize)), CubeDim::new_1d(UNITS))
}

/// At least so many workgroups. A kernel must leave out those that are over.
#[must_use]
pub fn grid(client: &Client, workgroups: usize) -> CubeCount {
    let most = (client.properties().hardware.max_cube_count.0 as usize).min(65_535);
    let rows = workgroups.div_ceil(most).max(1);
    CubeCount::Static(workgroups.div_ceil(rows).max(1) as u32, rows as u32, 1)
}
