//! Any bytes as a message of the DHT: bounded, and what is written again is read the same.

use linnet::codec::krpc::{
    self, Body, Message, Method, SALT_MAX, TOKEN_MAX, TRANSACTION_MAX, VALUE_MAX, compact,
};

/// One case.
pub fn run(bytes: &[u8]) {
    let Ok(message) = krpc::decode(bytes) else {
        return;
    };
    assert!(message.transaction.len() <= TRANSACTION_MAX);
    match &message.body {
        Body::Query {
            sender,
            read_only,
            method,
        } => {
            if let Method::Put(put) = method {
                assert!(put.value.len() <= VALUE_MAX && put.token.len() <= TOKEN_MAX);
                assert!(
                    put.signed
                        .is_none_or(|signed| signed.salt.len() <= SALT_MAX)
                );
            }
            let again = krpc::encode_query(message.transaction, sender, *read_only, method);
            // A value that was not canonical is written so, and may then be longer than allowed or shorter.
            if !matches!(method, Method::Put(_)) {
                assert_eq!(krpc::decode(&again).as_ref(), Ok(&message));
            }
        }
        Body::Answer { answer, .. } => {
            assert!(answer.values.len() <= bytes.len() / 6);
            assert!(compact::nodes(answer.nodes).all(|node| node.address.is_ipv4()));
            assert!(compact::nodes6(answer.nodes6).all(|node| node.address.is_ipv6()));
            let to = "1.2.3.4:5".parse().expect("an address");
            let again = krpc::encode_answer(message.transaction, to, answer);
            if again.len() <= krpc::DATAGRAM_MAX && answer.stored.value.is_empty() {
                let body = Body::Answer {
                    ip: Some(to),
                    answer: answer.clone(),
                };
                let want = Message {
                    transaction: message.transaction,
                    body,
                };
                assert_eq!(krpc::decode(&again), Ok(want));
            }
        }
        Body::Error { .. } => {}
    }
}
