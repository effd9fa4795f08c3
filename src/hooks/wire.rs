//! What a helper reads: events and answers, a line each, as JSON or as words.
//!
//! Strangers choose some of the texts (names of torrents, of peers' programs, what a tracker says). In JSON they are texts in
//! quotes; among words everything in them that could end a word or a line, or pretend to, is escaped.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::lines::LINE_BYTES_MAX;
use crate::actor::bus::Record;
use crate::config::hooks::Encoder;

/// What is told to a helper before it is ended.
pub(super) const SHUTDOWN: &[u8] = b"shutdown\n";

/// An answer to a command.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// As the command had it.
    pub(super) tag: Option<Value>,
    /// The result as JSON, or the reason.
    pub(super) outcome: Result<Vec<u8>, String>,
}

impl Answer {
    /// An error.
    pub(super) fn error(tag: Option<Value>, text: impl Into<String>) -> Self {
        Self {
            tag,
            outcome: Err(text.into()),
        }
    }
}

/// An event as a line, its end included.
///
/// JSON: the object that `/events` gives. Words: `NAME seq=N time=MS KEY=VALUE...`, the keys in alphabetical order.
pub(super) fn event(encoder: Encoder, record: &Record) -> Vec<u8> {
    match encoder {
        Encoder::Json => {
            let mut line = serde_json::to_vec(record).unwrap_or_default();
            line.push(b'\n');
            line
        }
        Encoder::Text => {
            let mut line = record.event.name().to_owned();
            let _ = write!(line, " seq={} time={}", record.seq, record.time);
            for (key, value) in fields(record) {
                let _ = write!(line, " {key}={}", word(&flat(&value)));
            }
            line.push('\n');
            line.into_bytes()
        }
    }
}

/// The fields of an event's own.
pub(super) fn fields(record: &Record) -> Map<String, Value> {
    let mut fields = match serde_json::to_value(&record.event) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    fields.remove("event");
    fields
}

/// A value without quotes; the items of a list between commas.
pub(super) fn flat(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// `text` as one word of one line: `\s` is a space, `\n` `\r` `\t` `\\` are what they always are, and every other control
/// character or kind of space is `\u{HEX}`.
pub(super) fn word(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' ' => out.push_str("\\s"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || c.is_whitespace() || is_format(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Marks that are not seen and change how a line looks.
const fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// An answer as a line, its end included.
///
/// JSON: `{"answer": "done", "tag": ..., "result": {...}}` or `{"answer": "error", "tag": ..., "error": "why"}`, without
/// `tag` where there was none. Words: `done TAG JSON` or `error TAG why`, with `-` where there was no tag and nothing where
/// the result is empty.
pub(super) fn answer(encoder: Encoder, answer: &Answer) -> Vec<u8> {
    let line = spelled(encoder, answer);
    if line.len() <= LINE_BYTES_MAX {
        return line;
    }
    let text = "the answer is longer than 1 MiB: ask for fewer torrents or fields";
    let tag = answer.tag.clone().filter(|tag| flat(tag).len() <= 1024);
    spelled(encoder, &Answer::error(tag, text))
}

fn spelled(encoder: Encoder, answer: &Answer) -> Vec<u8> {
    let mut line = Vec::new();
    match encoder {
        Encoder::Json => {
            let tag = answer.tag.as_ref().map(|tag| format!(r#","tag":{tag}"#));
            let tag = tag.unwrap_or_default();
            match &answer.outcome {
                Ok(result) => {
                    line.extend(format!(r#"{{"answer":"done"{tag},"result":"#).bytes());
                    line.extend(result);
                }
                Err(why) => {
                    line.extend(
                        format!(r#"{{"answer":"error"{tag},"error":{}"#, json!(why)).bytes(),
                    );
                }
            }
            line.push(b'}');
        }
        Encoder::Text => {
            let tag = answer.tag.as_ref().map(|tag| word(&flat(tag)));
            let tag = tag
                .filter(|tag| !tag.is_empty())
                .unwrap_or_else(|| "-".to_owned());
            match &answer.outcome {
                Ok(result) => {
                    line.extend(format!("done {tag}").bytes());
                    if result != b"{}" {
                        line.push(b' ');
                        line.extend(result);
                    }
                }
                Err(why) => {
                    // Words again, each of them safe.
                    let words: Vec<String> = why.split(' ').map(word).collect();
                    line.extend(format!("error {tag} {}", words.join(" ")).bytes());
                }
            }
        }
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Event, Peer, Torrent};
    use crate::ids::{InfoHash, PeerId};

    fn record(event: Event) -> Record {
        Record {
            seq: 7,
            time: 9,
            event,
        }
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    const EVIL: &str =
        "x\n{\"event\":\"torrent.removed\"}\r\tsession.completed a=\\b\u{2028}\u{85}\u{202e}\0";

    /// A peer's or a torrent's name never ends the line it is in, nor the word.
    #[test]
    fn texts_of_strangers_cannot_forge_a_line() {
        let peer = record(Event::PeerConnected(Peer {
            info_hash: InfoHash([1; 20]),
            address: ([127, 0, 0, 1], 5).into(),
            peer_id: PeerId([b'-'; 20]),
            client: EVIL.to_owned(),
            direction: "incoming",
            transport: "tcp",
            encrypted: false,
            reason: "",
            bytes: 0,
            seconds: 0,
        }));
        let line = text(event(Encoder::Text, &peer));
        assert!(
            line.starts_with(
                "peer.connected seq=7 time=9 address=127.0.0.1:5 bytes=0 client=x\\n{"
            )
        );
        assert_eq!(line.lines().count(), 1);
        assert_eq!(
            line.chars().filter(|c| c.is_control()).count(),
            1,
            "its own end"
        );
        let keys = line.split_whitespace().skip(1);
        let keys: Vec<&str> = keys
            .filter_map(|word| word.split_once('=').map(|(key, _)| key))
            .collect();
        let known = [
            "seq",
            "time",
            "address",
            "bytes",
            "client",
            "direction",
            "encrypted",
            "info_hash",
            "peer_id",
            "reason",
            "seconds",
            "transport",
        ];
        assert_eq!(keys, known, "no word more");
        let line = text(event(Encoder::Json, &peer));
        assert_eq!(line.matches('\n').count(), 1);
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["client"], &json["seq"]), (&json!(EVIL), &json!(7)));
    }

    #[test]
    fn answers_carry_their_tag_in_both_spellings() {
        let done = |tag: Value, result: &str| Answer {
            tag: Some(tag),
            outcome: Ok(result.as_bytes().to_vec()),
        };
        let bare = Answer::error(None, "no\nsuch thing");
        #[rustfmt::skip]
        let table = [
            (Encoder::Json, done(json!(7), r#"{"a":1}"#), "{\"answer\":\"done\",\"tag\":7,\"result\":{\"a\":1}}\n"),
            (Encoder::Json, done(json!("x"), "{}"),       "{\"answer\":\"done\",\"tag\":\"x\",\"result\":{}}\n"),
            (Encoder::Json, bare.clone(),                 "{\"answer\":\"error\",\"error\":\"no\\nsuch thing\"}\n"),
            (Encoder::Text, done(json!(7), r#"{"a":1}"#), "done 7 {\"a\":1}\n"),
            (Encoder::Text, done(json!("x y"), "{}"),     "done x\\sy\n"),
            (Encoder::Text, bare,                         "error - no\\nsuch thing\n"),
        ];
        for (encoder, one, want) in table {
            assert_eq!(text(answer(encoder, &one)), want);
        }
    }

    #[test]
    fn an_answer_that_is_too_long_is_an_error_with_its_tag() {
        let long = Answer {
            tag: Some(json!(3)),
            outcome: Ok(vec![b'1'; LINE_BYTES_MAX]),
        };
        let line = text(answer(Encoder::Text, &long));
        assert!(
            line.starts_with("error 3 the answer is longer than 1 MiB"),
            "{line}"
        );
    }

    #[test]
    fn an_event_for_a_helper_of_words() {
        let added = record(Event::TorrentAdded(Torrent {
            info_hash: InfoHash([1; 20]),
            name: "n".to_owned(),
        }));
        let want = format!(
            "torrent.added seq=7 time=9 info_hash={} name=n\n",
            "01".repeat(20)
        );
        assert_eq!(text(event(Encoder::Text, &added)), want);
    }
}
