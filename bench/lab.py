"""Two namespaces with a host stack and a gateway each, and one wire between them.

    namespace A: iperf3 - TAP - gateway - wire ======= wire - gateway - TAP - iperf3 :namespace B

A gateway is a process that joins the TAP to the wire: the raw pump, or a team of one member.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

WIRE = "w0"
#: Addresses of the gateways, on their TAP devices.
ADDRESSES = ("10.90.0.1", "10.90.0.2")
#: Addresses between which the traffic runs, on the same devices; a tunnel's inner ones.
INNER = ("10.91.0.1", "10.91.0.2")
#: How long a gateway may take until its TAP is there and carries a first packet.
PATIENCE = 30.0

Cores = tuple[frozenset[int], frozenset[int]]
ALL_CORES = frozenset(os.sched_getaffinity(0))


class BenchError(Exception):
    """The bench cannot go on; the message says why and what to do."""


def cores(pinned: bool) -> Cores:
    """The cores of side A and of side B."""
    if not pinned:
        return ALL_CORES, ALL_CORES
    first, second = (sorted(ALL_CORES) * 2)[:2]
    return frozenset({first}), frozenset({second})


def run(*command: str) -> str:
    """Runs a program that must succeed and returns what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What one kind of pair needs."""

    name: str
    tap: str
    #: The gateway's command for side 0 or 1; the namespaces' names are given.
    gateway: Callable[[int, tuple[str, str]], Sequence[str] | None]
    #: Whether the two TAPs share a wire (the relay has none).
    wire: bool = True


class Lab:
    """The namespaces and processes of one pair, up until `close`."""

    def __init__(self, setup: Setup, *, number: int, segmented: bool, logs: Path) -> None:
        self.setup = setup
        self.names = tuple(f"esprit-bench-{number}{side}" for side in "ab")
        self._log = logs / f"{setup.name.replace(' ', '-')}.log"
        self._gateways: list[subprocess.Popen[bytes]] = []
        self._sides: list[int] = []
        try:
            self._make_namespaces(segmented)
            self._start()
        except BaseException:
            self.close()
            raise

    def _inside(self, side: int) -> list[str]:
        return ["ip", "netns", "exec", self.names[side]]

    def _make_namespaces(self, segmented: bool) -> None:
        for side, name in enumerate(self.names):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
            # Otherwise multicast listener reports of the wire's own stack stand in the figures.
            settings = [f"net.ipv6.conf.{which}.disable_ipv6=1" for which in ("all", "default")]
            run(*self._inside(side), "sysctl", "-qw", *settings)
        if not self.setup.wire:
            return
        a, b = self.names
        run("ip", "-n", a, "link", "add", WIRE, "type", "veth", "peer", "name", WIRE, "netns", b)
        for side in (0, 1):
            # A team turns GRO on at its members; the raw pair gets the same wire.
            run(*self._inside(side), "ethtool", "-K", WIRE, "gro", "on")
            if segmented:
                off = ["tso", "off", "gso", "off", "tx-udp-segmentation", "off"]
                run(*self._inside(side), "ethtool", "-K", WIRE, *off)
                run(*self._inside(side), "ethtool", "-K", WIRE, "rx-udp-gro-forwarding", "on")
            run("ip", "-n", self.names[side], "link", "set", WIRE, "up")

    def _start(self) -> None:
        with self._log.open("wb") as log:
            for side in (0, 1):
                command = self.setup.gateway(side, (self.names[0], self.names[1]))
                if command is None:
                    continue
                self._gateways.append(
                    subprocess.Popen(
                        [*self._inside(side), *command],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
                self._sides.append(side)
        for side in (0, 1):
            self._await(partial(self._has_tap, side), f"{self.setup.tap} was not made")
        macs = [self._address_tap(side) for side in (0, 1)]
        for side in (0, 1):
            # The wire's own stack would answer ARP for the TAP's address as well.
            name, other = self.names[side], 1 - side
            neighbour = ["neigh", "replace", ADDRESSES[other], "lladdr", macs[other]]
            run("ip", "-n", name, *neighbour, "dev", self.setup.tap, "nud", "permanent")
            route = ["route", "replace", INNER[other], "via", ADDRESSES[other]]
            run("ip", "-n", name, *route, "dev", self.setup.tap, "src", INNER[side])

    def _has_tap(self, side: int) -> bool:
        show = ["ip", "-n", self.names[side], "link", "show", self.setup.tap]
        return subprocess.run(show, capture_output=True, check=False).returncode == 0

    def _address_tap(self, side: int) -> str:
        name = self.names[side]
        run("ip", "-n", name, "link", "set", self.setup.tap, "up")
        for address in (f"{ADDRESSES[side]}/24", f"{INNER[side]}/32"):
            run("ip", "-n", name, "addr", "replace", address, "dev", self.setup.tap)
        (link,) = json.loads(run("ip", "-n", name, "-j", "link", "show", self.setup.tap))
        return str(link["address"])

    def _await(self, ready: Callable[[], bool], otherwise: str) -> None:
        end = time.monotonic() + PATIENCE
        while not ready():
            self._check_alive()
            if time.monotonic() > end:
                raise BenchError(f"{self.setup.name}: {otherwise}; see {self._log}")
            time.sleep(0.02)

    def _check_alive(self) -> None:
        for gateway in self._gateways:
            if gateway.poll() is not None:
                last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
                raise BenchError(f"{self.setup.name}: the gateway ended: {' '.join(last)}")

    def pin(self, where: Cores) -> None:
        """Puts every thread of the gateways on its side's cores."""
        for side, gateway in zip(self._sides, self._gateways, strict=True):
            for task in Path(f"/proc/{gateway.pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), where[side])

    def tcp(self, *, seconds: float, where: Cores) -> float:
        """Sends one TCP stream from B to A and returns its goodput in bit/s."""
        self._check_alive()
        self.pin(where)
        port = "5201"
        server = subprocess.Popen(
            [*self._inside(0), *_on(where[0]), "iperf3", "--server", "--one-off", "--port", port],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        client = [*self._inside(1), *_on(where[1]), "iperf3", "--client", INNER[0]]
        client += ["--port", port, "--time", f"{seconds:g}", "--json", "--connect-timeout", "3000"]
        try:
            report = self._iperf(client)
            server.wait(timeout=10)
        finally:
            server.kill()
            server.wait()
        return float(report["end"]["sum_received"]["bits_per_second"])

    def _iperf(self, client: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
        end = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(client, capture_output=True, text=True, check=False)
            report = json.loads(done.stdout) if done.stdout.strip() else {}
            if "error" not in report and done.returncode == 0:
                return dict(report)
            self._check_alive()
            reason = str(report.get("error", done.stderr.strip()))
            if "refused" not in reason or time.monotonic() > end:
                raise BenchError(f"{self.setup.name}: iperf3: {reason}; see {self._log}")

    def close(self) -> None:
        """Ends the gateways and removes the namespaces."""
        for gateway in self._gateways:
            gateway.send_signal(signal.SIGTERM)
        for gateway in self._gateways:
            try:
                gateway.wait(timeout=10)
            except subprocess.TimeoutExpired:
                gateway.kill()
                gateway.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _on(where: frozenset[int]) -> list[str]:
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(where)))]
