//! Owns the largest numbers that several keys share: far beyond any use, and small enough that sums and products of them
//! stay numbers. Knows no key.

/// The most that a number of rows may be: more than any file that is read here has.
pub const MOST_ROWS: u32 = 1_000_000_000;
/// The most that a number of steps may be.
pub const MOST_STEPS: u32 = 1_000_000_000;
/// The most tokens that a row or a micro-batch may have.
pub const MOST_TOKENS: u32 = 1 << 24;
/// The most tokens that an answer may have.
pub const MOST_NEW_TOKENS: u32 = 1 << 20;
/// The largest amount of money.
pub const MOST_USD: f64 = 1e9;
/// The most arms, scorers and other tables of one list.
pub const MOST_TABLES: u32 = 256;
