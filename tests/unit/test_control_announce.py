"""Announcement frames, read back by an independent implementation."""

import ipaddress
from typing import Any

import pytest

from esprit.control.announce import announcements

MAC = "02:00:5e:10:00:01"


def _scapy() -> Any:  # noqa: ANN401 - an untyped package
    return pytest.importorskip("scapy.all")


def test_an_ipv4_address_is_announced_by_gratuitous_arp() -> None:
    scapy = _scapy()
    (frame,) = announcements(MAC, [ipaddress.ip_address("192.0.2.1")])
    packet = scapy.Ether(frame)
    assert (packet.src, packet.dst) == (MAC, "ff:ff:ff:ff:ff:ff")
    arp = packet[scapy.ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.pdst) == (1, MAC, "192.0.2.1", "192.0.2.1")
    assert len(frame) == 60


def test_an_ipv6_address_is_announced_by_unsolicited_advertisement() -> None:
    scapy = _scapy()
    (frame,) = announcements(MAC, [ipaddress.ip_address("2001:db8::1")])
    packet = scapy.Ether(frame)
    advertisement = packet[scapy.ICMPv6ND_NA]
    assert packet[scapy.IPv6].hlim == 255
    assert packet.dst == "33:33:00:00:00:01"
    assert (advertisement.tgt, advertisement.O, advertisement.S) == ("2001:db8::1", 1, 0)
    assert packet[scapy.ICMPv6NDOptDstLLAddr].lladdr == MAC
    stated = advertisement.cksum
    del packet[scapy.ICMPv6ND_NA].cksum
    assert scapy.Ether(bytes(packet))[scapy.ICMPv6ND_NA].cksum == stated


def test_a_team_without_addresses_still_teaches_the_switches() -> None:
    (frame,) = announcements(MAC, [])
    assert frame[:6] == b"\xff" * 6
    assert frame[6:12].hex(":") == MAC


def test_every_address_has_its_frame() -> None:
    addresses = [ipaddress.ip_address(text) for text in ("192.0.2.1", "192.0.2.2", "fe80::1")]
    assert len(announcements(MAC, addresses)) == 3
