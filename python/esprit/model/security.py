"""Security associations and policies, as an operator writes them (RFC 4301, section 4.4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Final

from esprit.model.key import Key
from esprit.model.words import Action, Direction, EspAlgorithm, SaMode

if TYPE_CHECKING:
    from esprit import _native as native

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: UDP port of encapsulated ESP and of IKE beside it (RFC 3948, section 2).
NAT_T_PORT: Final = 4500

#: Sequence numbers that a replay window tells apart; RFC 4303, section 3.4.3 asks for 64.
REPLAY_WINDOW_MIN: Final = 64
REPLAY_WINDOW_MAX: Final = 8192
REPLAY_WINDOW_DEFAULT: Final = 2048

#: The most that an SA may weigh against one of weight 1.
SA_WEIGHT_MAX: Final = 100

#: RFC 4303, section 2.1: 0 never goes over a wire and 1 to 255 are reserved by IANA.
SPI_MIN: Final = 256
SPI_MAX: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpEncap:
    """ESP inside UDP (RFC 3948), ports as the sender of the SA's packets has them."""

    sport: int = NAT_T_PORT
    dport: int = NAT_T_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityAssociation:
    """One direction of a protected connection.

    Attributes:
        src: Outer source address; of an inbound SA the peer's.
        dst: Outer destination address; of an inbound SA our own.
        esn: Extended sequence numbers (RFC 4303, section 2.2.1).
        replay_window: Inbound only.
        weight: Its share of a full engine, against the other SAs' weights.
        member: The interface that it goes by, as one of a policy's bundle; None: whichever
            member carries the policy's traffic at the moment.
        policy: The policy that it serves. None: the first that protects its traffic.
    """

    name: str
    direction: Direction
    spi: int
    src: Address
    dst: Address
    key: Key = field(repr=False)
    mode: SaMode = "tunnel"
    algorithm: EspAlgorithm = "aes-gcm-16"
    esn: bool = False
    replay_window: int = REPLAY_WINDOW_DEFAULT
    encap: UdpEncap | None = None
    weight: int = 1
    member: str | None = None
    policy: str | None = None

    @property
    def cipher(self) -> str:
        """The cipher as engines call it: the algorithm with the key's length."""
        return self.key.cipher

    def to_native(
        self,
        *,
        id: int,  # noqa: A002
        team: int,
        member: int | None,
        policy: int | None,
        seq: int,
        granted: int,
    ) -> native.SaSpec:
        """The SA as :meth:`esprit._native.DataPlane.sa_add` takes it; its key goes beside it.

        Args:
            id: Its number in the process.
            team: Its team's number.
            member: The number of the member that it goes by.
            policy: The number of the policy that it serves.
            seq: Outbound the first number to use, inbound the highest seen.
            granted: Outbound: numbers below may be used, their mark is on disk.
        """
        return {
            "id": id,
            "team": team,
            "direction": self.direction,
            "spi": self.spi,
            "src": str(self.src),
            "dst": str(self.dst),
            "mode": self.mode,
            "algorithm": self.algorithm,
            "esn": self.esn,
            "replay_window": self.replay_window if self.direction == "in" else 0,
            "encap": (
                None
                if self.encap is None
                else {"sport": self.encap.sport, "dport": self.encap.dport}
            ),
            "weight": self.weight,
            "member": member,
            "policy": policy,
            "seq": seq,
            "granted": granted,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One line of the SPD. It covers both directions: inbound it matches mirrored.

    Attributes:
        protocol: Transport protocol by number; None: any.
        local_port: First and last port on our side; None: any.
        remote_port: First and last port on the peer's side; None: any.
    """

    name: str
    action: Action
    local: Network
    remote: Network
    protocol: int | None = None
    local_port: tuple[int, int] | None = None
    remote_port: tuple[int, int] | None = None

    def to_native(
        self,
        *,
        id: int,  # noqa: A002
        sas: tuple[tuple[int | None, int], ...],
    ) -> native.PolicySpec:
        """The policy as :meth:`esprit._native.DataPlane.policies_set` takes it.

        Args:
            id: Its number in the process.
            sas: Its outbound bundle: pairs of member (or None: any) and SA.
        """
        return {
            "id": id,
            "name": self.name,
            "action": self.action,
            "local": str(self.local),
            "remote": str(self.remote),
            "protocol": self.protocol,
            "local_port": self.local_port,
            "remote_port": self.remote_port,
            "sas": [{"member": member, "sa": sa} for member, sa in sas],
        }
