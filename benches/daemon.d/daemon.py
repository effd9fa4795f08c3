"""Measures daemons with very many torrents: start, stop, lists, memory, writes. See benches/daemon.

Groups:
  restart  with 10 000 large and small torrents: time until all are listed as seeding and peers are answered, memory, the
           list, what has changed, threads, open files, clean stop. `many` (100 000) is for --cases only.
  stop     clean stop with 1 to 10 000 torrents, with trackers that answer and with trackers that have fallen silent
           beside peers that do not read; who was told, and how often.
  silent   a normal client beside 1 000 connections to the RPC port that send nothing or a byte a second.
  load     a status request while one torrent is sent at full rate and another is being checked.
  idle     bytes written in five minutes (--idle-seconds) with 1 000 idle seeds, all clients side by side.

Each prints a table; at the end comes one with what Linnet must reach. Numbers of a busy machine are rough: its load is
printed with them. Not measured here: a disk that hangs.
"""

import argparse
import json
import os
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from clients import ALL, HERE, Failed
from torrents import Deaf, Large, Torrents, handshake

CASES = {
    "large": dict(count=10_000, files=100, pieces=1000),
    "small": dict(count=10_000, files=1, pieces=1),
    "many": dict(count=100_000, files=1, pieces=1),
}
GROUPS = ["restart", "stop", "silent", "load", "idle"]
SAMPLE = 20
DEAF = 20
SILENT = 1000
MIB = 1 << 20

# What Linnet must reach: fact, at most, at most this part of the best other client (where that is owed).
MUST = [
    ("large: ready, s", 1.0, 1 / 3), ("large: RSS, MiB", 120, 1 / 3), ("large: list, ms", 60, None),
    ("large: 10 changed, ms", 3, None),
    ("small: ready, s", 0.5, None), ("small: RSS, MiB", 40, None), ("small: stop, s", 0.5, None),
    ("small: list, ms", 60, None), ("small: 10 changed, ms", 3, None),
    ("many: ready, s", 3.0, None), ("many: RSS, MiB", 300, None), ("many: stop, s", 2.0, None),
    *((f"stop, {kind} {count}, s", most, None) for kind in ("udp", "http")
      for count, most in ((1, 0.3), (10, 0.3), (100, 0.5), (1000, 0.7), (10_000, 1.0))),
    *((f"stop, {kind} {count}, not told or told twice", 0, None) for kind in ("udp", "http")
      for count in (1, 10, 100, 1000, 10_000)),
    *((f"stop, {kind} {count}, said nothing", 0, None) for kind in ("udp", "http") for count in (1, 10, 100, 1000, 10_000)),
    *((f"stop, {kind} {count} silent, s", 2.0, None) for kind in ("udp", "http")
      for count in (1, 10, 100, 1000, 10_000)),
    ("threads, 10 000 less 1", 0, None),
    ("silent connections: p99, ms", 50, None), ("silent connections: failed", 0, None),
    ("under load: p99, ms", 5, None),
    ("idle: MiB an hour", 1.0, None),
]


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def p(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))]


def number(value):
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


class Tracker:
    """tracker.py at work."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "tracker.py")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        _, udp, http = self.process.stdout.readline().split()
        self.urls = {"udp": f"udp://127.0.0.1:{udp}/announce", "http": f"http://127.0.0.1:{http}/announce"}

    def tell(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def report(self):
        self.tell("report")
        return json.loads(self.process.stdout.readline())

    def until_told(self, count, patience):
        """Waits until `count` torrents have said `started`, or nothing more has come for `patience` seconds."""
        before, since = -1, time.monotonic()
        while True:
            told = self.report()["started"]
            if told >= count:
                return told
            if told != before:
                before, since = told, time.monotonic()
            elif time.monotonic() - since > patience:
                return told
            time.sleep(0.1)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.facts = {}
        self.clients = [ALL[name] for name in arguments.clients.split(",")]
        for one in self.clients:
            if not one.available():
                say(f"note: {one.name} is missing and left out")
        self.clients = [one for one in self.clients if one.available()]

    def fact(self, client, name, value):
        self.facts.setdefault(name, {})[client.name] = value

    def with_client(self, kind, numbers, work):
        """Prepares a client with these torrents, lets `work` have it and tidies up; a failure is told, not raised."""
        where = tempfile.mkdtemp(prefix="linnet-daemon-")
        client = None
        try:
            client = kind(where, Torrents(where, **numbers))
            client.prepare()
            return work(client)
        except (Failed, AssertionError, OSError) as error:
            say(f"{kind.name}: {error!r}")
            if client and self.arguments.keep:
                say(f"kept: {where}")
        finally:
            if client:
                client.kill()
            if not self.arguments.keep:
                shutil.rmtree(where, ignore_errors=True)
        return None

    def table(self, title, columns, rows):
        load = " ".join(f"{one:.1f}" for one in os.getloadavg())
        print(f"\n**{title}** (load {load})\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
        for row in rows:
            print(f"| {' | '.join(number(cell) for cell in row)} |")
        sys.stdout.flush()

    # ------------------------------------------------------------------------------------------------------- restart

    def restart(self):
        for case in self.arguments.cases.split(","):
            numbers = dict(CASES[case])
            numbers["count"] = self.arguments.count or numbers["count"]
            rows = []
            for kind in self.clients:
                # More than others can take in a sensible time.
                if case == "many" and kind.name != "linnet" and not self.arguments.all:
                    continue
                say(f"restart: {case} {numbers['count']} {kind.name}")
                found = self.with_client(kind, numbers, self.restart_one)
                if not found:
                    continue
                if found["held"] != min(10, numbers["count"]):
                    # Transmission 3 has its own idea of what has changed, and an empty answer is no time to compare with.
                    found["recent"] = "-"
                for key, name in (("ready", "ready, s"), ("rss", "RSS, MiB"), ("list", "list, ms"), ("recent", "10 changed, ms"),
                                  ("stop", "stop, s")):
                    if found[key] != "-":
                        self.fact(kind, f"{case}: {name}", found[key])
                rows.append([kind.name, *found.values()])
                alone = self.with_client(kind, dict(numbers, count=1), self.count_one)
                if alone:
                    rows[-1] += [alone["threads"], alone["files"]]
                    if case == "large" or len(self.arguments.cases.split(",")) == 1:
                        self.fact(kind, "threads, 10 000 less 1", found["threads"] - alone["threads"])
            self.table(f"restart with {numbers['count']} {case} torrents",
                       ["client", "listed s", "accepts s", "ready s", "RSS MiB", "RSS after lists", "peak", "list ms", "status ms", "list MiB",
                        "recent ms", "in recent", "threads", "open files", "stop s", "exit", "threads at 1", "files at 1"], rows)

    def count_one(self, client):
        client.start()
        client.until(lambda: client.seeding() == 1)
        time.sleep(2)
        found = dict(threads=client.status("Threads"), files=client.files())
        client.stop()
        return found

    def restart_one(self, client):
        runs = [self.restart_run(client, run + 1 == self.arguments.runs) for run in range(self.arguments.runs)]
        last = runs[-1]
        return {key: statistics.median(run[key] for run in runs) if all(key in run for run in runs) else last[key] for key in last}

    def restart_run(self, client, is_last):
        count = len(client.torrents.all)
        begin = time.perf_counter()
        client.start()
        client.until(lambda: client.seeding() == count)
        found = dict(listed=time.perf_counter() - begin)
        sample = [info_hash for info_hash, _ in client.torrents.all[:: max(1, count // SAMPLE)]]
        client.until(lambda: handshake(client.peer_port, sample[-1]))
        found["accepts"] = time.perf_counter() - begin
        with ThreadPoolExecutor(SAMPLE) as pool:
            if not all(pool.map(lambda number: handshake(client.peer_port, sample[number], number), range(len(sample)))):
                raise Failed("a torrent that is listed does not accept peers")
        found["ready"] = time.perf_counter() - begin
        time.sleep(3)
        found["rss"] = client.status("VmRSS") / 1024
        answers = [client.ask("list") for _ in range(5)]
        found["rss_lists"], found["peak"] = client.status("VmRSS") / 1024, client.status("VmHWM") / 1024
        found["list"] = 1000 * statistics.median(seconds for seconds, _ in answers)
        found["status"] = 1000 * p([client.ask("status")[0] for _ in range(50)], 0.5)
        found["list_mib"] = len(answers[0][1]) / MIB
        if is_last:
            found |= self.recent(client)
        found["threads"], found["files"] = client.status("Threads"), client.files()
        found["stop"], found["code"] = client.stop()
        return found

    def recent(self, client):
        """Ten of all are changed, again and again; the time for the answer that holds just them."""
        count = len(client.torrents.all)
        if client.changed_count(client.ask("recent")[1]) > 10:
            # Transmission's window is a minute.
            end = time.monotonic() + 90
            while time.monotonic() < end and client.changed_count(client.ask("recent")[1]) > 0:
                time.sleep(2)
        numbers = random.Random(1).sample(range(count), min(10, count))
        times, held = [], []
        for turn in range(20):
            client.change(numbers, f"word-{turn % 2}")
            time.sleep(0.05)
            seconds, text = client.ask("recent")
            times.append(1000 * seconds)
            held.append(client.changed_count(text))
        return dict(recent=statistics.median(times), held=statistics.median(held))

    # ---------------------------------------------------------------------------------------------------------- stop

    def stop(self):
        for way in self.arguments.trackers.split(","):
            rows = []
            for count in map(int, self.arguments.counts.split(",")):
                for kind in self.clients:
                    tracker = Tracker()
                    try:
                        numbers = dict(count=count, files=1, pieces=8, announce=tracker.urls[way])
                        say(f"stop: {way} {count} {kind.name}")
                        found = self.with_client(kind, numbers, lambda client: [
                            self.stop_run(client, tracker, way, silent) for silent in (False, True)])
                    finally:
                        tracker.close()
                    rows += [[count, kind.name, *row] for row in found or []]
            self.table(f"clean stop, {way} trackers",
                       ["torrents", "client", "trackers", "said started", "within s", "stop s", "exit", "of these told stopped",
                        "told twice", "label kept", "phases"], rows)

    def stop_run(self, client, tracker, way, silent):
        count = len(client.torrents.all)
        tracker.tell("loud")
        tracker.tell("forget")
        begin = time.monotonic()
        client.start()
        client.until(lambda: client.seeding() == count)
        tracker.until_told(count, self.arguments.patience)
        within = time.monotonic() - begin
        if way == "udp":
            # A connection number of a UDP tracker is good for a minute, and daemons are seldom stopped in their first.
            time.sleep(self.arguments.rest)
        deaf = []
        if silent:
            deaf = [Deaf(client.peer_port, client.torrents.all[n % count][0], n) for n in range(DEAF)]
            tracker.tell("silent")
        time.sleep(1)
        word = f"label-{random.randrange(1 << 30)}"
        is_ours = client.name == "linnet"
        if is_ours:
            client.call("torrent-set", ids=[client.torrents.all[-1][0].hex()], labels=[word])
        seconds, code = client.stop()
        for one in deaf:
            one.close()
        time.sleep(0.2)
        told = tracker.report()
        name = f"stop, {way} {count}{' silent' if silent else ''}"
        self.fact(client, f"{name}, s", seconds)
        missed = told["started"] - told["told"]
        self.fact(client, f"{name}, not told or told twice", missed + told["stopped_again"])
        if not silent:
            self.fact(client, f"{name}, said nothing", count - told["started"])
        kept = "-"
        phases = client.phases() if is_ours else "-"
        if is_ours:
            client.start()
            client.until(lambda: client.seeding() == count)
            found = client.call("torrent-get", ids=[client.torrents.all[-1][0].hex()], fields=["labels"])["torrents"]
            kept = "yes" if found[0]["labels"] == [word] else "NO"
            client.stop()
        return ["fell silent" if silent else "answer", told["started"], within, seconds, code, told["told"], told["stopped_again"], kept, phases]

    # -------------------------------------------------------------------------------------------------------- silent

    def silent(self):
        rows = []
        for kind in self.clients:
            say(f"silent: {kind.name}")
            found = self.with_client(kind, dict(count=1000, files=1, pieces=1), self.silent_one)
            if found:
                self.fact(kind, "silent connections: p99, ms", found["p99"])
                self.fact(kind, "silent connections: failed", found["failed"])
                rows.append([kind.name, *found.values()])
        self.table(f"a status request on a new connection every 50 ms, beside {SILENT} connections that send nothing or a byte a second",
                   ["client", "p50 before ms", "p99 before", "p50 ms", "p99", "max", "requests", "failed", "hung up on"], rows)

    def silent_one(self, client):
        client.start()
        client.until(lambda: client.seeding() == 1000)
        time.sleep(2)
        before, _ = self.requests(client, 5)
        streams = []
        head = b"POST /transmission/rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"a" * 4000
        at = 0
        over = threading.Event()

        def drip():
            """The odd ones send a byte a second; the others nothing."""
            nonlocal at
            while not over.wait(1):
                for stream in streams[1::2]:
                    try:
                        stream.send(head[at : at + 1])
                    except OSError:
                        pass
                at += 1

        try:
            for _ in range(SILENT):
                stream = socket.socket()
                stream.setblocking(False)
                stream.connect_ex(("127.0.0.1", client.rpc_port))
                streams.append(stream)
            threading.Thread(target=drip, daemon=True).start()
            time.sleep(1)
            times, failed = self.requests(client, 30)
            hung_up = 0
            for stream in streams:
                try:
                    hung_up += stream.recv(4096) == b""
                except BlockingIOError:
                    pass
                except OSError:
                    hung_up += 1
        finally:
            over.set()
            for stream in streams:
                stream.close()
        client.stop()
        return dict(before50=p(before, 0.5), before99=p(before, 0.99), p50=p(times, 0.5), p99=p(times, 0.99), most=max(times),
                    count=len(times), failed=failed, hung_up=hung_up)

    def requests(self, client, seconds):
        """Milliseconds of each request on a connection of its own, and how many failed; those count as ten seconds."""
        times, failed = [], 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            begin = time.perf_counter()
            connection = client.http.connect(10)
            try:
                client.ask("status", connection)
                times.append(1000 * (time.perf_counter() - begin))
            except (OSError, Failed, ValueError):
                failed += 1
                times.append(10_000)
            finally:
                connection.close()
            time.sleep(0.05)
        return times, failed

    # ---------------------------------------------------------------------------------------------------------- load

    def load(self):
        rows = []
        for kind in self.clients:
            say(f"load: {kind.name}")
            found = self.with_client(kind, dict(count=100, files=1, pieces=1), self.load_one)
            if found:
                self.fact(kind, "under load: p99, ms", found["p99"])
                rows.append([kind.name, *found.values()])
        self.table(f"status and list of 102 torrents on a kept connection, while one is sent at full rate and "
                   f"{self.arguments.recheck_gib} GiB are being checked",
                   ["client", "calm p99 ms", "status p50", "status p99", "max", "list p50", "list p99", "max", "requests", "sent MiB/s",
                    "checks begun", "checking % of the time"], rows)

    def load_one(self, client):
        client.start()
        client.until(lambda: client.seeding() == 100)
        sent = Large(os.path.join(client.where, "sent"), "sent", 1)
        checked = Large(os.path.join(client.where, "checked"), "checked", self.arguments.recheck_gib)
        client.add(sent)
        time.sleep(0.5)
        client.until(lambda: client.is_whole(sent) or (not client.is_checking(sent) and client.recheck(sent)), pause=0.5)
        calm, _, _ = self.statuses(client, 3, lambda: None)
        swarm = subprocess.Popen(
            [self.arguments.load, "swarm", "--to", f"127.0.0.1:{client.peer_port}", "--torrent",
             f"{sent.info_hash.hex()},{sent.piece},{sent.size}", "--peers", "8", "--outstanding", "32", "--bytes", str(1 << 50)],
            stdout=subprocess.DEVNULL)
        looks = []
        begun = 1

        def look():
            nonlocal begun
            looks.append(client.is_checking(checked))
            if client.is_whole(checked):
                client.recheck(checked)
                begun += 1

        try:
            client.add(checked)
            time.sleep(2)
            before, since = client.sent_bytes(), time.monotonic()
            statuses, lists, _ = self.statuses(client, self.arguments.load_seconds, look)
            if swarm.poll() is not None:
                raise Failed("the transfer has ended")
            rate = (client.sent_bytes() - before) / (time.monotonic() - since) / MIB
        finally:
            swarm.kill()
            swarm.wait()
        client.stop()
        return dict(calm=p(calm, 0.99), p50=p(statuses, 0.5), p99=p(statuses, 0.99), most=max(statuses), list50=p(lists, 0.5),
                    list99=p(lists, 0.99), list_most=max(lists), count=len(statuses) + len(lists), rate=rate, begun=begun,
                    checking=100 * sum(looks) / max(1, len(looks)))

    def statuses(self, client, seconds, look):
        """Milliseconds of `status` and of `list` in turn on one connection, with `look` twice a second."""
        found = {"status": [], "list": []}
        connection = client.http.connect()
        end = time.monotonic() + seconds
        next_look = 0
        turn = 0
        while time.monotonic() < end:
            kind = ("status", "list")[turn % 2]
            turn += 1
            found[kind].append(1000 * client.ask(kind, connection)[0])
            if time.monotonic() > next_look:
                look()
                next_look = time.monotonic() + 0.5
            time.sleep(0.005)
        connection.close()
        return found["status"], found["list"], turn

    # ---------------------------------------------------------------------------------------------------------- idle

    def idle(self):
        """All side by side, since it is the time that is long, not the work."""
        tracker = Tracker()
        clients, places, rows = [], [], []
        count = 1000
        try:
            for kind in self.clients:
                say(f"idle: {kind.name}")
                where = tempfile.mkdtemp(prefix="linnet-daemon-")
                places.append(where)
                client = kind(where, Torrents(where, count=count, files=1, pieces=8, announce=tracker.urls["udp"]))
                client.prepare()
                client.start()
                clients.append(client)
                client.until(lambda: client.seeding() == count)
            told = tracker.until_told(count * len(clients), self.arguments.patience)
            say(f"idle: {told} torrents have said started; one minute to settle, then {self.arguments.idle_seconds} s")
            time.sleep(60)
            look = lambda client: dict(disk=client.io("write_bytes"), calls=client.io("wchar"), cpu=client.cpu(),
                                       log=os.path.getsize(os.path.join(client.where, "log")))
            before = [look(client) for client in clients]
            time.sleep(self.arguments.idle_seconds)
            for client, old in zip(clients, before):
                new = look(client)
                hour = 3600 / self.arguments.idle_seconds
                change = {key: new[key] - old[key] for key in new}
                written = (change["disk"]) * hour / MIB
                self.fact(client, "idle: MiB an hour", written)
                rows.append([client.name, written, change["calls"] * hour / MIB, change["log"] * hour / MIB,
                             100 * change["cpu"] / self.arguments.idle_seconds, client.status("VmRSS") / 1024])
                client.stop()
        except (Failed, OSError) as error:
            say(f"idle: {error!r}")
        finally:
            for client in clients:
                client.kill()
            tracker.close()
            for where in places:
                shutil.rmtree(where, ignore_errors=True)
        self.table(f"{count} idle seeds for {self.arguments.idle_seconds} s, reckoned for an hour (write_bytes of /proc/PID/io, the log included)",
                   ["client", "to the disk MiB/h", "by write calls MiB/h", "of that log", "% of a core", "RSS MiB"], rows)

    # ---------------------------------------------------------------------------------------------------------- must

    def must(self):
        rows = []
        for name, most, part in MUST:
            values = self.facts.get(name, {})
            if "linnet" not in values:
                continue
            ours = values["linnet"]
            others = {client: value for client, value in values.items() if client != "linnet"}
            best = min(others, key=others.get, default=None)
            ratio = ours / others[best] if best and others[best] else None
            fine = ours <= most and (part is None or ratio is None or ratio <= part)
            rows.append([name, ours, f"{number(others[best])} ({best})" if best else "-", ratio if ratio is not None else "-",
                         f"≤ {number(most)}" + (f", ≤ {part:.2f} of it" if part else ""), "ok" if fine else "**not**"])
        if rows:
            self.table("what must hold", ["what", "linnet", "best other", "ratio", "must", ""], rows)


def main():
    parser = argparse.ArgumentParser(prog="benches/daemon", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", default=",".join(GROUPS))
    parser.add_argument("--clients", default=",".join(ALL))
    parser.add_argument("--cases", default="large,small", help="of restart: large, small, many")
    parser.add_argument("--all", action="store_true", help="`many` with the other clients too")
    parser.add_argument("--count", type=int, help="torrents of restart, instead of the case's number")
    parser.add_argument("--counts", default="1,10,100,1000,10000", help="torrents of stop")
    parser.add_argument("--trackers", default="udp,http", help="of stop")
    parser.add_argument("--patience", type=int, default=15, help="of stop: seconds without another `started` until the stop comes anyway")
    parser.add_argument("--rest", type=int, default=65, help="of stop with UDP trackers: seconds at rest before it")
    parser.add_argument("--runs", type=int, default=3, help="of restart; medians are printed")
    parser.add_argument("--recheck-gib", type=int, default=50)
    parser.add_argument("--load-seconds", type=int, default=20)
    parser.add_argument("--idle-seconds", type=int, default=300)
    parser.add_argument("--load", help="the load generator of benches/load")
    parser.add_argument("--keep", action="store_true", help="leave the directories of a client that fails")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, "
          f"{time.strftime('%Y-%m-%d')}")
    bench = Bench(arguments)
    for group in arguments.groups.split(","):
        getattr(bench, group)()
    bench.must()


if __name__ == "__main__":
    sys.exit(main())
