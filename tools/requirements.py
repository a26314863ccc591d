"""Prints what pyproject.toml asks for, all extras included, one requirement per line.

pip can install these before the extension is built, so that a missing compiler is found
late and a missing package early.
"""

import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
wanted = set(project["dependencies"])
for extra in project["optional-dependencies"].values():
    wanted.update(extra)
for requirement in sorted(wanted):
    print(requirement)  # noqa: T201
