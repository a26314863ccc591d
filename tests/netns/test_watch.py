"""The kernel's news: what is lost in a storm is read again."""

import sys

from esprit.demo.lab import Lab

STORM = """
import asyncio, subprocess
from esprit.control.watch import ChangeKind, changes

LINES = "".join(
    f"neigh replace 10.{i >> 16}.{i >> 8 & 255}.{i & 255} lladdr 02:00:00:00:00:01 dev eth1\\n"
    for i in range(40000)
)

async def main():
    resyncs = 0
    async for change in changes():
        if change.kind is ChangeKind.RESYNC:
            resyncs += 1
            if resyncs == 1:
                # Nobody reads meanwhile: the kernel's queue for us overflows.
                subprocess.run(["ip", "-batch", "-"], input=LINES, text=True, check=True)
            else:
                subprocess.run(["ip", "link", "set", "eth1", "alias", "alive"], check=True)
        elif resyncs > 1 and change.kind is ChangeKind.LINK and change.name == "eth1":
            print("alive")
            return

asyncio.run(asyncio.wait_for(main(), 60))
"""


def test_after_an_overflow_everything_is_read_again_and_news_go_on(lab: Lab) -> None:
    switch, host = lab.switch(), lab.host("left")
    switch.plug(host, "eth1")
    host.ip("link", "set", "eth1", "up")
    assert host.run(sys.executable, "-c", STORM) == "alive\n"
