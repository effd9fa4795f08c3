//! The RPC from the other side: what the remote-control commands ask of a daemon, one call at a time.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};
use serde_json::{Value, json};

use super::client::USER_AGENT;

/// For one call.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);

/// For the connection itself.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

const SESSION_ID: &str = "x-transmission-session-id";

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteError {
    /// Nobody is there.
    NotThere(String),
    /// Somebody is, and says no.
    Refused(String),
}

/// A daemon elsewhere.
pub struct Remote {
    url: Url,
    user: String,
    password: String,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    session_id: Option<String>,
}

impl Remote {
    /// The daemon at `url`: `http://...`, or `unix:/path`. Nothing is sent yet.
    ///
    /// # Errors
    /// One line for a person.
    pub fn new(url: &str, user: &str, password: &str) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .no_proxy()
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(CALL_TIME_MAX);
        // Certificates are read only when they are needed, and this is a command that shall be quick.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if !url.starts_with("https:") {
            builder = builder.tls_certs_only([]);
        }
        let url = match url.strip_prefix("unix:") {
            Some(path) => {
                builder = builder.unix_socket(path);
                "http://localhost/transmission/rpc".to_owned()
            }
            None => url.to_owned(),
        };
        let mut url = Url::parse(&url).map_err(|fault| format!("{url}: {fault}"))?;
        if url.path() == "/" {
            url.set_path("/transmission/rpc");
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|fault| fault.to_string())?;
        let http = builder.build().map_err(|fault| fault.to_string())?;
        Ok(Self {
            url,
            user: user.to_owned(),
            password: password.to_owned(),
            http,
            runtime,
            session_id: None,
        })
    }

    /// Calls `method`; its result.
    ///
    /// # Errors
    /// Nobody is there, or it was refused.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value, RemoteError> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let body = request.to_string();
        // The first answer tells the token; a daemon that was started anew has another.
        for _ in 0..2 {
            let (status, headers, text) = self.post(body.clone())?;
            if status == StatusCode::CONFLICT {
                let told = headers.get(SESSION_ID);
                self.session_id = told
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned);
                continue;
            }
            return self.read(status, &text);
        }
        Err(RemoteError::Refused(
            "it does not accept its own session id".to_owned(),
        ))
    }

    fn read(&self, status: StatusCode, text: &str) -> Result<Value, RemoteError> {
        let refused = |text: &str| Err(RemoteError::Refused(text.to_owned()));
        match serde_json::from_str::<Value>(text) {
            Ok(mut answer) if answer.is_object() => {
                if let Some(text) = answer["error"]["message"].as_str() {
                    return refused(text);
                }
                Ok(answer["result"].take())
            }
            _ if status == StatusCode::UNAUTHORIZED => {
                refused("it wants a user and a password: --user, --password")
            }
            _ => refused(&format!(
                "{status}: {}",
                text.lines().next().unwrap_or_default()
            )),
        }
    }

    fn post(&self, body: String) -> Result<(StatusCode, HeaderMap, String), RemoteError> {
        let mut request = self
            .http
            .post(self.url.clone())
            .header("content-type", "application/json")
            .body(body);
        if let Some(id) = &self.session_id {
            request = request.header(SESSION_ID, id);
        }
        if !self.user.is_empty() || !self.password.is_empty() {
            request = request.basic_auth(&self.user, Some(&self.password));
        }
        self.runtime.block_on(async {
            let response = request.send().await.map_err(|fault| {
                let text = format!("no daemon answers at {}", self.url);
                if fault.is_timeout() && !fault.is_connect() {
                    RemoteError::Refused("no answer in time".to_owned())
                } else {
                    RemoteError::NotThere(text)
                }
            })?;
            let (status, headers) = (response.status(), response.headers().clone());
            let text = response
                .text()
                .await
                .map_err(|fault| RemoteError::Refused(format!("its answer breaks off: {fault}")))?;
            Ok((status, headers, text))
        })
    }
}
