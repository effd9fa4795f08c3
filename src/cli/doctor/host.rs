//! The host itself: descriptors, directories, disks.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::super::source::reason;
use super::super::units;
use super::Finding;
use crate::config::Config;
use crate::time::Duration;

/// Descriptors that everything but streams takes: files of torrents, the database, the RPC.
const OTHERS: u64 = 600;
/// Less room than this is worth a note.
const FREE_MIN: u64 = 1 << 30;
/// A disk that takes longer to flush is worth a note.
const FLUSH_MAX: Duration = Duration::from_millis(500);
/// Bytes that are written to see whether that can be done.
const PROBE_BYTES: usize = 256 * 1024;

/// Whether as many streams can be open as the configuration says.
pub(super) fn descriptors(config: &Config) -> Finding {
    let name = "descriptors";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = u64::from(config.peer.max_links) + OTHERS;
    match limit.current {
        None => Finding::fine(name, "no limit"),
        Some(have) if have >= wanted => Finding::fine(name, format!("{have} (ulimit -n)")),
        Some(have) => {
            let links = config.peer.max_links;
            let text = format!(
                "{have} (ulimit -n), and peer.max_links = {links} wants some {wanted}: peers beyond that are refused"
            );
            let fix = format!(
                "`ulimit -n {wanted}` (LimitNOFILE={wanted} in a service), or a lower peer.max_links"
            );
            Finding::note(name, text, fix)
        }
    }
}

/// The directories that are written to.
pub(super) fn directories(config: &Config, state: Result<&Path, String>) -> Vec<Finding> {
    let paths = &config.paths;
    let mut findings = vec![directory("downloads", "paths.downloads", &paths.downloads)];
    if !paths.incomplete.as_os_str().is_empty() {
        findings.push(directory(
            "incomplete",
            "paths.incomplete",
            &paths.incomplete,
        ));
    }
    findings.push(match state {
        Ok(state) => directory("state", "paths.state", state),
        Err(text) => Finding::broken("state", text, "set paths.state"),
    });
    findings
}

fn directory(name: &'static str, key: &str, path: &Path) -> Finding {
    let shown = path.display();
    // One that is still to be made is made in the nearest that is there.
    let Some(there) = path.ancestors().find(|path| path.exists()) else {
        return Finding::broken(name, format!("{shown}: not there"), format!("set {key}"));
    };
    let there = if there.as_os_str().is_empty() {
        Path::new(".")
    } else {
        there
    };
    let fix = || {
        format!(
            "make {} writable for this user, or set {key}",
            there.display()
        )
    };
    if !there.is_dir() {
        let text = format!("{}: in the way, and no directory", there.display());
        return Finding::broken(name, text, format!("move it away, or set {key}"));
    }
    let flushed = match probe(there) {
        Ok(flushed) => flushed,
        Err(fault) => {
            let text = format!("{}: cannot be written: {}", there.display(), reason(&fault));
            return Finding::broken(name, text, fix());
        }
    };
    let free = rustix::fs::statvfs(there);
    let free = free.map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    let text = format!(
        "{shown}: writable, {} free, a flush takes {} ms",
        units::size(free),
        flushed.as_millis()
    );
    if free < FREE_MIN {
        return Finding::note(name, text, "make room, or downloads will wait for it");
    }
    if flushed > FLUSH_MAX {
        return Finding::note(
            name,
            text,
            "a slow disk: fewer torrents at a time are faster",
        );
    }
    Finding::fine(name, text)
}

/// Writes a file, flushes it and takes it away; how long the flush took.
fn probe(directory: &Path) -> std::io::Result<Duration> {
    let name = format!(".linnet-doctor-{}", std::process::id());
    let path: PathBuf = directory.join(name);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(&path)?;
    let begin = Instant::now();
    let written = file
        .write_all(&vec![0; PROBE_BYTES])
        .and_then(|()| file.sync_all());
    let took = begin.elapsed();
    fs::remove_file(&path)?;
    written.map(|()| took)
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn a_directory_is_written_to_and_left_as_it_was() {
        let scratch = tempfile::tempdir().unwrap();
        let deep = scratch.path().join("a/b");
        let found = directory("downloads", "paths.downloads", &deep);
        assert_ne!(found.status, Status::Broken, "{found:?}");
        assert_eq!(
            fs::read_dir(scratch.path()).unwrap().count(),
            0,
            "nothing is made"
        );
        let file = scratch.path().join("file");
        fs::write(&file, b"").unwrap();
        let found = directory("downloads", "paths.downloads", &file.join("below"));
        assert_eq!(found.status, Status::Broken, "{found:?}");
        assert!(found.fix.contains("paths.downloads"), "{found:?}");
    }

    #[test]
    fn more_links_than_descriptors_are_worth_a_note() {
        let mut config = Config::default();
        config.peer.max_links = 1;
        let few = descriptors(&config);
        config.peer.max_links = 1_000_000_000;
        let many = descriptors(&config);
        assert!(few.status == Status::Fine || few.fix.contains("ulimit -n"));
        assert!(
            many.status == Status::Note || many.text == "no limit",
            "{many:?}"
        );
    }
}
