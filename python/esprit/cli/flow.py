"""A packet as people write it: ``tcp:10.0.0.1:1234->10.0.0.2:80``, or by words."""

import re
from typing import TypedDict

from esprit.errors import BadRequest

# The protocol; an address, in brackets where it has colons and a port follows; ports.
_SIDE = r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+|[0-9A-Fa-f:]+?))(?::(\d+))?"
_FLOW = re.compile(rf"(\w[\w-]*):{_SIDE}\s*->\s*{_SIDE}")
_REMEDY = "write it as tcp:10.0.0.1:1234->10.0.0.2:80, IPv6 addresses in brackets"


class Asked(TypedDict):
    """What :meth:`esprit.Team.explain` takes."""

    src: str
    dst: str
    proto: str
    sport: int | None
    dport: int | None


def five_tuple(text: str) -> Asked:
    """Read a flow in one word.

    Raises:
        BadRequest: it is none.
    """
    match = _FLOW.fullmatch(text.strip())
    if match is None:
        raise BadRequest(f"flow {text}", "is not written as a flow", remedy=_REMEDY)
    proto, *sides = match.groups()
    src, dst = sides[0] or sides[1], sides[3] or sides[4]
    sport, dport = sides[2], sides[5]
    return {
        "src": src,
        "dst": dst,
        "proto": proto,
        "sport": None if sport is None else int(sport),
        "dport": None if dport is None else int(dport),
    }


def asked(words: list[str], proto: str | None, sport: int | None, dport: int | None) -> Asked:
    """Read a flow from the command line: in one word, or as source and destination.

    Raises:
        BadRequest: it is none.
    """
    if len(words) == 1:
        found = five_tuple(words[0])
    elif len(words) == 2:
        found = {"src": words[0], "dst": words[1], "proto": "udp", "sport": None, "dport": None}
    else:
        raise BadRequest("explain", "takes a source and a destination", remedy=_REMEDY)
    if proto is not None:
        found["proto"] = proto
    if sport is not None:
        found["sport"] = sport
    if dport is not None:
        found["dport"] = dport
    return found
