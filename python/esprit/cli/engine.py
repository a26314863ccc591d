"""``esprit engine``."""

from typing import Annotated

import typer

from esprit.cli import render, show, tables
from esprit.cli.common import Json, Name, TeamName, chosen, found_in, group, seen, with_team

app = group("The pool's engines.")


@app.command("show")
def engine_show(
    name: Annotated[str | None, typer.Argument(show_default=False)] = None,
    team: TeamName = None,
    json: Json = False,
) -> None:
    """Show engines, what was measured of them and what they do."""
    found = chosen([one.resource for one in seen(team).engines.values()], "name", name, "engine")
    if json:
        render.as_json(found)
    elif name is None:
        show.engines(found)
    else:
        show.engine(*found)


@app.command("add")
def engine_add(
    name: Name,
    keys: Annotated[
        list[str],
        typer.Argument(metavar="KEY=VALUE...", help="As [[engine]] has them: kind=cpu threads=2"),
    ],
    member: Annotated[
        str | None, typer.Option(help="The member whose own it is; else it belongs to none.")
    ] = None,
    team: TeamName = None,
) -> None:
    """Add an engine to the running team's pool; it is tested first."""
    table = {"name": name, **tables.pairs(keys)}
    with_team(team, lambda connected: connected.add_engine(table, member=member))


@app.command("remove")
def engine_remove(name: Name, team: TeamName = None) -> None:
    """Take an engine out of the pool; its jobs are done again elsewhere."""
    with_team(team, lambda connected: found_in(connected.engines, name, "engine").remove())


@app.command("reset")
def engine_reset(name: Name, team: TeamName = None) -> None:
    """Reset an engine, test it again and admit it again."""
    with_team(team, lambda connected: found_in(connected.engines, name, "engine").reset())


@app.command("verify")
def engine_verify(name: Name, team: TeamName = None) -> None:
    """Test an engine as it is, and admit it again if it passes."""
    with_team(team, lambda connected: found_in(connected.engines, name, "engine").verify())


@app.command("fault")
def engine_fault(
    name: Name,
    fault: Annotated[
        str, typer.Argument(help="die, hang, wrong, late, sag, stick, coalesce, or heal")
    ],
    value: Annotated[
        int,
        typer.Argument(
            help="wrong: one answer in so many; late: microseconds; "
            "coalesce: nanoseconds; sag: per cent left"
        ),
    ] = 0,
    team: TeamName = None,
) -> None:
    """Inject a fault into a simulated engine."""
    with_team(
        team, lambda connected: found_in(connected.engines, name, "engine").fault(fault, value)
    )
