"""A tolerant view of a catalog's rows: what is malformed is absent here, and `form` has reported it."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pipeline.catalog.faults import Fault, Path
from pipeline.catalog.positions import YamlFile


class Row(NamedTuple):
    """A mapping in a catalog file, such as one plan or one allowance."""

    file: YamlFile
    path: Path
    value: dict[str, Any]

    def text(self, key: str) -> str | None:
        """Return the text under a key, None without one."""
        value = self.value.get(key)
        return value if isinstance(value, str) else None

    def whole(self, key: str) -> int | None:
        """Return the whole number under a key, None without one."""
        value = self.value.get(key)
        return value if isinstance(value, int) else None

    def texts(self, key: str) -> list[tuple[int, str]]:
        """Return the texts of the list under a key with their indexes."""
        value = self.value.get(key)
        items = value if isinstance(value, list) else []
        return [(index, item) for index, item in enumerate(items) if isinstance(item, str)]

    def rows(self, key: str) -> list["Row"]:
        """Return the mappings of the list under a key."""
        value = self.value.get(key)
        items = value if isinstance(value, list) else []
        return [Row(self.file, (*self.path, key, i), item) for i, item in enumerate(items) if isinstance(item, dict)]

    def child(self, key: str) -> "Row":
        """Return the mapping under a key; the empty one without it."""
        value = self.value.get(key)
        return Row(self.file, (*self.path, key), value if isinstance(value, dict) else {})

    def fault(self, steps: Path, message: str, hint: str = "") -> Fault:
        """Return a fault of the value at `steps` below this row."""
        return self.file.fault((*self.path, *steps), message, hint)

    def place(self) -> str:
        """Return where the row stands, as `file:line`."""
        return f"{self.file.name}:{self.file.mark(self.path).line}"


def rows_of(files: Iterable[YamlFile], section: str) -> Iterator[Row]:
    """Yield the rows of a section such as `plans` of all files, in order."""
    for file in files:
        if isinstance(file.root, dict):
            yield from Row(file, (), file.root).rows(section)


def plan_key(row: Row, version: str = "version", plan: str = "id") -> tuple[str, int] | None:
    """Return the (plan, version) that a row names, None when it names none."""
    name, number = row.text(plan), row.whole(version)
    return (name, number) if name is not None and number is not None else None
