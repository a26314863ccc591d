"""HTTP over a Unix socket, for one team."""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from esprit.errors import AlreadyRunning, StateUnusable

# What a client may take to finish its request once the team ends; event streams end at once.
_GRACE_S = 2


class _Server(uvicorn.Server):
    """A server that leaves the process's signals alone: the service has them."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answering = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.answering.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them where they are."""
        yield


def bind(path: Path) -> socket.socket:
    """Make a team's control socket, readable and writable by its owner only.

    Raises:
        AlreadyRunning: another process answers on it.
        StateUnusable: it cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            if _answers(path):
                raise AlreadyRunning(path.stem)
            path.unlink()  # left by a process that was killed
        # The mode stands before anybody can connect: umask at the bind.
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        listener.close()
        raise StateUnusable(
            str(path),
            f"the control socket cannot be made: {error.strerror or error}",
            remedy="run as root, or set ESPRIT_RUN to a folder that can be written",
        ) from error
    except BaseException:
        listener.close()
        raise
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


@contextlib.asynccontextmanager
async def serve(app: Starlette, listener: socket.socket, path: Path) -> AsyncIterator[None]:
    """Answer requests until the block ends; then the socket is gone."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await server.answering.wait()
        yield
    finally:
        server.should_exit = True
        await task
        listener.close()
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - a file in memory
