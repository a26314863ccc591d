"""When an engine that was taken out of use is tested again.

One that hung is tested as soon as it has given back all that it had: one late answer under load
is no defect. One that computed wrongly waits first, as its next wrong answer is no nearer to
being right a moment later. Neither is tested again and again without a pause: that would spend
its time, and that of the jobs that are done again, on tests.
"""

from dataclasses import dataclass, field

# The waits double, from a second to a minute. An engine that was in order for as long as the
# longest wait begins anew.
FIRST_NS = 1_000_000_000
LONGEST_NS = 60_000_000_000


@dataclass(slots=True)
class _Record:
    wait: int
    tested: int


@dataclass(slots=True)
class Retests:
    """How long each engine has to wait for its next test, and when that is."""

    due: dict[str, int] = field(default_factory=dict)
    _records: dict[str, _Record] = field(default_factory=dict)

    def plan(self, engine: str, now: int, *, patient: bool = False) -> int:
        """Plan the next test of an engine; returns when it is.

        Args:
            engine: Its name.
            now: The time.
            patient: Wait also before the first test.
        """
        self.due[engine] = now + self._wait(engine, now, patient=patient)
        return self.due[engine]

    def heard(self, engine: str, what: str, now: int, *, hung: bool) -> bool:
        """Plan the next test of an engine by what the pool says of it, if that asks for one.

        Args:
            engine: Its name.
            what: What the pool says.
            now: The time.
            hung: It is out of use because it did not answer in time.

        Returns:
            Whether one was planned.
        """
        # One that hung first gives back what it has: the pool says when.
        asks = what == "quarantined" or (what == "recovered" and hung)
        if asks:
            self.plan(engine, now, patient=what == "quarantined")
        return asks

    def next(self) -> int | None:
        """When the next test is."""
        return min(self.due.values(), default=None)

    def take(self, now: int) -> list[str]:
        """The engines whose time has come; each is planned no longer."""
        found = [name for name, at in self.due.items() if at <= now]
        for name in found:
            del self.due[name]
        return found

    def cancel(self, engine: str) -> None:
        """Plan no test of an engine; how often it was in trouble is not forgotten."""
        self.due.pop(engine, None)

    def forget(self, engine: str) -> None:
        """Forget an engine that is gone."""
        self.due.pop(engine, None)
        self._records.pop(engine, None)

    def _wait(self, engine: str, now: int, *, patient: bool) -> int:
        record = self._records.get(engine)
        if record is None or now - record.tested > LONGEST_NS + record.wait:
            wait = FIRST_NS if patient else 0
            self._records[engine] = _Record(2 * FIRST_NS if patient else FIRST_NS, now + wait)
            return wait
        wait = record.wait
        record.wait = min(2 * record.wait, LONGEST_NS)
        record.tested = now + wait
        return wait
