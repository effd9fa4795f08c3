"""How a daemon starts, lists and stops with very many torrents. See benches/daemon.

All torrents of a case have the same files, so they differ only by a word in their info dictionary: ten thousand torrents of
sixteen megabytes need sixteen megabytes of disk. Each client checks one torrent by itself; its state of the others is made
from that of the first.
"""

import argparse
import base64
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LIST_FIELDS = """id hashString name status error errorString downloadDir totalSize sizeWhenDone leftUntilDone percentDone
isFinished eta rateDownload rateUpload uploadedEver downloadedEver uploadRatio addedDate doneDate activityDate labels
queuePosition seedRatioLimit seedRatioMode seedIdleLimit seedIdleMode secondsDownloading secondsSeeding
metadataPercentComplete recheckProgress peersConnected peersGettingFromUs peersSendingToUs isStalled isPrivate
file-count haveValid""".split()


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, str):
        return bencode(value.encode())
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    pairs = sorted((key.encode() if isinstance(key, str) else key, item) for key, item in value.items())
    return b"d" + b"".join(bencode(key) + bencode(item) for key, item in pairs) + b"e"


class Torrents:
    """`count` torrents over the same `files` files of together `pieces` pieces of 16 KiB."""

    def __init__(self, where, count, files, pieces):
        self.data = os.path.join(where, "data")
        os.makedirs(self.data)
        piece = 16384
        block = os.urandom(piece)
        self.digest = hashlib.sha1(block).digest()
        size = piece * pieces // files
        assert size * files == piece * pieces and size % piece == 0
        info = {"name": "same", "piece length": piece, "pieces": self.digest * pieces}
        if files == 1:
            info["length"] = size
            with open(os.path.join(self.data, "same"), "wb") as file:
                file.write(block * (size // piece))
        else:
            os.makedirs(os.path.join(self.data, "same"))
            info["files"] = [{"length": size, "path": [f"file-{n:03}.bin"]} for n in range(files)]
            for n in range(files):
                with open(os.path.join(self.data, "same", f"file-{n:03}.bin"), "wb") as file:
                    file.write(block * (size // piece))
        self.all = []
        for number in range(count):
            info["source"] = f"number {number:06}"
            encoded = bencode(info)
            self.all.append((hashlib.sha1(encoded).digest(), b"d4:info" + encoded + b"e"))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def handshake(port, info_hash, timeout=10):
    """Whether a peer is answered for this torrent."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as stream:
        stream.settimeout(timeout)
        stream.sendall(b"\x13BitTorrent protocol" + bytes(8) + info_hash + b"-XX0000-" + os.urandom(12))
        said = b""
        while len(said) < 68:
            more = stream.recv(68 - len(said))
            if not more:
                return False
            said += more
        return said[28:48] == info_hash


class TransmissionRpc:
    def __init__(self, port, path="/transmission/rpc"):
        self.port, self.path, self.session = port, path, ""

    def call(self, method, **arguments):
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            body = json.dumps({"method": method, "arguments": arguments})
            connection.request("POST", self.path, body, {"X-Transmission-Session-Id": self.session})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 409:
                return json.loads(text)["arguments"]
            self.session = answer.getheader("X-Transmission-Session-Id")
        raise RuntimeError("no session")

    def count(self):
        return len(self.call("torrent-get", fields=["id"])["torrents"])

    def timed_list(self):
        """Seconds until the last byte of the list has come; reading it as JSON is our own affair."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = json.dumps({"method": "torrent-get", "arguments": {"fields": LIST_FIELDS}})
        begin = time.perf_counter()
        connection.request("POST", self.path, body, {"X-Transmission-Session-Id": self.session})
        connection.getresponse().read()
        return time.perf_counter() - begin

    def list(self):
        return self.call("torrent-get", fields=LIST_FIELDS)["torrents"]


class Client:
    def __init__(self, where, torrents):
        self.where, self.torrents = where, torrents
        self.process = None
        self.peer_port, self.rpc_port = free_port(), free_port()

    def start(self):
        log = open(os.path.join(self.where, "log"), "ab")
        self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=self.environment())

    def environment(self):
        return dict(os.environ, HOME=self.where)

    def stop(self):
        begin = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(120)
        return time.perf_counter() - begin, code

    def until(self, what, seconds=300):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if what():
                    return
            except (OSError, ValueError, RuntimeError, http.client.HTTPException):
                pass
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} has ended: see {self.where}/log")
            time.sleep(0.01)
        raise SystemExit(f"{self.name}: nothing for {seconds} s")

    def status(self, key):
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(key + ":"))

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Linnet(Client):
    name = "linnet"

    def command(self):
        binary = os.path.join(ROOT, "target", "release", "linnet")
        return [binary, "daemon", "--set", f"paths.state={self.where}/state", "--set", f"paths.downloads={self.torrents.data}",
                "--set", f'peer.listen=["127.0.0.1:{self.peer_port}"]', "--set", f"rpc.bind=127.0.0.1:{self.rpc_port}"]

    def prepare(self):
        rpc = TransmissionRpc(self.rpc_port)
        self.start()
        self.until(lambda: rpc.count() == 0)
        metainfo = base64.b64encode(self.torrents.all[0][1]).decode()
        rpc.call("torrent-add", metainfo=metainfo)
        self.until(lambda: rpc.list()[0]["status"] == 6)
        time.sleep(6)  # progress is saved every five seconds
        self.stop()
        database = sqlite3.connect(os.path.join(self.where, "state", "linnet.db"))
        for table in ["sessions", "metainfo", "progress"]:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            first = dict(zip(columns, database.execute(f"SELECT * FROM {table}").fetchone()))
            rows = []
            for number, (info_hash, file) in enumerate(self.torrents.all[1:], 1):
                row = dict(first, info_hash=info_hash)
                if table == "metainfo":
                    row["bytes"] = file
                if table == "sessions":
                    row |= {"number": number + 1, "position": number}
                rows.append([row[column] for column in columns])
            marks = ", ".join("?" * len(columns))
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        database.commit()
        database.close()

    def rpc(self):
        return TransmissionRpc(self.rpc_port)


CLIENTS = {"linnet": Linnet}
CASES = {
    "large": dict(count=10_000, files=100, pieces=1000),
    "small": dict(count=10_000, files=1, pieces=1),
    "many": dict(count=100_000, files=1, pieces=1),
}


def measure(client, runs):
    count = len(client.torrents.all)
    found = []
    for _ in range(runs):
        begin = time.perf_counter()
        client.start()
        rpc = client.rpc()
        client.until(lambda: rpc.count() == count)
        listed = time.perf_counter() - begin
        step = max(1, count // 20)
        sample = [info_hash for info_hash, _ in client.torrents.all[::step]]
        client.until(lambda: handshake(client.peer_port, sample[-1]))
        first = time.perf_counter() - begin
        assert all(handshake(client.peer_port, info_hash) for info_hash in sample)
        all_accept = time.perf_counter() - begin
        time.sleep(2)
        times = []
        for _ in range(5):
            times.append(rpc.timed_list())
        memory, threads, files = client.status("VmRSS") / 1024, client.status("Threads"), client.files()
        stopped, code = client.stop()
        found.append(dict(listed=listed, accepts=first, sample=all_accept, list=statistics.median(times),
                          rss=memory, stop=stopped, threads=threads, files=files, code=code))
    return {key: statistics.median(run[key] for run in found) for key in found[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", default=",".join(CLIENTS))
    parser.add_argument("--cases", default="large,small")
    parser.add_argument("--count", type=int, help="torrents, instead of the case's number")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print("| case | client | listed s | accepts s | 20 peers s | list ms | RSS MiB | stop s | threads | open files |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in arguments.cases.split(","):
        numbers = dict(CASES[case])
        numbers["count"] = arguments.count or numbers["count"]
        for name in arguments.clients.split(","):
            where = tempfile.mkdtemp(prefix="linnet-daemon-")
            try:
                client = CLIENTS[name](where, Torrents(where, **numbers))
                client.prepare()
                found = measure(client, arguments.runs)
            finally:
                shutil.rmtree(where, ignore_errors=True)
            print(f"| {case} {numbers['count']} | {name} | {found['listed']:.2f} | {found['accepts']:.2f} | {found['sample']:.2f} "
                  f"| {found['list'] * 1000:.0f} | {found['rss']:.0f} | {found['stop']:.2f} | {found['threads']:.0f} "
                  f"| {found['files']:.0f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
