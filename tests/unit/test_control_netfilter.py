"""The table that shuts members: what is written, and what counts as shut."""

import pytest

from esprit.control.netfilter import chain_names, open_script, shut_interfaces, shut_script

LISTING = """table netdev esprit {
	chain in-eth1 {
		type filter hook ingress device "eth1" priority -500; policy drop;
	}

	chain out-eth1 {
		type filter hook egress device "eth1" priority -500; policy drop;
		meta mark 0x45535052 accept
	}
}
"""


def test_a_member_with_both_chains_is_shut() -> None:
    assert shut_interfaces(LISTING) == {"eth1"}


def test_newer_nft_prints_a_set_of_devices() -> None:
    assert shut_interfaces(LISTING.replace('device "eth1"', 'devices = { "eth1" }')) == {"eth1"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("priority -500; policy drop;\n\t}", "priority -500; policy accept;\n\t}"),
        ("meta mark 0x45535052 accept", "accept"),
        ("meta mark 0x45535052 accept", ""),
        ("meta mark 0x45535052 accept", "meta mark 0x45535052 accept\n\t\tip protocol icmp accept"),
        ("hook egress", "hook ingress"),
        ('hook ingress device "eth1"', 'hook ingress device "eth2"'),
        ("policy drop;\n\t}", "policy drop;\n\t\taccept\n\t}"),
    ],
)
def test_anything_less_is_open(before: str, after: str) -> None:
    changed = LISTING.replace(before, after, 1)
    assert changed != LISTING
    assert shut_interfaces(changed) == set()


def test_no_table_shuts_nobody() -> None:
    assert shut_interfaces("") == set()


def test_shutting_replaces_what_was_there_in_one_transaction() -> None:
    script = shut_script("eth1")
    lines = script.splitlines()
    for name in chain_names("eth1"):
        added = [
            at for at, line in enumerate(lines) if line.startswith("add chain") and name in line
        ]
        deleted = lines.index(f"delete chain netdev esprit {name}")
        assert added[0] < deleted < added[1]
    assert script.count("policy drop") == 2
    assert lines[-1] == "add rule netdev esprit out-eth1 meta mark 0x45535052 accept"


def test_a_name_that_nft_cannot_spell_goes_by_its_bytes() -> None:
    names = chain_names("wan@home")
    assert all(name.replace("-", "").isalnum() for name in names)
    assert 'device "wan@home"' in shut_script("wan@home")
    assert len({*chain_names("a@b"), *chain_names("a!b")}) == 4


def test_opening_removes_both_chains_also_when_they_are_gone() -> None:
    script = open_script("eth1")
    assert script.count("delete chain") == 2
    assert script.index("add chain") < script.index("delete chain")
