"""What a host of the demonstration does with its network: it serves downloads and it downloads.

Runs as a process of its own in the host's namespace, `python -m esprit.demo.station`, and knows
nothing of teams: to it there is a network, and HTTP over it. Its first line of input is a JSON
object with the canaries; each further line is an order, each line of output a report:

    > {"canaries": {"secret": "<hex>", "open": "<hex>"}, "ports": {"secret": 8080, "open": 8081}}
    < {"report": "ready"}
    > {"order": "get", "stream": "a", "host": "10.77.0.2", "kind": "secret", "size": 536870912,
       "rate": 40000000}
    < {"report": "progress", "stream": "a", "bins": [[<ms>, <bytes>], ...]}
    < {"report": "got", "stream": "a", "object": "a.0", "offset": 4194304, "sha256": "<hex>"}
    > {"order": "finish", "stream": "a"}        (the object under way is the last one)
    < {"report": "end", "stream": "a", "objects": 2, "error": null}

The serving side reports `sent` as the other reports `got`, over what it handed to its socket, and
the retransmissions that the kernel counted. Times are of CLOCK_MONOTONIC, the same in every
namespace. The process ends with its input.
"""

import hashlib
import http.client
import json
import os
import socket
import struct
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from esprit.demo.content import BLOCK, Content

#: Both ends say how far they are, and with which digest, once in this many bytes.
CHECKPOINT = 16 * BLOCK
#: A download that stands still for this long has failed.
PATIENCE = 20.0
#: Progress is reported this often, in bins of a millisecond.
REPORT_EVERY_NS = 100_000_000
#: linux/socket.h; bytes per second, obeyed by TCP itself. Python has no name for it.
SO_MAX_PACING_RATE = 47
#: The offset of tcpi_total_retrans in struct tcp_info (linux/tcp.h).
TOTAL_RETRANS = 100

Report = Callable[..., None]


class Reporter:
    """Writes reports, a line each, from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, report: str, /, **fields: object) -> None:
        """Writes one report."""
        line = json.dumps({"report": report, **fields}, separators=(",", ":"))
        with self._lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


class Digest:
    """The digest so far, said at every checkpoint."""

    def __init__(self, report: Report, kind: str, name: str, stream: str) -> None:
        self._sha256 = hashlib.sha256()
        self._report = report
        self._kind = kind
        self._names = {"object": name, "stream": stream}
        self._offset = 0

    def update(self, data: bytes | bytearray | memoryview, **more: object) -> None:
        """Takes the next bytes, and says where they cross a checkpoint."""
        view = memoryview(data)
        while len(view):
            part = view[: CHECKPOINT - self._offset % CHECKPOINT]
            self._sha256.update(part)
            self._offset += len(part)
            view = view[len(part) :]
            if self._offset % CHECKPOINT == 0:
                digest = self._sha256.hexdigest()
                self._report(self._kind, **self._names, offset=self._offset, sha256=digest, **more)


class Handler(BaseHTTPRequestHandler):
    """Answers `GET /<kind>/<object>/<size>/<rate>`; a rate of 0 means as fast as TCP can."""

    protocol_version = "HTTP/1.1"
    # A stalled reader must not hold a thread for ever.
    timeout = PATIENCE
    report: Report
    canaries: dict[str, bytes]

    def do_GET(self) -> None:
        """Sends one object."""
        _, kind, name, size, rate = self.path.split("/")
        name = urllib.parse.unquote(name)
        content = Content(seed=name.encode(), canary=self.canaries[kind], size=int(size))
        if int(rate):
            self.connection.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, int(rate))
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(content.size))
        self.end_headers()
        digest = Digest(self.report, "sent", name, name.rpartition(".")[0])
        for block in content.blocks():
            self.connection.sendall(block)
            digest.update(block, retransmits=self._retransmits())

    def _retransmits(self) -> int:
        info = self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TOTAL_RETRANS + 4)
        (count,) = struct.unpack_from("=I", info, TOTAL_RETRANS)
        return int(count)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Reports go to the pipe, not to a log."""


class Server(ThreadingHTTPServer):
    """Serves one kind of content on one port."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that goes away in the middle is the reader's report, not ours."""


class Download(threading.Thread):
    """One connection over which objects are fetched, one after the other, until told to finish."""

    def __init__(self, report: Report, order: dict[str, Any], port: int) -> None:
        super().__init__(daemon=True)
        self._report = report
        self._order = order
        self._port = port
        self._stream = str(order["stream"])
        self._finish = threading.Event()
        self._bins: dict[int, int] = {}
        self._due = 0

    def finish(self) -> None:
        """Makes the object under way the last one."""
        self._finish.set()

    def run(self) -> None:
        """Fetches until told to finish or until something fails."""
        host = str(self._order["host"])
        objects = 0
        error = None
        connection = http.client.HTTPConnection(host, self._port, timeout=PATIENCE)
        try:
            while objects == 0 or not self._finish.is_set():
                self._fetch(connection, f"{self._stream}.{objects}")
                objects += 1
        except (OSError, http.client.HTTPException) as failure:
            error = f"{type(failure).__name__}: {failure}"
        finally:
            connection.close()
        self._flush()
        self._report("end", stream=self._stream, objects=objects, error=error)

    def _fetch(self, connection: http.client.HTTPConnection, name: str) -> None:
        size = int(self._order["size"])
        connection.request("GET", f"/{self._order['kind']}/{name}/{size}/{self._order['rate']}")
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"status {response.status}")
        digest = Digest(self._report, "got", name, self._stream)
        while data := response.read1(BLOCK):
            self._count(len(data))
            digest.update(data)
        # Nothing is left to read, but only this tells the connection that it is free again.
        response.read()

    def _count(self, size: int) -> None:
        now = time.monotonic_ns()
        millisecond = now // 1_000_000
        self._bins[millisecond] = self._bins.get(millisecond, 0) + size
        if now >= self._due:
            self._flush()
            self._due = now + REPORT_EVERY_NS

    def _flush(self) -> None:
        if self._bins:
            self._report("progress", stream=self._stream, bins=list(self._bins.items()))
            self._bins = {}


def main() -> None:
    """Obeys orders until the input ends."""
    report = Reporter()
    start = json.loads(sys.stdin.readline())
    ports: dict[str, int] = start["ports"]
    Handler.report = staticmethod(report)
    Handler.canaries = {kind: bytes.fromhex(canary) for kind, canary in start["canaries"].items()}
    for port in ports.values():
        # Every address: the host's addresses come and go with its team.
        server = Server(("", port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    report("ready")
    downloads: dict[str, Download] = {}
    for line in sys.stdin:
        order = json.loads(line)
        stream = str(order["stream"])
        if order["order"] == "get":
            downloads[stream] = Download(report, order, ports[str(order["kind"])])
            downloads[stream].start()
        elif order["order"] == "finish":
            downloads[stream].finish()


if __name__ == "__main__":
    main()
    # Others still send and fetch. An interpreter that ends takes their threads apart wherever they
    # are, and within a library in Rust that aborts the process. All reports have been flushed.
    os._exit(0)
