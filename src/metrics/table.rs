//! The figures as a table for people, at most 100 columns wide. What is 0 is left out: most of it is, most of the time.

use std::fmt::Write as _;

use super::{
    Declaration, DeviceFigures, EngineCounters, JobFigures, LaneFigures, LoopFigures,
    MessageFigures, Metrics, ProcessFigures, Summary, TrackerFigures, TypeFigures,
};

/// Characters of a name; a longer one (a tracker's host) is cut.
const NAME_WIDTH: usize = 22;

/// Characters of a column of numbers.
const COLUMN_WIDTH: usize = 11;

/// Nanoseconds of one unit of a summary.
const NANOS: u64 = 1;
const MICROS: u64 = 1000;

/// A name, and distributions with their units.
type Spans<'a> = (&'a str, Vec<(Summary, u64)>);

impl Metrics {
    /// A table for people, at most 100 columns wide.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::default();
        table.figures("messages", MessageFigures::DECLARED, self.messages.values());
        let lanes = self.lanes.iter().map(|lane| {
            let mut values = lane.figures.values();
            values.push(lane.late);
            (lane.lane, values)
        });
        let late: Vec<_> = (LaneFigures::DECLARED.iter().map(|figure| figure.name))
            .chain(["late"])
            .collect();
        table.rows("lane", &late, lanes);
        let types = self
            .types
            .iter()
            .map(|row| (row.name, row.figures.values()));
        table.rows("type", &names(TypeFigures::DECLARED), types);
        table.times("turn", &["p50"], &self.turns());
        let sampled = |wait, service| vec![(wait, MICROS), (service, NANOS)];
        let lanes = self.lanes.iter();
        let lanes: Vec<_> = lanes
            .map(|lane| (lane.lane, sampled(lane.wait_us, lane.service_ns)))
            .collect();
        table.times("lane", &["wait p50", "work p50"], &lanes);
        let types = self.types.iter();
        let types: Vec<_> = types
            .map(|row| (row.name, sampled(row.wait_us, row.service_ns)))
            .collect();
        table.times("type", &["wait p50", "work p50"], &types);
        let jobs = self.jobs.iter().map(|row| (row.kind, row.figures.values()));
        table.rows("job", &names(JobFigures::DECLARED), jobs);
        let trackers = self.trackers.iter();
        let trackers = trackers.map(|row| (row.host.as_str(), row.figures.values()));
        table.rows("tracker", &names(TrackerFigures::DECLARED), trackers);
        let devices = self.devices.iter();
        let devices = devices.map(|row| (row.device.as_str(), row.figures.values()));
        table.rows("device", &names(DeviceFigures::DECLARED), devices);
        table.figures("engine", EngineCounters::DECLARED, self.engine.values());
        table.figures("loop", LoopFigures::DECLARED, self.turns.values());
        table.figures("process", ProcessFigures::DECLARED, self.process.values());
        table.text
    }

    /// The turn and its parts.
    fn turns(&self) -> Vec<Spans<'_>> {
        let parts = self.sources.iter();
        [("all", vec![(self.turn_us, MICROS)])]
            .into_iter()
            .chain(parts.map(|part| (part.source, vec![(part.us, MICROS)])))
            .collect()
    }
}

fn names(declared: &[Declaration]) -> Vec<&'static str> {
    declared.iter().map(|figure| figure.name).collect()
}

#[derive(Default)]
struct Table {
    text: String,
}

// Writing to a string cannot fail.
impl Table {
    /// A group of figures, two a line.
    fn figures(&mut self, title: &str, declared: &[Declaration], values: Vec<u64>) {
        let cells: Vec<String> = (declared.iter().zip(values))
            .filter(|(_, value)| *value != 0)
            .map(|(figure, value)| {
                let value = match figure.unit {
                    "bytes" => bytes(value),
                    _ => value.to_string(),
                };
                format!("  {:<26} {value:>18}", figure.name)
            })
            .collect();
        if cells.is_empty() {
            return;
        }
        let _ = writeln!(self.text, "{title}");
        for pair in cells.chunks(2) {
            let _ = writeln!(self.text, "{}", pair.join("  "));
        }
    }

    /// A row for each of what has any figure.
    fn rows<'a>(
        &mut self,
        title: &str,
        columns: &[&str],
        rows: impl Iterator<Item = (&'a str, Vec<u64>)>,
    ) {
        let rows: Vec<_> = rows
            .filter(|(_, values)| values.iter().any(|value| *value != 0))
            .collect();
        if rows.is_empty() {
            return;
        }
        // What is so large that it would not fit takes a wider column.
        let widths: Vec<usize> = (columns.iter().enumerate())
            .map(|(at, column)| {
                let digits = rows.iter().map(|(_, values)| values[at].to_string().len());
                digits.chain([column.len()]).max().unwrap_or(0) + 1
            })
            .map(|width| width.max(COLUMN_WIDTH - 1))
            .collect();
        let _ = write!(self.text, "{title:<width$}", width = NAME_WIDTH);
        for (column, width) in columns.iter().zip(&widths) {
            let _ = write!(self.text, "{column:>width$}");
        }
        self.text.push('\n');
        for (name, values) in rows {
            let name: String = name.chars().take(NAME_WIDTH - 3).collect();
            let _ = write!(self.text, "  {name:<width$}", width = NAME_WIDTH - 2);
            for (value, width) in values.iter().zip(&widths) {
                let _ = write!(self.text, "{value:>width$}");
            }
            self.text.push('\n');
        }
    }

    /// Distributions, a line for each row that has samples; `heads` name the first column of each.
    fn times(&mut self, title: &str, heads: &[&str], rows: &[Spans<'_>]) {
        const NAME: usize = 18;
        const SPAN: usize = 9;
        let mut rows = (rows.iter())
            .filter(|(_, spans)| spans.iter().any(|(of, _)| of.count > 0))
            .peekable();
        if rows.peek().is_none() {
            return;
        }
        let _ = write!(self.text, "{title:<NAME$}{:>10}", "samples");
        for head in heads {
            for column in [head, "p99", "p999", "max"] {
                let _ = write!(self.text, "{column:>SPAN$}");
            }
        }
        self.text.push('\n');
        for (name, spans) in rows {
            let count = spans.iter().map(|(of, _)| of.count).max().unwrap_or(0);
            let _ = write!(self.text, "  {name:<width$}{count:>10}", width = NAME - 2);
            for (of, unit) in spans {
                for value in [of.p50, of.p99, of.p999, of.max] {
                    let value = span(value.saturating_mul(*unit));
                    let _ = write!(self.text, "{value:>SPAN$}");
                }
            }
            self.text.push('\n');
        }
    }
}

/// "1.5 MiB".
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    while bytes >> (10 * unit) >= 1024 {
        unit += 1;
    }
    let whole = bytes >> (10 * unit);
    let rest = bytes & ((1 << (10 * unit)) - 1);
    let tenth = (u128::from(rest) * 10) >> (10 * unit);
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{whole}.{tenth} {}", UNITS[unit]),
    }
}

/// "12.3 ms".
fn span(nanos: u64) -> String {
    let (unit, name) = match nanos {
        0..1000 => return format!("{nanos} ns"),
        1000..1_000_000 => (1000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    format!("{}.{} {name}", nanos / unit, nanos % unit / (unit / 10))
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::{bytes, span};

    /// Every figure is large and none is 0.
    fn full() -> Metrics {
        let summary = Summary {
            count: 1_234_567_890,
            sum: 9,
            p50: 1,
            p99: 1000,
            p999: 59_999_999,
            max: 60_000_000,
        };
        Metrics {
            messages: MessageFigures {
                messages_processed_total: 123_456_789_012_345,
                ..MessageFigures::default()
            },
            lanes: vec![LaneMetrics {
                lane: "critical",
                figures: LaneFigures {
                    sent: 123_456_789_012,
                    processed: 123_456_789_011,
                    expired: 1,
                    ..LaneFigures::default()
                },
                late: 1,
                wait_us: summary,
                service_ns: summary,
            }],
            types: vec![
                TypeMetrics {
                    name: "peer_add_named",
                    lane: "high",
                    figures: TypeFigures {
                        count: 123_456_789_012,
                        ..TypeFigures::default()
                    },
                    wait_us: summary,
                    service_ns: summary,
                },
                TypeMetrics {
                    name: "limits_set",
                    ..TypeMetrics::default()
                },
            ],
            trackers: vec![TrackerMetrics {
                host: "a-very-long-name.of-a-tracker.example".to_owned(),
                figures: TrackerFigures {
                    announces: 1,
                    last_time: 1_700_000_000_000,
                    ..TrackerFigures::default()
                },
            }],
            devices: vec![DeviceMetrics {
                device: "253:12345".to_owned(),
                figures: DeviceFigures {
                    reads: 1,
                    read_bytes: 123_456_789_012_345,
                    written_bytes: 123_456_789_012_345,
                    busy_us: 123_456_789_012,
                    ..DeviceFigures::default()
                },
            }],
            turn_us: summary,
            engine: EngineCounters {
                payload_received_bytes: 5 << 40,
                received_not_interested: u64::MAX,
                ..EngineCounters::default()
            },
            ..Metrics::default()
        }
    }

    #[test]
    fn it_fits_and_says_what_is_not_zero() {
        let table = full().table();
        for line in table.lines() {
            assert!(line.chars().count() <= 100, "{line:?}\n{table}");
            assert_eq!(line.trim_end(), line);
        }
        for part in [
            "messages_processed_total      123456789012345",
            "payload_received_bytes                5.0 TiB",
            "\nlane ",
            "\n  critical ",
            "\n  peer_add_named ",
            "\n  peer_add_named  1234567890   1.0 us   1.0 ms   59.9 s   60.0 s     1 ns",
            "\n  a-very-long-name.of ",
        ] {
            assert!(table.contains(part), "{part:?} is missing:\n{table}");
        }
        for part in ["limits_set", "links_established", "\nprocess", "\njob "] {
            assert!(!table.contains(part), "{part:?} is 0:\n{table}");
        }
    }

    #[test]
    fn numbers_are_short() {
        #[rustfmt::skip]
        let table = [
            (bytes(0), "0 B"), (bytes(1023), "1023 B"), (bytes(1536), "1.5 KiB"), (bytes(u64::MAX), "15.9 EiB"),
            (span(0), "0 ns"), (span(999), "999 ns"), (span(1550), "1.5 us"), (span(50_000_000), "50.0 ms"),
            (span(61_000_000_000), "61.0 s"),
        ];
        for (got, want) in table {
            assert_eq!(got, want);
        }
    }
}
