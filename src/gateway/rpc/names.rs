//! The names of the RPC, once: how each is spelled in which dialect.
//!
//! Inside there is one spelling, `snake_case`, which is that of the JSON-RPC 2.0 dialect. The classic dialect spells torrents
//! and what belongs to them in `camelCase`, everything else in `kebab-case`, but for history's exceptions, which are the table.
//! On input any spelling of any dialect is understood in either.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Which family of names an object belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Torrents and what belongs to them, statistics.
    Camel,
    /// Settings, arguments, results.
    Kebab,
}

/// Names that the classic dialect does not spell by its own rule: ours, and theirs, by family.
#[rustfmt::skip]
const EXCEPTIONS: &[(&str, Family, &str)] = &[
    // Torrents.
    ("file_count",                    Family::Camel, "file-count"),
    ("peer_limit",                    Family::Camel, "peer-limit"),
    ("primary_mime_type",             Family::Camel, "primary-mime-type"),
    ("is_utp",                        Family::Camel, "isUTP"),
    ("webseeds_ex",                   Family::Camel, "webseeds_ex"),
    ("sequential_download",           Family::Camel, "sequential_download"),
    ("sequential_download_from_piece", Family::Camel, "sequential_download_from_piece"),
    // Statistics.
    ("cumulative_stats",              Family::Camel, "cumulative-stats"),
    ("current_stats",                 Family::Camel, "current-stats"),
    // Results.
    ("hash_string",                   Family::Kebab, "hashString"),
    ("total_size",                    Family::Kebab, "total_size"),
    // Settings.
    ("seed_ratio_limit",              Family::Kebab, "seedRatioLimit"),
    ("seed_ratio_limited",            Family::Kebab, "seedRatioLimited"),
    ("cache_size_mib",                Family::Kebab, "cache-size-mb"),
    ("preferred_transports",          Family::Kebab, "preferred_transports"),
    ("sequential_download",           Family::Kebab, "sequential_download"),
    // Groups.
    ("honors_session_limits",         Family::Kebab, "honorsSessionLimits"),
];

/// What others call `name`, beside its spellings in another case.
const ALIASES: &[(&str, &str)] = &[("cache_size_mb", "cache_size_mib")];

/// `name` as the classic dialect spells it.
#[must_use]
pub fn classic(name: &str, family: Family) -> Cow<'_, str> {
    let found = EXCEPTIONS
        .iter()
        .find(|(ours, of, _)| *ours == name && *of == family);
    if let Some((_, _, theirs)) = found {
        return Cow::Borrowed(theirs);
    }
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    match family {
        Family::Kebab => Cow::Owned(name.replace('_', "-")),
        Family::Camel => {
            let mut out = String::with_capacity(name.len());
            let mut up = false;
            for c in name.chars() {
                if c == '_' {
                    up = true;
                } else if std::mem::take(&mut up) {
                    out.push(c.to_ascii_uppercase());
                } else {
                    out.push(c);
                }
            }
            Cow::Owned(out)
        }
    }
}

/// `name`, in whatever spelling, as we spell it. A name of no meaning stays one.
#[must_use]
pub fn ours(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut before = '_';
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            // `isUTP` is `is_utp`: only the first of a run begins a word.
            if !before.is_ascii_uppercase() && before != '_' && before != '-' {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
        } else {
            out.push(if c == '-' { '_' } else { c });
        }
        before = c;
    }
    let alias = ALIASES.iter().find(|(theirs, _)| *theirs == out);
    alias.map_or(out, |(_, ours)| (*ours).to_owned())
}

/// All keys of `value`, at every depth, as we spell them. Its depth is bounded by the parser's.
#[must_use]
pub fn keys_ours(value: Value) -> Value {
    keys(value, &|key| ours(&key))
}

/// All keys of `value`, at every depth, as the classic dialect spells them.
#[must_use]
pub fn keys_classic(value: Value, family: Family) -> Value {
    keys(value, &|key| classic(&key, family).into_owned())
}

fn keys(value: Value, rename: &impl Fn(String) -> String) -> Value {
    match value {
        Value::Object(map) => {
            let renamed = map
                .into_iter()
                .map(|(key, value)| (rename(key), keys(value, rename)));
            Value::Object(renamed.collect::<Map<_, _>>())
        }
        Value::Array(list) => list.into_iter().map(|item| keys(item, rename)).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_understood_and_given_back_as_it_was() {
        #[rustfmt::skip]
        let table = [
            ("download_dir",        Family::Camel, "downloadDir"),
            ("download_dir",        Family::Kebab, "download-dir"),
            ("hash_string",         Family::Camel, "hashString"),
            ("hash_string",         Family::Kebab, "hashString"),
            ("file_count",          Family::Camel, "file-count"),
            ("is_utp",              Family::Camel, "isUTP"),
            ("eta",                 Family::Camel, "eta"),
            ("peers_getting_from_us", Family::Camel, "peersGettingFromUs"),
            ("seed_ratio_limit",    Family::Kebab, "seedRatioLimit"),
            ("rpc_version_minimum", Family::Kebab, "rpc-version-minimum"),
            ("cache_size_mib",      Family::Kebab, "cache-size-mb"),
            ("total_size",          Family::Kebab, "total_size"),
            ("torrent_added",       Family::Kebab, "torrent-added"),
        ];
        for (name, family, theirs) in table {
            assert_eq!(classic(name, family), theirs);
            assert_eq!(ours(theirs), name);
            assert_eq!(ours(name), name);
        }
        assert_eq!(ours("fileCount"), "file_count");
        assert_eq!(ours("torrent-get"), "torrent_get");
    }
}
