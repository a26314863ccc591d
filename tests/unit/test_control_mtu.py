"""The virtual NIC's MTU: what it allows fits, and a byte more would not."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esprit.control.mtu import IP_MAX, inner_mtu, super_frame_limit, team_mtu
from esprit.model import Key, SecurityAssociation, UdpEncap
from esprit.model.words import SaMode


def _sa(version: int, mode: SaMode, *, udp: bool) -> SecurityAssociation:
    ours, theirs = ("10.0.0.1", "10.0.0.2") if version == 4 else ("fd00::1", "fd00::2")
    return SecurityAssociation(
        name="a",
        direction="out",
        spi=4096,
        src=ip_address(ours),
        dst=ip_address(theirs),
        key=Key(bytes(20)),
        mode=mode,
        encap=UdpEncap() if udp else None,
    )


def _sealed(inner: int, sa: SecurityAssociation) -> int:
    """The length of a sealed packet, counted field by field (RFC 4303, figure 1)."""
    header = 20 if sa.dst.version == 4 else 40
    plain = inner if sa.mode == "tunnel" else inner - header
    padded = plain + 2
    while padded % 4:
        padded += 1
    return header + (8 if sa.encap else 0) + 4 + 4 + 8 + padded + 16


SAS = st.builds(
    _sa, st.sampled_from([4, 6]), st.sampled_from(["tunnel", "transport"]), udp=st.booleans()
)


@given(st.integers(1280, 9216), SAS)
def test_the_largest_packet_fits_and_no_larger_one(outer: int, sa: SecurityAssociation) -> None:
    inner = inner_mtu(outer, sa)
    assert _sealed(inner, sa) <= outer < _sealed(inner + 1, sa)


@given(st.lists(st.integers(1280, 9216), min_size=1, max_size=4), st.lists(SAS, max_size=4))
def test_a_team_takes_what_every_member_and_sa_takes(
    mtus: list[int], sas: list[SecurityAssociation]
) -> None:
    mtu = team_mtu(mtus, sas)
    assert mtu <= min(mtus)
    assert all(_sealed(mtu, sa) <= min(mtus) for sa in sas)


@pytest.mark.parametrize(("udp", "expected"), [(True, 1438), (False, 1446)])
def test_ethernet_with_an_ipv4_tunnel(udp: bool, expected: int) -> None:
    assert team_mtu([1500, 9000], [_sa(4, "tunnel", udp=udp)]) == expected


@given(st.integers(1280, 9216), st.sampled_from([4, 6]))
def test_a_super_frame_leaves_as_one(outer: int, version: int) -> None:
    sa = _sa(version, "tunnel", udp=True)
    limit = super_frame_limit(outer, [sa])
    assert limit is not None
    segments = -(-limit // inner_mtu(outer, sa))
    assert segments * outer <= IP_MAX
    assert super_frame_limit(outer, [_sa(version, "tunnel", udp=False)]) is None
