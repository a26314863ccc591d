"""The model and the modes as a typed program uses them. mypy reads this; nothing runs it."""

from typing import assert_type

from esprit import _native, config
from esprit.model import (
    Feature,
    MemberSpec,
    MemberState,
    Plan,
    Policy,
    SecurityAssociation,
    TeamConfig,
    TeamState,
    features,
)
from esprit.model.event import LinkChanged
from esprit.modes import Decision, Notice, decide


def a_mode_is_a_function(plane: _native.DataPlane) -> None:
    """From what is known and what happened to a Plan, which the data plane takes as it is."""
    state = TeamState(id=0, members=(MemberState(id=1, interface="eth1", link="up"),))
    decision = decide(state, LinkChanged(member=1, up=False, epoch=3))
    assert_type(decision, Decision)
    assert_type(decision.plan, Plan)
    assert_type(decision.notices, tuple[Notice, ...])
    assert_type(decision.plan.to_native(), _native.Plan)
    plane.publish(decision.plan.to_native())
    assert_type(features(decision.state), tuple[Feature, ...])


def a_file_becomes_the_model(plane: _native.DataPlane) -> None:
    """Names in, numbers given by the caller, plain dicts out; the key goes beside its SA."""
    found = config.load("team0.toml")
    assert_type(found, TeamConfig)
    assert_type(found.members, tuple[MemberSpec, ...])
    assert_type(found.policies, tuple[Policy, ...])
    for number, sa in enumerate(found.sas):
        assert_type(sa, SecurityAssociation)
        native = sa.to_native(id=number, team=0, member=None, policy=None, seq=1, granted=1)
        plane.sa_add(native, sa.key.reveal())
    for number, (engine, interface) in enumerate(found.all_engines()):
        assert_type(interface, str | None)
        plane.engine_add(engine.to_native(id=number, member=None))
    if config.diff(found, found).settings:
        raise AssertionError
