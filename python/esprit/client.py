"""The importable face of a running team.

```python
import esprit

async with esprit.connect("team0") as team:
    print(team.mode, [member.ifname for member in team.members.values()])
    await team.members["eth2"].remove()
    async for event in team.events():
        print(event["kind"])
```

Everything goes over the team's control socket. What a handle holds is what the daemon said
when it was last asked; :meth:`Team.refresh` asks again.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar, cast
from urllib.parse import quote, urlencode

import httpx

from esprit.control.paths import run_directory, socket_path
from esprit.daemon.resources import (
    API_VERSION,
    DropResource,
    EngineResource,
    ErrorResource,
    EventResource,
    ExplanationResource,
    FeatureResource,
    MemberResource,
    PolicyResource,
    SaResource,
    TeamResource,
)
from esprit.errors import EspritError, NotRunning, from_wire

if TYPE_CHECKING:
    from esprit.crypto.load import LoadResource

Json = Mapping[str, object]
R = TypeVar("R")

# A change may add engines, whose tests and calibration take a few hundred milliseconds
# each, and sync a mark to a slow disk; a daemon that says nothing for this long is stuck.
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Handle(Generic[R]):
    """A resource of a team, with the connection to change it by."""

    _api: "_Api" = field(repr=False, compare=False)
    name: str
    resource: R


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(_Handle[MemberResource]):
    """A member of a team."""

    @property
    def ifname(self) -> str:
        """The interface."""
        return self.resource["ifname"]

    @property
    def up(self) -> bool:
        """Whether its link is up."""
        return self.resource["operstate"] == "UP"

    @property
    def role(self) -> str:
        """What it does now: ``active``, ``waiting``, ``encryption-only``, ``down``."""
        return self.resource["role"]

    @property
    def heard(self) -> bool:
        """Whether it hears the other members, or a neighbour that it asks."""
        return self.resource["heard"]

    async def replace(self, member: Json, *, force: bool = False) -> None:
        """Put another interface in its place: the new one in first, then this one out.

        Args:
            member: as a ``[[member]]`` of the config; what it leaves out is as it was here.
            force: take it even if your own way in goes by it.
        """
        query = "?force=1" if force else ""
        await self._api.put(f"members/{quote(self.name, safe='')}{query}", member)

    async def remove(self) -> None:
        """Take it out of the running team and give the interface back to the host."""
        await self._api.delete(f"members/{quote(self.name, safe='')}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine(_Handle[EngineResource]):
    """An engine of the pool."""

    @property
    def health(self) -> str:
        """What the pool holds of it; ``ok`` is in use."""
        return self.resource["health"]

    @property
    def simulated(self) -> bool:
        """Whether it is a simulated device."""
        return self.resource["simulated"]

    async def reset(self) -> None:
        """Reset it, test it again and admit it again."""
        await self._api.post(f"engines/{quote(self.name, safe='')}/reset", {})

    async def verify(self) -> None:
        """Test it as it is, and admit it again if it passes."""
        await self._api.post(f"engines/{quote(self.name, safe='')}/verify", {})

    async def fault(self, kind: str, value: int = 0) -> None:
        """Inject a fault into a simulated engine; ``heal`` ends them.

        Args:
            kind: die, hang, wrong, late, sag, stick, coalesce, or heal.
            value: wrong: one answer in so many; late: microseconds; coalesce: nanoseconds; sag:
                per cent of its rate that are left.
        """
        await self._api.post(
            f"engines/{quote(self.name, safe='')}/fault", {"fault": kind, "value": value}
        )

    async def remove(self) -> None:
        """Take it out of the pool; its jobs are done again elsewhere."""
        await self._api.delete(f"engines/{quote(self.name, safe='')}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityAssociation(_Handle[SaResource]):
    """A security association. Its key is nowhere here."""

    async def replace(self, sa: Json) -> None:
        """Put another in its place: outbound between two packets, inbound beside it."""
        await self._api.put(f"sas/{quote(self.name, safe='')}", sa)

    async def delete(self) -> None:
        """Delete it."""
        await self._api.delete(f"sas/{quote(self.name, safe='')}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(_Handle[PolicyResource]):
    """A line of the SPD."""

    async def replace(self, policy: Json) -> None:
        """Put another in its place, between two packets."""
        await self._api.put(f"policies/{quote(self.name, safe='')}", policy)

    async def delete(self) -> None:
        """Delete it."""
        await self._api.delete(f"policies/{quote(self.name, safe='')}")


class _Api:
    """Requests and errors of the control API."""

    def __init__(self, team: str, transport: httpx.AsyncBaseTransport) -> None:
        self.team = team
        self._http = httpx.AsyncClient(
            transport=transport,
            base_url=f"http://esprit/{API_VERSION}/",
            timeout=httpx.Timeout(_TIMEOUT_S),
        )

    async def get(self, path: str) -> object:
        return await self._asked("GET", path, None)

    async def post(self, path: str, body: Json) -> object:
        return await self._asked("POST", path, body)

    async def patch(self, path: str, body: Json) -> object:
        return await self._asked("PATCH", path, body)

    async def put(self, path: str, body: Json) -> object:
        return await self._asked("PUT", path, body)

    async def delete(self, path: str) -> None:
        await self._asked("DELETE", path, None)

    async def _asked(self, method: str, path: str, body: Json | None) -> object:
        try:
            answer = await self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise NotRunning(self.team) from error
        return self._read(answer.status_code, answer.content)

    def _read(self, status: int, content: bytes) -> object:
        try:
            found: object = json.loads(content) if content else None
        except ValueError as error:
            raise EspritError(self.team, f"answered {status} without JSON") from error
        if status >= httpx.codes.BAD_REQUEST:
            raise from_wire(cast("ErrorResource", found), subject=self.team)
        return found

    async def events(self) -> AsyncIterator[EventResource]:
        try:
            async with self._http.stream("GET", "events", timeout=None) as answer:
                if answer.status_code >= httpx.codes.BAD_REQUEST:
                    self._read(answer.status_code, await answer.aread())
                async for line in answer.aiter_lines():
                    if line:
                        yield cast("EventResource", json.loads(line))
        except httpx.TransportError as error:
            raise NotRunning(self.team) from error

    async def close(self) -> None:
        await self._http.aclose()


class Team:
    """A running team, over its control socket."""

    def __init__(self, api: _Api) -> None:
        self._api = api
        self._resource: TeamResource | None = None
        self._members: dict[str, Member] = {}
        self._engines: dict[str, Engine] = {}
        self._sas: dict[str, SecurityAssociation] = {}
        self._policies: dict[str, Policy] = {}

    @property
    def resource(self) -> TeamResource:
        """What the daemon said of the team, when it was asked last."""
        if self._resource is None:
            raise NotRunning(self._api.team)
        return self._resource

    @property
    def name(self) -> str:
        """The virtual NIC."""
        return self.resource["ifname"]

    @property
    def mode(self) -> str:
        """``active-backup`` or ``balance-alb``."""
        return self.resource["mode"]

    @property
    def members(self) -> Mapping[str, Member]:
        """Members by interface."""
        return MappingProxyType(self._members)

    @property
    def engines(self) -> Mapping[str, Engine]:
        """Engines by name."""
        return MappingProxyType(self._engines)

    @property
    def sas(self) -> Mapping[str, SecurityAssociation]:
        """Security associations by name."""
        return MappingProxyType(self._sas)

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Policies by name, in the order in which they match."""
        return MappingProxyType(self._policies)

    async def refresh(self) -> "Team":
        """Ask for everything again, and return the team."""
        api = self._api
        team = cast("TeamResource", await api.get("team"))
        engines = cast("list[EngineResource]", await api.get("engines"))
        sas = cast("list[SaResource]", await api.get("sas"))
        policies = cast("list[PolicyResource]", await api.get("policies"))
        self._resource = team
        self._members = {
            found["ifname"]: Member(_api=api, name=found["ifname"], resource=found)
            for found in team["members"]
        }
        self._engines = {
            found["name"]: Engine(_api=api, name=found["name"], resource=found) for found in engines
        }
        self._sas = {
            found["name"]: SecurityAssociation(_api=api, name=found["name"], resource=found)
            for found in sas
        }
        self._policies = {
            found["name"]: Policy(_api=api, name=found["name"], resource=found)
            for found in policies
            if not found["builtin"]
        }
        return self

    async def features(self) -> list[FeatureResource]:
        """What the team offers, and who provides it."""
        return cast("list[FeatureResource]", await self._api.get("features"))

    async def load(self, load: Json) -> "LoadResource":
        """Load the pool with applications' tasks, and say what it managed."""
        return cast("LoadResource", await self._api.post("load", load))

    async def policy_resources(self) -> list[PolicyResource]:
        """The whole SPD in the order in which it matches, the built-in rules first."""
        return cast("list[PolicyResource]", await self._api.get("policies"))

    async def set_mode(self, mode: str) -> None:
        """Change the mode of the running team."""
        await self._api.put("team/mode", {"mode": mode})

    async def set(self, **settings: object) -> None:
        """Change settings of the running team, as ``[team]`` has them, and ``probe``."""
        await self._api.patch("team", settings)

    async def explain(
        self,
        src: str,
        dst: str,
        *,
        proto: str = "udp",
        sport: int | None = None,
        dport: int | None = None,
        length: int | None = None,
    ) -> ExplanationResource:
        """What would become of a packet: policy, SA, member, engine, and why."""
        asked = {
            "src": src, "dst": dst, "proto": proto,
            "sport": sport, "dport": dport, "length": length,
        }  # fmt: skip
        query = urlencode({key: value for key, value in asked.items() if value is not None})
        return cast("ExplanationResource", await self._api.get(f"explain?{query}"))

    async def last_drop(self) -> DropResource:
        """The last packet that was dropped.

        Raises:
            NotFound: none was.
        """
        return cast("DropResource", await self._api.get("last-drop"))

    async def add_member(self, member: Json, *, force: bool = False) -> None:
        """Add a member, as a ``[[member]]`` of the config describes it."""
        await self._api.post("members" + ("?force=1" if force else ""), member)

    async def add_engine(self, engine: Json, *, member: str | None = None) -> None:
        """Add an engine, as an ``[[engine]]`` describes it; it is tested first.

        Args:
            engine: its table; one of a member may leave out the name, as in the config.
            member: the member whose own it is; none: it belongs to no member.
        """
        query = "" if member is None else f"?member={quote(member, safe='')}"
        await self._api.post("engines" + query, engine)

    async def add_sa(self, sa: Json) -> None:
        """Add a security association, as an ``[[sa]]`` describes it."""
        await self._api.post("sas", sa)

    async def add_policy(self, policy: Json, *, before: str | None = None) -> None:
        """Add a policy, at the end or before another."""
        query = "" if before is None else f"?before={quote(before, safe='')}"
        await self._api.post("policies" + query, policy)

    def events(self) -> AsyncIterator[EventResource]:
        """Yield events as they happen, until the team ends."""
        return self._api.events()


class Connection:
    """What :func:`connect` returns: ``async with`` it, and it is the team."""

    def __init__(self, api: _Api) -> None:
        self._api = api

    async def __aenter__(self) -> Team:
        try:
            return await Team(self._api).refresh()
        except BaseException:
            await self._api.close()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._api.close()


def connect(
    team: str | None = None,
    *,
    socket: Path | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Connection:
    """Connect to a running team.

    Args:
        team: its name; it may be left out where one team runs.
        socket: its control socket, where it is not in the usual place.
        transport: how to reach it instead, for tests.

    Raises:
        NotRunning: (on entering the block) no such team runs here.
    """
    name = team or (socket.stem if socket is not None else only_team())
    if transport is None:
        path = socket if socket is not None else socket_path(name)
        transport = httpx.AsyncHTTPTransport(uds=str(path))
    return Connection(_Api(name, transport))


def only_team() -> str:
    """Return the name of the one team that runs here.

    Raises:
        NotRunning: none does, or several do.
    """
    try:
        names = sorted(path.stem for path in run_directory().glob("*.sock"))
    except OSError:
        names = []
    if len(names) != 1:
        if names:
            raise NotRunning(", ".join(names), several=True)
        raise NotRunning("team")
    return names[0]


__all__ = [
    "Connection",
    "Engine",
    "EspritError",
    "Member",
    "Policy",
    "SecurityAssociation",
    "Team",
    "connect",
]
