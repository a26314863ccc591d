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
from esprit.model.spec import (
    EngineSpec,
    MemberSpec,
    ProbeSpec,
    RouteSpec,
    TeamConfig,
    TeamSpec,
)
from esprit.model.state import (
    Capabilities,
    EngineState,
    Load,
    MemberState,
    Rate,
    TeamState,
    Test,
)

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
    "Load",
    "Mask",
    "MemberRole",
    "MemberSpec",
    "MemberState",
    "Plan",
    "Policy",
    "Probe",
    "ProbeSpec",
    "Provider",
    "Rate",
    "RouteSpec",
    "SecurityAssociation",
    "Served",
    "Spill",
    "TeamConfig",
    "TeamSpec",
    "TeamState",
    "Test",
    "UdpEncap",
    "features",
]
