//! Owns SHA-256 as lower-case hexadecimal text, the only hash a manifest or a summary carries. Knows nothing about
//! what is hashed.

use std::fmt::Write as _;
use std::io;

use sha2::{Digest as _, Sha256};

/// SHA-256 of some bytes.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The first eight bytes of the SHA-256, little endian: the number the split rule is made of.
pub fn sha256_u64_le(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    digest.iter().take(8).rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// SHA-256 of a file, read piece by piece.
///
/// # Errors
/// When it is no regular file or cannot be read.
pub fn sha256_of_file(path: &std::path::Path) -> io::Result<String> {
    let mut file = Hashing::new(ground::read::open(path)?);
    io::copy(&mut file, &mut io::sink())?;
    Ok(file.finish())
}

/// A reader or writer that hashes what passes through it.
pub struct Hashing<T> {
    inner: T,
    hasher: Sha256,
}

impl<T> Hashing<T> {
    /// Starts with the hash of nothing.
    pub fn new(inner: T) -> Self {
        Hashing { inner, hasher: Sha256::new() }
    }

    /// The hash of everything that has passed.
    pub fn finish(self) -> String {
        hex(&self.hasher.finalize())
    }
}

impl<T: io::Read> io::Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl<T: io::Write> io::Write for Hashing<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_abc_is_the_published_one() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), expected);
        assert_eq!(sha256_u64_le(b"abc"), 0xeacf_018f_bf16_78ba);
    }
}
