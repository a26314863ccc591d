"""Random scenarios for as long as they are let: ``make soak``."""

from __future__ import annotations

import os
import sys
import time
from itertools import count

from esprit.sim.chance import fuzz

#: Seeds in one round, after which the time is looked at.
ROUND = 256


def main(seconds: float, first: int) -> int:
    """Run rounds from the seed ``first`` on; 1 if one broke a rule."""
    end = time.monotonic() + seconds
    processes = len(os.sched_getaffinity(0))
    for begin in count(first, ROUND):
        for line in (broken := fuzz(range(begin, begin + ROUND), processes=processes)):
            print(line)
        if broken:
            return 1
        print(f"seeds {first} to {begin + ROUND - 1}: every rule was kept", flush=True)
        if time.monotonic() > end:
            return 0
    return 0


if __name__ == "__main__":
    words = sys.argv[1:]
    # Seeds that `make test` does not run.
    first = int(words[1]) if words[1:] else 10_000
    sys.exit(main(float(words[0]) if words else 600, first))
