//! Fetches over HTTP, bounded in time, size and redirects; errors are one line for a person and never show a secret.
//!
//! Announce URLs carry passkeys in their path or query, so a message names the origin of a URL and nothing behind it.

use std::error::Error as StdError;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Response, Url};

use super::AT_ONCE_PER_HOST_MAX;
use super::resolve::{ResolveError, Resolver};

/// What we call ourselves to trackers and web servers.
pub const USER_AGENT: &str = concat!("Linnet/", env!("CARGO_PKG_VERSION"));

/// Redirects that are followed; one more is an error.
pub const REDIRECTS_MAX: usize = 10;

/// How long a connection waits for another request: shorter than any server's patience that is worth naming.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// Body bytes taken up front on a server's word; the rest grows with what arrives.
const BODY_RESERVE_MAX: usize = 64 * 1024;

/// Why a post failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostError {
    /// One line for a person.
    pub text: String,
    /// Whether it may go better later.
    pub again: bool,
}

/// An HTTP client that resolves names by `resolver`, reads no proxy from the environment and starts no thread.
pub struct Client {
    http: reqwest::Client,
    /// Whether this host has root certificates; without them only http works.
    trusts: bool,
    /// The same without kept connections, made when one of those had just been closed.
    fresh: OnceLock<Option<reqwest::Client>>,
    resolver: Resolver,
    redirects: fn() -> Policy,
}

impl Client {
    /// Reads the root certificates of the system, once.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new(resolver: Resolver) -> Result<Self, String> {
        Self::with(resolver, || Policy::limited(REDIRECTS_MAX))
    }

    /// The same; a redirect is an answer like any other.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn without_redirects(resolver: Resolver) -> Result<Self, String> {
        Self::with(resolver, Policy::none)
    }

    fn with(resolver: Resolver, redirects: fn() -> Policy) -> Result<Self, String> {
        // An error means that the program around us has chosen a provider already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let made = |trusts, http| Self {
            http,
            trusts,
            fresh: OnceLock::new(),
            resolver: resolver.clone(),
            redirects,
        };
        if let Ok(http) = builder(&resolver, redirects).build() {
            return Ok(made(true, http));
        }
        let http = builder(&resolver, redirects)
            .tls_certs_only([])
            .build()
            .map_err(|fault| format!("cannot set up HTTP: {}", innermost(&fault)))?;
        Ok(made(false, http))
    }

    /// A client that keeps no connection.
    fn fresh(&self) -> Option<&reqwest::Client> {
        let make = || {
            let builder = builder(&self.resolver, self.redirects).pool_max_idle_per_host(0);
            match self.trusts {
                true => builder.build().ok(),
                false => builder.tls_certs_only([]).build().ok(),
            }
        };
        self.fresh.get_or_init(make).as_ref()
    }

    /// GETs `url`, following redirects; the body, at most `bytes_max` bytes of it (after decompression).
    ///
    /// A status other than 2xx is an error, but for one case: trackers explain a refusal in a bencoded dictionary under a
    /// status of 4xx, and that body is passed on, since its `failure reason` says more than the status.
    ///
    /// # Errors
    /// One line for a person, naming the origin of `url`, not its path.
    pub async fn get(
        &self,
        url: &str,
        bytes_max: usize,
        timeout: Duration,
    ) -> Result<Vec<u8>, String> {
        let url = Url::parse(url).map_err(|fault| format!("not a URL: {fault}"))?;
        let origin = origin(&url);
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{origin}: only http and https can be fetched"));
        }
        let whole = async {
            let response = match self.http.get(url.clone()).send().await {
                // Announces may be repeated. This time over a connection of its own.
                Err(fault) if is_stale(&fault) => match self.fresh() {
                    Some(fresh) => fresh.get(url.clone()).send().await,
                    None => Err(fault),
                },
                answered => answered,
            };
            let response = response.map_err(|fault| self.explain(&fault, &origin))?;
            self.body(response, bytes_max, &origin).await
        };
        match tokio::time::timeout(timeout, whole).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer from {origin} within {timeout:?}")),
        }
    }

    /// POSTs JSON; what is answered besides the status is not read.
    ///
    /// # Errors
    /// Any status other than 2xx, and what keeps an answer from coming.
    pub async fn post(&self, url: Url, json: Vec<u8>, timeout: Duration) -> Result<(), PostError> {
        let origin = origin(&url);
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(json);
        let again = |text| PostError { text, again: true };
        let response = match tokio::time::timeout(timeout, request.send()).await {
            Err(_) => return Err(again(format!("no answer from {origin} within {timeout:?}"))),
            Ok(Err(fault)) => return Err(again(self.explain(&fault, &origin))),
            Ok(Ok(response)) => response,
        };
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        // Said for good, unless the server is in trouble, or asks for patience.
        Err(PostError {
            text: format!("{origin} answers HTTP {}", status.as_u16()),
            again: status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429),
        })
    }

    /// The body of `response`, read as it comes, refused as soon as it is too long.
    async fn body(
        &self,
        mut response: Response,
        bytes_max: usize,
        origin: &str,
    ) -> Result<Vec<u8>, String> {
        let status = response.status();
        let refused = || {
            let reason = status.canonical_reason().unwrap_or_default();
            format!("HTTP {} {reason}", status.as_u16())
                .trim_end()
                .to_owned()
        };
        let too_long = || format!("{origin} sent more than {bytes_max} bytes");
        let announced = response.content_length().unwrap_or(0);
        if status.is_success() && announced > bytes_max as u64 {
            return Err(too_long());
        }
        let reserve = usize::try_from(announced).unwrap_or(usize::MAX);
        let mut body = Vec::with_capacity(reserve.min(BODY_RESERVE_MAX));
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) if body.len() + bytes.len() <= bytes_max => {
                    body.extend_from_slice(&bytes);
                }
                Ok(None) if status.is_success() || is_dictionary(&body) => return Ok(body),
                Ok(None) => return Err(refused()),
                Ok(Some(_)) if status.is_success() => return Err(too_long()),
                Err(fault) if status.is_success() => return Err(self.explain(&fault, origin)),
                // The body of a refusal is worth nothing by itself.
                Ok(Some(_)) | Err(_) => return Err(refused()),
            }
        }
    }

    /// What went wrong, in one line.
    fn explain(&self, fault: &reqwest::Error, origin: &str) -> String {
        if let Some(unknown) = find::<ResolveError>(fault) {
            return unknown.to_string();
        }
        if let Some(insecure) = find::<rustls::Error>(fault) {
            return if self.trusts {
                format!("no secure connection to {origin}: {insecure}")
            } else {
                format!("no secure connection to {origin}: this host has no root certificates")
            };
        }
        if fault.is_redirect() {
            return format!("{origin} redirects more than {REDIRECTS_MAX} times");
        }
        // A redirect may have led elsewhere: that is then the address that failed.
        let elsewhere = fault.url().map(self::origin);
        let origin = elsewhere.as_deref().unwrap_or(origin);
        if fault.is_connect() {
            let why = find::<io::Error>(fault).map_or_else(|| innermost(fault), io_text);
            return format!("cannot connect to {origin}: {why}");
        }
        if fault.is_timeout() {
            return format!("no answer from {origin} in time");
        }
        match find::<io::Error>(fault) {
            Some(broken) if broken.kind() != io::ErrorKind::InvalidData => {
                format!("the connection to {origin} broke: {}", io_text(broken))
            }
            _ => format!("{origin} sent no valid answer: {}", innermost(fault)),
        }
    }
}

fn builder(resolver: &Resolver, redirects: fn() -> Policy) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirects())
        // The address that sent us on may hold a passkey.
        .referer(false)
        .no_proxy()
        .dns_resolver(Arc::new(resolver.clone()))
        // A burst of announces to one tracker goes over a few connections. Trackers count those that are idle, so they are not
        // kept for the next burst.
        .pool_max_idle_per_host(AT_ONCE_PER_HOST_MAX)
        .pool_idle_timeout(IDLE_TIMEOUT)
}

/// `scheme://host:port` becomes `host:port`: what may be shown of a URL. The port is always there.
#[must_use]
pub fn origin(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// `url` with everything hidden that may be a secret: user, password, path and query.
#[must_use]
pub fn masked(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => {
            let rest = if url.path().len() > 1 || url.query().is_some() {
                "/…"
            } else {
                ""
            };
            let port = url.port().map(|port| format!(":{port}"));
            let host = url.host_str().unwrap_or("?");
            let port = port.as_deref().unwrap_or("");
            format!("{}://{host}{port}{rest}", url.scheme())
        }
        Err(_) => "…".to_owned(),
    }
}

/// Whether a server may have closed a connection that was kept just when it was used again: then it is asked once more.
fn is_stale(fault: &reqwest::Error) -> bool {
    let closed = find::<hyper::Error>(fault)
        .is_some_and(|fault| fault.is_incomplete_message() || fault.is_canceled());
    let reset = find::<io::Error>(fault).is_some_and(|fault| {
        let kind = fault.kind();
        matches!(
            kind,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        )
    });
    !fault.is_connect() && !fault.is_timeout() && (closed || reset)
}

/// Whether a body looks like a tracker's answer.
fn is_dictionary(body: &[u8]) -> bool {
    body.starts_with(b"d") && body.trim_ascii_end().ends_with(b"e")
}

/// The chain of causes, outermost first, with what an I/O error wraps: its own `source` passes that over.
fn causes<'a>(
    fault: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(fault), |&fault| {
        match fault
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => fault.source(),
        }
    })
}

fn find<'a, T: StdError + 'static>(fault: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    causes(fault).find_map(|cause| cause.downcast_ref())
}

fn innermost(fault: &(dyn StdError + 'static)) -> String {
    let text = causes(fault).last().map(ToString::to_string);
    text.unwrap_or_default().replace(['\n', '\r'], " ")
}

/// "connection refused" instead of "Connection refused (os error 111)".
fn io_text(fault: &io::Error) -> String {
    match fault.raw_os_error() {
        Some(_) => fault.kind().to_string(),
        None => innermost(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_urls_are_hidden() {
        #[rustfmt::skip]
        let table = [
            ("http://t.example:6969/0123abcd/announce", "http://t.example:6969/…"),
            ("https://user:word@t.example/announce?passkey=1", "https://t.example/…"),
            ("https://t.example?passkey=1",                    "https://t.example/…"),
            ("http://t.example/",                              "http://t.example"),
            ("no url",                                         "…"),
        ];
        for (url, want) in table {
            assert_eq!(masked(url), want);
        }
    }
}
