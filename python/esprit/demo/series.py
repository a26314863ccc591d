"""Progress over time, in bins of a millisecond, and what can be read from it."""

import bisect
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

MILLISECOND = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A time in which a stream got nothing. Times are milliseconds of the monotonic clock."""

    begin: int
    end: int

    @property
    def length(self) -> int:
        """In milliseconds."""
        return self.end - self.begin


@dataclass(slots=True)
class Series:
    """Bytes that one stream received, by millisecond."""

    _times: list[int] = field(default_factory=list)
    _sums: list[int] = field(default_factory=list)

    def add(self, bins: Iterable[tuple[int, int]]) -> None:
        """Takes bins in the order in which they were filled."""
        for time, size in bins:
            total = self.total + size
            if self._times and time <= self._times[-1]:
                self._sums[-1] = total
            else:
                self._times.append(time)
                self._sums.append(total)

    @property
    def total(self) -> int:
        """All bytes so far."""
        return self._sums[-1] if self._sums else 0

    @property
    def last(self) -> int:
        """The millisecond of the last byte, or 0."""
        return self._times[-1] if self._times else 0

    @property
    def first(self) -> int:
        """The millisecond of the first byte, or 0."""
        return self._times[0] if self._times else 0

    def until(self, time: int) -> int:
        """The bytes received before a millisecond."""
        index = bisect.bisect_left(self._times, time)
        return self._sums[index - 1] if index else 0

    def rate(self, begin: int, end: int) -> float:
        """Mean bits per second between two milliseconds."""
        return (self.until(end) - self.until(begin)) * 8000 / max(end - begin, 1)

    def longest_pause(self, begin: int, end: int) -> Pause | None:
        """The longest time without a byte that lies at least partly between two milliseconds.

        The last byte before `begin` and the first after `end` bound it, where there are such:
        a pause is not cut short by the edge of the window. A stream that never got a byte, or
        got its last one before `begin`, has no pause: it has ended or not begun.
        """
        first = max(bisect.bisect_left(self._times, begin) - 1, 0)
        last = bisect.bisect_right(self._times, end) + 1
        times = self._times[first:last]
        if not times or times[-1] < begin:
            return None
        pauses = (Pause(begin=a, end=b) for a, b in itertools.pairwise(times))
        return max(pauses, key=lambda pause: pause.length, default=None)


@dataclass(slots=True)
class Ledger:
    """What was sent against what was received, by digest: the proof that a transfer is intact.

    The two ends are independent processes, and each says at every checkpoint of an object what
    the SHA-256 of all its bytes so far is.
    """

    _sent: dict[tuple[str, int], str] = field(default_factory=dict)
    _got: dict[tuple[str, int], str] = field(default_factory=dict)
    verified: int = 0
    mismatches: list[str] = field(default_factory=list)
    _reached: dict[str, int] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)

    def sent(self, name: str, offset: int, digest: str) -> None:
        """One end handed `offset` bytes of an object to its socket."""
        self._sent[name, offset] = digest
        self._compare(name, offset)

    def got(self, name: str, offset: int, digest: str) -> None:
        """The other end received them."""
        self._got[name, offset] = digest
        self._compare(name, offset)

    def _compare(self, name: str, offset: int) -> None:
        sent, got = self._sent.get((name, offset)), self._got.get((name, offset))
        if sent is None or got is None:
            return
        if sent != got:
            self.mismatches.append(f"{name} at {offset}: sent {sent[:16]}, received {got[:16]}")
            return
        self.verified += offset - self._reached.get(name, 0)
        self._reached[name] = offset
        self.objects[name] = got
        del self._sent[name, offset], self._got[name, offset]

    def reached(self, name: str) -> int:
        """How many bytes of an object both ends agree on."""
        return self._reached.get(name, 0)

    @property
    def unmatched(self) -> int:
        """Checkpoints that only the receiving end has reached: none, once all reports are in."""
        return len(self._got)

    @property
    def intact(self) -> bool:
        """Whether every byte compared so far was the byte sent."""
        return not self.mismatches
