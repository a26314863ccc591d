"""The laboratory itself: what it makes is there, and nothing of it stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from esprit.demo import lab as laboratory
from esprit.demo.lab import Lab, LabError

NETNS = Path("/run/netns")


def namespaces() -> set[str]:
    return {path.name for path in NETNS.iterdir()}


def test_a_pulled_cable_has_no_carrier_at_either_end(lab: Lab) -> None:
    left, switch = lab.host("left"), lab.switch()
    port = switch.plug(left, "eth1")
    left.ip("link", "set", "eth1", "up")

    def carriers() -> set[bool]:
        links = left.link("eth1"), switch.link(port)
        return {"LOWER_UP" in link["flags"] for link in links}

    assert carriers() == {True}
    switch.pull(left, "eth1")
    assert carriers() == {False}
    switch.insert(left, "eth1")
    assert carriers() == {True}


def test_two_laboratories_do_not_meet(lab: Lab) -> None:
    with Lab() as other:
        assert lab.host("left").name != other.host("left").name


def test_processes_end_with_their_namespace() -> None:
    with Lab() as lab:
        process = lab.host("left").start("sleep", "1000")
    assert process.wait(timeout=10) == -signal.SIGKILL


def test_a_process_that_has_not_reached_its_namespace_ends_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Lab() as lab:
        host = lab.host("left")
        # As `ip netns exec` before it has entered: nobody finds it by the namespace.
        monkeypatch.setattr(host, "inside", lambda *command: list(command))
        process = host.start("sleep", "1000")
    assert process.wait(timeout=10) == -signal.SIGKILL


def test_a_failure_inside_removes_everything() -> None:
    names = []

    def fail() -> None:
        with Lab() as lab:
            names.append(lab.host("left").name)
            lab.host("right").ip("link", "set", "no-such-interface", "up")

    with pytest.raises(LabError, match="no-such-interface"):
        fail()
    assert names[0] not in namespaces()


def test_what_a_killed_maker_left_is_swept_by_the_next() -> None:
    script = (
        "import os, signal\n"
        "from subprocess import DEVNULL\n"
        "from esprit.demo.lab import Lab\n"
        "host = Lab().host('left')\n"
        "host.start('sleep', '1000', stdout=DEVNULL, stderr=DEVNULL)\n"
        "print(host.name, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    name = killed.stdout.decode().strip()
    assert killed.returncode == -signal.SIGKILL
    assert name in namespaces()
    assert name in laboratory.sweep()
    assert name not in namespaces()


def test_a_living_maker_is_left_alone(lab: Lab) -> None:
    host = lab.host("left")
    assert host.name not in laboratory.sweep()
    assert host.name in namespaces()


def test_who_is_not_root_is_told_what_to_do() -> None:
    # It is nobody once the package is loaded: nobody may not read a folder that is its owner's
    # alone, as one under /root or of mktemp.
    script = (
        "import os\n"
        "from esprit.demo.lab import missing\n"
        "os.setgroups([]); os.setresuid(65534, 65534, 65534)\n"
        "print(missing())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "sudo" in done.stdout
