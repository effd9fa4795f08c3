#!/usr/bin/python3
"""Runs every client through every case in turn, and prints the table. Started by benches/compare."""

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from clients import ALL, ROOT, Failed, Peer, Process, Talking, wait_for

GIB = 1 << 30
PIECE = 1 << 20

CASES = {
    "seed1": "seed to 1",
    "seed8": "seed to 8",
    "seed1disk": "seed to 1, from the page cache of a disk",
    "get1": "download from 1",
    "get8": "download from 8",
    "seed200": "seed to 200 plain connections, 4 requests of 16 KiB each",
    "verify": "verify in the page cache",
    "first": "first block on disk",
    "idle100": "idle with 100 connections, % of a core",
}


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def size(text):
    units = {"K": 10, "M": 20, "G": 30}
    return int(text[:-1]) << units[text[-1].upper()] if text[-1].upper() in units else int(text)


class Torrent:
    """One file of noise, written once, and its .torrent, made here."""

    def __init__(self, directory, name, length):
        self.name, self.length = name, length
        self.dir = directory
        self.data = os.path.join(directory, name)
        self.file = os.path.join(directory, name + ".torrent")
        pieces = []
        with open(self.data, "wb") as out:
            for index in range(length // PIECE):
                piece = hashlib.shake_128(f"{name} {index}".encode()).digest(4096) * (PIECE // 4096)
                piece = index.to_bytes(8, "little") + piece[8:]
                pieces.append(hashlib.sha1(piece).digest())
                out.write(piece)
        hashes = b"".join(pieces)
        info = (b"d6:lengthi%de4:name%d:%s12:piece lengthi%de6:pieces%d:%se"
                % (length, len(name), name.encode(), PIECE, len(hashes), hashes))
        with open(self.file, "wb") as out:
            out.write(b"d4:info" + info + b"e")
        self.hashes = hashes
        self.info_hash = hashlib.sha1(info).hexdigest()
        self.share = f"{self.info_hash},{PIECE},{length}"

    def check(self, path):
        """Raises unless the file at `path` is this torrent's."""
        if os.path.getsize(path) != self.length:
            raise Failed(f"{path} has the wrong length")
        with open(path, "rb") as data:
            for index in range(self.length // PIECE):
                if hashlib.sha1(data.read(PIECE)).digest() != self.hashes[20 * index:20 * index + 20]:
                    raise Failed(f"piece {index} of {path} is wrong")


class Bench:
    def __init__(self, args):
        self.args = args
        self.shm = tempfile.mkdtemp(prefix="compare-", dir="/dev/shm")
        self.disk = tempfile.mkdtemp(prefix="compare-", dir=os.path.join(ROOT, "target"))
        self.warm = os.path.join(self.shm, "warm")
        self.results = {}
        self.facts = {}
        self.peers = []

    def __enter__(self):
        say("making the data")
        self.torrent = Torrent(self.shm, "data", self.args.size)
        self.quarter = Torrent(self.shm, "part", self.args.size // 4)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.shm, ignore_errors=True)
        shutil.rmtree(self.disk, ignore_errors=True)

    def fresh(self, length=0):
        """An empty directory in memory for what is written next.

        A file of that length is written there and deleted just before: its pages are warm. Some virtual machines hand
        freed memory back to their host within seconds, and the first touch of a page then costs several times more.
        """
        into = tempfile.mkdtemp(dir=self.shm)
        if length:
            chunk = bytes(PIECE)
            with open(self.warm, "wb") as out:
                for _ in range(length // PIECE):
                    out.write(chunk)
            os.unlink(self.warm)
        return into

    def peer(self, mode, torrent, directory, work):
        peer = Peer(mode, torrent.file, directory, work)
        self.peers.append(peer)
        return peer

    def end_peers(self):
        for peer in self.peers:
            peer.stop()
        self.peers = []

    # One run of one case: what it cost, in the unit of the case.

    def seed(self, client, torrent, data_dir, count):
        client.start_seed(torrent.file, data_dir)
        wait_for("the seed", client.ready_to_seed)
        into = [self.fresh(torrent.length) for _ in range(count)]
        peers = [self.peer("get", torrent, directory, client.work) for directory in into]
        before = client.process.cpu()
        redial_until(peers, client, lambda: all([peer.is_done() for peer in peers]))
        cost = client.process.cpu() - before
        client.process.look()
        self.end_peers()
        client.stop()
        for directory in into:
            torrent.check(os.path.join(directory, torrent.name))
            shutil.rmtree(directory)
        return cost / (count * torrent.length / GIB)

    def get(self, client, count):
        torrent = self.torrent
        peers = [self.peer("seed", torrent, self.shm, client.work) for _ in range(count)]
        into = self.fresh(torrent.length)
        client.start_get(torrent.file, into, [peer.address for peer in peers])
        redial_until([] if client.dials() else peers, client, client.is_done)
        client.process.look()
        cost = client.stop()
        self.end_peers()
        torrent.check(os.path.join(into, torrent.name))
        shutil.rmtree(into)
        return cost / (torrent.length / GIB)

    def floor(self):
        """A plain program that receives the same bytes and writes them to a new file."""
        work = tempfile.mkdtemp(dir=self.disk)
        into = self.fresh(self.torrent.length)
        process = Talking([self.args.load, "floor", "--into", os.path.join(into, "data"), "--bytes",
                           str(self.torrent.length)], work, "floor")
        port = int(process.wait_said("port").split()[1])
        sender = subprocess.Popen(["/usr/bin/python3", "-c", SENDER, str(port), self.torrent.data])
        process.wait()
        sender.wait()
        self.torrent.check(os.path.join(into, "data"))
        shutil.rmtree(into)
        return process.cpu() / (self.torrent.length / GIB)

    def seed200(self, client):
        client.start_seed(self.torrent.file, self.shm)
        wait_for("the seed", client.ready_to_seed)
        before = client.process.cpu()
        load = Talking([self.args.load, "swarm", "--to", f"127.0.0.1:{client.port}", "--torrent", self.torrent.share,
                        "--peers", "200", "--outstanding", "4", "--bytes", str(self.torrent.length)],
                       client.work, "load")
        code = load.wait()
        cost = client.process.cpu() - before
        client.process.look()
        client.stop()
        if code:
            raise Failed(load.text()[-500:])
        answer = json.loads(load.text().splitlines()[-1])
        self.fact(client, "seed200: peers served", answer["peers_served"])
        self.fact(client, "seed200: MiB/s", round(answer["bytes"] / answer["seconds"] / (1 << 20)))
        if answer["peers_served"] < 200:
            # Serving a few and leaving the others waiting is another task, and a cheaper one.
            return None
        return cost / (answer["bytes"] / GIB)

    def idle100(self, client):
        client.start_seed(self.torrent.file, self.shm)
        wait_for("the seed", client.ready_to_seed)
        load = Talking([self.args.load, "idle", "--to", f"127.0.0.1:{client.port}", "--torrent", self.torrent.share,
                        "--peers", "100"], client.work, "load")
        load.wait_said("ready")
        time.sleep(3)
        before, start = client.process.cpu(), time.monotonic()
        time.sleep(self.args.idle_seconds)
        share = 100 * (client.process.cpu() - before) / (time.monotonic() - start)
        client.process.look()
        load.stop()
        client.stop()
        return share

    def verify(self, client):
        if not hasattr(client, "start_verify"):
            return None
        torrent = self.large()
        with open(torrent.data, "rb", buffering=0) as data:
            while data.read(PIECE):
                pass
        start = time.monotonic()
        client.start_verify(torrent.file, torrent.dir)
        wait_for("the check", client.verified)
        wall = time.monotonic() - start
        cost = client.process.cpu()
        client.process.look()
        client.stop()
        self.fact(client, "verify: wall s", wall)
        return cost / (torrent.length / GIB)

    def large(self):
        """Twice the size, on the disk's file system: 4 GiB by default."""
        if not hasattr(self, "_large"):
            say("making the data for verify")
            self._large = Torrent(self.disk, "large", 2 * self.args.size)
        return self._large

    def first(self, client):
        """Seconds from the start of the process to the first byte of payload on disk."""
        into = self.fresh()
        peer = Talking([self.args.load, "dial", "--to", f"127.0.0.1:{client.port}", "--torrent", self.torrent.share,
                        "--data", self.torrent.data], client.work, "dial")
        peers = []
        if client.name in ("linnet", "libtorrent", "rqbit"):
            # These can be told an address, and need not be found.
            peers = [self.peer("seed", self.torrent, self.shm, client.work).address]
        start = time.monotonic()
        client.start_get(self.torrent.file, into, peers)
        path = os.path.join(into, self.torrent.name)
        wait_for("the first block", lambda: has_data(path), hang=60, pause=0.001)
        took = time.monotonic() - start
        client.stop()
        peer.stop()
        self.end_peers()
        shutil.rmtree(into)
        return took

    def fact(self, client, name, value):
        self.facts.setdefault(name, {}).setdefault(client.name, []).append(value)

    def run(self, case, kind):
        work = tempfile.mkdtemp(dir=self.disk)
        client = kind(work)
        try:
            if case == "seed1":
                value = self.seed(client, self.torrent, self.shm, 1)
            elif case == "seed8":
                value = self.seed(client, self.quarter, self.shm, 8)
            elif case == "seed1disk":
                value = self.seed(client, self.on_disk(), self.disk, 1)
            elif case in ("get1", "get8"):
                value = self.get(client, int(case[3:]))
            else:
                value = getattr(self, case)(client)
            if value is not None and case != "first":
                self.fact(client, f"{case}: peak MiB", client.process.peak_kib / 1024)
                if client.name == "linnet":
                    self.fact(client, f"{case}: threads", " ".join(sorted(client.process.threads)))
            return value
        finally:
            self.end_peers()
            if client.process:
                client.process.stop()
            shutil.rmtree(work, ignore_errors=True)
            for name in os.listdir(self.shm):
                path = os.path.join(self.shm, name)
                if os.path.isdir(path):
                    shutil.rmtree(path, ignore_errors=True)

    def on_disk(self):
        if not hasattr(self, "_on_disk"):
            say("making the data on disk")
            self._on_disk = Torrent(self.disk, "data", self.args.size)
        return self._on_disk


SENDER = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
with open(sys.argv[2], "rb") as data:
    s.sendfile(data)
"""


def redial_until(peers, client, condition):
    """Lets the peers dial, again and again where they were not let in, until the condition holds."""
    last = 0

    def check():
        nonlocal last
        if condition():
            return True
        if time.monotonic() - last > 1:
            last = time.monotonic()
            for peer in peers:
                if not peer.said("done") or peer.look():
                    peer.dial(client.port)
        client.process.look()
        return False

    wait_for("the transfer", check)


def has_data(path):
    """Whether any byte was written: on tmpfs, space that is only reserved counts as a hole."""
    for candidate in (path, path + ".part"):
        try:
            fd = os.open(candidate, os.O_RDONLY)
        except OSError:
            continue
        try:
            os.lseek(fd, 0, os.SEEK_DATA)
            return True
        except OSError:
            pass
        finally:
            os.close(fd)
    return False


def show(value):
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def middle(values):
    values = [value for value in values if value is not None]
    if not values:
        return None
    return values[-1] if isinstance(values[0], str) else statistics.median(values)


def table(title, rows, columns):
    print(f"| {title} | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for name, cells in rows:
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


def main():
    parser = argparse.ArgumentParser(prog="benches/compare", formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="cases:\n" + "\n".join(f"  {key:10} {text}" for key, text in CASES.items()))
    parser.add_argument("--size", type=size, default=2 * GIB, help="bytes moved to or from one peer (default 2G)")
    parser.add_argument("--runs", type=int, default=3, help="the median of so many is shown (default 3)")
    parser.add_argument("--clients", default="", help="comma-separated (default: all that are here)")
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated (default: all)")
    parser.add_argument("--idle-seconds", type=float, default=10)
    parser.add_argument("--json", help="also write every single figure to this file")
    parser.add_argument("--load", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.size -= args.size % (4 * PIECE)
    wanted = args.clients.split(",") if args.clients else [kind.name for kind in ALL]
    kinds = [kind for kind in ALL if kind.name in wanted]
    for kind in kinds:
        if not kind.available():
            say(f"note: {kind.name} is not here, left out")
    kinds = [kind for kind in kinds if kind.available()]
    cases = [case for case in args.cases.split(",") if case in CASES]

    with Bench(args) as bench:
        results = {}
        floors = []
        # The clients take turns, so that a machine that changes its mood does so for all of them.
        for number in range(args.runs):
            for case in cases:
                if case.startswith("get"):
                    floors.append(bench.floor())
                    say(f"run {number + 1}: floor: {show(floors[-1])}")
                for kind in kinds:
                    try:
                        value = bench.run(case, kind)
                    except (Failed, OSError, ValueError) as error:
                        say(f"run {number + 1}: {case}: {kind.name} failed: {error}")
                        value = None
                    else:
                        say(f"run {number + 1}: {case}: {kind.name}: {show(value)}")
                    results.setdefault(case, {}).setdefault(kind.name, []).append(value)

    with open("/proc/cpuinfo") as cpuinfo:
        model = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), "?")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    print(f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, commit {commit.strip() or '?'}, "
          f"{args.size >> 20} MiB, median of {args.runs}.\n")
    names = [kind.name for kind in kinds]
    rows = []
    for case in cases:
        if case in ("first", "idle100"):
            continue
        medians = {name: middle(results[case][name]) for name in names}
        cells = [show(medians[name]) for name in names]
        others = [value for name, value in medians.items() if name != "linnet" and value]
        own = medians.get("linnet")
        cells.append(show(middle(floors)) if case.startswith("get") else "")
        cells.append(f"{own / min(others):.2f} ×" if own and others else "")
        rows.append((CASES[case], cells))
    table("CPU s/GiB", rows, [*names, "floor", "against the best other"])
    rows = [(CASES[case], [show(middle(results[case][name])) for name in names])
            for case in cases if case in ("first", "idle100")]
    rows += [(fact, [show(middle(values.get(name, []))) for name in names]) for fact, values in bench.facts.items()]
    table("besides", rows, names)
    if args.json:
        with open(args.json, "w") as out:
            json.dump({"results": results, "floors": floors, "facts": bench.facts}, out, indent=1)
    if any(None in values for case in results for name, values in results[case].items()
           if name == "linnet" and case in cases):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
