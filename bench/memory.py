"""ESP in memory: the whole path without input and output, beside the bare cipher."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


def measure(program: Path) -> list[Mapping[str, float]]:
    """Runs the memory bench on one core.

    Returns:
        One entry per packet length, with nanoseconds per packet.
    """
    core = {min(os.sched_getaffinity(0))}
    done = subprocess.run(
        [str(program)],
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    return [dict(row) for row in json.loads(done.stdout)]
