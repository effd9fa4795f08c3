//! Every counter, gauge and histogram, declared once: name, kind, unit and help.
//!
//! The declarations make the structs, the JSON, the table for people ([`Metrics::table`]) and the Prometheus text
//! ([`Metrics::prometheus`]). Counters are plain numbers: each belongs to one thread, or is copied from an atomic of the
//! mailbox when a snapshot is taken. Names of other engines for the same thing are in the help.

mod histogram;
mod prometheus;
mod table;

use serde::Serialize;

pub use histogram::{Coarse, Micros, Summary};

/// Whether a figure only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the program runs.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// What a figure is.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    /// As in JSON.
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// `count`, `bytes`, `nanoseconds`, `microseconds`, `milliseconds` or `ratio`.
    pub unit: &'static str,
    /// One sentence for people.
    pub help: &'static str,
}

/// Declares a struct of plain `u64` figures together with their names, kinds, units and help.
macro_rules! figures {
    ($(#[$doc:meta])* $group:ident { $($name:ident: $kind:ident, $unit:literal, $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct $group {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl $group {
            /// What each figure is, in order.
            pub const DECLARED: &'static [Declaration] = &[
                $(Declaration { name: stringify!($name), kind: Kind::$kind, unit: $unit, help: $help },)*
            ];

            /// The figures, in the order of [`Self::DECLARED`].
            #[must_use]
            pub fn values(&self) -> Vec<u64> {
                vec![$(self.$name,)*]
            }
        }
    };
}

figures! {
    /// Figures that other programs read under these names (contract.md).
    MessageFigures {
        messages_processed_total: Counter, "count", "Messages that the actor executed.";
        messages_queued_current: Gauge, "count", "Messages in all lanes now.";
        avg_processing_time_ns: Gauge, "nanoseconds", "Mean time of executing one message.";
        avg_queue_wait_time_ns: Gauge, "nanoseconds", "Mean time between sending and taking a message (sampled).";
        stream_operations: Counter, "count", "Messages executed about one link or stream: link_*, stream_*, account, pin, unpin, peer_add*.";
        net_operations: Counter, "count", "Messages executed about a swarm or session: swarm_*, links_*, ignored_show, session_*.";
        sync_operations: Counter, "count", "Messages executed whose caller waits for the answer.";
        async_operations: Counter, "count", "Messages executed that nobody waits for.";
        timeout_count: Counter, "count", "Messages not executed because their deadline had passed.";
        error_count: Counter, "count", "Messages that the engine refused, of callers that wait.";
        backpressure_drops: Counter, "count", "Messages rejected or shed because the queue was full.";
        memory_usage_bytes: Gauge, "bytes", "Resident memory of the process.";
        peak_queue_size: Gauge, "count", "Most messages ever found waiting.";
        messages_cancelled: Counter, "count", "Messages that the end of the actor left unexecuted.";
        replies_late: Counter, "count", "Answers whose caller had given up.";
    }
}

figures! {
    /// One lane of the mailbox: `sent = processed + rejected + shed + expired + cancelled + queued`.
    LaneFigures {
        sent: Counter, "count", "Messages offered.";
        processed: Counter, "count", "Messages executed.";
        rejected: Counter, "count", "Messages given back because the queue was full.";
        shed: Counter, "count", "Messages evicted by a newer one of a higher lane.";
        expired: Counter, "count", "Messages whose deadline passed before they were taken.";
        cancelled: Counter, "count", "Messages left over at the end.";
    }
}

figures! {
    /// One type of message. Operations of batches count by their own types, but a batch queues in the lane of its least urgent
    /// message: the sums over all types are those over all lanes, and without such batches those of each lane too.
    TypeFigures {
        count: Counter, "count", "Messages executed.";
        rejected: Counter, "count", "Messages given back because the queue was full.";
        shed: Counter, "count", "Messages evicted by a newer one of a higher lane.";
        expired: Counter, "count", "Messages whose deadline passed before they were taken.";
        cancelled: Counter, "count", "Messages left over at the end.";
        late: Counter, "count", "Answers whose caller had given up.";
        refused: Counter, "count", "Messages that the engine refused, of callers that wait.";
    }
}

figures! {
    /// What the loop does.
    LoopFigures {
        turns: Counter, "count", "Turns of the loop.";
        turns_idle: Counter, "count", "Turns that found nothing to do.";
        turns_slow: Counter, "count", "Turns of more than 50 ms.";
        turns_high_left: Counter, "count", "Turns whose budget left high-lane messages for the next; all others took every one that had arrived.";
        inputs: Counter, "count", "Inputs handed to the engine.";
        outputs: Counter, "count", "Outputs taken from the engine.";
        reads: Counter, "count", "Reads of streams.";
        reads_empty: Counter, "count", "Reads that found nothing.";
        writes: Counter, "count", "Vectored writes to streams.";
        writes_partial: Counter, "count", "Writes that did not take everything offered.";
        tcp_received_bytes: Counter, "bytes", "Bytes read from streams.";
        tcp_sent_bytes: Counter, "bytes", "Bytes written to streams.";
        udp_received_bytes: Counter, "bytes", "Bytes of datagrams received.";
        udp_sent_bytes: Counter, "bytes", "Bytes of datagrams sent.";
        streams_open: Gauge, "count", "Streams that are up or being dialled.";
        streams_dialled: Counter, "count", "Dials begun.";
        streams_connected: Counter, "count", "Dials that came up.";
        streams_connected_us: Counter, "microseconds", "Time those took; divided by their number, avg_connection_time.";
        streams_accepted: Counter, "count", "Incoming sockets kept.";
        streams_refused: Counter, "count", "Incoming sockets closed at once.";
        streams_lost: Counter, "count", "Streams that failed or were closed by the other side.";
        jobs_immediate: Counter, "count", "Jobs done at once, without a worker.";
        events: Counter, "count", "Events published.";
        events_missed: Counter, "count", "Events that slow subscribers lost.";
        subscribers: Gauge, "count", "Subscribers now.";
    }
}

figures! {
    /// Jobs of one kind: `submitted = completed + failed + cancelled + queued + running`, always.
    JobFigures {
        submitted: Counter, "count", "Jobs given out.";
        completed: Counter, "count", "Jobs that went well.";
        failed: Counter, "count", "Jobs that met a fault.";
        cancelled: Counter, "count", "Jobs dropped before they were done, because nobody wanted them any more.";
        queued: Gauge, "count", "Jobs that no worker has begun, or whose end the loop has not yet seen.";
        running: Gauge, "count", "Jobs at a worker, the store or the gateway now.";
    }
}

figures! {
    /// One host of trackers, whatever torrents announce to it.
    TrackerFigures {
        announces: Counter, "count", "Announces that were answered or failed.";
        failures: Counter, "count", "Announces that failed.";
        last_ms: Gauge, "milliseconds", "How long the last fetch over HTTP took; 0 when there was none.";
        last_time: Gauge, "milliseconds", "When an announce last ended, in milliseconds since 1970.";
    }
}

figures! {
    /// One storage device, as the workers use it. Blocks that were at hand in the page cache are not among them.
    DeviceFigures {
        reads: Counter, "count", "Jobs that read: checks, and runs for peers.";
        writes: Counter, "count", "Jobs that wrote: commits, and blocks in place.";
        read_bytes: Counter, "bytes", "Bytes those read.";
        written_bytes: Counter, "bytes", "Bytes those wrote.";
        faults: Counter, "count", "Jobs of any kind that met a fault.";
        busy_us: Counter, "microseconds", "Time workers spent on it, hashing included.";
    }
}

figures! {
    /// What the engine counts.
    EngineCounters {
        links_total: Gauge, "count", "Links known (total_links).";
        links_disconnected: Gauge, "count", "Links without a stream.";
        links_connecting: Gauge, "count", "Links being dialled.";
        links_established: Gauge, "count", "Links with a stream (active_links).";
        links_ignored: Gauge, "count", "Links left alone for a while (hot_list_size).";
        peers: Gauge, "count", "Handshakes that stand.";
        sessions_checking: Gauge, "count", "Sessions looking at their files.";
        sessions_downloading: Gauge, "count", "Sessions fetching.";
        sessions_seeding: Gauge, "count", "Sessions that have all they want.";
        sessions_parked: Gauge, "count", "Torrents that rest until somebody asks for them, stopped ones among them.";
        sessions_stopped: Gauge, "count", "Sessions stopped by a person.";
        sessions_paused: Gauge, "count", "Sessions paused by a helper, by a goal, or all at once.";
        sessions_queued: Gauge, "count", "Sessions that wait for their turn.";
        sessions_error: Gauge, "count", "Sessions that wait for the disk or a person.";
        blocks_taken: Gauge, "count", "Blocks of the pool in use.";
        payload_received_bytes: Counter, "bytes", "Payload received.";
        payload_sent_bytes: Counter, "bytes", "Payload sent.";
        payload_wasted_bytes: Counter, "bytes", "Payload received that was wrong or not needed.";
        requests_sent: Counter, "count", "Blocks asked for.";
        requests_received: Counter, "count", "Blocks others asked for.";
        pieces_completed: Counter, "count", "Pieces verified and written.";
        pieces_failed: Counter, "count", "Pieces whose hash was wrong.";
        handshakes: Counter, "count", "Handshakes completed.";
        handshakes_failed: Counter, "count", "Streams closed before their handshake was complete.";
        exchanges: Counter, "count", "Expensive steps of encryption handshakes that were done.";
        violations: Counter, "count", "Streams closed for breaking the protocol.";
        duplicates: Counter, "count", "Streams closed as second ones to the same peer.";
        dials: Counter, "count", "Addresses dialled.";
        dials_failed: Counter, "count", "Dials that failed (failed_connections).";
        lsd_sent: Counter, "count", "Searches sent to our network (BEP 14).";
        lsd_received: Counter, "count", "Searches heard from our network.";
        dials_saved: Counter, "count", "Addresses offered while they were ignored, so not dialled again (hot list hits).";
        bans: Counter, "count", "Links banned for proven bad data.";
        incoming: Counter, "count", "Streams others opened.";
        incoming_refused: Counter, "count", "Streams others opened that were refused at once.";
        unknown_torrents: Counter, "count", "Handshakes for a torrent that is not here.";
        snubs: Counter, "count", "Peers that owed blocks for too long.";
        disk_faults: Counter, "count", "Times the disk stopped a session.";
        peer_messages: Counter, "count", "Messages of peers, without payload.";
        utp_received_bytes: Counter, "bytes", "Bytes received from streams over uTP, each once, heads of packets not counted.";
        utp_sent_bytes: Counter, "bytes", "Bytes sent on streams over uTP, the same.";
        utp_connections: Gauge, "count", "uTP connections, those that end included.";
        datagrams_received: Counter, "count", "Datagrams received.";
        datagrams_sent: Counter, "count", "Datagrams sent.";
        announces: Counter, "count", "Announces sent.";
        announces_failed: Counter, "count", "Announces that failed.";
        metadata_pieces_sent: Counter, "count", "Pieces of info dictionaries sent to peers (ut_metadata).";
        metadata_pieces_received: Counter, "count", "Pieces of info dictionaries received, asked for or not.";
        pex_sent: Counter, "count", "Messages of the peer exchange sent.";
        pex_received: Counter, "count", "Messages of the peer exchange that named somebody and were heard.";
        pex_peers: Counter, "count", "Addresses that were new when peers named them.";
        metadata_fetched: Counter, "count", "Magnets that became torrents.";
        dht_nodes_v4: Gauge, "count", "Nodes of the DHT that we know, IPv4.";
        dht_nodes_v6: Gauge, "count", "Nodes of the DHT that we know, IPv6.";
        dht_queries_sent: Counter, "count", "Questions asked in the DHT.";
        dht_queries_answered: Counter, "count", "Of them answered.";
        dht_queries_lost: Counter, "count", "Of them not answered in time.";
        dht_queries_received: Counter, "count", "Questions of other nodes.";
        dht_queries_ignored: Counter, "count", "Of them not answered, to keep within the rates.";
        dht_searches: Counter, "count", "Searches for the peers of a torrent, each address family counted.";
        dht_announces: Counter, "count", "Times a node was told that we trade in a torrent.";
        dht_peers_found: Counter, "count", "Peers that nodes named.";
        dht_torrents_kept: Gauge, "count", "Torrents whose peers we keep for others.";
        dht_values_kept: Gauge, "count", "Values we keep for others.";
        messages_refused: Counter, "count", "Callers' messages refused.";
        received_keep_alive: Counter, "count", "Messages `keep alive` received from peers.";
        received_choke: Counter, "count", "Messages `choke` received from peers.";
        received_unchoke: Counter, "count", "Messages `unchoke` received from peers.";
        received_interested: Counter, "count", "Messages `interested` received from peers.";
        received_not_interested: Counter, "count", "Messages `not interested` received from peers.";
        received_have: Counter, "count", "Messages `have` received from peers.";
        received_bitfield: Counter, "count", "Messages `bitfield` received from peers.";
        received_request: Counter, "count", "Messages `request` received from peers.";
        received_piece: Counter, "count", "Messages `piece` received from peers.";
        received_cancel: Counter, "count", "Messages `cancel` received from peers.";
        received_port: Counter, "count", "Messages `port` received from peers.";
        received_suggest: Counter, "count", "Messages `suggest` received from peers.";
        received_have_all: Counter, "count", "Messages `have all` received from peers.";
        received_have_none: Counter, "count", "Messages `have none` received from peers.";
        received_reject: Counter, "count", "Messages `reject` received from peers.";
        received_allowed_fast: Counter, "count", "Messages `allowed fast` received from peers.";
        received_extended: Counter, "count", "Messages `extended` received from peers.";
        received_unknown: Counter, "count", "Messages `unknown` received from peers.";
        sent_keep_alive: Counter, "count", "Messages `keep alive` queued for peers.";
        sent_choke: Counter, "count", "Messages `choke` queued for peers.";
        sent_unchoke: Counter, "count", "Messages `unchoke` queued for peers.";
        sent_interested: Counter, "count", "Messages `interested` queued for peers.";
        sent_not_interested: Counter, "count", "Messages `not interested` queued for peers.";
        sent_have: Counter, "count", "Messages `have` queued for peers.";
        sent_bitfield: Counter, "count", "Messages `bitfield` queued for peers.";
        sent_request: Counter, "count", "Messages `request` queued for peers.";
        sent_piece: Counter, "count", "Messages `piece` queued for peers.";
        sent_cancel: Counter, "count", "Messages `cancel` queued for peers.";
        sent_port: Counter, "count", "Messages `port` queued for peers.";
        sent_suggest: Counter, "count", "Messages `suggest` queued for peers.";
        sent_have_all: Counter, "count", "Messages `have all` queued for peers.";
        sent_have_none: Counter, "count", "Messages `have none` queued for peers.";
        sent_reject: Counter, "count", "Messages `reject` queued for peers.";
        sent_allowed_fast: Counter, "count", "Messages `allowed fast` queued for peers.";
        sent_extended: Counter, "count", "Messages `extended` queued for peers.";
    }
}

figures! {
    /// What the operating system says of the process.
    ProcessFigures {
        cpu_user_ms: Counter, "milliseconds", "Processor time in user mode.";
        cpu_system_ms: Counter, "milliseconds", "Processor time in the kernel.";
        resident_bytes: Gauge, "bytes", "Resident memory.";
        open_files: Gauge, "count", "Open descriptors.";
        threads: Gauge, "count", "Threads.";
    }
}

/// A lane with its distributions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LaneMetrics {
    /// `critical`, `high`, `normal` or `low`.
    pub lane: &'static str,
    /// Its counters.
    #[serde(flatten)]
    pub figures: LaneFigures,
    /// Answers whose caller had given up.
    pub late: u64,
    /// Between sending and taking, in microseconds (sampled).
    pub wait_us: Summary,
    /// The actor's own time for one message, in nanoseconds (sampled).
    pub service_ns: Summary,
}

/// One type of message with its distributions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TypeMetrics {
    /// As in logs.
    #[serde(rename = "type")]
    pub name: &'static str,
    /// Where all of them queue.
    pub lane: &'static str,
    /// Its counters.
    #[serde(flatten)]
    pub figures: TypeFigures,
    /// Between sending and taking, in microseconds (sampled).
    pub wait_us: Summary,
    /// The actor's own time for one, in nanoseconds (sampled).
    pub service_ns: Summary,
}

/// What one part of the turns took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceMetrics {
    /// `messages`, `jobs`, `sockets`, `timers` or `writes`.
    pub source: &'static str,
    /// How long it took in a turn that had any, in microseconds.
    pub us: Summary,
}

/// Jobs of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct JobMetrics {
    /// As in logs.
    pub kind: &'static str,
    /// Their counters.
    #[serde(flatten)]
    pub figures: JobFigures,
}

/// One host of trackers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackerMetrics {
    /// Its name, or `other` for all that found no room.
    pub host: String,
    /// Its figures.
    #[serde(flatten)]
    pub figures: TrackerFigures,
}

/// One storage device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceMetrics {
    /// `MAJOR:MINOR` as in `/proc/self/mountinfo`, `unknown`, or `other` for all that found no room.
    pub device: String,
    /// Its figures.
    #[serde(flatten)]
    pub figures: DeviceFigures,
}

/// Jobs of one kind, as the threads that do them see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobsAtWork {
    /// As in logs.
    pub kind: &'static str,
    /// Begun and not yet done.
    pub running: u64,
}

/// What the world outside the loop counts by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFigures {
    /// By kind of job. Of kinds that are missing, all that are given out count as running.
    pub jobs: Vec<JobsAtWork>,
    /// By storage device; bounded by whoever counts.
    pub devices: Vec<DeviceMetrics>,
}

/// All figures at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Metrics {
    /// Milliseconds since 1970.
    pub time: u64,
    /// Figures that other programs read.
    #[serde(flatten)]
    pub messages: MessageFigures,
    /// Share of the queue's room in use, 0 to 1.
    pub pool_utilization: f64,
    /// Each lane, critical first.
    pub lanes: Vec<LaneMetrics>,
    /// Each type of message.
    pub types: Vec<TypeMetrics>,
    /// The loop.
    #[serde(rename = "loop")]
    pub turns: LoopFigures,
    /// Length of turns, in microseconds.
    pub turn_us: Summary,
    /// The parts of turns, in their order.
    pub sources: Vec<SourceMetrics>,
    /// Each kind of job.
    pub jobs: Vec<JobMetrics>,
    /// Each host of trackers, up to a bound.
    pub trackers: Vec<TrackerMetrics>,
    /// Each storage device, up to a bound.
    pub devices: Vec<DeviceMetrics>,
    /// The engine.
    pub engine: EngineCounters,
    /// The process.
    pub process: ProcessFigures,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_others_read_are_all_there() {
        let json = serde_json::to_value(Metrics::default()).expect("plain data");
        for name in [
            "messages_processed_total",
            "messages_queued_current",
            "avg_processing_time_ns",
            "avg_queue_wait_time_ns",
            "stream_operations",
            "net_operations",
            "sync_operations",
            "async_operations",
            "timeout_count",
            "error_count",
            "backpressure_drops",
            "memory_usage_bytes",
            "peak_queue_size",
            "pool_utilization",
        ] {
            assert!(json.get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn other_engines_names_are_found_in_the_help() {
        for name in [
            "total_links",
            "active_links",
            "failed_connections",
            "hot_list_size",
            "hot list hits",
            "avg_connection_time",
        ] {
            let found = (EngineCounters::DECLARED.iter())
                .chain(LoopFigures::DECLARED)
                .filter(|figure| figure.help.contains(name));
            assert_eq!(found.count(), 1, "{name}");
        }
    }
}
