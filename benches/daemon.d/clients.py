"""The daemons that are measured: how each starts, what it is asked, and how its state is made.

Each checks one torrent by itself; its state of the others is made from that of the first. That they are really there, complete
and open to peers is verified in each run. All listen on loopback, on plain TCP, without discovery other than trackers.
"""

import base64
import http.client
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
import urllib.parse

from torrents import free_port

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
# What a list in a web page or an *arr program asks for (Transmission's names).
LIST_FIELDS = """id hashString name status error errorString downloadDir totalSize sizeWhenDone leftUntilDone percentDone
isFinished eta rateDownload rateUpload uploadedEver downloadedEver uploadRatio addedDate doneDate activityDate labels
queuePosition seedRatioLimit seedRatioMode seedIdleLimit seedIdleMode secondsDownloading secondsSeeding
metadataPercentComplete recheckProgress peersConnected peersGettingFromUs peersSendingToUs isStalled isPrivate
file-count trackers haveValid""".split()


class Failed(Exception):
    """A client did not do what it was asked for."""


class Http:
    """Requests to one client, each on a connection of its own unless one is given."""

    def __init__(self, port):
        self.port = port

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def send(self, connection, request):
        """Seconds until the last byte has come, and the answer; reading it as JSON is our own affair."""
        method, path, body, headers = request
        begin = time.perf_counter()
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        return time.perf_counter() - begin, answer, text


class Client:
    name = ""

    def __init__(self, where, torrents):
        self.where, self.torrents = where, torrents
        self.process = None
        self.peer_port, self.rpc_port = free_port(), free_port()
        self.http = Http(self.rpc_port)

    @classmethod
    def available(cls):
        return shutil.which(cls.program) is not None

    # What each says for itself.

    def command(self):
        raise NotImplementedError

    def request(self, kind):
        """`status` (a small answer), `list` (the fields above of all), `recent` (what has changed)."""
        raise NotImplementedError

    def seeding(self):
        """How many torrents are listed as complete and seeding."""
        raise NotImplementedError

    def changed_count(self, text):
        """How many torrents an answer to `recent` holds."""
        raise NotImplementedError

    def change(self, numbers, word):
        """Gives these torrents a label."""
        raise NotImplementedError

    def sent_bytes(self):
        """Payload sent in this run, all torrents together."""
        raise NotImplementedError

    def add(self, torrent):
        """Adds a `Large` torrent, which it is to check."""
        raise NotImplementedError

    def state_files(self):
        """The directory that state is written to."""
        raise NotImplementedError

    # What all share.

    def start(self):
        with open(os.path.join(self.where, "log"), "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.where,
                                            env=dict(os.environ, HOME=self.where, XDG_CONFIG_HOME=f"{self.where}/config"))

    def stop(self):
        """Seconds, and the exit code."""
        begin = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(300)
        self.process = None
        return time.perf_counter() - begin, code

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def ask(self, kind, connection=None):
        """Seconds, and the body."""
        seconds, answer, text = self.http.send(connection or self.http.connect(), self.request(kind))
        if answer.status != 200:
            raise Failed(f"{self.name}: {kind}: HTTP {answer.status} {text[:200]!r}")
        return seconds, text

    def until(self, what, seconds=600, pause=0.01):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if what():
                    return
            except (OSError, ValueError, Failed, http.client.HTTPException):
                pass
            if self.process.poll() is not None:
                raise Failed(f"{self.name} has ended: {self.log()[-500:]}")
            time.sleep(pause)
        raise Failed(f"{self.name}: nothing for {seconds} s")

    def log(self):
        with open(os.path.join(self.where, "log"), errors="replace") as log:
            return log.read()

    def status(self, key):
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(key + ":"))

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def io(self, key):
        with open(f"/proc/{self.process.pid}/io") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(key + ":"))

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class TransmissionRpc(Client):
    """What Linnet and Transmission answer alike."""

    session = ""

    def request(self, kind):
        body = {
            "status": {"method": "session-stats"},
            "ids": {"method": "torrent-get", "arguments": {"fields": ["id", "status", "percentDone"]}},
            "list": {"method": "torrent-get", "arguments": {"fields": LIST_FIELDS}},
            "recent": {"method": "torrent-get", "arguments": {"ids": "recently-active", "fields": LIST_FIELDS}},
        }[kind]
        return self.post(body)

    def post(self, body):
        headers = {"X-Transmission-Session-Id": self.session, "Content-Type": "application/json"}
        return "POST", "/transmission/rpc", json.dumps(body), headers

    def call(self, method, **arguments):
        for _ in range(2):
            _, answer, text = self.http.send(self.http.connect(), self.post({"method": method, "arguments": arguments}))
            if answer.status != 409:
                said = json.loads(text)
                if said["result"] != "success":
                    raise Failed(f"{self.name}: {method}: {said['result']}")
                return said["arguments"]
            self.session = answer.getheader("X-Transmission-Session-Id")
        raise Failed(f"{self.name}: no session")

    def seeding(self):
        torrents = self.call("torrent-get", fields=["id", "status", "percentDone"])["torrents"]
        return sum(torrent["status"] == 6 and torrent["percentDone"] == 1 for torrent in torrents)

    def changed_count(self, text):
        return len(json.loads(text)["arguments"]["torrents"])

    def change(self, numbers, word):
        hashes = [self.torrents.all[number][0].hex() for number in numbers]
        self.call("torrent-set", ids=hashes, labels=[word])

    def sent_bytes(self):
        return self.call("session-stats")["current-stats"]["uploadedBytes"]

    def add(self, torrent):
        metainfo = base64.b64encode(torrent.file).decode()
        self.call("torrent-add", metainfo=metainfo, **{"download-dir": torrent.data})

    def recheck(self, torrent):
        self.call("torrent-verify", ids=[torrent.info_hash.hex()])

    def is_whole(self, torrent):
        found = self.call("torrent-get", ids=[torrent.info_hash.hex()], fields=["status", "percentDone"])["torrents"]
        return bool(found) and found[0]["status"] == 6 and found[0]["percentDone"] == 1

    def is_checking(self, torrent):
        found = self.call("torrent-get", ids=[torrent.info_hash.hex()], fields=["status"])["torrents"]
        return bool(found) and found[0]["status"] == 2


class Linnet(TransmissionRpc):
    name = "linnet"
    program = os.path.join(ROOT, "target", "release", "linnet")

    def command(self):
        return [self.program, "daemon", "--set", f"paths.state={self.where}/state",
                "--set", f"paths.downloads={self.torrents.data}", "--set", f'peer.listen=["127.0.0.1:{self.peer_port}"]',
                "--set", f"rpc.bind=127.0.0.1:{self.rpc_port}", "--set", "seeding.upload_slots=0",
                "--set", "discovery.dht=false"]

    def state_files(self):
        return os.path.join(self.where, "state")

    def prepare(self):
        self.start()
        self.until(lambda: self.seeding() == 0)
        metainfo = base64.b64encode(self.torrents.all[0][1]).decode()
        self.call("torrent-add", metainfo=metainfo)
        self.until(lambda: self.seeding() == 1)
        # Progress is saved every five seconds, and only then is it remembered that nothing is missing.
        time.sleep(6)
        self.stop()
        database = sqlite3.connect(os.path.join(self.where, "state", "linnet.db"))
        for table in ["sessions", "metainfo", "progress"]:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            first = dict(zip(columns, database.execute(f"SELECT * FROM {table}").fetchone()))
            own = {"sessions": {"number", "position"}, "metainfo": {"bytes"}}.get(table, set())
            assert own | {"info_hash"} <= set(columns), f"the store's {table} has other columns: {columns}"
            rows = []
            for number, (info_hash, file) in enumerate(self.torrents.all[1:], 1):
                new = {"info_hash": info_hash, "bytes": file, "number": number + 1, "position": number}
                rows.append([new[column] if column in own | {"info_hash"} else first[column] for column in columns])
            marks = ", ".join("?" * len(columns))
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        database.commit()
        database.close()

    def phases(self):
        """What the log says of the last stop."""
        ended = re.findall(r"ended: (.*)", self.log())
        return ended[-1] if ended else "not logged"


class Transmission(TransmissionRpc):
    name = "transmission"
    program = "transmission-daemon"

    def command(self):
        home = self.state_files()
        os.makedirs(home, exist_ok=True)
        settings = {
            "bind-address-ipv4": "127.0.0.1", "dht-enabled": False, "download-dir": self.torrents.data, "encryption": 0,
            "lpd-enabled": False, "peer-limit-global": 4000, "peer-limit-per-torrent": 200, "peer-port": self.peer_port,
            "pex-enabled": False, "port-forwarding-enabled": False, "preallocation": 0, "ratio-limit-enabled": False,
            "idle-seeding-limit-enabled": False, "rpc-bind-address": "127.0.0.1", "rpc-port": self.rpc_port,
            "rpc-host-whitelist-enabled": False, "rpc-whitelist-enabled": False, "seed-queue-enabled": False,
            "upload-slots-per-torrent": 1000, "utp-enabled": False,
        }
        with open(os.path.join(home, "settings.json"), "w") as out:
            json.dump(settings, out)
        return [self.program, "-f", "-g", home, "--log-error"]

    def state_files(self):
        return os.path.join(self.where, "transmission")

    def prepare(self):
        self.start()
        self.until(lambda: self.seeding() == 0)
        metainfo = base64.b64encode(self.torrents.all[0][1]).decode()
        self.call("torrent-add", metainfo=metainfo)
        time.sleep(0.5)
        self.call("torrent-verify")
        self.until(lambda: self.seeding() == 1)
        self.stop()
        first = self.torrents.all[0][0].hex()
        home = self.state_files()
        [resume] = os.listdir(os.path.join(home, "resume"))
        [torrent] = os.listdir(os.path.join(home, "torrents"))
        with open(os.path.join(home, "resume", resume), "rb") as file:
            state = file.read()
        for info_hash, file in self.torrents.all[1:]:
            word = info_hash.hex()
            # Version 3 names them by the first half of the hash, version 4 by all of it.
            rename = lambda name: name.replace(first, word).replace(first[:16], word[:16])
            assert rename(resume) != resume and rename(torrent) != torrent
            with open(os.path.join(home, "resume", rename(resume)), "wb") as out:
                out.write(state)
            with open(os.path.join(home, "torrents", rename(torrent)), "wb") as out:
                out.write(file)


class Qbittorrent(Client):
    name = "qbittorrent"
    program = "qbittorrent-nox"
    rid = 0

    def command(self):
        config = os.path.join(self.where, "qBittorrent", "config")
        os.makedirs(config, exist_ok=True)
        path = os.path.join(config, "qBittorrent.conf")
        if not os.path.exists(path):
            with open(path, "w") as out:
                out.write(f"""[LegalNotice]
Accepted=true

[Preferences]
WebUI\\Address=127.0.0.1
WebUI\\Port={self.rpc_port}
WebUI\\LocalHostAuth=false
WebUI\\CSRFProtection=false
WebUI\\HostHeaderValidation=false
WebUI\\ClickjackingProtection=false

[BitTorrent]
Session\\Port={self.peer_port}
Session\\Interface=lo
Session\\InterfaceName=lo
Session\\InterfaceAddress=127.0.0.1
Session\\DefaultSavePath={self.torrents.data}
Session\\DHTEnabled=false
Session\\LSDEnabled=false
Session\\PeXEnabled=false
Session\\BTProtocol=TCP
Session\\Encryption=0
Session\\MultiConnectionsPerIp=true
Session\\QueueingSystemEnabled=false
Session\\SSRFMitigation=false
Session\\MaxConnections=4000
Session\\MaxConnectionsPerTorrent=200
Session\\MaxUploads=-1
Session\\MaxUploadsPerTorrent=-1
Session\\Preallocation=false

[Network]
PortForwardingEnabled=false
""")
        return [self.program, f"--profile={self.where}", f"--webui-port={self.rpc_port}"]

    def state_files(self):
        return os.path.join(self.where, "qBittorrent", "data", "BT_backup")

    def request(self, kind):
        path = {
            "status": "/api/v2/transfer/info",
            "list": "/api/v2/torrents/info",
            "recent": f"/api/v2/sync/maindata?rid={self.rid}",
        }[kind]
        return "GET", path, None, {"Cookie": getattr(self, "cookie", "")}

    def ask(self, kind, connection=None):
        # The numbering of its deltas belongs to a login.
        if kind == "recent" and not getattr(self, "cookie", ""):
            _, answer, _ = self.http.send(self.http.connect(), self.form("auth/login", username="admin", password="adminadmin"))
            self.cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
        seconds, text = super().ask(kind, connection)
        if kind == "recent":
            self.rid = json.loads(text)["rid"]
        return seconds, text

    def form(self, path, **pairs):
        return ("POST", f"/api/v2/{path}", urllib.parse.urlencode(pairs),
                {"Content-Type": "application/x-www-form-urlencoded", "Cookie": getattr(self, "cookie", "")})

    def call(self, path, **pairs):
        _, answer, text = self.http.send(self.http.connect(), self.form(path, **pairs))
        if answer.status != 200:
            raise Failed(f"{self.name}: {path}: HTTP {answer.status} {text[:200]!r}")
        return text

    def upload(self, file, directory):
        mark = "----torrent"
        parts = [f'--{mark}\r\nContent-Disposition: form-data; name="savepath"\r\n\r\n{directory}\r\n'.encode(),
                 (f'--{mark}\r\nContent-Disposition: form-data; name="torrents"; filename="one.torrent"\r\n'
                  "Content-Type: application/x-bittorrent\r\n\r\n").encode() + file + b"\r\n", f"--{mark}--\r\n".encode()]
        request = ("POST", "/api/v2/torrents/add", b"".join(parts), {"Content-Type": f"multipart/form-data; boundary={mark}"})
        _, answer, text = self.http.send(self.http.connect(), request)
        if answer.status != 200 or b"Fail" in text:
            raise Failed(f"{self.name}: add: HTTP {answer.status} {text[:200]!r}")

    def states(self, **pairs):
        query = urllib.parse.urlencode(pairs)
        _, answer, text = self.http.send(self.http.connect(), ("GET", f"/api/v2/torrents/info?{query}", None, {}))
        if answer.status != 200:
            raise Failed(f"{self.name}: HTTP {answer.status}")
        return [torrent["state"] for torrent in json.loads(text)]

    def seeding(self):
        return sum(state in ("uploading", "stalledUP", "forcedUP") for state in self.states())

    def changed_count(self, text):
        return len(json.loads(text).get("torrents", {}))

    def change(self, numbers, word):
        hashes = "|".join(self.torrents.all[number][0].hex() for number in numbers)
        self.call("torrents/addTags", hashes=hashes, tags=f"{word}-{self.rid}")

    def sent_bytes(self):
        return json.loads(self.ask("status")[1])["up_info_data"]

    def add(self, torrent):
        self.upload(torrent.file, torrent.data)

    def recheck(self, torrent):
        self.call("torrents/recheck", hashes=torrent.info_hash.hex())

    def is_whole(self, torrent):
        return self.states(hashes=torrent.info_hash.hex()) in (["uploading"], ["stalledUP"])

    def is_checking(self, torrent):
        return any(state.startswith("checking") for state in self.states(hashes=torrent.info_hash.hex()))

    def prepare(self):
        self.start()
        self.until(lambda: self.states() == [])
        first, file = self.torrents.all[0]
        self.upload(file, self.torrents.data)
        self.until(lambda: self.seeding() == 1)
        time.sleep(2)
        self.stop()
        name = os.path.join(self.state_files(), first.hex())
        with open(name + ".fastresume", "rb") as file:
            state = file.read()
        assert state.count(first) == 1, "the hash is in its fast resume data once"
        for info_hash, file in self.torrents.all[1:]:
            name = os.path.join(self.state_files(), info_hash.hex())
            with open(name + ".torrent", "wb") as out:
                out.write(file)
            with open(name + ".fastresume", "wb") as out:
                out.write(state.replace(first, info_hash))


ALL = {one.name: one for one in (Linnet, Transmission, Qbittorrent)}
