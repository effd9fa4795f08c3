//! Tracker URLs for people and logs: private trackers put a member's key into the URL, and a log is soon shown to others.
//!
//! Masked are user and password, every query value, and every part of the path that looks like a key. Too much masking
//! costs a little clarity, too little costs an account.

use std::borrow::Cow;

use super::printable;

/// What stands for a secret.
const MASK: &str = "***";
/// A part of a path this long is taken for a key whatever it says.
const KEY_BYTES: usize = 16;
/// A part of a path this long is taken for a key when it has a digit: `announce` is none, `a1b2c3d4` may be one.
const SHORT_KEY_BYTES: usize = 8;

/// `url` with its secrets masked: its scheme, host and port stay, its fragment goes; printable and bounded.
#[must_use]
pub fn mask(url: &str) -> String {
    let mut out = String::new();
    for part in parts(url) {
        out.push_str(match part {
            Part::Plain(text) => text,
            Part::Secret(_) => MASK,
        });
    }
    printable(out.as_bytes())
}

/// `text` as [`printable`] makes it, with every secret of `url` masked, and every other URL in it masked too.
///
/// For errors of others: the HTTP client names the URL it asked, and trackers repeat the key they were sent.
#[must_use]
pub fn mask_in(text: &str, url: &str) -> String {
    let mut text = Cow::Borrowed(text);
    for part in parts(url) {
        // Short values (`compact=1`) are no secrets and would tear holes into the text.
        if let Part::Secret(secret) = part
            && secret.len() >= 6
            && text.contains(secret)
        {
            text = text.replace(secret, MASK).into();
        }
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | ')' | '<' | '>');
    let masked: String = text
        .split_inclusive(ends)
        .map(|word| {
            if word.contains("://") {
                let (url, end) = word.split_at(word.trim_end_matches(ends).len());
                Cow::Owned(mask(url) + end)
            } else {
                Cow::Borrowed(word)
            }
        })
        .collect();
    printable(masked.as_bytes())
}

/// A stretch of a URL.
enum Part<'a> {
    Plain(&'a str),
    Secret(&'a str),
}

/// Cuts `url` without its fragment into what may be shown and what may not. Works on any text: what cannot be parsed must
/// be masked all the more.
fn parts(url: &str) -> Vec<Part<'_>> {
    let url = url.split('#').next().unwrap_or(url);
    let (scheme, rest) = match url.find("://") {
        Some(at) => url.split_at(at + 3),
        None => ("", url),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));

    let mut parts = vec![Part::Plain(scheme)];
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            parts.extend([Part::Secret(user), Part::Plain("@"), Part::Plain(host)])
        }
        None => parts.push(Part::Plain(authority)),
    }
    for piece in path.split_inclusive('/') {
        let name = piece.strip_suffix('/').unwrap_or(piece);
        let digit = name.bytes().any(|byte| byte.is_ascii_digit());
        if name.len() >= KEY_BYTES || digit && name.len() >= SHORT_KEY_BYTES {
            parts.push(Part::Secret(name));
            parts.push(Part::Plain(&piece[name.len()..]));
        } else {
            parts.push(Part::Plain(piece));
        }
    }
    let mut mark = "?";
    for item in query.split(['&', ';']).filter(|item| !item.is_empty()) {
        parts.push(Part::Plain(mark));
        mark = "&";
        match item.split_once('=') {
            Some((name, value)) if name.len() < KEY_BYTES => {
                parts.extend([Part::Plain(name), Part::Plain("="), Part::Secret(value)]);
            }
            Some((name, value)) => {
                parts.extend([Part::Secret(name), Part::Plain("="), Part::Secret(value)])
            }
            None => parts.push(Part::Secret(item)),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_url_are_masked() {
        #[rustfmt::skip]
        let table = [
            ("udp://tracker.example:6969/announce",            "udp://tracker.example:6969/announce"),
            ("http://t.example/announce.php?passkey=abc&x=1",  "http://t.example/announce.php?passkey=***&x=***"),
            ("http://t.example/announce?0123456789abcdef",     "http://t.example/announce?***"),
            ("http://t.example/a1b2c3d4/announce",             "http://t.example/***/announce"),
            ("https://t.example/secretsecretsecret/announce",  "https://t.example/***/announce"),
            ("https://t.example/0123456789abcdef0123456789abcdef", "https://t.example/***"),
            ("http://me:pass@t.example:80/announce",           "http://***@t.example:80/announce"),
            ("http://a@b:c@t.example/announce",                "http://***@t.example/announce"),
            ("http://t.example?key=v#secret",                  "http://t.example?key=***"),
            ("http://[::1]:6969/announce",                     "http://[::1]:6969/announce"),
            ("no url at all",                                  "no url at all"),
            ("",                                               ""),
            ("http://t.example/\u{1b}[2J",                     "http://t.example/ [2J"),
        ];
        for (url, shown) in table {
            assert_eq!(mask(url), shown, "{url}");
        }
        assert!(
            mask(&format!("http://{}/", "x".repeat(9999))).len() <= super::super::TEXT_CHARS_MAX
        );
    }

    #[test]
    fn secrets_are_masked_in_texts_of_others() {
        let url = "http://t.example/announce?passkey=0a1b2c3d4e5f";
        #[rustfmt::skip]
        let table = [
            ("timed out", "timed out"),
            ("passkey 0a1b2c3d4e5f is unknown", "passkey *** is unknown"),
            ("error for url (http://t.example/announce?passkey=0a1b2c3d4e5f&info_hash=%01)",
             "error for url (http://t.example/announce?passkey=***&info_hash=***)"),
            ("moved to https://new.example/ffffffff00000000/announce, \"later\"",
             "moved to https://new.example/***/announce, \"later\""),
        ];
        for (text, shown) in table {
            assert_eq!(mask_in(text, url), shown);
        }
    }
}
