//! Two machines of one network, each a namespace with one end of a cable. Needs root.

use std::process::Command;

use super::{Running, eventually};

/// `ip` with these words.
fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output();
    let output = output.expect("iproute2 is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {said}");
}

/// Two namespaces joined by a cable; gone afterwards, with all that was in them.
pub(crate) struct Network {
    names: [String; 2],
}

impl Network {
    /// A cable between 10.77.0.1 and 10.77.0.2, and fd77::1 and fd77::2. `number` is the test's own.
    pub(crate) fn new(number: u32) -> Self {
        let id = std::process::id();
        let names = ["a", "b"].map(|end| format!("linnet-{id}-{number}{end}"));
        let this = Self { names };
        for name in &this.names {
            ip(&format!("netns add {name}"));
        }
        let [a, b] = &this.names;
        ip(&format!(
            "-n {a} link add eth0 type veth peer name eth0 netns {b}"
        ));
        for (name, last) in this.names.iter().zip(1..) {
            ip(&format!("-n {name} link set lo up"));
            ip(&format!("-n {name} addr add 10.77.0.{last}/24 dev eth0"));
            ip(&format!(
                "-n {name} addr add fd77::{last}/64 dev eth0 nodad"
            ));
            ip(&format!("-n {name} link set eth0 up"));
        }
        for name in &this.names {
            // What is said before is lost.
            eventually("the cable", || {
                let shown = Command::new("ip")
                    .args(["-n", name, "addr", "show", "eth0"])
                    .output();
                let shown = String::from_utf8(shown.ok()?.stdout).ok()?;
                (shown.contains("state UP") && !shown.contains("tentative")).then_some(())
            });
        }
        this
    }

    /// Runs `ip` in one of them.
    pub(crate) fn ip(&self, end: usize, words: &str) {
        ip(&format!("-n {} {words}", self.names[end]));
    }

    /// Runs `command` in one of them.
    pub(crate) fn run(&self, end: usize, command: &Command) -> Running {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.names[end]]);
        inside.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(key, value),
                None => inside.env_remove(key),
            };
        }
        Running::start(&inside)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}
