//! What can go wrong in a simulated world, by name.

/// What the network does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetFaults {
    /// One way from a machine to the backbone: 200 µs to this.
    pub latency_micros_max: u64,
    /// Dials that fail though somebody listens.
    pub dial_error_per_mille: u64,
    /// Writes that break their stream off.
    pub reset_per_100k: u64,
    /// Segments that come 0.2 to 2 s late, as after a loss.
    pub stall_per_mille: u64,
    /// Reads and writes cut short at a random byte.
    pub short_per_mille: u64,
    /// Datagrams lost; half as many come twice.
    pub datagram_loss_per_mille: u64,
    /// Whether streams travel on uTP alone.
    pub utp_only: bool,
}

/// What disks and stores do wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// Writes and flushes that fail with EIO.
    pub error_per_100k: u64,
    /// Whether a flush that fails leaves its pages clean and not on the device, as Linux does, or dirty.
    pub flush_drops: bool,
    /// What a disk holds, in percent of the torrent; 0 is no limit. Lifted when the faults stop.
    pub capacity_percent: u64,
    /// Reads and writes that do less than asked.
    pub short_per_mille: u64,
    /// Longest delay of a job.
    pub delay_micros_max: u64,
    /// Jobs that take a hundred times as long.
    pub slow_per_mille: u64,
}

/// What happens to machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeFaults {
    /// Mean time between two kills of a process (the kernel lives), in milliseconds; 0 is never.
    pub kill_every_ms: u64,
    /// Mean time between two losses of power (unsynced writes may be lost), in milliseconds; 0 is never.
    pub power_every_ms: u64,
    /// Mean time between two orderly restarts, in milliseconds; 0 is never.
    pub restart_every_ms: u64,
    /// Mean time between two cuts of a machine's cable, each of 1 to 40 s, in milliseconds; 0 is never.
    pub cut_every_ms: u64,
    /// Files deleted while their process is down, in a thousand times that it is. The seeder keeps its files.
    pub delete_per_mille: u64,
    /// Processes hit by the next trouble within 200 ms of their start, in a thousand starts.
    pub early_per_mille: u64,
    /// Whether one peer sends wrong blocks.
    pub poisoner: bool,
    /// Whether one peer takes requests and never answers them.
    pub staller: bool,
    /// Whether one leecher has a sixteenth of the bandwidth.
    pub slow_peer: bool,
    /// Tracker answers that fail, in a thousand.
    pub tracker_error_per_mille: u64,
    /// Whether those who download have no more than a magnet link, and peers lie about what it names.
    pub links: bool,
    /// Whether there is no tracker, and everybody knows the address of one machine, which does not have the torrent from the start.
    pub acquainted: bool,
}

/// What the program around an engine does to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerFaults {
    /// Mean time between two bursts of random messages to one machine, in milliseconds; 0 is never.
    pub every_ms: u64,
    /// Calls of one burst at most.
    pub burst_max: u64,
    /// How often something is taken away between two turns while a handshake is under way, in a thousand such turns.
    pub remove_per_mille: u64,
    /// Whether the queue has room for four operations only, and what is beyond is rejected or shed.
    pub overload: bool,
    /// Mean time between two standstills of a machine's actor, each of up to 20 s, in milliseconds; 0 is never.
    pub freeze_every_ms: u64,
    /// Shutdowns right after a turn, with any budget, in a hundred thousand turns.
    pub stop_per_100k: u64,
}

/// Everything that goes wrong in one world, until the faults stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The network's.
    pub net: NetFaults,
    /// The disks'.
    pub disk: DiskFaults,
    /// The machines'.
    pub node: NodeFaults,
    /// The callers'.
    pub caller: CallerFaults,
}

/// The names `linnet sim --faults` takes, and what each means.
pub const NAMES: &[(&str, &str)] = &[
    ("none", "nothing goes wrong"),
    (
        "net",
        "resets, stalls, failed dials, odd cuts, lost datagrams",
    ),
    (
        "utp",
        "streams travel on uTP alone; datagrams are lost and overtake each other",
    ),
    ("cuts", "cables are pulled for up to 40 s"),
    ("disk", "disks fail, fill up and are slow"),
    (
        "flushes",
        "disks fail, and a failed flush loses what it was for",
    ),
    ("kills", "processes are killed and restarted"),
    ("power", "machines lose power, and unsynced writes with it"),
    ("restarts", "processes are restarted in order"),
    (
        "deletions",
        "processes are restarted, and files deleted meanwhile",
    ),
    ("poison", "one peer sends wrong blocks"),
    ("stall", "one peer never answers, one is slow"),
    ("all", "all of the above"),
    (
        "links",
        "downloaders have a magnet link, and peers lie about what it names",
    ),
    (
        "pex",
        "no tracker: everybody knows one machine and no other",
    ),
    ("callers", "callers say anything at any time, in every way"),
    (
        "remove-during-handshake",
        "callers take away sessions, swarms and links while handshakes are under way",
    ),
    (
        "overload",
        "callers overfill a queue of four, which rejects or sheds",
    ),
    ("freezes", "actors stand still for up to 20 s"),
    (
        "shutdowns",
        "actors are told to end after any turn, with any budget",
    ),
    (
        "manager",
        "all that callers do, on a bad network, with kills",
    ),
];

impl Faults {
    /// The faults of this name; `None` when there is no such name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let calm = NetFaults {
            latency_micros_max: 30_000,
            ..NetFaults::default()
        };
        let disk = DiskFaults {
            delay_micros_max: 3000,
            ..DiskFaults::default()
        };
        let base = Self {
            net: calm,
            disk,
            node: NodeFaults::default(),
            caller: CallerFaults::default(),
        };
        let talk = CallerFaults {
            every_ms: 400,
            burst_max: 12,
            ..CallerFaults::default()
        };
        let net = NetFaults {
            latency_micros_max: 150_000,
            dial_error_per_mille: 150,
            reset_per_100k: 200,
            stall_per_mille: 10,
            short_per_mille: 200,
            datagram_loss_per_mille: 200,
            utp_only: false,
        };
        let bad_disk = DiskFaults {
            error_per_100k: 300,
            flush_drops: false,
            capacity_percent: 60,
            short_per_mille: 100,
            delay_micros_max: 20_000,
            slow_per_mille: 20,
        };
        let node = |node: NodeFaults| Self { node, ..base };
        let quiet = NodeFaults::default();
        Some(match name {
            "none" => base,
            "net" => Self {
                net,
                node: NodeFaults {
                    tracker_error_per_mille: 300,
                    ..quiet
                },
                ..base
            },
            "utp" => Self {
                net: NetFaults {
                    latency_micros_max: 50_000,
                    datagram_loss_per_mille: 30,
                    utp_only: true,
                    ..calm
                },
                ..base
            },
            "cuts" => node(NodeFaults {
                cut_every_ms: 15_000,
                ..quiet
            }),
            "disk" => Self {
                disk: bad_disk,
                ..base
            },
            "kills" => node(NodeFaults {
                kill_every_ms: 8000,
                early_per_mille: 250,
                ..quiet
            }),
            "power" => node(NodeFaults {
                power_every_ms: 8000,
                early_per_mille: 250,
                ..quiet
            }),
            "restarts" => node(NodeFaults {
                restart_every_ms: 8000,
                early_per_mille: 250,
                ..quiet
            }),
            "flushes" => Self {
                disk: DiskFaults {
                    flush_drops: true,
                    ..bad_disk
                },
                node: NodeFaults {
                    power_every_ms: 8000,
                    ..quiet
                },
                ..base
            },
            "deletions" => node(NodeFaults {
                restart_every_ms: 10_000,
                kill_every_ms: 10_000,
                delete_per_mille: 500,
                ..quiet
            }),
            "poison" => node(NodeFaults {
                poisoner: true,
                ..quiet
            }),
            "stall" => node(NodeFaults {
                staller: true,
                slow_peer: true,
                ..quiet
            }),
            "callers" => Self {
                caller: talk,
                ..base
            },
            "remove-during-handshake" => Self {
                net: NetFaults {
                    latency_micros_max: 150_000,
                    ..calm
                },
                caller: CallerFaults {
                    every_ms: 1000,
                    burst_max: 3,
                    remove_per_mille: 200,
                    ..talk
                },
                ..base
            },
            "overload" => Self {
                caller: CallerFaults {
                    burst_max: 24,
                    overload: true,
                    ..talk
                },
                ..base
            },
            "freezes" => Self {
                caller: CallerFaults {
                    freeze_every_ms: 5000,
                    ..talk
                },
                ..base
            },
            "shutdowns" => Self {
                caller: CallerFaults {
                    stop_per_100k: 300,
                    ..talk
                },
                ..base
            },
            "manager" => Self {
                net,
                node: NodeFaults {
                    kill_every_ms: 20_000,
                    ..quiet
                },
                caller: CallerFaults {
                    remove_per_mille: 50,
                    freeze_every_ms: 15_000,
                    stop_per_100k: 100,
                    ..talk
                },
                ..base
            },
            "all" => Self {
                net,
                disk: bad_disk,
                node: NodeFaults {
                    kill_every_ms: 30_000,
                    power_every_ms: 30_000,
                    restart_every_ms: 30_000,
                    cut_every_ms: 30_000,
                    delete_per_mille: 200,
                    early_per_mille: 200,
                    poisoner: true,
                    staller: true,
                    slow_peer: true,
                    tracker_error_per_mille: 300,
                    ..quiet
                },
                ..base
            },
            "links" => Self {
                net,
                node: NodeFaults {
                    links: true,
                    ..quiet
                },
                ..base
            },
            "pex" => node(NodeFaults {
                acquainted: true,
                ..quiet
            }),
            _ => return None,
        })
    }

    /// What remains when the faults stop: the same latencies, and nothing wrong. Scripted peers stay as they are.
    #[must_use]
    pub fn calmed(self) -> Self {
        Self {
            net: NetFaults {
                latency_micros_max: self.net.latency_micros_max,
                ..NetFaults::default()
            },
            disk: DiskFaults {
                delay_micros_max: self.disk.delay_micros_max,
                ..DiskFaults::default()
            },
            node: NodeFaults {
                kill_every_ms: 0,
                power_every_ms: 0,
                restart_every_ms: 0,
                cut_every_ms: 0,
                tracker_error_per_mille: 0,
                ..self.node
            },
            caller: CallerFaults {
                overload: self.caller.overload,
                ..CallerFaults::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_means_something() {
        for (at, (name, _)) in NAMES.iter().enumerate() {
            let faults = Faults::named(name).unwrap();
            assert_eq!(
                faults == faults.calmed(),
                ["none", "poison", "stall", "pex"].contains(name),
                "{name}"
            );
            assert!(
                NAMES[..at]
                    .iter()
                    .all(|(other, _)| Faults::named(other) != Some(faults)),
                "{name}"
            );
        }
        assert_eq!(Faults::named("chaos"), None);
    }
}
