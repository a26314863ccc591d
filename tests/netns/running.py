"""`esprit up` and the commands beside it, in a namespace of the laboratory."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from esprit.demo.lab import Host, Switch, await_true

PATIENCE = 30.0
KEYS = {
    "a": "000102030405060708090a0b0c0d0e0f10111213",
    "b": "100102030405060708090a0b0c0d0e0f10111213",
}


def team_file(path: Path, text: str) -> Path:
    """Write a config that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def plain(*members: str, name: str = "team0", more: str = "") -> str:
    """A team without protection."""
    lines = [f'[team]\nname = "{name}"\n{more}']
    lines += [f'[[member]]\ninterface = "{member}"' for member in members]
    return "\n".join(lines) + "\n"


def protected(
    ours: str,
    theirs: str,
    *members: str,
    out: str = "a",
    into: str = "b",
    software: str = "overflow",
) -> str:
    """A team that protects everything between two addresses, in transport mode."""
    here, there = (4096, 4097) if out == "a" else (4097, 4096)
    return (
        plain(*members, more=f'address = "{ours}/24"\nsoftware = "{software}"\n')
        + f"""
[[engine]]
name = "worker"
kind = "cpu"
threads = 0
[[policy]]
name = "all"
local = "{ours}/32"
remote = "{theirs}/32"
[[sa]]
name = "out"
direction = "out"
spi = {here}
src = "{ours}"
dst = "{theirs}"
mode = "transport"
encap = "udp"
key = "{KEYS[out]}"
[[sa]]
name = "in"
direction = "in"
spi = {there}
src = "{theirs}"
dst = "{ours}"
mode = "transport"
encap = "udp"
key = "{KEYS[into]}"
"""
    )


def bundle(ours: str, theirs: str, *members: str, out: str = "a", into: str = "b") -> str:
    """A team in balance-alb whose one policy has an SA for each member (RFC 9611's way)."""
    text = plain(*members, more=f'mode = "balance-alb"\naddress = "{ours}/24"\n')
    text += f"""
[[engine]]
name = "worker"
kind = "cpu"
threads = 0
[[policy]]
name = "all"
local = "{ours}/32"
remote = "{theirs}/32"
"""
    for number, member in enumerate(members, 1):
        for direction, key, src, dst in (("out", out, ours, theirs), ("in", into, theirs, ours)):
            # A key of its own for each member and direction, the same at both ends.
            material = KEYS[key][:-2] + f"{number:02x}"
            text += f"""
[[sa]]
name = "{direction}{number}"
direction = "{direction}"
spi = {(4096 if key == "a" else 8192) + number}
src = "{src}"
dst = "{dst}"
mode = "transport"
encap = "udp"
key = "{material}"
"""
            text += f'member = "{member}"\n' if direction == "out" else ""
    return text


def system(host: Host) -> dict[str, object]:
    """Everything on a host that a team could leave changed."""
    links = host.show("address", "show")
    return {
        "links": {
            link["ifname"]: (
                "UP" in link["flags"],
                link["mtu"],
                link["address"],
                sorted(a["local"] for a in link.get("addr_info", []) if a["scope"] != "link"),
            )
            for link in links
        },
        "routes": host.show("route", "show", "table", "all", "type", "unicast", "scope", "global"),
        "rules": host.rules(),
        "features": {
            link["ifname"]: re.findall(
                r"^(?:generic-receive|large-receive|rx-udp-gro-forw|tcp-seg).*$",
                host.run("ethtool", "-k", link["ifname"]),
                re.MULTILINE,
            )
            for link in links
        },
    }


@dataclass(slots=True)
class Esprit:
    """One host's `esprit`, with folders of its own for what it keeps."""

    host: Host
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        own = {
            "ESPRIT_RUN": str(self.folder / "run"),
            "ESPRIT_STATE": str(self.folder / "state"),
        }
        self.environment = {
            key: value for key, value in os.environ.items() if key != "SSH_CONNECTION"
        } | own

    @property
    def state_file(self) -> Path | None:
        """What is to be put back, if anything is."""
        return next((self.folder / "run").glob("*/state.json"), None)

    def up(self, text: str, *options: str) -> None:
        """Start a team, and wait until it is ready."""
        file = team_file(self.folder / "team.toml", text)
        log = self.folder / "log"
        with log.open("wb") as output:
            self.process = self.host.start(
                *(sys.executable, "-m", "esprit", "up", str(file), *options),
                stdout=output,
                stderr=output,
                env=self.environment,
            )
        process = self.process
        await_true(
            lambda: b": ready" in log.read_bytes() or process.poll() is not None,
            "the team",
            patience=PATIENCE,
        )
        assert process.poll() is None, log.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the team by a signal; returns the exit status."""
        assert self.process is not None
        # `ip netns exec` has become the program itself, so the signal reaches it.
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """Kill what a failed test left running."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)

    def refused(self, text: str, *options: str, mode: int = 0o600) -> tuple[int, str]:
        """Start a team that must not come up; returns exit code and standard error."""
        file = team_file(self.folder / "refused.toml", text)
        file.chmod(mode)
        done = self.command("up", str(file), *options)
        return done.returncode, done.stderr

    def command(
        self, *arguments: str, stdin: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run one command."""
        return subprocess.run(
            self.host.inside(sys.executable, "-m", "esprit", *arguments),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            timeout=PATIENCE,
        )

    def ask(self, *arguments: str) -> Any:  # noqa: ANN401 - JSON
        """Run one command that prints JSON."""
        done = self.command(*arguments, "-j")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


SERVE = """
import socket, sys
listener = socket.create_server((sys.argv[1], 9000))
print("listening", flush=True)
peer, _ = listener.accept()
total = 0
while data := peer.recv(1 << 16):
    total += len(data)
print(total, flush=True)
"""

SEND = """
import socket, sys
peer = socket.create_connection((sys.argv[1], 9000), timeout=20)
peer.sendall(bytes.fromhex(sys.argv[2]) * int(sys.argv[3]))
"""


def transfer(sender: Host, receiver: Host, address: str, needle: bytes, times: int) -> int:
    """Send a needle many times over TCP; returns the bytes that arrived."""
    server = receiver.start(sys.executable, "-c", SERVE, address, stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline() == b"listening\n"
    sender.run(sys.executable, "-c", SEND, address, needle.hex(), str(times))
    arrived = int(server.stdout.readline())
    server.stdout.close()
    assert server.wait(PATIENCE) == 0
    return arrived


@contextmanager
def listening(switch: Switch, ports: list[str], needle: bytes) -> Iterator[dict[str, Any]]:
    """Listen on a switch's ports; what passed is in the yielded dictionary after the block."""
    order = {"ports": ports, "needles": [needle.hex()], "sample_every": 64, "keep": 4}
    process = switch.start(
        *(sys.executable, "-m", "esprit.demo.listener"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(order).encode() + b"\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline()) == {"report": "ready"}
    seen: dict[str, Any] = {}
    yield seen
    process.stdin.close()
    seen.update(json.loads(process.stdout.readline())["ports"])
    process.stdout.close()
    assert process.wait(PATIENCE) == 0
