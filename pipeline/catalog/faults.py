"""What is wrong with a catalog, where, and what to do about it."""

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

Path = tuple[str | int, ...]
"""Keys and indexes that lead from a file's root to a value."""

_PLAIN_KEY = re.compile(r"[\w-]+")
_SHOWN_CHARACTERS_MAX = 60
_COMPARED_NAMES_MAX = 1000


class Fault(NamedTuple):
    """One fault of a catalog. `line` and `column` count from 1; 0 means that the whole file is meant."""

    file: str
    line: int
    column: int
    path: str
    """Such as `plans[2].budgets[0].amount`; empty for the file itself."""
    message: str
    hint: str
    """What to do; empty when the message says it."""

    def __str__(self) -> str:
        """Return the fault as one line that terminals and editors can jump to."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        where = f" {self.path}:" if self.path else ":"
        advice = f"; {self.hint}" if self.hint else ""
        return f"{place}{where} {self.message}{advice}"


class CatalogError(ValueError):
    """A catalog that must not be used, with every fault that was found."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


@dataclass(frozen=True, slots=True)
class Unfit:
    """A YAML scalar that no key of a catalog takes: a float, a boolean, a number in a special form, a tagged value."""

    text: str
    kind: str


def path_text(path: Path) -> str:
    """Return a path such as `plans[2].budgets[0].amount`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
    return text


def shown(value: Any) -> str:
    """Return a value as a message shows it, cut when long."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Unfit):
        text = value.text
    elif isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = "nothing" if value is None else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:_SHOWN_CHARACTERS_MAX]}..."


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return the advice to write the nearest known name, or which names there are."""
    names = sorted(known)
    if not names:
        return "there are none yet, add it first"
    if len(names) > _COMPARED_NAMES_MAX:
        return ""
    nearest = _nearest(word, tuple(names))
    if nearest is not None:
        return f"did you mean {nearest}?"
    return f"known are {', '.join(names)}" if len(names) <= 12 else ""


@lru_cache(maxsize=1024)
def _nearest(word: str, names: tuple[str, ...]) -> str | None:
    by_folded = {name.casefold(): name for name in names}
    found = difflib.get_close_matches(word.casefold()[:128], by_folded, n=1)
    return by_folded[found[0]] if found else None
