"""What commands share: their common options, and the way to the running team."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, TypeVar

import typer

from esprit._run import run
from esprit.client import Team, connect
from esprit.errors import NotFound

T = TypeVar("T")
R = TypeVar("R", bound=Mapping[str, object])

Json = Annotated[bool, typer.Option("--json", "-j", help="Print JSON, by iproute2's key names.")]
TeamName = Annotated[
    str | None,
    typer.Option("--team", "-t", help="Which team, if several run.", show_default=False),
]
Name = Annotated[str, typer.Argument(show_default=False)]
Words = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE | - | KEY=VALUE...",
        help="The keys of one table of the config: a TOML file, standard input, or words.",
        show_default=False,
    ),
]


def group(text: str) -> typer.Typer:
    """Commands of one object: object, then verb."""
    return typer.Typer(help=text, rich_markup_mode=None, no_args_is_help=True)


def with_team(team: str | None, work: Callable[[Team], Awaitable[T]]) -> T:
    """Do something with a running team."""

    async def inside() -> T:
        async with connect(team) as connected:
            return await work(connected)

    return run(inside())


def seen(team: str | None) -> Team:
    """A running team as it is now."""

    async def nothing(connected: Team) -> Team:
        return connected

    return with_team(team, nothing)


def chosen(found: Sequence[R], key: str, name: str | None, kind: str) -> list[R]:
    """All of them, or the one of that name.

    Raises:
        NotFound: there is none.
    """
    chosen = [one for one in found if name is None or one[key] == name]
    if name is not None and not chosen:
        raise NotFound(f"{kind} {name}")
    return chosen


def found_in(handles: Mapping[str, T], name: str, kind: str) -> T:
    """The one of that name.

    Raises:
        NotFound: there is none.
    """
    try:
        return handles[name]
    except KeyError:
        raise NotFound(f"{kind} {name}") from None
