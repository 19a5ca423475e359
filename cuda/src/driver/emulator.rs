//! Owns a processor that plays a GPU: kernels are compiled as C++ and called, memory is the host's, products are loops.
//! For tests. Work is done at once, so it cannot show an error of ordering; a race inside a block it shows by chance only.
#![expect(unsafe_code, reason = "kernels are called in a shared library, and device addresses are host pointers")]

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use half::bf16;
use libloading::{Library, Symbol};

use super::{Driver, Letter, MapShape, Rows};
use crate::device::DeviceInfo;
use crate::error::{Error, Result};
use crate::launch::{Argument, Grid, TensorMap};
use crate::memory::{Element, Matrix};
use crate::product::{Operand, Product, Target};
use crate::source::{Define, Source, fingerprint};

/// Runs one kernel; the library's `emulator_launch` returns 0 if it knows the kernel.
type LaunchFn = unsafe extern "C" fn(*const c_char, *const u32, u32, u32, *const *const c_void) -> c_int;

/// The processor.
pub(crate) struct Emulator {
    hopper: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blocks: HashMap<u64, Vec<u128>>,
    programs: Vec<Library>,
    known: HashMap<[u8; 32], u64>,
    functions: Vec<(usize, &'static str)>,
    letters: HashMap<usize, Vec<u8>>,
    next_letter: usize,
}

impl Emulator {
    pub(crate) fn new(hopper: bool) -> Self {
        Emulator { hopper, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Driver for Emulator {
    fn info(&self) -> Result<DeviceInfo> {
        Ok(DeviceInfo {
            name: "emulator".to_owned(),
            compute_capability: if self.hopper { (9, 0) } else { (8, 0) },
            multiprocessors: 4,
            memory_bytes: 1 << 32,
            shared_bytes: 227 << 10,
            driver_version: 0,
            bus: String::new(),
        })
    }

    fn memory(&self) -> Result<(u64, u64)> {
        let used: usize = self.state().blocks.values().map(|block| block.len() * size_of::<u128>()).sum();
        Ok(((1 << 32) - used as u64, 1 << 32))
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        // Not zeros: what a kernel reads without having written must show. The pattern is a NaN in every type of float.
        let mut block = vec![u128::MAX; bytes.div_ceil(size_of::<u128>()) + 64];
        let address = (block.as_mut_ptr() as u64).next_multiple_of(512);
        self.state().blocks.insert(address, block);
        Ok(address)
    }

    fn free(&self, address: u64) -> Result<()> {
        self.state().blocks.remove(&address);
        Ok(())
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        // SAFETY: the address lies in a block of this emulator, checked where the view was made.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
        Ok(())
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn post_letter(&self, from: u64, length: usize) -> Result<Letter> {
        let mut bytes = vec![0; length];
        self.download(from, &mut bytes)?;
        let mut state = self.state();
        state.next_letter += 1;
        let slot = state.next_letter;
        state.letters.insert(slot, bytes);
        Ok(Letter { slot, length })
    }

    fn open_letter(&self, letter: Letter, _wait: bool) -> Result<Option<Vec<u8>>> {
        Ok(self.state().letters.remove(&letter.slot))
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        // SAFETY: as above.
        unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes) };
        Ok(())
    }

    fn zero_rows(&self, to: Rows, width: usize, rows: usize) -> Result<()> {
        (0..rows).try_for_each(|row| self.zero(to.address + (row * to.pitch) as u64, width))
    }

    fn copy_rows(&self, from: Rows, to: Rows, width: usize, rows: usize) -> Result<()> {
        for row in 0..rows {
            let (from, to) = (from.address + (row * from.pitch) as u64, to.address + (row * to.pitch) as u64);
            // SAFETY: as above.
            unsafe { std::ptr::copy(from as *const u8, to as *mut u8, width) };
        }
        Ok(())
    }

    fn upload_rows(&self, from: &[u8], to: Rows, width: usize, rows: usize) -> Result<()> {
        self.copy_rows(Rows { address: from.as_ptr() as u64, pitch: width }, to, width, rows)
    }

    fn program(&self, source: &'static Source, defines: &[Define]) -> Result<u64> {
        let key = fingerprint(source, defines);
        if let Some(program) = self.state().known.get(&key) {
            return Ok(*program);
        }
        let path = compiled(source, defines, &key)?;
        // SAFETY: the library is what was just compiled from our sources; its initialisers register kernels only.
        let library = unsafe { Library::new(&path) }.map_err(|error| failed(error.to_string()))?;
        let mut state = self.state();
        state.programs.push(library);
        let handle = state.programs.len() as u64 - 1;
        state.known.insert(key, handle);
        Ok(handle)
    }

    fn function(&self, program: u64, name: &'static str, _shared_bytes: usize) -> Result<u64> {
        let mut state = self.state();
        state.functions.push((program as usize, name));
        Ok(state.functions.len() as u64 - 1)
    }

    fn launch(&self, function: u64, name: &'static str, grid: Grid, arguments: &[Argument]) -> Result<()> {
        let state = self.state();
        let (program, _) = state.functions[function as usize];
        // SAFETY: the type is that of the function in `emulated.cpp`.
        let launch: Symbol<'_, LaunchFn> =
            unsafe { state.programs[program].get(b"emulator_launch") }.map_err(|error| failed(error.to_string()))?;
        let pointers: Vec<*const c_void> = arguments.iter().map(Argument::pointer).collect();
        let name = CString::new(name).map_err(|error| failed(error.to_string()))?;
        // SAFETY: the arguments outlive the call, and the kernel reads as many as it declares.
        let code =
            unsafe { launch(name.as_ptr(), grid.blocks.as_ptr(), grid.threads, grid.shared_bytes, pointers.as_ptr()) };
        match code {
            0 => Ok(()),
            code => Err(failed(format!("kernel {name:?} ended with {code}"))),
        }
    }

    fn tensor_map(&self, address: u64, shape: MapShape) -> Result<TensorMap> {
        let mut bytes = [0; 128];
        let words = [
            address,
            shape.head_dim as u64,
            shape.heads as u64,
            shape.rows as u64,
            shape.pitch as u64,
            shape.box_rows as u64,
        ];
        bytes[..48].copy_from_slice(bytemuck::cast_slice(&words));
        Ok(TensorMap(bytes))
    }

    fn product(&self, product: &Product) -> Result<()> {
        let [m, n, k] = product.shape();
        let read = |operand: &Operand, row: usize, column: usize| {
            let (row, column) = if operand.transposed { (column, row) } else { (row, column) };
            f64::from(get(operand.matrix, row, column).to_f32())
        };
        let added = product.added.unwrap_or(product.target);
        for row in 0..m {
            for column in 0..n {
                let sum: f64 = (0..k).map(|at| read(&product.a, row, at) * read(&product.b, at, column)).sum();
                let mut value = f64::from(product.alpha) * sum;
                if product.beta != 0.0 {
                    let old = match added {
                        Target::Bf16(matrix) => get(matrix, row, column).to_f32(),
                        Target::F32(matrix) => get(matrix, row, column),
                    };
                    value += f64::from(product.beta) * f64::from(old);
                }
                if let Some(bias) = product.bias {
                    value += f64::from(get(bias.matrix(1, n, n), 0, column).to_f32());
                }
                match product.target {
                    Target::Bf16(matrix) => set(matrix, row, column, bf16::from_f64(value)),
                    Target::F32(matrix) => set(matrix, row, column, value as f32),
                }
            }
        }
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn tune(&self, _product: &Product, digest: &mut dyn FnMut() -> Result<u64>) -> Result<()> {
        // There is one way here, and what tells two of them apart is tried.
        digest().map(|_| ())
    }

    fn mark(&self) -> Result<u64> {
        Ok(0)
    }

    fn elapsed(&self, _start: u64, _end: u64) -> Result<f32> {
        Ok(0.0)
    }
}

fn get<T: Element>(matrix: Matrix<T>, row: usize, column: usize) -> T {
    // SAFETY: views are checked against their block when they are made, and an emulated address is a host pointer.
    unsafe { (matrix.address() as *const T).add(row * matrix.pitch() + column).read() }
}

fn set<T: Element>(matrix: Matrix<T>, row: usize, column: usize, value: T) {
    // SAFETY: as above.
    unsafe { (matrix.address() as *mut T).add(row * matrix.pitch() + column).write(value) };
}

/// The shared library of a source, compiled into the folder of temporary files unless it is there.
fn compiled(source: &Source, defines: &[Define], key: &[u8; 32]) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut name = format!("{}-", source.name);
    // The emulator is part of what is compiled, so its text is part of the name.
    let emulator = ["emulated.h", "emulated_hopper.h", "emulated.cpp"]
        .map(|file| ground::read::bytes(&root.join("emulator").join(file), ground::read::Kind::Prose));
    let mut hash = <sha2::Sha256 as sha2::Digest>::new_with_prefix(key);
    for text in emulator {
        sha2::Digest::update(&mut hash, text.map_err(|error| failed(format!("cannot read the emulator: {error}")))?);
    }
    for byte in sha2::Digest::finalize(hash).iter().take(8) {
        let _ = write!(name, "{byte:02x}");
    }
    let folder = std::env::temp_dir().join("trainer-cuda-emulator");
    std::fs::create_dir_all(&folder).map_err(|error| failed(format!("cannot create {}: {error}", folder.display())))?;
    let path = folder.join(format!("{name}.so"));
    if path.is_file() {
        return Ok(path);
    }
    // Tests run side by side: each compiles to a name of its own, and the last rename wins with equal bytes.
    let own = folder.join(format!("{name}.{}.{:?}", std::process::id(), std::thread::current().id()));
    let mut command = Command::new("c++");
    command.args(["-std=c++17", "-O2", "-shared", "-fPIC", "-DEMULATED", "-Wno-unknown-pragmas"]);
    // Every access to the running thread is one to thread-local storage, and the default way there is a call.
    if cfg!(target_arch = "x86_64") {
        command.arg("-mtls-dialect=gnu2");
    }
    command.arg("-I").arg(root.join("kernels")).arg("-I").arg(root.join("emulator"));
    defines.iter().for_each(|(name, value)| {
        command.arg(format!("-D{name}={value}"));
    });
    command.args(["-x", "c++"]).arg(root.join("kernels").join(format!("{}.cu", source.name)));
    command.arg(root.join("emulator/emulated.cpp")).arg("-o").arg(&own);
    let output =
        command.output().map_err(|error| failed(format!("c++ does not start ({error})\nhint: install g++")))?;
    if !output.status.success() {
        return Err(Error::Compile {
            source_name: source.name,
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    std::fs::rename(&own, &path).map_err(|error| failed(format!("cannot write {}: {error}", path.display())))?;
    Ok(path)
}

fn failed(what: String) -> Error {
    Error::Emulator { what }
}
