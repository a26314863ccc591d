"""Placement by a Python function: which engine does a job, in virtual time.

A placement sees what the pool would choose from: engines that may do the job and have room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal


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
        service_ns: Its work in this job.
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
