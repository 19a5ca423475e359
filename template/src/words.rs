//! Owns the words that Jinja2 reads otherwise than they look: behind an operator `not` is a name for it, and so are `in` and
//! `if` behind a test, while a test cannot follow a test. Knows signs and words, no tree.

use minijinja::machinery::{Token, tokenize};

use super::{Dialect, whitespace};

/// What is odd about a template.
pub(super) enum Odd {
    /// Jinja2 does not read it.
    Chained(String),
    /// Jinja2 reads a name there, and perhaps goes on.
    Name(String),
}

/// How far a test is read: behind `is`, or behind its name.
#[derive(Clone, Copy)]
enum Test {
    Nowhere,
    Begun,
    Named,
}

/// The first word of a chat template that is chained or a name.
pub(super) fn odd(source: &str) -> Option<Odd> {
    let (mut begins, mut in_for, mut after_operator, mut test) = (false, false, false, Test::Nowhere);
    let mut name = None;
    for (token, span) in tokenize(source, false, Default::default(), whitespace(Dialect::Chat)).map_while(Result::ok) {
        let line = span.start_line;
        let word = match token {
            Token::Ident(word) => word,
            _ => "",
        };
        let is_name = match (word, test) {
            ("is", Test::Named) => {
                let what = format!("tests cannot be chained with `is` (line {line} of the template)");
                return Some(Odd::Chained(what));
            }
            ("in" | "if", Test::Named) => true,
            _ => word == "not" && after_operator,
        };
        if is_name {
            name.get_or_insert_with(|| {
                Odd::Name(format!(
                    "`{word}` stands where Jinja2 reads a name, which is not here: put what belongs together in \
                     parentheses (line {line} of the template)"
                ))
            });
        }
        test = match (&token, test) {
            (Token::Ident("is"), _) | (Token::Ident("not"), Test::Begun) | (Token::Dot, Test::Named) => Test::Begun,
            (Token::Ident(_), Test::Begun) => Test::Named,
            _ => Test::Nowhere,
        };
        in_for = if begins { word == "for" } else { in_for };
        begins = matches!(token, Token::BlockStart | Token::VariableStart);
        after_operator = is_operator(&token) || (word == "in" && !in_for);
    }
    name
}

fn is_operator(token: &Token<'_>) -> bool {
    use Token as T;
    let compares = matches!(token, T::Eq | T::Ne | T::Lt | T::Lte | T::Gt | T::Gte);
    compares
        || matches!(token, T::Plus | T::Minus | T::Mul | T::Div | T::FloorDiv | T::Mod)
        || matches!(token, T::Pow | T::Tilde)
}
