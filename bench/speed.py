"""`make bench`: one table of throughput beside the raw pair, one of ESP in memory."""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import memory
from bench.lab import BenchError, Lab
from bench.measure import Series, alternate, report
from bench.paths import rows


def main(words: Sequence[str]) -> int:
    """Runs the bench and returns its exit code: 0 unless it could not measure."""
    parser = argparse.ArgumentParser(prog="python -m bench speed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--only", action="append", help="paths whose name contains this text")
    parser.add_argument(
        "--segmented", action="store_true", help="real 1500-byte frames on the wire"
    )
    parser.add_argument("--no-throughput", action="store_true", help="only ESP in memory")
    parser.add_argument("--no-memory", action="store_true", help="only throughput")
    parser.add_argument("--programs", type=Path, default=target() / "release")
    parser.add_argument("--json", type=Path, default=Path("report/bench.json"))
    arguments = parser.parse_args(words)
    # Piped output is not cut at a terminal's width.
    console = Console(width=None if sys.stdout.isatty() else 120)
    result: dict[str, Any] = {"machine": machine(), "segmented": arguments.segmented}
    try:
        if not arguments.no_throughput:
            _require()
            series = _throughput(arguments, console)
            result["throughput"] = report(series)
            _print_throughput(result["throughput"], console)
        if not arguments.no_memory:
            result["memory"] = memory.measure(arguments.programs / "espmem")
            _print_memory(result["memory"], console)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    console.print(f"written: {arguments.json}")
    return 0


def target() -> Path:
    """Where cargo puts what it builds."""
    return Path(os.environ.get("CARGO_TARGET_DIR", "target"))


def machine() -> Mapping[str, object]:
    """What the figures were taken on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release()}


def _require() -> None:
    packages = {
        "ip": "iproute2",
        "ethtool": "ethtool",
        "iperf3": "iperf3",
        "taskset": "util-linux",
        "sysctl": "procps",
    }
    lacking = [f"{name} (package {packages[name]})" for name in packages if not shutil.which(name)]
    if lacking:
        raise BenchError(f"this system lacks {', '.join(lacking)}")
    if os.geteuid() != 0:
        raise BenchError("namespaces and TAP devices need root: run it as root")
    if len(os.sched_getaffinity(0)) < 2:
        raise BenchError("pinning needs two cores")


def _throughput(arguments: argparse.Namespace, console: Console) -> Sequence[Series]:
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="esprit-bench-")))
        logs = arguments.json.parent
        logs.mkdir(parents=True, exist_ok=True)
        wanted = rows(rawpair=arguments.programs / "rawpair", work=work)
        if arguments.only:
            yardstick, *others = wanted
            chosen = [
                row for row in others if any(text in row.setup.name for text in arguments.only)
            ]
            wanted = [yardstick, *chosen]
        labs = []
        for number, row in enumerate(wanted):
            lab = Lab(row.setup, number=number, segmented=arguments.segmented, logs=logs)
            stack.callback(lab.close)
            labs.append((row, lab))
        return alternate(
            labs,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            say=lambda line: console.print(line, style="dim", highlight=False),
        )


def _print_throughput(paths: Sequence[Mapping[str, Any]], console: Console) -> None:
    table = Table(title="TCP x1 through a pair of gateways, medians")
    table.add_column("path")
    for way in ("pinned", "free"):
        table.add_column(f"Gbit/s {way}", justify="right")
    for way in ("pinned", "free"):
        table.add_column(f"/ raw pair {way}", justify="right")
    table.add_column("goal", justify="right")
    for path in paths:
        rates, ratios = path["median_bit_per_second"], path["ratio_to_raw_pair"]
        table.add_row(
            path["path"],
            *(f"{rates[way] / 1e9:.2f}" for way in ("pinned", "free")),
            *(f"{ratios[way]:.2f}" for way in ("pinned", "free")),
            "" if path["goal"] is None else f"{path['goal']:.2f}",
        )
    console.print(table)


def _print_memory(rows_: Sequence[Mapping[str, float]], console: Console) -> None:
    table = Table(title="ESP in memory, AES-128-GCM, one core, ns per packet")
    names = (
        "bytes",
        "packets per frame",
        "in UDP",
        "seal",
        "bare seal",
        "ratio",
        "open",
        "bare open",
        "ratio",
    )
    for name in names:
        table.add_column(name, justify="right")
    for row in rows_:
        table.add_row(
            f"{row['bytes']:.0f}",
            f"{row['packets_per_frame']:.0f}",
            "yes" if row["udp"] else "no",
            f"{row['seal_ns']:.0f}",
            f"{row['bare_seal_ns']:.0f}",
            f"{row['seal_ns'] / row['bare_seal_ns']:.2f}",
            f"{row['open_ns']:.0f}",
            f"{row['bare_open_ns']:.0f}",
            f"{row['open_ns'] / row['bare_open_ns']:.2f}",
        )
    console.print(table)
