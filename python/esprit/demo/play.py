"""The play: what is shown, in order."""

import asyncio
import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from esprit.demo import verdicts
from esprit.demo.breaks import Breaker
from esprit.demo.content import BLOCK, MEBIBYTE
from esprit.demo.history import shares
from esprit.demo.result import Break, Outcome
from esprit.demo.stage import Stage, stage
from esprit.demo.teams import ADDRESS, BEHIND, TAGGED, TEAM
from esprit.demo.traffic import Stream
from esprit.demo.view import Shown, View, percent, rate
from esprit.demo.watch import Watch, background, milliseconds

#: What is downloaded again and again while things break, at a moderate rate: a standstill of a
#: millisecond is seen only where bytes come every millisecond.
OBJECT = 8 * MEBIBYTE
RATE = 4_000_000
#: What proves that the eavesdropper hears.
CONTROL = MEBIBYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much of it, and how long.

    Attributes:
        download: Bytes of the download that goes as fast as the two hosts can.
        settle: Milliseconds for which traffic is watched after each event.
    """

    download: int
    settle: int


#: What is promised, and the same in less time, to see whether it runs at all.
WHOLE = Pace(download=512 * MEBIBYTE, settle=2500)
QUICK = Pace(download=64 * MEBIBYTE, settle=600)


async def play(view: View, pace: Pace) -> tuple[Outcome, Watch, Stage]:
    """Plays it all.

    Returns:
        What was found, and what the picture is drawn from.
    """
    outcome = Outcome()
    started = time.monotonic()
    outcome.facts["started"] = datetime.now(UTC).isoformat(timespec="seconds")
    outcome.facts["machine"] = {
        "kernel": platform.release(),
        "processors": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }
    view.say("making namespaces left, right and switch, and a team of unlike NICs in left")
    async with stage() as set_up:
        left, right = set_up.teams["left"], set_up.teams["right"]
        async with left.control() as left_team, right.control() as right_team:
            watch = Watch(left_team, right_team, set_up.traffic)
            await watch.look()
            await introduce(view, set_up, watch, outcome)
            async with background(watch.keep_looking(view.status), watch.listen()):
                await control(view, set_up)
                await download(view, set_up, watch, outcome, pace)
                await broken(view, set_up, watch, outcome, pace)
            await watch.look()
            outcome.facts["heard"] = watch.events
            verdicts.transfers(outcome, set_up.traffic, pace.download)
            outcome.facts["drops"] = watch.dropped()
            outcome.facts["packets"] = {
                "accepted": watch.losses.accepted,
                "lost": watch.losses.total,
            }
        view.say("opening what the eavesdropper took down, and ending both teams")
        seen = await set_up.eavesdropper.stop()
        await verdicts.eavesdropper(outcome, set_up, seen)
        await verdicts.put_back(outcome, set_up)
    outcome.facts["seconds"] = round(time.monotonic() - started, 1)
    return outcome, watch, set_up


async def introduce(view: View, on: Stage, watch: Watch, outcome: Outcome) -> None:
    """What the host stack sees, against what the members are."""
    team = watch.left
    (link,) = await asyncio.to_thread(on.left.show, "link", "show", "dev", TEAM)
    view.heading("What the host sees: one NIC")
    view.say(
        f"{link['ifname']}: {link['link_type']}, address {link['address']}, mtu {link['mtu']}, "
        f"{'up' if 'UP' in link['flags'] else 'down'}; the stack sees nothing of its members"
    )
    features = await team.features()
    view.table(
        Shown(
            title="Its features, and who provides them",
            columns=("feature", "value", "by"),
            rows=[
                (
                    f["feature"],
                    f["value"] + (" [fixed]" if f["fixed"] else ""),
                    ", ".join(f["providers"]) or f.get("reason", ""),
                )
                for f in features
            ],
        )
    )
    view.heading("What it is: unlike members and a pool of engines")
    view.table(
        Shown(
            title="Members",
            columns=("member", "link", "role", "engine"),
            rows=[
                (name, member.resource["operstate"].lower(), member.role, _engine_of(watch, name))
                for name, member in team.members.items()
            ],
        )
    )
    view.table(
        Shown(
            title="Engines of no member",
            columns=("engine", "kind"),
            rows=[
                (name, _engine(watch, name))
                for name, engine in team.engines.items()
                if engine.resource["ifname"] is None
            ],
        )
    )
    outcome.facts["features"] = features
    outcome.facts["engines"] = [engine.resource for engine in team.engines.values()]


def _engine_of(watch: Watch, member: str) -> str:
    engine = watch.left.members[member].resource["engine"]
    return "none: backed up by the team" if engine is None else _engine(watch, engine)


def _engine(watch: Watch, name: str) -> str:
    engine = watch.left.engines[name].resource
    ways = [way for way in ("lookaside", "inline") if engine[way]]
    kind = f"{engine['kind']}, {' and '.join(ways)}" if engine["simulated"] else "processor cores"
    speeds = [r["ns_per_packet"] + 1400 * r["ns_per_byte"] for r in engine["rates"]]
    speed = f", {rate(1400 * 8e9 / max(speeds))}" if speeds and max(speeds) > 0 else ""
    return f"{kind}{speed}{' (simulated)' if engine['simulated'] else ''}"


async def control(view: View, on: Stage) -> None:
    """A little traffic in clear, by a policy that says so: the eavesdropper must see that."""
    streams = [
        on.traffic.get(
            f"control-{kind}",
            client="left",
            server="right",
            address=address,
            size=CONTROL,
            kind=kind,
        )
        for kind, address in (("open", ADDRESS["right"]), ("tagged", TAGGED["right"]))
    ]
    await on.traffic.finish(*streams)
    view.say("control: 1 MiB in clear over the wire, untagged and tagged, for the eavesdropper")


async def download(view: View, on: Stage, watch: Watch, outcome: Outcome, pace: Pace) -> None:
    """The download, as fast as it goes."""
    view.heading("A download over the team, as fast as it goes")
    begin = milliseconds()
    stream = on.traffic.get(
        "download", client="left", server="right", address=ADDRESS["right"], size=pace.download
    )
    await on.traffic.finish(stream)
    end = stream.series.last
    await watch.look()
    speed = stream.series.rate(begin, end)
    parts = shares(watch.history.engine_bytes(begin, milliseconds()))
    view.say(
        f"{stream.series.total >> 20} MiB of random data in {(end - begin) / 1000:.1f} s: "
        f"{rate(speed)}, SHA-256 {on.traffic.ledger.objects.get('download.0', 'missing')[:16]}…"
    )
    view.say("work: " + ", ".join(f"{name} {percent(part)}" for name, part in parts.items()))
    outcome.facts["download"] = {
        "bytes": stream.series.total,
        "milliseconds": end - begin,
        "bits_per_second": round(speed),
        "sha256": on.traffic.ledger.objects.get("download.0"),
        "engine_shares": parts,
    }


def _flows(on: Stage) -> list[Stream]:
    """Downloads in both directions, through every kind of SA and over the VLAN."""
    flows = [
        # As many as make it all but impossible that balance-alb hashes all to one member.
        *((f"to-right-{n}", "right", "left", ADDRESS["left"], RATE) for n in range(1, 9)),
        ("to-right-tunnel", "right", "left", BEHIND["left"], RATE),
        ("to-left", "left", "right", ADDRESS["right"], RATE),
        ("to-left-tagged", "left", "right", TAGGED["right"], RATE // 4),
    ]
    return [
        on.traffic.get(
            name,
            client=client,
            server=server,
            address=address,
            # An object takes the same time on each.
            size=OBJECT * speed // RATE // BLOCK * BLOCK,
            rate=speed,
        )
        for name, client, server, address, speed in flows
    ]


async def broken(view: View, on: Stage, watch: Watch, outcome: Outcome, pace: Pace) -> None:
    """Everything that is done to the team while downloads run."""
    began = milliseconds()
    outcome.facts["began"] = began
    streams = _flows(on)
    view.heading(f"{len(streams)} downloads run, both ways, and the team is taken apart")
    breaker = Breaker(
        left=on.left,
        switch=on.switch,
        keyring=on.keyring,
        traffic=on.traffic,
        watch=watch,
        began=began,
        settle=pace.settle,
    )
    await on.traffic.all_moving(streams)
    await asyncio.sleep(1.5)

    def seen(one: Break) -> Break:
        outcome.breaks.append(one)
        view.say(f"{one.title}: {one.what}")
        view.verdict(one.held, one.line())
        for note in one.notes:
            view.verdict(True, note)
        return one

    (active,) = watch.left.resource["active"]
    engine = watch.left.members[active].resource["engine"] or ""
    seen(await breaker.pull_active())
    await breaker.insert(active)
    cut_off = seen(await breaker.go_on_encrypting(active, engine))
    verdicts.went_on(outcome, watch, cut_off, active, engine)
    killed = seen(await breaker.kill_engine("accelerator"))
    verdicts.redone(outcome, killed)
    await watch.left.engines["accelerator"].reset()
    view.say("accelerator was reset, tested again and admitted again")
    (active_now,) = watch.left.resource["active"]
    seen(await breaker.replace_member(active_now))
    await breaker.insert(active)
    replaced = seen(await breaker.replace_sas())
    verdicts.unnoticed(outcome, replaced)
    changed = seen(await breaker.change_mode("balance-alb"))
    verdicts.spread(outcome, watch, changed, began)
    await on.traffic.finish(*streams)
    verdicts.survived(outcome)
    outcome.facts["ended"] = milliseconds()
    outcome.facts["retransmits"] = {stream.name: stream.retransmits for stream in streams}
