//! Owns the layout of packed rows: queries, keys and values of a token side by side. Knows no operation.

/// How many heads lie in a packed row `[query | key | value]`, `(query + 2 * key_value) * head_dim` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packed {
    /// Query heads.
    pub query: usize,
    /// Key heads, and value heads.
    pub key_value: usize,
    /// Width of one head.
    pub head_dim: usize,
}

impl Packed {
    /// All heads of a row.
    #[must_use]
    pub fn all(&self) -> usize {
        self.query + 2 * self.key_value
    }

    /// Heads that are normed and rotated: queries and keys.
    #[must_use]
    pub fn rotated(&self) -> usize {
        self.query + self.key_value
    }
}
