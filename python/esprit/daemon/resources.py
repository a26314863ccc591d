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


class ProbesResource(TypedDict):
    """A member's probes: ``missed`` are rounds in which it had no working path."""

    sent: int
    heard: int
    missed: int


class MemberResource(TypedDict):
    """A member. ``role`` says what it does now, ``operstate`` what its link is.

    ``heard`` is false of one that is up and hears nothing; ``held_ms`` is how long it stays back
    yet; ``direct`` counts packets that it sent for other members; ``foreign`` says whether it can
    send an address that is not its own, none while that was not tried.
    """

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
    speed: int | None
    preferred: bool
    heard: bool
    held_ms: int
    probes: ProbesResource
    direct: int
    tx_errors: int
    foreign: bool | None


class TestResource(TypedDict):
    """What the test of one algorithm and direction found."""

    algorithm: str
    direction: str
    passed: bool
    evidence: str


class RateResource(TypedDict):
    """A measured rate of an engine."""

    algorithm: str
    direction: str
    ns_per_packet: float
    ns_per_byte: float


class TransferResource(TypedDict):
    """The way of others' jobs to an engine and back."""

    ns_per_job: int
    ns_per_byte: float


class EngineResource(TypedDict):
    """An engine. ``simulated`` is true of every ``asic``; ``outstanding`` jobs are in its queue.

    ``esn`` to ``coalesce_ns`` are what it declares of itself: of ``sa_slots`` (keys that it holds)
    and ``memory`` (bytes in flight) none is no bound. ``evidence`` is what is known against it,
    ``since`` when that began and ``retest`` when it is tested again, both in nanoseconds of the
    monotonic clock, none where there is nothing.
    """

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
    esn: bool
    max_replay_window: int
    queue_ns: int
    queue_jobs: int
    memory: int | None
    sa_slots: int | None
    key_install_ns: int
    transfer: TransferResource
    patience_ns: int
    coalesce_ns: int
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
    tests: list[TestResource]
    evidence: list[str]
    since: int | None
    retest: int | None
    application_jobs: int
    checked: int
    canaries: int
    audited: int
    second_looks: int
    outstanding: int
    wrong: int
    primary_ns: int
    secondary_ns: int
    application_ns: int


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
    weight: int
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


class ServedResource(TypedDict):
    """Members served with an algorithm: by their own engine, or backed up by others."""

    algorithm: str
    own: list[str]
    backed: list[str]


class MaskResource(TypedDict):
    """The transmission mask, by direction."""

    seal: list[ServedResource]
    open: list[ServedResource]


class ProbingResource(TypedDict):
    """How members are probed; ``every_ms`` is 0 where they are not."""

    every_ms: float
    miss: int
    of: int
    hold_ms: float
    target: list[str]


class TeamResource(TypedDict):
    """A team as a whole.

    ``direct`` are members that may send what another asked for; ``verify`` is of how many sealed
    jobs one is opened again, 0 for none.
    """

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
    failback_delay_ms: float
    preferred: str | None
    up_delay_ms: float
    down_delay_ms: float
    headroom: float
    receive: str
    verify: int
    probe: ProbingResource
    direct: list[str]
    mask: MaskResource
    ipsec: bool
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


CandidateResource = TypedDict(
    "CandidateResource",
    {
        "engine": str | None,
        "tier": int,
        "class": str,
        "backlog_ns": int,
        "service_ns": int,
        "key_ns": int,
        "latency_ns": int,
        "transfer_ns": int,
        "bias_ns": int,
        "cost_ns": int,
        "verdict": str,
    },
)
CandidateResource.__doc__ = "An engine as the placement saw it, each part of its cost apart."

ExplanationResource = TypedDict(
    "ExplanationResource",
    {
        "src": str,
        "dst": str,
        "proto": str,
        "sport": int | None,
        "dport": int | None,
        "length": int,
        "policy": str | None,
        "action": str,
        "rule": str,
        "sa": str | None,
        "member": str | None,
        "engine": str | None,
        "class": str | None,
        "delivery": str | None,
        "deliverer": str | None,
        "returned": str,
        "reason": str,
        "why": str,
        "candidates": list[CandidateResource],
    },
)
ExplanationResource.__doc__ = """What would become of a packet.

``reason`` is the drop reason, empty if it would leave; ``returned`` says why a job is returned
to the member that asked, although the team would have it delivered directly.
"""


class DropResource(TypedDict):
    """The last packet that was dropped; ``meaning`` says what the reason means.

    ``engine`` had it last; ``candidates`` are all engines with what they would have cost as they
    stood then, where none took it.
    """

    time: int
    reason: str
    meaning: str
    dir: Literal["out", "in"]
    src: str | None
    dst: str | None
    proto: str | None
    sport: int | None
    dport: int | None
    policy: str | None
    sa: str | None
    member: str | None
    engine: str | None
    packets: int
    candidates: list[CandidateResource]


class ErrorResource(TypedDict):
    """Why a request was refused: the object, what is wrong, and the remedy."""

    code: str
    subject: str
    message: str
    remedy: str


# An event: `time` (nanoseconds of the monotonic clock), `kind`, `team`, then names and
# values of what it is about.
EventResource = dict[str, Scalar]
