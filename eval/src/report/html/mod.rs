//! The report as one HTML file without network: verdict first, then the rows themselves, then how it was measured.
//! Knows nothing about statistics: it shows what the results hold.

mod confusion;
mod plot;
mod rows;
mod sections;

use ground::terminal::shown;
use minijinja::{AutoEscape, Environment, Value, escape_formatter};
use serde::Serialize;

use super::Report;
use crate::Error;
use crate::Results;

/// One file that a browser shows.
#[derive(Clone, Copy, Debug)]
pub struct Html;

impl Report for Html {
    fn name(&self) -> &'static str {
        "html"
    }

    fn file(&self) -> &'static str {
        "report.html"
    }

    fn render(&self, results: &Results) -> Result<String, Error> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        // Every text of the page passes here: signs that are not seen or turn the direction of writing become escapes.
        environment.set_formatter(|out, state, value| match value.as_str() {
            Some(text) if !value.is_safe() => escape_formatter(out, state, &Value::from(&*shown(text))),
            _ => escape_formatter(out, state, value),
        });
        environment.add_template("page", include_str!("page.jinja"))?;
        Ok(environment.get_template("page")?.render(sections::page(results)?)? + "\n")
    }
}

/// Lines under a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Grid {
    pub(super) header: Vec<String>,
    pub(super) lines: Vec<Vec<String>>,
}

impl Grid {
    /// A grid with these titles.
    pub(super) fn new<const N: usize>(header: [&str; N]) -> Self {
        Self { header: header.map(str::to_owned).to_vec(), lines: Vec::new() }
    }

    /// Adds a line.
    pub(super) fn line<const N: usize>(&mut self, cells: [String; N]) {
        self.lines.push(cells.to_vec());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::report::tests::results;

    #[test]
    fn the_page_stands_alone_and_shows_every_arm() {
        let page = Html.render(&results()).unwrap();
        assert!(page.starts_with("<!doctype html>"));
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.replace("http://www.w3.org", "").contains(outside), "{outside}");
        }
        for shown in ["tuned", "base", "90.0% [81.1, 98.9]", "<svg", "NO VERDICT"] {
            assert!(page.contains(shown), "{shown}");
        }
    }

    #[test]
    fn what_a_model_wrote_cannot_become_part_of_the_page() {
        let mut results = results();
        let text = "</pre><script>alert(1)</script>\" onload='x' \u{202e}abc\u{1b}";
        results.arms[1].outcomes[0].samples[0].text = text.to_owned();
        results.rows[0].text = text.to_owned();
        results.rows[0].id = text.to_owned();
        results.rows[0].group = Some(text.to_owned());
        results.arms[0].notes.push(text.to_owned());
        results.arms[0].name = text.to_owned();
        results.arms[1].name = text.to_owned();
        results.measured.metrics[0].named.title = text.to_owned();
        results.provenance.command = text.to_owned();
        let page = Html.render(&results).unwrap();
        assert!(!page.contains("<script>alert") && !page.contains("\" onload") && !page.contains("onload='"));
        assert!(!page.contains(['\u{202e}', '\u{1b}']) && page.contains("\\u{202e}abc"));
        assert!(page.contains("&lt;script&gt;alert(1)"));
    }
}
