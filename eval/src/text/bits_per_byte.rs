//! Bits per byte: how many bits a language model needs for one byte of text.
//! Knows nothing about tokens; that is why models with different vocabularies may be compared by it.

/// Total negative log-likelihood in nats, divided by ln 2 and by the bytes of the text in UTF-8; none for a text without bytes.
pub fn bits_per_byte(total_nats: f64, num_bytes: u64) -> Option<f64> {
    (num_bytes > 0).then(|| total_nats / (std::f64::consts::LN_2 * num_bytes as f64))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_knows_nothing_needs_eight_bits_for_a_byte() {
        let nats = 10.0 * 256_f64.ln();
        assert!((bits_per_byte(nats, 10).unwrap() - 8.0).abs() < 1e-12);
        assert_eq!(bits_per_byte(0.0, 0), None);
    }
}
