"""An interface's features in three columns that are never mixed up.

What a driver advertises is not what it does, and what it does is not what a test proved.
"""

from __future__ import annotations

from collections.abc import Mapping

from esprit.inventory.ethtool import Offload
from esprit.model.capability import Column

__all__ = ["OF_INTEREST", "Column", "columns", "of_interest"]

#: What is of interest to a team, as ``ethtool -k`` calls it, in the order in which it is shown.
OF_INTEREST = (
    "rx-checksum",
    "tx-checksum-ip-generic",
    "tx-checksum-ipv4",
    "tx-checksum-ipv6",
    "tx-tcp-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
    "rx-gro",
    "rx-gro-hw",
    "rx-udp-gro-forwarding",
    "esp-hw-offload",
    "esp-tx-csum-hw-offload",
    "tx-esp-segmentation",
)


def columns(found: Mapping[str, Offload]) -> dict[str, Column]:
    """What a driver has and does, with nothing verified."""
    return {
        name: Column(advertised=one.advertised, accepted=one.active) for name, one in found.items()
    }


def of_interest(found: Mapping[str, Column]) -> dict[str, Column]:
    """Those of :data:`OF_INTEREST` that the kernel knows, in that order."""
    return {name: found[name] for name in OF_INTEREST if name in found}
