"""Poison: nearly everything that arrives is rejected, so that a fault of ours or a broken sender is likely.

Pure: numbers and the time come in as arguments, and what is to be said comes out. Rating goes on meanwhile: dead letters
hold what was rejected, and the customers whose usage is sound must be billed (docs/rules.md, R2.3).
"""

from collections import Counter, deque
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

BEGIN_SHARE = 0.9
"""Poison begins when so much of at least EVENTS_MIN is rejected."""
END_SHARE = 0.5
"""It ends when no more than this is: apart from BEGIN_SHARE, so that it does not come and go."""
EVENTS_MIN = 1_000
"""Fewer are too few for a share, unless they come to a standstill."""
STANDSTILL_S = 60.0
STANDSTILL_EVENTS_MIN = 20
"""A standstill, which fewer events show: at least so many rejects over at least STANDSTILL_S, and nothing accepted."""
RECENT_S = 10.0
"""Older events count only as long as there are not EVENTS_MIN younger ones: one bad batch among many is no poison."""
OLD_S = 600.0
"""Events that are older do not count at all."""
REPEAT_S = 60.0
"""How often it is said again while it goes on."""
CODES_SHOWN = 3


class Phase(Enum):
    """What is to be said: that poison has begun, that it goes on, that it has ended."""

    BEGUN = "begun"
    ONGOING = "ongoing"
    ENDED = "ended"


class Poison(NamedTuple):
    """What is to be said now, and the numbers of the window that it rests on."""

    phase: Phase
    rejected: int
    seen: int
    codes: tuple[tuple[str, int], ...]
    """The most frequent reject codes, the first one first."""

    def words(self) -> str:
        """Return it as a sentence, for a log."""
        codes = ", ".join(f"{code} {count}" for code, count in self.codes)
        if not self.seen:
            return (
                f"no event has arrived for {OLD_S:.0f} s: it is no longer known whether nearly everything is rejected"
            )
        if self.phase is Phase.ENDED:
            return f"{self.rejected} of the last {self.seen} events were rejected: it is no longer nearly everything"
        return (
            f"{self.rejected} of the last {self.seen} events were rejected, mostly as {codes}: a fault of ours or a broken "
            f"sender is likely. Nothing is lost, usage.dead-letter holds them: see docs/operating.md, Poison"
        )


class _Bucket:
    """What arrived at one time."""

    __slots__ = ("at_s", "codes", "seen")

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s
        self.seen = 0
        self.codes: Counter[str] = Counter()


class PoisonWatch:
    """The share of rejects among the events of a partition lately, and when to say something about it."""

    def __init__(self) -> None:
        self._buckets: deque[_Bucket] = deque()
        self._seen = 0
        self._codes: Counter[str] = Counter()
        self._accepted_at_s = float("-inf")
        self._said_at_s = 0.0
        self.poisoned = False
        """Whether nearly everything is rejected."""

    def note(self, now_s: float, seen: int, rejects: Mapping[str, int]) -> Poison | None:
        """Count a round and return what is to be said, None when there is nothing.

        `now_s` is of a monotonic clock; `seen` events, a record that is rejected as a whole counting as one, of which
        those in `rejects`, by code, were rejected. A round of nothing only lets time pass.
        """
        rejected = sum(rejects.values())
        if not 0 <= rejected <= seen:
            raise ValueError(f"{rejected} rejects of {seen} events")
        if seen > rejected:
            self._accepted_at_s = now_s
        self._add(now_s, seen, rejects)
        self._forget(now_s)
        return self._judge(now_s)

    def _add(self, now_s: float, seen: int, rejects: Mapping[str, int]) -> None:
        if not seen:
            return
        if not self._buckets or now_s - self._buckets[-1].at_s >= 1.0:  # bounds their number by OLD_S
            self._buckets.append(_Bucket(now_s))
        bucket = self._buckets[-1]
        bucket.seen += seen
        bucket.codes.update(rejects)
        self._seen += seen
        self._codes.update(rejects)

    def _forget(self, now_s: float) -> None:
        while self._buckets:
            oldest = self._buckets[0]
            age_s = now_s - oldest.at_s
            if age_s <= RECENT_S or (age_s <= OLD_S and self._seen - oldest.seen < EVENTS_MIN):
                return
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = self._buckets.popleft()
        self._seen -= oldest.seen
        self._codes -= oldest.codes  # and what has come to 0

    def _judge(self, now_s: float) -> Poison | None:
        if not self.poisoned:
            if not self._begins(now_s):
                return None
            self.poisoned = True
            return self._say(now_s, Phase.BEGUN)
        if self._codes.total() <= END_SHARE * self._seen:
            self.poisoned = False
            return self._say(now_s, Phase.ENDED)
        if now_s - self._said_at_s >= REPEAT_S:
            return self._say(now_s, Phase.ONGOING)
        return None

    def _begins(self, now_s: float) -> bool:
        if self._seen >= EVENTS_MIN and self._codes.total() >= BEGIN_SHARE * self._seen:
            return True
        if now_s - self._accepted_at_s < STANDSTILL_S:
            return False
        rejected_only = [bucket for bucket in self._buckets if bucket.at_s > self._accepted_at_s]
        rejected = sum(bucket.seen for bucket in rejected_only)
        if rejected < STANDSTILL_EVENTS_MIN or now_s - rejected_only[0].at_s < STANDSTILL_S:
            return False
        while self._buckets[0] is not rejected_only[0]:
            self._drop_oldest()  # what was accepted before the standstill would end it at once
        return True

    def _say(self, now_s: float, phase: Phase) -> Poison:
        self._said_at_s = now_s
        return Poison(phase, self._codes.total(), self._seen, tuple(self._codes.most_common(CODES_SHOWN)))
