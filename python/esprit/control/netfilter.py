"""Members shut to the host stack: one nftables table, ``netdev esprit``.

For each member an ingress and an egress chain with policy drop; egress accepts the mark
that the data plane's sockets bear. Ingress drops what the host's stack would take (the data
plane's socket sees frames before that); egress drops what the host's stack would send by
itself, such as router solicitations. The table is tied to no process: when ours dies, the
members stay shut.
"""

import asyncio
import re
import shutil

from esprit.errors import NetfilterRefused

TABLE = "esprit"
# SO_MARK of the data plane's sockets: "ESPR" in ASCII.
MARK = 0x45535052
# Before every other ingress hook, so that nobody else's table sees the team's frames.
_PRIORITY = -500

_CHAIN = re.compile(
    r"chain (?P<name>\S+) \{\s*"
    r"type filter hook (?P<hook>ingress|egress) "
    r"devices?(?: =)? (?P<devices>\{[^}]*\}|\"[^\"]*\"|\S+) "
    r"priority [^;]+; policy (?P<policy>\w+);(?P<rules>[^}]*)\}"
)


def chain_names(interface: str) -> tuple[str, str]:
    """The names of a member's ingress and egress chain.

    nft takes letters, digits, dots, dashes and underscores in a name; an interface with
    another character in its name goes by the hexadecimal form.
    """
    plain = re.fullmatch(r"[A-Za-z0-9_.-]+", interface) is not None
    stem = interface if plain else interface.encode().hex()
    return f"in-{stem}", f"out-{stem}"


def shut_script(interface: str) -> str:
    """The transaction that shuts an interface, whether or not it was shut before.

    Deleting and adding in one transaction never opens a gap: the new hook with its drop
    policy stands before the old one goes.
    """
    ingress, egress = chain_names(interface)
    lines = [f"add table netdev {TABLE}"]
    for name, hook in ((ingress, "ingress"), (egress, "egress")):
        declaration = (
            f"add chain netdev {TABLE} {name} {{ type filter hook {hook} "
            f'device "{interface}" priority {_PRIORITY}; policy drop; }}'
        )
        lines += [f"add chain netdev {TABLE} {name}", f"delete chain netdev {TABLE} {name}"]
        lines.append(declaration)
    lines.append(f"add rule netdev {TABLE} {egress} meta mark {MARK:#x} accept")
    return "\n".join(lines) + "\n"


def open_script(interface: str) -> str:
    """The transaction that removes a member's chains."""
    ingress, egress = chain_names(interface)
    lines = [f"add table netdev {TABLE}"]
    for name in (ingress, egress):
        lines += [f"add chain netdev {TABLE} {name}", f"delete chain netdev {TABLE} {name}"]
    return "\n".join(lines) + "\n"


def shut_interfaces(listing: str) -> set[str]:
    """The interfaces that a listing of the table shows to be shut in both directions."""
    hooks: dict[str, set[str]] = {}
    for chain in _CHAIN.finditer(listing):
        if chain["policy"] != "drop":
            continue
        # An egress chain without our rule is dumb; anything more than it, or anything at all
        # in the ingress chain, may let something through.
        wanted = f"meta mark {MARK:#010x} accept" if chain["hook"] == "egress" else ""
        if chain["rules"].strip() != wanted:
            continue
        for device in re.findall(r'"([^"]+)"|([^\s{},"]+)', chain["devices"]):
            hooks.setdefault(device[0] or device[1], set()).add(chain["hook"])
    return {device for device, seen in hooks.items() if seen == {"ingress", "egress"}}


async def _nft(*arguments: str, script: str | None = None) -> str:
    program = shutil.which("nft")
    if program is None:
        raise NetfilterRefused(
            "nft", "is not installed", remedy="install the package nftables and start again"
        )
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, complaint = await process.communicate(None if script is None else script.encode())
    if process.returncode != 0:
        lines = complaint.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise NetfilterRefused(
            "nft", lines[0], remedy="run as root, on a kernel with nf_tables' netdev egress (5.16)"
        )
    return out.decode(errors="replace")


async def listing() -> str:
    """The table as nft prints it; empty when there is none."""
    tables = await _nft("list", "tables", "netdev")
    if f"table netdev {TABLE}" not in tables.splitlines():
        return ""
    return await _nft("list", "table", "netdev", TABLE)


async def is_shut(interface: str) -> bool:
    """Whether an interface is shut in both directions now."""
    return interface in shut_interfaces(await listing())


async def shut(interface: str) -> None:
    """Shut an interface to the host stack in both directions."""
    await _nft("-f", "-", script=shut_script(interface))


async def reopen(interface: str) -> None:
    """Give an interface back to the host stack; the table goes with its last chain."""
    await _nft("-f", "-", script=open_script(interface))
    if "chain" not in await listing():
        await _nft("delete", "table", "netdev", TABLE)
