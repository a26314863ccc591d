"""The feature list as the control API says it; what a feature is, is the model's business."""

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from esprit.control import ethtool
from esprit.daemon.resources import FeatureResource
from esprit.inventory.features import columns
from esprit.model.capability import Column, Feature
from esprit.model.capability import features as of_team

if TYPE_CHECKING:
    from esprit.control.team import RunningTeam


def features(team: "RunningTeam") -> list[FeatureResource]:
    """Every feature with its value, whether it is fixed, and who provides it."""
    members: dict[int, Mapping[str, Column]] = {}
    for name, member in team.members.items():
        with contextlib.suppress(OSError):  # the interface is gone
            members[member.id] = columns(ethtool.features(name))
    return [_resource(one) for one in of_team(team.state, offloads=team.offloads, members=members)]


def _resource(feature: Feature) -> FeatureResource:
    return {
        "feature": feature.name,
        "value": feature.value,
        "fixed": feature.fixed,
        "providers": [one.name for one in feature.providers if one.gives],
        "candidates": [
            {
                "name": one.name,
                "kind": one.kind,
                "advertised": one.advertised,
                "accepted": one.accepted,
                "verified": one.verified,
            }
            for one in feature.providers
        ],
        "reason": feature.reason,
    }
