"""Values on the terminal: JSON, or aligned columns; colour only where somebody looks."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence

# What a value is drawn in; words that are not here are drawn plainly.
_STYLES = {
    "UP": "green",
    "ok": "green",
    "on": "green",
    "active": "green",
    "DOWN": "red",
    "off": "dim",
    "suspect": "yellow",
    "hung": "red",
    "failed": "red",
    "down": "red",
    "deaf": "red",
    "no": "red",
    "quarantined": "red",
    "waiting": "dim",
    "simulated": "yellow",
}


def as_json(value: object) -> None:
    """Print plain JSON, as ``ip -j`` does: one line."""
    print(json.dumps(value, separators=(",", ":")))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under headings; on a pipe nothing is cut and nothing is coloured."""
    filled = [tuple(row) for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            drawn.add_column(column)
        for row in filled:
            drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        Console().print(drawn)
        return
    lines = [tuple(columns), *filled]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def size(count: float) -> str:
    """Bytes for people: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def drops(found: Mapping[str, int]) -> str:
    """Drop reasons with their counts, the largest first."""
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return " ".join(f"{reason}={count}" for reason, count in ordered if count)
