"""Placement by a Python function: which engine does a job, in virtual time.

A placement sees what the pool would choose from: engines that may do the job and have room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from esprit import _native


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be placed.

    Attributes:
        now: Nanoseconds of virtual time.
        member: Whose traffic; None: an application's.
        bytes: Encrypted or decrypted.
    """

    now: int
    member: int | None
    algorithm: str
    direction: Literal["seal", "open"]
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An engine that may do it.

    Attributes:
        use: Primary, secondary or application, as it would be on this engine.
        tier: Where the Plan puts it for that.
        backlog_ns: Until it has done all that it has.
        service_ns: Its work in this job, that of installing the job's key included.
        cost_ns: By the pool's own formula.
    """

    engine: int
    tier: int
    use: Literal["primary", "secondary", "application"]
    backlog_ns: int
    service_ns: int
    latency_ns: int
    transfer_ns: int
    bias_ns: int
    cost_ns: int


#: Answers the number of one of the candidates; None: the job is refused.
Placement = Callable[[Job, Sequence[Candidate]], int | None]


def adapted(
    placement: Placement,
) -> Callable[[_native.PlacedJob, list[_native.PlacedCandidate]], int | None]:
    """The function as the pool calls it: with plain tuples."""

    def pick(job: _native.PlacedJob, rows: list[_native.PlacedCandidate]) -> int | None:
        now, member, algorithm, direction, packets, size = job
        asked = Job(
            now=now,
            member=member,
            algorithm=algorithm,
            direction=direction,
            packets=packets,
            bytes=size,
        )
        return placement(asked, [_candidate(row) for row in rows])

    return pick


def _candidate(row: _native.PlacedCandidate) -> Candidate:
    engine, tier, use, backlog, service, latency, transfer, bias, cost = row
    return Candidate(
        engine=engine,
        tier=tier,
        use=use,
        backlog_ns=backlog,
        service_ns=service,
        latency_ns=latency,
        transfer_ns=transfer,
        bias_ns=bias,
        cost_ns=cost,
    )
