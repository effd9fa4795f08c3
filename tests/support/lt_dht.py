#!/usr/bin/python3
"""libtorrent in the DHT, for tests: peers are found there and nowhere else.

    lt_dht.py node ADDRESS
    lt_dht.py seed|get ADDRESS BOOTSTRAP TORRENT DIR

ADDRESS is where it listens, on any port, IPv6 in brackets; BOOTSTRAP is HOST:PORT. Says on stdout `port N`, `ready` once its
torrent is checked, `done` once everything is there. Answers `nodes` on stdin with `nodes N`. Ends when stdin does.
"""

import ctypes
import os
import select
import signal
import sys
import time

import libtorrent as lt

SETTINGS = {
    "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification
    | lt.alert.category_t.storage_notification | lt.alert.category_t.dht_notification,
    "allow_multiple_connections_per_ip": True,
    "dht_announce_interval": 5,
    "dht_bootstrap_nodes": "",
    "dht_ignore_dark_internet": False,
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "enable_dht": True,
    "enable_incoming_utp": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_outgoing_utp": False,
    "enable_upnp": False,
    "in_enc_policy": 2,  # pe_disabled
    "out_enc_policy": 2,
    "min_reconnect_time": 1,
    "user_agent": "linnet-test-node",
}


def say(*words):
    print(*words, flush=True)


def main():
    # The parent's end is ours, also when it is killed between two reads of stdin.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    mode, address = sys.argv[1:3]
    session = lt.session({**SETTINGS, "listen_interfaces": f"{address}:0"})
    port = None
    deadline = time.monotonic() + 10
    while port is None and time.monotonic() < deadline:
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            # Of its datagram socket, whatever else goes over it.
            if isinstance(alert, lt.listen_succeeded_alert) and "uTP" in str(alert):
                port = alert.port
    say("port", port)
    torrent = None
    if mode != "node":
        bootstrap, file, directory = sys.argv[3:6]
        host, _, number = bootstrap.rpartition(":")
        session.add_dht_node((host.strip("[]"), int(number)))
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(file)
        params.save_path = directory
        params.flags = lt.torrent_flags.disable_lsd | lt.torrent_flags.disable_pex
        if mode == "seed":
            params.flags |= lt.torrent_flags.seed_mode
        torrent = session.add_torrent(params)
    ready = done = False
    while True:
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            if isinstance(alert, (lt.torrent_error_alert, lt.file_error_alert)):
                say("error", alert.message())
            elif isinstance(alert, lt.cache_flushed_alert) and not done:
                done = True
                say("done")
        if torrent is not None:
            status = torrent.status()
            if not ready and status.state in (lt.torrent_status.downloading, lt.torrent_status.finished, lt.torrent_status.seeding):
                ready = True
                say("ready")
            if ready and not done and mode == "get" and status.is_seeding:
                torrent.flush_cache()
        if select.select([0], [], [], 0)[0]:
            data = os.read(0, 4096)
            if not data:
                return
            for _ in range(data.count(b"nodes\n")):
                say("nodes", session.status().dht_nodes)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
