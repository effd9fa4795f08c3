//! Every counter, gauge and histogram, declared once: name, kind, unit and help.
//!
//! The declarations make the structs, the JSON, the table for people and (later) the Prometheus text. Counters are plain
//! numbers: each belongs to one thread, or is copied from an atomic of the mailbox when a snapshot is taken.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

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
        stream_operations: Counter, "count", "Messages about peers and their streams.";
        net_operations: Counter, "count", "Messages about sessions and their swarms.";
        sync_operations: Counter, "count", "Messages whose caller waits for the answer.";
        async_operations: Counter, "count", "Messages sent without waiting.";
        timeout_count: Counter, "count", "Messages not executed because their deadline had passed.";
        error_count: Counter, "count", "Messages that the engine refused.";
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
    /// Jobs of one kind: `submitted = completed + failed + running`.
    JobFigures {
        submitted: Counter, "count", "Jobs given out.";
        completed: Counter, "count", "Jobs that went well.";
        failed: Counter, "count", "Jobs that met a fault.";
    }
}

figures! {
    /// What the engine counts.
    EngineCounters {
        links_disconnected: Gauge, "count", "Links without a stream.";
        links_connecting: Gauge, "count", "Links being dialled.";
        links_established: Gauge, "count", "Links with a stream.";
        links_ignored: Gauge, "count", "Links left alone for a while.";
        peers: Gauge, "count", "Handshakes that stand.";
        sessions_checking: Gauge, "count", "Sessions looking at their files.";
        sessions_downloading: Gauge, "count", "Sessions fetching.";
        sessions_seeding: Gauge, "count", "Sessions that have all they want.";
        sessions_paused: Gauge, "count", "Sessions paused by a person.";
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
        violations: Counter, "count", "Streams closed for breaking the protocol.";
        duplicates: Counter, "count", "Streams closed as second ones to the same peer.";
        dials: Counter, "count", "Addresses dialled.";
        dials_failed: Counter, "count", "Dials that failed.";
        bans: Counter, "count", "Links banned for proven bad data.";
        incoming: Counter, "count", "Streams others opened.";
        incoming_refused: Counter, "count", "Streams others opened that were refused at once.";
        unknown_torrents: Counter, "count", "Handshakes for a torrent that is not here.";
        snubs: Counter, "count", "Peers that owed blocks for too long.";
        disk_faults: Counter, "count", "Times the disk stopped a session.";
        peer_messages: Counter, "count", "Messages of peers, without payload.";
        datagrams_received: Counter, "count", "Datagrams received.";
        datagrams_sent: Counter, "count", "Datagrams sent.";
        announces: Counter, "count", "Announces sent.";
        announces_failed: Counter, "count", "Announces that failed.";
        messages_refused: Counter, "count", "Callers' messages refused.";
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

/// A distribution in a few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Samples.
    pub count: u64,
    /// Half are at most this.
    pub p50: u64,
    /// 99 of 100 are at most this.
    pub p99: u64,
    /// 999 of 1000 are at most this.
    pub p999: u64,
    /// The largest.
    pub max: u64,
}

/// A histogram of microseconds, of fixed size: from 1 µs to a minute within one part in a hundred, what is longer counts as a minute.
#[derive(Clone, Debug)]
pub struct Micros(Histogram<u64>);

impl Micros {
    const LONGEST: u64 = 60_000_000;

    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self(
            Histogram::new_with_bounds(1, Self::LONGEST, 2)
                .expect("the bounds are in order and two digits are allowed"),
        )
    }

    /// Adds one sample.
    pub fn record(&mut self, micros: u64) {
        self.0.saturating_record(micros.min(Self::LONGEST));
    }

    /// What was recorded so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            count: self.0.len(),
            p50: self.0.value_at_quantile(0.5),
            p99: self.0.value_at_quantile(0.99),
            p999: self.0.value_at_quantile(0.999),
            max: self.0.max(),
        }
    }
}

impl Default for Micros {
    fn default() -> Self {
        Self::new()
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
    /// Between sending and taking, in microseconds (sampled).
    pub wait_us: Summary,
}

/// How often one type of message was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TypeMetrics {
    /// As in logs.
    #[serde(rename = "type")]
    pub name: &'static str,
    /// Executed.
    pub count: u64,
}

/// Jobs of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct JobMetrics {
    /// As in logs.
    pub kind: &'static str,
    /// Their counters.
    #[serde(flatten)]
    pub figures: JobFigures,
    /// Given out and not yet done.
    pub running: u64,
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
    /// Each kind of job.
    pub jobs: Vec<JobMetrics>,
    /// The engine.
    pub engine: EngineCounters,
    /// The process.
    pub process: ProcessFigures,
}

impl Metrics {
    /// A table for people: one figure a line, with its unit.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::new();
        let mut group = |title: &str, declared: &[Declaration], values: Vec<u64>| {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{title}");
            for (figure, value) in declared.iter().zip(values) {
                let _ = writeln!(table, "  {:<28} {value:>16} {}", figure.name, figure.unit);
            }
        };
        group("messages", MessageFigures::DECLARED, self.messages.values());
        for lane in &self.lanes {
            let title = format!(
                "lane {} (wait p50 {} p99 {} max {} us)",
                lane.lane, lane.wait_us.p50, lane.wait_us.p99, lane.wait_us.max
            );
            group(&title, LaneFigures::DECLARED, lane.figures.values());
        }
        group("engine", EngineCounters::DECLARED, self.engine.values());
        group("loop", LoopFigures::DECLARED, self.turns.values());
        for job in &self.jobs {
            let title = format!("job {} ({} running)", job.kind, job.running);
            group(&title, JobFigures::DECLARED, job.figures.values());
        }
        group("process", ProcessFigures::DECLARED, self.process.values());
        let turn = self.turn_us;
        let _ = writeln!(
            table,
            "turn: {} turns, p50 {} p99 {} p999 {} max {} us",
            turn.count, turn.p50, turn.p99, turn.p999, turn.max
        );
        let _ = writeln!(table, "pool_utilization: {:.3}", self.pool_utilization);
        table
    }
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
    fn the_table_names_every_figure() {
        let table = Metrics::default().table();
        for figure in MessageFigures::DECLARED
            .iter()
            .chain(EngineCounters::DECLARED)
        {
            assert!(table.contains(figure.name), "{}", figure.name);
        }
    }

    #[test]
    fn a_histogram_keeps_a_hundredth_and_caps_at_a_minute() {
        let mut micros = Micros::new();
        for sample in 1..=1000 {
            micros.record(sample);
        }
        micros.record(u64::MAX);
        let summary = micros.summary();
        assert_eq!(summary.count, 1001);
        assert!((495..=510).contains(&summary.p50), "{summary:?}");
        assert!(
            summary.max >= 60_000_000 && summary.max < 61_000_000,
            "{summary:?}"
        );
    }
}
