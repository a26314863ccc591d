"""The data plane's events in the operator's words: numbers become names."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from esprit.model.event import (
    EngineReported,
    Event,
    EventsLost,
    LinkChanged,
    NumbersExhausted,
    Panicked,
    PortLost,
    Probed,
    SendingFailed,
    TookOver,
    Unknown,
)

if TYPE_CHECKING:
    from esprit.daemon.resources import Scalar


def narrate(
    event: Event,
    team: int,
    members: Mapping[int, str],
    engines: Mapping[int, str],
    sas: Mapping[int, str],
) -> "dict[str, Scalar] | None":
    """What a listener of one team is told of an event; none if it is another team's."""
    match event:
        case LinkChanged(member=member, up=up):
            return None if member not in members else {"member": members[member], "up": up}
        case TookOver(team=number, lost=lost, heir=heir):
            if number != team:
                return None
            return {"from": members.get(lost), "to": members.get(heir or 0)}
        case Probed(member=member, heard=heard):
            return None if member not in members else {"member": members[member], "heard": heard}
        case SendingFailed(member=member, count=count):
            return None if member not in members else {"member": members[member], "count": count}
        case PortLost(member=member):
            return None if member not in members else {"member": members[member]}
        case EngineReported(engine=engine, what=what, details=details):
            named = {
                key: engines.get(value, value)
                if key in ("from", "to") and isinstance(value, int)
                else value
                for key, value in details
            }
            return {
                "engine": None if engine is None else engines.get(engine),
                "what": what,
                **named,
            }
        case NumbersExhausted(sa=sa):
            return None if sa not in sas else {"sa": sas[sa]}
        case Panicked(message=message):
            return {"message": message}
        case EventsLost(count=count):
            return {"count": count}
        case Unknown(name=name, details=details):
            return {"name": name, **dict(details)}
        case _:
            return {}
