"""The commands. Errors are raised below and become one line and an exit code here, only here.

Exit codes: 0 done; 1 something else; 2 the command line is wrong; from 3 on one for each
family of errors, see :mod:`esprit.errors`.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from esprit.cli import engine, flow, member, policy, render, sa, show, tables
from esprit.cli import explain as explained
from esprit.cli.common import Json, Name, TeamName, chosen, group, seen, with_team
from esprit.client import Team
from esprit.errors import BadRequest, EspritError

app = typer.Typer(
    help="Team unlike NICs and pool their encryption engines.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)


team_app = group("The team as a whole.")
for name, commands in (
    ("team", team_app),
    ("member", member.app),
    ("engine", engine.app),
    ("sa", sa.app),
    ("policy", policy.app),
):
    app.add_typer(commands, name=name)

# up, demo


@app.command()
def up(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", show_default=False)],
    dry_run: Annotated[bool, typer.Option(help="Say what would be done, and do nothing.")] = False,
    force: Annotated[
        bool,
        typer.Option(help="Take an interface that carries the default route or your session."),
    ] = False,
) -> None:
    """Run teams in the foreground, until SIGTERM or SIGINT."""
    # The control plane is not loaded for commands that only ask a running team.
    from esprit.cli.up import up as run_up

    run_up(files, dry_run=dry_run, force=force)


@app.command()
def inventory(
    config: Annotated[
        Path | None,
        typer.Option(help="For the team of this file: by its rules, with its engines."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="With --config: test the members' engines.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the host's interfaces: what they are, what they can, whether a team would take them."""
    from esprit.cli import inventory as listing

    if verify and config is None:
        raise BadRequest("--verify", "needs --config", remedy="name the team's file")
    found = asyncio.run(listing.seen(config, verify=verify))
    render.as_json(found) if json else listing.show(found)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def demo(context: typer.Context) -> None:
    """Make namespaces, a team of unlike NICs and a peer; run traffic; break things."""
    from esprit.demo import main as run_demo

    raise typer.Exit(run_demo(list(context.args)))


@app.command()
def simulate(
    scenario: Annotated[
        str | None,
        typer.Argument(help="A file, or a shipped scenario; none: list these.", show_default=False),
    ] = None,
    random: Annotated[
        int | None, typer.Option(min=0, help="Instead of a file: the random scenario so numbered.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the scenario's own.")] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for rows, summary and plots.")] = None,
    rival: Annotated[str | None, typer.Option(help="Another placement, by its name.")] = None,
    compare: Annotated[bool, typer.Option(help="Our placement beside every rival.")] = False,
    figures: Annotated[bool, typer.Option(help="Print the figures that must hold.")] = False,
    json: Json = False,
) -> None:
    """Run a scenario in virtual time, with the very code that ships, and check its rules."""
    from esprit.cli.simulate import simulate as run

    raise typer.Exit(
        run(
            scenario,
            random=random,
            seed=seed,
            out=out,
            rival=rival,
            compare=compare,
            show_figures=figures,
            json=json,
        )
    )


# team


@team_app.command("show")
def team_show(team: TeamName = None, json: Json = False) -> None:
    """Show the team and its members."""
    found = seen(team).resource
    render.as_json([found]) if json else show.team(found)


@team_app.command("mode")
def team_mode(mode: Name, team: TeamName = None) -> None:
    """Change the mode of the running team: active-backup or balance-alb."""
    with_team(team, lambda connected: connected.set_mode(mode))


@team_app.command("set")
def team_set(
    keys: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...",
            help="As [team] has them: failback=better preferred=eth1 up_delay=5s "
            "'probe={every=\"10ms\"}'",
            show_default=False,
        ),
    ],
    team: TeamName = None,
) -> None:
    """Change settings of the running team."""
    table = tables.pairs(keys)
    with_team(team, lambda connected: connected.set(**table))


@team_app.command("features")
def team_features(team: TeamName = None, json: Json = False) -> None:
    """Show what the team offers, and who provides it."""
    features(team, json)


@app.command()
def features(team: TeamName = None, json: Json = False) -> None:
    """Show what the team offers, and who provides it, as ethtool -k does for a NIC."""
    found = with_team(team, lambda connected: connected.features())
    render.as_json(found) if json else show.features(found)


@app.command()
def explain(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SRC DST | PROTO:SRC:SPORT->DST:DPORT",
            help="A packet that the host would send.",
            show_default=False,
        ),
    ] = None,
    proto: Annotated[str | None, typer.Option(help="tcp, udp, icmp, or a number.")] = None,
    sport: Annotated[int | None, typer.Option(help="Source port.")] = None,
    dport: Annotated[int | None, typer.Option(help="Destination port.")] = None,
    length: Annotated[int | None, typer.Option(help="Bytes with the IP header.")] = None,
    last_drop: Annotated[
        bool, typer.Option("--last-drop", help="The last packet that was dropped.")
    ] = False,
    feature: Annotated[
        str | None, typer.Option(help="A feature: who gives it, or why it is off.")
    ] = None,
    team: TeamName = None,
    json: Json = False,
) -> None:
    """Say which policy, SA, member and engine a packet gets, and why; or why it was dropped."""
    if last_drop:
        drop = with_team(team, lambda connected: connected.last_drop())
        render.as_json(drop) if json else explained.drop(drop)
        return
    if feature is not None:
        features = with_team(team, lambda connected: connected.features())
        (one,) = chosen(features, "feature", feature, "feature")
        render.as_json(one) if json else explained.feature(one)
        return
    asked = flow.asked(words or [], proto, sport, dport)
    found = with_team(team, lambda connected: connected.explain(**asked, length=length))
    render.as_json(found) if json else explained.explanation(found)


@app.command()
def load(
    size: Annotated[int, typer.Option(help="Bytes of a message, 1 to 65536.")] = 1400,
    seconds: Annotated[float, typer.Option(help="For so long.")] = 5.0,
    rate: Annotated[
        str | None, typer.Option(help='Bits per second, such as "1G"; else all there is room for.')
    ] = None,
    algorithm: Annotated[str, typer.Option(help="Which cipher.")] = "aes-128-gcm-16",
    work: Annotated[str, typer.Option(help="seal or open")] = "seal",
    packets: Annotated[int | None, typer.Option(help="Messages in a job, 1 to 64.")] = None,
    window: Annotated[int | None, typer.Option(help="Jobs in flight, 1 to 256.")] = None,
    local: Annotated[
        bool, typer.Option("--local", help="In this process, without a team.")
    ] = False,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="With --local: asic:2G (simulated) or cpu:2; else the processors."),
    ] = None,
    team: TeamName = None,
    json: Json = False,
) -> None:
    """Load the pool with applications' tasks, and say what it managed and who did it."""
    from esprit.cli import load as loading
    from esprit.crypto.load import Load

    table = {"algorithm": algorithm, "work": work, "size": size, "seconds": seconds}
    given = {"rate_bps": rate and loading.rate(rate), "packets": packets, "window": window}
    wanted = Load.from_table({**table, **given})
    found = loading.local(wanted, engine or ()) if local else loading.remote(wanted, team)
    render.as_json(found) if json else loading.show(found)


@app.command()
def monitor(team: TeamName = None, json: Json = False) -> None:
    """Print events as they happen, until the team ends."""

    async def listen(connected: Team) -> None:
        async for event in connected.events():
            if json:
                render.as_json(event)
                sys.stdout.flush()
            else:
                show.event(event)

    with_team(team, listen)


def main() -> None:
    """Run the command line, and end the process."""
    try:
        app()
    except EspritError as error:
        for line in str(error).splitlines():
            print(f"esprit: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read us went away. What is still buffered must not complain at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
