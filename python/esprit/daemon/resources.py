"""What the control API says: the JSON of each resource, by iproute2's key names.

The daemon writes these, the client and the command line read them; ``-j`` prints them as
they are. No resource ever holds a key.
"""

from typing import Literal, TypedDict

# Changes with the first incompatible change of a route or a key.
API_VERSION = "v1"

Scalar = str | int | float | bool | None


class Counter(TypedDict):
    """Packets (a super-frame counts as its segments) and bytes."""

    packets: int
    bytes: int


class Stats(TypedDict):
    """Both directions, as ``ip -s -j link`` has them: ``rx`` of a virtual NIC is to the host."""

    rx: Counter
    tx: Counter


class MemberResource(TypedDict):
    """A member. ``role`` says what it does now, ``operstate`` what its link is."""

    ifname: str
    ifindex: int
    master: str
    address: str
    mtu: int
    operstate: Literal["UP", "DOWN"]
    role: str
    receiver: bool
    carry: bool
    latched: bool
    priority: int
    engine: str | None
    stats64: Stats
    rcvbuf: int
    queued: int
    drops: dict[str, int]


class RateResource(TypedDict):
    """A measured rate of an engine."""

    algorithm: str
    direction: str
    ns_per_packet: float
    ns_per_byte: float


class EngineResource(TypedDict):
    """An engine. ``simulated`` is true of every ``asic``."""

    name: str
    kind: str
    simulated: bool
    ifname: str | None
    health: str
    algorithms: list[str]
    lookaside: bool
    inline: bool
    primary_use: bool
    secondary_use: bool
    latency_ns: int
    rates: list[RateResource]
    tiers: dict[str, int | None]
    jobs: int
    packets: int
    bytes: int
    primary_jobs: int
    secondary_jobs: int
    redone: int
    late: int
    failed: int
    bad_icv: int
    backlog_ns: int
    busy_ns: int


class EncapResource(TypedDict):
    """UDP encapsulation, by RFC 3948."""

    type: str
    sport: int
    dport: int


class SaResource(TypedDict):
    """A security association, without its key. ``dir`` is as in ``ip xfrm``."""

    name: str
    dir: Literal["out", "in"]
    src: str
    dst: str
    proto: Literal["esp"]
    spi: str
    mode: str
    aead: str
    icv: int
    esn: bool
    replay_window: int
    encap: EncapResource | None
    dev: str | None
    policy: str | None
    next_hop: str | None
    seq: int
    granted: int | None
    packets: int
    bytes: int
    drops: dict[str, int]


class PolicyResource(TypedDict):
    """A line of the SPD, outbound as it reads; inbound it matches mirrored."""

    name: str
    index: int
    action: str
    src: str
    dst: str
    proto: str | None
    sport: str | None
    dport: str | None
    builtin: bool
    sas: list[str]
    packets: int
    bytes: int


class TeamResource(TypedDict):
    """A team as a whole."""

    ifname: str
    ifindex: int
    link_type: Literal["ether"]
    address: str
    mtu: int
    operstate: Literal["UP", "DOWN"]
    mode: str
    failback: str
    software: str
    delivery: str
    mac: str
    active: list[str]
    receiver: str | None
    epoch: int
    stats64: Stats
    drops: dict[str, int]
    members: list[MemberResource]


class ProviderResource(TypedDict):
    """How far somebody got as a provider; ``verified`` is none where no test is made."""

    name: str
    kind: str
    advertised: bool
    accepted: bool
    verified: bool | None


class FeatureResource(TypedDict):
    """A line of ``features``: what the team offers, and who provides it.

    ``providers`` names those who do, ``candidates`` all who might.
    """

    feature: str
    value: str
    fixed: bool
    providers: list[str]
    candidates: list[ProviderResource]
    reason: str


class ErrorResource(TypedDict):
    """Why a request was refused: the object, what is wrong, and the remedy."""

    code: str
    subject: str
    message: str
    remedy: str


# An event: `time` (nanoseconds of the monotonic clock), `kind`, `team`, then names and
# values of what it is about.
EventResource = dict[str, Scalar]
