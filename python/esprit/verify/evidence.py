"""What is known against an engine, kept until a test clears it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Lines kept of one engine: the first ones say how it began, and a liar would fill any list.
KEPT = 16


@dataclass(slots=True)
class Trouble:
    """Why an engine is out of use, or suspect.

    Attributes:
        since: When it began.
        what: The last word on it: ``wrong``, ``hung``, ``quarantined``, ``refused``.
        lines: The evidence, oldest first.
    """

    since: int
    what: str
    lines: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Evidence:
    """The troubles of all engines, by name."""

    _troubles: dict[str, Trouble] = field(default_factory=dict)

    def against(self, engine: str) -> Trouble | None:
        """What is known against an engine; none if nothing is."""
        return self._troubles.get(engine)

    def note(
        self, engine: str, what: str, time: int, details: Mapping[str, object] | None = None
    ) -> None:
        """Keep what was found, with its details, as long as there is room."""
        trouble = self._troubles.setdefault(engine, Trouble(since=time, what=what))
        trouble.what = what
        said = " ".join(f"{key}={value}" for key, value in (details or {}).items())
        if len(trouble.lines) < KEPT:
            trouble.lines.append(f"{what} {said}".strip())

    def clear(self, engine: str) -> None:
        """A test passed, or the engine is gone."""
        self._troubles.pop(engine, None)
