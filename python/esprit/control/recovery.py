"""When an engine that was found hung is tested again.

The pool says when such an engine has given back all that it had. It is then tested like a
stranger, but not at once each time: an engine that hangs again and again would spend its
time, and that of the jobs that are done again, on tests.
"""

from dataclasses import dataclass, field

# The first test comes at once, as one late answer under load is no defect; then the waits
# double, from a second to a minute. An engine that was in order for as long as the longest
# wait begins anew.
FIRST_NS = 1_000_000_000
LONGEST_NS = 60_000_000_000


@dataclass(slots=True)
class _Record:
    wait: int
    tested: int


@dataclass(slots=True)
class Recovery:
    """How long each engine has to wait for its next test."""

    _records: dict[str, _Record] = field(default_factory=dict)

    def wait(self, engine: str, now: int) -> int:
        """Nanoseconds from ``now`` to the test of an engine that has just recovered."""
        record = self._records.get(engine)
        if record is None or now - record.tested > LONGEST_NS + record.wait:
            self._records[engine] = _Record(FIRST_NS, now)
            return 0
        wait = record.wait
        record.wait = min(2 * record.wait, LONGEST_NS)
        record.tested = now + wait
        return wait

    def forget(self, engine: str) -> None:
        """Forget an engine that is gone."""
        self._records.pop(engine, None)
