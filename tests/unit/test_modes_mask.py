"""The transmission mask, case by case."""

from dataclasses import replace

from tests.unit.test_modes_plans import TEAM, asic

from esprit.model import Rate, Served
from esprit.model.event import EngineReported, LinkChanged
from esprit.modes import decide


def rates(*pairs: tuple[str, str]) -> tuple[Rate, ...]:
    return tuple(
        Rate(algorithm=algorithm, direction=direction, ns_per_packet=1.0, ns_per_byte=1.0)
        for algorithm, direction in pairs
    )


def test_own_engines_serve_and_others_are_backed_up() -> None:
    mask = decide(TEAM).plan.mask
    assert mask is not None
    both = (
        Served(algorithm="aes-128-gcm-16", own=(1, 3), backed=(2,)),
        Served(algorithm="aes-256-gcm-16", own=(1, 3), backed=(2,)),
    )
    assert (mask.seal, mask.open) == (both, both)


def test_only_what_a_test_proved_is_in_the_mask() -> None:
    proved = rates(("aes-128-gcm-16", "seal"), ("aes-256-gcm-16", "open"))
    state = replace(TEAM, engines=(asic(11, 1, rates=proved),))
    mask = decide(state).plan.mask
    assert mask is not None
    assert mask.seal == (Served(algorithm="aes-128-gcm-16", own=(1,), backed=(2, 3)),)
    assert mask.open == (Served(algorithm="aes-256-gcm-16", own=(1,), backed=(2, 3)),)


def test_the_mask_follows_links_and_engines() -> None:
    state = decide(replace(TEAM, engines=TEAM.engines[:2])).state
    fallen = decide(state, LinkChanged(member=1, up=False, epoch=1))
    assert fallen.plan.mask is not None
    assert fallen.plan.mask.seal[0] == Served(algorithm="aes-128-gcm-16", own=(3,), backed=(2,))
    dead = decide(fallen.state, EngineReported(engine=11, what="hung")).plan
    assert dead.mask is not None
    assert dead.mask.seal[0] == Served(algorithm="aes-128-gcm-16", own=(3,), backed=())
    none = decide(state, EngineReported(engine=11, what="hung")).state
    none = decide(none, EngineReported(engine=13, what="quarantined")).state
    assert none.plan is not None
    assert none.plan.mask is not None
    assert (none.plan.mask.seal, none.plan.ipsec) == ((), False)
