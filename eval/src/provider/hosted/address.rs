//! Where requests go: which addresses may be sent a key and a prompt.
//! Knows nothing about dialects; it resolves no names, so a name is private only if it says so itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::http::Uri;

use crate::Error;

/// The address of a request: `base` (or the dialect's own) without a final slash, then `path`.
///
/// # Errors
/// `Error::BadAddress` when it is no address, names a user or password, or is not encrypted on the way to a public host.
pub(super) fn join(model: &str, base: Option<&str>, path: &str, allow_plain_http: bool) -> Result<String, Error> {
    let bad = |address: &str, problem, hint| {
        Err(Error::BadAddress { model: model.to_owned(), address: without_secrets(address), problem, hint })
    };
    let Some(base) = base else {
        return bad("", "there is none", "set the address of the server, such as http://localhost:8000");
    };
    let joined = format!("{}{path}", base.trim_end_matches('/'));
    let Ok(uri) = joined.parse::<Uri>() else {
        return bad(base, "it is not an address", "write it as https://host or http://localhost:8000");
    };
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return bad(base, "it is not an address", "write it as https://host or http://localhost:8000");
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return bad(base, "it holds a user or password", "give the key in the environment instead");
    }
    match scheme {
        "https" => Ok(joined),
        "http" if allow_plain_http || is_private(host) => Ok(joined),
        "http" => bad(
            base,
            "keys and prompts would go over the network unencrypted",
            "use https, or allow plain http for this arm if the host is your own",
        ),
        _ => bad(base, "only http and https are known", "write it as https://host or http://localhost:8000"),
    }
}

/// Whether a host is this machine or, by its number, a private network.
fn is_private(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    match name.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(IpAddr::V4(number)) => is_private_v4(number),
        Ok(IpAddr::V6(number)) => is_private_v6(number),
        Err(_) => false,
    }
}

fn is_private_v4(number: Ipv4Addr) -> bool {
    number.is_loopback() || number.is_private() || number.is_link_local()
}

fn is_private_v6(number: Ipv6Addr) -> bool {
    match number.to_ipv4_mapped() {
        Some(number) => is_private_v4(number),
        None => number.is_loopback() || number.is_unique_local() || number.is_unicast_link_local(),
    }
}

/// An address as errors may show it: no user, no query.
fn without_secrets(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        (None, Some((_, rest))) => rest.to_owned(),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn only_private_hosts_are_spoken_to_unencrypted() {
        for good in [
            "https://api.example.com",
            "http://localhost:8000",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://10.1.2.3",
            "http://192.168.1.1",
            "http://172.31.0.1",
            "http://[fd00::1]",
        ] {
            assert_eq!(join("m", Some(good), "/v1", false).unwrap(), format!("{good}/v1"));
        }
        for bad in [
            "http://api.example.com",
            "http://8.8.8.8",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://[2001:db8::1]",
            "http://[::ffff:8.8.8.8]",
            "ftp://localhost",
            "localhost:8000",
            "not an address",
        ] {
            assert!(matches!(join("m", Some(bad), "/v1", false), Err(Error::BadAddress { .. })), "{bad}");
        }
        assert!(join("m", Some("http://vllm:8000"), "/v1", true).is_ok());
        assert!(join("m", None, "/v1", true).is_err());
    }

    #[test]
    fn a_final_slash_is_not_doubled() {
        assert_eq!(join("m", Some("https://h/"), "/v1/messages", false).unwrap(), "https://h/v1/messages");
    }

    #[test]
    fn no_secret_of_an_address_is_shown() {
        for address in ["https://me:secret@host/?key=secret", "http://host/?key=secret"] {
            let error = join("m", Some(address), "/v1", false).unwrap_err().to_string();
            assert!(error.contains("host") && !error.contains("secret"), "{error}");
        }
    }
}
