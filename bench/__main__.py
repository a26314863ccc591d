"""`python -m bench [NAME] [OPTIONS]`: throughput by default, or a trial of a live team."""

import sys

from bench import speed
from bench.trial import run
from bench.trials import TRIALS


def main() -> int:
    """Runs what was asked for and returns its exit code."""
    name, *words = sys.argv[1:] or ["speed"]
    if name == "speed" or (name.startswith("-") and name not in ("-h", "--help")):
        # `make bench` names only options.
        return speed.main(words if name == "speed" else [name, *words])
    trial = TRIALS.get(name)
    if trial is None:
        print("usage: python -m bench [NAME] [OPTIONS], where NAME is one of")
        print(
            "  speed        throughput beside the raw pair, ESP in memory (what `make bench` runs)"
        )
        for known, one in TRIALS.items():
            print(f"  {known:12} {one.what}")
        return 0 if name in ("-h", "--help") else 2
    return run(name, trial, words)


if __name__ == "__main__":
    raise SystemExit(main())
