//! The figures in Prometheus's text format, version 0.0.4, from the same declarations.
//!
//! Names: `linnet_`, the group, the figure, its unit, `_total` for counters; times are in seconds. Those of
//! [`MessageFigures`] keep their names whole, since other programs know them. Labels are bounded: types, lanes, kinds and
//! parts of turns are fixed, hosts and devices are bounded where they are counted.

use std::fmt::Write as _;

use super::{
    Declaration, DeviceFigures, EngineCounters, JobFigures, Kind, LaneFigures, LoopFigures,
    MessageFigures, Metrics, ProcessFigures, Summary, TrackerFigures, TypeFigures,
};

/// A label and its value.
type Label<'a> = (&'a str, &'a str);

/// Nanoseconds of one unit of a summary.
const NANOS: u64 = 1;
const MICROS: u64 = 1000;

impl Metrics {
    /// All figures in Prometheus's text format.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut page = Page::default();
        for (figure, value) in MessageFigures::DECLARED.iter().zip(self.messages.values()) {
            let name = format!("linnet_{}", figure.name);
            page.head(&name, kind(figure), figure.help);
            page.sample(&name, &[], &value.to_string());
        }
        let help = "Share of the queue's room in use, 0 to 1.";
        page.head("linnet_pool_utilization", "gauge", help);
        let share = self.pool_utilization.to_string();
        page.sample("linnet_pool_utilization", &[], &share);

        let lanes: Vec<_> = (self.lanes.iter())
            .map(|lane| ([("lane", lane.lane)], lane.figures.values()))
            .collect();
        page.group("lane_messages_", LaneFigures::DECLARED, &lanes);
        let types: Vec<_> = (self.types.iter())
            .map(|row| {
                (
                    [("type", row.name), ("lane", row.lane)],
                    row.figures.values(),
                )
            })
            .collect();
        page.group("message_", TypeFigures::DECLARED, &types);
        let of_types = |figure: fn(&super::TypeMetrics) -> Summary| {
            (self.types.iter())
                .map(|row| ([("type", row.name), ("lane", row.lane)], figure(row)))
                .collect::<Vec<_>>()
        };
        page.summaries(
            "linnet_message_wait_seconds",
            "Time between sending and taking a message (sampled).",
            MICROS,
            &of_types(|row| row.wait_us),
        );
        page.summaries(
            "linnet_message_service_seconds",
            "The actor's own time for one message (sampled).",
            NANOS,
            &of_types(|row| row.service_ns),
        );

        page.group("loop_", LoopFigures::DECLARED, &[([], self.turns.values())]);
        let help = "Length of a turn of the loop.";
        page.summaries("linnet_turn_seconds", help, MICROS, &[([], self.turn_us)]);
        let parts: Vec<_> = (self.sources.iter())
            .map(|part| ([("source", part.source)], part.us))
            .collect();
        let help = "Length of one part of a turn, in turns that had any.";
        page.summaries("linnet_turn_part_seconds", help, MICROS, &parts);

        let jobs: Vec<_> = (self.jobs.iter())
            .map(|row| ([("kind", row.kind)], row.figures.values()))
            .collect();
        page.group("jobs_", JobFigures::DECLARED, &jobs);
        let trackers: Vec<_> = (self.trackers.iter())
            .map(|row| ([("host", row.host.as_str())], row.figures.values()))
            .collect();
        page.group("tracker_", TrackerFigures::DECLARED, &trackers);
        let devices: Vec<_> = (self.devices.iter())
            .map(|row| ([("device", row.device.as_str())], row.figures.values()))
            .collect();
        page.group("device_", DeviceFigures::DECLARED, &devices);
        page.group("", EngineCounters::DECLARED, &[([], self.engine.values())]);
        let process = [([], self.process.values())];
        page.group("process_", ProcessFigures::DECLARED, &process);
        page.text
    }
}

const fn kind(figure: &Declaration) -> &'static str {
    match figure.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    }
}

/// The name of a figure with its unit, and nanoseconds of the figure's unit when it is a time.
fn named(prefix: &str, figure: &Declaration) -> (String, Option<u64>) {
    let (ending, scale) = match figure.unit {
        "nanoseconds" => ("_ns", Some(1)),
        "microseconds" => ("_us", Some(1000)),
        "milliseconds" => ("_ms", Some(1_000_000)),
        _ => ("", None),
    };
    let stem = figure.name.strip_suffix(ending).unwrap_or(figure.name);
    let unit = if scale.is_some() { "_seconds" } else { "" };
    let total = match figure.kind {
        Kind::Counter => "_total",
        // A gauge `links_total` would read like a counter.
        Kind::Gauge => "",
    };
    let stem = match figure.kind {
        Kind::Counter => stem,
        Kind::Gauge => stem.strip_suffix("_total").unwrap_or(stem),
    };
    (format!("linnet_{prefix}{stem}{unit}{total}"), scale)
}

/// Nanoseconds as seconds, in decimals and exact.
fn seconds(nanos: u64) -> String {
    let (whole, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{rest:09}")
        .trim_end_matches('0')
        .to_owned()
}

#[derive(Default)]
struct Page {
    text: String,
}

// Writing to a string cannot fail.
impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[Label<'_>], value: &str) {
        self.text.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(self.text, "{label}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// Each declared figure of all rows.
    fn group<const LABELS: usize>(
        &mut self,
        prefix: &str,
        declared: &[Declaration],
        rows: &[([Label<'_>; LABELS], Vec<u64>)],
    ) {
        if rows.is_empty() {
            return;
        }
        for (at, figure) in declared.iter().enumerate() {
            let (name, scale) = named(prefix, figure);
            self.head(&name, kind(figure), figure.help);
            for (labels, values) in rows {
                let value = match scale {
                    Some(scale) => seconds(values[at].saturating_mul(scale)),
                    None => values[at].to_string(),
                };
                self.sample(&name, labels, &value);
            }
        }
    }

    /// One summary of all rows that have samples.
    fn summaries<const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: u64,
        rows: &[([Label<'_>; LABELS], Summary)],
    ) {
        self.head(name, "summary", help);
        for (labels, summary) in rows.iter().filter(|(_, summary)| summary.count > 0) {
            let of = |value: u64| seconds(value.saturating_mul(unit));
            let mut labelled = labels.to_vec();
            labelled.push(("quantile", ""));
            for (quantile, value) in [
                ("0.5", summary.p50),
                ("0.99", summary.p99),
                ("0.999", summary.p999),
                ("1", summary.max),
            ] {
                if let Some(last) = labelled.last_mut() {
                    last.1 = quantile;
                }
                self.sample(name, &labelled, &of(value));
            }
            self.sample(&format!("{name}_sum"), labels, &of(summary.sum));
            self.sample(&format!("{name}_count"), labels, &summary.count.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::*;
    use super::seconds;

    /// What a page says: the kind of each family, and the value of each sample by its name and labels.
    #[derive(Default)]
    struct Parsed {
        kinds: BTreeMap<String, String>,
        samples: BTreeMap<String, f64>,
    }

    /// Reads the text format as a scraper does, and refuses what one would refuse.
    fn parse(text: &str) -> Result<Parsed, String> {
        let mut parsed = Parsed::default();
        let mut family = String::new();
        let mut helped = String::new();
        for line in text.lines() {
            let wrong = |why: &str| Err(format!("{why}: {line}"));
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').ok_or("no help")?;
                if help.is_empty() {
                    return wrong("no help");
                }
                helped = name.to_owned();
                continue;
            }
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or("no type")?;
                if !["counter", "gauge", "summary"].contains(&kind) || helped != name {
                    return wrong("not a type, or without help");
                }
                if parsed
                    .kinds
                    .insert(name.to_owned(), kind.to_owned())
                    .is_some()
                {
                    return wrong("a family twice");
                }
                name.clone_into(&mut family);
                continue;
            }
            let (series, value) = line.rsplit_once(' ').ok_or("no value")?;
            let value: f64 = value.parse().map_err(|_| format!("no number: {line}"))?;
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').ok_or("an open brace")?),
                None => (series, ""),
            };
            let word = |text: &str| {
                let mut bytes = text.bytes();
                bytes
                    .next()
                    .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                    && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
            };
            let is_summary = parsed
                .kinds
                .get(&family)
                .is_some_and(|kind| kind == "summary");
            let own = name == family
                || is_summary
                    && [format!("{family}_sum"), format!("{family}_count")]
                        .contains(&name.to_owned());
            if !word(name) || !own {
                return wrong("a sample outside its family");
            }
            let mut rest = labels;
            while !rest.is_empty() {
                let (label, text) = rest.split_once("=\"").ok_or("no label")?;
                if !word(label) {
                    return wrong("not a label");
                }
                let mut escaped = false;
                let end = text.bytes().position(|byte| {
                    let end = byte == b'"' && !escaped;
                    escaped = byte == b'\\' && !escaped;
                    end
                });
                rest = &text[end.ok_or("an open quote")? + 1..];
                rest = rest.strip_prefix(',').unwrap_or(rest);
            }
            if parsed.samples.insert(series.to_owned(), value).is_some() {
                return wrong("a sample twice");
            }
        }
        Ok(parsed)
    }

    fn some() -> Metrics {
        let summary = Summary {
            count: 4,
            sum: 10,
            p50: 2,
            p99: 3,
            p999: 3,
            max: 4,
        };
        Metrics {
            messages: MessageFigures {
                messages_processed_total: 7,
                avg_processing_time_ns: 250,
                ..MessageFigures::default()
            },
            pool_utilization: 0.25,
            lanes: vec![LaneMetrics {
                lane: "low",
                ..LaneMetrics::default()
            }],
            types: ["pin", "unpin"]
                .map(|name| TypeMetrics {
                    name,
                    lane: "normal",
                    figures: TypeFigures {
                        count: 3,
                        ..TypeFigures::default()
                    },
                    wait_us: summary,
                    service_ns: summary,
                })
                .to_vec(),
            trackers: vec![TrackerMetrics {
                host: "a\\b\"c\nd".to_owned(),
                figures: TrackerFigures {
                    announces: 2,
                    last_ms: 1500,
                    ..TrackerFigures::default()
                },
            }],
            process: ProcessFigures {
                cpu_user_ms: 20,
                ..ProcessFigures::default()
            },
            engine: EngineCounters {
                links_total: 5,
                ..EngineCounters::default()
            },
            ..Metrics::default()
        }
    }

    #[test]
    fn a_scraper_reads_every_figure_under_its_name() {
        let text = some().prometheus();
        let page = parse(&text).unwrap();
        #[rustfmt::skip]
        let table = [
            ("linnet_messages_processed_total",                        "counter", 7.0),
            ("linnet_avg_processing_time_ns",                          "gauge",   250.0),
            ("linnet_pool_utilization",                                "gauge",   0.25),
            ("linnet_lane_messages_sent_total{lane=\"low\"}",          "counter", 0.0),
            ("linnet_message_count_total{type=\"pin\",lane=\"normal\"}", "counter", 3.0),
            ("linnet_tracker_announces_total{host=\"a\\\\b\\\"c\\nd\"}", "counter", 2.0),
            ("linnet_tracker_last_seconds{host=\"a\\\\b\\\"c\\nd\"}",  "gauge",   1.5),
            ("linnet_process_cpu_user_seconds_total",                  "counter", 0.02),
            ("linnet_links",                                           "gauge",   5.0),
            ("linnet_message_wait_seconds{type=\"unpin\",lane=\"normal\",quantile=\"0.5\"}", "summary", 2e-6),
            ("linnet_message_service_seconds{type=\"pin\",lane=\"normal\",quantile=\"1\"}",  "summary", 4e-9),
        ];
        for (series, kind, value) in table {
            let name = series.split('{').next().unwrap();
            assert_eq!(
                page.kinds.get(name).map(String::as_str),
                Some(kind),
                "{name}\n{text}"
            );
            assert_eq!(page.samples.get(series), Some(&value), "{series}\n{text}");
        }
        let declared = MessageFigures::DECLARED.len()
            + LaneFigures::DECLARED.len()
            + TypeFigures::DECLARED.len()
            + LoopFigures::DECLARED.len()
            + TrackerFigures::DECLARED.len()
            + EngineCounters::DECLARED.len()
            + ProcessFigures::DECLARED.len();
        // The share of the room, and four summaries.
        assert_eq!(page.kinds.len(), declared + 5);
    }

    #[test]
    fn counters_alone_end_in_total() {
        let page = parse(&some().prometheus()).unwrap();
        for (name, kind) in &page.kinds {
            let known = MessageFigures::DECLARED
                .iter()
                .any(|figure| name.strip_prefix("linnet_") == Some(figure.name));
            assert!(
                known || (kind == "counter") == name.ends_with("_total"),
                "{name} is a {kind}"
            );
        }
    }

    #[test]
    fn seconds_are_exact() {
        for (nanos, want) in [
            (0, "0"),
            (1, "0.000000001"),
            (1_500_000_000, "1.5"),
            (u64::MAX, "18446744073.709551615"),
        ] {
            assert_eq!(seconds(nanos), want);
        }
    }

    #[test]
    fn the_reader_of_these_tests_refuses_what_is_wrong() {
        let family = "# HELP a x\n# TYPE a counter\n";
        for (wrong, why) in [
            ("a 1\n", "without a family"),
            ("# TYPE a counter\n", "without help"),
            (&format!("{family}a x\n"), "no number"),
            (&format!("{family}b 1\n"), "of another family"),
            (&format!("{family}a 1\na 1\n"), "twice"),
            (&format!("{family}a{{b=\"c}} 1\n"), "an open quote"),
            (&format!("{family}{family}"), "a family twice"),
        ] {
            assert!(parse(wrong).is_err(), "{why}");
        }
    }
}
