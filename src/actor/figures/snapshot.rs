//! The snapshot that is made of all figures.

use super::super::mailbox::{Inbox, Lane};
use super::Figures;
use super::kinds::{About, TYPES, Type};
use super::tally::Fate;
use super::turn::SOURCES;
use crate::metrics::{
    EngineCounters, HostFigures, LaneMetrics, MessageFigures, Metrics, ProcessFigures,
    SourceMetrics, TypeFigures, TypeMetrics,
};

impl Figures {
    /// Everything as it stands. The caller adds what the operating system knows of the process.
    pub(in super::super) fn metrics(
        &self,
        time: u64,
        inbox: &Inbox,
        engine: EngineCounters,
        host: HostFigures,
    ) -> Metrics {
        let types = self.type_rows(inbox);
        let lanes: Vec<_> = Lane::ALL
            .into_iter()
            .map(|lane| self.lane_row(lane, inbox, &types))
            .collect();
        let sum = |figure: fn(&LaneMetrics) -> u64| lanes.iter().map(figure).sum::<u64>();
        let about = |about| {
            (TYPES.iter().zip(&self.counts))
                .filter(|((_, _, of), _)| *of == about)
                .map(|(_, count)| count)
                .sum()
        };
        let (queued, capacity) = inbox.fill();
        let mean = |micros: u64, count: u64| (micros * 1000).checked_div(count).unwrap_or(0);
        let messages = MessageFigures {
            messages_processed_total: sum(|lane| lane.figures.processed),
            messages_queued_current: queued as u64,
            avg_processing_time_ns: mean(self.batched_micros, self.batched),
            avg_queue_wait_time_ns: mean(self.waited_micros, self.waited),
            stream_operations: about(About::Stream),
            net_operations: about(About::Net),
            sync_operations: self.asked,
            async_operations: sum(|lane| lane.figures.processed) - self.asked,
            timeout_count: sum(|lane| lane.figures.expired),
            error_count: types.iter().map(|row| row.figures.refused).sum(),
            backpressure_drops: sum(|lane| lane.figures.rejected + lane.figures.shed),
            memory_usage_bytes: 0,
            peak_queue_size: inbox.peak() as u64,
            messages_cancelled: sum(|lane| lane.figures.cancelled),
            replies_late: sum(|lane| lane.late),
        };
        #[allow(clippy::cast_precision_loss, reason = "a ratio for people")]
        let pool_utilization = queued as f64 / capacity as f64;
        let sources = SOURCES.into_iter().zip(&self.sources);
        Metrics {
            time,
            messages,
            pool_utilization,
            lanes,
            types,
            turns: self.turns,
            turn_us: self.lengths.summary(),
            sources: sources
                .map(|(source, spans)| SourceMetrics {
                    source,
                    us: spans.summary(),
                })
                .collect(),
            jobs: self.job_rows(&host),
            trackers: self.trackers.metrics(),
            devices: host.devices,
            engine,
            process: ProcessFigures::default(),
        }
    }

    fn type_rows(&self, inbox: &Inbox) -> Vec<TypeMetrics> {
        let tally = inbox.tally();
        (TYPES.iter().zip(&self.types).enumerate())
            .map(|(at, ((name, lane, _), of))| TypeMetrics {
                name,
                lane: lane.name(),
                figures: TypeFigures {
                    // Shutdowns nobody waits for coalesce in the mailbox, which alone knows how many there were.
                    count: match at == Type::SHUTDOWN.index() {
                        true => inbox.figures(*lane).processed,
                        false => self.counts[at],
                    },
                    rejected: tally.count(at, Fate::Rejected),
                    shed: tally.count(at, Fate::Shed),
                    expired: of.expired + tally.count(at, Fate::Expired),
                    cancelled: tally.count(at, Fate::Cancelled),
                    late: of.late,
                    refused: of.refused,
                },
                wait_us: of.spans.waits.summary(),
                service_ns: of.spans.services.summary(),
            })
            .collect()
    }

    fn lane_row(&self, lane: Lane, inbox: &Inbox, types: &[TypeMetrics]) -> LaneMetrics {
        let own = types.iter().filter(|row| row.lane == lane.name());
        let spans = &self.lanes[lane as usize];
        LaneMetrics {
            lane: lane.name(),
            figures: inbox.figures(lane),
            late: own.map(|row| row.figures.late).sum(),
            wait_us: spans.waits.summary(),
            service_ns: spans.services.summary(),
        }
    }
}
