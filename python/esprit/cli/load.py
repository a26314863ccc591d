"""``esprit load``: applications' tasks for a running team's pool, or for one made here."""

from collections.abc import Sequence

from pydantic_core import PydanticCustomError

from esprit.cli import render
from esprit.cli.common import with_team
from esprit.client import Team
from esprit.config import values
from esprit.crypto.load import Load, LoadResource
from esprit.errors import BadRequest
from esprit.model import EngineSpec


def engine(text: str, number: int) -> EngineSpec:
    """Read ``asic:RATE``, a simulated engine of that rate, or ``cpu:THREADS``.

    Raises:
        BadRequest: it is neither.
    """
    kind, _, value = text.partition(":")
    if kind == "asic" and value:
        # All its time goes by the bytes, so that its rate is what stands there.
        return EngineSpec(name=f"asic{number}", kind="asic", rate_bps=rate(value), ns_per_packet=0)
    if kind == "cpu" and (value.isdecimal() or not value):
        return EngineSpec(name=f"cpu{number}", kind="cpu", threads=int(value or "1"))
    raise BadRequest(text, "is no engine", remedy="write asic:2G, or cpu:2 for two threads")


def rate(text: str) -> int:
    """Read bits per second.

    Raises:
        BadRequest: these are none.
    """
    try:
        return values.rate(int(text) if text.isdecimal() else text)
    except PydanticCustomError as error:
        raise BadRequest(text, "is no rate", remedy='write for instance "2G" or "800M"') from error


def local(load: Load, engines: Sequence[str]) -> LoadResource:
    """Load a pool of these engines in this process; without any, of its processors."""
    from esprit.crypto import Pool

    with Pool([engine(text, at) for at, text in enumerate(engines)]) as pool:
        return pool.load(load)


def remote(load: Load, team: str | None) -> LoadResource:
    """Load the pool of a running team."""

    async def ask(connected: Team) -> LoadResource:
        return await connected.load(load.to_table())

    return with_team(team, ask)


def show(found: LoadResource) -> None:
    """Print what a pool managed: in all, then by engine."""
    render.table(
        ("engine", "kind", "rate", "nominal", "did", "of its rate", "share"),
        (
            (
                one["name"],
                f"{one['kind']} (simulated)" if one["simulated"] else one["kind"],
                bits(one["rate_bps"]),
                "" if one["nominal_bps"] is None else bits(one["nominal_bps"]),
                bits(one["done_bps"]),
                f"{one['done_bps'] / one['rate_bps']:.3f}" if one["rate_bps"] else "",
                f"{100 * one['share']:.1f} %",
            )
            for one in found["engines"]
        ),
    )
    print(
        f"{found['work']} {found['algorithm']}, messages of {found['size']} bytes, "
        f"{found['packets']} in a job, for {found['seconds']:.2f} s"
    )
    nominal = found["nominal_bps"]
    print(
        f"did {bits(found['done_bps'])} of {bits(found['sum_bps'])}, the sum of the engines' "
        f"measured rates: {found['reached']:.3f}"
        + (f"; of {bits(nominal)} nominal: {found['done_bps'] / nominal:.3f}" if nominal else "")
    )
    print(
        f"{found['messages']} messages in {found['jobs']} jobs, {found['lost']} lost, "
        f"{found['bad']} wrong; latency p50 {found['latency_p50_ns'] / 1000:.0f} us, "
        f"p99 {found['latency_p99_ns'] / 1000:.0f} us, max {found['latency_max_ns'] / 1000:.0f} us"
    )


def bits(rate: float) -> str:
    """Bits per second for people: ``1.5 Gbit/s``."""
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if rate < 1000:
            return f"{rate:.4g} {unit}"
        rate /= 1000
    return f"{rate:.4g} Gbit/s"
