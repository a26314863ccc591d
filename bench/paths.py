"""The pairs that the bench compares, and how each one's gateways are started."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.lab import ADDRESSES, INNER, WIRE, Setup

TAP = "team0"
YARDSTICK = "raw pair"

#: AES-128 keys with their RFC 4106 salts, from A to B and from B to A. Printed in the clear: they
#: protect nothing but a wire that exists for a minute.
KEYS = ("8f" * 16 + "01020304", "3c" * 16 + "05060708")
SPIS = (0x1001, 0x1002)

#: Where a process keeps its sockets and its journal, and its keys' high-water marks.
_FOLDERS = ("ESPRIT_RUN", "ESPRIT_STATE")

_TEAM = """\
[team]
name = "{tap}"
mode = "active-backup"
address = ["{address}/24", "{inner}/32"]

[[member]]
interface = "{wire}"

[[engine]]
name = "worker"
kind = "cpu"
threads = 0
"""

_POLICY = """
[[policy]]
name = "all"
action = "protect"
local = "{local}/32"
remote = "{remote}/32"
"""

_SA = """
[[sa]]
name = "{direction}"
direction = "{direction}"
spi = {spi}
src = "{src}"
dst = "{dst}"
key = "{key}"
policy = "all"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table."""

    setup: Setup
    #: The share of the raw pair that the path is to reach: printed beside, never a pass mark.
    goal: float | None = None


def rows(*, rawpair: Path, work: Path) -> list[Row]:
    """All rows, the yardstick first. Configuration files are written below `work`."""

    def pump(side: int, names: tuple[str, str]) -> Sequence[str]:
        del side, names
        return [str(rawpair), "pair", TAP, WIRE]

    def cipher(side: int, names: tuple[str, str]) -> Sequence[str]:
        del side, names
        return [str(rawpair), "cipher", TAP, WIRE]

    def relay(side: int, names: tuple[str, str]) -> Sequence[str] | None:
        return [str(rawpair), "relay", TAP, TAP, f"/run/netns/{names[1]}"] if side == 0 else None

    udp = _esprit("esprit ESP in UDP", work, encap="udp")
    native = _esprit("esprit native ESP", work, encap=None)
    plain = _esprit("esprit plain", work, encap=None, protect=False)
    return [
        Row(setup=Setup(name=YARDSTICK, tap=TAP, gateway=pump)),
        Row(setup=udp, goal=0.60),
        Row(setup=native, goal=0.15),
        Row(setup=plain, goal=0.85),
        Row(setup=Setup(name="pair and cipher", tap=TAP, gateway=cipher)),
        Row(setup=Setup(name="TAP relay", tap=TAP, gateway=relay, wire=False)),
    ]


def _esprit(name: str, work: Path, *, encap: str | None, protect: bool = True) -> Setup:
    def gateway(side: int, names: tuple[str, str]) -> Sequence[str]:
        del names
        text = _TEAM.format(tap=TAP, wire=WIRE, address=ADDRESSES[side], inner=INNER[side])
        if protect:
            text += _tunnel(side, encap)
        file = work / f"{name.replace(' ', '-')}-{'ab'[side]}.toml"
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")
        # Two hosts, so two places for what a host remembers.
        folders = [f"{which}={work / f'{file.stem}-{which.lower()}'}" for which in _FOLDERS]
        return ["env", *folders, sys.executable, "-m", "esprit", "up", str(file)]

    return Setup(name=name, tap=TAP, gateway=gateway)


def _tunnel(side: int, encap: str | None) -> str:
    """SAs in both directions and the policy that uses them, as seen from `side`."""
    text = _POLICY.format(local=INNER[side], remote=INNER[1 - side])
    for sender, direction in ((side, "out"), (1 - side, "in")):
        text += _SA.format(
            direction=direction,
            spi=SPIS[sender],
            src=ADDRESSES[sender],
            dst=ADDRESSES[1 - sender],
            key=KEYS[sender],
        )
        if encap is not None:
            text += f'encap = "{encap}"\n'
    return text
