#!/usr/bin/python3
"""libtorrent as a peer for tests and benches.

    lt.py seed|get TORRENT|MAGNET DIR [--listen ADDRESS]... [--peer HOST:PORT]... [--up RATE] [--trackers] [--utp] [--pex] [--lsd]
           [--check] [--exit] [--set NAME=NUMBER]...

Says on stdout, a line each: `port N` (one per --listen, in that order), `ready` once the data is checked and peers are
let in, `done` once everything is there and flushed. Reads commands from stdin: `stats` (answers `stats {json}`),
`peer HOST:PORT` (dials), `recheck` (answers `rechecked SECONDS`), `quit`. Ends when stdin does, so that no process
outlives its test.

A seed trusts its data unless --check is given. Plain TCP only, or uTP only with --utp; no discovery but the torrent's own
trackers, those only with --trackers, with --pex what peers tell, and with --lsd local service discovery.
"""

import argparse
import ctypes
import json
import os
import select
import signal
import sys
import time

import libtorrent as lt

LIMITS = {
    "alert_mask": lt.alert.category_t.status_notification
    | lt.alert.category_t.error_notification
    | lt.alert.category_t.storage_notification,
    "allow_multiple_connections_per_ip": True,
    "active_checking": -1,
    "active_downloads": -1,
    "active_limit": -1,
    "active_seeds": -1,
    "aio_threads": 4,
    "connection_speed": 500,
    "connections_limit": 4000,
    "enable_dht": False,
    "enable_incoming_utp": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_outgoing_utp": False,
    "enable_upnp": False,
    "in_enc_policy": 2,  # pe_disabled
    "out_enc_policy": 2,
    "listen_queue_size": 512,
    "max_allowed_in_request_queue": 4000,
    "max_out_request_queue": 2000,
    "max_peerlist_size": 0,
    "min_reconnect_time": 1,
    "peer_connect_timeout": 5,
    "recv_socket_buffer_size": 0,
    "request_queue_time": 10,
    "seeding_outgoing_connections": True,
    "send_buffer_low_watermark": 512 * 1024,
    "send_buffer_watermark": 4 * 1024 * 1024,
    "send_buffer_watermark_factor": 200,
    "suggest_mode": 0,
    "unchoke_slots_limit": -1,
    "user_agent": "linnet-test-peer",
}


def say(*words):
    print(*words, flush=True)


def endpoint(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def address_with_any_port(address):
    return f"[{address}]:0" if ":" in address else f"{address}:0"


def main():
    # The parent's end is ours, also when it is killed between two reads of stdin.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["seed", "get"])
    parser.add_argument("torrent")
    parser.add_argument("dir")
    parser.add_argument("--listen", action="append", default=[])
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--up", type=int, default=0)
    parser.add_argument("--trackers", action="store_true")
    parser.add_argument("--utp", action="store_true")
    parser.add_argument("--pex", action="store_true")
    parser.add_argument("--lsd", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--exit", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER")
    args = parser.parse_args()
    listen = args.listen or ["127.0.0.1"]

    interfaces = ",".join(address if address.rpartition(":")[2].isdigit() and address.count(":") == 1
                          else address_with_any_port(address) for address in listen)
    # It dials from where it listens: some clients take one stream per address only.
    outgoing = listen[0] if len(listen) == 1 else ""
    changed = {name: type(LIMITS[name])(int(value)) if name in LIMITS else int(value)
               for name, _, value in (word.partition("=") for word in args.set)}
    session = lt.session({**LIMITS, "enable_lsd": args.lsd, "listen_interfaces": interfaces, "outgoing_interfaces": outgoing,
                          **changed})
    if args.utp:
        session.apply_settings({
            "enable_incoming_tcp": False,
            "enable_incoming_utp": True,
            "enable_outgoing_tcp": False,
            "enable_outgoing_utp": True,
        })
    if args.up:
        # Peers on loopback are exempt from limits unless all are put into the global class.
        everyone = lt.ip_filter()
        everyone.add_rule("0.0.0.0", "255.255.255.255", 1 << session.global_peer_class_id)
        session.set_peer_class_filter(everyone)
        session.apply_settings({"upload_rate_limit": args.up})

    ports = {}
    deadline = time.monotonic() + 10
    while len(ports) < len(listen) and time.monotonic() < deadline:
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            if isinstance(alert, lt.listen_succeeded_alert) and "TCP" in str(alert):
                ports.setdefault(str(alert.address), alert.port)
            elif isinstance(alert, lt.listen_failed_alert):
                say("error", alert.message())
                return 1
    for address in listen:
        say("port", ports[address.rpartition(":")[0] if address.count(":") == 1 else address])

    if args.torrent.startswith("magnet:"):
        params = lt.parse_magnet_uri(args.torrent)
    else:
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(args.torrent)
    params.save_path = args.dir
    params.flags = lt.torrent_flags.disable_dht | lt.torrent_flags.disable_lsd | lt.torrent_flags.disable_pex
    if args.pex:
        params.flags &= ~lt.torrent_flags.disable_pex
    if args.lsd:
        params.flags &= ~lt.torrent_flags.disable_lsd
    if args.mode == "seed" and not args.check:
        params.flags |= lt.torrent_flags.seed_mode
    if not args.trackers:
        params.flags |= lt.torrent_flags.override_trackers
        params.trackers = []
    torrent = session.add_torrent(params)
    if not args.trackers:
        torrent.replace_trackers([])

    ready = done = False
    rechecking = None
    dialled = []
    for peer in args.peer:
        dialled.append(endpoint(peer))
    pending = b""
    os.set_blocking(0, False)
    while True:
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            if isinstance(alert, (lt.torrent_error_alert, lt.file_error_alert)):
                say("error", alert.message())
            elif isinstance(alert, lt.cache_flushed_alert) and not done:
                done = True
                say("done")
                if args.exit:
                    return 0
        status = torrent.status()
        checked = status.state in (lt.torrent_status.downloading_metadata, lt.torrent_status.downloading,
                                   lt.torrent_status.finished, lt.torrent_status.seeding)
        if checked and not ready:
            ready = True
            say("ready")
            for peer in dialled:
                torrent.connect_peer(peer)
        if rechecking is not None and checked and time.monotonic() - rechecking[1] > 0.2:
            say("rechecked", f"{time.monotonic() - rechecking[0]:.3f}", f"{status.progress:.4f}")
            rechecking = None
        if ready and not done and status.is_seeding and rechecking is None:
            torrent.flush_cache()
        if rechecking is not None and not checked:
            rechecking[1] = 0
        if not select.select([0], [], [], 0)[0]:
            continue
        data = os.read(0, 65536)
        if not data:
            return 0
        pending += data
        while b"\n" in pending:
            line, pending = pending.split(b"\n", 1)
            words = line.decode().split()
            if words == ["quit"]:
                return 0
            if words == ["stats"]:
                status = torrent.status()
                say("stats", json.dumps({
                    "uploaded": status.total_payload_upload,
                    "downloaded": status.total_payload_download,
                    "failed": status.total_failed_bytes,
                    "peers": status.num_peers,
                    "progress": status.progress,
                }))
            elif words == ["recheck"]:
                torrent.force_recheck()
                rechecking = [time.monotonic(), time.monotonic()]
            elif len(words) == 2 and words[0] == "peer":
                torrent.connect_peer(endpoint(words[1]))


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # libtorrent's own teardown waits for trackers; nothing of ours is left to save.
    os._exit(status or 0)
