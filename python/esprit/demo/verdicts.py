"""Whether what was promised held, from what was measured and heard."""

import asyncio

from esprit.demo.eavesdrop import Seen
from esprit.demo.lab import stop
from esprit.demo.opened import open_samples
from esprit.demo.result import Break, Outcome
from esprit.demo.stage import Stage, look_of
from esprit.demo.traffic import PORTS, Traffic
from esprit.demo.watch import Watch

#: The needles in the eavesdropper's list.
KINDS = tuple(PORTS)
SECRET = KINDS.index("secret")


def transfers(outcome: Outcome, traffic: Traffic, wanted: int) -> None:
    """Everything that was downloaded is what was sent."""
    ledger = traffic.ledger
    outcome.promise(
        "every download is intact",
        ledger.intact
        and not ledger.unmatched
        and not any(s.error for s in traffic.streams.values()),
        f"{ledger.verified >> 20} MiB in {len(ledger.objects)} objects, SHA-256 equal at both ends"
        + "".join(f"; {mismatch}" for mismatch in ledger.mismatches[:3]),
    )
    outcome.promise(
        f"at least {wanted >> 20} MiB came in one download",
        ledger.reached("download.0") >= wanted,
        f"{ledger.reached('download.0') >> 20} MiB",
    )
    outcome.facts["transfers"] = {"verified": ledger.verified, "objects": dict(ledger.objects)}


def survived(outcome: Outcome) -> None:
    """Traffic flowed again after everything that was done."""
    stuck = [one.title for one in outcome.breaks if not one.held]
    outcome.promise(
        "traffic flowed again after every event",
        not stuck,
        f"{len(outcome.breaks)} events" if not stuck else f"not after: {', '.join(stuck)}",
    )


def went_on(outcome: Outcome, watch: Watch, one: Break, member: str, engine: str) -> None:
    """The engine of a member without a wire did work."""
    share = one.shares.get(engine, 0.0)
    down = watch.history.samples[-1].up
    outcome.promise(
        "an engine whose member is cut off goes on encrypting",
        share > 0 and member not in down,
        f"{engine} did {100 * share:.0f} % of the work while {member} had no link",
    )


def redone(outcome: Outcome, one: Break) -> None:
    """What the dead engine had was done elsewhere."""
    again = one.notes[-1]
    outcome.promise(
        "an engine's death costs no packet",
        one.held and one.lost == 0 and not again.startswith("0 "),
        f"{again}, {one.lost} packets lost",
    )


def unnoticed(outcome: Outcome, one: Break) -> None:
    """New SAs took over between two packets."""
    outcome.promise("replacing every SA costs no packet", one.lost == 0, f"{one.lost} packets lost")


def spread(outcome: Outcome, watch: Watch, one: Break, began: int) -> None:
    """In balance-alb more than one member carries."""
    samples = watch.history.samples
    carried = watch.history.member_bytes(began + one.at + 300, samples[-1].time)
    busy = sorted(name for name, size in carried.items() if size > 1 << 20)
    outcome.promise(
        "balance-alb spreads traffic over members",
        len(busy) > 1 and samples[-1].mode == "balance-alb",
        f"{', '.join(busy) or 'no member'} carried",
    )


async def eavesdropper(outcome: Outcome, on: Stage, seen: dict[str, Seen]) -> None:
    """Nothing secret was on any wire, and the eavesdropper would have heard it."""
    ports = seen.values()
    frames = sum(port.frames for port in ports)
    missed = sum(port.drops for port in ports)
    outcome.promise(
        "the eavesdropper missed nothing",
        missed == 0 and frames > 0,
        f"{frames} frames on {len(seen)} switch ports, {missed} missed",
    )
    controls = {kind: sum(port.found[KINDS.index(kind)] for port in ports) for kind in KINDS[1:]}
    outcome.promise(
        "the eavesdropper sees what goes in clear",
        all(controls.values()),
        f"the controls' canaries were seen in {controls['open']} untagged and "
        f"{controls['tagged']} tagged frames",
    )
    secret = sum(port.found[SECRET] for port in ports)
    where = [port.port for port in ports if port.found[SECRET]]
    outcome.promise(
        "the canary of protected traffic was never on any wire, tagged or not",
        secret == 0,
        "0 frames" if not secret else f"{secret} frames, on {', '.join(where)}",
    )
    samples = [sample for port in ports for sample in port.samples]
    opened = await asyncio.to_thread(
        open_samples, samples, on.keyring.keys(), on.canaries["secret"]
    )
    outcome.promise(
        "sampled ESP opens with Scapy and the right key",
        min(opened.native, opened.encapsulated, opened.tagged, opened.canaries) > 0
        and not opened.failures
        and not opened.foreign,
        f"{opened.native} native, {opened.encapsulated} in UDP, {opened.tagged} of them tagged; "
        f"{opened.canaries} hold the canary"
        + "".join(f"; {failure}" for failure in opened.failures[:3]),
    )
    outcome.facts["eavesdropper"] = {
        port.port: {
            "frames": port.frames,
            "bytes": port.volume,
            "esp": port.esp,
            "plain": port.plain,
            "missed": port.drops,
            "secret": port.found[SECRET],
            "control": sum(port.found) - port.found[SECRET],
        }
        for port in ports
    }


async def put_back(outcome: Outcome, on: Stage) -> None:
    """Both teams end as asked and leave everything as it was."""
    for vlan in on.vlans:
        # The kernel's own goes with the interface below it.
        await asyncio.to_thread(stop, vlan)
    statuses = [await team.down() for team in on.teams.values()]
    changed = []
    for host in (on.left, on.right):
        now = await asyncio.to_thread(look_of, host)
        if now != on.before[host.role]:
            changed.append(host.role)
            outcome.facts[f"left_behind_{host.role}"] = {
                "before": on.before[host.role].splitlines(),
                "after": now.splitlines(),
            }
    outcome.promise(
        "both teams end cleanly and put everything back",
        not any(statuses) and not changed,
        "interfaces and firewall as before"
        if not changed
        else f"changed in {', '.join(changed)}; exit status {statuses}",
    )
