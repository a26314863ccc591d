"""What a command writes on the terminal when it is over."""

import asyncio
import contextlib
import socket
import tempfile
from pathlib import Path

import anyio
import pytest

from esprit._run import run


async def cancelled_when_bytes_come() -> None:
    """Cancels a wait for bytes in the very turn of the loop in which they are found."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = Path(folder) / "socket"
        server = stack.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
        server.bind(str(path))
        server.listen()
        async with await anyio.connect_unix(path) as stream:
            peer = stack.enter_context(contextlib.closing(server.accept()[0]))
            wait = asyncio.create_task(stream.receive())

            def both() -> None:
                peer.send(b"x")
                # Before what the loop finds when it looks at its sockets next.
                loop.call_soon(wait.cancel)

            # In its second turn the wait reaches the socket.
            for _ in range(3):
                await asyncio.sleep(0)
            both()
            with contextlib.suppress(asyncio.CancelledError):
                await wait


def test_a_wait_that_was_cancelled_when_bytes_came_is_no_news(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(cancelled_when_bytes_come())
    assert caplog.text == ""


def test_what_else_goes_wrong_in_a_callback_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(fails())
    assert "ZeroDivisionError" in caplog.text


def test_it_answers_and_raises_as_the_work_does() -> None:
    async def answers(value: int) -> int:
        if value < 0:
            raise ValueError(value)
        return value

    assert run(answers(3)) == 3
    with pytest.raises(ValueError, match="-1"):
        run(answers(-1))
