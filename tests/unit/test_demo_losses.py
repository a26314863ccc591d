"""Packets lost, as the counters of both ends of an SA tell it."""

from typing import cast

from esprit.daemon.resources import SaResource
from esprit.demo.losses import Losses, drops


def sender(spi: int, following: int) -> SaResource:
    return cast("SaResource", {"spi": f"{spi:#010x}", "dir": "out", "seq": following})


def receiver(spi: int, top: int, packets: int) -> SaResource:
    found = {"spi": f"{spi:#010x}", "dir": "in", "seq": top, "packets": packets}
    return cast("SaResource", found)


def test_what_is_under_way_is_not_lost() -> None:
    losses = Losses()
    losses.look([sender(1, 101), receiver(1, 90, 90)])
    assert losses.total == 0


def test_numbers_that_never_came_are_lost() -> None:
    losses = Losses()
    losses.look([sender(1, 101), receiver(1, 90, 83)])
    assert losses.total == 7


def test_the_last_packets_of_an_sa_at_rest_are_lost_too() -> None:
    losses = Losses()
    for _ in range(2):
        losses.look([sender(1, 101), receiver(1, 90, 90)])
    assert losses.total == 10


def test_late_packets_are_not_lost_after_all() -> None:
    losses = Losses()
    for packets in (90, 90, 100):
        losses.look([sender(1, 101), receiver(1, 90 if packets == 90 else 100, packets)])
    assert losses.total == 0


def test_a_deleted_sa_keeps_its_losses() -> None:
    losses = Losses()
    losses.look([sender(1, 101), receiver(1, 100, 95), sender(2, 1), receiver(2, 0, 0)])
    losses.look([sender(2, 11), receiver(2, 10, 10)])
    assert (losses.total, losses.accepted) == (5, 105)


def test_drops_are_added_by_reason() -> None:
    assert drops({"looped": 2, "no-sa": 0}, {"looped": 1}) == {"looped": 3}
