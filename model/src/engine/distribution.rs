//! Owns the step from logits to log-probabilities on the host, where whole distributions are asked for. Knows no device.

/// Turns each row of logits into log-probabilities; sums in f64.
///
/// # Shapes
/// - logits `[rows, vocab_size]`, row-major
pub(super) fn log_softmax(logits: &mut [f32], vocab_size: usize) {
    for row in logits.chunks_exact_mut(vocab_size) {
        let most = row.iter().fold(f32::NEG_INFINITY, |most, one| most.max(*one));
        let sum: f64 = row.iter().map(|one| f64::from(one - most).exp()).sum();
        let norm = f64::from(most) + sum.ln();
        row.iter_mut().for_each(|one| *one = (f64::from(*one) - norm) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_sums_to_one_however_large_its_logits() {
        let mut logits = vec![1000.0_f32, 1001.0, 999.0, -3.0, -3.0, -3.0];
        log_softmax(&mut logits, 3);
        for row in logits.chunks(3) {
            let sum: f32 = row.iter().map(|one| one.exp()).sum();
            assert!((sum - 1.0).abs() < 1e-6, "{row:?}");
        }
        assert!((logits[3] + 3.0_f32.ln()).abs() < 1e-6);
    }
}
