"""The examples in docstrings are true."""

import doctest
from types import ModuleType

import pytest

from esprit import config, modes


@pytest.mark.parametrize("module", [config, modes], ids=lambda module: module.__name__)
def test_the_examples_of(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0
