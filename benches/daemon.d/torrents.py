"""The torrents of a measurement, and how a peer asks for one.

All torrents of a case have the same files, so they differ only by a word in their info dictionary: ten thousand torrents of
sixteen megabytes need sixteen megabytes of disk.
"""

import hashlib
import os
import socket


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


def around(info, announce):
    """The torrent file around an encoded info dictionary."""
    tracker = b"8:announce" + bencode(announce) if announce else b""
    return b"d" + tracker + b"4:info" + info + b"e"


class Torrents:
    """`count` torrents over the same `files` files of together `pieces` pieces of 16 KiB."""

    piece = 16384

    def __init__(self, where, count, files, pieces, announce=""):
        self.data = os.path.join(where, "data")
        os.makedirs(self.data)
        block = os.urandom(self.piece)
        self.size = self.piece * pieces
        size = self.size // files
        assert size * files == self.size and size % self.piece == 0
        info = {"name": "same", "piece length": self.piece, "pieces": hashlib.sha1(block).digest() * pieces}
        if files == 1:
            info["length"] = size
            paths = [os.path.join(self.data, "same")]
        else:
            os.makedirs(os.path.join(self.data, "same"))
            info["files"] = [{"length": size, "path": [f"file-{n:03}.bin"]} for n in range(files)]
            paths = [os.path.join(self.data, "same", f"file-{n:03}.bin") for n in range(files)]
        for path in paths:
            with open(path, "wb") as file:
                file.write(block * (size // self.piece))
        self.all = []
        for number in range(count):
            info["source"] = f"number {number:06}"
            encoded = bencode(info)
            self.all.append((hashlib.sha1(encoded).digest(), around(encoded, announce)))


class Large:
    """One torrent of `count` files of 1 GiB, which are one file under many names: reading it costs as much as reading others,
    and room for one is enough. (A file of holes would not do: a check may know that there is nothing to read.)"""

    piece = 1 << 20

    def __init__(self, directory, name, count):
        self.data, self.size = directory, count << 30
        os.makedirs(os.path.join(directory, name))
        block = os.urandom(self.piece)
        paths = [f"{number:03}.bin" for number in range(count)]
        first = os.path.join(directory, name, paths[0])
        with open(first, "wb") as file:
            for _ in range(1 << 10):
                file.write(block)
        for path in paths[1:]:
            os.link(first, os.path.join(directory, name, path))
        hashes = hashlib.sha1(block).digest() * (count << 10)
        files = [{"length": 1 << 30, "path": [path]} for path in paths]
        info = bencode({"name": name, "piece length": self.piece, "pieces": hashes, "files": files})
        self.info_hash = hashlib.sha1(info).digest()
        self.file = around(info, "")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def handshake(port, info_hash, number=0, timeout=10):
    """Whether a peer is answered for this torrent. Some clients take one peer of an address at a time: `number` makes another."""
    with socket.create_connection(("127.0.0.1", port), timeout, (f"127.79.{number // 250}.{number % 250 + 1}", 0)) as stream:
        return greet(stream, info_hash, timeout)


def greet(stream, info_hash, timeout=10):
    """Shakes hands on `stream`; whether the other side has the torrent."""
    stream.settimeout(timeout)
    stream.sendall(b"\x13BitTorrent protocol" + bytes(8) + info_hash + b"-XX0000-" + os.urandom(12))
    said = b""
    while len(said) < 68:
        more = stream.recv(68 - len(said))
        if not more:
            return False
        said += more
    return said[28:48] == info_hash


class Deaf:
    """A peer that asks for everything and reads nothing."""

    def __init__(self, port, info_hash, number):
        self.stream = socket.socket()
        # An address of its own: some clients take one stream per address only.
        self.stream.bind((f"127.78.{number // 250}.{number % 250 + 1}", 0))
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.stream.connect(("127.0.0.1", port))
        greet(self.stream, info_hash)
        requests = b"".join(b"\0\0\0\x0d\x06" + (index % 8).to_bytes(4, "big") + bytes(4) + b"\0\0\x40\0" for index in range(200))
        self.stream.settimeout(1)
        # No bitfield, interested, and requests at once: most are dropped while choked, which is all the same here.
        self.stream.sendall(b"\0\0\0\x01\x02" + requests)

    def close(self):
        self.stream.close()
