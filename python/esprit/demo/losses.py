"""Packets lost between the two hosts, from the counters of their SAs.

A receiver knows the highest sequence number that it accepted and how many packets it accepted:
the difference are numbers that never came. What was lost at the very end of an SA it cannot
know; there the sender's own count closes the gap, once that SA has come to rest.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from esprit.daemon.resources import SaResource


@dataclass(slots=True, kw_only=True)
class _Sa:
    """What was last heard of one SA. Numbers are counts of packets since its first."""

    sent: int = 0
    #: `sent` did not change between the last two looks.
    rests: bool = False
    top: int = 0
    accepted: int = 0

    @property
    def lost(self) -> int:
        if self.rests and self.sent >= self.top:
            return self.sent - self.accepted
        return self.top - self.accepted


@dataclass(slots=True)
class Losses:
    """The SAs of both directions, deleted ones included: they keep what was last heard."""

    _sas: dict[str, _Sa] = field(default_factory=dict)

    def look(self, sas: Iterable[SaResource]) -> None:
        """Takes what both ends say of their SAs; an SPI is given to one SA only."""
        for resource in sas:
            sa = self._sas.setdefault(resource["spi"], _Sa())
            if resource["dir"] == "out":
                # It tells its next number; the first is 1.
                sent = resource["seq"] - 1
                sa.rests = sent == sa.sent
                sa.sent = sent
            else:
                sa.top = resource["seq"]
                sa.accepted = resource["packets"]

    @property
    def total(self) -> int:
        """All packets lost so far, both directions."""
        return sum(sa.lost for sa in self._sas.values())

    @property
    def accepted(self) -> int:
        """All packets that came."""
        return sum(sa.accepted for sa in self._sas.values())


#: Reasons by which a packet is dropped before it has a number: no receiver misses it.
UNNUMBERED = frozenset(
    {"no-plan", "no-member", "no-sa", "no-next-hop", "sa-mismatch", "sa-not-granted"}
)


def drops(*found: dict[str, int]) -> dict[str, int]:
    """Drop reasons added up; those that never occurred are left out."""
    total: dict[str, int] = {}
    for counters in found:
        for reason, count in counters.items():
            if count:
                total[reason] = total.get(reason, 0) + count
    return total
