//! Owns a GPU as the driver shows it: context, one stream, memory, copies, launches and recordings.
//! Knows addresses and bytes; compiling, products and pinned memory have files of their own.
#![expect(unsafe_code, reason = "the driver is a C library: every call is unsafe by its nature")]

mod blas;
mod cache;
mod compile;
mod pinned;
mod tune;

use std::ffi::{CString, c_void};
use std::path::PathBuf;
use std::sync::Mutex;

use cudarc::driver::sys as cu;

use self::blas::Blas;
use self::cache::Cache;
use self::compile::Compiler;
use self::pinned::{Mailbox, Staging};
use super::{Driver, Letter, MapShape, Rows};
use crate::device::DeviceInfo;
use crate::error::{Error, Result};
use crate::launch::{Argument, Grid, TensorMap};
use crate::product::Product;
use crate::source::{Define, Source};

/// A GPU.
pub(crate) struct Nvidia {
    context: cu::CUcontext,
    stream: cu::CUstream,
    info: DeviceInfo,
    compiler: Compiler,
    modules: Mutex<Vec<usize>>,
    blas: Blas,
    staging: Staging,
    mailbox: Mailbox,
}

// SAFETY: the handles may be used from any thread that has the context current, which `bind` sees to; what is not
// safe to share is behind locks.
unsafe impl Send for Nvidia {}
// SAFETY: as above.
unsafe impl Sync for Nvidia {}

/// How many GPUs the driver reports; zero where there is no driver.
pub(crate) fn count() -> usize {
    // SAFETY: looking for a library, and two calls that only write the number they are given.
    unsafe {
        let mut count = 0;
        if cu::is_culib_present() && cu::cuInit(0) == OK && cu::cuDeviceGetCount(&raw mut count) == OK {
            return usize::try_from(count).unwrap_or(0);
        }
    }
    0
}

/// What a GPU is, without a context on it.
pub(crate) fn look(index: usize) -> Result<DeviceInfo> {
    let device = handle(index)?;
    // SAFETY: the handle is one of the driver's.
    unsafe { describe(device) }
}

fn handle(index: usize) -> Result<cu::CUdevice> {
    if count() <= index {
        return Err(Error::Unsupported { what: format!("CUDA device {index} is not there: {} answer", count()) });
    }
    let mut device = 0;
    // SAFETY: writes one number.
    check("cuDeviceGet", unsafe { cu::cuDeviceGet(&raw mut device, index as i32) })?;
    Ok(device)
}

/// Opens a GPU; compiled kernels are kept under `cache` where one is given.
pub(crate) fn open(index: usize, cache: Option<PathBuf>) -> Result<Box<dyn Driver>> {
    let device = handle(index)?;
    // SAFETY: the calls get pointers to values that outlive them.
    unsafe {
        let mut context = std::ptr::null_mut();
        check("cuDevicePrimaryCtxRetain", cu::cuDevicePrimaryCtxRetain(&raw mut context, device))?;
        check("cuCtxSetCurrent", cu::cuCtxSetCurrent(context))?;
        let info = describe(device)?;
        let mut stream = std::ptr::null_mut();
        check(
            "cuStreamCreate",
            cu::cuStreamCreate(&raw mut stream, cu::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32),
        )?;
        let cache = Cache(cache);
        let compiler = Compiler::open(&info, cache.clone())?;
        let blas = Blas::open(&info, cache)?;
        let (staging, mailbox) = (Staging::open(), Mailbox::open()?);
        Ok(Box::new(Nvidia { context, stream, info, compiler, modules: Mutex::default(), blas, staging, mailbox }))
    }
}

const OK: cu::CUresult = cu::CUresult::CUDA_SUCCESS;

/// Turns the driver's answer into a result.
fn check(call: &'static str, code: cu::CUresult) -> Result<()> {
    if code == OK { Ok(()) } else { Err(Error::Driver { call, code: format!("{code:?}") }) }
}

unsafe fn describe(device: cu::CUdevice) -> Result<DeviceInfo> {
    use cu::CUdevice_attribute_enum as Of;
    let attribute = |of: cu::CUdevice_attribute| -> Result<u32> {
        let mut value = 0;
        // SAFETY: writes one number.
        check("cuDeviceGetAttribute", unsafe { cu::cuDeviceGetAttribute(&raw mut value, of, device) })?;
        Ok(value.unsigned_abs())
    };
    let mut name = [0_u8; 128];
    let mut bus = [0_u8; 32];
    let (mut bytes, mut version) = (0, 0);
    // SAFETY: writes at most the length it is given.
    check("cuDeviceGetName", unsafe { cu::cuDeviceGetName(name.as_mut_ptr().cast(), 127, device) })?;
    // SAFETY: writes one number each.
    check("cuDeviceTotalMem", unsafe { cu::cuDeviceTotalMem_v2(&raw mut bytes, device) })?;
    // SAFETY: as above.
    check("cuDriverGetVersion", unsafe { cu::cuDriverGetVersion(&raw mut version) })?;
    // SAFETY: as above. A driver that does not tell it leaves nothing.
    let told = unsafe { cu::cuDeviceGetPCIBusId(bus.as_mut_ptr().cast(), 31, device) } == OK;
    let text = |bytes: &[u8]| {
        let until_zero = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(until_zero).into_owned()
    };
    Ok(DeviceInfo {
        name: text(&name),
        bus: if told { text(&bus) } else { String::new() },
        compute_capability: (
            attribute(Of::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Of::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: attribute(Of::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory_bytes: bytes as u64,
        shared_bytes: attribute(Of::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as usize,
        driver_version: version.unsigned_abs(),
    })
}

impl Nvidia {
    /// Makes the context the calling thread's own.
    fn bind(&self) -> Result<()> {
        thread_local!(static BOUND: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });
        let context = self.context as usize;
        if BOUND.get() != context {
            // SAFETY: the context lives as long as the process.
            check("cuCtxSetCurrent", unsafe { cu::cuCtxSetCurrent(self.context) })?;
            BOUND.set(context);
        }
        Ok(())
    }

    fn copy(&self, copy: &cu::CUDA_MEMCPY2D) -> Result<()> {
        // SAFETY: the addresses are those of views that were checked when they were made, or of pinned memory.
        check("cuMemcpy2DAsync", unsafe { cu::cuMemcpy2DAsync_v2(copy, self.stream) })
    }
}

impl Driver for Nvidia {
    fn info(&self) -> Result<DeviceInfo> {
        Ok(self.info.clone())
    }

    fn memory(&self) -> Result<(u64, u64)> {
        self.bind()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers.
        check("cuMemGetInfo", unsafe { cu::cuMemGetInfo_v2(&raw mut free, &raw mut total) })?;
        Ok((free as u64, total as u64))
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        self.bind()?;
        let mut address = 0;
        // SAFETY: writes one address.
        match unsafe { cu::cuMemAlloc_v2(&raw mut address, bytes) } {
            cu::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                let (free, total) = self.memory()?;
                Err(Error::OutOfMemory { bytes: bytes as u64, free, total })
            }
            code => check("cuMemAlloc", code).map(|()| address),
        }
    }

    fn free(&self, address: u64) -> Result<()> {
        self.bind()?;
        self.synchronize()?;
        // SAFETY: the address came from `allocate`, and its block is being dropped.
        check("cuMemFree", unsafe { cu::cuMemFree_v2(address) })
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.upload_rows(bytes, Rows { address: to, pitch: bytes.len() }, bytes.len(), 1)
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        self.bind()?;
        self.staging.read(self.stream, from, bytes)
    }

    fn post_letter(&self, from: u64, length: usize) -> Result<Letter> {
        self.bind()?;
        self.mailbox.post(self.stream, from, length)
    }

    fn open_letter(&self, letter: Letter, wait: bool) -> Result<Option<Vec<u8>>> {
        self.bind()?;
        self.mailbox.open_letter(letter, wait)
    }

    fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: the span was checked when it was made.
        check("cuMemsetD8Async", unsafe { cu::cuMemsetD8Async(address, 0, bytes, self.stream) })
    }

    fn zero_rows(&self, to: Rows, width: usize, rows: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: the matrix was checked when it was made.
        check("cuMemsetD2D8Async", unsafe { cu::cuMemsetD2D8Async(to.address, to.pitch, 0, width, rows, self.stream) })
    }

    fn copy_rows(&self, from: Rows, to: Rows, width: usize, rows: usize) -> Result<()> {
        self.bind()?;
        let mut copy = to_device(to, width, rows);
        copy.srcMemoryType = cu::CUmemorytype_enum::CU_MEMORYTYPE_DEVICE;
        copy.srcDevice = from.address;
        copy.srcPitch = from.pitch;
        self.copy(&copy)
    }

    fn upload_rows(&self, from: &[u8], to: Rows, width: usize, rows: usize) -> Result<()> {
        self.bind()?;
        self.staging.write(self.stream, from, width, rows, |pinned, first_row, column, width, rows| {
            let address = to.address + (first_row * to.pitch + column) as u64;
            let mut copy = to_device(Rows { address, pitch: to.pitch }, width, rows);
            copy.srcMemoryType = cu::CUmemorytype_enum::CU_MEMORYTYPE_HOST;
            copy.srcHost = pinned;
            copy.srcPitch = width;
            self.copy(&copy)
        })
    }

    fn program(&self, source: &'static Source, defines: &[Define]) -> Result<u64> {
        self.bind()?;
        let image = self.compiler.image(source, defines)?;
        let mut module = std::ptr::null_mut();
        // SAFETY: the image is a whole cubin or PTX text with its end.
        check("cuModuleLoadData", unsafe { cu::cuModuleLoadData(&raw mut module, image.as_ptr().cast()) })?;
        let mut modules = self.modules.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        modules.push(module as usize);
        Ok(modules.len() as u64 - 1)
    }

    fn function(&self, program: u64, name: &'static str, shared_bytes: usize) -> Result<u64> {
        self.bind()?;
        let module = self.modules.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[program as usize];
        let text =
            CString::new(name).map_err(|_| Error::Driver { call: "cuModuleGetFunction", code: name.to_owned() })?;
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is loaded and stays so.
        check("cuModuleGetFunction", unsafe {
            cu::cuModuleGetFunction(&raw mut function, module as cu::CUmodule, text.as_ptr())
        })?;
        if shared_bytes > 48 << 10 {
            let most = cu::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: sets a number of the function.
            check("cuFuncSetAttribute", unsafe { cu::cuFuncSetAttribute(function, most, shared_bytes as i32) })?;
        }
        Ok(function as u64)
    }

    fn launch(&self, function: u64, name: &'static str, grid: Grid, arguments: &[Argument]) -> Result<()> {
        self.bind()?;
        let mut pointers = [std::ptr::null_mut::<c_void>(); 32];
        for (pointer, argument) in pointers.iter_mut().zip(arguments) {
            *pointer = argument.pointer().cast_mut();
        }
        let [x, y, z] = grid.blocks;
        // SAFETY: the kernel reads as many arguments as it declares, in their types, which the wrapper of each kernel
        // and its test see to; the driver copies them before it returns.
        let code = unsafe {
            cu::cuLaunchKernel(
                function as cu::CUfunction,
                x,
                y,
                z,
                grid.threads,
                1,
                1,
                grid.shared_bytes,
                self.stream,
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        if code == OK { Ok(()) } else { Err(Error::Driver { call: name, code: format!("{code:?} {grid:?}") }) }
    }

    fn tensor_map(&self, address: u64, shape: MapShape) -> Result<TensorMap> {
        use cu::{
            CUtensorMapDataType_enum as Type, CUtensorMapFloatOOBfill_enum as Beyond,
            CUtensorMapInterleave_enum as Interleave, CUtensorMapL2promotion_enum as Promotion,
            CUtensorMapSwizzle_enum as Swizzle,
        };
        let sizes = [shape.head_dim as u64, shape.heads as u64, shape.rows as u64];
        let pitches = [2 * shape.head_dim as u64, 2 * shape.pitch as u64];
        let (boxes, steps) = ([64, 1, shape.box_rows as u32], [1_u32; 3]);
        let mut map = TensorMap([0; 128]);
        // SAFETY: reads three sizes, two pitches and three steps, and writes 128 bytes at an address of 64.
        let code = unsafe {
            cu::cuTensorMapEncodeTiled(
                (&raw mut map).cast(),
                Type::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                3,
                address as *mut c_void,
                sizes.as_ptr(),
                pitches.as_ptr(),
                boxes.as_ptr(),
                steps.as_ptr(),
                Interleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                Swizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                Promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                Beyond::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        check("cuTensorMapEncodeTiled", code).map(|()| map)
    }

    fn product(&self, product: &Product) -> Result<()> {
        self.bind()?;
        self.blas.product(product, self.stream)
    }

    fn tune(&self, product: &Product, digest: &mut dyn FnMut() -> Result<u64>) -> Result<()> {
        self.bind()?;
        self.blas.tune(product, self.stream, digest)
    }

    fn synchronize(&self) -> Result<()> {
        self.bind()?;
        // SAFETY: the stream lives as long as the driver.
        check("cuStreamSynchronize", unsafe { cu::cuStreamSynchronize(self.stream) })
    }

    fn mark(&self) -> Result<u64> {
        self.bind()?;
        let mut event = std::ptr::null_mut();
        // SAFETY: an event that is recorded once and destroyed in `elapsed`.
        unsafe {
            check("cuEventCreate", cu::cuEventCreate(&raw mut event, 0))?;
            check("cuEventRecord", cu::cuEventRecord(event, self.stream))?;
        }
        Ok(event as u64)
    }

    fn elapsed(&self, start: u64, end: u64) -> Result<f32> {
        self.bind()?;
        let (start, end) = (start as cu::CUevent, end as cu::CUevent);
        let mut milliseconds = 0.0;
        // SAFETY: both events came from `mark` and are given up here.
        unsafe {
            check("cuEventSynchronize", cu::cuEventSynchronize(end))?;
            check("cuEventElapsedTime", cu::cuEventElapsedTime_v2(&raw mut milliseconds, start, end))?;
            check("cuEventDestroy", cu::cuEventDestroy_v2(start))?;
            check("cuEventDestroy", cu::cuEventDestroy_v2(end))?;
        }
        Ok(milliseconds)
    }
}

/// A copy of rows to the device, without its source.
fn to_device(to: Rows, width: usize, rows: usize) -> cu::CUDA_MEMCPY2D {
    cu::CUDA_MEMCPY2D {
        srcXInBytes: 0,
        srcY: 0,
        srcMemoryType: cu::CUmemorytype_enum::CU_MEMORYTYPE_DEVICE,
        srcHost: std::ptr::null(),
        srcDevice: 0,
        srcArray: std::ptr::null_mut(),
        srcPitch: 0,
        dstXInBytes: 0,
        dstY: 0,
        dstMemoryType: cu::CUmemorytype_enum::CU_MEMORYTYPE_DEVICE,
        dstHost: std::ptr::null_mut(),
        dstDevice: to.address,
        dstArray: std::ptr::null_mut(),
        dstPitch: to.pitch,
        WidthInBytes: width,
        Height: rows,
    }
}
