//! Owns what "the same place" means for a request: scheme, host and port; and where a redirect or a next page leads.
//! Knows nothing about tokens or what is asked.

use ureq::http::Uri;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an address that leaves no doubt which one it is.
    pub(super) fn of(address: &str) -> Result<Self, &'static str> {
        if address.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
            return Err("it holds white space, a backslash or letters outside ASCII");
        }
        let uri: Uri = address.parse().map_err(|_| "it is no address")?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("it has no scheme or no host");
        };
        if authority.as_str().contains('@') {
            return Err("it holds a user name or a password");
        }
        let port = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return Err("its scheme is neither https nor http"),
        };
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() {
            return Err("it has no host");
        }
        Ok(Self { scheme: scheme.to_owned(), host, port: authority.port_u16().unwrap_or(port) })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.scheme == "https"
    }
}

/// The address that `reference` means in an answer that came from `from`.
pub(super) fn resolve(from: &str, reference: &str) -> Result<String, &'static str> {
    let reference = escaped(reference.split('#').next().unwrap_or_default())?;
    let (scheme, rest) = from.split_once("://").ok_or("it has no scheme")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let colon = reference.find(':').filter(|at| !reference[..*at].contains(['/', '?']));
    let address = if colon.is_some() {
        reference
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else if reference.starts_with('/') {
        format!("{scheme}://{authority}{reference}")
    } else if reference.is_empty() || reference.starts_with('?') {
        format!("{scheme}://{authority}{path}{reference}")
    } else {
        let folder = path.rfind('/').map_or("", |at| &path[..at]);
        format!("{scheme}://{authority}{folder}/{reference}")
    };
    Origin::of(&address)?;
    Ok(address)
}

/// What may not stand in an address, with percent signs; signs that steer are refused.
fn escaped(reference: &str) -> Result<String, &'static str> {
    let mut out = String::new();
    for byte in reference.trim().bytes() {
        match byte {
            0..0x20 | 0x7f => return Err("it holds signs that steer"),
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'}' | b'|' | 0x80.. => {
                out.push_str(&format!("%{byte:02X}"));
            }
            _ => out.push(char::from(byte)),
        }
    }
    Ok(out)
}

/// The next page that a `Link` header names.
pub(super) fn next_page(header: &str) -> Option<&str> {
    header.split('<').skip(1).find_map(|link| {
        let (address, about) = link.split_once('>')?;
        let is_next = about.split(';').any(|part| {
            let Some((name, value)) = part.trim().trim_end_matches([',', ' ']).split_once('=') else { return false };
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        });
        is_next.then_some(address)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| Origin::of(a).unwrap() == Origin::of(b).unwrap();
        assert!(same("https://hub.example/a", "https://HUB.example:443/b?c"));
        assert!(same("http://hub.example", "http://hub.example:80/"));
        for other in [
            "http://hub.example/",
            "https://hub.example:444/",
            "https://hub.example.evil.org/",
            "https://a.hub.example/",
            "https://hub.example./",
        ] {
            assert!(!same("https://hub.example/", other), "{other}");
        }
    }

    #[test]
    fn addresses_that_two_programs_could_read_differently_are_none() {
        for odd in [
            "hub.example",
            "ftp://hub.example",
            "https://",
            "https:///x",
            "https://hub.example@evil.org/",
            "https://evil.org\\@hub.example/",
            "https://hub example/",
            "https://hüb.example/",
            "https://hub.example/\n",
            "",
        ] {
            assert!(Origin::of(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn references_lead_where_browsers_go() {
        let from = "https://hub.example/a/b?c=d";
        for (reference, wanted) in [
            ("https://store.example/x?sign=1#top", "https://store.example/x?sign=1"),
            ("//store.example/x", "https://store.example/x"),
            ("/x?y", "https://hub.example/x?y"),
            ("?page=2", "https://hub.example/a/b?page=2"),
            ("x:y/z", ""),
            ("javascript:alert(1)", ""),
            ("c/d", "https://hub.example/a/c/d"),
            ("/ä b", "https://hub.example/%C3%A4%20b"),
            ("//hub.example@evil.org/", ""),
            ("/a\r\nx-evil: 1", ""),
        ] {
            assert_eq!(resolve(from, reference).unwrap_or_default(), wanted, "{reference}");
        }
        assert_eq!(resolve("https://hub.example", "x").unwrap(), "https://hub.example/x");
    }

    #[test]
    fn the_next_page_is_found_among_others() {
        let header = "<https://h/prev>; rel=\"prev\", <https://h/next?a,b>; title=\"x\"; rel=\"next\"";
        assert_eq!(next_page(header), Some("https://h/next?a,b"));
        assert_eq!(next_page("<https://h/2>; rel=next"), Some("https://h/2"));
        for none in ["", "<", "<x", "<x>", "<x>; rel=\"last\"", "rel=\"next\"", "<x>; rel=\"nextish\""] {
            assert_eq!(next_page(none), None, "{none}");
        }
    }
}
