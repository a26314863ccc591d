"""The third column: a member's engine is made as the config has it, and tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from esprit.errors import EngineRefused
from esprit.inventory.features import Column

if TYPE_CHECKING:
    from esprit.model import EngineSpec


def proved(spec: EngineSpec) -> dict[str, Column]:
    """A line for each cipher of an engine: a test of it was made, and passed or failed.

    The engine is made in this process, beside any team that runs; it is gone afterwards.
    """
    from esprit.crypto import Pool

    passed: set[tuple[str, str]] = set()
    try:
        with Pool([spec]) as pool:
            report = pool.report(spec.name)
    except EngineRefused:
        made = False
    else:
        made = True
        passed = {(rate["algorithm"], rate["direction"]) for rate in report["rates"]}
    return {
        line(cipher): Column(
            advertised=True,
            accepted=made,
            verified={(cipher, "seal"), (cipher, "open")} <= passed,
        )
        for cipher in spec.algorithms
    }


def declared(spec: EngineSpec) -> dict[str, Column]:
    """The same without a test: what the engine says of itself."""
    return {line(cipher): Column(advertised=True, accepted=False) for cipher in spec.algorithms}


def line(cipher: str) -> str:
    """The feature's name; nobody's ``ethtool -k`` has it."""
    return f"engine-{cipher}"
