"""What would become of a packet and why, by name: the data plane knows numbers only."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from esprit.control.view import PROTOCOLS
from esprit.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from esprit._native import Explanation, Flow
    from esprit.control.team import RunningTeam
    from esprit.daemon.resources import CandidateResource, DropResource, ExplanationResource

#: A packet of which nobody says how long it is: what a link carries mostly.
LENGTH = 1400
_LONGEST = 65535
_NUMBERS = {name: number for number, name in PROTOCOLS.items()}


def flow(query: Mapping[str, str]) -> Flow:
    """The packet that a request asks about.

    Raises:
        BadRequest: it is none.
    """
    return {
        "src": _address(query, "src"),
        "dst": _address(query, "dst"),
        "protocol": protocol(query.get("proto", "udp")),
        "sport": _number(query, "sport", _LONGEST),
        "dport": _number(query, "dport", _LONGEST),
        "length": _number(query, "length", _LONGEST) or LENGTH,
    }


def protocol(text: str) -> int:
    """A transport protocol by name or number.

    Raises:
        BadRequest: it is none.
    """
    if text.lower() in _NUMBERS:
        return _NUMBERS[text.lower()]
    if text.isdecimal() and int(text) < 256:
        return int(text)
    raise BadRequest(f"protocol {text}", "is unknown", remedy="write tcp, udp, icmp or a number")


def _address(query: Mapping[str, str], key: str) -> str:
    text = query.get(key, "")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise BadRequest(
            f"{key} {text}".strip(), "is no IP address", remedy="write an address of one host"
        ) from None


def _number(query: Mapping[str, str], key: str, most: int) -> int | None:
    text = query.get(key)
    if not text:
        return None
    if not text.isdecimal() or int(text) > most:
        raise BadRequest(f"{key} {text}", "is no such number", remedy=f"write 0 to {most}")
    return int(text)


class Explaining:
    """Numbers of the data plane become names of one team."""

    def __init__(self, team: RunningTeam) -> None:
        self._team = team
        self._members = team.member_names()
        self._engines = {engine.id: engine.spec.name for engine in team.host.engines()}
        self._sas = team.securing.sa_names()
        self._policies = {one.id: one.policy.name for one in team.securing.policies}

    def flow(self, asked: Flow) -> ExplanationResource:
        """What would become of a packet."""
        found = self._team.host.plane.explain(self._team.id, asked)
        return {
            "src": asked["src"],
            "dst": asked["dst"],
            "proto": PROTOCOLS.get(asked["protocol"], str(asked["protocol"])),
            "sport": asked["sport"],
            "dport": asked["dport"],
            "length": asked["length"],
            "policy": self._policies.get(found["policy"] or 0),
            "action": found["action"],
            "rule": found["rule"],
            "sa": self._sas.get(found["sa"] or 0),
            "member": self._members.get(found["member"] or 0),
            "engine": self._engines.get(found["engine"] or 0),
            "class": found["class"],
            "delivery": found["delivery"],
            "deliverer": self._members.get(found["deliverer"] or 0),
            "returned": self._returned(found),
            "reason": found["reason"],
            "why": self._named(found["why"]),
            "candidates": [self._candidate(one) for one in found["candidates"]],
        }

    def _named(self, text: str) -> str:
        """A sentence of the data plane's, which knows numbers only, with names in their places."""
        names = {
            "policy": self._policies,
            "SA": self._sas,
            "member": self._members,
            "engine": self._engines,
        }

        def name(found: re.Match[str]) -> str:
            what, number = found.group(1), int(found.group(2))
            return f"{what} {names[what].get(number, number)}"

        return re.sub(r"\b(policy|SA|member|engine) (\d+)\b", name, text)

    def _candidate(self, one: Mapping[str, object]) -> CandidateResource:
        number = one["engine"]
        named = self._engines.get(number) if isinstance(number, int) else None
        return {**one, "engine": named}  # type: ignore[typeddict-item]

    def _returned(self, found: Explanation) -> str:
        """Why the job is returned, where the team would have it delivered directly."""
        state = self._team.state
        if state.delivery == "return" or found["delivery"] != "return" or not found["engine"]:
            return ""
        engine = state.engine(found["engine"])
        member = None if engine is None or engine.member is None else state.member(engine.member)
        if engine is None or member is None:
            return "the engine has no member of this team to send by"
        if member.id == found["member"]:
            return "the engine's member is the one that asked"
        name = member.interface
        if not member.can_carry:
            return f"{name} cannot carry traffic: {state.role(member.id)}"
        plan = state.plan
        if plan is None or member.id not in plan.carriers:
            return f"{name} waits and does not carry traffic"
        if member.sends_foreign is None:
            return f"whether {name} can send another's address has not been tried yet"
        if member.foreign_mac is False:
            return f"foreign_mac = false: {name} is not to send another's address"
        if not member.sends_foreign:
            return f"{name} cannot send another's address"
        return "it costs less" if state.delivery == "auto" else ""

    def last_drop(self) -> DropResource:
        """The last packet that was dropped.

        Raises:
            NotFound: none was.
        """
        found = self._team.host.plane.last_drop(self._team.id)
        if found is None:
            raise NotFound(
                f"team {self._team.name}",
                "has dropped no packet yet",
                remedy="`esprit explain SRC DST` says what would become of one",
            )
        # The addresses of a frame that is no IP, or was not read, are unspecified.
        ip = not ipaddress.ip_address(found["src"]).is_unspecified
        return {
            "time": found["time"],
            "reason": found["reason"],
            "meaning": meaning(found["reason"]),
            "dir": found["direction"],
            "src": found["src"] if ip else None,
            "dst": found["dst"] if ip else None,
            "proto": PROTOCOLS.get(found["protocol"], str(found["protocol"])) if ip else None,
            "sport": found["sport"],
            "dport": found["dport"],
            "policy": self._policies.get(found["policy"] or 0),
            "sa": self._sas.get(found["sa"] or 0),
            "member": self._members.get(found["member"] or 0),
            "engine": self._engines.get(found["engine"] or 0),
            "packets": found["packets"],
            "candidates": [self._candidate(one) for one in found["candidates"]],
        }


def meaning(reason: str) -> str:
    """What a drop reason means; empty where the extension does not know it."""
    try:
        from esprit._native import DROP_REASONS
    except ImportError:
        return ""
    return DROP_REASONS.get(reason, "")
