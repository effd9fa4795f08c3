//! What lints cannot check: the arrows of the layout, the purity of the core, where each crate may be named.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "reads the repository's own source files"
)]

use std::path::{Path, PathBuf};

/// Modules from the bottom up; one may name those of lines above its own, and itself. Only the first line is a heap in
/// which all may name each other. `lib.rs` is free.
const LAYERS: &[&[&str]] = &[
    &[
        "ids", "time", "rng", "metrics", "events", "config", "aligned", "buffer",
    ],
    &["hash"],
    &["codec"],
    &["engine"],
    &["actor"],
    &["worker"],
    &["gateway"],
    &["hooks"],
    // The host hands fetches to the gateway, as it hands jobs to the workers.
    &["host", "sim"],
    &["runtime"],
    &["stress"],
    &["cli"],
    &["main"],
];

/// What the pure core must not name: clocks, threads, sockets, files, locks, chance, output, tables without an order.
const IMPURE: &[&str] = &[
    "AtomicBool",
    "AtomicU32",
    "AtomicU64",
    "AtomicUsize",
    "Condvar",
    "HashMap",
    "HashSet",
    "Mutex",
    "OnceLock",
    "RandomState",
    "RwLock",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "async",
    "await",
    "crossbeam_channel",
    "eprintln",
    "getrandom",
    "mio",
    "println",
    "rustix",
    "socket2",
    "std::env",
    "std::fs",
    "std::io",
    "std::process",
    "std::sync::mpsc",
    "std::thread",
    "std::time",
    "thread_local",
    "tokio",
];

/// Third-party crates and the places that may name them, as beginnings of paths below `src/`.
const HOMES: &[(&str, &[&str])] = &[
    ("argon2", &["gateway/"]),
    ("axum", &["gateway/"]),
    ("base64", &["gateway/", "cli/"]),
    ("atomic_waker", &["actor/atomic"]),
    ("bendy", &["codec/bencode"]),
    ("clap", &["cli/", "main.rs"]),
    ("close_fds", &["cli/daemon"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    (
        "crossbeam_channel",
        &[
            "actor/", "worker/", "gateway/", "hooks/", "host/", "runtime", "stress/", "cli/",
        ],
    ),
    ("crc32c", &["engine/dht/id", "engine/priority"]),
    ("crypto_bigint", &["codec/mse/"]),
    ("env_logger", &["cli/", "main.rs"]),
    ("flate2", &["gateway/", "worker/blocks"]),
    ("globset", &["cli/globs"]),
    ("mime_guess", &["gateway/"]),
    ("hashbrown", &["engine/table/index"]),
    ("hdrhistogram", &["metrics", "actor/", "stress/"]),
    ("hickory_resolver", &["gateway/"]),
    ("http_body_util", &["gateway/"]),
    ("hyper", &["gateway/"]),
    ("hyper_util", &["gateway/"]),
    ("if_addrs", &["host/", "gateway/", "cli/"]),
    ("indicatif", &["cli/"]),
    ("mio", &["host/", "actor/"]),
    ("priority_queue", &["engine/timers"]),
    ("quinn_udp", &["host/udp"]),
    ("ratatui", &["cli/top"]),
    ("reqwest", &["gateway/"]),
    ("ring", &["engine/dht/items"]),
    ("rusqlite", &["worker/store"]),
    (
        "rustix",
        &[
            "host/", "worker/", "sim/", "gateway/", "hooks/", "runtime", "stress/", "cli/",
        ],
    ),
    ("rustls", &["gateway/"]),
    ("sha1", &["hash/"]),
    ("signal_hook", &["cli/", "main.rs"]),
    ("slab", &["engine/", "actor/", "sim/", "stress/"]),
    ("socket2", &["host/"]),
    ("tokio", &["gateway/", "hooks/"]),
    ("tower_service", &["gateway/"]),
    ("toml", &["config"]),
];

/// One source file: its path below `src/`, and its code without comments, texts and tests.
struct Source {
    path: String,
    raw: String,
    code: String,
}

impl Source {
    /// The top-level module it belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Lines of the code, 1-based.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line))
    }
}

/// All files below `src/` that are not tests altogether.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources: Vec<Source> = rust_files(&root)
        .into_iter()
        .map(|file| {
            let path = file
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let raw = std::fs::read_to_string(&file).unwrap();
            let code = without_tests(&blank(&raw));
            Source { path, raw, code }
        })
        .filter(|source| !source.path.ends_with("/tests.rs") && !source.path.contains("/tests/"))
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 10, "the sources are not where they were");
    sources
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The same text with the insides of comments, texts and characters made blank, so that every place stays its own.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = if rest.starts_with(b"//") {
            rest.iter()
                .position(|&byte| byte == b'\n')
                .unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            block_comment(rest)
        } else if let Some(length) = raw_text(bytes, at) {
            length
        } else if rest[0] == b'"' {
            quoted(rest)
        } else if rest[0] == b'\'' {
            character(rest)
        } else {
            at += 1;
            continue;
        };
        for byte in &mut out[at..at + length] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += length;
    }
    String::from_utf8(out).unwrap()
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// `r"..."`, `br#"..."#` and so on, when one begins at `at`.
fn raw_text(bytes: &[u8], at: usize) -> Option<usize> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if at > 0 && is_word(&bytes[at - 1]) {
        return None;
    }
    let rest = &bytes[at..];
    let prefix = if rest.starts_with(b"br") {
        2
    } else {
        usize::from(rest.starts_with(b"r"))
    };
    let hashes = rest[prefix..]
        .iter()
        .take_while(|&&byte| byte == b'#')
        .count();
    if prefix == 0 || rest.get(prefix + hashes) != Some(&b'"') {
        return None;
    }
    let open = prefix + hashes + 1;
    let close: Vec<u8> = [b'"']
        .into_iter()
        .chain(std::iter::repeat_n(b'#', hashes))
        .collect();
    let inside = rest[open..]
        .windows(close.len())
        .position(|window| window == close)?;
    Some(open + inside + close.len())
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// A character, or nothing but the quote of a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        let end = rest[3..].iter().position(|&byte| byte == b'\'');
        return end.map_or(1, |end| end + 4);
    }
    let end = rest.iter().take(6).skip(2).position(|&byte| byte == b'\'');
    match end {
        // 'a' or a longer character of several bytes, but not 'a, 'b.
        Some(end) if end == 0 || !rest[1].is_ascii() => end + 3,
        _ => 1,
    }
}

/// Takes away each item under `#[cfg(test)]`, line breaks apart.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    while let Some(start) = out.find(MARK) {
        let mut depth = 0_u32;
        let end = out[start + MARK.len()..]
            .char_indices()
            .find_map(|(at, c)| {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                let over = depth == 0 && (c == '}' || c == ';');
                over.then_some(start + MARK.len() + at + 1)
            });
        let end = end.unwrap_or(out.len());
        let blank: String = out[start..end]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// Whether `word`, which may be a path, stands in `line` as a whole.
fn names(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Asserts that nothing was found, and lists all that was.
fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

/// The modules that `crate::...` (or `linnet::...`, in the binary) names from `line` on, groups in braces included.
fn modules_named(code: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for root in ["crate::", "linnet::"] {
        for (at, _) in code.match_indices(root) {
            let line = code[..at].matches('\n').count() + 1;
            let rest = &code[at + root.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let mut depth = 0_u32;
                let mut first = true;
                let mut word = String::new();
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => first = true,
                        _ => {}
                    }
                    if depth == 0 && first && (c.is_alphanumeric() || c == '_') {
                        word.push(c);
                    } else if !word.is_empty() {
                        named.push((line, std::mem::take(&mut word)));
                        first = c == ',';
                    }
                }
                if !word.is_empty() {
                    named.push((line, word));
                }
            } else {
                let word = rest
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next();
                named.push((line, word.unwrap().to_owned()));
            }
        }
    }
    named
}

#[test]
fn arrows_of_the_layout_point_one_way() {
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut found = Vec::new();
    for source in sources() {
        let module = source.module();
        if module == "lib" {
            continue;
        }
        let Some(own) = layer(module) else {
            found.push(format!(
                "src/{}: `{module}` has no place in LAYERS",
                source.path
            ));
            continue;
        };
        for (line, named) in modules_named(&source.code) {
            let allowed = match layer(&named) {
                Some(other) => other < own || (other == 0 && own == 0) || named == module,
                // A macro or a re-export of lib.rs, which is free.
                None => true,
            };
            if !allowed {
                found.push(format!(
                    "src/{}:{line}: {module} must not name {named}",
                    source.path
                ));
            }
        }
    }
    assert_none(&found, "the arrows of the layout point one way");
}

#[test]
fn the_core_is_pure() {
    let mut found = Vec::new();
    for source in sources() {
        if !matches!(source.module(), "engine" | "codec") {
            continue;
        }
        for (line, text) in source.lines() {
            for word in IMPURE {
                if names(text, word) {
                    found.push(format!("src/{}:{line}: {word}", source.path));
                }
            }
        }
    }
    assert_none(
        &found,
        "engine/ and codec/ know no clock, thread, socket, file, lock or chance",
    );
}

#[test]
fn crates_are_named_in_their_homes_only() {
    let mut found = Vec::new();
    for source in sources() {
        for (line, text) in source.lines() {
            for (name, homes) in HOMES {
                let used = names(text, &format!("{name}::")) || names(text, &format!("use {name}"));
                let at_home = homes.iter().any(|home| source.path.starts_with(home));
                // A module of ours may be called like a crate: `crate::toml::` is not that crate.
                let ours = text.contains(&format!("::{name}::"));
                if used && !at_home && !ours {
                    found.push(format!(
                        "src/{}:{line}: {name} belongs to {homes:?}",
                        source.path
                    ));
                }
            }
        }
    }
    assert_none(
        &found,
        "each crate is named in few files, so that replacing it touches only those",
    );
}

#[test]
fn remote_input_meets_no_unwrap() {
    let mut found = Vec::new();
    for source in sources() {
        if !matches!(source.module(), "engine" | "codec" | "gateway") {
            continue;
        }
        for (line, text) in source.lines() {
            if text.contains(".unwrap()") {
                found.push(format!("src/{}:{line}", source.path));
            }
        }
    }
    assert_none(&found, "no unwrap where strangers' bytes are handled");
}

#[test]
fn unsafe_lives_in_hash_alone() {
    let mut found = Vec::new();
    for source in sources() {
        if source.module() == "hash" {
            continue;
        }
        for (line, text) in source.lines() {
            if names(text, "unsafe") {
                found.push(format!("src/{}:{line}", source.path));
            }
        }
    }
    assert_none(&found, "unsafe code is for vector lanes only");
}

#[test]
fn nothing_is_left_to_be_done() {
    let words = ["TODO", "FIXME", "XXX", "To be written."];
    let mut found = Vec::new();
    for source in sources() {
        for (at, text) in source.raw.lines().enumerate() {
            if words.iter().any(|word| text.contains(word)) || text.contains("todo!(") {
                found.push(format!("src/{}:{}: {}", source.path, at + 1, text.trim()));
            }
        }
    }
    assert_none(
        &found,
        "what is to be done stands in an issue, not in the code",
    );
}

/// The scanner itself, on what it could trip over.
#[test]
fn comments_texts_and_tests_are_not_code() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &str)] = &[
        ("line comment",  "a // Mutex\nb",                  "a         \nb"),
        ("doc comment",   "/// Mutex\nb",                   "         \nb"),
        ("block comment", "a /* x /* y */ z */ b",          "a                   b"),
        ("text",          "a \"Mutex // \\\" \" b",         "a                b"),
        ("raw text",      "a r#\"x \" y\"# b",              "a            b"),
        ("character",     "('\"', '\\'', '/')",             "(   ,     ,    )"),
        ("lifetime",      "fn f<'a>(x: &'a str) // '",      "fn f< a>(x: & a str)     "),
        ("test module",   "a\n#[cfg(test)]\nmod t { {} }\nb", "a\n            \n            \nb"),
        ("test item",     "#[cfg(test)] use x; b",          "                    b"),
    ];
    for (name, text, want) in table {
        assert_eq!(without_tests(&blank(text)), *want, "{name}");
    }
    let named = |code| {
        modules_named(code)
            .into_iter()
            .map(|(_, name)| name)
            .collect::<Vec<_>>()
    };
    assert_eq!(named("use crate::{a, b::{c, d}, e::f};"), ["a", "b", "e"]);
    assert_eq!(named("crate::ids::X; linnet::cli::run()"), ["ids", "cli"]);
}
