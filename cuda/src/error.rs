//! Owns what can go wrong on a device, in words that say what to do. Knows nothing of who asked.

/// A failure of a device, its driver or its libraries.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A library is not here.
    #[error("{library} was not found{hint}")]
    LibraryMissing {
        /// Its name.
        library: &'static str,
        /// What to do, from `\nhint:` on.
        hint: &'static str,
    },
    /// The driver refused.
    #[error("{call}: {code}")]
    Driver {
        /// What was asked.
        call: &'static str,
        /// The driver's name of the failure.
        code: String,
    },
    /// The device has too little memory.
    #[error("out of device memory: {bytes} bytes were asked for, {free} of {total} are free")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes free on the device.
        free: u64,
        /// Bytes of the device.
        total: u64,
    },
    /// A kernel does not compile, which is a defect of this program or of the compiler.
    #[error("kernel {source_name} does not compile: {log}")]
    Compile {
        /// The source file.
        source_name: &'static str,
        /// What the compiler said.
        log: String,
    },
    /// A matrix product that the library has no way to compute.
    #[error("cuBLASLt has no way to compute {product}: {code}")]
    Product {
        /// Shapes, types and order of the operands.
        product: String,
        /// The library's name of the failure.
        code: String,
    },
    /// The device cannot do what is needed.
    #[error("{what}")]
    Unsupported {
        /// What, and what would do.
        what: String,
    },
    /// The emulator of the tests failed.
    #[error("emulator: {what}")]
    Emulator {
        /// The reason.
        what: String,
    },
}

/// The result of everything fallible in this crate.
pub type Result<T> = std::result::Result<T, Error>;
