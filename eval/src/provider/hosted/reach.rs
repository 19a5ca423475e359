//! Owns which addresses a connection goes to: whenever one is made, the name is looked up once, every address that it has
//! is checked, and the connection goes to those addresses and no others. Knows nothing about requests or keys.

use std::cell::Cell;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Authority;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::TransportSettings;
use super::stage::Stage;
use crate::egress::{self, Egress};

/// The most addresses of a name that a connection tries.
const MOST_ADDRESSES: usize = 16;

/// The addresses of a name; none when it has none.
pub fn look_up(name: &str) -> Vec<IpAddr> {
    let found = (name, 0).to_socket_addrs();
    found.map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default()
}

type LookUp = Arc<dyn Fn(&str) -> Vec<IpAddr> + Send + Sync>;

/// What looks names up for the connections of one arm.
pub(super) struct Reach {
    authority: Option<Authority>,
    url: String,
    farthest: Egress,
    private_hosts: Vec<String>,
    use_proxy: bool,
    look_up: LookUp,
}

/// Why no connection is made.
#[derive(Debug)]
pub(super) struct TooFar(String);

impl fmt::Display for TooFar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TooFar {}

impl Reach {
    /// For requests to `url`, which the settings let go so far.
    pub(super) fn new(settings: &TransportSettings, url: &str) -> Self {
        Self::with(settings, url, Arc::new(look_up))
    }

    pub(super) fn with(settings: &TransportSettings, url: &str, look_up: LookUp) -> Self {
        let uri = url.parse::<Uri>().ok();
        let is_plain = uri.as_ref().and_then(Uri::scheme_str) == Some("http");
        Self {
            authority: uri.and_then(|uri| uri.authority().cloned()),
            url: url.to_owned(),
            // What is not encrypted goes no further than the own network, unless that was allowed.
            farthest: if is_plain && !settings.allow_plain_http {
                settings.egress.min(Egress::Private)
            } else {
                settings.egress
            },
            private_hosts: settings.private_hosts.clone(),
            use_proxy: settings.use_proxy,
            look_up,
        }
    }

    fn checked(&self, within: Option<Duration>) -> Result<Vec<IpAddr>, ureq::Error> {
        let too_far = |why: String| ureq::Error::Other(Box::new(TooFar(why)));
        let missing = Cell::new(None);
        let found = egress::check("the arm", self.farthest, &self.url, &self.private_hosts, |name| {
            let found = in_time(&self.look_up, name, within);
            if found.as_ref().is_none_or(Vec::is_empty) {
                missing.set(Some(found.is_none()));
            }
            found.unwrap_or_default()
        });
        match missing.get() {
            Some(true) => return Err(ureq::Error::Timeout(ureq::Timeout::Resolve)),
            Some(false) => return Err(ureq::Error::HostNotFound),
            None => {}
        }
        match found {
            Ok(found) => Ok(found.addresses),
            Err(crate::Error::Egress { host, needed, allowed, .. }) => Err(too_far(format!(
                "{host} now leads to an address that is {needed}, and prompts of this arm may go to {allowed} ones"
            ))),
            Err(_) => Err(too_far("the address cannot be used".to_owned())),
        }
    }
}

impl Resolver for Reach {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.addresses(uri, config, timeout)?;
        Stage::Connection.note();
        Ok(found)
    }
}

impl Reach {
    fn addresses(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        if uri.authority() != self.authority.as_ref() {
            // No redirect is followed, so this can only be the proxy, which the user named.
            return if self.use_proxy {
                DefaultResolver::default().resolve(uri, config, timeout)
            } else {
                Err(ureq::Error::Other(Box::new(TooFar("a host that nobody named".to_owned()))))
            };
        }
        let within = (!timeout.after.is_not_happening()).then(|| *timeout.after);
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let mut addresses = self.empty();
        for address in self.checked(within)?.into_iter().take(MOST_ADDRESSES) {
            addresses.push(SocketAddr::new(address, port));
        }
        Ok(addresses)
    }
}

/// Looks a name up on a thread of its own, because the system gives no way to end it; none when time is over.
fn in_time(look_up: &LookUp, name: &str, within: Option<Duration>) -> Option<Vec<IpAddr>> {
    let Some(within) = within else { return Some(look_up(name)) };
    let (sender, receiver) = mpsc::sync_channel(1);
    let (look_up, name) = (Arc::clone(look_up), name.to_owned());
    // Nobody listens any more when it comes too late.
    std::thread::spawn(move || sender.send(look_up(&name)).ok());
    receiver.recv_timeout(within).ok()
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").field("farthest", &self.farthest).finish_non_exhaustive()
    }
}
