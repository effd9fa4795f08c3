//! What there is: `/transmission/rpc`, `/transmission/web/`, `/metrics`, `/events`, `/healthz`.

#![allow(
    clippy::disallowed_types,
    reason = "tasks of one thread share what is remembered of clients; nothing waits while it is held"
)]

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use super::access::{Denied, Memory};
use super::events::EventLog;
use super::{Options, Remote};
use crate::actor::handle::Handle;
use crate::engine::message::Message;
use crate::gateway::Tools;
use crate::gateway::asking::Asking;
use crate::gateway::rpc::Rpc;

/// Bytes of a request's body: the largest torrent file, as base64.
const BODY_BYTES_MAX: usize = 96 * 1024 * 1024;

/// Bodies beyond this are read a few at a time...
const BODY_BYTES_SMALL: usize = 1024 * 1024;

/// ...so many.
const LARGE_BODIES_MAX: usize = 2;

/// How long a client may pause within a body.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(20);

/// For reading a body that nobody wants.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// Smaller answers are not worth compressing.
const GZIP_BYTES_MIN: usize = 1024;

/// Where the RPC is.
const RPC_PATH: &str = "/transmission/rpc";

/// Names the token that cross-site requests cannot know.
const SESSION_ID: &str = "x-transmission-session-id";

/// All that requests share.
pub struct Front {
    handle: Handle,
    tools: Arc<Tools>,
    options: RwLock<Arc<Options>>,
    memory: Mutex<Memory>,
    session_id: Arc<str>,
    large: Semaphore,
    pub(super) events: Arc<EventLog>,
    router: Router<Arc<Self>>,
}

impl Front {
    pub(super) fn new(
        handle: Handle,
        tools: Arc<Tools>,
        options: RwLock<Arc<Options>>,
        session_id: String,
    ) -> Arc<Self> {
        let router = Router::new()
            .route(RPC_PATH, any(rpc))
            .route("/transmission/rpc/", any(rpc))
            .route("/transmission/web/", get(super::web::home))
            .route("/transmission/web/{*path}", get(super::web::file))
            .route("/healthz", get(health))
            .route("/metrics", get(metrics))
            .route("/events", get(super::events::events))
            .route("/", get(front_page))
            .fallback(nothing_there);
        Arc::new(Self {
            handle,
            tools,
            options,
            memory: Mutex::default(),
            session_id: session_id.into(),
            large: Semaphore::new(LARGE_BODIES_MAX),
            events: Arc::new(EventLog::default()),
            router,
        })
    }

    /// From now on every event is in the log.
    pub(super) fn listen_to_events(&self) {
        super::events::listen(&self.handle, &self.events);
    }

    /// What holds from now on.
    pub(in crate::gateway) fn reload(&self, options: Options) {
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }

    pub(super) fn options(&self) -> Arc<Options> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn asking(&self) -> Asking {
        Asking::new(self.handle.clone(), self.options().timeout)
    }

    /// Answers one request.
    pub(super) fn answer(
        self: &Arc<Self>,
        request: hyper::Request<hyper::body::Incoming>,
    ) -> impl Future<Output = Response> + use<> {
        let front = Arc::clone(self);
        async move {
            let request = request.map(Body::new);
            let path = request.uri().path();
            // Whoever looks whether we live need not know the password; all it learns is that we do.
            if path != "/healthz"
                && let Err(denied) = front.check(&request)
            {
                drain(request.into_body()).await;
                return refuse(denied);
            }
            let mut router = front.router.clone().with_state(Arc::clone(&front));
            match tower_service::Service::call(&mut router, request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    }

    fn check(&self, request: &Request) -> Result<(), Denied> {
        let text = |name| {
            let value: Option<&HeaderValue> = request.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        let from = request.extensions().get::<Remote>();
        let from = from.map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |remote| remote.0);
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        self.options().access.check(
            &mut memory,
            self.handle.clock().now(),
            from,
            text(header::AUTHORIZATION),
            text(header::HOST),
        )
    }

    /// The body, within its bounds of size and time.
    async fn body(&self, body: Body) -> Result<Vec<u8>, StatusCode> {
        let mut body = body;
        let mut bytes = Vec::new();
        let mut _large = None;
        loop {
            let frame = tokio::time::timeout(BODY_PAUSE_MAX, body.frame())
                .await
                .map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
            let Some(frame) = frame else {
                return Ok(bytes);
            };
            let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
            let Ok(data): Result<Bytes, _> = frame.into_data() else {
                continue;
            };
            if bytes.len() + data.len() > BODY_BYTES_MAX {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            if bytes.len() + data.len() > BODY_BYTES_SMALL && _large.is_none() {
                _large = self.large.acquire().await.ok();
            }
            bytes.extend_from_slice(&data);
        }
    }
}

async fn rpc(State(front): State<Arc<Front>>, request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        let allow = [
            (header::ALLOW, "GET, HEAD, POST, OPTIONS"),
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                "GET, HEAD, POST, OPTIONS",
            ),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "Content-Type, X-Transmission-Session-Id",
            ),
        ];
        return (StatusCode::OK, allow).into_response();
    }
    let given = request.headers().get(SESSION_ID);
    if given.is_none_or(|given| given.as_bytes() != front.session_id.as_bytes()) {
        let session_id = Arc::clone(&front.session_id);
        drain(request.into_body()).await;
        return handshake(&session_id);
    }
    if request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let (parts, body) = request.into_parts();
    let body = match front.body(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    let rpc = Rpc {
        asking: front.asking(),
        options: front.options(),
        session_id: Arc::clone(&front.session_id),
        tools: Arc::clone(&front.tools),
    };
    let answered = rpc.answer(&body).await;
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::OK);
    match answered.body {
        None => status.into_response(),
        Some(body) => packed(
            status,
            "application/json; charset=UTF-8",
            body,
            &parts.headers,
        ),
    }
}

/// Reads a body that nobody wants, as far as that is worth keeping the connection for the next request.
async fn drain(mut body: Body) {
    let read = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > BODY_BYTES_SMALL {
                return;
            }
        }
    };
    // Too slow: the connection ends with the answer.
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, read).await;
}

/// The token is told to whoever can read the answer: a page of another site cannot.
fn handshake(session_id: &str) -> Response {
    let mut response = (
        StatusCode::CONFLICT,
        [(header::CONTENT_TYPE, "text/html; charset=UTF-8")],
        format!(
            "<h1>409: Conflict</h1><p>Send this again with the header <code>X-Transmission-Session-Id: {session_id}</code>: \
             it keeps pages of other sites from using your session.</p>"
        ),
    )
        .into_response();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(session_id) {
        headers.insert(SESSION_ID, value);
    }
    headers.insert(
        "x-transmission-rpc-version",
        HeaderValue::from_static(crate::gateway::rpc::VERSION_SEMVER),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("X-Transmission-Session-Id, X-Transmission-Rpc-Version"),
    );
    response
}

/// With gzip where the client takes it and it is worth it.
fn packed(
    status: StatusCode,
    content_type: &'static str,
    body: Vec<u8>,
    request: &HeaderMap,
) -> Response {
    let takes_gzip = request
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value.split(',').any(|coding| {
                coding
                    .split(';')
                    .next()
                    .is_some_and(|name| name.trim() == "gzip")
            })
        });
    let typed = [(header::CONTENT_TYPE, content_type)];
    if takes_gzip && body.len() >= GZIP_BYTES_MIN {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        if let Ok(packed) = encoder.write_all(&body).and_then(|()| encoder.finish()) {
            let encoding = [(header::CONTENT_ENCODING, "gzip")];
            return (status, typed, encoding, packed).into_response();
        }
    }
    (status, typed, body).into_response()
}

fn refuse(denied: Denied) -> Response {
    let (status, text) = match denied {
        Denied::Locked => (
            StatusCode::FORBIDDEN,
            "too many wrong passwords: try again later",
        ),
        Denied::Address => (
            StatusCode::FORBIDDEN,
            "this address is not in rpc.ip_whitelist",
        ),
        Denied::Password => (StatusCode::UNAUTHORIZED, "user and password, please"),
        Denied::Host => (
            StatusCode::MISDIRECTED_REQUEST,
            "this host name is not in rpc.host_whitelist: use an address, or set a password",
        ),
    };
    let mut response = (status, text).into_response();
    if denied == Denied::Password {
        response.headers_mut().insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"Transmission\""),
        );
    }
    response
}

/// Whether the actor answers within its deadline.
async fn health(State(front): State<Arc<Front>>) -> Response {
    match front.asking().ask(Message::EngineShow).await {
        Ok(_) => (StatusCode::OK, "ok\n").into_response(),
        Err(fault) => (StatusCode::SERVICE_UNAVAILABLE, format!("{fault}\n")).into_response(),
    }
}

/// All figures.
async fn metrics(State(front): State<Arc<Front>>, headers: HeaderMap) -> Response {
    match front.asking().metrics().await {
        Ok(mut metrics) => {
            metrics.process = (front.options().process)();
            metrics.messages.memory_usage_bytes = metrics.process.resident_bytes;
            let text = metrics.prometheus();
            packed(
                StatusCode::OK,
                "text/plain; version=0.0.4",
                text.into_bytes(),
                &headers,
            )
        }
        Err(fault) => (StatusCode::SERVICE_UNAVAILABLE, format!("{fault}\n")).into_response(),
    }
}

async fn front_page() -> Response {
    let text = concat!(
        "Linnet ",
        env!("CARGO_PKG_VERSION"),
        "\n\nRPC: /transmission/rpc\nEvents: /events\nFigures: /metrics\n"
    );
    text.into_response()
}

async fn nothing_there(request: Request) -> Response {
    let path = request.uri().path();
    if matches!(
        path,
        "/transmission" | "/transmission/" | "/transmission/web"
    ) {
        let there = [(header::LOCATION, "/transmission/web/")];
        return (StatusCode::MOVED_PERMANENTLY, there).into_response();
    }
    StatusCode::NOT_FOUND.into_response()
}
