"""What happens during a run, as by an operator or a hot swap."""

from collections import Counter
from dataclasses import replace

import pytest

from esprit import sim
from esprit.errors import ConfigInvalid
from esprit.sim.run import Run
from esprit.sim.scenario import Scenario

TEAM = """
name = "happens"
duration = "12ms"
[team]
name = "team0"
mode = "balance-alb"
[team.sas]
bundle = true
[[team.member]]
interface = "eth1"
engine = { kind = "asic", rate = "10G" }
[[team.member]]
interface = "eth2"
engine = { kind = "asic", rate = "10G" }
[[team.member]]
interface = "eth3"
joins = true
engine = { kind = "asic", rate = "10G" }
[[engine]]
name = "card"
kind = "asic"
rate = "10G"
joins = true
[[traffic]]
name = "all"
rate = "1G"
flows = 64
"""


def read(*faults: str) -> Scenario:
    return sim.read(TEAM + "".join(f"[[fault]]\n{fault}\n" for fault in faults))


def bundle(run: Run) -> list[tuple[int | None, int]]:
    """The first policy's SAs, with the members that they go by."""
    (policies,) = run.host.policies.values()
    return [(entry["member"], entry["sa"]) for entry in policies[0]["sas"]]


def test_a_member_takes_another_s_place_and_its_sas() -> None:
    run = Run(read('at = "4ms"\nkind = "replace"\nmember = "eth2"\nby = "eth3"'))
    before = dict(bundle(run))
    report = run.through()
    members = run.host.members
    assert report.violation is None
    assert report.figures["drops"] == 0
    assert bundle(run) == [
        (members["eth1"], before[members["eth1"]]),
        (members["eth3"], before[members["eth2"]]),
    ]
    (state,) = run.host.states.values()
    assert [member.interface for member in state.members] == ["eth1", "eth3"]
    assert report.figures["member.eth3.share"] > 0.2
    assert "eth2-asic" not in run.host.engines


def test_a_member_whose_interface_is_back_joins_anew() -> None:
    run = Run(
        read(
            'at = "3ms"\nkind = "vanish"\nmember = "eth2"',
            'at = "6ms"\nkind = "add"\nmember = "eth2"',
        )
    )
    assert run.through().violation is None
    member = run.host.members["eth2"]
    (state,) = run.host.states.values()
    known = state.member(member)
    assert known is not None
    assert known.link == "up"
    jobs = run.host.native.snapshot()["members"][member]["tx"]["packets"]
    gone = Run(read('at = "3ms"\nkind = "vanish"\nmember = "eth2"'))
    gone.through()
    assert jobs > gone.host.native.snapshot()["members"][member]["tx"]["packets"]


def test_an_engine_joins_leaves_and_joins_again() -> None:
    late = 'at = "2ms"\nkind = "add"\nengine = "card"'
    assert "engine.card.jobs" not in sim.run(read()).figures
    assert sim.run(read(late)).figures["engine.card.jobs"] >= 0
    away = 'at = "4ms"\nkind = "remove"\nengine = "eth1-asic"'
    once = sim.run(read(away))
    assert "engine.eth1-asic.jobs" not in once.figures
    again = sim.run(read(away, 'at = "5ms"\nkind = "add"\nengine = "eth1-asic"'))
    assert again.violation is None
    assert again.figures["engine.eth1-asic.primary"] > 0


def test_settings_change_while_traffic_runs() -> None:
    settings = '{ delivery = "direct", failback_delay = "2ms", verify = "all", headroom = 1 }'
    run = Run(
        read(
            f'at = "2ms"\nkind = "set"\nsettings = {settings}',
            'at = "4ms"\nkind = "mode"\nword = "active-backup"',
            'at = "6ms"\nkind = "software"\nword = "never"',
        )
    )
    report = run.through()
    assert report.violation is None
    assert report.figures["drops"] == 0
    (state,) = run.host.states.values()
    assert (state.mode, state.software, state.delivery) == ("active-backup", "never", "direct")
    assert (state.failback_delay_ns, state.verify_every, state.headroom) == (2_000_000, 1, 1)
    assert state.plan is not None
    assert len(state.plan.transmit) == 1


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ('kind = "replace"\nmember = "eth1"', "by: is no other member of the team"),
        ('kind = "replace"\nmember = "eth1"\nby = "eth1"', "by: is no other member of the team"),
        ('kind = "set"\nsettings = { colour = 1 }', "colour: is not known here"),
        ('kind = "set"\nsettings = { failback = "soon" }', "failback: does not fit"),
        ('kind = "set"\nsettings = { verify = "some" }', "verify: does not fit (is none; write"),
        ('kind = "add"\nengine = "gone"', "engine: is none of the engines"),
        ('kind = "add"\nmember = "card"', "member: is none of the members"),
    ],
)
def test_what_cannot_happen_is_said_in_one_line(fault: str, line: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        read(f'at = "1ms"\n{fault}')
    assert len(caught.value.lines) == 1
    assert line in caught.value.lines[0]


def test_shares_of_a_full_engine_follow_the_weights_of_the_sas() -> None:
    text = """
        name = "weights"
        duration = "20ms"
        [team]
        name = "team0"
        [team.sas]
        policies = 3
        weight = [1, 3]
        [[team.member]]
        interface = "eth1"
        engine = { kind = "asic", rate = "1G" }
        [[traffic]]
        name = "all"
        rate = "6G"
        flows = 3
    """
    scenario = sim.read(text)
    (team,) = scenario.teams

    def shares(*weights: int) -> list[float]:
        """Bytes of each policy's SA, times the first's, while the engine was full."""
        weighed = replace(team, sas=replace(team.sas, weights=weights))
        report = sim.run(replace(scenario, teams=(weighed,)))
        assert report.violation is None
        assert report.figures["drop.engine-full"] > 0
        done: Counter[int] = Counter()
        for job in report.jobs:
            assert isinstance(job["submitted"], int)
            assert isinstance(job["bytes"], int)
            assert isinstance(job["sa"], int)
            # The queue is full by then, and traffic ends later.
            if 5_000_000 < job["submitted"] < scenario.duration:
                done[job["sa"]] += job["bytes"]
        first, *_ = found = [done[sa] for sa in sorted(done)]
        return [one / first for one in found]

    assert team.sas.weights == (1, 3)
    assert shares(1, 3) == pytest.approx([1, 3, 1], rel=0.1)
    assert shares(1) == pytest.approx([1, 1, 1], rel=0.1)


def test_peers_send_where_they_were_told_and_are_told_anew_when_that_is_lost() -> None:
    text = """
        name = "told"
        duration = "10ms"
        [team]
        name = "team0"
        mode = "balance-alb"
        receive = "balance"
        [[team.member]]
        interface = "eth1"
        engine = { kind = "asic", rate = "10G" }
        [[team.member]]
        interface = "eth2"
        [team.sas]
        policies = 32
        [[traffic]]
        name = "in"
        direction = "in"
        asks = true
        rate = "500M"
        flows = 32
        [[fault]]
        at = "5ms"
        kind = "link-down"
        member = "eth2"
    """
    lost = sim.read(text)

    def received(scenario: Scenario, *interfaces: str) -> list[int]:
        run = Run(scenario)
        report = run.through()
        assert report.violation is None
        assert report.figures["delivered"] + report.figures["wire_lost"] == report.figures["sent"]
        seen = run.host.native.snapshot()["members"]
        return [seen[run.host.members[name]]["rx"]["packets"] for name in interfaces] + [
            int(report.figures["wire_lost"])
        ]

    one, two, none = received(replace(lost, faults=()), "eth1", "eth2")
    assert min(one, two) > (one + two) / 5
    assert none == 0
    # Its peers send to the other from then on: what was under way is lost, and nothing more.
    more, less, gone = received(lost, "eth1", "eth2")
    assert more > one
    assert 0 < less < two
    assert gone <= 32
    single = replace(lost.teams[0], settings={"mode": "balance-alb"})
    _, other, _ = received(replace(lost, teams=(single,), faults=()), "eth1", "eth2")
    # The switch did not know yet where the team is when the first packet came.
    assert other <= 1
