//! How far a prompt travels: classes of destinations, and the check of an arm against the class that its config allows.
//! Knows nothing about sockets and asks no name server itself; what it cannot tell for sure counts as public.
//!
//! A name can have another address a moment later, so a caller checks whenever it connects, and connects to the addresses
//! that were checked. A proxy sends prompts elsewhere: below `public` a caller uses none.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::Error;

/// How far a prompt may travel; each class allows the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Egress {
    /// Nothing leaves the process.
    None,
    /// Other processes of this machine.
    Loopback,
    /// The user's own network: RFC 1918, link-local and unique local addresses, and hosts that the user lists.
    Private,
    /// Anywhere.
    Public,
}

impl Egress {
    /// What to do when a provider needs this class and the config allows less.
    pub fn hint(self) -> String {
        let listed = if self == Self::Public { ", or list the host in private_hosts if it is yours" } else { "" };
        format!("set egress = \"{self}\" if prompts may leave that far{listed}, or use a local model or a replay")
    }
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::Public => "public",
        })
    }
}

/// Where an address leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The host, in small letters, without a final dot.
    pub host: String,
    /// What the host resolved to; a caller connects to these and to nothing else.
    pub addresses: Vec<IpAddr>,
    /// The class.
    pub egress: Egress,
}

/// The destination of `url`, or an error when it is further than `allowed`.
///
/// `private_hosts` are names or addresses of the user's own network; one that begins with a dot means all names below it.
/// `resolve` gives the addresses of a name, and nothing when it has none.
///
/// # Errors
/// When the address is unusual enough that two programs could read two hosts out of it, or leads further than allowed.
pub fn check(
    arm: &str,
    allowed: Egress,
    url: &str,
    private_hosts: &[String],
    resolve: impl Fn(&str) -> Vec<IpAddr>,
) -> Result<Destination, Error> {
    let found =
        destination(url, private_hosts, resolve).map_err(|problem| Error::BadUrl { arm: arm.to_owned(), problem })?;
    if found.egress > allowed {
        return Err(Error::Egress { arm: arm.to_owned(), host: found.host, needed: found.egress, allowed });
    }
    Ok(found)
}

fn destination(
    url: &str,
    private_hosts: &[String],
    resolve: impl Fn(&str) -> Vec<IpAddr>,
) -> Result<Destination, &'static str> {
    let host = host(url)?;
    let literal = literal(&host)?;
    let addresses = literal.map_or_else(|| resolve(&host), |address| vec![address]);
    let own_name = host == "localhost" || host.ends_with(".localhost");
    let furthest = addresses.iter().map(|&address| of_address(address)).max().unwrap_or(Egress::Public);
    let egress = if listed(&host, literal, private_hosts) {
        Egress::Private
    } else if furthest == Egress::Loopback && literal.is_none() && !own_name {
        // Whoever owns the name can let it lead elsewhere tomorrow.
        Egress::Private
    } else {
        furthest
    };
    Ok(Destination { host: literal.map_or(host, |address| address.to_string()), addresses, egress })
}

/// The host between `//` and the next `:`, `/`, `?` or `#`, when there is no doubt which one it is.
fn host(url: &str) -> Result<String, &'static str> {
    if url.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
        return Err("it holds white space, a backslash or letters outside ASCII");
    }
    let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return Err("its scheme is neither https nor http");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if authority.contains('@') {
        return Err("it holds a user name or a password");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(inside) => {
            let (host, port) = inside.split_once(']').ok_or("a bracket is not closed")?;
            (format!("[{host}]"), port)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            (authority[..end].to_ascii_lowercase(), &authority[end..])
        }
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if !(port.is_empty() || port.starts_with(':') && digits.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err("its port is not a number from 1 to 65535");
    }
    let host = host.strip_suffix('.').unwrap_or(&host).to_owned();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    if host.is_empty() || !host.starts_with('[') && (!host.chars().all(fits) || host.split('.').any(str::is_empty)) {
        return Err("its host is no name and no address");
    }
    Ok(host)
}

/// The address that a host spells; every form that resolvers accept counts: `127.1`, `2130706433`, `0x7f.1`, `0177.0.0.1`.
fn literal(host: &str) -> Result<Option<IpAddr>, &'static str> {
    if let Some(inside) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address = inside.split_once('%').map_or(inside, |(address, _)| address);
        let address: Ipv6Addr = address.parse().map_err(|_| "what stands in brackets is no address")?;
        return Ok(Some(address.into()));
    }
    let last = host.rsplit('.').next().unwrap_or(host);
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if !numeric {
        return Ok(None);
    }
    let parts: Option<Vec<u32>> = host.split('.').map(number).collect();
    let parts = parts.filter(|parts| parts.len() <= 4).ok_or("its host ends in a number and is no address")?;
    let (&rest, front) = parts.split_last().ok_or("its host is empty")?;
    let room = 8 * (4 - front.len() as u32);
    let fits = front.iter().all(|&part| part < 256) && u64::from(rest) < 1 << room;
    let front = front.iter().enumerate().fold(0, |sum, (at, part)| sum | part.wrapping_shl(24 - 8 * at as u32));
    if fits {
        Ok(Some(Ipv4Addr::from(front | rest).into()))
    } else {
        Err("its host ends in a number and is no address")
    }
}

/// One part in the notation of C: decimal, `0x` hexadecimal or octal behind a 0.
fn number(part: &str) -> Option<u32> {
    match part.strip_prefix("0x") {
        Some("") => Some(0),
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if part.len() > 1 && part.starts_with('0') => u32::from_str_radix(&part[1..], 8).ok(),
        None => part.parse().ok(),
    }
}

fn of_address(address: IpAddr) -> Egress {
    match address {
        IpAddr::V4(address) if address.is_loopback() => Egress::Loopback,
        IpAddr::V4(address) if address.is_private() || address.is_link_local() => Egress::Private,
        IpAddr::V4(_) => Egress::Public,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(inside) => of_address(inside.into()),
            None if address.is_loopback() => Egress::Loopback,
            None if address.is_unique_local() || address.is_unicast_link_local() => Egress::Private,
            // Also tunnels and translations such as 6to4 and NAT64: they leave through somebody's gateway.
            None => Egress::Public,
        },
    }
}

fn listed(host: &str, literal: Option<IpAddr>, private_hosts: &[String]) -> bool {
    private_hosts.iter().any(|entry| {
        let entry = entry.trim_end_matches('.').to_ascii_lowercase();
        match literal {
            Some(address) => entry.parse::<IpAddr>() == Ok(address),
            None if entry.starts_with('.') => entry.len() > 1 && host.ends_with(&entry) && host.len() > entry.len(),
            None => entry == host,
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn resolve(name: &str) -> Vec<IpAddr> {
        let addresses: &[&str] = match name {
            "localhost" => &["127.0.0.1", "::1"],
            "localhost.evil.com" => &["127.0.0.1"],
            "llm.lan" => &["10.0.0.5"],
            "half.lan" => &["10.0.0.5", "203.0.113.9"],
            "api.example.com" | "llm.corp.example" => &["203.0.113.9"],
            _ => &[],
        };
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn class(url: &str) -> Egress {
        let own = ["box.example".to_owned(), ".corp.example".to_owned(), "203.0.113.7".to_owned()];
        check("arm", Egress::Public, url, &own, resolve).unwrap().egress
    }

    #[test]
    fn destinations_have_the_class_of_their_furthest_address() {
        for (url, expect) in [
            ("http://localhost:8000/v1", Egress::Loopback),
            ("HTTP://LOCALHOST./v1", Egress::Loopback),
            ("http://127.0.0.1", Egress::Loopback),
            ("http://127.9.9.9:1", Egress::Loopback),
            ("http://[::1]:8000", Egress::Loopback),
            ("http://[::ffff:127.0.0.1]", Egress::Loopback),
            ("http://2130706433/", Egress::Loopback),
            ("http://0x7f.1", Egress::Loopback),
            ("http://0177.0.0.1", Egress::Loopback),
            ("http://10.1.2.3", Egress::Private),
            ("http://172.16.0.1", Egress::Private),
            ("http://169.254.1.1", Egress::Private),
            ("http://[fd00::1]", Egress::Private),
            ("http://[fe80::1%25eth0]:80", Egress::Private),
            ("http://llm.lan", Egress::Private),
            ("https://box.example.", Egress::Private),
            ("https://llm.corp.example/v1", Egress::Private),
            ("https://203.0.113.7", Egress::Private),
            ("http://172.32.0.1", Egress::Public),
            ("http://0.0.0.0", Egress::Public),
            ("http://[::ffff:8.8.8.8]", Egress::Public),
            ("http://[64:ff9b::10.0.0.1]", Egress::Public),
            ("https://api.example.com", Egress::Public),
            ("https://half.lan", Egress::Public),
            ("https://xcorp.example", Egress::Public),
            ("https://corp.example", Egress::Public),
            ("https://nowhere.invalid", Egress::Public),
            ("http://134744072", Egress::Public),
        ] {
            assert_eq!(class(url), expect, "{url}");
        }
    }

    #[test]
    fn a_foreign_name_that_leads_to_this_machine_is_not_trusted_as_this_machine() {
        assert_eq!(class("http://localhost.evil.com"), Egress::Private);
        let error =
            check("judge", Egress::Loopback, "http://localhost.evil.com", &[], resolve).unwrap_err().to_string();
        assert!(
            error
                .starts_with("judge sends prompts to localhost.evil.com, which is private, but egress is \"loopback\"")
        );
    }

    #[test]
    fn addresses_that_two_programs_could_read_differently_are_refused() {
        for url in [
            "localhost:8000",
            "ftp://localhost",
            "http://",
            "http:///x",
            "http://user:secret@localhost",
            "http://localhost\\@evil.com",
            "http://local host",
            "http://ⓛocalhost",
            "http://127.0.0.1%2eevil.com",
            "http://[::1",
            "http://[::1]evil.com",
            "http://localhost:0",
            "http://localhost:x",
            "http://a..b",
            "http://1.2.3.4.5",
            "http://256.1.1.1",
            "http://4294967296",
            "http://evil.com#@localhost\n",
        ] {
            let error = check("arm", Egress::Public, url, &[], resolve).unwrap_err();
            assert!(matches!(error, Error::BadUrl { .. }), "{url}");
            assert!(!error.to_string().contains("secret") && error.to_string().contains("hint: "), "{error}");
        }
    }

    #[test]
    fn egress_none_refuses_every_network_provider() {
        for url in ["http://localhost", "http://10.0.0.1", "https://api.example.com"] {
            let error = check("frontier", Egress::None, url, &[], resolve).unwrap_err().to_string();
            assert!(error.contains("egress is \"none\"\nhint: set egress = "), "{error}");
        }
        assert!(check("frontier", Egress::Public, "https://api.example.com", &[], resolve).is_ok());
        assert_eq!(serde_json::to_string(&Egress::None).unwrap(), "\"none\"");
    }
}
