"""Counters sampled over the run, and what is derived from them."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the left team's counters said at one moment."""

    #: Milliseconds of the monotonic clock.
    time: int
    #: Bytes that each engine has done so far, by name.
    engines: Mapping[str, int]
    #: Bytes that each member has sent and received so far, by name.
    members: Mapping[str, int]
    #: What each engine's health is called.
    health: Mapping[str, str]
    #: The members that carry traffic, and those whose link is up.
    active: tuple[str, ...]
    up: tuple[str, ...]
    mode: str


def differences(earlier: Mapping[str, int], later: Mapping[str, int]) -> dict[str, int]:
    """What was added to each counter; one that began anew counts from zero."""
    result = {}
    for name, count in later.items():
        before = earlier.get(name, 0)
        result[name] = count - before if count >= before else count
    return result


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Each part of the whole, between 0 and 1; all 0 where there is nothing to share."""
    whole = sum(counts.values())
    return {name: count / whole if whole else 0.0 for name, count in counts.items()}


@dataclass(slots=True)
class History:
    """Samples in order of time."""

    samples: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        """Takes the next sample."""
        self.samples.append(sample)

    @property
    def engines(self) -> list[str]:
        """Every engine that was ever there, in order of appearance."""
        return list(dict.fromkeys(name for sample in self.samples for name in sample.engines))

    def at(self, time: int) -> Sample | None:
        """The last sample not after a millisecond, or the first one."""
        before = [sample for sample in self.samples if sample.time <= time]
        return before[-1] if before else next(iter(self.samples), None)

    def engine_bytes(self, begin: int, end: int) -> dict[str, int]:
        """What each engine did between two milliseconds."""
        return self._steps(begin, end, "engines")

    def member_bytes(self, begin: int, end: int) -> dict[str, int]:
        """What each member carried between two milliseconds."""
        return self._steps(begin, end, "members")

    def _steps(self, begin: int, end: int, kind: str) -> dict[str, int]:
        result: dict[str, int] = {}
        for earlier, later in itertools.pairwise(self.samples):
            if begin <= later.time <= end:
                steps = differences(getattr(earlier, kind), getattr(later, kind))
                for name, count in steps.items():
                    result[name] = result.get(name, 0) + count
        return result
