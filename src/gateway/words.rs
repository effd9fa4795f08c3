//! The words of remote control: which method of the RPC each of them is, and what its arguments mean. The command line and
//! helper programs speak the same words, so both look them up here.

use serde_json::{Value, json};

/// A word and the method it calls.
#[derive(Debug)]
pub struct Word {
    /// As it is typed.
    pub name: &'static str,
    /// In our spelling.
    pub method: &'static str,
    /// What stands behind it.
    shape: Shape,
}

/// What stands behind a word.
#[derive(Debug)]
enum Shape {
    /// Nothing; the method is asked for these fields of all torrents, if there are any.
    Nothing(&'static [&'static str]),
    /// Torrents, and these fields of them, if there are any.
    Torrents(&'static [&'static str]),
    /// Torrents, and whether their files go too.
    Remove,
    /// Sources, with how they are taken on.
    Sources,
    /// A torrent and settings of it.
    Settings,
    /// A torrent and a peer.
    Peer,
    /// How long it may take.
    Budget,
}

/// Fields of a list.
#[rustfmt::skip]
pub const LIST: &[&str] = &[
    "id", "hash_string", "name", "state", "percent_done", "size_when_done", "rate_download", "rate_upload", "upload_ratio",
    "peers_connected", "eta", "error_string", "labels", "queue_position", "added_date", "done_date", "download_dir",
    "downloaded_ever", "uploaded_ever",
];

/// Fields of `info` for programs.
#[rustfmt::skip]
pub const INFO: &[&str] = &[
    "id", "hash_string", "name", "state", "percent_done", "size_when_done", "rate_download", "rate_upload", "upload_ratio",
    "peers_connected", "eta", "error_string", "labels", "queue_position", "added_date", "done_date", "download_dir",
    "downloaded_ever", "uploaded_ever", "piece_count", "piece_size", "is_private", "comment", "creator",
    "seconds_downloading", "seconds_seeding", "magnet_link", "total_size", "have_valid", "trackers", "corrupt_ever",
    "date_created",
];

/// Fields of `files`.
pub const FILES: &[&str] = &["id", "name", "files", "file_stats"];

/// Fields of `peers`.
pub const PEERS: &[&str] = &["id", "name", "peers"];

/// Fields of `why`.
pub const WHY: &[&str] = &["id", "name", "state", "why"];

/// All words.
#[rustfmt::skip]
pub const WORDS: &[Word] = &[
    Word { name: "list",     method: "torrent_get",    shape: Shape::Nothing(LIST) },
    Word { name: "add",      method: "torrent_add",    shape: Shape::Sources },
    Word { name: "remove",   method: "torrent_remove", shape: Shape::Remove },
    Word { name: "start",    method: "torrent_start",  shape: Shape::Torrents(&[]) },
    Word { name: "stop",     method: "torrent_stop",   shape: Shape::Torrents(&[]) },
    Word { name: "recheck",  method: "torrent_verify", shape: Shape::Torrents(&[]) },
    Word { name: "info",     method: "torrent_get",    shape: Shape::Torrents(INFO) },
    Word { name: "files",    method: "torrent_get",    shape: Shape::Torrents(FILES) },
    Word { name: "peers",    method: "torrent_get",    shape: Shape::Torrents(PEERS) },
    Word { name: "why",      method: "torrent_get",    shape: Shape::Torrents(WHY) },
    Word { name: "set",      method: "torrent_set",    shape: Shape::Settings },
    Word { name: "pin",      method: "peer_add",       shape: Shape::Peer },
    Word { name: "stats",    method: "session_stats",  shape: Shape::Nothing(&[]) },
    Word { name: "shutdown", method: "session_close",  shape: Shape::Budget },
];

/// The method that a word calls.
///
/// # Panics
/// When there is no such word: the callers name theirs in their own code.
#[must_use]
pub fn method(name: &str) -> &'static str {
    let word = WORDS.iter().find(|word| word.name == name);
    word.expect("a word of the table").method
}

/// What a line of words asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// In our spelling.
    pub method: &'static str,
    /// In our spelling; one for each call, which only `add` has several of.
    pub params: Vec<Value>,
    /// The torrents that are meant, to be put into `ids`; `None`: none are named.
    pub torrents: Option<Vec<String>>,
    /// What the answer carries.
    pub tag: Option<String>,
    /// Whether it is answered only when it took effect.
    pub is_waiting: bool,
}

/// `word` with what helpers are told in one word too put back: `\s` is a space, `\n` `\r` `\t` `\\` are what they always are;
/// anything else behind a backslash stays as it is.
fn plain(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        let escaped = match (c, rest.as_str().chars().next()) {
            ('\\', Some('s')) => ' ',
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('t')) => '\t',
            ('\\', Some('\\')) => '\\',
            _ => {
                out.push(c);
                continue;
            }
        };
        rest.next();
        out.push(escaped);
    }
    out
}

/// Understands a line of words between spaces, `\s` being a space within a word. `--tag TEXT` and `--wait` may stand behind any
/// word.
///
/// # Errors
/// One line for a person.
pub fn parse(line: &str) -> Result<Asked, (Option<String>, String)> {
    let given: Vec<String> = line.split_whitespace().map(plain).collect();
    let mut given: Vec<&str> = given.iter().map(String::as_str).collect();
    let mut tag = None;
    if let Some(at) = given.iter().position(|word| *word == "--tag") {
        given.remove(at);
        if at == given.len() {
            return Err((None, "--tag: a text was expected behind it".to_owned()));
        }
        tag = Some(given.remove(at).to_owned());
    }
    let count = given.len();
    given.retain(|word| *word != "--wait");
    let is_waiting = given.len() != count;
    match understand(&given) {
        Ok((word, params, torrents)) => Ok(Asked {
            method: word.method,
            params,
            torrents,
            tag,
            is_waiting,
        }),
        Err(text) => Err((tag, text)),
    }
}

type Understood = (&'static Word, Vec<Value>, Option<Vec<String>>);

fn understand(given: &[&str]) -> Result<Understood, String> {
    let Some((name, arguments)) = given.split_first() else {
        return Err("nothing was asked for".to_owned());
    };
    let word = WORDS.iter().find(|word| word.name == *name);
    let word = word.ok_or_else(|| {
        let names: Vec<&str> = WORDS.iter().map(|word| word.name).collect();
        format!("{name}: unknown; it can be {}", names.join(", "))
    })?;
    let mut options = Options::default();
    let plain = options.take(arguments)?;
    let torrents = |names: &[&str]| -> Result<Option<Vec<String>>, String> {
        if names.is_empty() {
            return Err(format!(
                "{name}: which torrents? Numbers, beginnings of hashes, or all"
            ));
        }
        Ok(Some(names.iter().map(|&one| one.to_owned()).collect()))
    };
    let fields = |fields: &[&str]| match fields {
        [] => json!({}),
        fields => json!({ "fields": fields }),
    };
    let (params, torrents) = match word.shape {
        Shape::Nothing(asked) => {
            options.only(name, "")?;
            if let Some(more) = plain.first() {
                return Err(format!("{name}: {more} is too much"));
            }
            (vec![fields(asked)], None)
        }
        Shape::Torrents(asked) => {
            options.only(name, "")?;
            (vec![fields(asked)], torrents(&plain)?)
        }
        Shape::Remove => {
            options.only(name, "--delete")?;
            (
                vec![json!({ "delete_local_data": options.delete })],
                torrents(&plain)?,
            )
        }
        Shape::Sources => {
            options.only(name, "--dir --paused --label")?;
            if plain.is_empty() {
                return Err(format!("{name}: which torrent files, or URLs of them?"));
            }
            let one = |source: &&str| options.adding(source);
            (plain.iter().map(one).collect(), None)
        }
        Shape::Settings => {
            options.only(name, "")?;
            let (torrent, settings) = plain.split_at(plain.len().min(1));
            let mut params = json!({});
            for one in settings {
                for (key, value) in setting(one)? {
                    if matches!(key, "location" | "move" | "path" | "name") {
                        let text = "use the JSON form: torrent_set_location or torrent_rename_path";
                        return Err(format!("{one}: {text}"));
                    }
                    params[key] = value;
                }
            }
            if settings.is_empty() {
                return Err(format!("{name}: TORRENT KEY=VALUE... was expected"));
            }
            (vec![params], torrents(torrent)?)
        }
        Shape::Peer => {
            options.only(name, "")?;
            let [torrent, peer] = plain[..] else {
                return Err(format!("{name}: TORRENT HOST:PORT was expected"));
            };
            let (host, port) = peer_of(peer).ok_or_else(|| {
                format!("{peer}: not a peer, which is HOST:PORT, or [ADDRESS]:PORT for IPv6")
            })?;
            (
                vec![json!({ "host": host, "port": port })],
                torrents(&[torrent])?,
            )
        }
        Shape::Budget => {
            options.only(name, "--budget")?;
            let params = options
                .budget
                .map_or(json!({}), |ms| json!({ "budget_ms": ms }));
            (vec![params], None)
        }
    };
    Ok((word, params, torrents))
}

/// What begins with two dashes.
#[derive(Debug, Default)]
struct Options {
    named: Vec<String>,
    delete: bool,
    paused: bool,
    dir: Option<String>,
    labels: Vec<String>,
    budget: Option<u32>,
}

impl Options {
    /// Takes the options out; the words that are left.
    fn take<'a>(&mut self, arguments: &[&'a str]) -> Result<Vec<&'a str>, String> {
        let mut plain = Vec::new();
        let mut words = arguments.iter();
        while let Some(&word) = words.next() {
            if !word.starts_with("--") {
                plain.push(word);
                continue;
            }
            self.named.push(word.to_owned());
            let mut value = || {
                let value = words.next().map(|&value| value.to_owned());
                value.ok_or_else(|| format!("{word}: something was expected behind it"))
            };
            match word {
                "--delete" => self.delete = true,
                "--paused" => self.paused = true,
                "--dir" => self.dir = Some(value()?),
                "--label" => self.labels.push(value()?),
                "--budget" => {
                    let budget = value()?.parse();
                    let budget = budget.map_err(|_| format!("{word}: a number was expected"))?;
                    self.budget = Some(budget);
                }
                _ => return Err(format!("{word}: unknown")),
            }
        }
        Ok(plain)
    }

    /// Refuses options that are not for this word.
    fn only(&self, name: &str, allowed: &str) -> Result<(), String> {
        let is_allowed = |option: &&String| allowed.split(' ').any(|one| one == option.as_str());
        match self.named.iter().find(|option| !is_allowed(option)) {
            Some(option) => Err(format!("{name}: {option} is not for it")),
            None => Ok(()),
        }
    }

    fn adding(&self, source: &str) -> Value {
        let mut params = json!({
            "filename": source,
            "paused": self.paused,
            "labels": self.labels,
        });
        if let Some(dir) = &self.dir {
            params["download_dir"] = json!(dir);
        }
        params
    }
}

fn peer_of(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.is_empty()).then_some((host, port))
}

/// A setting and its value, as the RPC takes it.
///
/// # Errors
/// One line for a person.
pub fn setting(setting: &str) -> Result<Vec<(&'static str, Value)>, String> {
    let (key, value) = setting
        .split_once('=')
        .ok_or_else(|| format!("{setting}: not a setting, which is KEY=VALUE"))?;
    let numbers = || -> Result<Value, String> {
        let numbers: Result<Vec<u64>, _> = value.split(',').map(str::parse).collect();
        numbers
            .map(|numbers| json!(numbers))
            .map_err(|_| format!("{setting}: a list of numbers from 0 was expected, such as 0,2"))
    };
    let directory = || -> Result<Value, String> {
        if value.is_empty() {
            return Err(format!(
                "{setting}: a directory was expected, such as {key}=/srv/films"
            ));
        }
        let path = std::path::absolute(value).map_err(|fault| format!("{setting}: {fault}"))?;
        Ok(json!(path.to_string_lossy()))
    };
    Ok(vec![match key {
        "dir" | "found_in" => {
            return Ok(vec![
                ("location", directory()?),
                ("move", json!(key == "dir")),
            ]);
        }
        "rename" => {
            let (path, name) = value.rsplit_once(':').ok_or_else(|| {
                format!("{setting}: PATH:NAME was expected, such as rename=album/1.flac:one.flac")
            })?;
            return Ok(vec![("path", json!(path)), ("name", json!(name))]);
        }
        "tracker_add" => ("tracker_add", json!([value])),
        "tracker_remove" => ("tracker_remove", numbers()?),
        "labels" => {
            let labels: Vec<&str> = value.split(',').filter(|label| !label.is_empty()).collect();
            ("labels", json!(labels))
        }
        "queue_position" => ("queue_position", numbers()?[0].take()),
        "files_wanted" => ("files_wanted", numbers()?),
        "files_unwanted" => ("files_unwanted", numbers()?),
        "priority_low" => ("priority_low", numbers()?),
        "priority_normal" => ("priority_normal", numbers()?),
        "priority_high" => ("priority_high", numbers()?),
        _ => {
            return Err(format!(
                "{key}: unknown; it can be labels, queue_position, files_wanted, files_unwanted, priority_low, \
                 priority_normal, priority_high, dir, found_in, rename, \
                 tracker_add or tracker_remove"
            ));
        }
    }])
}

/// So many digits are no number of a torrent but the beginning of a hash.
const NUMBER_DIGITS_MAX: usize = 11;

/// Which of `torrents` (their `id` and `hash_string`) are meant by `names`: a number, the beginning of a hash, or `all`; each
/// once, in the order named.
///
/// # Errors
/// A name that means none, or several.
pub fn select(torrents: &[Value], names: &[String]) -> Result<Vec<u64>, String> {
    let mut ids: Vec<u64> = Vec::new();
    for name in names {
        // A number of none is not the beginning of another one's hash, and nothing is not that of every hash: what is removed
        // by such a name would be missed.
        let is_number =
            name.len() < NUMBER_DIGITS_MAX && name.bytes().all(|digit| digit.is_ascii_digit());
        let by_hash = |torrent: &&Value| {
            let hash = torrent["hash_string"].as_str().unwrap_or_default();
            !is_number && hash.starts_with(&name.to_ascii_lowercase())
        };
        let number = name.parse::<u64>().ok();
        let by_number = |torrent: &&Value| number.is_some() && torrent["id"].as_u64() == number;
        let found: Vec<&Value> = if name == "all" {
            torrents.iter().collect()
        } else if let Some(torrent) = torrents.iter().find(by_number) {
            vec![torrent]
        } else {
            let found: Vec<&Value> = torrents.iter().filter(by_hash).collect();
            match found.len() {
                1 => found,
                0 => return Err(format!("{name}: no torrent has that number or hash")),
                count => return Err(format!("{name}: {count} torrents have such a hash")),
            }
        };
        for id in found.iter().filter_map(|torrent| torrent["id"].as_u64()) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn lines_become_calls() {
        #[rustfmt::skip]
        let table = [
            ("start 1 ab",               "torrent_start",  json!({}),                            names(&["1", "ab"]), None),
            ("stop all --tag x7",        "torrent_stop",   json!({}),                            names(&["all"]),     Some("x7")),
            ("stop a\\sb\\\\s\\x",         "torrent_stop",   json!({}),                            names(&["a b\\s\\x"]), None),
            ("recheck 1",                "torrent_verify", json!({}),                            names(&["1"]),       None),
            ("remove 1 --delete",        "torrent_remove", json!({"delete_local_data": true}),   names(&["1"]),       None),
            ("set 1 labels=a,b",         "torrent_set",    json!({"labels": ["a", "b"]}),        names(&["1"]),       None),
            ("pin 1 [::1]:80",           "peer_add",       json!({"host": "::1", "port": 80}),   names(&["1"]),       None),
            ("pin 1 host:80",            "peer_add",       json!({"host": "host", "port": 80}),  names(&["1"]),       None),
            ("list",                     "torrent_get",    json!({"fields": LIST}),              None,                None),
            ("why 1",                    "torrent_get",    json!({"fields": WHY}),               names(&["1"]),       None),
            ("stats --tag 1",            "session_stats",  json!({}),                            None,                Some("1")),
            ("shutdown --budget 5",      "session_close",  json!({"budget_ms": 5}),              None,                None),
        ];
        for (line, method, params, torrents, tag) in table {
            let asked = parse(line).unwrap();
            assert_eq!(
                (asked.method, &asked.params),
                (method, &vec![params]),
                "{line}"
            );
            assert_eq!(
                (asked.torrents, asked.tag.as_deref()),
                (torrents, tag),
                "{line}"
            );
        }
        let asked = parse("add a.torrent http://h/b --paused --label x --wait --dir /d").unwrap();
        let filenames: Vec<_> = asked.params.iter().map(|one| &one["filename"]).collect();
        assert_eq!(filenames, ["a.torrent", "http://h/b"]);
        assert_eq!(asked.params[1]["labels"], json!(["x"]));
        assert_eq!(asked.params[0]["download_dir"], "/d");
        assert!(asked.is_waiting);
    }

    #[test]
    fn wrong_lines_say_what_was_expected() {
        #[rustfmt::skip]
        let table = [
            ("",                   "nothing was asked for"),
            ("dance",              "dance: unknown; it can be list, add, remove, start, stop, recheck, info, files, peers, why, set, pin, stats, shutdown"),
            ("start",              "start: which torrents? Numbers, beginnings of hashes, or all"),
            ("start 1 --delete",   "start: --delete is not for it"),
            ("start 1 --dance",    "--dance: unknown"),
            ("list 1",             "list: 1 is too much"),
            ("set 1",              "set: TORRENT KEY=VALUE... was expected"),
            ("pin 1",              "pin: TORRENT HOST:PORT was expected"),
            ("pin 1 ::1:80",       "::1:80: not a peer, which is HOST:PORT, or [ADDRESS]:PORT for IPv6"),
            ("add --paused",       "add: which torrent files, or URLs of them?"),
            ("add a --dir",        "--dir: something was expected behind it"),
            ("shutdown --budget x", "--budget: a number was expected"),
            ("list --tag",         "--tag: a text was expected behind it"),
        ];
        for (line, want) in table {
            assert_eq!(parse(line).unwrap_err().1, want, "{line}");
        }
        assert_eq!(parse("dance --tag 5").unwrap_err().0.as_deref(), Some("5"));
    }

    #[test]
    fn settings_are_read_as_the_rpc_takes_them() {
        #[rustfmt::skip]
        let table = [
            ("labels=a,b",        Some(("labels", json!(["a", "b"])))),
            ("labels=",           Some(("labels", json!([])))),
            ("queue_position=3",  Some(("queue_position", json!(3)))),
            ("files_wanted=0,2",  Some(("files_wanted", json!([0, 2])))),
            ("tracker_add=http://a/", Some(("tracker_add", json!(["http://a/"])))),
            ("tracker_remove=0,2", Some(("tracker_remove", json!([0, 2])))),
            ("rename=a",          None),
            ("files_wanted=x",    None),
            ("labels",            None),
            ("nonsense=1",        None),
        ];
        for (text, want) in table {
            let want = want.map(|pair| vec![pair]);
            assert_eq!(setting(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn torrents_are_named_by_number_or_the_beginning_of_a_hash() {
        let torrents = [
            json!({"id": 1, "hash_string": "12ab"}),
            json!({"id": 2, "hash_string": "cd00"}),
            json!({"id": 3, "hash_string": "cd11"}),
        ];
        type Case<'a> = (&'a [&'a str], Result<&'a [u64], &'a str>);
        #[rustfmt::skip]
        let table: &[Case<'_>] = &[
            (&["1"],          Ok(&[1])),
            (&["CD0", "all"], Ok(&[2, 1, 3])),
            (&["cd"],         Err("cd: 2 torrents have such a hash")),
            (&["7"],          Err("7: no torrent has that number or hash")),
            // No number of a torrent, though the beginning of a hash, and nothing at all: neither means any.
            (&["12"],         Err("12: no torrent has that number or hash")),
            (&[""],           Err(": no torrent has that number or hash")),
            (&[],             Ok(&[])),
        ];
        for (names, want) in table {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let want = want.map(<[u64]>::to_vec).map_err(str::to_owned);
            assert_eq!(select(&torrents, &names), want);
        }
    }
}
