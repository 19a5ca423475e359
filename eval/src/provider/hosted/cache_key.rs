//! The name of a call in the cache: SHA-256 over everything that goes over the wire, and which repeat of it this is.
//! Knows nothing about the answer. The key of the user is left out, so that a new key does not pay for everything again.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::wire::Headers;

/// The SHA-256 of a whole wire request and its repeat index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(pub(super) [u8; 32]);

impl CacheKey {
    /// The key of a request; `headers` are those without the user's key.
    pub fn new(dialect: &str, url: &str, headers: &Headers, body: &[u8], repeat: u32) -> Self {
        let mut headers = headers.clone();
        headers.sort();
        let mut hash = Sha256::new();
        // Each part goes in behind its length, so that no two requests can be cut into the same bytes.
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(dialect.as_bytes());
        part(url.as_bytes());
        part(&(headers.len() as u64).to_le_bytes());
        for (name, value) in &headers {
            part(name.as_bytes());
            part(value.as_bytes());
        }
        part(body);
        part(&repeat.to_le_bytes());
        Self(hash.finalize().into())
    }

    /// A number in [0, 1) that depends on the key, `salt` and `counter` alone: the jitter of waits.
    pub(super) fn uniform(&self, salt: u64, counter: u32) -> f64 {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(salt.to_le_bytes());
        hash.update(counter.to_le_bytes());
        let bits = hash.finalize().iter().take(8).fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_part_of_the_request_is_in_the_key() {
        let version = headers(&[("v", "1")]);
        let key = CacheKey::new("a", "u", &version, b"{}", 0);
        assert_eq!(key, CacheKey::new("a", "u", &version, b"{}", 0));
        for other in [
            CacheKey::new("b", "u", &version, b"{}", 0),
            CacheKey::new("a", "w", &version, b"{}", 0),
            CacheKey::new("a", "u", &headers(&[("v", "2")]), b"{}", 0),
            CacheKey::new("a", "u", &headers(&[]), b"{}", 0),
            CacheKey::new("a", "u", &version, b"{ }", 0),
            CacheKey::new("a", "u", &version, b"{}", 1),
            CacheKey::new("au", "", &version, b"{}", 0),
        ] {
            assert_ne!(key, other);
        }
    }

    #[test]
    fn the_order_of_headers_does_not_matter() {
        let one = CacheKey::new("a", "u", &headers(&[("v", "1"), ("w", "2")]), b"", 0);
        assert_eq!(one, CacheKey::new("a", "u", &headers(&[("w", "2"), ("v", "1")]), b"", 0));
    }

    #[test]
    fn jitter_is_uniform_and_repeats_itself() {
        let key = CacheKey::new("a", "u", &headers(&[]), b"", 0);
        let draws: Vec<f64> = (0..1_000).map(|counter| key.uniform(7, counter)).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f64>() / 1_000.0;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
        assert_eq!(draws[3], key.uniform(7, 3));
        assert_ne!(draws[3], key.uniform(8, 3));
    }
}
