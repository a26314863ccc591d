"""What the demonstration shows: live on a terminal, line by line where it is piped."""

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

#: Characters of a bar that stands for everything.
BAR = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberLine:
    """A member as it is now."""

    name: str
    up: bool
    role: str
    #: Bits per second, both directions.
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLine:
    """An engine as it is now."""

    name: str
    health: str
    #: Its part of the work of the last moment, 0 to 1.
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of the run at one moment."""

    mode: str
    #: Bits per second, all downloads.
    rate: float
    verified: int
    members: Sequence[MemberLine] = ()
    engines: Sequence[EngineLine] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A table to be shown."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    #: Columns to be set to the right.
    numbers: frozenset[int] = field(default_factory=frozenset)


class View(AbstractContextManager["View"], Protocol):
    """Where it is shown."""

    def heading(self, text: str) -> None:
        """A new part begins."""

    def say(self, text: str) -> None:
        """One line."""

    def verdict(self, held: bool, text: str) -> None:
        """One line that says whether something held."""

    def table(self, shown: Shown) -> None:
        """A table."""

    def status(self, status: Status) -> None:
        """The state of the run has changed."""


def rate(bits: float) -> str:
    """Bits per second in a reader's units."""
    return f"{bits / 1e9:.2f} Gbit/s" if bits >= 1e9 else f"{bits / 1e6:.0f} Mbit/s"


def percent(share: float) -> str:
    """A share between 0 and 1."""
    return f"{100 * share:.0f} %"


class PlainView:
    """Lines of text, for pipes and logs."""

    #: A line on the state of the run is written at most this often, in seconds.
    STATUS_EVERY = 5.0

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._due = self._start

    def heading(self, text: str) -> None:
        """A new part begins."""
        self._write(f"\n== {text}")

    def say(self, text: str) -> None:
        """One line, with the seconds since the start."""
        self._write(f"{time.monotonic() - self._start:6.1f} s  {text}")

    def verdict(self, held: bool, text: str) -> None:
        """One line that says whether something held."""
        self._write(f"{'held  ' if held else 'BROKEN'}  {text}")

    def table(self, shown: Shown) -> None:
        """A table, in columns as wide as their contents."""
        rows = [list(shown.columns), *(list(row) for row in shown.rows)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(shown.columns))]
        self._write(f"{shown.title}:")
        for row in rows:
            cells = [
                cell.rjust(width) if i in shown.numbers else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            self._write("  " + "  ".join(cells).rstrip())

    def status(self, status: Status) -> None:
        """A line on the state of the run, now and then."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + self.STATUS_EVERY
        engines = ", ".join(
            f"{engine.name} {percent(engine.share)}" for engine in status.engines if engine.share
        )
        carrying = ", ".join(member.name for member in status.members if member.role == "active")
        self.say(
            f"{rate(status.rate)}, {status.verified >> 20} MiB verified; "
            f"{status.mode}: {carrying or 'nobody'} carries; work: {engines or 'none'}"
        )

    @staticmethod
    def _write(text: str) -> None:
        print(text, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class RichView:
    """A terminal: what happened scrolls above, the state of the run stays below."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self._live = Live(console=console, refresh_per_second=8, transient=True)

    def heading(self, text: str) -> None:
        """A new part begins."""
        self._console.print()
        self._console.print(Text(text, style="bold"))

    def say(self, text: str) -> None:
        """One line, with the seconds since the start."""
        line = Text(f"{time.monotonic() - self._start:6.1f} s  ", style="dim")
        self._console.print(line.append(text, style="not dim"))

    def verdict(self, held: bool, text: str) -> None:
        """One line that says whether something held."""
        mark = Text("  ✔ ", style="bold green") if held else Text("  ✘ ", style="bold red")
        self._console.print(mark.append(text, style="not bold default" if held else "red"))

    def table(self, shown: Shown) -> None:
        """A table."""
        table = Table(title=shown.title, title_justify="left", title_style="bold", box=None)
        for i, column in enumerate(shown.columns):
            table.add_column(
                column, justify="right" if i in shown.numbers else "left", header_style="dim"
            )
        for row in shown.rows:
            table.add_row(*(Text(cell) for cell in row))
        self._console.print(table)

    def status(self, status: Status) -> None:
        """Redraws the state of the run."""
        members = Table(box=None, header_style="dim")
        for column in ("member", "link", "role", "carries"):
            right = column == "carries"
            members.add_column(column, justify="right" if right else "left", min_width=11)
        for member in status.members:
            members.add_row(
                member.name,
                Text("up", style="green") if member.up else Text("down", style="red"),
                Text(member.role, style="bold" if member.role == "active" else ""),
                rate(member.rate),
            )
        engines = Table(box=None, header_style="dim")
        for column in ("engine", "health", "share of the work"):
            engines.add_column(column, min_width=BAR + 6 if column.startswith("share") else 11)
        for engine in status.engines:
            bar = "█" * round(BAR * engine.share)
            engines.add_row(
                engine.name,
                Text(engine.health, style="green" if engine.health == "ok" else "red"),
                Text(f"{bar} {percent(engine.share)}"),
            )
        side = Table.grid(padding=(0, 4))
        side.add_row(members, engines)
        done = f"{status.verified >> 20} MiB verified"
        head = Text(f"\nteam0  {status.mode}   {rate(status.rate)}   {done}", style="bold cyan")
        self._live.update(Group(head, side))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.update(Text(""))
        self._live.stop()


def view(*, plain: bool) -> View:
    """The view for where standard output goes.

    Args:
        plain: lines of text even on a terminal.
    """
    if plain or not sys.stdout.isatty():
        return PlainView()
    return RichView(Console())
