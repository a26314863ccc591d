"""The control API's routes, over one running team.

============================ ======================================================
``GET /v1/team``             the team with its members
``PATCH /v1/team``           settings as ``[team]`` has them, and ``probe`` as ``[probe]``
``PUT /v1/team/mode``        ``{"mode": "active-backup"}``
``GET /v1/explain``          ``?src=…&dst=…&proto=tcp&sport=…&dport=…&length=…``
``GET /v1/last-drop``        the last packet that was dropped
``GET /v1/features``         what the team offers, and who provides it
``GET /v1/plan``             the Plan in force
``GET /v1/members``          also ``/v1/members/{name}``
``POST /v1/members``         a ``[[member]]`` of the config; ``?force=1``
``PUT /v1/members/{name}``   replace it: the new one in first; ``?force=1``
``DELETE /v1/members/{name}``
``GET /v1/engines``          also ``/v1/engines/{name}``
``POST /v1/engines``         an ``[[engine]]`` of the config; ``?member={name}``: its own
``DELETE /v1/engines/{name}``
``POST …/{name}/reset``      reset, test, admit again
``POST …/{name}/verify``     test as it is, admit again
``POST …/{name}/fault``      ``{"fault": "hang", "value": 0}``, simulated engines only
``GET /v1/sas``              also ``/v1/sas/{name}``; keys are never shown
``POST /v1/sas``             an ``[[sa]]`` of the config
``PUT /v1/sas/{name}``       replace it, make before break
``DELETE /v1/sas/{name}``
``GET /v1/policies``         also ``/v1/policies/{name}``
``POST /v1/policies``        a ``[[policy]]`` of the config; ``?before={name}``
``PUT /v1/policies/{name}``  replace it, between two packets
``DELETE /v1/policies/{name}``
``POST /v1/load``            ``{"size": 1400, "seconds": 5}``: see :class:`esprit.crypto.Load`
``GET /v1/events``           newline-delimited JSON, without end
============================ ======================================================

An error is JSON too: ``code``, ``subject``, ``message``, ``remedy``.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from esprit.control.team import RunningTeam
from esprit.daemon.events import EventBus
from esprit.daemon.resources import API_VERSION
from esprit.errors import BadRequest, EspritError, NotFound

T = TypeVar("T")
Table = dict[str, object]
Endpoint = Callable[[Request], Awaitable[Response]]


class Locked(Protocol):
    """Makes a change while nobody else makes one."""

    async def __call__(self, change: Callable[[], Awaitable[T]]) -> T:
        """Wait for the lock, make the change, give its result."""


# A request is one table of a config; a body beyond this is a mistake, not a table.
_BODY_LIMIT = 1 << 16


def build(team: RunningTeam, bus: EventBus, locked: Locked) -> Starlette:
    """Return the ASGI application of one team; changes are made through ``locked``."""
    api = _Api(team, bus, locked)
    table: list[tuple[str, str, Endpoint]] = [
        ("GET", "/team", api.team),
        ("PATCH", "/team", api.change),
        ("PUT", "/team/mode", api.set_mode),
        ("GET", "/explain", api.explain),
        ("GET", "/last-drop", api.last_drop),
        ("GET", "/features", api.features),
        ("GET", "/plan", api.plan),
        ("GET", "/members", api.members),
        ("POST", "/members", api.add_member),
        ("GET", "/members/{name}", api.member),
        ("PUT", "/members/{name}", api.replace_member),
        ("DELETE", "/members/{name}", api.remove_member),
        ("GET", "/engines", api.engines),
        ("POST", "/engines", api.add_engine),
        ("GET", "/engines/{name}", api.engine),
        ("DELETE", "/engines/{name}", api.remove_engine),
        ("POST", "/engines/{name}/reset", api.reset_engine),
        ("POST", "/engines/{name}/verify", api.verify_engine),
        ("POST", "/engines/{name}/fault", api.fault_engine),
        ("GET", "/sas", api.sas),
        ("POST", "/sas", api.add_sa),
        ("GET", "/sas/{name}", api.sa),
        ("PUT", "/sas/{name}", api.replace_sa),
        ("DELETE", "/sas/{name}", api.delete_sa),
        ("GET", "/policies", api.policies),
        ("POST", "/policies", api.add_policy),
        ("GET", "/policies/{name}", api.policy),
        ("PUT", "/policies/{name}", api.replace_policy),
        ("DELETE", "/policies/{name}", api.delete_policy),
        ("POST", "/load", api.load),
        ("GET", "/events", api.events),
    ]
    return Starlette(
        routes=[
            Route(f"/{API_VERSION}{path}", endpoint, methods=[method])
            for method, path, endpoint in table
        ],
        exception_handlers={EspritError: _refused, HTTPException: _unrouted, 500: _broken},
    )


class _Api:
    """Requests in, resources out; what they mean is the running team's business."""

    def __init__(self, team: RunningTeam, bus: EventBus, locked: Locked) -> None:
        self._team = team
        self._bus = bus
        self._locked = locked
        self._loading = asyncio.Lock()

    async def team(self, request: Request) -> Response:
        return JSONResponse(self._team.view().team())

    async def change(self, request: Request) -> Response:
        body = await _body(request)
        await self._locked(lambda: self._team.change(body))
        return JSONResponse(self._team.view().team())

    async def explain(self, request: Request) -> Response:
        return JSONResponse(self._team.explain(request.query_params))

    async def last_drop(self, request: Request) -> Response:
        return JSONResponse(self._team.last_drop())

    async def set_mode(self, request: Request) -> Response:
        mode = _text(await _body(request), "mode")
        await self._locked(lambda: self._team.set_mode(mode))
        return JSONResponse(self._team.view().team())

    async def features(self, request: Request) -> Response:
        return JSONResponse(self._team.view().features())

    async def plan(self, request: Request) -> Response:
        return JSONResponse(self._team.plan)

    async def members(self, request: Request) -> Response:
        return JSONResponse(self._team.view().members())

    async def member(self, request: Request) -> Response:
        return _one(self._team.view().members(), "ifname", request, "member")

    async def add_member(self, request: Request) -> Response:
        body, force = await _body(request), _forced(request)
        await self._locked(lambda: self._team.add_member(body, force=force))
        return JSONResponse(self._team.view().members(), status_code=201)

    async def replace_member(self, request: Request) -> Response:
        name, body, force = request.path_params["name"], await _body(request), _forced(request)
        await self._locked(lambda: self._team.replace_member(name, body, force=force))
        return JSONResponse(self._team.view().members())

    async def remove_member(self, request: Request) -> Response:
        await self._locked(lambda: self._team.remove_member(request.path_params["name"]))
        return Response(status_code=204)

    async def engines(self, request: Request) -> Response:
        return JSONResponse(self._team.view().engines())

    async def engine(self, request: Request) -> Response:
        return _one(self._team.view().engines(), "name", request, "engine")

    async def add_engine(self, request: Request) -> Response:
        body = await _body(request)
        member = request.query_params.get("member")
        await self._locked(lambda: self._team.add_engine(body, member=member))
        return JSONResponse(self._team.view().engines(), status_code=201)

    async def remove_engine(self, request: Request) -> Response:
        await self._locked(lambda: self._team.remove_engine(request.path_params["name"]))
        return Response(status_code=204)

    async def reset_engine(self, request: Request) -> Response:
        await self._locked(lambda: self._team.reset_engine(request.path_params["name"]))
        return _one(self._team.view().engines(), "name", request, "engine")

    async def verify_engine(self, request: Request) -> Response:
        await self._locked(lambda: self._team.verify_engine(request.path_params["name"]))
        return _one(self._team.view().engines(), "name", request, "engine")

    async def fault_engine(self, request: Request) -> Response:
        body = await _body(request)
        value = body.get("value", 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise BadRequest("value", "is not a whole number", remedy="give nanoseconds or a count")
        name, fault = request.path_params["name"], _text(body, "fault")
        await self._locked(lambda: self._team.fault_engine(name, fault, value))
        return _one(self._team.view().engines(), "name", request, "engine")

    async def sas(self, request: Request) -> Response:
        return JSONResponse(self._team.view().sas())

    async def sa(self, request: Request) -> Response:
        return _one(self._team.view().sas(), "name", request, "SA")

    async def add_sa(self, request: Request) -> Response:
        body = await _body(request)
        await self._locked(lambda: self._team.add_sa(body))
        return JSONResponse(self._team.view().sas(), status_code=201)

    async def replace_sa(self, request: Request) -> Response:
        name, body = request.path_params["name"], await _body(request)
        await self._locked(lambda: self._team.replace_sa(name, body))
        return JSONResponse(self._team.view().sas())

    async def delete_sa(self, request: Request) -> Response:
        await self._locked(lambda: self._team.delete_sa(request.path_params["name"]))
        return Response(status_code=204)

    async def policies(self, request: Request) -> Response:
        return JSONResponse(self._team.view().policies())

    async def policy(self, request: Request) -> Response:
        return _one(self._team.view().policies(), "name", request, "policy")

    async def add_policy(self, request: Request) -> Response:
        body = await _body(request)
        before = request.query_params.get("before")
        await self._locked(lambda: self._team.add_policy(body, before=before))
        return JSONResponse(self._team.view().policies(), status_code=201)

    async def replace_policy(self, request: Request) -> Response:
        name, body = request.path_params["name"], await _body(request)
        await self._locked(lambda: self._team.replace_policy(name, body))
        return JSONResponse(self._team.view().policies())

    async def delete_policy(self, request: Request) -> Response:
        await self._locked(lambda: self._team.delete_policy(request.path_params["name"]))
        return Response(status_code=204)

    async def load(self, request: Request) -> Response:
        # The extension is loaded by then; without it the error names the remedy before this.
        from esprit.daemon import loading

        body = await _body(request)
        async with self._loading:  # one at a time, or neither says what the pool manages
            return JSONResponse(await loading.on_host(self._team.host, body))

    async def events(self, request: Request) -> Response:
        return StreamingResponse(self._lines(), media_type="application/x-ndjson")

    async def _lines(self) -> AsyncIterator[str]:
        with self._bus.listen() as listener:
            # An empty line first: a client knows that it is listening before it goes on.
            yield "\n"
            async for event in listener:
                yield json.dumps(event) + "\n"


def _one(
    resources: Sequence[Mapping[str, object]], key: str, request: Request, kind: str
) -> Response:
    name = request.path_params["name"]
    for resource in resources:
        if resource[key] == name:
            return JSONResponse(resource)
    raise NotFound(f"{kind} {name}")


async def _body(request: Request) -> Table:
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > _BODY_LIMIT:
            raise BadRequest("request", "is too long", remedy="send one table")
    try:
        found = json.loads(content)
    except ValueError as error:
        raise BadRequest("request", "is not JSON", remedy="send a JSON object") from error
    if not isinstance(found, dict):
        raise BadRequest("request", "is not a JSON object", remedy="send one table")
    return found


def _forced(request: Request) -> bool:
    return request.query_params.get("force", "") not in ("", "0")


def _text(body: Table, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise BadRequest(key, "is missing", remedy=f'send {{"{key}": "..."}}')
    return value


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, EspritError):
        raise error
    return JSONResponse(error.to_wire(), status_code=error.http_status)


async def _broken(request: Request, error: Exception) -> Response:
    # The server logs the traceback; who asked is told where to look.
    refusal = EspritError(f"{request.method} {request.url.path}", f"failed: {error}")
    return JSONResponse(refusal.to_wire(), status_code=refusal.http_status)


async def _unrouted(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    refusal = BadRequest(f"{request.method} {request.url.path}", str(error.detail).lower())
    return JSONResponse(refusal.to_wire(), status_code=error.status_code)
