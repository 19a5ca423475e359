//! The hashes by which a hub names files: SHA-256, and the names that git gives to contents. Written anew, so that the
//! program is not checked by its own code.

use sha2::{Digest as _, Sha256};

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What git keeps in the place of a large file.
pub(crate) fn pointer(sha256: &str, bytes: usize) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {bytes}\n")
}

/// Git's name of a file with this content.
pub(crate) fn blob_id(content: &[u8]) -> String {
    sha1(&[format!("blob {}\0", content.len()).as_bytes(), content].concat())
}

/// FIPS 180-4, word by word.
fn sha1(message: &[u8]) -> String {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - message.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let at = padded.len() - 8;
    padded[at..].copy_from_slice(&(8 * message.len() as u64).to_be_bytes());
    let mut h = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks(64) {
        let mut w: Vec<u32> = block.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
        for t in 16..80 {
            let next = (w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16]).rotate_left(1);
            w.push(next);
        }
        let mut v = h;
        for (t, word) in w.iter().enumerate() {
            let (f, k) = match t / 20 {
                0 => ((v[1] & v[2]) | (!v[1] & v[3]), 0x5a82_7999),
                1 => (v[1] ^ v[2] ^ v[3], 0x6ed9_eba1),
                2 => ((v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3]), 0x8f1b_bcdc),
                _ => (v[1] ^ v[2] ^ v[3], 0xca62_c1d6_u32),
            };
            let next = [v[0].rotate_left(5), f, v[4], k, *word].into_iter().fold(0, u32::wrapping_add);
            v = [next, v[0], v[1].rotate_left(30), v[2], v[3]];
        }
        (0..5).for_each(|at| h[at] = h[at].wrapping_add(v[at]));
    }
    h.iter().map(|word| format!("{word:08x}")).collect()
}

#[test]
fn the_names_are_those_that_git_gives() {
    // `git hash-object` of an empty file and of two more.
    assert_eq!(blob_id(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    assert_eq!(blob_id(b"hello world\n"), "3b18e512dba79e4c8300dd08aeb37f8e728b8dad");
    assert_eq!(sha1(&[b'a'; 55]), "c1c8bbdc22796e28c0e15163d20899b65621d65a");
    assert_eq!(sha1(&[b'a'; 56]), "c2db330f6083854c99d4b5bfb6e8f29f201be699");
}
