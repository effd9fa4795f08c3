//! The gateway against small servers on loopback.

#![allow(
    clippy::disallowed_types,
    reason = "the servers of these tests are threads with sockets"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicUsize;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// How a TLS handshake begins.
const TLS: &[u8] = &[22];

/// Serves each connection by `answer`, which gets the request's head; the base URL.
fn server(answer: impl Fn(&mut TcpStream, &str) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                let mut stream = stream;
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n")
                    && !head.starts_with(TLS)
                    && stream.read(&mut byte).unwrap_or(0) == 1
                {
                    head.push(byte[0]);
                }
                answer(&mut stream, &String::from_utf8_lossy(&head));
            });
        }
    });
    base
}

fn reply(stream: &mut TcpStream, head: &str, body: &[u8]) {
    let length = body.len();
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

fn get(url: &str, bytes_max: usize) -> Result<Vec<u8>, String> {
    let gateway = Gateway::start(|| {});
    let result = gateway.get_blocking(url, bytes_max, 5 * SECOND);
    assert!(gateway.stop(5 * SECOND));
    result
}

fn refused_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn bodies_and_refusals() {
    const ZIPPED: &[u8] = &[
        31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 203, 72, 205, 201, 201, 7, 0, 134, 166, 16, 54, 5, 0, 0, 0,
    ];
    let base = server(|stream, head| {
        let path = head.split([' ', '?']).nth(1).unwrap_or("");
        match path {
            "/ok" => {
                assert!(
                    head.to_lowercase()
                        .contains(&format!("user-agent: linnet/{}", env!("CARGO_PKG_VERSION")))
                );
                reply(stream, "200 OK", b"body");
            }
            "/zipped" => reply(stream, "200 OK\r\nContent-Encoding: gzip", ZIPPED),
            "/500" => reply(stream, "500 Internal Server Error", b"<html>"),
            "/404" => reply(stream, "404 Not Found", b""),
            "/strange" => reply(stream, "299 Whatever", b"odd"),
            "/refusal" => reply(stream, "403 Forbidden", b"d14:failure reason2:noe"),
            "/from" => reply(stream, "302 Found\r\nLocation: /ok", b""),
            "/loop" => reply(stream, "302 Found\r\nLocation: /loop", b""),
            "/ftp" => reply(stream, "302 Found\r\nLocation: ftp://x/", b""),
            "/garbage" => drop(stream.write_all(b"\x00\xff not http at all\r\n\r\n")),
            "/silent" => {}
            "/short" => drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")),
            "/large" => reply(stream, "200 OK", &[b'x'; 101]),
            "/exact" => reply(stream, "200 OK", &[b'x'; 100]),
            "/endless" => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                while stream.write_all(&[b'x'; 4096]).is_ok() {}
            }
            _ => panic!("{path}"),
        }
    });
    let host = base.strip_prefix("http://").unwrap();
    let large = format!("{host} sent more than 100 bytes");
    #[rustfmt::skip]
    let table: &[(&str, Result<&[u8], &str>)] = &[
        ("/ok",       Ok(b"body")),
        ("/zipped",   Ok(b"hello")),
        ("/500",      Err("HTTP 500 Internal Server Error")),
        ("/404",      Err("HTTP 404 Not Found")),
        ("/strange",  Ok(b"odd")),
        ("/refusal",  Ok(b"d14:failure reason2:noe")),
        ("/from",     Ok(b"body")),
        ("/loop",     Err("redirects more than 10 times")),
        ("/ftp",      Err("URL scheme is not allowed")),
        ("/garbage",  Err("sent no valid answer")),
        ("/silent",   Err("connection closed")),
        ("/short",    Err("broke: end of file")),
        ("/large",    Err(&large)),
        ("/exact",    Ok(&[b'x'; 100])),
        ("/endless",  Err(&large)),
    ];
    for (path, want) in table {
        let got = get(&format!("{base}{path}?passkey=SECRET"), 100);
        match (want, &got) {
            (Ok(want), Ok(got)) => assert_eq!(want, got, "{path}"),
            (Err(want), Err(got)) => {
                assert!(got.contains(want), "{path}: {got}");
                assert!(!got.contains(['\n', '?']), "{path}: {got}");
            }
            _ => panic!("{path}: {got:?}"),
        }
    }
}

#[test]
fn what_cannot_be_reached_says_so() {
    let port = refused_port();
    #[rustfmt::skip]
    let table = [
        (format!("http://127.0.0.1:{port}/SECRET"), format!("cannot connect to 127.0.0.1:{port}: connection refused")),
        (format!("http://localhost:{port}/SECRET"), format!("cannot connect to localhost:{port}: connection refused")),
        ("no url".to_owned(),                       "not a URL: relative URL without a base".to_owned()),
        ("ftp://host/SECRET".to_owned(),            "host:21: only http and https can be fetched".to_owned()),
    ];
    for (url, want) in table {
        assert_eq!(get(&url, 100), Err(want), "{url}");
    }
}

#[test]
fn a_plain_server_is_no_secure_one() {
    let base = server(|stream, _| reply(stream, "200 OK", b""));
    let url = base.replace("http:", "https:");
    let text = get(&url, 100).unwrap_err();
    assert!(
        text.starts_with("no secure connection to 127.0.0.1:"),
        "{text}"
    );
}

#[test]
fn a_slow_body_ends_with_its_time() {
    let base = server(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let gateway = Gateway::start(|| {});
    let begun = std::time::Instant::now();
    let text = gateway
        .get_blocking(&base, 1 << 20, Duration::from_millis(200))
        .unwrap_err();
    assert!(text.ends_with("within 200ms"), "{text}");
    assert!(begun.elapsed() < 5 * SECOND);
}

/// Collects `count` answers, as the loop would: woken, then drained.
fn collect(gateway: &mut Gateway, wakes: &channel::Receiver<()>, count: usize) -> Vec<Fetched> {
    let mut answers = Vec::new();
    while answers.len() < count {
        match gateway.next() {
            Some(fetched) => answers.push(fetched),
            None => wakes.recv_timeout(20 * SECOND).expect("woken"),
        }
    }
    assert!(gateway.next().is_none());
    answers
}

fn http(id: u64, url: &str) -> Fetch {
    let task = FetchTask::Http {
        url: url.to_owned(),
        bytes_max: 100,
        timeout: 10 * SECOND,
    };
    Fetch {
        id: JobId(id),
        task,
    }
}

#[test]
fn every_fetch_is_answered_once_and_no_host_takes_all_places() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (counter, highest) = (Arc::clone(&under_way), Arc::clone(&most));
    let base = server(move |stream, _| {
        let now = counter.fetch_add(1, Ordering::SeqCst) + 1;
        highest.fetch_max(now, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(5));
        counter.fetch_sub(1, Ordering::SeqCst);
        reply(stream, "200 OK\r\nConnection: close", b"x");
    });
    let (wake, wakes) = channel::unbounded();
    let mut gateway = Gateway::start(move || wake.send(()).unwrap_or_default());
    let count = FETCHES_MAX as u64 + 3;
    for id in 0..count {
        if id % 16 == 0 {
            gateway.fetch(http(id, &base));
        } else {
            let task = FetchTask::Resolve {
                host: "localhost".to_owned(),
                port: 80,
                timeout: SECOND,
            };
            gateway.fetch(Fetch {
                id: JobId(id),
                task,
            });
        }
    }
    let answers = collect(&mut gateway, &wakes, FETCHES_MAX + 3);
    let mut ids: Vec<_> = answers.iter().map(|fetched| fetched.id.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..count).collect::<Vec<_>>());
    let refused: Vec<_> = (answers.iter())
        .filter(|fetched| {
            matches!(
                &fetched.outcome,
                FetchOutcome::Http(Err(_)) | FetchOutcome::Resolved(Err(_))
            )
        })
        .map(|fetched| fetched.id.0)
        .collect();
    assert_eq!(refused, [count - 3, count - 2, count - 1]);
    assert!(most.load(Ordering::SeqCst) <= AT_ONCE_PER_HOST_MAX);
    assert!(gateway.stop(5 * SECOND));
}

/// Serves as many requests on each connection as `per_connection` says, then closes it without a word; the base URL, and how
/// many connections there were.
fn keeping_server(per_connection: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || {
                for _ in 0..per_connection {
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while !head.ends_with(b"\r\n\r\n") {
                        if stream.read(&mut byte).unwrap_or(0) == 0 {
                            return;
                        }
                        head.push(byte[0]);
                    }
                    reply(&mut stream, "200 OK", b"x");
                }
            });
        }
    });
    (base, connections)
}

#[test]
fn a_burst_to_one_host_goes_over_a_few_connections() {
    for (per_connection, connections_max) in [(usize::MAX, AT_ONCE_PER_HOST_MAX), (3, 400)] {
        let (base, connections) = keeping_server(per_connection);
        let (wake, wakes) = channel::unbounded();
        let mut gateway = Gateway::start(move || wake.send(()).unwrap_or_default());
        for id in 0..400 {
            gateway.fetch(http(id, &base));
        }
        let answers = collect(&mut gateway, &wakes, 400);
        let is_good = |one: &Fetched| matches!(&one.outcome, FetchOutcome::Http(Ok(_)));
        assert!(answers.iter().all(is_good), "{answers:?}");
        let connections = connections.load(Ordering::SeqCst);
        assert!(connections <= connections_max, "{connections}");
        assert!(gateway.stop(5 * SECOND));
    }
}

#[test]
fn addresses_are_resolved_without_asking() {
    let (wake, wakes) = channel::unbounded();
    let mut gateway = Gateway::start(move || wake.send(()).unwrap_or_default());
    let table = [
        ("127.0.0.1", vec!["127.0.0.1:7".parse().unwrap()]),
        ("::1", vec!["[::1]:7".parse().unwrap()]),
        (
            "localhost",
            vec!["127.0.0.1:7".parse().unwrap(), "[::1]:7".parse().unwrap()],
        ),
    ];
    for (host, want) in table {
        let task = FetchTask::Resolve {
            host: host.to_owned(),
            port: 7,
            timeout: SECOND,
        };
        gateway.fetch(Fetch { id: JobId(1), task });
        let answer = collect(&mut gateway, &wakes, 1).remove(0);
        let FetchOutcome::Resolved(got) = answer.outcome else {
            panic!("{host}")
        };
        assert_eq!(got, Ok(want), "{host}");
    }
}

#[test]
fn stopping_does_not_wait_for_a_server_that_hangs() {
    let base = server(|_, _| thread::sleep(60 * SECOND));
    let mut gateway = Gateway::start(|| {});
    gateway.fetch(http(1, &base));
    thread::sleep(Duration::from_millis(100));
    let begun = std::time::Instant::now();
    assert!(gateway.stop(5 * SECOND));
    assert!(begun.elapsed() < 2 * SECOND);
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_but_the_gateway_is_a_thread() {
    // Other tests run beside this one in the same process, so only a runtime's own names are looked for.
    let base = server(|stream, _| reply(stream, "200 OK", b"x"));
    let gateway = Gateway::start(|| {});
    let url = base.replace("127.0.0.1", "localhost");
    gateway.get_blocking(&url, 100, 5 * SECOND).unwrap();
    let names: Vec<_> = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .collect();
    assert!(names.iter().any(|name| name.trim() == "gateway"));
    assert!(
        !names.iter().any(|name| name.contains("tokio")),
        "{names:?}"
    );
}
