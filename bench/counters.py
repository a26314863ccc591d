"""The two teams' counters, and where a packet that did not arrive was lost."""

import re
from dataclasses import dataclass
from typing import Self

import esprit
from esprit.demo.lab import Host
from esprit.demo.losses import drops

#: Reasons of packets that nobody wanted here: a flooded frame, a copy, a keep-alive. None of them
#: carried what a trial sends.
FOREIGN = frozenset({"not-for-us", "duplicate", "looped", "keepalive", "dummy"})
#: Reasons by which the peer refuses what its replay window has seen or has left behind.
_SOCKET_DROPS = re.compile(r"skmem:\([^)]*,d(\d+)\)")
REPLAY = ("replay-duplicate", "replay-too-old")


def tap_drops(host: Host, interface: str) -> int:
    """Packets of the host's for which the virtual NIC's queue had no room."""
    (link,) = host.show("-s", "link", "show", "dev", interface)
    return int(link["stats64"]["tx"]["dropped"])


def socket_drops(host: Host) -> int:
    """Frames for which the packet sockets of a host had no room: its team was too slow."""
    told = host.run("ss", "--packet", "--memory", "--no-header")
    return sum(int(count) for count in _SOCKET_DROPS.findall(told))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Counters at one moment."""

    #: Drops by reason, of a whole team.
    left: dict[str, int]
    right: dict[str, int]
    #: Packets that left's outbound SAs sealed, and the numbers that they gave.
    sealed: int
    numbered: int
    #: Packets that right's inbound SAs accepted.
    accepted: int
    #: Packets that left's virtual NIC had no room for.
    tap: int
    #: Frames that right's members brought and its team did not read in time.
    unread: int

    @classmethod
    def of(cls, left: esprit.Team, right: esprit.Team, *, tap: int, unread: int) -> Self:
        """What two teams said when they were asked last."""
        out = [sa.resource for sa in left.sas.values() if sa.resource["dir"] == "out"]
        into = [sa.resource for sa in right.sas.values() if sa.resource["dir"] == "in"]
        return cls(
            left=_all_drops(left),
            right=_all_drops(right),
            sealed=sum(sa["packets"] for sa in out),
            numbered=sum(sa["seq"] - 1 for sa in out),
            accepted=sum(sa["packets"] for sa in into),
            tap=tap,
            unread=unread,
        )

    def since(self, before: "Counts") -> "Counts":
        """What was added."""
        return Counts(
            left=_added(before.left, self.left),
            right=_added(before.right, self.right),
            sealed=self.sealed - before.sealed,
            numbered=self.numbered - before.numbered,
            accepted=self.accepted - before.accepted,
            tap=self.tap - before.tap,
            unread=self.unread - before.unread,
        )

    @property
    def refused_by_replay(self) -> int:
        """Packets that right's replay windows refused."""
        return sum(self.right.get(reason, 0) for reason in REPLAY)


def _all_drops(team: esprit.Team) -> dict[str, int]:
    found = drops(
        team.resource["drops"],
        *(member.resource["drops"] for member in team.members.values()),
        *(sa.resource["drops"] for sa in team.sas.values()),
    )
    return {reason: count for reason, count in found.items() if reason not in FOREIGN}


def _added(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    added = {reason: count - before.get(reason, 0) for reason, count in after.items()}
    return {reason: count for reason, count in added.items() if count > 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Where packets that were sent and did not arrive were lost."""

    lost: int
    #: Before our process read them: the virtual NIC's queue was full.
    before_us: int
    #: With a reason and a counter, in left's team.
    counted: int
    #: In left's hands, with no counter: there must be none. Less than none are other packets that
    #: the virtual NIC had no room for, such as the host's own multicast.
    uncounted: int
    #: After our process gave them to the kernel, and before right's team accepted them.
    link: int
    #: Of these, frames that right's team did not read in time; a super-frame is one.
    unread: int
    #: In right, after it accepted them: its virtual NIC, or the receiver's socket.
    peer: int

    @classmethod
    def of(cls, sent: int, received: int, counts: Counts) -> Self:
        """Accounts for a span of time at whose both ends nothing was under way.

        Args:
            sent: packets that the sender's kernel took.
            received: those that arrived, each once.
            counts: what the counters added meanwhile.
        """
        counted = sum(counts.left.values())
        peer = max(0, counts.accepted - received)
        return cls(
            lost=sent - received,
            before_us=counts.tap,
            counted=counted,
            uncounted=sent - counts.tap - counts.sealed - counted,
            link=counts.sealed - counts.accepted,
            unread=counts.unread,
            peer=peer,
        )
