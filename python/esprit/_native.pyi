"""The data plane, written in Rust: it moves packets and obeys the last Plan.

Nothing here decides. Ids are small integers that the caller assigns, unique in the
process; times are nanoseconds of the monotonic clock; keys go in and never come out.
"""

from collections.abc import Callable
from typing import Literal, NotRequired, TypedDict, final

__version__: str

DROP_REASONS: dict[str, str]
"""Every reason to drop, as counters name it, with what it means."""

Direction = Literal["out", "in"]
SaMode = Literal["tunnel", "transport"]
Action = Literal["protect", "bypass", "discard"]
Mode = Literal["active-backup", "balance-alb"]
SourceMac = Literal["team", "member"]
Delivery = Literal["return", "direct", "auto"]
Receive = Literal["single", "balance"]
FaultName = Literal["die", "hang", "wrong", "late", "sag", "stick", "coalesce", "heal"]

class TeamSpec(TypedDict):
    """A virtual NIC to be made, or adopted from an earlier process."""

    id: int
    name: str
    mac: str
    mtu: int
    adopt: bool

class TeamAdded(TypedDict):
    """What the kernel gave: the offloads are those that the TAP took."""

    ifindex: int
    offloads: list[str]

class MemberSpec(TypedDict):
    """A member's port to be opened. Its interface must be shut to the host stack already."""

    id: int
    team: int
    interface: str

class MemberAdded(TypedDict):
    """What the port found. ``rcvbuf`` is the receive buffer that was obtained, in bytes."""

    ifindex: int
    mac: str
    mtu: int
    rcvbuf: int
    up: bool

class EngineSpec(TypedDict):
    """An engine to be made, tested and admitted.

    ``threads`` belongs to ``cpu`` (0 is the worker itself); the keys after it belong to
    ``asic``, the simulated NIC encryption processor. Rates are bits per second, times
    nanoseconds, memory bytes.
    """

    id: int
    name: str
    kind: Literal["cpu", "asic"]
    member: NotRequired[int | None]
    threads: NotRequired[int]
    rate_bps: NotRequired[int]
    ns_per_packet: NotRequired[int]
    latency_ns: NotRequired[int]
    coalesce_ns: NotRequired[int]
    queue_ns: NotRequired[int]
    queue_jobs: NotRequired[int]
    memory: NotRequired[int]
    sa_slots: NotRequired[int]
    key_install_ns: NotRequired[int]
    transfer: NotRequired[Transfer]
    patience_ns: NotRequired[int]
    esn: NotRequired[bool]
    max_replay_window: NotRequired[int]
    algorithms: NotRequired[list[str]]
    lookaside: NotRequired[bool]
    inline: NotRequired[bool]
    primary: NotRequired[bool]
    secondary: NotRequired[bool]

class Transfer(TypedDict):
    """The way to an engine and back, for secondary use."""

    ns_per_job: int
    ns_per_byte: float

class Capabilities(TypedDict):
    """What an engine declares of itself.

    Of ``sa_slots`` and ``memory_bytes`` None is no bound.
    """

    kind: Literal["cpu", "asic"]
    simulated: bool
    synchronous: bool
    host_cpu: bool
    lookaside: bool
    inline: bool
    primary: bool
    secondary: bool
    algorithms: list[str]
    esn: bool
    max_replay_window: int
    sa_slots: int | None
    key_install_ns: int
    keys_survive_reset: bool
    memory_bytes: int | None
    queue_ns: int
    queue_jobs: int
    parallel: int
    patience_ns: int
    transfer: Transfer

class Rate(TypedDict):
    """What an engine was measured to take: per packet, per byte, and for each job besides.

    ``key_ns`` is the time to install a key that it does not hold.
    """

    algorithm: str
    direction: Literal["seal", "open"]
    ns_per_packet: float
    ns_per_byte: float
    latency_ns: float
    key_ns: float

class EngineTest(TypedDict):
    """What came of an engine's tests with one algorithm in one direction."""

    algorithm: str
    direction: Literal["seal", "open"]
    passed: bool
    evidence: str

class EngineVerified(TypedDict):
    """The proof of an engine's tests, and its measured rates.

    What failed has no rate, and the engine is given no such work.
    """

    capabilities: Capabilities
    rates: list[Rate]
    latency_ns: int
    tests: list[EngineTest]

class UdpEncap(TypedDict):
    """The ports of RFC 3948 framing."""

    sport: int
    dport: int

class SaSpec(TypedDict):
    """A security association. ``seq``: outbound the first number to use, inbound the highest seen.

    ``granted`` is the number below which an outbound SA may number packets: the
    high-water mark that is on disk.
    """

    id: int
    team: int
    direction: Direction
    spi: int
    src: str
    dst: str
    mode: SaMode
    algorithm: str
    esn: bool
    replay_window: int
    encap: UdpEncap | None
    weight: int
    member: int | None
    policy: int | None
    seq: int
    granted: int

class BundleEntry(TypedDict):
    """One outbound SA of a policy, and the member that it goes by."""

    member: int | None
    sa: int

class PolicySpec(TypedDict):
    """A line of the SPD. It covers both directions: inbound it matches mirrored."""

    id: int
    name: str
    action: Action
    local: str
    remote: str
    protocol: int | None
    local_port: tuple[int, int] | None
    remote_port: tuple[int, int] | None
    sas: list[BundleEntry]

class MemberRole(TypedDict):
    """Whether a member may send, and may accept what is sent to its own address."""

    id: int
    carry: bool
    accept: bool

class Announcement(TypedDict):
    """Ethernet frames, as hexadecimal text, that a member sends at once when it takes over."""

    member: int
    frames: list[str]

class Grant(TypedDict):
    """What one engine may do for a team: a tier per class of work, or none."""

    engine: int
    member: int | None
    seal: bool
    open: bool
    primary: int | None
    secondary: int | None
    application: int | None
    bias_ns: int
    bias_load: float
    limit_ns: int | None
    headroom: float | None
    beside_ns: NotRequired[int | None]

class Grants(TypedDict):
    """All grants of a team, and the spill limits of the three classes in nanoseconds.

    ``verify_every``: of so many sealed jobs one is opened again before it leaves; 0: none.
    """

    engines: list[Grant]
    spill_ns: tuple[int, int, int]
    verify_every: int

class Served(TypedDict):
    """Members served with an algorithm: by their own engine, or backed up by others."""

    algorithm: str
    own: list[int]
    backed: list[int]

class Mask(TypedDict):
    """The transmission mask, by direction."""

    seal: list[Served]
    open: list[Served]

class Ask(TypedDict):
    """A ready-made ARP or ND request of a member, as hexadecimal text."""

    member: int
    address: str
    frame: str

class Probe(TypedDict):
    """How members are probed: deaf after ``miss`` of the last ``of``."""

    every_ns: int
    miss: int
    of: int
    hold_ns: int
    asks: list[Ask]

class Plan(TypedDict):
    """What Python decided for one team."""

    epoch: int
    team: int
    latch: int
    mode: Mode
    members: list[MemberRole]
    transmit: list[int]
    receiver: int | None
    takeover: list[int]
    mac: SourceMac
    announce: list[Announcement]
    grants: Grants
    delivery: Delivery
    direct: list[int]
    mask: Mask | None
    probe: Probe | None
    down_delay_ns: int
    receive: Receive

class Traffic(TypedDict):
    """Packets (a super-frame counts as its segments) and bytes."""

    packets: int
    bytes: int

class TeamSnapshot(TypedDict):
    """A team. ``epoch`` is none while its doors are closed: no Plan has been published.

    ``shares`` are bytes from the host by share of the transmit table, as long as it; what
    goes by a single association is not in it. ``held`` counts how often the host's frames
    waited because flows moved.
    """

    epoch: int | None
    active: list[int]
    receiver: int | None
    rx: Traffic
    tx: Traffic
    shares: list[int]
    held: int
    drops: dict[str, int]

class MemberSnapshot(TypedDict):
    """A member. ``latched`` is the link epoch at which it was found dead.

    ``heard`` is false while its probes find it deaf; ``foreign`` says whether its wire takes a
    source address that is not its own (none: not known, or not tried), ``direct`` how many
    packets it sent for other members. Probes are counted apart from ``rx`` and ``tx``.
    """

    team: int
    up: bool
    heard: bool
    latched: int | None
    rx: Traffic
    tx: Traffic
    queued: int
    direct: int
    foreign: bool | None
    probes_sent: int
    probes_heard: int
    probes_missed: int
    tx_errors: int
    drops: dict[str, int]

class EngineSnapshot(TypedDict):
    """An engine. ``backlog_ns`` is the time of all that it has before it.

    ``primary``, ``secondary`` and ``application`` count jobs, ``failed``, ``bad_icv`` and
    ``wrong`` operations; ``checked`` are jobs opened again before they left, ``canaries`` jobs
    of known answers, ``second_looks`` failed ICVs that were tried on it again. With ``_ns``:
    the work given to it.
    """

    engine: int
    health: Literal["ok", "suspect", "hung", "quarantined"]
    outstanding: int
    backlog_ns: int
    memory: int
    jobs: int
    packets: int
    bytes: int
    primary: int
    secondary: int
    application: int
    redone: int
    late: int
    failed: int
    bad_icv: int
    audited: int
    wrong: int
    checked: int
    canaries: int
    second_looks: int
    busy_ns: int
    primary_ns: int
    secondary_ns: int
    application_ns: int

class SaSnapshot(TypedDict):
    """An SA. ``seq``: outbound the next number, inbound the highest accepted."""

    spi: int
    direction: Direction
    traffic: Traffic
    seq: int
    granted: int | None
    in_flight: int
    drops: dict[str, int]

class BufferSnapshot(TypedDict):
    """Buffers in use and made."""

    small: int
    large: int
    small_made: int
    large_made: int

class QueueLevel(TypedDict):
    """Jobs of a class that wait for an engine, and the bytes of buffers that they hold."""

    jobs: int
    bytes: int

class Queues(TypedDict):
    """What waits for an engine."""

    primary: QueueLevel
    secondary: QueueLevel
    application: QueueLevel

class Snapshot(TypedDict):
    """The state of the data plane at one moment."""

    time: int
    link_epoch: int
    teams: dict[int, TeamSnapshot]
    members: dict[int, MemberSnapshot]
    engines: dict[int, EngineSnapshot]
    sas: dict[int, SaSnapshot]
    policies: dict[int, Traffic]
    buffers: BufferSnapshot
    queues: Queues

class TeamLoad(TypedDict):
    """As :class:`TeamSnapshot` has them."""

    shares: list[int]

class MemberLoad(TypedDict):
    """As :class:`MemberSnapshot` has them."""

    team: int
    queued: int
    foreign: bool | None

class Loads(TypedDict):
    """What members and shares of the flow hash had to do: a small part of a snapshot."""

    time: int
    teams: dict[int, TeamLoad]
    members: dict[int, MemberLoad]

class Flow(TypedDict):
    """A packet that the host might send; ``length`` is that of the IP packet."""

    src: str
    dst: str
    protocol: int
    sport: int | None
    dport: int | None
    length: int

Candidate = TypedDict(
    "Candidate",
    {
        "engine": int,
        "tier": int,
        "class": Literal["primary", "secondary", "application"],
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

Explanation = TypedDict(
    "Explanation",
    {
        "policy": int | None,
        "action": Action,
        "rule": str,
        "sa": int | None,
        "member": int | None,
        "engine": int | None,
        "class": Literal["primary", "secondary", "application"] | None,
        "delivery": Literal["return", "direct"] | None,
        "deliverer": int | None,
        "reason": str,
        "why": str,
        "candidates": list[Candidate],
    },
)

class Drop(TypedDict):
    """A packet that was dropped, and what was known of it by then.

    Addresses are unspecified where it is not IP or was not read. ``engine`` had it last;
    ``candidates`` are what the engines would have cost, where none took it.
    """

    time: int
    reason: str
    direction: Direction
    src: str
    dst: str
    protocol: int
    sport: int | None
    dport: int | None
    policy: int | None
    sa: int | None
    member: int | None
    engine: int | None
    packets: int
    candidates: list[Candidate]

class ProbeEvent(TypedDict):
    """A member was found deaf and latched, or has been heard again for the hold time."""

    kind: Literal["probe"]
    time: int
    member: int
    heard: bool
    epoch: int

class TxErrorsEvent(TypedDict):
    """So many sends of a member failed in a row, and it was latched."""

    kind: Literal["tx-errors"]
    time: int
    member: int
    count: int
    epoch: int

class LinkEvent(TypedDict):
    """A member's link rose or fell; ``epoch`` numbers the link changes of the process."""

    kind: Literal["link"]
    time: int
    member: int
    up: bool
    epoch: int

TakeoverEvent = TypedDict(
    "TakeoverEvent",
    {
        "kind": Literal["takeover"],
        "time": int,
        "team": int,
        "from": int,
        "to": int | None,
        "epoch": int,
    },
)

class PortGoneEvent(TypedDict):
    """A member's interface was deleted: its port is to be rebuilt."""

    kind: Literal["port-gone"]
    time: int
    member: int
    epoch: int

class ProbeTieEvent(TypedDict):
    """No member of a team has a working path, so none can be told from the others."""

    kind: Literal["probe-tie"]
    time: int
    team: int

EngineEvent = TypedDict(
    "EngineEvent",
    {
        "kind": Literal["engine"],
        "time": int,
        "event": Literal["hung", "failed", "wrong", "quarantined", "redone", "late", "recovered"],
        "engine": NotRequired[int],
        "ticket": NotRequired[int],
        "expected_ns": NotRequired[int],
        "waited_ns": NotRequired[int],
        "operations": NotRequired[int],
        "from": NotRequired[int],
        "to": NotRequired[int],
        "jobs": NotRequired[int],
        "health": NotRequired[str],
        "operation": NotRequired[int],
        "byte": NotRequired[int | None],
        "found": NotRequired[Literal["audit", "check", "canary"]],
        "by": NotRequired[int | None],
    },
)

class SaGrantEvent(TypedDict):
    """An outbound SA has used half of what was granted; ``next`` is the next number."""

    kind: Literal["sa-grant"]
    time: int
    sa: int
    next: int

class SaExhaustedEvent(TypedDict):
    """An outbound SA has no numbers left."""

    kind: Literal["sa-exhausted"]
    time: int
    sa: int

class PanicEvent(TypedDict):
    """A thread failed. Nothing leaves any more, in plain or sealed."""

    kind: Literal["panic"]
    time: int
    message: str

class LostEvent(TypedDict):
    """So many events were not kept."""

    kind: Literal["lost"]
    time: int
    count: int

Event = (
    LinkEvent
    | TakeoverEvent
    | PortGoneEvent
    | ProbeEvent
    | ProbeTieEvent
    | TxErrorsEvent
    | EngineEvent
    | SaGrantEvent
    | SaExhaustedEvent
    | PanicEvent
    | LostEvent
)

@final
class DataPlane:
    """The worker threads, ports and engines of this process. There is one."""

    def __new__(cls, *, small_buffers: int = 8192, large_buffers: int = 768) -> DataPlane: ...
    def close(self) -> None:
        """Stop the threads. Persistent TAPs stay, without a reader."""

    def event_fd(self) -> int:
        """A descriptor that is readable when :meth:`events` has something."""

    def events(self) -> list[Event]:
        """What happened since the last call, in order."""

    def snapshot(self) -> Snapshot:
        """Everything there is to see."""

    def loads(self) -> Loads:
        """What members and shares had to do, without a word of any SA."""

    def team_add(self, spec: TeamSpec) -> TeamAdded: ...
    def team_remove(self, team: int, *, destroy: bool) -> None: ...
    def member_add(self, spec: MemberSpec) -> MemberAdded: ...
    def member_remove(self, member: int) -> None: ...
    def engine_add(self, spec: EngineSpec) -> EngineVerified:
        """Make, test, calibrate and admit an engine.

        Raises:
            esprit.errors.EngineRefused: a test failed; the error carries the evidence.
        """

    def engine_remove(self, engine: int) -> None: ...
    def engine_reset(self, engine: int) -> EngineVerified:
        """Make the engine anew, without its keys and faults, and test it like a stranger."""

    def engine_verify(self, engine: int) -> EngineVerified:
        """Take an engine out, test it as it is, and admit it again.

        Raises:
            esprit.errors.EngineRefused: a test failed; it stays out, and can be tested again.
        """

    def engine_fault(self, engine: int, name: FaultName, value: int = 0) -> None: ...
    def applications(self, grants: Grants) -> None:
        """Say what engines may do for applications' tasks of this process."""

    def probe_key(self, team: int, key: bytes) -> None:
        """Set the key of a team's probe frames: 16 bytes that nobody else knows."""

    def explain(self, team: int, flow: Flow) -> Explanation:
        """What would become of a packet now; nothing is sent, numbered or counted."""

    def last_drop(self, team: int) -> Drop | None:
        """The last packet of a team that was dropped."""

    def publish(self, plan: Plan) -> int:
        """Put a Plan in force; returns its epoch once the worker has acknowledged it."""

    def sa_add(self, spec: SaSpec, key: bytes) -> None:
        """Add an SA. ``key`` is the AES key followed by the 4-byte salt (RFC 4106 8.1)."""

    def sa_delete(self, sa: int) -> None: ...
    def sa_show(self, sa: int) -> SaSnapshot | None:
        """One SA, of however many; none if there is none of that number."""

    def sa_tops(self, team: int, step: int) -> dict[int, int]:
        """How far a team's inbound SAs have come, of those that went on by ``step`` since told.

        By 0 it tells all of them.
        """

    def sa_grant(self, sa: int, upto: int) -> None:
        """Numbers below ``upto`` may be used: the mark that covers them is on disk."""

    def sa_next_hop(self, sa: int, mac: str | None) -> None: ...
    def policies_set(self, team: int, policies: list[PolicySpec]) -> None:
        """Replace the whole SPD of a team, between two packets."""

Algorithm = Literal["aes-128-gcm-16", "aes-256-gcm-16", "chacha20-poly1305"]
Work = Literal["seal", "open"]

@final
class AeadKey:
    """A key for applications' tasks, in the library's expanded form; it never comes out."""

    def __new__(cls, algorithm: Algorithm, material: bytes) -> AeadKey: ...
    def clear(self) -> None:
        """Let go of the key. It is cleansed once no task in flight uses it."""

class RequesterStatistics(TypedDict):
    """What was done by a requester. ``own``: too long for the pool, on the caller's thread."""

    messages: int
    bytes: int
    own_messages: int
    own_bytes: int
    in_flight: int
    room: int
    waits: int

class LoadSpec(TypedDict):
    """A load to be generated: messages of ``size`` bytes, ``packets`` of them in a job."""

    direction: Work
    size: int
    seconds: float
    rate_bps: NotRequired[int | None]
    packets: NotRequired[int | None]
    window: NotRequired[int | None]

class EngineLoad(TypedDict):
    """What one engine did of a load."""

    jobs: int
    bytes: int

class LoadReport(TypedDict):
    """What came of a load. Latencies run from asking for a job to having its result."""

    seconds: float
    jobs: int
    messages: int
    bytes: int
    packets: int
    lost: int
    bad: int
    latency_p50_ns: int
    latency_p99_ns: int
    latency_max_ns: int
    engines: dict[int, EngineLoad]

@final
class Requester:
    """Asks a data plane to seal and open messages, for applications. Any thread may use it.

    So many tasks may be in flight at a time; who finds no room waits. Messages beyond 64 KiB,
    and additional data beyond 4 KiB, are done on the caller's thread.
    """

    def __new__(cls, plane: DataPlane, *, room: int | None = None) -> Requester: ...
    def run(
        self, key: AeadKey, direction: Work, messages: list[tuple[bytes, bytes, bytes]]
    ) -> list[bytes | None]:
        """Do messages (nonce, data, additional data) and wait, without the interpreter's lock.

        Returns:
            The outputs in the order of the messages; None where the tag was wrong.
        """

    def statistics(self) -> RequesterStatistics: ...
    def load(self, key: AeadKey, spec: LoadSpec) -> LoadReport:
        """Keep the pool busy for a while, without the interpreter's lock."""

@final
class Completions:
    """Messages that nobody waits for: a descriptor says when there are results to take."""

    def __new__(cls, requester: Requester) -> Completions: ...
    def fd(self) -> int:
        """A descriptor that is readable when there are results, or when there is room again."""

    def start(
        self, tag: int, key: AeadKey, direction: Work, nonce: bytes, data: bytes, aad: bytes
    ) -> Literal["started", "full", "long"]:
        """Begin a message; never blocks. ``long``: :meth:`Requester.run` has to do it."""

    def take(self) -> list[tuple[int, bytes | None, str]]:
        """Take results: tag, output (None where the tag was wrong), and a failure or nothing."""

class CaptureResult(TypedDict):
    """What an eavesdropper saw.

    ``found`` counts the frames that held each needle, ``hits`` are the first of them;
    ``ended`` says what ended the capture before it was stopped, if something did.
    """

    frames: int
    bytes: int
    esp: int
    plain: int
    drops: int
    found: list[int]
    ended: str | None
    hits: list[bytes]
    samples: list[tuple[int, bytes]]

@final
class Capture:
    """An eavesdropper on one interface, in a thread of its own."""

    @staticmethod
    def start(
        ifname: str, needles: list[bytes], *, sample_every: int = 64, keep: int = 32
    ) -> Capture: ...
    def stop(self) -> CaptureResult: ...

class SimulationConfig(TypedDict):
    """A run's setting. Times are nanoseconds of virtual time."""

    seed: int
    control_ns: int
    turn_ns: int
    buffers: tuple[int, int]
    checked: bool
    job_rows: int

class SimulatedMember(TypedDict):
    """A member with its wire."""

    id: int
    team: int
    mac: str
    rate_bps: int
    mtu: int
    ring: int
    up: bool

class TrafficFlow(TypedDict):
    """A five-tuple of UDP; ``spi`` and ``via`` are of the peer's."""

    src: str
    dst: str
    sport: int
    dport: int
    spi: int | None
    via: int | None

class TrafficSpec(TypedDict):
    """A source of packets: a pattern with its own keys, sizes, flows."""

    name: str
    team: int
    inbound: bool
    plain: bool
    asks: bool
    pattern: Literal["constant", "poisson", "on-off", "recorded"]
    rate_bps: NotRequired[int]
    on_ns: NotRequired[int]
    off_ns: NotRequired[int]
    packets: NotRequired[list[list[int]]]
    sizes: dict[str, list[list[int]]]
    flows: list[TrafficFlow]
    start_ns: int
    stop_ns: int
    burst: int

class BrokenRule(TypedDict):
    """The first rule that a run broke."""

    time: int
    rule: str
    detail: str

class Latency(TypedDict):
    """A distribution of times in nanoseconds."""

    p50: int
    p99: int
    max: int

class TrafficTotals(TypedDict):
    """What became of a source's packets in the whole run."""

    sent: int
    delivered: int
    refused: int
    wire_lost: int

class TrafficReport(TypedDict):
    """What became of a source's packets: in the whole run, and since the window began."""

    name: str
    total: TrafficTotals
    sent: int
    sent_bytes: int
    delivered: int
    delivered_bytes: int
    latency: Latency

class ApplicationSpec(TypedDict):
    """An application in virtual time: so many tasks in flight, each of so many messages."""

    name: str
    direction: Literal["seal", "open"]
    size: int
    packets: int
    window: int
    rate_bps: int | None
    start_ns: int
    stop_ns: int

class ApplicationTotals(TypedDict):
    """What became of an application's messages in the whole run."""

    asked: int
    done: int
    no_engine: int
    lost: int

class ApplicationReport(TypedDict):
    """What an application had: in the whole run, and since the window began."""

    name: str
    direction: Literal["seal", "open"]
    total: ApplicationTotals
    messages: int
    bytes: int
    latency: Latency

class Predicted(TypedDict):
    """Sums over completed jobs: expected, measured, and their differences without sign."""

    jobs: int
    expected_ns: int
    measured_ns: int
    error_ns: int

class SimulationReport(TypedDict):
    """What a run came to."""

    time: int
    window: int
    traffic: list[TrafficReport]
    applications: list[ApplicationReport]
    drops: dict[str, int]
    member_frames: dict[int, int]
    member_bytes: dict[int, int]
    overtaken: int
    address_moves: int
    predicted: Predicted
    spoiled: int
    spoiled_messages: int
    steps: int
    queued_most: int
    violation: BrokenRule | None

PlacedJob = tuple[int, int | None, str, Literal["seal", "open"], int, int]
PlacedCandidate = tuple[
    int, int, Literal["primary", "secondary", "application"], int, int, int, int, int, int
]

@final
class Simulation:
    """A host in virtual time: the worker that ships, with ports, engines and a peer in memory.

    Commands have the names that :class:`DataPlane` has for them.
    """

    def __new__(
        cls,
        config: SimulationConfig,
        placement: Callable[[PlacedJob, list[PlacedCandidate]], int | None] | None = None,
    ) -> Simulation: ...
    def now(self) -> int: ...
    def advance(self, until: int) -> list[Event]:
        """Run on; return the events that a decision is due about, or none at ``until``."""

    def violation(self) -> BrokenRule | None: ...
    def mark(self) -> None:
        """Begin the window in which rates and latencies are measured."""

    def is_idle(self) -> bool:
        """Whether nothing waits for a step."""

    def audit(self) -> None:
        """Look at what must hold between any two steps."""

    def audit_at_rest(self, stopped: bool) -> None:
        """Look at what must hold once everything came to rest.

        ``stopped``: an engine holds jobs, and so buffers, that it never gives back.
        """

    def report(self) -> SimulationReport: ...
    def job_rows(self) -> list[dict[str, object]]: ...
    def event_rows(self) -> list[dict[str, object]]: ...
    def note(self, kind: str, details: str) -> None: ...
    def snapshot(self) -> Snapshot: ...
    def loads(self) -> Loads: ...
    def team_add(self, spec: TeamSpec) -> None: ...
    def member_add(self, spec: SimulatedMember) -> None: ...
    def member_remove(self, member: int) -> None: ...
    def engine_add(self, spec: EngineSpec) -> EngineVerified: ...
    def engine_remove(self, engine: int) -> None: ...
    def engine_reset(self, engine: int) -> EngineVerified: ...
    def engine_verify(self, engine: int) -> EngineVerified: ...
    def engine_fault(self, engine: int, name: FaultName, value: int = 0) -> None: ...
    def publish(self, plan: Plan) -> None: ...
    def sa_add(self, spec: SaSpec, key: bytes) -> None: ...
    def policies_set(self, team: int, policies: list[PolicySpec]) -> None: ...
    def link(self, member: int, *, up: bool, deleted: bool = False) -> None: ...
    def deaf(self, member: int, deaf: bool) -> None: ...
    def traffic_add(self, spec: TrafficSpec) -> None: ...
    def applications(self, grants: Grants) -> None: ...
    def application_add(self, spec: ApplicationSpec, key: bytes) -> None: ...
    def sabotage(self, what: dict[str, int]) -> None:
        """Break a rule on purpose at the n-th occasion, to show that its check sees it."""
