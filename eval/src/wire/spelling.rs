//! Owns how a secret is found in text that somebody else wrote, in the spellings that text takes on its way, and is taken
//! out. Knows nothing about where the text came from or goes.

use std::borrow::Cow;

/// What stands where a secret stood.
pub(super) const HIDDEN: &str = "[key]";
/// The most backslashes in front of an escape: JSON within JSON doubles them each time.
const MOST_BACKSLASHES: usize = 8;
const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const FOR_ADDRESSES: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The text without the secret: as it is, with escapes of JSON or percent signs in it, in base64, or in hexadecimal digits.
pub(super) fn without<'a>(text: &'a str, secret: &str) -> Cow<'a, str> {
    if secret.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut text = Cow::Borrowed(text);
    for form in forms(secret.as_bytes()) {
        if text.contains(&form) {
            text = Cow::Owned(text.replace(&form, HIDDEN));
        }
    }
    if let Some(hidden) = unescaped(&text, secret.as_bytes()) {
        text = Cow::Owned(hidden);
    }
    match cut_off(&text, secret) {
        Some(start) => Cow::Owned(format!("{}{HIDDEN}", &text[..start])),
        None => text,
    }
}

/// Where the first half of the secret or more begins, if the text was cut off in the middle of it.
fn cut_off(text: &str, secret: &str) -> Option<usize> {
    let text = text.trim_end_matches(['…', '.', ' ', '[', ']']);
    let least = (secret.len() / 2).max(8);
    let ends = (least..secret.len()).rev().filter_map(|end| secret.get(..end));
    ends.filter(|start| text.ends_with(start)).map(|start| text.len() - start.len()).next()
}

/// Other alphabets, in which a secret is one fixed text whatever stands around it.
fn forms(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![hex.to_ascii_uppercase(), hex];
    // Three bytes make four letters, so what stands before moves the secret to one of three places.
    for before in 0..3 {
        forms.extend([STANDARD, FOR_ADDRESSES].map(|alphabet| base64_within(secret, before, alphabet)));
    }
    // What is left of a short one would be found in ordinary words.
    forms.retain(|form| form.len() >= 8);
    forms.sort();
    forms.dedup();
    forms
}

/// The letters of base64 that depend on the secret alone when `before` bytes stand in front of it in its first three.
fn base64_within(secret: &[u8], before: usize, alphabet: &[u8; 64]) -> String {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret);
    let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    (first..end)
        .map(|letter| {
            let bits = (letter * 6..letter * 6 + 6).fold(0, |bits, bit| {
                let byte = bytes.get(bit / 8).copied().unwrap_or_default();
                bits << 1 | usize::from(byte >> (7 - bit % 8) & 1)
            });
            char::from(alphabet[bits])
        })
        .collect()
}

/// The text without the secret, each sign of which may be escaped; none if it is not there.
fn unescaped(text: &str, secret: &[u8]) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut out, mut kept, mut at) = (String::new(), 0, 0);
    while at < bytes.len() {
        match secret.iter().try_fold(at, |at, sign| after(bytes, at, *sign)) {
            // Whatever was found begins and ends with signs of ASCII, so both ends are ends of characters.
            Some(end) => {
                out.push_str(text.get(kept..at)?);
                out.push_str(HIDDEN);
                (kept, at) = (end, end);
            }
            None => at += 1,
        }
    }
    if kept == 0 {
        return None;
    }
    out.push_str(text.get(kept..)?);
    Some(out)
}

/// Where a sign ends that stands at `at`: itself, `%41`, `\u0041` or `\/`.
fn after(text: &[u8], at: usize, sign: u8) -> Option<usize> {
    let rest = text.get(at..)?;
    match *rest.first()? {
        first if first == sign => Some(at + 1),
        b'%' if hexadecimal(rest.get(1..3)?) == Some(u32::from(sign)) => Some(at + 3),
        b'\\' => {
            let slashes = rest.iter().take(MOST_BACKSLASHES).take_while(|byte| **byte == b'\\').count();
            let escaped = rest.get(slashes..)?;
            match *escaped.first()? {
                b'u' if hexadecimal(escaped.get(1..5).unwrap_or_default()) == Some(u32::from(sign)) => {
                    Some(at + slashes + 5)
                }
                first if first == sign => Some(at + slashes + 1),
                _ => None,
            }
        }
        _ => None,
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "sk-Live/4f9A+b2==";

    #[test]
    fn every_spelling_is_found_and_what_stands_around_stays() {
        for spelt in [
            SECRET,
            "sk-Live\\/4f9A+b2==",
            "\\u0073k-Live\\u002f4f9A+b2\\u003D=",
            "\\\\u0073k-Live\\\\/4f9A+b2==",
            "sk-Live%2F4f9A%2bb2%3D%3D",
            "%73%6b%2d%4c%69%76%65%2f%34%66%39%41%2b%62%32%3d%3d",
            "736b2d4c6976652f346639412b62323d3d",
        ] {
            assert_eq!(without(&format!("größer „{spelt}“ 😀"), SECRET), "größer „[key]“ 😀", "{spelt}");
        }
        assert_eq!(without(&format!("{SECRET}{SECRET}"), SECRET), "[key][key]");
        // Base64 of the secret behind `Bearer `, nothing, `:` and `::`.
        for text in [
            "QmVhcmVyIHNrLUxpdmUvNGY5QStiMj09",
            "c2stTGl2ZS80ZjlBK2IyPT0=",
            "OnNrLUxpdmUvNGY5QStiMj09",
            "Ojpzay1MaXZlLzRmOUErYjI9PQ==",
        ] {
            assert!(without(text, SECRET).contains(HIDDEN), "{text}");
        }
    }

    #[test]
    fn half_a_secret_at_the_end_of_a_text_is_found() {
        assert_eq!(without("no such key: sk-Live/4f9A…", SECRET), "no such key: [key]");
        assert_eq!(without("no such key: sk-Live", SECRET), "no such key: sk-Live");
    }

    #[test]
    fn other_text_is_not_touched() {
        for text in ["", "sk-Live", "sk-live/4f9a+b2==", "a \\u00e4 100% \\", "%7", "\\u00"] {
            assert!(matches!(without(text, SECRET), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(without("EMPTY or not", "EMPTY"), "[key] or not");
    }

    proptest! {
        #[test]
        fn a_secret_is_found_wherever_it_stands(
            before in "\\PC{0,12}", after in "\\PC{0,12}", secret in "[!-$&-\\[\\]-~]{8,40}", spelling in prop::collection::vec(0_u8..4, 40),
        ) {
            let spelt: String = secret.chars().zip(spelling).map(|(sign, how)| match how {
                0 => format!("%{:02x}", sign as u32),
                1 => format!("\\u{:04x}", sign as u32),
                _ => sign.to_string(),
            }).collect();
            let hidden = without(&format!("{before} {spelt} {after}"), &secret).into_owned();
            prop_assert!(hidden.contains(HIDDEN), "{}", hidden);
            let whole = format!("{before} {secret} {after}");
            prop_assert!(!without(&whole, &secret).contains(&secret));
        }
    }
}
