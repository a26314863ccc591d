"""Security associations for two hosts that trust each other: both ends of each, with random keys.

A key's life is that of the run. They are kept here because the eavesdropper's samples are to be
opened with them in the end, by another implementation.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from esprit.demo.opened import Key

#: AES-256 and the salt (RFC 4106 section 8.1).
_KEY_LEN = 32 + 4
#: SPIs below 256 are reserved (RFC 4303 section 2.1).
_FIRST_SPI = 0x1001

Table = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What one policy protects, as the left host sees it.

    Attributes:
        policy: its name at both ends.
        mode: "transport" or "tunnel".
        udp: whether its ESP is UDP-encapsulated.
        left: left's address, the source of what left sends.
        right: right's.
        local: what the policy selects on the left.
        remote: and on the right.
    """

    policy: str
    mode: str
    udp: bool
    left: str
    right: str
    local: str
    remote: str

    def policy_of(self, host: str) -> Table:
        """The `[[policy]]` of one end."""
        ends = (self.local, self.remote) if host == "left" else (self.remote, self.local)
        return {"name": self.policy, "action": "protect", "local": ends[0], "remote": ends[1]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One SA: where it begins, and what both ends call it."""

    connection: Connection
    #: The host that seals: "left" or "right".
    sender: str
    #: The sender's member that carries it, or None for whichever does.
    member: str | None
    spi: int
    material: bytes = field(repr=False)

    @property
    def receiver(self) -> str:
        """The host that opens."""
        return "right" if self.sender == "left" else "left"

    @property
    def name(self) -> str:
        """Its name at both ends."""
        by = "" if self.member is None else f".{self.member}"
        return f"{self.connection.policy}.{self.sender}{by}"

    def table(self, host: str) -> Table:
        """The `[[sa]]` of one end."""
        connection = self.connection
        addresses = {"left": connection.left, "right": connection.right}
        table: Table = {
            "name": self.name,
            "direction": "out" if host == self.sender else "in",
            "spi": self.spi,
            "src": addresses[self.sender],
            "dst": addresses[self.receiver],
            "mode": connection.mode,
            "key": self.material.hex(),
            "esn": True,
            "policy": connection.policy,
        }
        if connection.udp:
            table["encap"] = "udp"
        if host == self.sender and self.member is not None:
            table["member"] = self.member
        return table

    def key(self) -> Key:
        """What opens its packets."""
        table = self.table(self.sender)
        return Key(
            spi=self.spi,
            material=self.material,
            tunnel=self.connection.mode == "tunnel",
            udp=self.connection.udp,
            src=str(table["src"]),
            dst=str(table["dst"]),
        )


class Keyring:
    """Every SA of a run, those that were replaced included."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self.connections = tuple(connections)
        self._pairs: list[Pair] = []
        self._current: dict[str, Pair] = {}

    def make(self, connection: Connection, sender: str, member: str | None) -> Pair:
        """A new SA with a random key; it takes the place of one of the same name."""
        pair = Pair(
            connection=connection,
            sender=sender,
            member=member,
            spi=_FIRST_SPI + len(self._pairs),
            material=secrets.token_bytes(_KEY_LEN),
        )
        self._pairs.append(pair)
        self._current[pair.name] = pair
        return pair

    def bundle(self, member: str) -> list[Pair]:
        """New SAs by one of left's members, one for each connection."""
        return [self.make(connection, "left", member) for connection in self.connections]

    def forget(self, pair: Pair) -> None:
        """The SA is in use no longer; its key is still needed."""
        self._current.pop(pair.name, None)

    @property
    def current(self) -> tuple[Pair, ...]:
        """The SAs in use."""
        return tuple(self._current.values())

    def keys(self) -> Mapping[int, Key]:
        """The key of every SA that there ever was, by SPI."""
        return {pair.spi: pair.key() for pair in self._pairs}

    def tables(self, host: str) -> Iterator[Table]:
        """The `[[sa]]` tables of one host."""
        return (pair.table(host) for pair in self.current)
