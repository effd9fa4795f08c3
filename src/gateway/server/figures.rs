//! The declared figures in Prometheus' text format.

use std::fmt::Write as _;

use crate::metrics::{
    Declaration, EngineCounters, Kind, LoopFigures, MessageFigures, Metrics, ProcessFigures,
};

/// Every declared figure, named `linnet_` and by its group where two groups share a name.
pub(super) fn prometheus(metrics: &Metrics) -> String {
    let mut text = String::new();
    let mut group = |prefix: &str, declared: &[Declaration], values: Vec<u64>| {
        for (figure, value) in declared.iter().zip(values) {
            let name = format!("linnet_{prefix}{}", figure.name);
            let kind = match figure.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "# HELP {name} {}\n# TYPE {name} {kind}\n{name} {value}",
                figure.help
            );
        }
    };
    group("", MessageFigures::DECLARED, metrics.messages.values());
    group("loop_", LoopFigures::DECLARED, metrics.turns.values());
    group("engine_", EngineCounters::DECLARED, metrics.engine.values());
    group(
        "process_",
        ProcessFigures::DECLARED,
        metrics.process.values(),
    );
    text
}
