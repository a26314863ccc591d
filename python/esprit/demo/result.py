"""What a run found, as values: the events, the promises, and all of it as JSON."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """Something that must hold, whether it did, and how that is known."""

    text: str
    held: bool
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Something that was done to the running team, and what came of it."""

    title: str
    #: Milliseconds since the downloads began.
    at: int
    what: str
    #: The longest time that any one download stood still, in milliseconds, and which one.
    pause: int | None
    stream: str | None
    #: The longest standstill in the seconds before: what is usual here.
    usual: int | None
    #: From the action to the report of the data plane that it had moved the traffic.
    takeover: float | None
    lost: int
    intact: bool
    flowed: bool
    #: Share of the work that each engine did from then on.
    shares: Mapping[str, float]
    notes: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether traffic flowed again, unharmed."""
        return self.flowed and self.intact

    def line(self) -> str:
        """It in one line."""
        pause = "no download noticed" if self.pause is None else f"{self.pause} ms"
        usual = "" if self.usual is None else f" (before: {self.usual} ms)"
        takeover = "" if self.takeover is None else f", taken over after {self.takeover:.1f} ms"
        return (
            f"longest standstill {pause}{usual}{takeover}, "
            f"{self.lost} packets lost, transfer {'intact' if self.intact else 'DAMAGED'}"
        )


@dataclass(slots=True, kw_only=True)
class Outcome:
    """All that a run found."""

    breaks: list[Break] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def promise(self, text: str, held: bool, evidence: str) -> Promise:
        """Takes down whether a promise held."""
        promise = Promise(text=text, held=held, evidence=evidence)
        self.promises.append(promise)
        return promise

    @property
    def held(self) -> bool:
        """Whether every promise held."""
        return bool(self.promises) and all(promise.held for promise in self.promises)

    def as_json(self) -> dict[str, object]:
        """The report."""
        return {
            "held": self.held,
            "promises": [dataclasses.asdict(promise) for promise in self.promises],
            "events": [dataclasses.asdict(one) | {"held": one.held} for one in self.breaks],
            **self.facts,
        }
