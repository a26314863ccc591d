"""Namespaces for the tests of the whole: made before a test, gone after it whatever happens."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from esprit.demo import lab as laboratory
from esprit.demo.lab import Lab


@pytest.fixture(scope="session", autouse=True)
def _privileged() -> None:
    lacks = laboratory.missing()
    if lacks is not None:
        pytest.skip(lacks)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A laboratory of this test's own."""
    with Lab() as made:
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("namespace")
