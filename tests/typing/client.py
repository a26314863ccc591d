"""The importable face as a user writes it, for type checkers only: nothing here is run."""

from collections.abc import Mapping

import esprit


async def watch() -> None:
    """The example of the design."""
    async with esprit.connect("team0") as team:
        async for event in team.events():
            print(event["kind"])  # noqa: T201
        await team.members["eth2"].remove()


async def change(team: esprit.Team, sa: Mapping[str, object]) -> list[str]:
    """Every noun with what can be done to it."""
    member: esprit.Member = team.members["eth1"]
    engine: esprit.Engine = team.engines["cores"]
    association: esprit.SecurityAssociation = team.sas["out"]
    policy: esprit.Policy = team.policies["all"]
    await engine.fault("late", 50)
    await engine.reset()
    await association.replace(sa)
    await policy.delete()
    await team.add_member({"interface": "eth3"}, force=False)
    await team.set_mode("balance-alb")
    try:
        await team.refresh()
    except esprit.EspritError as error:
        return [error.subject, error.message, error.remedy]
    return [member.role, member.ifname]
