"""``explain``: what became or would become of a packet, and why a feature is off."""

from collections.abc import Sequence
from typing import Final

from esprit.cli import render
from esprit.daemon.resources import (
    CandidateResource,
    DropResource,
    ExplanationResource,
    FeatureResource,
)

#: The data plane's number for: it has no tier for this use.
NO_TIER: Final = 255


def explanation(found: ExplanationResource) -> None:
    """Print what would become of a packet: policy, SA, member, engine, then each candidate."""
    end = _flow(found["proto"], found["src"], found["sport"], found["dst"], found["dport"])
    fate = f"dropped, {found['reason']}" if found["reason"] else "leaves"
    print(f"{end} length {found['length']}: {fate}")
    rows = (
        ("policy", f"{found['policy'] or found['rule']} {found['action']}"),
        ("sa", found["sa"]),
        ("member", found["member"]),
        ("engine", _with(found["engine"], found["class"], " for {} use")),
        ("delivery", _with(found["delivery"], found["deliverer"], " by {}")),
        ("returned", found["returned"]),
        ("why", found["why"]),
    )
    for name, value in rows:
        if value:
            print(f"    {name} {value}")
    _candidates(found["candidates"])


def drop(found: DropResource) -> None:
    """Print the last packet that was dropped, and what engines would have cost it."""
    way = "outbound" if found["dir"] == "out" else "inbound"
    end = _flow(found["proto"], found["src"], found["sport"], found["dst"], found["dport"])
    print(f"{end}: {way}, {found['reason']}" + (f": {found['meaning']}" * bool(found["meaning"])))
    rows = (
        ("policy", found["policy"]),
        ("sa", found["sa"]),
        ("member", found["member"]),
        ("engine", found["engine"]),
    )
    for name, value in rows:
        if value:
            print(f"    {name} {value}")
    print(f"    at {found['time'] / 1e9:.6f} s, {found['packets']} packets")
    _candidates(found["candidates"])


def feature(found: FeatureResource) -> None:
    """Print one feature: whether it is on, why not, and how far each provider got."""
    fixed = " [fixed]" if found["fixed"] else ""
    print(f"{found['feature']}: {found['value']}{fixed}")
    if found["reason"]:
        print(f"    why {found['reason']}")
    if found["candidates"]:
        print()
        render.table(
            ("provider", "kind", "advertised", "accepted", "verified"),
            (
                (
                    one["name"],
                    one["kind"],
                    _yes(one["advertised"]),
                    _yes(one["accepted"]),
                    "not tested" if one["verified"] is None else _yes(one["verified"]),
                )
                for one in found["candidates"]
            ),
        )


def columns(found: FeatureResource) -> tuple[str, str, str]:
    """Who advertises a feature, of whom it is accepted, and for whom a test proved it."""
    one = found["candidates"]
    return (
        _names([who["name"] for who in one if who["advertised"]]),
        _names([who["name"] for who in one if who["accepted"]]),
        _names([who["name"] for who in one if who["verified"]]),
    )


def _candidates(found: Sequence[CandidateResource]) -> None:
    if not found:
        return
    print()
    render.table(
        (
            "engine", "use", "tier", "backlog us", "work us", "key us", "latency us",
            "transfer us", "bias us", "cost us", "verdict",
        ),
        (
            (
                one["engine"] or "?",
                one["class"],
                "-" if one["tier"] == NO_TIER else str(one["tier"]),
                *(
                    f"{value / 1000:.1f}"
                    for value in (
                        one["backlog_ns"], one["service_ns"], one["key_ns"], one["latency_ns"],
                        one["transfer_ns"], one["bias_ns"], one["cost_ns"],
                    )
                ),
                one["verdict"],
            )
            for one in found
        ),
    )  # fmt: skip


def _names(found: Sequence[str]) -> str:
    return " ".join(found)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _with(value: str | None, more: str | None, form: str) -> str | None:
    return None if value is None else value + (form.format(more) if more else "")


def _flow(
    proto: str | None, src: str | None, sport: int | None, dst: str | None, dport: int | None
) -> str:
    if src is None or dst is None:
        return "a frame"  # not IP, or nobody read it
    return f"{proto}:{_end(src, sport)}->{_end(dst, dport)}"


def _end(address: str, port: int | None) -> str:
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
