//! Owns a packed micro-batch: ids, which of them are supervised, and where documents begin.
//! Knows plain vectors; padding does not exist in it, so nothing can be masked by token id.

use crate::kernels::Documents;

/// Documents side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids of all documents.
    pub ids: Vec<u32>,
    /// Whether a token is to be predicted from the ones before it in its document.
    pub supervised: Vec<bool>,
    /// Start of each document, and the end of the last.
    pub bounds: Vec<usize>,
}

impl Batch {
    /// A batch of whole documents, each with its mask.
    #[must_use]
    pub fn pack<'a>(documents: impl IntoIterator<Item = (&'a [u32], &'a [bool])>) -> Self {
        let mut batch = Batch { bounds: vec![0], ..Batch::default() };
        for (ids, supervised) in documents {
            batch.ids.extend_from_slice(ids);
            batch.supervised.extend_from_slice(supervised);
            batch.bounds.push(batch.ids.len());
        }
        batch
    }

    /// Number of supervised tokens. The first token of a document has nothing before it and never counts.
    #[must_use]
    pub fn supervised_tokens(&self) -> usize {
        self.targets().0.len()
    }

    /// Rows that predict a supervised token, and the tokens they predict.
    #[must_use]
    pub fn targets(&self) -> (Vec<usize>, Vec<u32>) {
        let mut rows = Vec::new();
        let mut targets = Vec::new();
        for range in self.bounds.windows(2).map(|pair| pair[0]..pair[1]) {
            for token in range.skip(1).filter(|&token| self.supervised[token]) {
                rows.push(token - 1);
                targets.push(self.ids[token]);
            }
        }
        (rows, targets)
    }

    /// The document bounds as attention needs them.
    #[must_use]
    pub fn documents(&self) -> Documents {
        Documents::new(self.bounds.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_never_predicted_across_documents() {
        let batch = Batch::pack([(&[5_u32, 6, 7][..], &[true, false, true][..]), (&[8, 9][..], &[true, true][..])]);
        assert_eq!(batch.bounds, [0, 3, 5]);
        assert_eq!(batch.targets(), (vec![1, 3], vec![7, 9]));
        assert_eq!(batch.documents().positions(), [0, 1, 2, 0, 1]);
    }
}
