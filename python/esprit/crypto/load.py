"""The load generator: applications' tasks made by ourselves, to see what a pool manages.

The data plane generates the load (one job, again and again, so that only the pool and its
engines are measured); this says what is wanted, and sets what was reached against what the
engines' measured rates promise.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, TypedDict, cast

from esprit import _native
from esprit.errors import BadRequest
from esprit.model import EngineSpec

if TYPE_CHECKING:
    from esprit._native import Algorithm, EngineVerified, LoadReport, Requester, Work

#: What :data:`esprit._native.Algorithm` names, with the bytes of its keys.
KEY_LEN: Final[Mapping[str, int]] = {
    "aes-128-gcm-16": 16,
    "aes-256-gcm-16": 32,
    "chacha20-poly1305": 32,
}

#: Bytes of a message at most: what a job of the pool holds.
MAX_SIZE: Final = 65_536

#: A running team is loaded no longer by one request; clients wait 30 s for an answer.
LONGEST_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is to be asked of a pool.

    Attributes:
        size: Bytes of a message.
        rate_bps: Bits of messages per second; None: as much as there is room for.
        packets: Messages of a job; None: as many as it holds.
        window: Jobs in flight; None: 64.
    """

    algorithm: "Algorithm" = "aes-128-gcm-16"
    work: "Work" = "seal"
    size: int = 1400
    seconds: float = 5.0
    rate_bps: int | None = None
    packets: int | None = None
    window: int | None = None

    @classmethod
    def from_table(cls, table: Mapping[str, object]) -> "Load":
        """Read what a request says, by these attributes' names.

        Raises:
            BadRequest: a key or value that is none.
        """
        usual = cls()
        unknown = {*table} - {field.name for field in fields(cls)}
        if unknown:
            raise BadRequest(min(unknown), "is no key of a load", remedy=_KEYS)
        algorithm, work = table.get("algorithm", usual.algorithm), table.get("work", usual.work)
        if algorithm not in KEY_LEN:
            raise BadRequest("algorithm", "does not exist", remedy=f"use {', '.join(KEY_LEN)}")
        if work not in ("seal", "open"):
            raise BadRequest("work", "does not exist", remedy="use seal or open")
        size = _whole(table, "size", 1, MAX_SIZE)
        seconds = table.get("seconds", usual.seconds)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise BadRequest("seconds", "is no time above zero", remedy="give for instance 5")
        return cls(
            algorithm=cast("Algorithm", algorithm),
            work=work,
            size=usual.size if size is None else size,
            seconds=float(seconds),
            rate_bps=_whole(table, "rate_bps", 1, 1 << 48),
            packets=_whole(table, "packets", 1, 64),
            window=_whole(table, "window", 1, 256),
        )

    def to_table(self) -> dict[str, object]:
        """Return what :meth:`from_table` reads."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value is not None}


class LoadedEngine(TypedDict):
    """What one engine did of a load. ``rate_bps``: what its measured rates promise."""

    name: str
    kind: str
    simulated: bool
    rate_bps: int
    nominal_bps: int | None
    done_bps: int
    share: float


class LoadResource(TypedDict):
    """What a pool managed.

    ``done_bps`` counts the messages' bits, ``sum_bps`` is the sum of the engines' measured rates
    for messages of this size, ``reached`` the share of it, and ``nominal_bps`` the sum of what
    the engines were made for, where all are simulated. Latencies run from asking for a job to
    having its result.
    """

    algorithm: str
    work: str
    size: int
    packets: int
    seconds: float
    jobs: int
    messages: int
    lost: int
    bad: int
    done_bps: int
    sum_bps: int
    reached: float
    nominal_bps: int | None
    latency_p50_ns: int
    latency_p99_ns: int
    latency_max_ns: int
    engines: list[LoadedEngine]


#: An engine with its number and what its test found.
Tested = tuple[int, EngineSpec, "EngineVerified"]


def run(requester: "Requester", load: Load, engines: Iterable[Tested]) -> LoadResource:
    """Load a pool, wait for the end, and say what it managed.

    Raises:
        esprit.errors.TaskFailed: no engine does this for applications.
    """
    key = _native.AeadKey(load.algorithm, os.urandom(KEY_LEN[load.algorithm]))
    try:
        report = requester.load(
            key,
            {
                "direction": load.work,
                "size": load.size,
                "seconds": load.seconds,
                "rate_bps": load.rate_bps,
                "packets": load.packets,
                "window": load.window,
            },
        )
    finally:
        key.clear()
    return _resource(load, report, engines)


def promised_bps(spec: EngineSpec, verified: "EngineVerified", load: Load) -> int:
    """Return the bits per second that an engine's measured rates promise; 0 if it cannot do it."""
    lanes = max(1, spec.threads) if spec.kind == "cpu" else 1
    for rate in verified["rates"]:
        if (rate["algorithm"], rate["direction"]) == (load.algorithm, load.work):
            ns = rate["ns_per_packet"] + load.size * rate["ns_per_byte"]
            return int(lanes * 8e9 * load.size / ns) if ns > 0 else 0
    return 0


def _resource(load: Load, report: "LoadReport", engines: Iterable[Tested]) -> LoadResource:
    seconds = max(report["seconds"], 1e-9)
    found: list[LoadedEngine] = []
    for number, spec, verified in engines:
        done = report["engines"].get(number)
        found.append(
            {
                "name": spec.name,
                "kind": spec.kind,
                "simulated": spec.simulated,
                "rate_bps": promised_bps(spec, verified, load),
                "nominal_bps": spec.rate_bps,
                "done_bps": 0 if done is None else int(8 * done["bytes"] / seconds),
                "share": 0.0 if done is None else done["bytes"] / max(1, report["bytes"]),
            }
        )
    done_bps = int(8 * report["bytes"] / seconds)
    sum_bps = sum(one["rate_bps"] for one in found)
    nominal = [one["nominal_bps"] for one in found if one["nominal_bps"] is not None]
    return {
        "algorithm": load.algorithm,
        "work": load.work,
        "size": load.size,
        "packets": report["packets"],
        "seconds": report["seconds"],
        "jobs": report["jobs"],
        "messages": report["messages"],
        "lost": report["lost"],
        "bad": report["bad"],
        "done_bps": done_bps,
        "sum_bps": sum_bps,
        "reached": done_bps / sum_bps if sum_bps else 0.0,
        "nominal_bps": sum(nominal) if nominal and len(nominal) == len(found) else None,
        "latency_p50_ns": report["latency_p50_ns"],
        "latency_p99_ns": report["latency_p99_ns"],
        "latency_max_ns": report["latency_max_ns"],
        "engines": found,
    }


_KEYS: Final = "use algorithm, work, size, seconds, rate_bps, packets, window"


def _whole(table: Mapping[str, object], key: str, least: int, most: int) -> int | None:
    value = table.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequest(key, "is out of range", remedy=f"give a number from {least} to {most}")
    return value
