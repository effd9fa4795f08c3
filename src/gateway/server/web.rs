//! The files of another web client, from `rpc.web_home`: Transmission's own page, or any that speaks its RPC.

#![allow(
    clippy::disallowed_methods,
    reason = "small files that a person has put there for this"
)]

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::routes::Front;

/// Longest file that is served.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What files are, by their endings; anything else is bytes.
#[rustfmt::skip]
const TYPES: &[(&str, &str)] = &[
    ("html", "text/html; charset=UTF-8"), ("js", "text/javascript; charset=UTF-8"), ("css", "text/css; charset=UTF-8"),
    ("json", "application/json"), ("svg", "image/svg+xml"), ("png", "image/png"), ("gif", "image/gif"), ("ico", "image/x-icon"),
    ("webp", "image/webp"), ("woff2", "font/woff2"), ("txt", "text/plain; charset=UTF-8"), ("map", "application/json"),
];

pub(super) async fn home(front: State<Arc<Front>>) -> Response {
    file(front, UrlPath("index.html".to_owned())).await
}

pub(super) async fn file(
    State(front): State<Arc<Front>>,
    UrlPath(path): UrlPath<String>,
) -> Response {
    let options = front.options();
    let bytes = below(&options.web_home, &path).and_then(|path| read(&path));
    let Some(bytes) = bytes else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let ending = path.rsplit('.').next().unwrap_or_default();
    let known = TYPES.iter().find(|(name, _)| *name == ending);
    let content_type = known.map_or("application/octet-stream", |(_, content_type)| content_type);
    ([(header::CONTENT_TYPE, content_type)], bytes).into_response()
}

/// `path` below `home`; `None` when it leads elsewhere, by its words or by a link.
fn below(home: &Path, path: &str) -> Option<PathBuf> {
    if home.as_os_str().is_empty() {
        return None;
    }
    let path = Path::new(path);
    let plain = |component| matches!(component, Component::Normal(_));
    if !path.components().all(plain) {
        return None;
    }
    let home = home.canonicalize().ok()?;
    let real = home.join(path).canonicalize().ok()?;
    real.starts_with(&home).then_some(real)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_of_the_home_is_served() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("home");
        std::fs::create_dir_all(home.join("sub")).unwrap();
        std::fs::write(home.join("sub/a.js"), "1").unwrap();
        std::fs::write(directory.path().join("secret"), "2").unwrap();
        std::os::unix::fs::symlink("../secret", home.join("link")).unwrap();
        #[rustfmt::skip]
        let table = [
            ("sub/a.js", true), ("secret", false), ("../secret", false), ("/etc/passwd", false), ("link", false), ("sub/../../secret", false),
        ];
        for (path, want) in table {
            assert_eq!(below(&home, path).is_some(), want, "{path}");
        }
        assert!(below(Path::new(""), "sub/a.js").is_none(), "off");
        assert!(read(&home.join("sub")).is_none(), "a directory is no file");
    }
}
