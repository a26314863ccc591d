"""The nouns: frozen values without I/O, clock or chance.

``spec`` and ``security`` are what the operator wants, by name; ``state`` is what is known of a
running team, by number; ``plan`` is what was decided; ``event`` is what happened;
``capability`` is what the team offers as one NIC.
"""

from esprit.model.capability import Feature, Provider, features
from esprit.model.event import Event
from esprit.model.key import Key
from esprit.model.plan import (
    Announcement,
    Ask,
    Grant,
    Mask,
    MemberRole,
    Plan,
    Probe,
    Served,
    Spill,
)
from esprit.model.security import Policy, SecurityAssociation, UdpEncap
from esprit.model.spec import EngineSpec, MemberSpec, RouteSpec, TeamConfig, TeamSpec
from esprit.model.state import Capabilities, EngineState, MemberState, Rate, TeamState

__all__ = [
    "Announcement",
    "Ask",
    "Capabilities",
    "EngineSpec",
    "EngineState",
    "Event",
    "Feature",
    "Grant",
    "Key",
    "Mask",
    "MemberRole",
    "MemberSpec",
    "MemberState",
    "Plan",
    "Policy",
    "Probe",
    "Provider",
    "Rate",
    "RouteSpec",
    "SecurityAssociation",
    "Served",
    "Spill",
    "TeamConfig",
    "TeamSpec",
    "TeamState",
    "UdpEncap",
    "features",
]
