//! Owns how sources become code for the device: NVRTC, and a cache on disk so that a second start compiles nothing.
//! Knows no kernel by name. A cached file is found by what it was made from: source, constants, compiler, device.
#![expect(unsafe_code, reason = "NVRTC is a C library")]

use std::ffi::{CString, c_char};

use cudarc::nvrtc::sys as rt;
use sha2::{Digest, Sha256};

use super::cache::{Cache, short};
use crate::device::DeviceInfo;
use crate::error::{Error, Result};
use crate::source::{Define, HEADERS, Source, fingerprint};

/// NVRTC, for one device.
pub(super) struct Compiler {
    architecture: String,
    /// Whether the compiler makes code for the device itself, and not only for a machine that the driver translates.
    binary: bool,
    version: (i32, i32),
    driver_version: u32,
    cache: Cache,
}

impl Compiler {
    pub(super) fn open(info: &DeviceInfo, cache: Cache) -> Result<Self> {
        // SAFETY: looks for the library only.
        if !unsafe { rt::is_culib_present() } {
            return Err(Error::LibraryMissing {
                library: "libnvrtc",
                hint: "\nhint: install the CUDA runtime compiler (package cuda-nvrtc) or put its folder into LD_LIBRARY_PATH",
            });
        }
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY: the calls write the numbers they are given.
        let known = unsafe {
            rt::nvrtcVersion(&raw mut major, &raw mut minor);
            rt::nvrtcGetNumSupportedArchs(&raw mut count);
            let mut known = vec![0; usize::try_from(count).unwrap_or(0)];
            rt::nvrtcGetSupportedArchs(known.as_mut_ptr());
            known
        };
        let (a, b) = info.compute_capability;
        let own = i32::try_from(10 * a + b).unwrap_or(0);
        let binary = known.contains(&own);
        let architecture = match (binary, own) {
            // The instructions of Hopper's matrix unit and copy engine are in no other architecture.
            (true, 90) => "sm_90a".to_owned(),
            (true, _) => format!("sm_{own}"),
            (false, _) => match known.iter().filter(|known| **known < own).max() {
                Some(nearest) => format!("compute_{nearest}"),
                None => {
                    return Err(Error::Unsupported {
                        what: format!(
                            "NVRTC {major}.{minor} compiles nothing for compute capability {a}.{b}\nhint: install a newer CUDA runtime compiler"
                        ),
                    });
                }
            },
        };
        Ok(Compiler { architecture, binary, version: (major, minor), driver_version: info.driver_version, cache })
    }

    /// Code of a source, ready for the driver: compiled, or read from the cache.
    pub(super) fn image(&self, source: &'static Source, defines: &[Define]) -> Result<Vec<u8>> {
        let name = self.file_name(source, defines);
        if let Some(image) = self.cache.read(&name) {
            return Ok(image);
        }
        let image = self.compile(source, defines)?;
        self.cache.write(&name, &image);
        Ok(image)
    }

    fn file_name(&self, source: &Source, defines: &[Define]) -> String {
        let mut hash = Sha256::new_with_prefix(fingerprint(source, defines));
        hash.update(format!("{} {:?} {}", self.architecture, self.version, self.driver_version));
        format!("{}-{}.kernel", source.name, short(hash))
    }

    fn compile(&self, source: &'static Source, defines: &[Define]) -> Result<Vec<u8>> {
        let failed = |log: String| Error::Compile { source_name: source.name, log };
        let text = |text: &str| CString::new(text).map_err(|error| failed(error.to_string()));
        let mut options = vec![format!("--gpu-architecture={}", self.architecture), "--std=c++17".to_owned()];
        options.extend(defines.iter().map(|(name, value)| format!("-D{name}={value}")));
        let options: Vec<CString> = options.iter().map(|option| text(option)).collect::<Result<_>>()?;
        let option_pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let names: Vec<CString> = HEADERS.iter().map(|(name, _)| text(name)).collect::<Result<_>>()?;
        let headers: Vec<CString> = HEADERS.iter().map(|(_, header)| text(header)).collect::<Result<_>>()?;
        let name_pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let header_pointers: Vec<*const c_char> = headers.iter().map(|header| header.as_ptr()).collect();
        let (body, name) = (text(source.text)?, text(&format!("{}.cu", source.name))?);
        let mut program = std::ptr::null_mut();
        let count = HEADERS.len() as i32;
        // SAFETY: every text outlives the program, which is destroyed at the end whatever happened.
        unsafe {
            let code = rt::nvrtcCreateProgram(
                &raw mut program,
                body.as_ptr(),
                name.as_ptr(),
                count,
                header_pointers.as_ptr(),
                name_pointers.as_ptr(),
            );
            if code != rt::nvrtcResult::NVRTC_SUCCESS {
                return Err(failed(format!("{code:?}")));
            }
            let code = rt::nvrtcCompileProgram(program, option_pointers.len() as i32, option_pointers.as_ptr());
            let result = if code == rt::nvrtcResult::NVRTC_SUCCESS {
                Ok(self.output(program))
            } else {
                Err(failed(format!("{code:?}: {}", log(program))))
            };
            rt::nvrtcDestroyProgram(&raw mut program);
            result
        }
    }

    /// What a compiled program came to.
    unsafe fn output(&self, program: rt::nvrtcProgram) -> Vec<u8> {
        let mut size = 0;
        // SAFETY: the program is compiled, and each call writes as many bytes as its size call said.
        unsafe {
            if self.binary {
                rt::nvrtcGetCUBINSize(program, &raw mut size);
                let mut image = vec![0_u8; size];
                rt::nvrtcGetCUBIN(program, image.as_mut_ptr().cast());
                image
            } else {
                rt::nvrtcGetPTXSize(program, &raw mut size);
                let mut image = vec![0_u8; size];
                rt::nvrtcGetPTX(program, image.as_mut_ptr().cast());
                image
            }
        }
    }
}

unsafe fn log(program: rt::nvrtcProgram) -> String {
    let mut size = 0;
    // SAFETY: the program exists, and the log is as long as its size call said.
    unsafe {
        rt::nvrtcGetProgramLogSize(program, &raw mut size);
        let mut text = vec![0_u8; size];
        rt::nvrtcGetProgramLog(program, text.as_mut_ptr().cast());
        String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned()
    }
}
