//! Arguments, taken apart with words for whoever sent something else.

use serde_json::{Map, Value};

use super::envelope::RpcError;
use super::names::ours;
use crate::engine::library::{Selection, TorrentKey};

/// The arguments of one request, in our spelling.
pub(super) type Params = Map<String, Value>;

/// Which torrents `ids` means: absent all, a number, a hash, a list of both, or the recent ones. Names of no torrent mean none.
///
/// # Errors
/// Anything else.
pub(super) fn ids(params: &Params) -> Result<Selection, RpcError> {
    let key = |value: &Value| match value {
        Value::Number(number) => {
            let number = number
                .as_i64()
                .and_then(|number| u32::try_from(number).ok());
            Ok(number.map(TorrentKey::Number))
        }
        Value::String(hash) => Ok(hash.parse().ok().map(TorrentKey::Hash)),
        _ => Err(RpcError::params(
            "ids: numbers, hashes or \"recently_active\"",
        )),
    };
    match params.get("ids") {
        None | Some(Value::Null) => Ok(Selection::All),
        Some(Value::String(word)) if ours(word) == "recently_active" => Ok(Selection::Recent),
        Some(Value::Array(list)) => {
            let keys: Result<Vec<_>, _> = list.iter().map(key).collect();
            Ok(Selection::Some(keys?.into_iter().flatten().collect()))
        }
        Some(one) => Ok(Selection::Some(key(one)?.into_iter().collect())),
    }
}

/// A text; `None` when it is not there.
///
/// # Errors
/// Something else is there.
pub(super) fn text<'a>(params: &'a Params, name: &str) -> Result<Option<&'a str>, RpcError> {
    match params.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(RpcError::params(format!("{name}: a text"))),
    }
}

/// A flag; old clients write 0 and 1.
///
/// # Errors
/// Something else is there.
pub(super) fn flag(params: &Params, name: &str) -> Result<Option<bool>, RpcError> {
    match params.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::Number(number)) if number.as_u64().is_some_and(|one| one < 2) => {
            Ok(Some(number.as_u64() == Some(1)))
        }
        Some(_) => Err(RpcError::params(format!("{name}: true or false"))),
    }
}

/// A number from 0.
///
/// # Errors
/// Something else is there.
pub(super) fn number(params: &Params, name: &str) -> Result<Option<u32>, RpcError> {
    match params.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| RpcError::params(format!("{name}: a number from 0"))),
    }
}

/// A list of texts.
///
/// # Errors
/// Something else is there.
pub(super) fn texts(params: &Params, name: &str) -> Result<Option<Vec<String>>, RpcError> {
    list(params, name, "texts", |value| {
        value.as_str().map(str::to_owned)
    })
}

/// A list of indices.
///
/// # Errors
/// Something else is there.
pub(super) fn indices(params: &Params, name: &str) -> Result<Option<Vec<usize>>, RpcError> {
    list(params, name, "indices from 0", |value| {
        usize::try_from(value.as_u64()?).ok()
    })
}

fn list<T>(
    params: &Params,
    name: &str,
    what: &str,
    item: impl Fn(&Value) -> Option<T>,
) -> Result<Option<Vec<T>>, RpcError> {
    match params.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => list
            .iter()
            .map(&item)
            .collect::<Option<Vec<T>>>()
            .map(Some)
            .ok_or_else(|| RpcError::params(format!("{name}: a list of {what}"))),
        Some(_) => Err(RpcError::params(format!("{name}: a list of {what}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn torrents_are_named_in_every_way_clients_do() {
        let hash = "0123456789abcdef0123456789ABCDEF01234567";
        let by_hash = TorrentKey::Hash(hash.parse().unwrap());
        #[rustfmt::skip]
        let table = [
            (json!({}),                                Some(Selection::All)),
            (json!({"ids": []}),                       Some(Selection::Some(vec![]))),
            (json!({"ids": 3}),                        Some(Selection::Some(vec![TorrentKey::Number(3)]))),
            (json!({"ids": hash}),                     Some(Selection::Some(vec![by_hash]))),
            (json!({"ids": [hash, 7, -1, "x"]}),       Some(Selection::Some(vec![by_hash, TorrentKey::Number(7)]))),
            (json!({"ids": "recently-active"}),        Some(Selection::Recent)),
            (json!({"ids": "recently_active"}),        Some(Selection::Recent)),
            (json!({"ids": {}}),                       None),
            (json!({"ids": [null]}),                   None),
        ];
        for (params, want) in table {
            let params = params.as_object().unwrap();
            assert_eq!(ids(params).ok(), want, "{params:?}");
        }
    }
}
