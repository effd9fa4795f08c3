//! Events posted to an address, one after the other, with patience. What waits, waits in the bounded buffer of the subscription.

use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Shared;
use crate::actor::bus::{Filter, NoEvent};
use crate::config::hooks::Webhook;
use crate::gateway::client::masked;

/// Tries of one event; then it is left out and logged.
const TRIES_MAX: u32 = 5;

/// Before the second try; it doubles with each further one.
const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// For one try.
const TRY_TIME_MAX: Duration = Duration::from_secs(15);

/// Posts events until there are no more.
pub(super) async fn run(webhook: Webhook, rpc: Option<SocketAddr>, shared: Rc<Shared>) {
    let names = webhook.events.iter().map(String::as_str);
    let filter = Filter::of(names).unwrap_or(Filter::ALL);
    let news = Arc::new(Notify::new());
    let wake = Arc::clone(&news);
    let subscription = (shared.handle).subscribe_waking(filter, move || wake.notify_one());
    // What is in the path or the query may be a secret.
    let name = masked(&webhook.url);
    let mut missed = 0;
    loop {
        match subscription.try_next() {
            Ok(record) => {
                let json = serde_json::to_vec(&*record).unwrap_or_default();
                if let Err(why) = post(&shared, &webhook.url, json, rpc).await {
                    log::error!(
                        "hooks.webhook {name}: event {} is left out: {why}",
                        record.seq
                    );
                }
            }
            Err(NoEvent::Ended) => return,
            Err(NoEvent::Empty) => {
                if subscription.missed() > missed {
                    let more = subscription.missed() - missed;
                    log::warn!(
                        "hooks.webhook {name}: {more} events were left out: too many waited"
                    );
                    missed += more;
                }
                news.notified().await;
            }
        }
    }
}

async fn post(
    shared: &Shared,
    url: &str,
    json: Vec<u8>,
    rpc: Option<SocketAddr>,
) -> Result<(), String> {
    let mut pause = PAUSE_FIRST;
    for attempt in 1.. {
        let is_barred = |address| rpc.is_some_and(|rpc| is_same(rpc, address));
        let posted = shared
            .tools
            .post(url, json.clone(), TRY_TIME_MAX, is_barred)
            .await;
        match posted {
            Ok(()) => return Ok(()),
            Err(fault) if !fault.again || attempt == TRIES_MAX => return Err(fault.text),
            Err(fault) => {
                log::debug!("hooks.webhook {}: {}, tried again", masked(url), fault.text);
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
    Ok(())
}

/// Whether whoever connects to `address` arrives at what listens on `rpc`.
fn is_same(rpc: SocketAddr, address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    if rpc.port() != address.port() {
        return false;
    }
    // Only an address of this host can be bound, and nobody else hears of it.
    let is_ours = || UdpSocket::bind((ip, 0)).is_ok();
    ip == rpc.ip().to_canonical() || ip.is_unspecified() || (rpc.ip().is_unspecified() && is_ours())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rpc_is_known_under_all_its_addresses() {
        #[rustfmt::skip]
        let table = [
            ("127.0.0.1:9091", "127.0.0.1:9091",          true),
            ("127.0.0.1:9091", "127.0.0.1:9092",          false),
            ("127.0.0.1:9091", "[::ffff:127.0.0.1]:9091", true),
            ("127.0.0.1:9091", "0.0.0.0:9091",            true),
            ("127.0.0.1:9091", "127.0.0.2:9091",          false),
            ("0.0.0.0:9091",   "127.0.0.1:9091",          true),
            ("0.0.0.0:9091",   "127.9.9.9:9091",          true),
            ("0.0.0.0:9091",   "192.0.2.1:9091",          false),
        ];
        for (rpc, address, want) in table {
            let found = is_same(rpc.parse().unwrap(), address.parse().unwrap());
            assert_eq!(found, want, "{address} on {rpc}");
        }
    }
}
