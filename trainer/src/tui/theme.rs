//! Owns colours and signs: a palette that colour-blind people can tell apart, on light and dark backgrounds, and the
//! plain signs of a terminal that has neither colours nor Unicode. Knows nothing of what is shown.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;

/// What a colour means. Nothing is told by colour alone: a word or a sign says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Training, and whatever is first.
    Blue,
    /// Validation, and whatever wants a look.
    Orange,
    /// What is good.
    Teal,
    /// What goes wrong.
    Vermilion,
    /// A fourth thing beside others.
    Purple,
}

/// Colours of several things side by side, in order.
pub const SERIES: [Ink; 5] = [Ink::Blue, Ink::Orange, Ink::Teal, Ink::Purple, Ink::Vermilion];

/// How many colours a terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// None, or none are wanted.
    None,
    /// The sixteen of every terminal.
    Sixteen,
    /// 256 or more.
    Many,
}

/// How things look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// Colours.
    pub colours: Colours,
    /// Whether signs beyond ASCII are shown.
    pub unicode: bool,
}

impl Theme {
    /// What the environment of the process says.
    #[must_use]
    pub fn from_environment() -> Theme {
        Theme::of(|name| std::env::var(name).ok())
    }

    /// What variables say: `NO_COLOR`, `TERM`, `COLORTERM`, and the locale.
    #[must_use]
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Theme {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let term = set("TERM").unwrap_or_default();
        let colours = if set("NO_COLOR").is_some() || term == "dumb" {
            Colours::None
        } else if term.contains("256") || term.contains("direct") || set("COLORTERM").is_some() {
            Colours::Many
        } else {
            Colours::Sixteen
        };
        // The first of these that is set decides, as for every other program.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_lowercase();
        let unicode = (locale.contains("utf-8") || locale.contains("utf8")) && !matches!(&*term, "dumb" | "linux");
        Theme { colours, unicode }
    }

    /// A colour as a style.
    #[must_use]
    pub fn ink(&self, ink: Ink) -> Style {
        // Of the 256 colours those that stand out from white and from black: both contrasts are above 3 to 1.
        let colour = match (self.colours, ink) {
            (Colours::None, _) => return Style::new(),
            (Colours::Many, Ink::Blue) => Color::Indexed(33),
            (Colours::Many, Ink::Orange) => Color::Indexed(172),
            (Colours::Many, Ink::Teal) => Color::Indexed(36),
            (Colours::Many, Ink::Vermilion) => Color::Indexed(166),
            (Colours::Many, Ink::Purple) => Color::Indexed(133),
            (Colours::Sixteen, Ink::Blue) => Color::Blue,
            (Colours::Sixteen, Ink::Orange) => Color::Yellow,
            (Colours::Sixteen, Ink::Teal) => Color::Cyan,
            (Colours::Sixteen, Ink::Vermilion) => Color::Red,
            (Colours::Sixteen, Ink::Purple) => Color::Magenta,
        };
        Style::new().fg(colour)
    }

    /// What is beside the point.
    #[must_use]
    pub fn dim(&self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What matters.
    #[must_use]
    pub fn bold(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is chosen.
    #[must_use]
    pub fn chosen(&self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// One of two signs.
    #[must_use]
    pub fn sign(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }

    /// The lines around a pane.
    #[must_use]
    pub fn border(&self) -> border::Set<'static> {
        if self.unicode { border::ROUNDED } else { ASCII_BORDER }
    }

    /// A bar that is full up to a share.
    #[must_use]
    pub fn bar(&self, share: f64, columns: usize) -> String {
        let full = ((share.clamp(0.0, 1.0) * columns as f64).floor() as usize).min(columns);
        let (done, open) = (self.sign("█", "#"), self.sign("░", "-"));
        format!("{}{}", done.repeat(full), open.repeat(columns - full))
    }
}

const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

#[cfg(test)]
mod tests {
    use super::*;

    fn theme(variables: &[(&str, &str)]) -> Theme {
        Theme::of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_environment_decides() {
        let many = theme(&[("TERM", "xterm-256color"), ("LANG", "en_GB.UTF-8")]);
        assert_eq!(many, Theme { colours: Colours::Many, unicode: true });
        assert_eq!(theme(&[("TERM", "xterm-256color"), ("NO_COLOR", "1")]).colours, Colours::None);
        assert_eq!(theme(&[("TERM", "xterm-256color"), ("NO_COLOR", "")]).colours, Colours::Many);
        assert_eq!(theme(&[("TERM", "vt100")]), Theme { colours: Colours::Sixteen, unicode: false });
        assert!(!theme(&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")]).unicode, "LC_ALL overrides LANG");
    }

    #[test]
    fn without_colours_nothing_is_coloured() {
        let plain = Theme { colours: Colours::None, unicode: false };
        assert!(SERIES.iter().all(|ink| plain.ink(*ink).fg.is_none()));
        assert_eq!(plain.bar(0.5, 4), "##--");
        assert_eq!(plain.bar(f64::NAN, 2), "--");
    }
}
