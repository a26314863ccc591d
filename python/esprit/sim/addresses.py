"""Numbers, addresses and keys of a simulated host: all follow from places in the scenario."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address, IPv4Network


def mac(kind: int, number: int) -> str:
    """A locally administered address."""
    octets = (2, 0, kind, *number.to_bytes(3, "big"))
    return ":".join(f"{octet:02x}" for octet in octets)


def local(team: int, policy: int) -> IPv4Address:
    """The host's side of a policy: 10.0.0.0/9, by team and policy."""
    return IPv4Address((10 << 24) + (team << 16) + policy)


def remote(team: int, policy: int) -> IPv4Address:
    """The peer's side of a policy: 10.128.0.0/9."""
    return IPv4Address((10 << 24) + (1 << 23) + (team << 16) + policy)


def network(address: IPv4Address) -> IPv4Network:
    """One address as a selector."""
    return IPv4Network(address)


def gateway(team: int) -> IPv4Address:
    """Where the team's tunnels begin."""
    return IPv4Address((192 << 24) + (168 << 16) + team)


def peer(team: int) -> IPv4Address:
    """Where they end."""
    return IPv4Address((172 << 24) + (16 << 16) + team)


def bypassed(team: int) -> IPv4Address:
    """A host that no policy names."""
    return IPv4Address((172 << 24) + (20 << 16) + team)


def key(seed: int, sa: int, bits: int) -> bytes:
    """Key and salt of an SA, its own."""
    return hashlib.shake_256(f"esprit simulation {seed} {sa}".encode()).digest(bits // 8 + 4)
