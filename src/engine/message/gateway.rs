//! Jobs for the gateway: fetches and names.

use std::net::SocketAddr;

use crate::ids::JobId;
use crate::time::Duration;

/// A job for the gateway.
#[derive(Debug)]
pub struct Fetch {
    /// Answered with it.
    pub id: JobId,
    /// What to do.
    pub task: FetchTask,
}

/// What the gateway can do for the engine.
#[derive(Debug)]
pub enum FetchTask {
    /// GET `url`, following redirects.
    Http {
        /// http or https.
        url: String,
        /// At most so many bytes of body; more is an error.
        bytes_max: usize,
        /// For all of it.
        timeout: Duration,
    },
    /// Find the addresses of `host`.
    Resolve {
        /// A name, or an address in text.
        host: String,
        /// Goes into the answer.
        port: u16,
        /// For all of it.
        timeout: Duration,
    },
}

/// The gateway's answer.
#[derive(Debug)]
pub struct Fetched {
    /// As given out.
    pub id: JobId,
    /// How it went.
    pub outcome: FetchOutcome,
}

/// How a job of the gateway went. The errors are texts for people; nothing decides by them.
#[derive(Debug)]
pub enum FetchOutcome {
    /// Of [`FetchTask::Http`]: status 200 to 299 and the whole body.
    Http(Result<Vec<u8>, String>),
    /// Of [`FetchTask::Resolve`]: at least one address.
    Resolved(Result<Vec<SocketAddr>, String>),
}
