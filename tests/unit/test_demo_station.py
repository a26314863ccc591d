"""A station that is told to end ends at once and says nothing, whatever its threads are doing."""

import json
import socket
import subprocess
import sys

import pytest

#: As `python -m esprit.demo.station`, with threads that change places all the time, so that they
#: are found wherever they can be.
STATION = (
    "import runpy, sys; sys.setswitchinterval(1e-7);"
    "runpy.run_module('esprit.demo.station', run_name='__main__')"
)


def order(station: subprocess.Popen[str], **fields: object) -> None:
    assert station.stdin is not None
    station.stdin.write(json.dumps(fields) + "\n")
    station.stdin.flush()


# Without care one in three aborts: all ten end well by chance once in 58 times.
@pytest.mark.parametrize("reports", range(10))
def test_it_ends_in_the_middle_of_downloads(reports: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", STATION], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as station:
        assert station.stdout is not None
        order(station, ports={"secret": port}, canaries={"secret": "00" * 16})
        assert "ready" in station.stdout.readline()
        for number in range(8):
            order(
                station,
                order="get",
                stream=f"s{number}",
                host="127.0.0.1",
                kind="secret",
                size=1 << 28,
                rate=0,
            )
        for _ in range(1 + reports):
            assert station.stdout.readline()
        _, said = station.communicate(timeout=60)
    assert said == ""
    assert station.returncode == 0
