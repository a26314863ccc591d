"""How values are written in the file, and what they mean.

Every parser takes what TOML gave and raises :class:`PydanticCustomError` with the fault and its
remedy. None quotes a key.
"""

from __future__ import annotations

import re
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    NetmaskValueError,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Annotated, Final, LiteralString

from pydantic import BeforeValidator, PlainValidator
from pydantic_core import PydanticCustomError

from esprit.model.key import Key
from esprit.model.security import SPI_MAX, SPI_MIN

#: IANA's protocol numbers that people write by name.
PROTOCOLS: Final = {
    "icmp": 1,
    "tcp": 6,
    "udp": 17,
    "gre": 47,
    "icmpv6": 58,
    "ipv6-icmp": 58,
    "sctp": 132,
}
#: Protocols whose headers begin with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
WITH_PORTS: Final = frozenset({6, 17, 33, 132, 136})

#: IFNAMSIZ of linux/if.h, less the closing zero.
IFNAME_MAX: Final = 15

_NUMBER: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([^\d\s.]*)\s*")
_BITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_NANOSECONDS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9}
_BYTES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def fault(message: str, remedy: LiteralString) -> PydanticCustomError:
    """An error of ours, with a remedy, as pydantic collects them."""
    return PydanticCustomError(
        "esprit", "{message}; {remedy}", {"message": message, "remedy": remedy}
    )


def _scaled(value: object, units: dict[str, int], remedy: LiteralString) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and "" in units:
        return value
    if not isinstance(value, str):
        raise fault("is not written as it should be", remedy)
    match = _NUMBER.fullmatch(value)
    unit = match[2] if match else ""
    factor = units.get(unit) if unit in units else units.get(unit.lower())
    if match is None or factor is None:
        raise fault(f"{value!r} is not written as it should be", remedy)
    # Through text, for 2.3G is no binary fraction.
    whole, _, fraction = match[1].partition(".")
    parts: int = 10 ** len(fraction)
    scaled, rest = divmod(int(whole + fraction) * factor, parts)
    if rest:
        raise fault(f"{value!r} is no whole number of the smallest unit", remedy)
    return scaled


def rate(value: object) -> int:
    """Bits per second: a number, or text such as "10G", "2.5Gbit", "800M"."""
    remedy: LiteralString = 'write bits per second, such as "10G" or "800M"'
    if isinstance(value, str):
        value = re.sub(r"(?i)bit(/s)?\s*$|bps\s*$", "", value)
    found = _scaled(value, _BITS, remedy)
    if found <= 0:
        raise fault("is no rate above zero", remedy)
    return found


def duration(value: object) -> int:
    """Nanoseconds, from text with a unit: "20us", "5ms"; a bare 0 is no time in any unit."""
    if value in (0, "0") and not isinstance(value, bool):
        return 0
    return _scaled(value, _NANOSECONDS, 'write a time with its unit, such as "20us" or "5ms"')


def sampling(value: object) -> int:
    """Of how many sealed jobs one is opened again: 1 is all, 0 is none."""
    if value in ("all", "off"):
        return 1 if value == "all" else 0
    match = re.fullmatch(r"sample:1/([1-9]\d{0,8})", value) if isinstance(value, str) else None
    if match is None:
        raise fault("is no way to verify", 'write "sample:1/1000", "all" or "off"')
    return int(match[1])


def size(value: object) -> int:
    """Bytes: a number, or text such as "64K" (1024 each)."""
    remedy: LiteralString = 'write bytes, such as 65536 or "64K"'
    if isinstance(value, str):
        value = re.sub(r"(?i)(?<=[kmg])i?b\s*$", "", value)
    found = _scaled(value, _BYTES, remedy)
    if found <= 0:
        raise fault("is no size above zero", remedy)
    return found


def interface_name(value: object) -> str:
    """The name of an interface, as the kernel takes them (dev_valid_name)."""
    if not isinstance(value, str):
        raise fault("is not text", 'write the interface\'s name in quotes, such as "eth1"')
    bad = any(c.isspace() or c in "/:%" for c in value)
    if bad or value in ("", ".", "..") or len(value.encode()) > IFNAME_MAX:
        raise fault(
            f"{value!r} is no name of an interface",
            "use 1 to 15 characters without blanks, slashes, colons and percent signs",
        )
    return value


def object_name(value: object) -> str:
    """The name of an engine, an SA or a policy: what goes into a URL's path and a table."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.@:+-]{1,64}", value):
        raise fault("is no name", "use 1 to 64 letters, digits and the characters _ . @ : + -")
    return value


def mac(value: object) -> str:
    """A unicast Ethernet address, in small letters."""
    remedy: LiteralString = 'write a unicast address such as "02:00:5e:10:00:01"'
    if not isinstance(value, str) or not re.fullmatch(
        r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}", value
    ):
        raise fault("is no Ethernet address", remedy)
    if int(value[:2], 16) & 1 or set(value) <= set("0:-"):
        raise fault(f"{value} is no address of one host", remedy)
    return value.lower().replace("-", ":")


def address(value: object) -> IPv4Address | IPv6Address:
    """The address of one host."""
    remedy: LiteralString = 'write an address of one host, such as "192.0.2.1" or "2001:db8::1"'
    try:
        found = ip_address(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None:
        raise fault("is no IP address", remedy)
    if found.is_multicast or found.is_unspecified:
        raise fault(f"{found} is no address of one host", remedy)
    if isinstance(found, IPv6Address) and found.scope_id is not None:
        raise fault("has a zone", "leave out the part from the percent sign on")
    return found


def network(value: object) -> IPv4Network | IPv6Network:
    """A network without host bits, or one address."""
    remedy: LiteralString = 'write a network such as "10.0.0.0/24", or one address'
    if not isinstance(value, str):
        raise fault("is no network", remedy)
    try:
        return ip_network(value)
    except (AddressValueError, NetmaskValueError):
        raise fault(f"{value!r} is no network", remedy) from None
    except ValueError:
        pass
    try:
        meant = ip_network(value, strict=False)
    except ValueError:
        raise fault(f"{value!r} is no network", remedy) from None
    raise PydanticCustomError(
        "esprit",
        "{message}; write {meant}",
        {"message": f"{value} has bits beyond its prefix", "meant": f'"{meant}"'},
    )


def destination(value: object) -> IPv4Network | IPv6Network | None:
    """Where a route leads; None is ``default``, whose family is that of its next hop."""
    return None if value == "default" else network(value)


def interface_address(value: object) -> IPv4Interface | IPv6Interface:
    """An address with its prefix length, for the virtual NIC."""
    remedy: LiteralString = 'write an address with its prefix length, such as "10.0.0.1/24"'
    if not isinstance(value, str) or "/" not in value:
        raise fault("is no address with a prefix length", remedy)
    try:
        found = ip_interface(value)
    except ValueError:
        raise fault(f"{value!r} is no address with a prefix length", remedy) from None
    if found.ip.is_multicast or found.ip.is_unspecified:
        raise fault(f"{found.ip} is no address of one host", remedy)
    return found


def protocol(value: object) -> int:
    """A transport protocol by IANA's name or number."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255:
        return value
    found = PROTOCOLS.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise fault("is no protocol", 'write "tcp", "udp", "icmp", "icmpv6", "sctp" or a number')
    return found


def ports(value: object) -> tuple[int, int]:
    """First and last port: a number, text such as "8000-8080", or a pair."""
    remedy: LiteralString = 'write a port, a range such as "8000-8080", or a pair of ports'
    if isinstance(value, int):
        parts: list[object] = [value, value]
    elif isinstance(value, str):
        first, dash, last = value.partition("-")
        parts = [
            int(p) if p.strip().isdecimal() else None for p in (first, last if dash else first)
        ]
    elif isinstance(value, list):
        parts = list(value)
    else:
        parts = []
    numbers = [p for p in parts if isinstance(p, int) and not isinstance(p, bool)]
    if len(parts) != 2 or len(numbers) != 2:
        raise fault("is no port or range of ports", remedy)
    if not 0 <= numbers[0] <= numbers[1] <= 65535:
        raise fault("is no range of ports from low to high, up to 65535", remedy)
    return numbers[0], numbers[1]


def spi(value: object) -> int:
    """A security parameter index: a number, or text such as "0x1001"."""
    if isinstance(value, str):
        try:
            value = int(value, 0)
        except ValueError:
            value = None
    if not isinstance(value, int) or isinstance(value, bool):
        raise fault("is no SPI", 'write a number such as 0x1001 or "0x1001"')
    if not SPI_MIN <= value <= SPI_MAX:
        raise fault(
            f"{value} is reserved or too large (RFC 4303, section 2.1)",
            "choose one from 256 to 4294967295",
        )
    return value


def key(value: object) -> Key:
    """Key material in hexadecimal. Nothing of it is ever part of a message."""
    remedy: LiteralString = (
        "write 20 bytes (AES-128) or 36 bytes (AES-256) in hexadecimal, the last 4 being the salt"
    )
    if isinstance(value, Key):
        return value
    if not isinstance(value, str):
        raise fault("is not text", remedy)
    try:
        return Key.from_hex(value)
    except ValueError as error:
        raise fault(str(error), remedy) from None


Rate = Annotated[int, BeforeValidator(rate)]
Duration = Annotated[int, BeforeValidator(duration)]
Sampling = Annotated[int, BeforeValidator(sampling)]
Size = Annotated[int, BeforeValidator(size)]
InterfaceName = Annotated[str, BeforeValidator(interface_name)]
ObjectName = Annotated[str, BeforeValidator(object_name)]
Mac = Annotated[str, BeforeValidator(mac)]
Address = Annotated[IPv4Address | IPv6Address, PlainValidator(address)]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(network)]
Destination = Annotated[IPv4Network | IPv6Network | None, PlainValidator(destination)]
InterfaceAddress = Annotated[IPv4Interface | IPv6Interface, PlainValidator(interface_address)]
Protocol = Annotated[int, BeforeValidator(protocol)]
Ports = Annotated[tuple[int, int], PlainValidator(ports)]
Spi = Annotated[int, BeforeValidator(spi)]
KeyText = Annotated[Key, PlainValidator(key)]
