"""`esprit demo`: options, the end however it comes, and the report."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from esprit._run import run
from esprit.demo import privilege
from esprit.demo.eavesdrop import EavesdropperError
from esprit.demo.lab import LabError
from esprit.demo.play import QUICK, WHOLE, Pace, play
from esprit.demo.plot import draw
from esprit.demo.result import Outcome
from esprit.demo.stage import Stage
from esprit.demo.teams import TeamError
from esprit.demo.traffic import TrafficError
from esprit.demo.view import View, view
from esprit.demo.watch import Watch
from esprit.errors import EspritError

HELD, BROKEN, CANNOT = 0, 1, 2
#: What a shell calls a process that SIGINT ended.
INTERRUPTED = 130

FAILURES = (EspritError, LabError, TeamError, TrafficError, EavesdropperError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demonstration.

    Args:
        arguments: of the command line, without the command; None takes them from sys.argv.

    Returns:
        0 if every promise held, 1 if not, 2 if it cannot run here, 130 if it was interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="esprit demo",
        description="Makes a team of unlike NICs and a peer, runs traffic, and breaks things.",
    )
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("report"),
        metavar="FOLDER",
        help="where the report goes (default: %(default)s)",
    )
    parser.add_argument("--plain", action="store_true", help="lines of text, even on a terminal")
    parser.add_argument(
        "--quick", action="store_true", help="less of everything, for a first impression"
    )
    options = parser.parse_args(sys.argv[1:] if arguments is None else list(arguments))
    given = ["--report", str(options.report.absolute())]
    given += [f"--{name}" for name in ("plain", "quick") if getattr(options, name)]
    status = privilege.unshared(given)
    if status is not None:
        return status
    obstacle = privilege.obstacle()
    if obstacle is not None:
        print(f"esprit demo: {obstacle}", file=sys.stderr)
        return CANNOT
    try:
        return run(_run(options.report, QUICK if options.quick else WHOLE, plain=options.plain))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("esprit demo: interrupted; everything was removed", file=sys.stderr)
        return INTERRUPTED
    except BaseExceptionGroup as group:
        return _failed(group)
    except FAILURES as error:
        return _failed(error)


def _failed(error: BaseException) -> int:
    """Says in one line what went wrong; what is no failure of a run is raised again."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, FAILURES):
        raise error
    print(f"esprit demo: {error}", file=sys.stderr)
    return BROKEN


async def _run(folder: Path, pace: Pace, *, plain: bool) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - asyncio.run made it
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with view(plain=plain) as shown:
        outcome, watch, on = await play(shown, pace)
        await asyncio.to_thread(_report, folder, outcome, watch, on)
    # After the live part has gone, so that the summary is what stays.
    _summary(outcome, folder, shown)
    return HELD if outcome.held else BROKEN


def _report(folder: Path, outcome: Outcome, watch: Watch, on: Stage) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(outcome.as_json(), indent=2, default=str)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    began = min(stream.series.first for stream in on.traffic.streams.values())
    anchor = int(str(outcome.facts["began"]))
    draw(
        folder / "throughput.png",
        [stream.series for stream in on.traffic.streams.values()],
        watch.history,
        [(anchor + one.at, one.title) for one in outcome.breaks],
        began,
        max(stream.series.last for stream in on.traffic.streams.values()),
    )


def _summary(outcome: Outcome, folder: Path, shown: View) -> None:
    shown.heading("What was promised")
    for promise in outcome.promises:
        shown.verdict(promise.held, f"{promise.text}: {promise.evidence}")
    held = sum(promise.held for promise in outcome.promises)
    shown.say(
        f"{held} of {len(outcome.promises)} promises held; "
        f"report in {folder}/report.json and {folder}/throughput.png"
    )
