"""Whether an installed package has all that it needs: `python tools/installed.py FOLDER`.

FOLDER holds the package as `pip install --target FOLDER` leaves it. A shipped scenario is found by
its name and run from there, from another folder than the repository.
"""
# ruff: noqa: T201

import os
import sys
from pathlib import Path


def main(folder: str, scenario: str = "n-stacks") -> int:
    """Print what was run from where; 1 if it was not that folder's, or not as it must be."""
    site = Path(folder).resolve()
    os.chdir("/")
    # Before the repository, which an editable installation has put on the path.
    sys.path.insert(0, str(site))
    import esprit
    from esprit import sim

    if not Path(esprit.__file__).is_relative_to(site):
        print(f"esprit comes from {esprit.__file__}, not from {site}")
        return 1
    shipped = sim.shipped()
    foreign = [path for path in shipped if not path.is_relative_to(site)]
    if foreign or not shipped:
        print(f"{site} has no scenarios of its own: {foreign}")
        return 1
    report = sim.run(scenario)
    print(f"{len(shipped)} scenarios in {site}; {scenario} {'ok' if report.ok else 'failed'}")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
