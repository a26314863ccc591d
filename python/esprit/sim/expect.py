"""What a scenario expects of its run: a figure, a comparison, a number."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_LINE: Final = re.compile(r"\s*([\w.@:+-]+)\s*(>=|<=|==|>|<)\s*(-?\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One line."""

    figure: str
    operator: str
    number: float

    def holds(self, figures: Mapping[str, float]) -> bool:
        """Whether it holds; a figure that there is not does not count as zero."""
        value = figures.get(self.figure)
        return value is not None and _OPERATORS[self.operator](value, self.number)


def parse(line: str) -> Expectation:
    """Read ``"throughput_share >= 0.98"``.

    Raises:
        ValueError: it is not written like that; the text has the remedy.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("is no expectation; write a figure, >=, <=, ==, > or <, and a number")
    return Expectation(figure=match[1], operator=match[2], number=float(match[3]))
