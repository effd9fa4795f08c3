"""The clients that are compared: how each seeds, downloads and says that it is done.

All of them listen on loopback, on plain TCP, without discovery, with unlimited upload slots. The other side dials, since
not every client can be told an address.
"""

import json
import os
import signal
import subprocess
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LT = os.path.join(ROOT, "tests", "support", "lt.py")
TICKS = os.sysconf("SC_CLK_TCK")
HANG_S = 300


class Failed(Exception):
    """A client did not do what it was asked for."""


def free_port():
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listens(port):
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as lines:
            if any(f":{port:04X} " in line.split("rem")[0][:50] and " 0A " in line[:100] for line in lines):
                return True
    return False


def wait_for(what, condition, hang=HANG_S, pause=0.02):
    start = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() - start > hang:
            raise Failed(f"waited in vain for {what}")
        time.sleep(pause)


class Process:
    """A running client and what it costs."""

    def __init__(self, command, env=None, stdin=None, cwd=None, log=None):
        self.started = time.monotonic()
        self.log = open(log or os.devnull, "w+")
        self.child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command], stdin=stdin or subprocess.DEVNULL,
            stdout=self.log, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}, cwd=cwd)
        self.pid = self.child.pid
        self.usage = None
        self.status = None
        self.peak_kib = 0
        self.threads = set()

    def look(self):
        """Notes what only a living process shows; False when it has ended."""
        if self.usage:
            return False
        try:
            with open(f"/proc/{self.pid}/status") as lines:
                for line in lines:
                    if line.startswith("VmHWM:"):
                        self.peak_kib = max(self.peak_kib, int(line.split()[1]))
            for task in os.listdir(f"/proc/{self.pid}/task"):
                with open(f"/proc/{self.pid}/task/{task}/comm") as comm:
                    self.threads.add(comm.read().strip())
            # Who starts it is gone a moment later.
            self.threads.discard("setpriv")
        except OSError:
            pass
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if pid:
            self.status, self.usage = status, usage
            self.child.returncode = os.waitstatus_to_exitcode(status)
            return False
        return True

    def cpu(self):
        """Seconds so far, user and system, all threads, ended ones too."""
        if self.usage:
            return self.usage.ru_utime + self.usage.ru_stime
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def wait(self, hang=HANG_S):
        wait_for(f"the end of pid {self.pid}", lambda: not self.look(), hang)
        return self.child.returncode

    def stop(self, how=signal.SIGTERM):
        """Ends it, and gives all it has cost."""
        if self.look():
            os.kill(self.pid, how)
            try:
                self.wait(20)
            except Failed:
                os.kill(self.pid, signal.SIGKILL)
                self.wait(20)
        return self.cpu()

    def text(self):
        self.log.flush()
        with open(self.log.name) as log:
            return log.read()


class Talking(Process):
    """A process that says lines and takes some on stdin."""

    def __init__(self, command, work, name):
        super().__init__(command, stdin=subprocess.PIPE, log=os.path.join(work, f"{name}.log"))

    def said(self, word):
        with open(self.log.name) as log:
            for line in log:
                if line.split(" ")[0].strip() == word:
                    return line.strip()
        return None

    def wait_said(self, word):
        def condition():
            line = self.said(word)
            if line is None and not self.look():
                raise Failed(f"ended before it said {word}: {self.text()[-2000:]}")
            return line
        return wait_for(word, condition)

    def tell(self, line):
        self.child.stdin.write(line.encode() + b"\n")
        self.child.stdin.flush()


class Peer(Talking):
    """The other side: a libtorrent process."""

    count = 0

    def __init__(self, mode, torrent, directory, work, address=None):
        Peer.count += 1
        # An address of its own: some clients take one stream per address only.
        address = address or f"127.0.1.{Peer.count % 250 + 1}"
        super().__init__(["/usr/bin/python3", LT, mode, torrent, directory, "--listen", address],
                         work, f"peer-{Peer.count}")
        self.port = int(self.wait_said("port").split()[1])
        self.address = f"{address}:{self.port}"
        if mode == "seed":
            self.wait_said("ready")

    def dial(self, port):
        self.tell(f"peer 127.0.0.1:{port}")

    def is_done(self):
        if not self.look():
            raise Failed("a peer ended: " + self.text()[-2000:])
        return self.said("done") is not None


class Client:
    """Base: `start_*` give a Process that listens on `self.port`."""

    name = ""

    def __init__(self, work):
        self.work = work
        self.port = free_port()
        self.process = None

    @classmethod
    def available(cls):
        return True

    def ready_to_seed(self):
        """Whether everything was checked and can be served."""
        raise NotImplementedError

    def is_done(self):
        """Whether the download is complete and verified."""
        raise NotImplementedError

    def dials(self):
        """Whether it was given the peers' addresses itself."""
        return False

    def stop(self):
        return self.process.stop()


def has(program):
    return any(os.access(os.path.join(path, program), os.X_OK) for path in os.environ["PATH"].split(":"))


class Linnet(Client):
    name = "linnet"
    binary = os.path.join(ROOT, "target", "release", "linnet")

    @classmethod
    def available(cls):
        return os.access(cls.binary, os.X_OK)

    def run(self, *arguments, listen=True, log="linnet.log"):
        extra = [
            "--set", f'peer.listen=["127.0.0.1:{self.port}"]', "--set", "seeding.upload_slots=0",
            "--set", "peer.max_links_per_swarm=1000", "--set", "discovery.trackers=false", "--set", "discovery.dht=false",
        ] if listen else []
        home = os.path.join(self.work, "home")
        env = {"HOME": home, "XDG_STATE_HOME": os.path.join(home, "state"), "XDG_CONFIG_HOME": os.path.join(home, "config")}
        self.process = Process([self.binary, *arguments, *extra], env, log=os.path.join(self.work, log))
        return self.process

    def start_seed(self, torrent, directory):
        return self.run("seed", torrent, "-o", directory)

    def start_get(self, torrent, directory, peers=()):
        self.has_peers = bool(peers)
        return self.run("get", torrent, "-o", directory, *[word for peer in peers for word in ("--peer", peer)])

    def dials(self):
        return self.has_peers

    def ready_to_seed(self):
        # It listens before it has looked at its data; the check is over when it stops working.
        return listens(self.port) and is_calm(self.process)

    def is_done(self):
        if self.process.look():
            return False
        if self.process.child.returncode != 0:
            raise Failed(f"exit {self.process.child.returncode}: {self.process.text()[-2000:]}")
        return True

    def start_verify(self, torrent, directory):
        return self.run("verify", torrent, directory, listen=False)

    def verified(self):
        return self.is_done()


class Libtorrent(Client):
    name = "libtorrent"

    @classmethod
    def available(cls):
        return subprocess.run(["/usr/bin/python3", "-c", "import libtorrent"], stderr=subprocess.DEVNULL).returncode == 0

    def run(self, mode, torrent, directory, *more):
        self.process = Talking(["/usr/bin/python3", LT, mode, torrent, directory, "--listen", "127.0.0.1", *more],
                               self.work, "libtorrent")
        self.port = int(self.process.wait_said("port").split()[1])
        return self.process

    def start_seed(self, torrent, directory):
        return self.run("seed", torrent, directory)

    def start_get(self, torrent, directory, peers=()):
        self.has_peers = bool(peers)
        return self.run("get", torrent, directory, *[word for peer in peers for word in ("--peer", peer)])

    def dials(self):
        return self.has_peers

    def ready_to_seed(self):
        return self.process.said("ready")

    def is_done(self):
        return self.process.said("done")

    def start_verify(self, torrent, directory):
        return self.run("get", torrent, directory)

    def verified(self):
        return self.process.said("done")


class Transmission(Client):
    name = "transmission"

    @classmethod
    def available(cls):
        return has("transmission-daemon")

    def run(self, torrent, directory):
        home = os.path.join(self.work, "transmission")
        os.makedirs(home, exist_ok=True)
        self.rpc = free_port()
        settings = {
            "bind-address-ipv4": "127.0.0.1", "cache-size-mb": 64, "dht-enabled": False, "download-dir": directory,
            "encryption": 0, "lpd-enabled": False, "peer-limit-global": 2000, "peer-limit-per-torrent": 1000,
            "peer-port": self.port, "pex-enabled": False, "port-forwarding-enabled": False, "preallocation": 0,
            "ratio-limit-enabled": False, "rpc-bind-address": "127.0.0.1", "rpc-port": self.rpc,
            "rpc-host-whitelist-enabled": False, "rpc-whitelist-enabled": False, "scrape-paused-torrents-enabled": False,
            "seed-queue-enabled": False, "upload-slots-per-torrent": 1000, "utp-enabled": False,
        }
        with open(os.path.join(home, "settings.json"), "w") as out:
            json.dump(settings, out)
        self.session = ""
        self.process = Process(["transmission-daemon", "-f", "-g", home, "--log-error"], {"HOME": home},
                               log=os.path.join(self.work, "transmission.log"))
        wait_for("transmission's RPC", lambda: listens(self.rpc))
        self.call("torrent-add", filename=torrent, **{"download-dir": directory})
        return self.process

    def call(self, method, **arguments):
        body = json.dumps({"method": method, "arguments": arguments}).encode()
        for _ in range(2):
            request = urllib.request.Request(f"http://127.0.0.1:{self.rpc}/transmission/rpc", body,
                                             {"X-Transmission-Session-Id": self.session})
            try:
                # Never through a proxy.
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with opener.open(request, timeout=60) as answer:
                    return json.load(answer)["arguments"]
            except urllib.error.HTTPError as error:
                if error.code != 409:
                    raise
                self.session = error.headers["X-Transmission-Session-Id"]
        raise Failed("transmission's RPC")

    def start_seed(self, torrent, directory):
        process = self.run(torrent, directory)
        self.call("torrent-verify")
        return process

    def start_get(self, torrent, directory, peers=()):
        return self.run(torrent, directory)

    def torrent(self):
        return self.call("torrent-get", fields=["percentDone", "status", "recheckProgress"])["torrents"][0]

    def ready_to_seed(self):
        return self.is_done()

    def is_done(self):
        time.sleep(0.1)
        torrent = self.torrent()
        return torrent["percentDone"] == 1 and torrent["status"] == 6

    def start_verify(self, torrent, directory):
        return self.start_seed(torrent, directory)

    def verified(self):
        return self.is_done()


class Aria2(Client):
    name = "aria2"

    @classmethod
    def available(cls):
        return has("aria2c")

    def run(self, torrent, directory, *more):
        self.process = Process([
            "aria2c", "--no-conf=true", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false",
            "--enable-peer-exchange=false", "--file-allocation=none", "--allow-overwrite=true", "--summary-interval=0",
            "--show-console-readout=false", "--bt-max-peers=0", "--disable-ipv6=true", f"--listen-port={self.port}",
            f"--dir={directory}", *more, torrent],
            {"HOME": self.work}, log=os.path.join(self.work, "aria2.log"))
        return self.process

    def start_seed(self, torrent, directory):
        return self.run(torrent, directory, "--check-integrity=true", "--seed-ratio=0.0")

    def start_get(self, torrent, directory, peers=()):
        return self.run(torrent, directory, "--seed-time=0")

    def ready_to_seed(self):
        return listens(self.port) and is_calm(self.process)

    def is_done(self):
        if self.process.look():
            return False
        if self.process.child.returncode != 0:
            raise Failed(f"exit {self.process.child.returncode}")
        return True


class Rtorrent(Client):
    name = "rtorrent"

    @classmethod
    def available(cls):
        return has("rtorrent")

    def run(self, torrent, directory):
        session = os.path.join(self.work, "rtorrent")
        os.makedirs(session, exist_ok=True)
        self.done = os.path.join(session, "is-done")
        self.checked = os.path.join(session, "is-checked")
        # It refuses a torrent without a tracker when there is no DHT either.
        own = os.path.join(session, "own.torrent")
        announce = b"http://127.0.0.1:9/announce"
        with open(torrent, "rb") as plain, open(own, "wb") as out:
            out.write(b"d8:announce%d:%s" % (len(announce), announce) + plain.read()[1:])
        settings = os.path.join(session, "rc")
        with open(settings, "w") as out:
            out.write(f"""
system.daemon.set = true
session.path.set = {session}
directory.default.set = {directory}
network.bind_address.set = 127.0.0.1
network.port_range.set = {self.port}-{self.port}
network.port_random.set = no
network.max_open_sockets.set = 1000
network.max_open_files.set = 600
dht.mode.set = disable
protocol.pex.set = no
protocol.encryption.set = none
trackers.enable = 0
trackers.use_udp.set = no
throttle.max_uploads.set = 1000
throttle.max_uploads.global.set = 0
throttle.max_downloads.global.set = 0
throttle.max_peers.normal.set = 1000
throttle.max_peers.seed.set = 1000
pieces.hash.on_completion.set = no
pieces.memory.max.set = 4096M
method.set_key = event.download.finished, is_done, "execute2={{touch,{self.done}}}"
method.set_key = event.download.hash_done, is_checked, "execute2={{touch,{self.checked}}}"
""")
        self.process = Process(["rtorrent", "-n", "-o", f"import={settings}", own], {"HOME": session},
                               log=os.path.join(self.work, "rtorrent.log"))
        return self.process

    def start_seed(self, torrent, directory):
        return self.run(torrent, directory)

    def start_get(self, torrent, directory, peers=()):
        return self.run(torrent, directory)

    def ready_to_seed(self):
        self.process.look()
        return os.path.exists(self.checked) and is_calm(self.process)

    def is_done(self):
        if not self.process.look():
            raise Failed(f"ended: {self.process.text()[-2000:]}")
        return os.path.exists(self.done)

    def start_verify(self, torrent, directory):
        return self.run(torrent, directory)

    def verified(self):
        return os.path.exists(self.checked)


class Rqbit(Client):
    name = "rqbit"
    binary = os.path.join(ROOT, "target", "compare", "rqbit", "bin", "rqbit")

    @classmethod
    def available(cls):
        return os.access(cls.binary, os.X_OK)

    def run(self, torrent, directory, *more):
        # A name of the torrent's becomes no directory of its own with -o: its files go right there.
        self.process = Process([
            self.binary, "--disable-dht", "--disable-upnp-port-forward", "--disable-lsd", "--disable-trackers",
            "--listen-port", str(self.port), "--listen-ip", "127.0.0.1", "--peer-limit", "1000",
            "-v", "warn", "download", "--disable-http-api", "--overwrite", "-o", directory, *more, torrent],
            {"HOME": self.work}, log=os.path.join(self.work, "rqbit.log"))
        return self.process

    def start_seed(self, torrent, directory):
        return self.run(torrent, directory)

    def start_get(self, torrent, directory, peers=()):
        # It wants a peer to begin with, or a way to look for some.
        more = ["--initial-peers", ",".join(peers)] if peers else []
        self.has_peers = bool(peers)
        return self.run(torrent, directory, "-e", *more)

    def dials(self):
        return self.has_peers

    def ready_to_seed(self):
        return listens(self.port) and is_calm(self.process)

    def is_done(self):
        if self.process.look():
            return False
        if self.process.child.returncode != 0:
            raise Failed(f"exit {self.process.child.returncode}: {self.process.text()[-2000:]}")
        return True


def is_calm(process):
    """Whether it has done next to nothing for a second: its check is over."""
    if not process.look():
        raise Failed(f"ended too early: {process.text()[-2000:]}")
    before = process.cpu()
    time.sleep(1)
    return process.cpu() - before <= 0.03


ALL = [Linnet, Aria2, Libtorrent, Rqbit, Rtorrent, Transmission]
