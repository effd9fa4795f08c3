//! The front door: HTTP/1.1 for RPC clients, scrapers and listeners, on the gateway's one thread.
//!
//! Everything is bounded: connections (a further one takes the place of the one that has been idle longest), the time for a
//! request's head and for its body, the size of both, and how many large bodies are read at once. `access` decides who may
//! ask, `routes` what for.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the edge: the listener is here, and what a reload puts in the place of the options"
)]

mod access;
mod events;
mod routes;
mod web;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::AbortHandle;

use super::Tools;
use crate::actor::handle::Handle;
use crate::metrics::ProcessFigures;

pub use access::Access;
pub use routes::Front;

/// Connections at the same time.
pub const CONNECTIONS_MAX: usize = 256;

/// For the head of a request, from the moment the connection is ready for one.
const HEAD_TIME_MAX: Duration = Duration::from_secs(20);

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long accepting rests when there is no descriptor left.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How the front door behaves; what is here can be changed while it is open.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who may ask.
    pub access: Access,
    /// Where state is kept.
    pub state: PathBuf,
    /// The files of another web client; empty: none.
    pub web_home: PathBuf,
    /// For shutting down when nothing else is said.
    pub budget: Duration,
    /// How long the actor is waited for.
    pub timeout: Duration,
    /// Memory for piece buffers.
    pub cache_mib: u32,
    /// Where peers reach us; 0 when they cannot.
    pub peer_port: u16,
    /// What the operating system says of this process.
    pub process: fn() -> ProcessFigures,
    /// Whom a client tells that it wants the end.
    pub close: Close,
}

/// Whoever ends the program, told how long that may take.
#[derive(Clone)]
pub struct Close(pub Arc<dyn Fn(Duration) + Send + Sync>);

impl std::fmt::Debug for Close {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Close").finish_non_exhaustive()
    }
}

/// Where the front door is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere.
    Off,
    /// A TCP address.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Place {
    /// Reads `ADDRESS:PORT`, `unix:/path` or nothing; `None` when it is none of these.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::Off);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return path
                .starts_with('/')
                .then(|| Self::Unix(PathBuf::from(path)));
        }
        text.parse().ok().map(Self::Tcp)
    }
}

/// A bound front door, still closed.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    options: Options,
    session_id: String,
}

#[derive(Debug)]
enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

impl Server {
    /// Binds `place`; `None` when it is off. `session_id` is what cross-site requests cannot know: 48 random letters.
    ///
    /// # Errors
    /// One line for a person: the address is taken, or not ours.
    pub fn bind(
        place: &Place,
        options: Options,
        session_id: String,
    ) -> Result<Option<Self>, String> {
        let listener = match place {
            Place::Off => return Ok(None),
            Place::Tcp(address) => bind_tcp(*address),
            Place::Unix(path) => bind_unix(path),
        };
        let listener = listener.map_err(|fault| match (place, fault.kind()) {
            (_, io::ErrorKind::AddrInUse) => "another program listens there".to_owned(),
            _ => fault.kind().to_string(),
        })?;
        Ok(Some(Self {
            listener,
            options,
            session_id,
        }))
    }

    /// Where it is, with its real port.
    #[must_use]
    pub fn place(&self) -> Place {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().map_or(Place::Off, Place::Tcp),
            Listener::Unix(_, path) => Place::Unix(path.clone()),
        }
    }

    /// Where peers reach us: known only when everything else has begun.
    pub const fn set_peer_port(&mut self, port: u16) {
        self.options.peer_port = port;
    }

    /// The door, and what keeps it open until it is dropped.
    pub(super) fn open(
        self,
        handle: Handle,
        tools: Arc<Tools>,
    ) -> (Arc<Front>, impl Future<Output = ()> + 'static) {
        let options = RwLock::new(Arc::new(self.options));
        let front = Front::new(handle, tools, options, self.session_id);
        let task = {
            let front = Arc::clone(&front);
            let listener = self.listener;
            async move {
                front.listen_to_events();
                if let Err(fault) = accept(listener, front).await {
                    log::error!("the RPC listener failed: {fault}");
                }
            }
        };
        (front, task)
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<Listener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Listener::Tcp(listener))
}

/// A socket that nobody listens on any more is what a killed process has left, and is replaced; everything else stays.
fn bind_unix(path: &PathBuf) -> io::Result<Listener> {
    use std::os::unix::net::{UnixListener, UnixStream};
    let left_over = std::fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.file_type().is_socket())
        && UnixStream::connect(path).is_err();
    if left_over {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // Whoever may use it may do all that we can: our own user, and its group.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(Listener::Unix(listener, path.clone()))
}

/// Who is at the other end; clients of a unix socket are on this host.
#[derive(Clone, Copy, Debug)]
struct Remote(IpAddr);

/// One open connection.
struct Connection {
    task: AbortHandle,
    /// Whether a request of it is being answered.
    busy: Arc<AtomicBool>,
}

/// Accepts until the end, which drops this.
async fn accept(listener: Listener, front: Arc<Front>) -> io::Result<()> {
    enum Async {
        Tcp(TcpListener),
        Unix(
            UnixListener,
            #[allow(dead_code, reason = "removed at the end")] Unlink,
        ),
    }
    let listener = match listener {
        Listener::Tcp(listener) => Async::Tcp(TcpListener::from_std(listener)?),
        Listener::Unix(listener, path) => {
            Async::Unix(UnixListener::from_std(listener)?, Unlink(path))
        }
    };
    let mut open: VecDeque<Connection> = VecDeque::new();
    loop {
        let accepted = match &listener {
            Async::Tcp(listener) => listener.accept().await.map(|(stream, from)| {
                // Answers are written whole: waiting for more of them only delays them.
                let _ = stream.set_nodelay(true);
                (Stream::Tcp(stream), from.ip().to_canonical())
            }),
            Async::Unix(listener, _) => listener
                .accept()
                .await
                .map(|(stream, _)| (Stream::Unix(stream), Ipv4Addr::LOCALHOST.into())),
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(fault) => {
                // No descriptor left, or a client that is gone already: never a reason to end, or to spin.
                log::debug!("accept: {fault}");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        open.retain(|connection| !connection.task.is_finished());
        if open.len() >= CONNECTIONS_MAX {
            let idle = |one: &Connection| !one.busy.load(Ordering::Relaxed);
            match open.iter().position(idle).and_then(|at| open.remove(at)) {
                Some(oldest) => oldest.task.abort(),
                // Everybody is being answered: whoever comes now has to come again.
                None => continue,
            }
        }
        let busy = Arc::new(AtomicBool::new(false));
        let task = tokio::task::spawn_local(converse(
            stream,
            Remote(from),
            Arc::clone(&front),
            Arc::clone(&busy),
        ));
        open.push_back(Connection {
            task: task.abort_handle(),
            busy,
        });
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

/// Takes a socket's name away when the listener goes.
struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// One connection, request by request.
async fn converse(stream: Stream, remote: Remote, front: Arc<Front>, busy: Arc<AtomicBool>) {
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        busy.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(remote);
        let (busy, answer) = (Arc::clone(&busy), front.answer(request));
        async move {
            let answer = answer.await;
            busy.store(false, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    // Some clients look for names as Transmission spells them.
    http.title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let result = match stream {
        Stream::Tcp(stream) => http.serve_connection(TokioIo::new(stream), service).await,
        Stream::Unix(stream) => http.serve_connection(TokioIo::new(stream), service).await,
    };
    if let Err(fault) = result {
        log::debug!("RPC client {}: {fault}", remote.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_addresses_paths_or_nothing() {
        let unix = |path: &str| Place::Unix(PathBuf::from(path));
        #[rustfmt::skip]
        let table = [
            ("",                Some(Place::Off)),
            ("127.0.0.1:9091",  Some(Place::Tcp(([127, 0, 0, 1], 9091).into()))),
            ("unix:/run/l.sock", Some(unix("/run/l.sock"))),
            ("unix:l.sock",     None),
            ("localhost:9091",  None),
            ("9091",            None),
        ];
        for (text, want) in table {
            assert_eq!(Place::parse(text), want, "{text}");
        }
    }
}
