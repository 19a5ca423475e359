//! Records of a run whose bytes were changed: a line is refused or shown, and nothing it says breaks the view.

use proptest::prelude::*;

use super::*;

/// Numbers that no run has, and what is no number.
const NUMBERS: [&str; 9] =
    ["-1", "0", "1e308", "-1e308", "1e-320", "18446744073709551615", "9007199254740993", "null", "\"x\""];

fn lines() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recorded/smoke-events.jsonl");
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// The line with one of its numbers as another one.
fn with_number(line: &str, from: prop::sample::Index, number: &str) -> String {
    let from = from.index(line.len().max(1));
    let Some(start) = line.bytes().enumerate().skip(from).find(|(_, byte)| byte.is_ascii_digit()).map(|(at, _)| at)
    else {
        return line.to_owned();
    };
    let rest = &line[start..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c)).unwrap_or(rest.len());
    format!("{}{number}{}", &line[..start], &rest[end..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_number_of_a_record_breaks_the_view(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..NUMBERS.len()), 1..12),
        bytes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut lines = lines();
        for (line, from, number) in changes {
            let at = line.index(lines.len());
            lines[at] = with_number(&lines[at], from, NUMBERS[number]);
        }
        let mut lines: Vec<Vec<u8>> = lines.into_iter().map(String::into_bytes).collect();
        for (line, at, byte) in bytes {
            let line = line.index(lines.len());
            let at = at.index(lines[line].len().max(1));
            if let Some(place) = lines[line].get_mut(at) {
                *place = byte;
            }
        }
        let mut app = app(&[], true);
        for event in lines.iter().filter_map(|line| serde_json::from_slice::<Event>(line).ok()) {
            app.update(&event);
        }
        for (width, height) in [(80, 24), (220, 60)] {
            prop_assert!(!text(&app, width, height).is_empty());
        }
    }
}
