//! Names to addresses, asynchronously: hickory on the gateway's own runtime, never a blocking look-up on a hidden thread.
//!
//! Addresses in text and `localhost` (RFC 6761) are answered without asking anyone; then the hosts file, then the name
//! servers of the system. Both files are read again when they change, so that a daemon follows its host from one network
//! to the next.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Most addresses of one name that are used; the others are dropped.
pub const ADDRESSES_MAX: usize = 32;

/// The files that say how names are resolved here.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// A name that has no address, and why, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveError(String);

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ResolveError {}

/// The resolver of one gateway. Copies share their cache.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<tokio::sync::Mutex<Option<System>>>,
}

/// The system's way to resolve names, as its files were at `stamps`.
struct System {
    stamps: [Option<SystemTime>; 2],
    resolver: TokioResolver,
    has_servers: bool,
}

impl Resolver {
    /// Reads no file before the first name is asked for.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::default(),
        }
    }

    /// The addresses of `host`, at least one, at most [`ADDRESSES_MAX`], none twice.
    ///
    /// # Errors
    /// The name does not exist, has no address, or nobody could be asked.
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(addresses) = known(host) {
            return Ok(addresses);
        }
        let (resolver, has_servers) = self.system().await?;
        let found = resolver.lookup_ip(host).await.map_err(|fault| {
            ResolveError(if !has_servers {
                format!("cannot find {host}: this host has no name server")
            } else if fault.is_nx_domain() {
                format!("cannot find {host}: no such name")
            } else if fault.is_no_records_found() {
                format!("cannot find {host}: the name has no address")
            } else {
                format!("cannot find {host}: no answer from the name server")
            })
        })?;
        let mut addresses = Vec::new();
        for address in found.iter() {
            if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            let text = format!("cannot find {host}: the name has no address");
            return Err(ResolveError(text));
        }
        Ok(addresses)
    }

    /// The system's resolver, made anew when its files have changed.
    async fn system(&self) -> Result<(TokioResolver, bool), ResolveError> {
        let stamps = SYSTEM_FILES.map(stamp);
        let mut system = self.shared.lock().await;
        if let Some(system) = system.as_ref().filter(|system| system.stamps == stamps) {
            return Ok((system.resolver.clone(), system.has_servers));
        }
        let (mut builder, has_servers) = match TokioResolver::builder_tokio() {
            Ok(builder) => (builder, true),
            // Without name servers the hosts file still counts.
            Err(_) => {
                let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
                let provider = TokioRuntimeProvider::default();
                (TokioResolver::builder_with_config(nobody, provider), false)
            }
        };
        builder.options_mut().use_hosts_file = ResolveHosts::Always;
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let resolver = builder
            .build()
            .map_err(|fault| ResolveError(format!("cannot resolve names: {fault}")))?;
        *system = Some(System {
            stamps,
            resolver: resolver.clone(),
            has_servers,
        });
        Ok((resolver, has_servers))
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = Self::resolve(&resolver, name.as_str()).await?;
            // The client puts the port of the URL in place of 0.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

/// What needs no question: addresses in text, in brackets or not, and `localhost` with all below it.
fn known(host: &str) -> Option<Vec<IpAddr>> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Some(vec![address]);
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    (name == "localhost" || name.ends_with(".localhost"))
        .then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

/// When the file last changed; `None` when there is none.
fn stamp(path: &str) -> Option<SystemTime> {
    Path::new(path).metadata().ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_need_no_question() {
        let local = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let table: &[(&str, Option<Vec<IpAddr>>)] = &[
            ("10.0.0.1", Some(vec!["10.0.0.1".parse().unwrap()])),
            ("::1", Some(vec!["::1".parse().unwrap()])),
            ("[::1]", Some(vec!["::1".parse().unwrap()])),
            ("localhost", Some(local.clone())),
            ("LocalHost.", Some(local.clone())),
            ("a.localhost", Some(local)),
            ("notlocalhost", None),
            ("example.org", None),
            ("", None),
        ];
        for (host, want) in table {
            assert_eq!(&known(host), want, "{host}");
        }
    }
}
