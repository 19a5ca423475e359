//! Addresses of the Internet Protocol, versions 4 and 6.
//! Knows nothing about which of them can be reached; four numbers behind a word such as "section" are no address.

use std::net::Ipv6Addr;
use std::ops::Range;

use super::Kind;
use super::digits::{Number, numbers};

/// Words in front of four numbers that are no address.
const NUMBERING: [&str; 14] = [
    "section",
    "sections",
    "sec",
    "clause",
    "article",
    "art",
    "chapter",
    "paragraph",
    "para",
    "§",
    "version",
    "release",
    "item",
    "v",
];

/// Finds IP addresses.
pub struct Ip;

impl Kind for Ip {
    fn name(&self) -> &str {
        "ip"
    }

    fn policy(&self) -> &str {
        "four numbers up to 255 with dots that do not stand behind a word such as section or version; IPv6 in every form of RFC 4291"
    }

    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let long = version_6(text);
        let mut short = numbers(text, 12, |between| between == ".", version_4);
        // The last four bytes of version 6 may be written as version 4.
        short.retain(|range| {
            let after = long.partition_point(|other| other.end < range.end);
            long.get(after).is_none_or(|other| other.start > range.start)
        });
        short.into_iter().chain(long).collect()
    }

    fn canonical(&self, value: &str) -> String {
        value.parse::<std::net::IpAddr>().map_or_else(|_| value.to_lowercase(), |address| address.to_string())
    }
}

fn version_4(number: &Number<'_>) -> bool {
    let mut at = 0;
    let small = number.sizes.iter().all(|&size| {
        at += size;
        size <= 3 && number.digits[at - size..at].parse::<u32>().is_ok_and(|octet| octet < 256)
    });
    // Bytes, not `stands_alone`: a port or a path may follow, and the next dot may end the sentence.
    let mut after = number.tail.chars();
    let longer = match after.next() {
        Some('.') => after.next().is_some_and(|c| c.is_ascii_digit()),
        next => next.is_some_and(super::digits::word),
    };
    let mut before = number.head.chars().rev();
    let tied = match before.next() {
        Some('.') => before.next().is_some_and(|c| c.is_ascii_digit()),
        last => last.is_some_and(super::digits::word),
    };
    let word = number.head.trim_end().trim_end_matches('.');
    let word = word.rsplit(|c: char| !c.is_alphabetic() && c != '§').next().unwrap_or(word).to_lowercase();
    number.sizes.len() == 4 && small && !longer && !tied && !NUMBERING.contains(&word.as_str())
}

/// Runs of hexadecimal digits, colons and dots that parse; at most 45 characters, so the work is linear.
fn version_6(text: &str) -> Vec<Range<usize>> {
    let part = |byte: u8| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.';
    let bytes = text.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let len = bytes[at..].iter().take_while(|&&byte| part(byte)).count();
        let tied = |place: Option<usize>| {
            place.and_then(|place| bytes.get(place)).is_some_and(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if (2..=47).contains(&len) && !tied(at.checked_sub(1)) && !tied(Some(at + len)) {
            found.extend(address(&text[at..at + len]).map(|part| at + part.start..at + part.end));
        }
        at += len.max(1);
    }
    found
}

/// The address in a run, without a full stop or a colon that only surrounds it.
fn address(run: &str) -> Option<Range<usize>> {
    // A C++ or Rust path such as `ab::cd` parses as well; real addresses have a decimal digit.
    let plausible = |part: &str| part.parse::<Ipv6Addr>().is_ok() && part.bytes().any(|byte| byte.is_ascii_digit());
    let end = run.trim_end_matches('.').len();
    let starts = [0, 1].into_iter().filter(|&start| start == 0 || run.starts_with(':'));
    let ranges = starts.flat_map(|start| [start..end, start..end.saturating_sub(1)]);
    ranges.into_iter().filter(|range| range.start < range.end).find(|range| plausible(&run[range.clone()]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        Ip.find(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn both_versions_are_found() {
        for address in ["192.168.0.1", "8.8.8.8", "2001:db8::8a2e:370:7334", "::1", "::ffff:10.0.0.1", "fe80::1"] {
            for text in [format!("from {address}."), format!("[{address}]"), format!("ping {address}: ok")] {
                assert_eq!(found(&text), [address], "{text}");
            }
        }
        assert_eq!(found("http://10.1.2.3:8080/x and 10.0.0.0/24"), ["10.1.2.3", "10.0.0.0"]);
    }

    #[test]
    fn sections_versions_times_and_paths_are_left() {
        for text in [
            "Section 1.2.3.4",
            "§ 10.2.3.1",
            "Sec. 1.2.3.4",
            "v1.2.3.4",
            "version 1.2.3.4",
            "1.2.3",
            "1.2.3.4.5",
            "300.1.1.1",
            "12:34:56",
            "std::vec",
            "ab::cd",
            "00:1A:2B:3C:4D:5E",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}
