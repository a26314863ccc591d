"""The eavesdropper: captures on interfaces of the namespace in which it runs.

Runs as a process of its own, `python -m esprit.demo.listener`. Its first line of input is a JSON
object; it answers `{"report": "ready"}` once every capture listens, and at the end of its input
with what each saw:

    > {"ports": ["left-eth1"], "needles": ["<hex>"], "sample_every": 500, "keep": 32}
    < {"report": "ready"}
    < {"report": "seen", "ports": {"left-eth1": {"frames": 12, ...}}}
"""

import json
import sys
from typing import TYPE_CHECKING

from esprit._native import Capture

if TYPE_CHECKING:
    from esprit._native import CaptureResult

#: How much of a frame that held a needle is reported.
EVIDENCE = 256


def _plain(result: "CaptureResult") -> dict[str, object]:
    return {
        "frames": result["frames"],
        "bytes": result["bytes"],
        "esp": result["esp"],
        "plain": result["plain"],
        "drops": result["drops"],
        "found": result["found"],
        "ended": result["ended"],
        "hits": [bytes(frame).hex() for frame in result["hits"]],
        "samples": [(size, bytes(frame).hex()) for size, frame in result["samples"]],
    }


def main() -> None:
    """Listens until the input ends."""
    order = json.loads(sys.stdin.readline())
    needles = [bytes.fromhex(needle) for needle in order["needles"]]
    captures = {
        port: Capture.start(port, needles, sample_every=order["sample_every"], keep=order["keep"])
        for port in order["ports"]
    }
    print(json.dumps({"report": "ready"}), flush=True)
    sys.stdin.read()
    seen = {port: _plain(capture.stop()) for port, capture in captures.items()}
    print(json.dumps({"report": "seen", "ports": seen}), flush=True)


if __name__ == "__main__":
    main()
