//! Where a torrent comes from: a file, a URL of one, or a magnet link.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use crossbeam_channel as channel;

use crate::codec::magnet::Magnet;
use crate::codec::metainfo::Metainfo;
use crate::gateway::Gateway;
use crate::gateway::client::masked;

use super::signals::{Signal, Signals};
use super::transfer::{Link, Source as Named};
use super::{EXIT_INTERRUPTED, Failure};

/// Longest torrent file: 64 MiB, some three million pieces. A longer one is refused.
const TORRENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// For the whole of a download of a torrent file.
const FETCH_TIME_MAX: Duration = Duration::from_secs(60);

/// How soon a signal is seen during a download of a torrent file.
const SIGNAL_LATENCY: Duration = Duration::from_millis(50);

/// What a person named as a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source<'a> {
    Path(&'a Path),
    Url(&'a str),
    Magnet,
    /// A URL of a kind that we do not fetch.
    Strange,
}

impl<'a> Source<'a> {
    fn of(text: &'a str) -> Self {
        let scheme = text.split_once(':').map(|(scheme, _)| scheme);
        let is = |name: &str| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(name));
        if is("magnet") {
            Self::Magnet
        } else if is("http") || is("https") {
            Self::Url(text)
        } else if text.contains("://") {
            Self::Strange
        } else {
            Self::Path(Path::new(text))
        }
    }
}

/// The magnet link that was named instead of a file, if it was one.
pub(super) fn magnet_of(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    (Source::of(text) == Source::Magnet).then_some(text)
}

/// Reads the torrent file at `path`.
pub(super) fn read(path: &Path) -> Result<Metainfo, Failure> {
    let shown = path.display();
    if path.to_str().map(Source::of) == Some(Source::Magnet) {
        return Err(Failure::failed(magnet()));
    }
    let bytes = read_bounded(path).map_err(|fault| Failure::failed(format!("{shown}: {fault}")))?;
    decode(&shown.to_string(), &bytes)
}

/// Reads each of `sources`, paths, URLs or links, in order; fetches by a gateway that lives no longer than this call.
pub(super) fn read_all(
    sources: &[String],
    signals: &mut dyn Signals,
) -> Result<Vec<Named>, Failure> {
    let mut gateway = None;
    let mut torrents = Vec::new();
    for source in sources {
        torrents.push(match Source::of(source) {
            Source::Path(path) => torrent(read_interruptibly(path, signals)?),
            Source::Url(url) => {
                let gateway = gateway.get_or_insert_with(|| Gateway::start(|| {}));
                torrent(fetch(url, gateway, signals)?)
            }
            Source::Magnet => Named::Link(link(source)?),
            Source::Strange => {
                let text = "only files and http or https URLs can be read";
                return Err(Failure::failed(format!("{}: {text}", masked(source))));
            }
        });
    }
    Ok(torrents)
}

fn torrent(metainfo: Metainfo) -> Named {
    Named::Torrent(Box::new(metainfo))
}

/// Reads a magnet link.
fn link(text: &str) -> Result<Link, Failure> {
    let magnet = Magnet::parse(text)
        .map_err(|fault| Failure::failed(format!("{text}: not a valid magnet link: {fault}")))?;
    let text = text.to_owned();
    Ok(Link { text, magnet })
}

/// Reads like [`read`]: a pipe whose other end never comes does not keep a signal waiting.
fn read_interruptibly(path: &Path, signals: &mut dyn Signals) -> Result<Metainfo, Failure> {
    let (send, received) = channel::bounded(1);
    let owned = path.to_owned();
    std::thread::Builder::new()
        .name("source".to_owned())
        .spawn(move || {
            // Nobody may wait for it any more.
            let _ = send.send(read(&owned));
        })
        .map_err(|fault| Failure::failed(format!("{}: {}", path.display(), reason(&fault))))?;
    wait(signals, |latency| received.recv_timeout(latency).ok())?
}

/// Waits for what `look` finds, or for a signal that ends.
fn wait<T>(signals: &mut dyn Signals, look: impl Fn(Duration) -> Option<T>) -> Result<T, Failure> {
    loop {
        if let Some(found) = look(SIGNAL_LATENCY) {
            return Ok(found);
        }
        while let Some(signal) = signals.next() {
            if signal == Signal::Stop {
                return Err(Failure::Silent(EXIT_INTERRUPTED));
            }
        }
    }
}

fn fetch(url: &str, gateway: &Gateway, signals: &mut dyn Signals) -> Result<Metainfo, Failure> {
    let pending = gateway.get(url, TORRENT_BYTES_MAX, FETCH_TIME_MAX);
    let shown = masked(url);
    let result = wait(signals, |latency| pending.wait(latency))?;
    let bytes = result.map_err(|fault| Failure::failed(format!("{shown}: {fault}")))?;
    decode(&shown, &bytes)
}

/// The bytes of the torrent file at `path`.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    read_bounded(path).map_err(|fault| Failure::failed(format!("{}: {fault}", path.display())))
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        let file = std::fs::File::open(path)?;
        let mut bytes = Vec::new();
        file.take(TORRENT_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|fault: std::io::Error| reason(&fault))?;
    if bytes.len() > TORRENT_BYTES_MAX {
        return Err("larger than 64 MiB: not a torrent file".to_owned());
    }
    Ok(bytes)
}

/// What the system says, without its error number.
pub(super) fn reason(fault: &std::io::Error) -> String {
    match fault.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => {
            let text = fault.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            text.to_lowercase()
        }
    }
}

fn decode(shown: &str, bytes: &[u8]) -> Result<Metainfo, Failure> {
    Metainfo::decode(bytes)
        .map_err(|fault| Failure::failed(format!("{shown}: not a valid torrent: {fault}")))
}

fn magnet() -> String {
    "a magnet link does not say what the files are: name the torrent file".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ctrl-C, from the beginning.
    struct Stops;

    impl Signals for Stops {
        fn next(&mut self) -> Option<Signal> {
            Some(Signal::Stop)
        }
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_keeps_no_signal_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let result = read_all(&[path.display().to_string()], &mut Stops);
        assert_eq!(result.err(), Some(Failure::Silent(EXIT_INTERRUPTED)));
    }

    #[test]
    fn a_source_is_told_by_its_beginning() {
        #[rustfmt::skip]
        let table = [
            ("a.torrent",              Source::Path(Path::new("a.torrent"))),
            ("/a b/http.torrent",      Source::Path(Path::new("/a b/http.torrent"))),
            ("a: b.torrent",           Source::Path(Path::new("a: b.torrent"))),
            ("http://h/a.torrent",     Source::Url("http://h/a.torrent")),
            ("HTTPS://h/a.torrent",    Source::Url("HTTPS://h/a.torrent")),
            ("magnet:?xt=urn:btih:00", Source::Magnet),
            ("Magnet:?xt=urn:btih:00", Source::Magnet),
            ("ftp://h/a.torrent",      Source::Strange),
        ];
        for (text, want) in table {
            assert_eq!(Source::of(text), want, "{text}");
        }
    }
}
