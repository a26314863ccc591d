"""The rule of tests/conftest.py: on the CI machine a skipped test is a failed one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CASES = """
import pytest

def test_skips_itself():
    pytest.skip("no root")

@pytest.mark.skipif(True, reason="no device")
def test_is_skipped():
    pass

@pytest.mark.xfail(reason="known")
def test_fails_as_known():
    assert False
"""


def outcome(folder: Path, **environment: str) -> tuple[int, str]:
    shutil.copy(Path(__file__).parent / "conftest.py", folder)
    (folder / "test_cases.py").write_text(CASES, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(folder)]
    kept = {name: value for name, value in os.environ.items() if name != "ESPRIT_CI"}
    done = subprocess.run(
        command, env=kept | environment, cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    code, printed = outcome(tmp_path)
    assert code == 0
    assert "2 skipped, 1 xfailed" in printed


def test_on_ci_each_skip_is_a_failure_that_keeps_its_reason(tmp_path: Path) -> None:
    code, printed = outcome(tmp_path, ESPRIT_CI="1")
    assert code == 1
    assert "1 failed, 1 xfailed, 1 error" in printed
    assert "no root" in printed
    assert "no device" in printed


@pytest.mark.parametrize("environment", [{}, {"ESPRIT_CI": "1"}], ids=["elsewhere", "ci"])
def test_a_module_that_skips_itself_counts_too(tmp_path: Path, environment: dict[str, str]) -> None:
    module = 'import pytest\npytest.skip("no namespaces", allow_module_level=True)\n'
    (tmp_path / "test_module.py").write_text(module, encoding="utf-8")
    code, printed = outcome(tmp_path, **environment)
    assert (code == 0) is not bool(environment)
    assert "no namespaces" in printed or not environment
