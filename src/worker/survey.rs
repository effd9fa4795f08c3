//! A look at a directory that is no torrent's: its real path, the room on its file system, whether a file is there. At a worker,
//! since a network disk that is gone may never answer.

#![allow(
    clippy::disallowed_methods,
    reason = "the workers' own: directories are looked at here"
)]

use std::io;

use crate::engine::message::{Fault, Survey, Surveyed};

use super::files::fault;

pub(super) fn survey(survey: &Survey) -> Result<Surveyed, Fault> {
    let found = || -> io::Result<Surveyed> {
        if survey.make {
            std::fs::create_dir_all(&survey.path)?;
        }
        let path = survey.path.canonicalize()?;
        let stat = rustix::fs::statvfs(&path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let file = survey.file.as_ref();
        Ok(Surveyed {
            found: file.is_some_and(|file| path.join(file).symlink_metadata().is_ok()),
            path,
            free: bytes(stat.f_bavail),
            total: bytes(stat.f_blocks),
        })
    };
    let tried = if survey.make { "use" } else { "look at" };
    found().map_err(|error| fault(&survey.path, tried, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::message::FaultKind;

    #[test]
    fn a_directory_is_looked_at_and_made_when_it_is_to_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let ask = |make, file: Option<&str>| {
            survey(&Survey {
                path: path.clone(),
                make,
                file: file.map(Into::into),
            })
        };
        assert_eq!(ask(false, None).unwrap_err().kind, FaultKind::Gone);
        let found = ask(true, Some("file")).unwrap();
        assert!(!found.found && found.total >= found.free && found.total > 0);
        std::fs::write(path.join("file"), b"1").unwrap();
        let found = ask(false, Some("file")).unwrap();
        assert!(found.found);
        assert_eq!(found.path, path.canonicalize().unwrap());
    }
}
