"""Network namespaces, a learning switch and cables, made here and removed again whatever happens.

The demonstration and the namespace tests use the same ones:

    with Lab() as lab:
        left, right = lab.host("left"), lab.host("right")
        switch = lab.switch("switch")
        switch.plug(left, "eth1")           # a veth pair: `eth1` in left, `left-eth1` on the bridge
        switch.plug(right, "eth1")
        left.run("ip", "link", "set", "eth1", "up")
        switch.pull(left, "eth1")           # the cable is out: no carrier at either end

A namespace carries the identity of the process that made it in its name. What a killed process
left behind is removed by the next one, which can tell from that name that its maker is gone.
"""

import asyncio
import contextlib
import json
import os
import re
import secrets
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

#: What every namespace of ours is called: the maker's process, when it started, a nonce, the host.
_NAME = re.compile(r"^esprit-(?P<pid>\d+)-(?P<born>\d+)-[0-9a-f]{4}-")
_PREFIX = "esprit"
#: Where iproute2 keeps named namespaces.
_NETNS = Path("/run/netns")
#: A process of ours that does not end within this time after SIGTERM is killed.
GRACE = 10.0
#: IFNAMSIZ is 16 and counts the closing zero (linux/if.h).
_NAME_LIMIT = 15


class LabError(Exception):
    """A laboratory step failed; the message is the command and what it said."""


def run(*command: str, stdin: str | None = None) -> str:
    """Runs a program that must succeed.

    Returns:
        What it printed.

    Raises:
        LabError: it could not be started or ended with an error.
    """
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LabError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}"
        said = said.splitlines()[-1]
        raise LabError(f"{' '.join(command)}: {said}")
    return done.stdout


def missing() -> str | None:
    """What stands against making namespaces and virtual NICs here, or None.

    Returns:
        One line that names the lack and the remedy.
    """
    if os.geteuid() != 0:
        return "making network namespaces needs root: run it with sudo"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun cannot be opened: load the module `tun` and allow reading and writing"
    probe = f"{_tag()}probe"
    try:
        run("ip", "netns", "add", probe)
    except LabError as error:
        return f"network namespaces cannot be made here ({error}): run it as root on the host"
    run("ip", "netns", "del", probe)
    return None


def _born(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (proc(5), field 22); None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The command's name, field 2, is in parentheses and may hold anything.
    return int(text.rpartition(")")[2].split()[19])


def _tag() -> str:
    return f"{_PREFIX}-{os.getpid()}-{_born(os.getpid())}-{secrets.token_hex(2)}-"


def sweep() -> list[str]:
    """Removes the namespaces, and the processes in them, of makers that are gone.

    Returns:
        The names of the namespaces removed.
    """
    swept = []
    names = sorted(path.name for path in _NETNS.iterdir()) if _NETNS.is_dir() else []
    for name in names:
        match = _NAME.match(name)
        if match is not None and _born(int(match["pid"])) != int(match["born"]):
            _remove(name)
            swept.append(name)
    return swept


def _remove(name: str) -> None:
    for _ in range(3):
        pids = subprocess.run(
            ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
        ).stdout.split()
        if not pids:
            break
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        # A killed process leaves its namespace when it is gone, not when it is told so.
        _await_gone([int(pid) for pid in pids])
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _await_gone(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                # A child of ours becomes readable too; whoever started it reaps it.
                _readable(descriptor, GRACE)
            finally:
                os.close(descriptor)


def _readable(descriptor: int, patience: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(patience * 1000))


class Host:
    """A network namespace with a loopback interface that is up."""

    def __init__(self, role: str, name: str) -> None:
        self.role = role
        self.name = name
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def path(self) -> Path:
        """The namespace as a file, for setns(2)."""
        return _NETNS / self.name

    def inside(self, *command: str) -> list[str]:
        """The command line that runs `command` in this namespace, with its own /sys."""
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Runs a program here that must succeed, and returns what it printed."""
        return run(*self.inside(*command), stdin=stdin)

    def ip(self, *arguments: str) -> None:
        """Runs `ip` here."""
        run("ip", "-n", self.name, *arguments)

    def show(self, *arguments: str) -> Any:  # noqa: ANN401 - JSON of iproute2's making
        """Runs `ip -j -d` here and returns what it printed, as parsed JSON."""
        return json.loads(run("ip", "-n", self.name, "-j", "-d", *arguments) or "[]")

    def link(self, interface: str) -> dict[str, Any]:
        """One interface as `ip -j -d link show` has it."""
        (link,) = self.show("link", "show", "dev", interface)
        return dict(link)

    def has(self, interface: str) -> bool:
        """Whether there is such an interface."""
        command = ["ip", "-n", self.name, "link", "show", "dev", interface]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def interfaces(self) -> set[str]:
        """The names of all interfaces here."""
        return {link["ifname"] for link in self.show("link", "show")}

    def sysctl(self, **settings: str | int) -> None:
        """Sets kernel parameters of this namespace; `__` in a name stands for the dot."""
        self.run("sysctl", "-qw", *(f"{k.replace('__', '.')}={v}" for k, v in settings.items()))

    def rules(self) -> str:
        """Every nftables rule here."""
        return self.run("nft", "list", "ruleset")

    def start(
        self,
        *command: str,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a program here, in a process group of its own.

        A Ctrl-C on the terminal thus reaches only the process that made the laboratory.
        """
        process = subprocess.Popen(
            self.inside(*command),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=None if env is None else dict(env),
            process_group=0,
        )
        self._started.append(process)
        return process

    def rest(self) -> None:
        """Ends what was started here, also what has yet to reach the namespace."""
        while self._started:
            process = self._started.pop()
            if process.poll() is None:
                process.kill()


class Switch(Host):
    """A learning bridge, with its ports on the near end of every cable."""

    BRIDGE = "br0"

    def __init__(self, role: str, name: str) -> None:
        super().__init__(role, name)
        self._hand: subprocess.Popen[str] | None = None

    def make_bridge(self) -> None:
        """Makes the bridge: no spanning tree, so a port forwards as soon as it is up."""
        self.ip(
            "link", "add", self.BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0"
        )
        self.sysctl(net__ipv6__conf__all__disable_ipv6=1, net__ipv6__conf__default__disable_ipv6=1)
        self.ip("link", "set", self.BRIDGE, "up")

    @staticmethod
    def port(host: Host, interface: str) -> str:
        """The name of the bridge port at the other end of a cable.

        Raises:
            LabError: the name would be longer than the kernel takes.
        """
        name = f"{host.role}-{interface}"
        if len(name) > _NAME_LIMIT:
            raise LabError(f"{name}: an interface's name has at most {_NAME_LIMIT} characters")
        return name

    def plug(self, host: Host, interface: str, *, mtu: int = 1500) -> str:
        """Lays a cable: `interface` in `host`, down and without addresses, and a port here.

        Returns:
            The port's name.
        """
        port = self.port(host, interface)
        peer = ["type", "veth", "peer", "name", interface, "mtu", str(mtu), "netns", host.name]
        self.ip("link", "add", "name", port, "mtu", str(mtu), *peer)
        self.ip("link", "set", port, "master", self.BRIDGE)
        self.ip("link", "set", port, "up")
        return port

    def pull(self, host: Host, interface: str) -> None:
        """Pulls the cable: neither end has carrier."""
        self._move(self.port(host, interface), "down")

    def insert(self, host: Host, interface: str) -> None:
        """Puts the cable back."""
        self._move(self.port(host, interface), "up")

    def _move(self, port: str, state: str) -> None:
        """Sets a port, by a program that waits for the word: starting one takes milliseconds."""
        if self._hand is None:
            self._hand = subprocess.Popen(
                ["ip", "-n", self.name, "-oneline", "-force", "-batch", "-"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                process_group=0,
            )
        hand = self._hand
        assert hand.stdin is not None and hand.stdout is not None  # noqa: S101, PT018 - asked for
        # The second line is answered when the first was obeyed.
        hand.stdin.write(f"link set {port} {state}\nlink show dev {port}\n")
        hand.stdin.flush()
        if port not in hand.stdout.readline():
            raise LabError(f"{port} could not be set {state}")

    def rest(self) -> None:
        """Ends what was started here, and the program that moves cables."""
        super().rest()
        if self._hand is not None:
            # Leaving it closes its pipes, so that it reads the end and goes.
            with self._hand:
                self._hand = None


HostT = TypeVar("HostT", bound=Host)


class Lab:
    """Namespaces that live as long as the `with` block, and the processes in them."""

    def __init__(self) -> None:
        self._tag = _tag()
        self._hosts: list[Host] = []

    def host(self, role: str) -> Host:
        """A new namespace with loopback up."""
        return self._make(Host(role, self._tag + role))

    def switch(self, role: str = "switch") -> Switch:
        """A new namespace with a learning bridge."""
        switch = self._make(Switch(role, self._tag + role))
        switch.make_bridge()
        return switch

    def _make(self, host: HostT) -> HostT:
        run("ip", "netns", "add", host.name)
        self._hosts.append(host)
        host.ip("link", "set", "lo", "up")
        return host

    def close(self) -> None:
        """Ends every process in the namespaces and removes them; safe to call twice."""
        while self._hosts:
            host = self._hosts.pop()
            host.rest()
            _remove(host.name)

    def __enter__(self) -> Self:
        sweep()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def stop(process: subprocess.Popen[bytes], *, grace: float = GRACE) -> int:
    """Asks a process to end, and kills it where it does not.

    Returns:
        Its exit status, negative for the signal that ended it.
    """
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def tell(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Sends a signal to a process of asyncio's, if it has not ended.

    The process's own method would look whether it has ended first, and so take its exit status away
    from the watcher that waits for it.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def await_true(condition: Callable[[], object], what: str, *, patience: float = 20.0) -> None:
    """Asks again and again until `condition()` holds, where no event can be waited for.

    Raises:
        LabError: it did not hold within `patience` seconds.
    """
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise LabError(f"waited {patience:g} s in vain for {what}")
        time.sleep(0.01)
