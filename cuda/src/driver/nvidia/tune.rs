//! Owns which of the library's proposals computes a kind of product: the one that is fastest while the GPU is busy, when power
//! and not the clock is the limit, among those that give the same bits as the first. So the choice changes no result.
//! What was found is kept on disk. Knows products; knows no layer.
#![expect(unsafe_code, reason = "cuBLASLt is a C library")]

use std::sync::PoisonError;

use cudarc::cublaslt::{result as lt, sys};
use cudarc::driver::sys as cu;
use sha2::{Digest, Sha256};

use super::blas::{Blas, Key, Way, failed, key};
use super::cache::{Cache, short};
use super::check;
use crate::device::DeviceInfo;
use crate::error::Result;
use crate::product::Product;

/// Proposals that are tried.
const PROPOSALS: usize = 8;
/// How long each is timed, twice: long enough for the clock to follow the load.
const MILLISECONDS: f32 = 30.0;
/// Another than the first is taken where it is faster by this share: less is noise.
const GAIN: f32 = 0.01;

/// Where choices are kept, and what they hold for.
pub(super) struct Tuning {
    cache: Cache,
    /// Device and library.
    place: String,
}

/// A choice, made for a product of so many rows.
#[derive(Clone, Copy)]
pub(super) struct Tuned {
    rows: usize,
    pub(super) algorithm: sys::cublasLtMatmulAlgo_t,
}

impl Tuned {
    /// Whether a product of so many rows is near enough.
    pub(super) fn serves(&self, rows: usize) -> bool {
        2 * rows >= self.rows && rows < 2 * self.rows
    }
}

impl Tuning {
    pub(super) fn new(info: &DeviceInfo, cache: Cache) -> Self {
        // SAFETY: asks for a number.
        let version = unsafe { sys::cublasLtGetVersion() };
        Tuning { cache, place: format!("{} {} {version}", info.name, info.driver_version) }
    }

    fn file_name(&self, key: &Key) -> String {
        format!("product-{}.way", short(Sha256::new_with_prefix(format!("{} {key:?}", self.place))))
    }

    fn read(&self, key: &Key) -> Option<Tuned> {
        let bytes = self.cache.read(&self.file_name(key))?;
        let mut algorithm = sys::cublasLtMatmulAlgo_t { data: [0; 8] };
        if bytes.len() != size_of_val(&algorithm.data) {
            return None;
        }
        let words = bytes.chunks_exact(8).map(bytemuck::pod_read_unaligned);
        algorithm.data.iter_mut().zip(words).for_each(|(to, word)| *to = word);
        Some(Tuned { rows: key.rows, algorithm })
    }

    fn write(&self, key: &Key, tuned: &Tuned) {
        self.cache.write(&self.file_name(key), bytemuck::cast_slice(&tuned.algorithm.data));
    }
}

impl Blas {
    /// Chooses how products like this one are computed, if that is not known. `digest` tells what the target holds.
    pub(super) fn tune(
        &self,
        product: &Product,
        stream: cu::CUstream,
        digest: &mut dyn FnMut() -> Result<u64>,
    ) -> Result<()> {
        let key = key(product);
        let known = |blas: &Self| {
            let state = blas.state.lock().unwrap_or_else(PoisonError::into_inner);
            // What was found for more rows is not thrown away for fewer.
            state.tuned.get(&key.kind).is_some_and(|tuned| tuned.serves(key.rows) || tuned.rows > key.rows)
        };
        if known(self) {
            return Ok(());
        }
        let tuned = match self.tuning.read(&key) {
            Some(tuned) => tuned,
            None => {
                let found = Tuned { rows: key.rows, algorithm: self.fastest(product, &key, stream, digest)? };
                self.tuning.write(&key, &found);
                found
            }
        };
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tuned.insert(key.kind, tuned);
        Ok(())
    }

    fn fastest(
        &self,
        product: &Product,
        key: &Key,
        stream: cu::CUstream,
        digest: &mut dyn FnMut() -> Result<u64>,
    ) -> Result<sys::cublasLtMatmulAlgo_t> {
        let refused = |error| failed(&format!("{key:?}"), error);
        let form = self.form(key).map_err(refused)?;
        let proposals = self.proposals(key, &form, PROPOSALS).map_err(refused)?;
        let mut ways: Vec<(Way, f32)> = Vec::new();
        let mut expected = None;
        for algorithm in proposals.into_iter().map(|proposal| proposal.algo) {
            let way = Way { form, algorithm };
            // The first one must run; a later one that does not is none.
            match (self.run(product, &way, stream), expected) {
                (Err(error), None) => return Err(refused(error)),
                (Err(_), Some(_)) => continue,
                (Ok(()), None) => expected = Some(digest()?),
                (Ok(()), Some(expected)) if digest()? != expected => continue,
                (Ok(()), Some(_)) => {}
            }
            ways.push((way, 0.0));
        }
        let once = self.time(product, &ways[0].0, stream, 3)?;
        let times = (MILLISECONDS / once).ceil().clamp(3.0, 2000.0) as usize;
        // There and back, so that a clock that falls favours none.
        let order: Vec<usize> = (0..ways.len()).chain((0..ways.len()).rev()).collect();
        for index in order {
            ways[index].1 += self.time(product, &ways[index].0, stream, times)?;
        }
        let first = ways[0];
        let best = ways.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(first);
        Ok(if best.1 < (1.0 - GAIN) * first.1 { best.0.algorithm } else { first.0.algorithm })
    }

    /// Milliseconds of one of `times` runs.
    fn time(&self, product: &Product, way: &Way, stream: cu::CUstream, times: usize) -> Result<f32> {
        let mut events = [std::ptr::null_mut(); 2];
        let mut milliseconds = 0.0;
        // SAFETY: the events are made, recorded and destroyed here.
        unsafe {
            for event in &mut events {
                check("cuEventCreate", cu::cuEventCreate(&raw mut *event, 0))?;
            }
            check("cuEventRecord", cu::cuEventRecord(events[0], stream))?;
            let run: std::result::Result<(), lt::CublasError> =
                (0..times).try_for_each(|_| self.run(product, way, stream));
            run.map_err(|error| failed(&format!("{:?}", key(product)), error))?;
            check("cuEventRecord", cu::cuEventRecord(events[1], stream))?;
            check("cuEventSynchronize", cu::cuEventSynchronize(events[1]))?;
            check("cuEventElapsedTime", cu::cuEventElapsedTime_v2(&raw mut milliseconds, events[0], events[1]))?;
            for event in events {
                check("cuEventDestroy", cu::cuEventDestroy_v2(event))?;
            }
        }
        Ok(milliseconds / times as f32)
    }
}
