"""Accounting by number: what `numbered receive` wrote down, and what a takeover did to it."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Of a record's first word, the bits that hold the number; the stream stands above them.
_NUMBER_BITS = 40
#: Words of a record: stream and number, when it was sent, when it arrived.
_WORDS = 3
_RECORD = 8 * _WORDS


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet that came. Times are nanoseconds of the monotonic clock."""

    stream: int
    number: int
    sent: int
    arrived: int


def read(path: Path, start: int, count: int) -> list[Arrival]:
    """So many records of a file, from one on, in the order in which the packets came."""
    words = array("Q")
    with path.open("rb") as file:
        file.seek(start * _RECORD)
        words.frombytes(file.read(count * _RECORD))
    mask = (1 << _NUMBER_BITS) - 1
    return [
        Arrival(words[at] >> _NUMBER_BITS, words[at] & mask, words[at + 1], words[at + 2])
        for at in range(0, len(words), _WORDS)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What one interruption did to one stream."""

    #: The first packet that was sent after the event and came.
    first: Arrival
    #: The last one that came before that, and was sent before the event.
    last: Arrival
    #: Numbers that never came, of those sent before `first`.
    lost: int
    #: Numbers that never came, of those sent after it: the interruption was over by then.
    lost_after: int

    @property
    def silence(self) -> int:
        """Nanoseconds in which nothing came."""
        return self.first.arrived - self.last.arrived


def gap(arrivals: Sequence[Arrival], event: int) -> Gap | None:
    """What happened to a stream around an event; None where nothing came after it, or before.

    Args:
        arrivals: of one stream, in order of arrival, from some time before the event on.
        event: when, in nanoseconds.
    """
    at = next((at for at, one in enumerate(arrivals) if one.sent >= event), None)
    if not at:
        return None
    first = arrivals[at]
    numbers = {one.number for one in arrivals}
    lowest, highest = min(numbers), max(numbers)
    before = sum(number < first.number for number in numbers)
    after = len(numbers) - before - 1
    return Gap(
        first=first,
        last=arrivals[at - 1],
        lost=first.number - lowest - before,
        lost_after=highest - first.number - after,
    )


def longest_silence(arrivals: Iterable[Arrival]) -> tuple[Arrival, Arrival] | None:
    """The two packets, one after the other, with the most time between them."""
    found = None
    last = None
    for one in arrivals:
        if last is not None and (
            found is None or one.arrived - last.arrived > found[1].arrived - found[0].arrived
        ):
            found = (last, one)
        last = one
    return found
