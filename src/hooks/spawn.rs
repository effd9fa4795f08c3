//! Starting a program safely: no shell, no special file, nothing of ours but three streams, and a process group of its own
//! that does not outlive us.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// Variables that a program inherits; all others are ours alone.
#[rustfmt::skip]
const VARIABLES: &[&str] = &[
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "XDG_RUNTIME_DIR",
];

/// What a group of processes belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A helper, which is ended in steps.
    Helper,
    /// A command on one event.
    Command,
}

/// Every process group that was started and is not over, known to all threads: whoever ends the program can end them.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(Arc<Mutex<BTreeMap<i32, (Pid, Kind)>>>);

impl Groups {
    /// Signals all groups of a kind, or of both.
    pub(super) fn signal(&self, only: Option<Kind>, signal: Signal) {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (pid, kind) in groups.values() {
            if only.is_none_or(|only| only == *kind) {
                // It may just have ended.
                let _ = kill_process_group(*pid, signal);
            }
        }
    }
}

/// One process group. Dropped, all that is left of it is killed.
#[derive(Debug)]
pub(super) struct Group {
    pid: Pid,
    is_released: bool,
    groups: Groups,
}

impl Group {
    fn new(pid: Pid, kind: Kind, groups: &Groups) -> Self {
        let mut known = groups.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(pid.as_raw_nonzero().get(), (pid, kind));
        drop(known);
        Self {
            pid,
            is_released: false,
            groups: groups.clone(),
        }
    }

    /// Signals all processes in it.
    pub(super) fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.pid, signal);
    }

    /// Lets it go: what is left of it goes on.
    pub(super) fn release(mut self) {
        self.is_released = true;
    }

    fn forget(&self) {
        let mut known = self.groups.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&self.pid.as_raw_nonzero().get());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_released {
            self.signal(Signal::KILL);
        }
        self.forget();
    }
}

/// A program to start.
pub(super) struct Start<'a> {
    /// The file and its arguments.
    pub(super) command: &'a [String],
    /// Further variables.
    pub(super) variables: Vec<(String, String)>,
    /// Whether its stdout is ours to read.
    pub(super) is_heard: bool,
    /// What it belongs to.
    pub(super) kind: Kind,
}

impl Start<'_> {
    /// Starts it in a group of its own.
    ///
    /// # Errors
    /// One line for a person.
    pub(super) fn start(self, groups: &Groups) -> Result<(Child, Group), String> {
        let name = self.command.first().map_or("", String::as_str);
        let path = find(name)?;
        let mut command = Command::new(&path);
        command
            .args(&self.command[1..])
            .env_clear()
            .envs(
                VARIABLES
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(self.variables)
            .stdin(Stdio::piped())
            .stdout(if self.is_heard {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stderr(Stdio::inherit())
            .process_group(0)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .map_err(|fault| format!("{}: {fault}", path.display()))?;
        let pid = child
            .id()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.ok_or_else(|| format!("{}: it ended at once", path.display()))?;
        Ok((child, Group::new(pid, self.kind, groups)))
    }
}

/// The file that `name` means, if it may be started: with a `/` a path, without one in `$PATH`.
///
/// # Errors
/// One line for a person.
pub(super) fn find(name: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        return check(Path::new(name)).map(|()| PathBuf::from(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut why = format!("{name}: no such program in $PATH");
    for directory in std::env::split_paths(&path).filter(|directory| directory.is_absolute()) {
        let path = directory.join(name);
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(fault) if path.exists() => why = fault,
            Err(_) => {}
        }
    }
    Err(why)
}

fn check(path: &Path) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("{}: {why}", path.display()));
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(fault) => return refuse(&fault.kind().to_string()),
    };
    let mode = metadata.permissions().mode();
    if !metadata.is_file() {
        refuse("not a regular file")
    } else if mode & 0o111 == 0 {
        refuse("not executable: chmod +x makes it so")
    } else if mode & 0o6000 != 0 {
        refuse("setuid or setgid, which a helper must not be")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_executable_files_are_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = directory.path().join(name);
            std::fs::write(&path, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        #[rustfmt::skip]
        let table = [
            (file("fine", 0o700),                            None),
            (file("plain", 0o600),                           Some("not executable: chmod +x makes it so")),
            (file("setuid", 0o4700),                         Some("setuid or setgid, which a helper must not be")),
            (file("setgid", 0o2710),                         Some("setuid or setgid, which a helper must not be")),
            (directory.path().to_str().unwrap().to_owned(),  Some("not a regular file")),
            ("/no/such".to_owned(),                          Some("entity not found")),
            ("/dev/null".to_owned(),                         Some("not a regular file")),
        ];
        for (path, want) in table {
            let found = find(&path).err();
            assert_eq!(found, want.map(|why| format!("{path}: {why}")));
        }
        assert!(find("sh").unwrap().is_absolute());
        assert_eq!(
            find("no-such-program"),
            Err("no-such-program: no such program in $PATH".to_owned())
        );
    }
}
