"""``esprit sa``."""

from typing import Annotated

import typer

from esprit.cli import render, show, tables
from esprit.cli.common import Json, Name, TeamName, Words, chosen, found_in, group, seen, with_team

app = group("Security associations. Keys are never shown.")


@app.command("show")
def sa_show(
    name: Annotated[str | None, typer.Argument(show_default=False)] = None,
    team: TeamName = None,
    json: Json = False,
) -> None:
    """Show security associations, without their keys."""
    found = chosen([one.resource for one in seen(team).sas.values()], "name", name, "SA")
    render.as_json(found) if json else show.sas(found)


@app.command("add")
def sa_add(words: Words, team: TeamName = None) -> None:
    """Add a security association. Its key comes by a file or standard input, never by a word."""
    table = tables.sa(words)
    with_team(team, lambda connected: connected.add_sa(table))


@app.command("replace")
def sa_replace(name: Name, words: Words, team: TeamName = None) -> None:
    """Put another in its place, make before break; an old inbound one stays until deleted."""
    table = tables.sa(words)
    with_team(team, lambda connected: found_in(connected.sas, name, "SA").replace(table))


@app.command("delete")
def sa_delete(name: Name, team: TeamName = None) -> None:
    """Delete a security association."""
    with_team(team, lambda connected: found_in(connected.sas, name, "SA").delete())
