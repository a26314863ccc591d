"""Load for the pool of a running host: made beside the event loop, on a thread that waits."""

import asyncio
from collections.abc import Mapping

from esprit.control.host import Host
from esprit.crypto.load import LONGEST_S, Load, LoadResource, run
from esprit.errors import BadRequest


async def on_host(host: Host, table: Mapping[str, object]) -> LoadResource:
    """Load the pool as a request says, and return what it managed.

    Raises:
        BadRequest: the request is wrong, or too long.
        DataPlaneError: no engine does this for applications.
    """
    from esprit import _native

    load = Load.from_table(table)
    if load.seconds > LONGEST_S:
        raise BadRequest("seconds", f"is more than {LONGEST_S:.0f}", remedy="ask several times")
    plane = host.plane
    if not isinstance(plane, _native.DataPlane):
        raise BadRequest("load", "needs the data plane itself", remedy="start `esprit up`")
    engines = [(one.id, one.spec, one.verified) for one in host.engines()]
    return await asyncio.to_thread(run, _native.Requester(plane), load, engines)
