"""The alarm of a partition: says it loudly when nearly everything is rejected (R2.3), and stops only if it is told to."""

import logging
from collections import Counter

from pipeline.domain.records import EVENTS_TOPIC
from pipeline.observe.counters import Counters
from pipeline.observe.poison import Phase, PoisonWatch
from pipeline.rating.ledger import Effects

log = logging.getLogger(__name__)


class PoisonError(Exception):
    """Nearly everything of a partition is rejected, and the settings say to stop then."""


class PoisonAlarm:
    """Watch what the rounds of a partition come to.

    Only usage events count: accepted grants leave no effect of their own that could be counted against rejected ones.
    """

    def __init__(self, partition: int, counters: Counters, *, stop: bool = False) -> None:
        self._partition = partition
        self._counters = counters
        self._stop = stop
        self._watch = PoisonWatch()

    def note(self, effects: Effects, now_s: float) -> None:
        """Note effects that are about to be written; `now_s` is of a monotonic clock.

        Raises PoisonError when it is to stop: the round is then not written, and comes again once the cause is mended.
        """
        letters = [letter for letter in effects.dead_letters if letter.record.topic == EVENTS_TOPIC]
        whole = sum(letter.index is None for letter in letters)
        poison = self._watch.note(now_s, effects.events + whole, Counter(letter.code for letter in letters))
        if self._watch.poisoned:
            self._counters.add("poisoned", len(letters))
        if poison is None:
            return
        if poison.phase is Phase.ENDED:
            log.warning("partition %d: %s", self._partition, poison.words())
            return
        log.critical("partition %d: %s", self._partition, poison.words())
        if self._stop:
            raise PoisonError(
                f"partition {self._partition}: nearly everything is rejected, and worker_poison_stop says to stop then. Mend the "
                f"cause and start again; or unset worker_poison_stop to go on with the dead letters holding it"
            )
