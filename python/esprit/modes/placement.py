"""Which engine may do what, in which tier: the Plan's grants.

Primary use comes first in every mode and needs no choice: a member's traffic is done by its own
engine. Secondary use is where modes differ; each says by a table where engines of one
:data:`Standing` are placed, and the rest is common.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Final, Literal

from esprit.model.plan import Grant, Spill
from esprit.model.state import MemberState, TeamState
from esprit.model.words import Software

#: Where an engine's member stands. ``idle``: it cannot carry (its wire is dead, or it is
#: encryption-only), or there is none. ``waiting``: it could carry and does not. ``elsewhere``: it
#: belongs to another team, whose traffic may need it. Engines whose work costs host processor
#: time stand where the team's ``software`` puts them, wherever they belong.
Standing = Literal["idle", "waiting", "carrying", "elsewhere"]

#: Secondary work goes to the next tier if an engine would not be done within 20 ms. Work of a
#: member's own leaves its engine sooner, at 2 ms (four super-frames at 1 Gbit/s): beyond that
#: the others would be done before it.
SPILL: Final = Spill(primary=2_000_000, secondary=20_000_000, application=20_000_000)

#: Up to this backlog an engine whose member may carry traffic has resources to spare: half of
#: what its own traffic may find before it spills, so secondary work alone never displaces it.
HEADROOM_NS: Final = SPILL.primary // 2

#: What others' work costs more on an engine whose own member may need it. Completions are foretold
#: to within some two per cent (``esprit simulate pool --figures``), which is half a microsecond
#: of the 25 that a job takes through a simulated engine: closer than that the formula does not
#: tell two engines apart, and the one that nobody else counts on is taken. A bias above that
#: sends jobs to queues that end later; one in proportion to the engine's own traffic did (in the
#: scenario ``spreading-balance`` it made the p99 latency 15 % longer).
TIE_NS: Final = 500

#: Applications come last: on an engine that works for teams too, a task of theirs is begun only
#: while less than 20 us of work is before it, so that a packet waits for no more, and for the task
#: that is being done. It is what an engine has to have before it so as not to run dry: a simulated
#: one tells after its latency (20 us by default) that it has done something.
BESIDE_NS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """A tier for secondary use, and how an engine stands within it.

    There are some ten, all of them constants, and each is only equal to itself: comparing and
    hashing them by their values for 256 engines took a tenth of a Plan.

    Attributes:
        headroom: Its own member's traffic may wait for others' only as far as the team allows.
    """

    tier: int
    bias_ns: int = 0
    limit_ns: int | None = None
    headroom: bool = False


def standing(member: MemberState, carrying: frozenset[int]) -> Standing:
    """Where a member's engine stands while the members ``carrying`` carry traffic."""
    if not member.can_carry:
        return "idle"
    return "carrying" if member.id in carrying else "waiting"


def grants(
    state: TeamState,
    carrying: frozenset[int],
    places: Mapping[Standing, Place],
    software: Mapping[Software, Place],
) -> tuple[Grant, ...]:
    """One grant for each verified engine that may do anything, in the order of their numbers.

    Args:
        state: The team.
        carrying: Members that carry traffic.
        places: Where the mode puts engines for secondary use, by their standing.
        software: Where it puts those that cost host processor time, by the team's setting; a
            setting that is not named keeps them out.
    """
    found = []
    # All that is asked of members and of settings is asked once: with 64 members and 256 engines
    # asking for each engine would be most of the time that a Plan takes.
    standings = {member.id: standing(member, carrying) for member in state.members}
    able = {member.id for member in state.members if member.can_carry}
    cores = software.get(state.software)
    for engine in sorted(state.engines, key=attrgetter("id")):
        if not engine.verified:
            continue
        member = engine.member if engine.member in standings else None
        primary = member in able and engine.does_primary
        if engine.costs_host_cpu:
            place = cores
            primary = primary and state.software != "never"
        elif engine.member is None:
            place = places.get("idle")
        else:
            place = places.get(standings.get(engine.member, "elsewhere"))
        if not engine.does_secondary:
            place = None
        if place is None and not primary:
            continue
        found.append(
            _grant(engine.id, member, engine.seal, engine.open, primary, place, state.headroom)
        )
    return tuple(found)


@lru_cache(maxsize=4 * 256)
def _grant(
    engine: int,
    member: int | None,
    seal: bool,
    opens: bool,
    primary: bool,
    place: Place | None,
    headroom: float | None,
) -> Grant:
    """A grant; the same one while nothing that it follows from has changed.

    So most of a Plan's grants are those of the last one, and comparing two Plans costs next to
    nothing. Kept for every engine of the largest host (256), as it stands now and stood before.
    """
    return Grant(
        engine=engine,
        member=member,
        seal=seal,
        open=opens,
        primary=0 if primary else None,
        secondary=None if place is None else place.tier,
        application=None if place is None else place.tier,
        bias_ns=0 if place is None else place.bias_ns,
        limit_ns=None if place is None else place.limit_ns,
        headroom=headroom if place is not None and place.headroom else None,
        beside_ns=None if place is None else BESIDE_NS,
    )
