"""A team's security associations and policies, in the data plane and on disk.

A policy that protects goes in before its SAs: what it covers is dropped until one carries
it, and never leaves in plain. An SA that is replaced stays until the new one has taken over.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from esprit.control.highwater import Mark
from esprit.control.host import Host
from esprit.control.netlink import IpAddress
from esprit.errors import BadRequest, Conflict, NotFound, SaError
from esprit.model import Policy, SecurityAssociation

# The number that an SA never uses: 32 bits, or 64 with ESN, less one so that the mark itself
# still fits into 64 bits (RFC 4303, section 2.2: a counter never wraps).
_LIMIT = {False: 1 << 32, True: (1 << 64) - 1}
# RFC 4303, section 2.2: the first packet of an SA bears 1.
_FIRST = 1


@dataclass(slots=True)
class RunningSa:
    """An SA in the data plane."""

    id: int
    sa: SecurityAssociation
    mark: Mark

    @property
    def outbound(self) -> bool:
        """Whether it seals."""
        return self.sa.direction == "out"

    @property
    def limit(self) -> int:
        """The first sequence number that it may never use."""
        return _LIMIT[self.sa.esn]


@dataclass(slots=True)
class RunningPolicy:
    """A policy in the data plane. Its number stays when it is replaced."""

    id: int
    policy: Policy


class Securing:
    """The SAD and the SPD of one team."""

    def __init__(self, host: Host, team: int) -> None:
        self._host = host
        self._team = team
        self._sas: dict[str, RunningSa] = {}
        self._policies: list[RunningPolicy] = []
        self.member_ids: dict[str, int] = {}
        #: The next hop that is known towards a peer. An SA has it before it carries anything.
        self.next_hop_of: Callable[[IpAddress], str | None] = lambda _: None

    # what there is

    @property
    def sas(self) -> tuple[RunningSa, ...]:
        """Every SA, in the order in which they came."""
        return tuple(self._sas.values())

    @property
    def policies(self) -> tuple[RunningPolicy, ...]:
        """The SPD, in the order in which it matches."""
        return tuple(self._policies)

    def sa_names(self) -> dict[int, str]:
        """SAs' names by number."""
        return {running.id: name for name, running in self._sas.items()}

    def by_id(self, number: int) -> RunningSa | None:
        """The SA of that number."""
        return next((running for running in self._sas.values() if running.id == number), None)

    def outbound_to(self, peer: IpAddress) -> Iterator[RunningSa]:
        """The SAs that seal for a peer."""
        return (running for running in self.sas if running.outbound and running.sa.dst == peer)

    def peers(self) -> set[IpAddress]:
        """The peers that outbound SAs go to."""
        return {running.sa.dst for running in self.sas if running.outbound}

    def bundle(self, policy: RunningPolicy) -> Iterator[RunningSa]:
        """A policy's outbound SAs."""
        return (
            running
            for running in self.sas
            if running.outbound and self.policy_of(running.sa) is policy
        )

    def policy_of(self, sa: SecurityAssociation) -> RunningPolicy | None:
        """The policy that an SA serves: the one it names, or the first that fits."""
        for running in self._policies:
            if sa.policy is not None:
                if running.policy.name == sa.policy:
                    return running
            elif running.policy.action == "protect" and _fits(sa, running.policy):
                return running
        return None

    @property
    def protects(self) -> bool:
        """Whether any policy demands protection."""
        return any(running.policy.action == "protect" for running in self._policies)

    # SAs

    async def add_sa(self, sa: SecurityAssociation) -> RunningSa:
        """Add an SA, and let its policy use it.

        Raises:
            Conflict: there is one of that name.
            KeyInUse, SpiInUse: its key and salt, or its SPI, serve another.
            SaError: no policy is there that it could serve, or its numbers are used up.
        """
        if sa.name in self._sas:
            raise Conflict(f"SA {sa.name}", "is there already", remedy="replace or delete it")
        running = await self._install(sa)
        self._sas[sa.name] = running
        try:
            self._push_policies()
        except BaseException:
            del self._sas[sa.name]
            self._discard(running)
            raise
        return running

    async def replace_sa(self, name: str, sa: SecurityAssociation) -> tuple[RunningSa, str | None]:
        """Put an SA in the place of another, make before break.

        Outbound, the new one takes over between two packets and the old one is deleted.
        Inbound, the old one stays for what is still under way, under a name with its SPI
        if the new one has taken its name.

        Returns:
            The new SA, and the name under which an old inbound one stays.
        """
        old = self._named(name)
        if sa.direction != old.sa.direction:
            raise BadRequest(f"SA {name}", "its direction cannot change", remedy="add another SA")
        if sa.name != name and sa.name in self._sas:
            raise Conflict(f"SA {sa.name}", "is there already", remedy="choose another name")
        if sa.policy is None and (served := self.policy_of(old.sa)) is not None:
            sa = replace(sa, policy=served.policy.name)
        running = await self._install(sa)
        before = dict(self._sas)
        stays: str | None = None
        if running.outbound:
            # In the old one's place, so that a bundle keeps its order.
            self._sas = {
                (sa.name if key == name else key): (running if key == name else value)
                for key, value in before.items()
            }
        else:
            stays = name if sa.name != name else f"{name}.{old.sa.spi:#010x}"
            self._sas = {
                (stays if key == name else key): value for key, value in before.items()
            } | {sa.name: running}
        try:
            self._push_policies()
        except BaseException:
            self._sas = before
            self._discard(running)
            raise
        if stays is not None:
            old.sa = replace(old.sa, name=stays)
        if running.outbound:
            await self._retire(old)
        return running, stays

    async def delete_sa(self, name: str) -> RunningSa:
        """Delete an SA. What only it could carry is dropped from now on."""
        running = self._named(name)
        del self._sas[name]
        self._push_policies()
        await self._retire(running)
        return running

    async def delete_all(self) -> None:
        """Delete every SA, settling its mark; the doors are closed by then."""
        running = self.sas
        if running:
            self._sas.clear()
            self._push_policies()
        for one in running:
            await self._retire(one)

    async def grant(self, number: int, next_number: int) -> None:
        """Reserve more numbers for an SA that has used half of its own."""
        running = self.by_id(number)
        if running is None or not running.outbound:
            return
        granted = await asyncio.to_thread(running.mark.reserve, next_number, running.limit)
        if self.by_id(number) is running:
            self._host.plane.sa_grant(number, granted)

    async def note_tops(self, tops: dict[int, int], *, final: bool = False) -> None:
        """Write down how far inbound SAs have come."""
        known = {running.id: running for running in self.sas} if tops else {}
        for number, top in tops.items():
            running = known.get(number)
            if running is not None and not running.outbound:
                await asyncio.to_thread(running.mark.saw, top, final=final)

    def _named(self, name: str) -> RunningSa:
        running = self._sas.get(name)
        if running is None:
            raise NotFound(f"SA {name}")
        return running

    async def _install(self, sa: SecurityAssociation) -> RunningSa:
        policy = self.policy_of(sa)
        if policy is None or policy.policy.action != "protect":
            wanted = (
                "no policy protects its traffic"
                if sa.policy is None
                else (f"there is no policy {sa.policy} that protects")
            )
            raise SaError(f"SA {sa.name}", wanted, remedy="add the policy first")
        member = None
        if sa.member is not None:
            member = self.member_ids.get(sa.member)
            if member is None:
                raise SaError(
                    f"SA {sa.name}",
                    f"its member {sa.member} is not in the team",
                    remedy="add the member first, or name another",
                )
        mark = self._host.keys.claim(sa)
        try:
            running = RunningSa(self._host.new_id(), sa, mark)
            seq, granted = await self._numbers(running)
            self._host.plane.sa_add(
                sa.to_native(
                    id=running.id,
                    team=self._team,
                    member=member,
                    policy=policy.id,
                    seq=seq,
                    granted=granted,
                ),
                sa.key.reveal(),
            )
            if running.outbound:
                self._host.plane.sa_next_hop(running.id, self.next_hop_of(sa.dst))
        except BaseException:
            self._host.keys.release(sa, mark)
            raise
        return running

    async def _numbers(self, running: RunningSa) -> tuple[int, int]:
        """Where an SA's sequence numbers begin, and up to where they are granted."""
        mark = running.mark
        if not running.outbound:
            return mark.value, 0
        start = max(mark.value, _FIRST)
        if start >= running.limit:
            raise SaError(
                f"SA {running.sa.name}",
                "its sequence numbers are used up",
                remedy="give it a new key",
            )
        return start, await asyncio.to_thread(mark.reserve, start, running.limit)

    async def _retire(self, running: RunningSa) -> None:
        """Take an SA out of the data plane, and settle its mark at what it used."""
        plane = self._host.plane
        last = plane.sa_show(running.id)
        plane.sa_delete(running.id)
        if last is not None:
            if running.outbound:
                await asyncio.to_thread(running.mark.settle, last["seq"])
            else:
                await asyncio.to_thread(running.mark.saw, last["seq"], final=True)
        self._host.keys.release(running.sa, running.mark)

    def _discard(self, running: RunningSa) -> None:
        self._host.plane.sa_delete(running.id)
        self._host.keys.release(running.sa, running.mark)

    def move(self, old: str, new: str) -> None:
        """Let SAs that named one member name another, which has taken its place."""
        moved = [running for running in self.sas if running.sa.member == old]
        for running in moved:
            running.sa = replace(running.sa, member=new)
        try:
            if moved:
                self._push_policies()
        except BaseException:
            for running in moved:
                running.sa = replace(running.sa, member=old)
            raise

    # policies

    def add_policy(self, policy: Policy, *, before: str | None = None) -> None:
        """Add a policy at the end, or before another.

        Raises:
            Conflict: there is one of that name.
            NotFound: there is none named ``before``.
        """
        if any(running.policy.name == policy.name for running in self._policies):
            raise Conflict(f"policy {policy.name}", "is there already", remedy="replace it")
        at = len(self._policies) if before is None else self._index(before)
        self._change(
            [
                *self._policies[:at],
                RunningPolicy(self._host.new_id(), policy),
                *self._policies[at:],
            ]
        )

    def set_policies(self, policies: Iterable[Policy]) -> None:
        """Put the whole SPD in, at the start."""
        self._change([RunningPolicy(self._host.new_id(), policy) for policy in policies])

    def replace_policy(self, name: str, policy: Policy) -> None:
        """Put a policy in the place of another, between two packets."""
        at = self._index(name)
        if policy.name != name and any(one.policy.name == policy.name for one in self._policies):
            raise Conflict(
                f"policy {policy.name}", "is there already", remedy="choose another name"
            )
        changed = list(self._policies)
        changed[at] = RunningPolicy(self._policies[at].id, policy)
        named = dict(self._sas)
        # SAs that named the old one serve the new one.
        for running in self.sas:
            if running.sa.policy == name:
                running.sa = replace(running.sa, policy=policy.name)
        try:
            self._change(changed)
        except BaseException:
            self._sas = named
            raise

    def delete_policy(self, name: str) -> None:
        """Delete a policy."""
        at = self._index(name)
        self._change([*self._policies[:at], *self._policies[at + 1 :]])

    def _index(self, name: str) -> int:
        for at, running in enumerate(self._policies):
            if running.policy.name == name:
                return at
        raise NotFound(f"policy {name}")

    def _change(self, policies: list[RunningPolicy]) -> None:
        before = self._policies
        self._policies = policies
        try:
            self._push_policies()
        except BaseException:
            self._policies = before
            raise

    def _push_policies(self) -> None:
        self._host.plane.policies_set(
            self._team,
            [
                running.policy.to_native(
                    id=running.id,
                    sas=tuple(
                        (
                            None if one.sa.member is None else self.member_ids.get(one.sa.member),
                            one.id,
                        )
                        for one in self.bundle(running)
                    ),
                )
                for running in self._policies
            ],
        )


def _fits(sa: SecurityAssociation, policy: Policy) -> bool:
    """Whether an SA that names no policy may serve this one.

    In transport mode the SA's addresses are the packets' own and must be in the selector; a
    tunnel's say nothing of what is inside.
    """
    if sa.mode == "tunnel":
        return True
    here, there = (sa.src, sa.dst) if sa.direction == "out" else (sa.dst, sa.src)
    return (
        here.version == policy.local.version
        and there.version == policy.remote.version
        and here in policy.local
        and there in policy.remote
    )
