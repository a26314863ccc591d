"""What every trial shares: its options, its one line, its file, and its exit code."""

import argparse
import asyncio
import json
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.lab import BenchError
from bench.speed import machine, target
from esprit.demo import lab
from esprit.demo.eavesdrop import EavesdropperError
from esprit.demo.lab import LabError
from esprit.demo.teams import TeamError
from esprit.errors import EspritError

_PACKAGES = {
    "ip": "iproute2",
    "tc": "iproute2",
    "bridge": "iproute2",
    "nft": "nftables",
    "ethtool": "ethtool",
    "sysctl": "procps",
}


@dataclass(slots=True, kw_only=True)
class Result:
    """What a trial came to."""

    #: The figure, in one line.
    line: str
    #: What must never happen and did; none, or the trial has failed.
    wrong: list[str] = field(default_factory=list)
    #: Everything that was measured, for the file.
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One sub-command."""

    what: str
    options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Awaitable[Result]]


def say(line: str) -> None:
    """Tells how far it is, apart from the result."""
    print(line, file=sys.stderr, flush=True)


def run(name: str, trial: Trial, words: Sequence[str]) -> int:
    """Runs a trial.

    Returns:
        0; 1 where it could not measure, or where something happened that must not. How long
        anything took is never a reason.
    """
    parser = argparse.ArgumentParser(prog=f"python -m bench {name}", description=trial.what)
    parser.add_argument("--programs", type=Path, default=target() / "release")
    parser.add_argument("--json", type=Path, default=Path(f"report/{name}.json"))
    trial.options(parser)
    arguments = parser.parse_args(words)
    try:
        _require()
        result = asyncio.run(_interruptible(trial, arguments))
    except (BenchError, LabError, TeamError, EavesdropperError, EspritError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    options = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in vars(arguments).items()
    }
    report = {
        "trial": name,
        "machine": machine(),
        "options": options,
        "line": result.line,
        "wrong": result.wrong,
        **result.data,
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{name}: {result.line}")
    for wrong in result.wrong:
        print(f"{name}: WRONG: {wrong}")
    return 1 if result.wrong else 0


async def _interruptible(trial: Trial, arguments: argparse.Namespace) -> Result:
    """SIGTERM ends it as Ctrl-C does: everything that it made goes away."""
    task = asyncio.ensure_future(trial.run(arguments))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _require() -> None:
    lacking = [
        f"{name} (package {package})"
        for name, package in _PACKAGES.items()
        if not shutil.which(name)
    ]
    if lacking:
        raise BenchError(f"this system lacks {', '.join(lacking)}")
    obstacle = lab.missing()
    if obstacle is not None:
        raise BenchError(obstacle)
