"""``esprit member``."""

from typing import Annotated

import typer

from esprit.cli import render, show, tables
from esprit.cli.common import Json, Name, TeamName, chosen, found_in, group, seen, with_team

app = group("The team's members.")


@app.command("show")
def member_show(
    name: Annotated[str | None, typer.Argument(show_default=False)] = None,
    team: TeamName = None,
    json: Json = False,
) -> None:
    """Show members."""
    found = chosen([one.resource for one in seen(team).members.values()], "ifname", name, "member")
    render.as_json(found) if json else show.members(found)


@app.command("add")
def member_add(
    interface: Name,
    priority: Annotated[int, typer.Option(help="The higher, the more preferred.")] = 0,
    weight: Annotated[int, typer.Option(help="Its share of the flows in balance-alb.")] = 1,
    carry: Annotated[
        bool, typer.Option(help="--no-carry: its engine works, its wire does not.")
    ] = True,
    foreign_mac: Annotated[
        bool | None,
        typer.Option(help="Whether its wire takes another's source address; else it is probed."),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="Its own engine as KEY=VALUE, e.g. kind=asic --engine rate=10G."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Even if your own way in goes by it.")] = False,
    team: TeamName = None,
) -> None:
    """Add an interface to the running team."""
    table: tables.Table = {
        "interface": interface,
        "priority": priority,
        "weight": weight,
        "carry": carry,
    }
    if foreign_mac is not None:
        table["foreign_mac"] = foreign_mac
    if engine:
        table["engine"] = tables.pairs(engine)
    with_team(team, lambda connected: connected.add_member(table, force=force))


@app.command("replace")
def member_replace(
    old: Name,
    new: Name,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="The new one's engine as KEY=VALUE, e.g. kind=asic --engine rate=10G."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Even if your own way in goes by it.")] = False,
    team: TeamName = None,
) -> None:
    """Put an interface in the place of a member: the new one in first, then the old one out."""
    table: tables.Table = {"interface": new}
    if engine:
        table["engine"] = tables.pairs(engine)
    with_team(
        team,
        lambda connected: found_in(connected.members, old, "member").replace(table, force=force),
    )


@app.command("remove")
def member_remove(interface: Name, team: TeamName = None) -> None:
    """Take an interface out of the running team and give it back to the host."""
    with_team(team, lambda connected: found_in(connected.members, interface, "member").remove())
