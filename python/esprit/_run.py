"""How our commands run what is asynchronous in them."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """As :func:`asyncio.run`, but silent about waits that were woken when they had been cancelled.

    The HTTP client's UNIX sockets (anyio 4.16) set the result of a wait for bytes without asking
    whether it was cancelled in the same turn of the loop. Nothing is lost by it, but the loop
    would write a traceback on the terminal of somebody whose command ended well.
    """

    async def inside() -> T:
        asyncio.get_running_loop().set_exception_handler(_report)
        return await work

    return asyncio.run(inside())


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # A callback of ours sets no results: only such a wait ends so.
    if not isinstance(context.get("exception"), asyncio.InvalidStateError):
        loop.default_exception_handler(context)
