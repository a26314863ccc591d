"""The commands. Errors are raised below and become one line and an exit code here, only here.

Exit codes: 0 done; 1 something else; 2 the command line is wrong; from 3 on one for each
family of errors, see :mod:`esprit.errors`.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from esprit.cli import explain as explained
from esprit.cli import flow, render, show, tables
from esprit.client import Team, connect
from esprit.daemon.resources import PolicyResource
from esprit.errors import BadRequest, EspritError, NotFound

T = TypeVar("T")
R = TypeVar("R", bound=Mapping[str, object])

app = typer.Typer(
    help="Team unlike NICs and pool their encryption engines.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)


def _group(name: str, text: str) -> typer.Typer:
    group = typer.Typer(help=text, rich_markup_mode=None, no_args_is_help=True)
    app.add_typer(group, name=name)
    return group


team_app = _group("team", "The team as a whole.")
member_app = _group("member", "The team's members.")
engine_app = _group("engine", "The pool's engines.")
sa_app = _group("sa", "Security associations. Keys are never shown.")
policy_app = _group("policy", "The security policy database.")

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


def _with(team: str | None, work: Callable[[Team], Awaitable[T]]) -> T:
    async def inside() -> T:
        async with connect(team) as connected:
            return await work(connected)

    return asyncio.run(inside())


def _seen(team: str | None) -> Team:
    async def nothing(connected: Team) -> Team:
        return connected

    return _with(team, nothing)


def _chosen(found: Sequence[R], key: str, name: str | None, kind: str) -> list[R]:
    """All of them, or the one of that name."""
    chosen = [one for one in found if name is None or one[key] == name]
    if name is not None and not chosen:
        raise NotFound(f"{kind} {name}")
    return chosen


def _found(handles: Mapping[str, T], name: str, kind: str) -> T:
    try:
        return handles[name]
    except KeyError:
        raise NotFound(f"{kind} {name}") from None


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
    found = _seen(team).resource
    render.as_json([found]) if json else show.team(found)


@team_app.command("mode")
def team_mode(mode: Name, team: TeamName = None) -> None:
    """Change the mode of the running team: active-backup or balance-alb."""
    _with(team, lambda connected: connected.set_mode(mode))


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
    _with(team, lambda connected: connected.set(**table))


@team_app.command("features")
def team_features(team: TeamName = None, json: Json = False) -> None:
    """Show what the team offers, and who provides it."""
    features(team, json)


@app.command()
def features(team: TeamName = None, json: Json = False) -> None:
    """Show what the team offers, and who provides it, as ethtool -k does for a NIC."""
    found = _with(team, lambda connected: connected.features())
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
        drop = _with(team, lambda connected: connected.last_drop())
        render.as_json(drop) if json else explained.drop(drop)
        return
    if feature is not None:
        features = _with(team, lambda connected: connected.features())
        (one,) = _chosen(features, "feature", feature, "feature")
        render.as_json(one) if json else explained.feature(one)
        return
    asked = flow.asked(words or [], proto, sport, dport)
    found = _with(team, lambda connected: connected.explain(**asked, length=length))
    render.as_json(found) if json else explained.explanation(found)


# members


@member_app.command("show")
def member_show(
    name: Annotated[str | None, typer.Argument(show_default=False)] = None,
    team: TeamName = None,
    json: Json = False,
) -> None:
    """Show members."""
    found = _chosen(
        [one.resource for one in _seen(team).members.values()], "ifname", name, "member"
    )
    render.as_json(found) if json else show.members(found)


@member_app.command("add")
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
    _with(team, lambda connected: connected.add_member(table, force=force))


@member_app.command("replace")
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
    _with(
        team,
        lambda connected: _found(connected.members, old, "member").replace(table, force=force),
    )


@member_app.command("remove")
def member_remove(interface: Name, team: TeamName = None) -> None:
    """Take an interface out of the running team and give it back to the host."""
    _with(team, lambda connected: _found(connected.members, interface, "member").remove())


# engines


@engine_app.command("show")
def engine_show(
    name: Annotated[str | None, typer.Argument(show_default=False)] = None,
    team: TeamName = None,
    json: Json = False,
) -> None:
    """Show engines, what was measured of them and what they do."""
    found = _chosen([one.resource for one in _seen(team).engines.values()], "name", name, "engine")
    if json:
        render.as_json(found)
    elif name is None:
        show.engines(found)
    else:
        show.engine(*found)


@engine_app.command("add")
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
    _with(team, lambda connected: connected.add_engine(table, member=member))


@engine_app.command("remove")
def engine_remove(name: Name, team: TeamName = None) -> None:
    """Take an engine out of the pool; its jobs are done again elsewhere."""
    _with(team, lambda connected: _found(connected.engines, name, "engine").remove())


@engine_app.command("reset")
def engine_reset(name: Name, team: TeamName = None) -> None:
    """Reset an engine, test it again and admit it again."""
    _with(team, lambda connected: _found(connected.engines, name, "engine").reset())


@engine_app.command("verify")
def engine_verify(name: Name, team: TeamName = None) -> None:
    """Test an engine as it is, and admit it again if it passes."""
    _with(team, lambda connected: _found(connected.engines, name, "engine").verify())


@engine_app.command("fault")
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
    _with(team, lambda connected: _found(connected.engines, name, "engine").fault(fault, value))


# SAs


@sa_app.command("show")
def sa_show(
    name: Annotated[str | None, typer.Argument(show_default=False)] = None,
    team: TeamName = None,
    json: Json = False,
) -> None:
    """Show security associations, without their keys."""
    found = _chosen([one.resource for one in _seen(team).sas.values()], "name", name, "SA")
    render.as_json(found) if json else show.sas(found)


@sa_app.command("add")
def sa_add(words: Words, team: TeamName = None) -> None:
    """Add a security association. Its key comes by a file or standard input, never by a word."""
    table = tables.sa(words)
    _with(team, lambda connected: connected.add_sa(table))


@sa_app.command("replace")
def sa_replace(name: Name, words: Words, team: TeamName = None) -> None:
    """Put another in its place, make before break; an old inbound one stays until deleted."""
    table = tables.sa(words)
    _with(team, lambda connected: _found(connected.sas, name, "SA").replace(table))


@sa_app.command("delete")
def sa_delete(name: Name, team: TeamName = None) -> None:
    """Delete a security association."""
    _with(team, lambda connected: _found(connected.sas, name, "SA").delete())


# policies


@policy_app.command("show")
def policy_show(
    name: Annotated[str | None, typer.Argument(show_default=False)] = None,
    team: TeamName = None,
    json: Json = False,
) -> None:
    """Show the policies in the order in which they match, the built-in rules first."""

    async def ask(connected: Team) -> list[PolicyResource]:
        return await connected.policy_resources()

    found = _chosen(_with(team, ask), "name", name, "policy")
    render.as_json(found) if json else show.policies(found)


@policy_app.command("add")
def policy_add(
    words: Words,
    before: Annotated[str | None, typer.Option(help="Put it before this policy.")] = None,
    team: TeamName = None,
) -> None:
    """Add a policy, at the end or before another."""
    table = tables.one(words, "policy")
    _with(team, lambda connected: connected.add_policy(table, before=before))


@policy_app.command("replace")
def policy_replace(name: Name, words: Words, team: TeamName = None) -> None:
    """Put another policy in its place, between two packets."""
    table = tables.one(words, "policy")
    _with(team, lambda connected: _found(connected.policies, name, "policy").replace(table))


@policy_app.command("delete")
def policy_delete(name: Name, team: TeamName = None) -> None:
    """Delete a policy."""
    _with(team, lambda connected: _found(connected.policies, name, "policy").delete())


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

    _with(team, listen)


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
