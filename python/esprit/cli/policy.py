"""``esprit policy``."""

from typing import Annotated

import typer

from esprit.cli import render, show, tables
from esprit.cli.common import Json, Name, TeamName, Words, chosen, found_in, group, with_team
from esprit.client import Team
from esprit.daemon.resources import PolicyResource

app = group("The security policy database.")


@app.command("show")
def policy_show(
    name: Annotated[str | None, typer.Argument(show_default=False)] = None,
    team: TeamName = None,
    json: Json = False,
) -> None:
    """Show the policies in the order in which they match, the built-in rules first."""

    async def ask(connected: Team) -> list[PolicyResource]:
        return await connected.policy_resources()

    found = chosen(with_team(team, ask), "name", name, "policy")
    render.as_json(found) if json else show.policies(found)


@app.command("add")
def policy_add(
    words: Words,
    before: Annotated[str | None, typer.Option(help="Put it before this policy.")] = None,
    team: TeamName = None,
) -> None:
    """Add a policy, at the end or before another."""
    table = tables.one(words, "policy")
    with_team(team, lambda connected: connected.add_policy(table, before=before))


@app.command("replace")
def policy_replace(name: Name, words: Words, team: TeamName = None) -> None:
    """Put another policy in its place, between two packets."""
    table = tables.one(words, "policy")
    with_team(team, lambda connected: found_in(connected.policies, name, "policy").replace(table))


@app.command("delete")
def policy_delete(name: Name, team: TeamName = None) -> None:
    """Delete a policy."""
    with_team(team, lambda connected: found_in(connected.policies, name, "policy").delete())
