"""How values are written in the file."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from esprit.config import values
from esprit.model import Key

Parser = Callable[[object], object]


@pytest.mark.parametrize(
    ("parse", "text", "meant"),
    [
        (values.rate, "10G", 10**10),
        (values.rate, "2.5Gbit", 2_500_000_000),
        (values.rate, "2.3G", 2_300_000_000),
        (values.rate, "800 Mbit/s", 800_000_000),
        (values.rate, "9600", 9600),
        (values.rate, 9600, 9600),
        (values.duration, "20us", 20_000),
        (values.duration, "20µs", 20_000),
        (values.duration, "1.5ms", 1_500_000),
        (values.duration, "0ns", 0),
        (values.duration, "1s", 10**9),
        (values.size, "64K", 65536),
        (values.size, "4MiB", 4 << 20),
        (values.size, "4MB", 4 << 20),
        (values.size, 100, 100),
        (values.ports, 80, (80, 80)),
        (values.ports, "80", (80, 80)),
        (values.ports, "80-90", (80, 90)),
        (values.ports, [80, 90], (80, 90)),
        (values.spi, "0x1001", 0x1001),
        (values.spi, 4096, 4096),
        (values.protocol, "TCP", 6),
        (values.protocol, "icmpv6", 58),
        (values.protocol, 0, 0),
        (values.mac, "02:00:5E:10:00:0A", "02:00:5e:10:00:0a"),
        (values.mac, "02-00-5e-10-00-0a", "02:00:5e:10:00:0a"),
        (values.interface_name, "eth1", "eth1"),
    ],
)
def test_what_is_written_is_what_is_meant(parse: Parser, text: object, meant: object) -> None:
    assert parse(text) == meant


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (values.rate, "10X"),
        (values.rate, "0G"),
        (values.rate, -1),
        (values.rate, True),
        (values.rate, "1.0000000001k"),
        (values.rate, ""),
        (values.rate, None),
        (values.duration, 20),
        (values.duration, "20"),
        (values.duration, "-1us"),
        (values.size, "64Q"),
        (values.size, 0),
        (values.ports, 70000),
        (values.ports, "90-80"),
        (values.ports, "a-b"),
        (values.ports, [1, 2, 3]),
        (values.ports, True),
        (values.ports, ["80", "90"]),
        (values.spi, 255),
        (values.spi, 0),
        (values.spi, 1 << 32),
        (values.spi, "x"),
        (values.spi, False),
        (values.protocol, "ipx"),
        (values.protocol, 256),
        (values.protocol, True),
        (values.mac, "01:00:5e:00:00:01"),
        (values.mac, "00:00:00:00:00:00"),
        (values.mac, "02:00:5e:10:00"),
        (values.interface_name, ""),
        (values.interface_name, "a" * 16),
        (values.interface_name, "a b"),
        (values.interface_name, "../eth0"),
        (values.interface_name, "eth%d"),
        (values.interface_name, ".."),
        (values.interface_name, 1),
        (values.object_name, "a/b"),
        (values.object_name, ""),
        (values.object_name, "naïve"),
        (values.address, "10.0.0.0/8"),
        (values.address, "224.0.0.1"),
        (values.address, "::"),
        (values.address, "fe80::1%eth0"),
        (values.address, 1),
        (values.network, "10.0.0.1/8"),
        (values.network, "10.0.0.0/33"),
        (values.network, "nonsense"),
        (values.network, 10),
        (values.interface_address, "10.0.0.1"),
        (values.interface_address, "ff02::1/64"),
        (values.interface_address, "10.0.0.1/64"),
    ],
)
def test_what_is_wrong_has_a_remedy(parse: Parser, text: object) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        parse(text)
    fault, _, remedy = caught.value.message().partition("; ")
    assert fault
    assert remedy
    assert "\n" not in caught.value.message()


def test_host_bits_are_told_with_the_network_that_was_meant() -> None:
    with pytest.raises(PydanticCustomError, match=r'write "10\.0\.0\.0/8"'):
        values.network("10.1.2.3/8")


@pytest.mark.parametrize("text", ["ab" * 19, "ab" * 21, "zz" * 20, "", "0x", 12345678901234567890])
def test_a_wrong_key_is_never_quoted(text: object) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        values.key(text)
    message = caught.value.message()
    for part in ("abab", "zzzz", "123456"):
        assert part not in message
    assert "hexadecimal" in message


def test_a_right_key_is_read() -> None:
    assert values.key("ab" * 36) == Key(b"\xab" * 36)


@given(st.integers(1, 10**15))
def test_a_number_of_bits_means_itself(bits: int) -> None:
    assert values.rate(str(bits)) == bits


@given(st.text(max_size=12))
def test_any_text_is_a_value_or_a_fault_of_ours(text: str) -> None:
    for parse in (
        values.rate,
        values.duration,
        values.size,
        values.ports,
        values.spi,
        values.protocol,
        values.mac,
        values.interface_name,
        values.object_name,
        values.address,
        values.network,
        values.interface_address,
        values.key,
    ):
        try:
            parse(text)
        except PydanticCustomError:
            continue
