"""Keep the log readable while a server is away: libraries repeat the same complaint many times a second."""

import logging
import time

REPEAT_S = 30.0
"""How often the same complaint is shown."""
_CHATTY = ("aiokafka", "asyncio")


class Repeats(logging.Filter):
    """Drops what a chatty library has said in the same words within REPEAT_S."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is shown."""
        if not record.name.startswith(_CHATTY):
            return True
        words = (record.name, str(record.msg))  # the template: bounded in number, unlike the text
        now = time.monotonic()
        if now - self._said_at.get(words, -REPEAT_S) < REPEAT_S:
            return False
        self._said_at[words] = now
        return True


def hush_libraries(log_level: str) -> None:
    """Show the libraries' warnings only, and each one rarely; at level DEBUG show everything."""
    if log_level == "DEBUG":
        return
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # what it logs, it raises too
    for handler in logging.getLogger().handlers:
        handler.addFilter(Repeats())
