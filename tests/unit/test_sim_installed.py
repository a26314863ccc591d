"""The simulator works where the package is installed, away from its repository."""

import shutil
import subprocess
import sys
from pathlib import Path

import esprit

ROOT = Path(__file__).parents[2]


def test_a_shipped_scenario_is_found_and_run_where_the_package_is_installed(tmp_path: Path) -> None:
    # As a wheel has it (maturin's python-source): what git has of the package, and the extension.
    package = Path(esprit.__file__).parent
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "python/esprit"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).exists()]
    for file in (*files, *package.glob("_native*.so")):
        target = tmp_path / "esprit" / file.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    found = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "installed.py"), str(tmp_path), "loop-back"],
        check=False,
        capture_output=True,
        text=True,
        env={},
    )
    assert found.returncode == 0, found.stdout + found.stderr
    shipped = len(list((package / "sim" / "scenarios").glob("*.toml")))
    assert found.stdout.startswith(f"{shipped} scenarios in {tmp_path}; loop-back ok")
