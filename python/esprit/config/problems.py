"""From what pydantic found to one line per fault: file, key, fault, remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import ValidationError

from esprit.config.schema import PLACES


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A fault of a file.

    Attributes:
        where: The key, with the table that it stands in.
        text: What is wrong, and behind a semicolon what to do.
    """

    source: str
    where: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.where, self.text) if part)


#: Texts by pydantic's name of the fault. ``{}`` names are of its context.
_TEXTS: Mapping[str, str] = {
    "missing": "is missing; add it",
    "int_type": "is no whole number; write it without quotes and point",
    "int_from_float": "is no whole number; write it without point",
    "bool_type": "is neither true nor false; write one of them, without quotes",
    "string_type": "is not text; put it in quotes",
    "greater_than_equal": "is too small; the least is {ge}",
    "less_than_equal": "is too large; the most is {le}",
    "literal_error": "is none of the values that there are; write {expected}",
    "too_short": "is empty; write at least one",
    "dict_type": "is no table; write { key = value }",
    "model_type": "is no table; write { key = value }",
    "model_attributes_type": "is no table; write { key = value }",
}


def problems(
    source: str, error: ValidationError, data: object, *, place: tuple[str, ...] = ()
) -> list[Problem]:
    """The faults of a file, in the order of its tables.

    Args:
        source: The file.
        error: What pydantic found.
        data: What was checked, to call tables by their names. Nothing else of it is quoted.
        place: The table that ``data`` is, if it is not the whole file.
    """
    found = []
    seen = set()
    for item in error.errors(include_input=False, include_url=False):
        loc = tuple(item["loc"])
        context: Mapping[str, object] = item.get("ctx", {})
        kind, text = item["type"], item["msg"]
        if kind == "extra_forbidden":
            text = _unknown((*place, *loc))
        elif kind == "missing" and not place and loc == ("member",):
            text = 'is missing; a team has at least one [[member]] with its interface = "..."'
        elif kind == "missing" and not place and len(loc) == 1:
            text = f"is missing; begin a table [{loc[0]}]"
        elif kind == "list_type":
            text = (
                f"is no list of tables; write [[{loc[0]}]] with two brackets"
                if not place and len(loc) == 1
                else "is no list; write [ ... ]"
            )
        elif kind in _TEXTS:
            text = _TEXTS[kind].replace("{ key", "{{ key").replace("value }", "value }}")
            text = text.format(**context)
        problem = Problem(source=source, where=_where(loc, data), text=text)
        # A union of types tells the same fault once for each.
        if (problem.where, kind) not in seen:
            seen.add((problem.where, kind))
            found.append(problem)
    return found


def _unknown(loc: tuple[int | str, ...]) -> str:
    place = tuple(part for part in loc[:-1] if isinstance(part, str))
    table = PLACES.get(place)
    known = sorted(table.model_fields) if table is not None else []
    close = get_close_matches(str(loc[-1]), known, n=1)
    if close:
        return f"is not known here; did you mean {close[0]}?"
    return f"is not known here; known are {', '.join(known)}"


def _where(loc: tuple[int | str, ...], data: object) -> str:
    """``member 2 (eth2): engine.rate`` for ``("member", 1, "engine", "rate")``."""
    table = ""
    keys: list[str] = []
    at = data
    for part in loc:
        if isinstance(part, str):
            at = at.get(part) if isinstance(at, Mapping) else None
            keys.append(part)
            continue
        at = at[part] if isinstance(at, Sequence) and part < len(at) else None
        numbered = f"{keys.pop() if keys else ''} {part + 1}{_name_of(at)}"
        if not table and not keys:
            table = numbered
        else:
            keys.append(numbered)
    return ": ".join(part for part in (table, ".".join(keys)) if part)


def _name_of(table: object) -> str:
    if isinstance(table, Mapping):
        for key in ("interface", "name"):
            if isinstance(table.get(key), str):
                return f" ({table[key]})"
    return ""
