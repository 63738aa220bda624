"""Keep a client that cannot reach its broker from filling the log."""

import logging
import time

AIOKAFKA_LOGGERS = ("aiokafka", "aiokafka.conn", "aiokafka.consumer.fetcher", "aiokafka.producer.sender")
"""Those that say the same many times a second while a broker is away. A filter does not reach a logger's children."""
PAUSE_S = 10.0


class RepeatFilter(logging.Filter):
    """Let the same message through once in `PAUSE_S` seconds; its arguments do not count."""

    def __init__(self) -> None:
        super().__init__()
        self._next_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the record is to be logged."""
        now_s = time.monotonic()
        if now_s < self._next_s.get(record.msg, 0.0):
            return False
        self._next_s[record.msg] = now_s + PAUSE_S
        return True


def limit_repeats() -> None:
    """Log each of aiokafka's recurring messages once in a while only; asking again changes nothing."""
    for name in AIOKAFKA_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, RepeatFilter) for known in logger.filters):
            logger.addFilter(RepeatFilter())
