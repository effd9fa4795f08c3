#!/usr/bin/python3
"""A tracker that takes tens of thousands of announces a second and counts them per torrent. Started by daemon.py.

It says `ports UDP HTTP`, then obeys the lines of its stdin: `silent` (from now on it reads and never answers), `report`
(one JSON object: torrents that said `started`, `stopped`, both, and how often more than once), `forget`, and ends with it.
It names no peers. UDP is BEP 15, HTTP is BEP 3 with kept connections.
"""

import json
import os
import select
import socket
import struct
import sys
import urllib.parse

INTERVAL_S = 1800
EVENTS = {0: "none", 1: "completed", 2: "started", 3: "stopped"}
ANSWER = b"d8:completei1e10:incompletei0e8:intervali%de5:peers0:e" % INTERVAL_S
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)


class Tracker:
    def __init__(self):
        self.silent = False
        self.seen = {name: {} for name in EVENTS.values()}
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # Room for ten thousand datagrams at once, so that none is lost here; only root may have that much (33 is
        # SO_RCVBUFFORCE), anyone else has what net.core.rmem_max allows.
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        try:
            self.udp.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
        except PermissionError:
            pass
        self.udp.bind(("127.0.0.1", 0))
        self.udp.setblocking(False)
        self.http = socket.socket()
        self.http.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.http.bind(("127.0.0.1", 0))
        self.http.listen(4096)
        self.http.setblocking(False)
        self.streams, self.unread, self.connections = {}, {}, 0

    def note(self, event, info_hash):
        table = self.seen[event]
        table[info_hash] = table.get(info_hash, 0) + 1

    def report(self):
        found = {name: len(table) for name, table in self.seen.items()}
        found |= {f"{name}_again": sum(count - 1 for count in table.values()) for name, table in self.seen.items()}
        found["told"] = len(self.seen["stopped"].keys() & self.seen["started"].keys())
        found["connections"] = self.connections
        return found

    def on_datagrams(self):
        for _ in range(512):
            try:
                data, sender = self.udp.recvfrom(2048)
            except BlockingIOError:
                return
            if len(data) < 16:
                continue
            action, transaction = struct.unpack_from(">II", data, 8)
            if action == 0:
                answer = struct.pack(">IIQ", 0, transaction, 0x1234567890)
            elif action == 1 and len(data) >= 98:
                self.note(EVENTS.get(struct.unpack_from(">I", data, 80)[0], "none"), data[16:36])
                answer = struct.pack(">IIIII", 1, transaction, INTERVAL_S, 0, 1)
            elif action == 2:
                answer = struct.pack(">II", 2, transaction) + struct.pack(">III", 1, 0, 0) * ((len(data) - 16) // 20)
            else:
                continue
            if not self.silent:
                try:
                    self.udp.sendto(answer, sender)
                except OSError:
                    pass

    def on_stream(self, number, poll):
        stream = self.streams[number]
        try:
            more = stream.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        if not more:
            self.close(number, poll)
            return
        said = self.unread.pop(number, b"") + more
        while b"\r\n\r\n" in said:
            request, said = said.split(b"\r\n\r\n", 1)
            target = request.split(b" ", 2)[1]
            pairs = dict(pair.split(b"=", 1) for pair in target.partition(b"?")[2].split(b"&") if b"=" in pair)
            if b"info_hash" in pairs and b"scrape" not in target.partition(b"?")[0]:
                event = pairs.get(b"event", b"none").decode() or "none"
                self.note(event if event in self.seen else "none", urllib.parse.unquote_to_bytes(pairs[b"info_hash"]))
            if not self.silent:
                try:
                    stream.send(HEAD + ANSWER)
                except OSError:
                    pass
            if b"connection: close" in request.lower() or b"HTTP/1.0" in request:
                if not self.silent:
                    self.close(number, poll)
                    return
        if said:
            self.unread[number] = said

    def close(self, number, poll):
        poll.unregister(number)
        self.streams.pop(number).close()
        self.unread.pop(number, None)

    def run(self):
        poll = select.epoll()
        stdin = sys.stdin.fileno()
        os.set_blocking(stdin, False)
        for one in (self.udp.fileno(), self.http.fileno(), stdin):
            poll.register(one, select.EPOLLIN)
        print("ports", self.udp.getsockname()[1], self.http.getsockname()[1], flush=True)
        while True:
            for number, _ in poll.poll():
                if number == self.udp.fileno():
                    self.on_datagrams()
                elif number == self.http.fileno():
                    for _ in range(256):
                        try:
                            stream, _ = self.http.accept()
                        except OSError:
                            break
                        stream.setblocking(False)
                        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        self.connections += 1
                        self.streams[stream.fileno()] = stream
                        poll.register(stream.fileno(), select.EPOLLIN)
                elif number == stdin:
                    said = os.read(stdin, 4096)
                    if not said:
                        return
                    for word in said.split():
                        if word == b"report":
                            print(json.dumps(self.report()), flush=True)
                        elif word in (b"silent", b"loud"):
                            self.silent = word == b"silent"
                        elif word == b"forget":
                            for table in self.seen.values():
                                table.clear()
                elif number in self.streams:
                    self.on_stream(number, poll)


if __name__ == "__main__":
    Tracker().run()
