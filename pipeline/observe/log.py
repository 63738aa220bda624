"""One readable log: a line an event, and libraries that say the same again and again only now and then."""

import logging
import time

REPEAT_S = 30.0
"""How often the same complaint of a library is shown."""
_CHATTY = ("aiokafka", "asyncio")
_LIBRARIES = {
    "aiokafka": logging.WARNING,
    "aiokafka.consumer.group_coordinator": logging.CRITICAL,  # we say ourselves what happens to partitions
    "clickhouse_connect": logging.CRITICAL,  # what it logs, it raises too
    "faust": logging.WARNING,
    "mode": logging.ERROR,
    "pipeline.stream.app": logging.WARNING,  # Faust logs through it
}


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


def log_to_stderr(log_level: str) -> None:
    """Log to standard error; at DEBUG nearly everything, else of the libraries only what a reader can use."""
    logging.basicConfig(
        level=log_level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    if log_level.upper() == "DEBUG":
        logging.getLogger("aiokafka").setLevel(logging.INFO)  # at DEBUG it logs what is in the records
        return
    for name, level in _LIBRARIES.items():
        logging.getLogger(name).setLevel(level)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Repeats())
