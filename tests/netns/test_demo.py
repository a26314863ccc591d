"""The demonstration as a user runs it."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NETNS = Path("/run/netns")
COMMAND = (sys.executable, "-m", "esprit", "demo", "--quick")
# A shell's background jobs, and what they start, ignore Ctrl-C.
HEEDS = ("env", "--default-signal=INT")
PATIENCE = 100


def namespaces(maker: int) -> list[str]:
    """Those that a process made."""
    return [path.name for path in NETNS.iterdir() if path.name.startswith(f"esprit-{maker}-")]


@contextlib.contextmanager
def demo(*options: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [*HEEDS, *COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_every_promise_holds_and_nothing_is_left(tmp_path: Path) -> None:
    with demo("--report", str(tmp_path)) as process:
        shown, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, shown + said
    assert said == ""
    assert "\x1b" not in shown, "a pipe is no terminal"
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["held"] is True
    assert len(report["events"]) == 6
    assert all(port["secret"] == 0 for port in report["eavesdropper"].values())
    assert all(port["missed"] == 0 for port in report["eavesdropper"].values())
    assert (tmp_path / "throughput.png").read_bytes().startswith(b"\x89PNG")
    assert namespaces(process.pid) == []


def test_an_interrupted_one_removes_everything(tmp_path: Path) -> None:
    with demo("--report", str(tmp_path)) as process:
        assert process.stdout is not None
        # In the middle: both teams are up and downloads run.
        assert any("taken apart" in line for line in process.stdout)
        assert len(namespaces(process.pid)) == 3
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert said.strip() == "esprit demo: interrupted; everything was removed"
    assert namespaces(process.pid) == []
    assert not list(tmp_path.iterdir())


def test_it_is_live_on_a_terminal(tmp_path: Path) -> None:
    reader, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "--report", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "110", "LINES": "40"},
    )
    os.close(terminal)
    shown = b""
    try:
        # The table of the run's state is drawn again and again below what happened.
        while shown.count(b"share of the work") < 3:
            shown += os.read(reader, 65536)
        process.terminate()
        with contextlib.suppress(OSError):  # the terminal's other end is closed
            while os.read(reader, 65536):
                pass
        assert process.wait(PATIENCE) == 130
    finally:
        os.close(reader)
        process.kill()
        process.wait()


# Not root, but the owner of its files, wherever they lie.
SOMEBODY = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")


def test_who_is_not_root_gets_a_user_namespace(tmp_path: Path) -> None:
    done = subprocess.run(
        [*SOMEBODY, *COMMAND, "--report", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "report.json").read_text())["held"] is True


def test_who_may_not_is_told_so_in_one_line() -> None:
    # Nobody but root can make TAPs where there is no device for it.
    hide = 'mount -t tmpfs tmpfs /dev/net && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hide, "sh", *SOMEBODY, *COMMAND],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "sudo" in done.stderr
