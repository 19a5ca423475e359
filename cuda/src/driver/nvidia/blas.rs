//! Owns matrix products through cuBLASLt: how a shape is computed is asked once and kept. Knows layouts and types; knows no
//! layer. The library's first proposal is taken, unless `tune` found a faster one for products like it.
#![expect(unsafe_code, reason = "cuBLASLt is a C library")]

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use cudarc::cublaslt::{result as lt, sys};
use cudarc::driver::sys as cu;

use super::super::PRODUCT_WORKSPACE_BYTES as WORKSPACE_BYTES;
use super::cache::Cache;
use super::check;
use super::tune::{Tuned, Tuning};
use crate::device::DeviceInfo;
use crate::error::{Error, Result};
use crate::product::{Product, Target};

/// The library, its workspace and the ways that were asked for.
pub(super) struct Blas {
    handle: sys::cublasLtHandle_t,
    workspace: u64,
    pub(super) state: Mutex<State>,
    pub(super) tuning: Tuning,
}

/// What is known of products.
#[derive(Default)]
pub(super) struct State {
    ways: HashMap<Key, Way>,
    pub(super) tuned: HashMap<Kind, Tuned>,
}

/// What a way depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) rows: usize,
    pub(super) kind: Kind,
}

/// Products that differ in their rows only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    columns: usize,
    length: usize,
    transposed: [bool; 2],
    pitches: [usize; 4],
    alignments: [u32; 4],
    wide: bool,
    bias: bool,
    added: bool,
}

/// A way to compute a product.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) form: Form,
    pub(super) algorithm: sys::cublasLtMatmulAlgo_t,
}

/// A product as the library is told of it.
#[derive(Clone, Copy)]
pub(super) struct Form {
    description: sys::cublasLtMatmulDesc_t,
    layouts: [sys::cublasLtMatrixLayout_t; 4],
}

type Library<T> = std::result::Result<T, lt::CublasError>;

impl Blas {
    pub(super) fn open(info: &DeviceInfo, cache: Cache) -> Result<Self> {
        // SAFETY: looks for the library only.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::LibraryMissing {
                library: "libcublasLt",
                hint: "\nhint: install cuBLAS (package libcublas) or put its folder into LD_LIBRARY_PATH",
            });
        }
        let handle = lt::create_handle().map_err(|error| failed("a handle", error))?;
        let mut workspace = 0;
        // SAFETY: writes one address.
        check("cuMemAlloc", unsafe { cu::cuMemAlloc_v2(&raw mut workspace, WORKSPACE_BYTES) })?;
        Ok(Blas { handle, workspace, state: Mutex::default(), tuning: Tuning::new(info, cache) })
    }

    /// Puts a product into the stream.
    pub(super) fn product(&self, product: &Product, stream: cu::CUstream) -> Result<()> {
        let key = key(product);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let way = match state.ways.get(&key) {
            Some(way) => *way,
            None => {
                let tuned = state.tuned.get(&key.kind).copied();
                let way = self.way(&key, tuned).map_err(|error| failed(&format!("{key:?}"), error))?;
                state.ways.insert(key, way);
                way
            }
        };
        // The lock is held, so a description with its bias pointer is used by one call at a time.
        self.run(product, &way, stream).map_err(|error| failed(&format!("{key:?}"), error))
    }

    /// Puts a product into the stream in a given way.
    pub(super) fn run(&self, product: &Product, way: &Way, stream: cu::CUstream) -> Library<()> {
        let (target, ..) = place(product.target);
        let (added, ..) = place(product.added.unwrap_or(product.target));
        // SAFETY: operands were checked when their views were made; row-major rows are the library's columns, so the
        // operands change places.
        unsafe {
            if let Some(bias) = product.bias {
                let pointer = bias.address();
                let attribute = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
                lt::set_matmul_desc_attribute(way.form.description, attribute, (&raw const pointer).cast(), 8)?;
            }
            let [layout_a, layout_b, layout_c, layout_d] = way.form.layouts;
            lt::matmul(
                self.handle,
                way.form.description,
                (&raw const product.alpha).cast(),
                (&raw const product.beta).cast(),
                product.b.matrix.address() as *const c_void,
                layout_b,
                product.a.matrix.address() as *const c_void,
                layout_a,
                added as *const c_void,
                layout_c,
                target as *mut c_void,
                layout_d,
                &raw const way.algorithm,
                self.workspace as *mut c_void,
                WORKSPACE_BYTES,
                stream.cast(),
            )
        }
    }

    /// The tuned way where it computes this product, else the library's first proposal.
    fn way(&self, key: &Key, tuned: Option<Tuned>) -> Library<Way> {
        let form = self.form(key)?;
        let tuned = tuned.filter(|tuned| tuned.serves(key.rows) && self.computes(&form, &tuned.algorithm));
        let algorithm = match tuned {
            Some(tuned) => tuned.algorithm,
            None => self.proposals(key, &form, 1)?.first().ok_or(NOT_SUPPORTED)?.algo,
        };
        Ok(Way { form, algorithm })
    }

    /// Whether an algorithm that was found for another product computes this one.
    fn computes(&self, form: &Form, algorithm: &sys::cublasLtMatmulAlgo_t) -> bool {
        let [a, b, c, d] = form.layouts;
        // SAFETY: all handles are alive, and the call writes the result that it is given.
        unsafe {
            let mut result: sys::cublasLtMatmulHeuristicResult_t = std::mem::zeroed();
            let checked = sys::cublasLtMatmulAlgoCheck(
                self.handle,
                form.description,
                b,
                a,
                c,
                d,
                &raw const *algorithm,
                &raw mut result,
            );
            checked.result().is_ok() && result.workspaceSize <= WORKSPACE_BYTES
        }
    }

    /// Types, layouts and epilogue of a product.
    pub(super) fn form(&self, key: &Key) -> Library<Form> {
        use sys::cublasLtMatmulDescAttributes_t as Of;
        let (m, key) = (key.rows, key.kind);
        let (n, k) = (key.columns, key.length);
        let narrow = sys::cudaDataType_t::CUDA_R_16BF;
        let target = if key.wide { sys::cudaDataType_t::CUDA_R_32F } else { narrow };
        let description =
            lt::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, sys::cudaDataType_t::CUDA_R_32F)?;
        let set = |of, value: i32| {
            // SAFETY: the attribute is a 32-bit number.
            unsafe { lt::set_matmul_desc_attribute(description, of, (&raw const value).cast(), 4) }
        };
        set(Of::CUBLASLT_MATMUL_DESC_TRANSA, i32::from(key.transposed[1]))?;
        set(Of::CUBLASLT_MATMUL_DESC_TRANSB, i32::from(key.transposed[0]))?;
        if key.bias {
            set(Of::CUBLASLT_MATMUL_DESC_EPILOGUE, sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS as i32)?;
        }
        let stored =
            |rows: usize, columns: usize, transposed: bool| if transposed { [columns, rows] } else { [rows, columns] };
        let layout = |kind, [rows, columns]: [usize; 2], pitch: usize| {
            // Row-major rows are the library's columns.
            lt::create_matrix_layout(kind, columns as u64, rows as u64, pitch as i64)
        };
        let layouts = [
            layout(narrow, stored(m, k, key.transposed[0]), key.pitches[0])?,
            layout(narrow, stored(k, n, key.transposed[1]), key.pitches[1])?,
            layout(target, [m, n], key.pitches[2])?,
            layout(target, [m, n], key.pitches[3])?,
        ];
        Ok(Form { description, layouts })
    }

    /// What the library proposes for a product, at most `most`, best first.
    pub(super) fn proposals(
        &self,
        key: &Key,
        form: &Form,
        most: usize,
    ) -> Library<Vec<sys::cublasLtMatmulHeuristicResult_t>> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Preference;
        let preference = lt::create_matmul_pref()?;
        // SAFETY: the attributes are 64-bit and 32-bit numbers, all handles are alive, and there is room for `most` results, of
        // which as many are valid as the call says.
        unsafe {
            let workspace = WORKSPACE_BYTES as u64;
            let of = Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            lt::set_matmul_pref_attribute(preference, of, (&raw const workspace).cast(), 8)?;
            let alignments = key.kind.alignments;
            // The library's A is our b.
            for (of, alignment) in [
                (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignments[1]),
                (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignments[0]),
                (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignments[2]),
                (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignments[3]),
            ] {
                lt::set_matmul_pref_attribute(preference, of, (&raw const alignment).cast(), 4)?;
            }
            let [a, b, c, d] = form.layouts;
            let mut results: Vec<sys::cublasLtMatmulHeuristicResult_t> = vec![std::mem::zeroed(); most];
            let mut count = 0;
            let found = sys::cublasLtMatmulAlgoGetHeuristic(
                self.handle,
                form.description,
                b,
                a,
                c,
                d,
                preference,
                most as i32,
                results.as_mut_ptr(),
                &raw mut count,
            );
            lt::destroy_matmul_pref(preference)?;
            found.result()?;
            results.truncate(usize::try_from(count).unwrap_or(0));
            results.retain(|result| result.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS);
            Ok(results)
        }
    }
}

/// What the library answers where it has no way.
const NOT_SUPPORTED: lt::CublasError = lt::CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED);

/// What the way of a product depends on.
pub(super) fn key(product: &Product) -> Key {
    let (target, target_pitch, wide) = place(product.target);
    let (added, added_pitch, _) = place(product.added.unwrap_or(product.target));
    let (a, b, [rows, columns, length]) = (product.a.matrix, product.b.matrix, product.shape());
    let kind = Kind {
        columns,
        length,
        transposed: [product.a.transposed, product.b.transposed],
        pitches: [a.pitch(), b.pitch(), added_pitch, target_pitch],
        alignments: [
            alignment(a.address(), 2 * a.pitch()),
            alignment(b.address(), 2 * b.pitch()),
            alignment(added, if wide { 4 } else { 2 } * added_pitch),
            alignment(target, if wide { 4 } else { 2 } * target_pitch),
        ],
        wide,
        bias: product.bias.is_some(),
        added: product.beta != 0.0,
    };
    Key { rows, kind }
}

/// Address, pitch, and whether it is f32.
fn place(target: Target) -> (u64, usize, bool) {
    match target {
        Target::Bf16(matrix) => (matrix.address(), matrix.pitch(), false),
        Target::F32(matrix) => (matrix.address(), matrix.pitch(), true),
    }
}

/// The largest power of two up to 256 that divides the address and the bytes of a row.
fn alignment(address: u64, pitch_bytes: usize) -> u32 {
    let zeros = (address | pitch_bytes as u64).trailing_zeros().min(8);
    1 << zeros
}

pub(super) fn failed(product: &str, error: lt::CublasError) -> Error {
    Error::Product { product: product.to_owned(), code: format!("{:?}", error.0) }
}
