use super::*;
use crate::engine::message::Answer;

const PATIENCE: Duration = Duration::from_secs(30);

fn config(state: &Path) -> Config {
    let mut config = Config::default();
    config.peer.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    config.paths.state = state.to_owned();
    config.workers.threads = 2;
    config.discovery.dht = false;
    config
}

#[test]
fn an_engine_starts_answers_and_ends_in_order() {
    let state = tempfile::tempdir().unwrap();
    for seed in 0..3 {
        let runtime = Runtime::start(&config(state.path()), seed).unwrap();
        assert_eq!(runtime.listening().len(), 1);
        assert_ne!(runtime.listening()[0].port(), 0);
        let answer = runtime.handle().ask(Message::EngineShow, PATIENCE).unwrap();
        assert!(matches!(answer, Answer::Engine(_)));
        let metrics = runtime.metrics(PATIENCE).unwrap();
        assert!(metrics.process.threads >= 5, "{:?}", metrics.process);
        assert!(metrics.messages.memory_usage_bytes > 0);
        assert!(runtime.join(Duration::ZERO).is_none());
        runtime.shutdown(Duration::from_secs(2));
        let report = runtime.join(PATIENCE).expect("it ends");
        assert_eq!(report.abandoned, Vec::<String>::new());
        assert!(report.phases.iter().any(|(name, _)| *name == "join"));
        let after = runtime.handle().ask(Message::EngineShow, PATIENCE);
        assert_eq!(after.unwrap_err(), AskError::Stopped);
    }
}

#[test]
fn a_busy_port_is_a_notice() {
    let state = tempfile::tempdir().unwrap();
    let mut config = config(state.path());
    let first = Runtime::start(&config, 1).unwrap();
    config.peer.listen = first.listening().to_vec();
    let second = Runtime::start(&config, 2).unwrap();
    assert_eq!(second.notices().len(), 1, "{:?}", second.notices());
    for runtime in [first, second] {
        runtime.shutdown(PATIENCE);
        assert!(runtime.join(PATIENCE).is_some());
    }
}

#[test]
fn a_core_that_panics_is_reported() {
    struct Broken;
    impl Core for Broken {
        fn handle(&mut self, _now: Instant, _input: crate::engine::message::Input<'_>) {
            panic!("a core may break");
        }
        fn poll_output(&mut self) -> Option<crate::engine::message::Output> {
            None
        }
        fn next_deadline(&self) -> Option<Instant> {
            None
        }
        fn counters(&self) -> crate::metrics::EngineCounters {
            crate::metrics::EngineCounters::default()
        }
    }
    let state = tempfile::tempdir().unwrap();
    let runtime = Runtime::start_with(&config(state.path()), |_| Broken).unwrap();
    let report = runtime.join(PATIENCE).expect("it ends");
    assert_eq!(report.abandoned.len(), 1);
    let answer = runtime.handle().ask(Message::EngineShow, PATIENCE);
    assert_eq!(answer.unwrap_err(), AskError::Stopped);
}

#[test]
fn metrics_are_replaced_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("below/metrics.json");
    for time in [1, 2] {
        let metrics = Metrics {
            time,
            process: process_figures(),
            ..Metrics::default()
        };
        write_atomically(&path, &metrics).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["time"], time);
        assert!(json["process"]["open_files"].as_u64() > Some(2));
    }
    let names = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(names, 1, "nothing else stays behind");
    assert!(write_atomically(Path::new("/"), &Metrics::default()).is_err());
}
