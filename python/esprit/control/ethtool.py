"""Which offloads a team wants of its members.

LRO is off because its merged frames cannot be taken apart again. GRO is on because a veth
or NIC that merges frames saves two thirds of the receive cost, and the virtio-net header
describes what it merged. UDP GRO forwarding does the same for ESP in UDP, which the host's
own sockets never asked for.
"""

from esprit.inventory.ethtool import Offload, features, set_feature, speed

__all__ = ["MEMBER_FEATURES", "Offload", "features", "set_feature", "speed", "wanted_changes"]

# Feature to the value that a member wants, in the order in which they are set.
MEMBER_FEATURES: tuple[tuple[str, bool], ...] = (
    ("rx-lro", False),
    ("rx-gro", True),
    ("rx-udp-gro-forwarding", True),
)


def wanted_changes(interface: str) -> list[tuple[str, bool]]:
    """The features to be set on a member, with their new value: what differs and can change."""
    try:
        present = features(interface)
    except OSError:
        return []
    return [
        (name, value)
        for name, value in MEMBER_FEATURES
        if name in present and present[name].changeable and present[name].active != value
    ]
