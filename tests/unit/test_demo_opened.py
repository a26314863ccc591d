"""Sampled frames are opened by Scapy; here they are made by the `cryptography` package alone."""

import itertools
import struct
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from esprit.demo.opened import Key, open_samples, packets

CANARY = b"canary, 16 bytes"
SRC, DST = "10.77.0.1", "10.77.0.2"
MACS = bytes.fromhex("020000000002020000000001")


def address(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


def ipv4(protocol: int, payload: bytes, src: str = SRC, dst: str = DST) -> bytes:
    length = 20 + len(payload)
    fields = struct.pack(">BBHHHBBH", 0x45, 0, length, 7, 0, 64, protocol, 0)
    return fields + address(src) + address(dst) + payload


def esp(key: Key, seq: int, plain: bytes, next_header: int) -> bytes:
    """RFC 4303 section 2 and RFC 4106, from the text."""
    pad = -(len(plain) + 2) % 4
    plain += bytes(range(1, pad + 1)) + bytes((pad, next_header))
    iv = struct.pack(">Q", seq)
    aad = struct.pack(">IQ", key.spi, seq) if key.esn else struct.pack(">II", key.spi, seq)
    sealed = AESGCM(key.material[:-4]).encrypt(key.material[-4:] + iv, plain, aad)
    return struct.pack(">II", key.spi, seq) + iv + sealed


def udp(payload: bytes) -> bytes:
    return struct.pack(">HHHH", 4500, 4500, 8 + len(payload), 0) + payload


def ethernet(packet: bytes, *vlans: int) -> bytes:
    tags = b"".join(struct.pack(">HH", 0x8100, vlan) for vlan in vlans)
    return MACS + tags + b"\x08\x00" + packet


def key(spi: int, **changes: bool) -> Key:
    kind: dict[str, bool] = {"tunnel": False, "udp": False} | changes
    return Key(spi=spi, material=bytes(range(20)), src=SRC, dst=DST, **kind)


@pytest.mark.parametrize("esn", [True, False])
@pytest.mark.parametrize("tunnel", [True, False])
def test_a_native_packet_opens_and_shows_the_canary(esn: bool, tunnel: bool) -> None:
    sa = key(0x1001, esn=esn, tunnel=tunnel)
    segment = b"\x1f\x90" * 10 + b"x" * 300 + CANARY
    inner = ipv4(6, segment, "10.78.0.1", "10.78.0.2") if tunnel else segment
    frame = ethernet(ipv4(50, esp(sa, 9, inner, 4 if tunnel else 6)))
    result = open_samples([(0, frame)], {sa.spi: sa}, CANARY)
    assert (result.native, result.canaries, result.failures) == (1, 1, [])


def test_a_super_frame_is_cut_into_its_packets() -> None:
    sa = key(0x2001, udp=True)
    sealed = [esp(sa, n, b"\0" * 20 + b"y" * 200 + CANARY, 6) for n in (1, 2, 3)]
    sealed.append(esp(sa, 4, b"\0" * 20 + CANARY, 6))
    frame = ethernet(ipv4(17, udp(b"".join(sealed))), 7)
    result = open_samples([(len(sealed[0]), frame)], {sa.spi: sa}, CANARY)
    assert (result.encapsulated, result.tagged, result.canaries) == (4, 4, 4)
    assert result.failures == []


def test_a_wrong_key_opens_nothing() -> None:
    sa = key(0x1001)
    other = Key(spi=sa.spi, material=bytes(20), tunnel=False, udp=False, src=SRC, dst=DST)
    frame = ethernet(ipv4(50, esp(sa, 1, CANARY * 20, 6)))
    result = open_samples([(0, frame)], {sa.spi: other}, CANARY)
    assert result.total == 0
    assert len(result.failures) == 1


def test_an_altered_packet_does_not_open() -> None:
    sa = key(0x1001)
    frame = bytearray(ethernet(ipv4(50, esp(sa, 1, CANARY * 20, 6))))
    frame[80] ^= 1
    result = open_samples([(0, bytes(frame))], {sa.spi: sa}, CANARY)
    assert (result.total, len(result.failures)) == (0, 1)


def test_an_unknown_spi_is_foreign() -> None:
    sa = key(0x1001)
    frame = ethernet(ipv4(50, esp(sa, 1, CANARY * 20, 6)))
    assert open_samples([(0, frame)], {}, CANARY).foreign == 1


def plain_frames() -> Iterator[bytes]:
    yield ethernet(ipv4(6, CANARY * 20))
    yield ethernet(ipv4(17, udp(b"\0\0\0\0 an IKE message")))
    yield MACS + b"\x08\x06" + bytes(28)
    yield b""
    yield MACS


@pytest.mark.parametrize("frame", list(plain_frames()))
def test_what_is_not_esp_has_no_packets(frame: bytes) -> None:
    assert list(packets(frame, 0)) == []


def test_no_prefix_of_a_frame_raises() -> None:
    frame = ethernet(ipv4(17, udp(esp(key(0x2001, udp=True), 1, CANARY * 4, 6))), 7, 8)
    counts = [len(list(packets(frame[:end], 0))) for end in range(len(frame) + 1)]
    assert counts[-1] == 1
    assert all(a <= b for a, b in itertools.pairwise(counts))
