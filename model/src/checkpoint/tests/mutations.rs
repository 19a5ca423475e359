//! Mutates small checkpoints thousands of times: no file, however broken, may cause a panic.
//! Knows nothing of what a mutation means; the checkpoints are those of the module above.

use super::*;

#[test]
fn mutated_gguf_files_never_panic() {
    let whole = gguf_file(&entries(), &gguf_tensors());
    let (_folder, path) = gguf_on_disk(&whole);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let accepted = (0..6000)
        .filter(|_| {
            fs::write(&path, random.mutate(&whole, 2200)).unwrap();
            exercise(&path)
        })
        .count();
    assert!((1..5000).contains(&accepted), "{accepted} accepted");
}

#[test]
fn mutated_safetensors_files_never_panic() {
    let folder = folder(&config_json(), &config().tensors());
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    let mut random = Random(0xD1B5_4A32_D192_ED03);
    let accepted = (0..6000)
        .filter(|_| {
            fs::write(&path, random.mutate(&whole, 1200)).unwrap();
            exercise(folder.path())
        })
        .count();
    assert!((1..5000).contains(&accepted), "{accepted} accepted");
}

/// A small generator, so that every run sees the same mutations.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }

    /// Flips, overwrites, cuts or repeats something, mostly in the first `header` bytes.
    fn mutate(&mut self, whole: &[u8], header: usize) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        for _ in 0..=self.below(3) {
            let size = bytes.len();
            let at = if self.below(8) == 0 { self.below(size) } else { self.below(header.min(size)) };
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.below(256) as u8,
                2 => {
                    let value = [0, 1, u64::MAX, 1 << 63, 1 << 32, size as u64, u64::from(u32::MAX)][self.below(7)];
                    let room = (size - at).min(8);
                    bytes[at..at + room].copy_from_slice(&value.to_le_bytes()[..room]);
                }
                3 => bytes.truncate(at.max(1)),
                4 => {
                    let end = (at + self.below(40)).min(size);
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => bytes[at] = *b"0123456789[]{}\",:-e".get(self.below(19)).unwrap(),
            }
        }
        bytes
    }
}

/// Whatever the file says, the answer is an error or a checkpoint of which everything can be read.
fn exercise(path: &Path) -> bool {
    let Ok(checkpoint) = Checkpoint::open(path) else { return false };
    for name in checkpoint.names() {
        let tensor = checkpoint.tensor(name).unwrap();
        assert_eq!(tensor.to_f32().len(), tensor.shape.iter().product::<usize>());
    }
    let _ = checkpoint.tokenizer().map(|tokenizer| tokenizer.encode("abab <s> 12"));
    let _ = checkpoint.chat_template();
    true
}
