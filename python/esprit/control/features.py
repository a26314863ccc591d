"""What the team offers as one NIC, and who provides it: a list like ``ethtool -k``."""

from typing import TYPE_CHECKING

from esprit.daemon.resources import FeatureResource
from esprit.model.key import KEY_LENGTHS

if TYPE_CHECKING:
    from esprit.control.team import RunningTeam

# The TAP's offloads as the data plane names them, and what `ethtool -k` calls them.
_OFFLOADS = (
    ("csum", "tx-checksum-ip-generic"),
    ("tso4", "tx-tcp-segmentation"),
    ("tso6", "tx-tcp6-segmentation"),
    ("tso-ecn", "tx-tcp-ecn-segmentation"),
    ("uso4", "tx-udp-segmentation"),
    ("uso6", "tx-udp6-segmentation"),
)


def features(team: "RunningTeam") -> list[FeatureResource]:
    """Every feature with its value, whether it is fixed, and who provides it."""
    plan = team.state.plan
    grants = plan.grants if plan is not None else ()
    engines = {engine.id: engine for engine in team.host.engines()}
    shared = [one for one in grants if one.secondary is not None and one.engine in engines]
    working = [one for one in grants if one.engine in engines]
    found = []
    for cipher in sorted(set(KEY_LENGTHS.values())):
        providers = [
            engines[one.engine].spec.name
            for one in working
            if cipher in engines[one.engine].verified["capabilities"]["algorithms"]
        ]
        found.append(_feature(f"esp-{cipher}", providers))
    for name, direction in (("esp-seal", "seal"), ("esp-open", "open")):
        providers = [
            engines[one.engine].spec.name
            for one in working
            if (one.seal if direction == "seal" else one.open)
        ]
        found.append(_feature(name, providers))
    esn = [
        engines[one.engine].spec.name
        for one in working
        if engines[one.engine].verified["capabilities"]["esn"]
    ]
    found.append(_feature("esp-extended-sequence-numbers", esn))
    found.append(_feature("esp-udp-encapsulation", ["team"]))
    sharing = [engines[one.engine].spec.name for one in shared]
    found.append(
        _feature("secondary-use-sharing", sharing, reason="needs one engine that works for others")
    )
    found.append(
        _feature(
            "secondary-use-spreading",
            sharing if len(sharing) > 1 else [],
            reason="needs two engines that work for others",
        )
    )
    for offload, name in _OFFLOADS:
        found.append(_feature(name, ["team"] if offload in team.offloads else []))
    found.append(_feature("generic-receive-offload", ["team"]))
    for member in team.members.values():
        own = [member.engine] if member.engine is not None else []
        found.append(
            _feature(
                f"esp-on-{member.spec.interface}",
                own or sharing,
                reason="" if own else "backed up by the team" if sharing else "nobody backs it up",
            )
        )
    found.append(
        {
            "feature": "esp-hw-offload",
            "value": "off",
            "fixed": True,
            "providers": [],
            "reason": "what Linux lets a TAP announce; the SAs and policies are `esprit sa` and"
            " `esprit policy`",
        }
    )
    return found


def _feature(name: str, providers: list[str], *, reason: str = "") -> FeatureResource:
    found: FeatureResource = {
        "feature": name,
        "value": "on" if providers else "off",
        "fixed": False,
        "providers": providers,
    }
    if reason and (not providers or name.startswith("esp-on-")):
        found["reason"] = reason
    return found
