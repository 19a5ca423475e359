//! Owns how deep the keys of a TOML text may lead: the library builds a table for every part of a dotted key or heading,
//! so that a few bytes become a few hundred. Knows no key; reads signs only.

/// The most parts of one key or heading.
const MOST_PARTS: usize = 24;
/// The most parts beyond the first, of all keys together.
const MOST_TOGETHER: usize = 100_000;

/// Refuses a text whose keys lead too deep.
///
/// # Errors
/// The line and the limit that is met.
pub fn check(text: &str) -> Result<(), String> {
    let (mut line, mut parts, mut together) = (1, 1, 0);
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        let mut length = sign.len_utf8();
        match sign {
            '"' | '\'' => {
                length = quoted(rest, sign);
                line += rest[..length].matches('\n').count();
            }
            '#' => length = rest.find('\n').unwrap_or(rest.len()),
            '.' => {
                parts += 1;
                together += 1;
            }
            '\n' | '=' | ',' | '{' | '[' => parts = 1,
            _ => {}
        }
        if sign == '\n' {
            line += 1;
        }
        if parts > MOST_PARTS {
            return Err(format!("line {line}: a key has at most {MOST_PARTS} parts"));
        }
        if together > MOST_TOGETHER {
            return Err(format!("line {line}: all keys together have at most {MOST_TOGETHER} parts beyond the first"));
        }
        rest = &rest[length..];
    }
    Ok(())
}

/// The bytes of a quoted text at the start of `rest`, with its quotes; to the end where it has no other one.
fn quoted(rest: &str, quote: char) -> usize {
    let three = [quote; 3].iter().collect::<String>();
    let (open, is_long) = if rest.starts_with(&three) { (3, true) } else { (1, false) };
    let bytes = rest.as_bytes();
    let mut at = open;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == '"' => at += 1,
            b'\n' if !is_long => return at,
            _ if is_long && rest.as_bytes()[at..].starts_with(three.as_bytes()) => return at + 3,
            byte if !is_long && byte == quote as u8 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    rest.len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_people_pass_and_texts_in_quotes_are_not_keys() {
        for text in [
            "a.b.c = 1.5\n[x.y.\"z.z\"]\n[[data.row]]\nv = [1.0, 2.0]\n",
            "prompt = \"\"\"\ncontents ........................................ 5\n\"\"\"\nname = 'a.b.c.d.e.f'\n",
            "text = \"a \\\" ........................................\" # ........................................\n",
            "",
            "x = '",
            "x = \"\\",
        ] {
            check(text).unwrap();
        }
    }

    #[test]
    fn headings_and_keys_that_lead_deep_are_refused_alone_and_together() {
        let deep = vec!["a"; 75].join(".");
        assert_eq!(check(&format!("\n[{deep}]")).unwrap_err(), "line 2: a key has at most 24 parts");
        assert!(check(&format!("x = {{ {deep} = 1 }}")).is_err());
        assert!(check(&format!("x = \"\"\"\n\"\"\"\n{deep} = 1")).unwrap_err().starts_with("line 3: "));
        let short = vec!["a"; 20].join(".");
        let many: String = (0..6_000).map(|at| format!("[b{at}.{short}]\n")).collect();
        assert!(check(&many).unwrap_err().contains("all keys together"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in "[a.\"'\n\\\\#=\\[\\]é]{0,60}") {
            let _ = check(&text);
        }
    }
}
