"""What every test shares: the rule that nothing is skipped on the CI machine."""

import os
from collections.abc import Generator

import pytest

#: Set by .ci/run: there everything that a test may lack is present, so a skip hides a fault.
NOTHING_SKIPPED = os.environ.get("ESPRIT_CI") == "1"


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not (NOTHING_SKIPPED and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"skipped, which ESPRIT_CI=1 forbids: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips itself fails under ESPRIT_CI=1."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """So does a module that skips itself as a whole."""
    report = yield
    _refuse_skip(report)
    return report
