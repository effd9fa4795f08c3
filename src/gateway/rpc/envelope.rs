//! Requests and answers in their two dialects: Transmission's classic one, and JSON-RPC 2.0 as Transmission 4.1 speaks it.
//! Which one it is a request says itself, by its `jsonrpc` key.

use serde_json::{Map, Value, json};

use super::names::{Family, keys_classic, keys_ours, ours};

/// How a request is spelled, and so its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `{"method", "arguments", "tag"}`
    Classic,
    /// `{"jsonrpc": "2.0", "method", "params", "id"}`
    JsonRpc,
}

/// One request, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// How it is spelled.
    pub dialect: Dialect,
    /// In our spelling.
    pub method: String,
    /// Keys in our spelling.
    pub params: Map<String, Value>,
    /// What the answer carries to be told apart: `tag` or `id`. Without one a JSON-RPC request is a notification.
    pub tag: Option<Value>,
}

/// Why a request failed: the number of JSON-RPC (those from 1 on as Transmission numbers its own), and the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    /// As in JSON-RPC.
    pub code: i32,
    /// One line for a person; clients show it.
    pub text: String,
    /// What makes it an HTTP status of its own: 503 when there was no room, 504 when there was silence.
    pub status: Option<u16>,
}

impl RpcError {
    /// Bytes that are no JSON.
    pub const PARSE: i32 = -32700;
    /// JSON that is no request.
    pub const INVALID: i32 = -32600;
    /// No such method.
    pub const METHOD: i32 = -32601;
    /// Arguments that make no sense.
    pub const PARAMS: i32 = -32602;
    /// It is our own fault, or the engine does not answer.
    pub const INTERNAL: i32 = -32603;
    /// A path that is not absolute.
    pub const PATH_NOT_ABSOLUTE: i32 = 3;
    /// The system said no.
    pub const SYSTEM: i32 = 5;
    /// A file that the torrent does not have.
    pub const FILE_INDEX: i32 = 6;
    /// A URL that could not be fetched.
    pub const HTTP: i32 = 8;
    /// A torrent that is none.
    pub const CORRUPT_TORRENT: i32 = 9;

    /// With the number `code`.
    #[must_use]
    pub fn new(code: i32, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            status: None,
        }
    }

    /// Wrong arguments.
    #[must_use]
    pub fn params(text: impl Into<String>) -> Self {
        Self::new(Self::PARAMS, text)
    }
}

/// What a method gives.
#[derive(Debug)]
pub enum Output {
    /// In our spelling; the names belong to this family.
    Value(Family, Value),
    /// JSON, spelled for the dialect already.
    Json(Vec<u8>),
}

/// Understands one request.
///
/// # Errors
/// An answer to give in its place.
pub fn parse(value: Value) -> Result<Call, (Dialect, Option<Value>, RpcError)> {
    let Value::Object(mut map) = value else {
        let fault = RpcError::new(RpcError::INVALID, "a request is an object");
        return Err((Dialect::JsonRpc, Some(Value::Null), fault));
    };
    let dialect = if map.contains_key("jsonrpc") {
        Dialect::JsonRpc
    } else {
        Dialect::Classic
    };
    let (params, tag) = match dialect {
        Dialect::Classic => (map.remove("arguments"), map.remove("tag")),
        Dialect::JsonRpc => (map.remove("params"), map.remove("id")),
    };
    let refuse = |code, text| Err((dialect, tag.clone(), RpcError::new(code, text)));
    if dialect == Dialect::JsonRpc && map.get("jsonrpc") != Some(&json!("2.0")) {
        return refuse(RpcError::INVALID, "jsonrpc must be \"2.0\"");
    }
    let method = match map.remove("method") {
        Some(Value::String(method)) => ours(&method),
        _ => return refuse(RpcError::INVALID, "no method name"),
    };
    let params = match params.map(keys_ours) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return refuse(RpcError::PARAMS, "arguments are named, in an object"),
    };
    Ok(Call {
        dialect,
        method,
        params,
        tag,
    })
}

/// The answer to a request; `None` where none is to be given.
#[must_use]
pub fn answer(
    dialect: Dialect,
    tag: Option<Value>,
    outcome: Result<Output, RpcError>,
) -> Option<Vec<u8>> {
    match dialect {
        Dialect::Classic => Some(classic_answer(tag, outcome)),
        Dialect::JsonRpc => tag.map(|id| json_rpc_answer(&id, outcome)),
    }
}

/// A result alone, as JSON in the spelling of `dialect`.
#[must_use]
pub fn result(dialect: Dialect, output: Output) -> Vec<u8> {
    match (dialect, output) {
        (_, Output::Json(bytes)) => bytes,
        (Dialect::Classic, Output::Value(family, value)) => bytes(&keys_classic(value, family)),
        (Dialect::JsonRpc, Output::Value(_, value)) => bytes(&value),
    }
}

fn classic_answer(tag: Option<Value>, outcome: Result<Output, RpcError>) -> Vec<u8> {
    let (arguments, result) = match outcome {
        Ok(Output::Value(family, value)) => (bytes(&keys_classic(value, family)), json!("success")),
        Ok(Output::Json(bytes)) => (bytes, json!("success")),
        Err(fault) => (b"{}".to_vec(), json!(fault.text)),
    };
    let mut out = br#"{"arguments":"#.to_vec();
    out.extend(arguments);
    out.extend(br#","result":"#);
    out.extend(bytes(&result));
    if let Some(tag) = tag {
        out.extend(br#","tag":"#);
        out.extend(bytes(&tag));
    }
    out.push(b'}');
    out
}

fn json_rpc_answer(id: &Value, outcome: Result<Output, RpcError>) -> Vec<u8> {
    let mut out = br#"{"jsonrpc":"2.0","id":"#.to_vec();
    out.extend(bytes(id));
    match outcome {
        Ok(output) => {
            out.extend(br#","result":"#);
            out.extend(match output {
                Output::Value(_, value) => bytes(&value),
                Output::Json(bytes) => bytes,
            });
        }
        Err(fault) => {
            let error = json!({
                "code": fault.code,
                "message": fault.text,
                "data": { "error_string": fault.text, "result": {} },
            });
            out.extend(br#","error":"#);
            out.extend(bytes(&error));
        }
    }
    out.push(b'}');
    out
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Option<Vec<u8>>) -> String {
        bytes.map_or_else(String::new, |bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn requests_are_read_in_both_dialects() {
        let call = parse(
            json!({"method": "torrent-get", "arguments": {"ids": [1], "peer-limit": 3}, "tag": 7}),
        );
        let call = call.unwrap();
        assert_eq!(
            (call.dialect, &*call.method),
            (Dialect::Classic, "torrent_get")
        );
        assert_eq!(call.params["peer_limit"], 3);
        assert_eq!(call.tag, Some(json!(7)));
        let call = parse(json!({"jsonrpc": "2.0", "method": "torrent_get", "id": "a"})).unwrap();
        assert_eq!(
            (call.dialect, call.tag),
            (Dialect::JsonRpc, Some(json!("a")))
        );
        #[rustfmt::skip]
        let wrong = [
            (json!(3),                                                    RpcError::INVALID),
            (json!({}),                                                   RpcError::INVALID),
            (json!({"method": 1}),                                        RpcError::INVALID),
            (json!({"method": "a", "arguments": [1]}),                    RpcError::PARAMS),
            (json!({"jsonrpc": "1.0", "method": "a"}),                    RpcError::INVALID),
            (json!({"jsonrpc": "2.0", "method": "a", "params": [1]}),     RpcError::PARAMS),
        ];
        for (request, code) in wrong {
            assert_eq!(
                parse(request.clone()).unwrap_err().2.code,
                code,
                "{request}"
            );
        }
    }

    #[test]
    fn answers_are_spelled_as_their_requests() {
        let value = || Ok(Output::Value(Family::Kebab, json!({"download_dir": "/d"})));
        #[rustfmt::skip]
        let table = [
            (answer(Dialect::Classic, Some(json!(4)), value()),    r#"{"arguments":{"download-dir":"/d"},"result":"success","tag":4}"#),
            (answer(Dialect::Classic, None, value()),              r#"{"arguments":{"download-dir":"/d"},"result":"success"}"#),
            (answer(Dialect::JsonRpc, Some(json!("x")), value()),  r#"{"jsonrpc":"2.0","id":"x","result":{"download_dir":"/d"}}"#),
            (answer(Dialect::JsonRpc, None, value()),              ""),
            (answer(Dialect::Classic, None, Err(RpcError::new(1, "no"))), r#"{"arguments":{},"result":"no"}"#),
        ];
        for (got, want) in table {
            assert_eq!(text(got), want);
        }
        let failed = text(answer(
            Dialect::JsonRpc,
            Some(json!(1)),
            Err(RpcError::new(3, "no")),
        ));
        let failed: Value = serde_json::from_str(&failed).unwrap();
        assert_eq!(failed["error"]["code"], 3);
        assert_eq!(failed["error"]["data"]["error_string"], "no");
    }
}
