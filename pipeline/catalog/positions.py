"""YAML to plain data that knows the line and column of every key and value.

Only what a catalog needs of YAML is let through: text, whole numbers, lists and mappings. Days stay text; a key
without a value counts as absent. Floats, booleans and tagged values become `Unfit`, which fits nowhere. Aliases are
followed, but may repeat only a bounded number of values, so that no file can blow up.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from pipeline.catalog.faults import Fault, Path, Unfit, path_text

DEPTH_MAX = 24
ALIASED_VALUES_MAX = 1_000_000

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,29})", re.ASCII)
_KINDS = {"bool": "boolean", "float": "float", "int": "number in a special form"}


class Mark(NamedTuple):
    """A place in a file; both count from 1."""

    line: int
    column: int


class MappingNode(dict[str, Any]):
    """A mapping with the places of its keys and values; keys without a value have a place only."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_at: dict[str, Mark] = {}
        self.values_at: dict[str, Mark] = {}


class SequenceNode(list[Any]):
    """A list with the places of its items."""

    def __init__(self) -> None:
        super().__init__()
        self.items_at: list[Mark] = []


class YamlFile(NamedTuple):
    """One file as it was read: its root value, and what is wrong with it as YAML."""

    name: str
    root: Any
    faults: list[Fault]

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """Return the place of the value at a path (its key's with `key`), or of the nearest value around it."""
        node, mark = self.root, Mark(1, 1)
        for depth, step in enumerate(path, start=1):
            if isinstance(node, MappingNode) and isinstance(step, str) and step in node.keys_at:
                of_key = step not in node or (key and depth == len(path))
                mark = node.keys_at[step] if of_key else node.values_at[step]
                node = node.get(step)
            elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node):
                mark, node = node.items_at[step], node[step]
            else:
                break
        return mark

    def fault(self, path: Path, message: str, hint: str = "", *, key: bool = False) -> Fault:
        """Return a fault of the value at a path."""
        return Fault(self.name, *self.mark(path, key=key), path_text(path), message, hint)


def read_yaml(name: str, content: bytes) -> YamlFile:
    """Read one YAML document; whatever is wrong with it is among the file's faults."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place(content[: error.start].decode())
        return YamlFile(name, None, [Fault(name, line, column, "", "is not UTF-8 text", "save the file as UTF-8")])
    reader = _Reader(name, yaml.parse(text, Loader=_Loader))
    try:
        root = reader.document()
    except _UnreadableError as error:
        return YamlFile(name, None, [*reader.faults, error.fault])
    except yaml.MarkedYAMLError as error:
        return YamlFile(name, None, [*reader.faults, _syntax_fault(name, error)])
    except yaml.reader.ReaderError as error:
        line, column = _place(text[: error.position])
        message = f"holds a character that YAML forbids (code {error.character})"
        return YamlFile(name, None, [Fault(name, line, column, "", message, "remove it")])
    return YamlFile(name, root, reader.faults)


class _UnreadableError(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(str(fault))


def _place(before: str) -> Mark:
    return Mark(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _syntax_fault(name: str, error: yaml.MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    begin = f" that begins in line {error.context_mark.line + 1}" if error.context_mark else ""
    reason = f"{error.context}{begin}, {error.problem}" if error.context else error.problem
    return Fault(name, line, column, "", f"is not YAML: {reason}", "check indentation, quotes and brackets here")


class _Reader:
    """Builds the data from YAML events; recursion is as deep as the data, at most DEPTH_MAX."""

    def __init__(self, name: str, events: Iterator[Any]) -> None:
        self.faults: list[Fault] = []
        self._name = name
        self._events = events
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._values = 0
        self._aliased = 0

    def document(self) -> Any:
        next(self._events)  # the stream's start
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return None
        root = self._value(next(self._events), ())
        next(self._events)  # the document's end
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            self._fault(event, (), "holds a second YAML document", "put it into a file of its own in a folder")
        return root

    def _fault(self, event: Any, path: Path, message: str, hint: str) -> None:
        self.faults.append(self._fault_at(event, path, message, hint))

    def _fault_at(self, event: Any, path: Path, message: str, hint: str) -> Fault:
        return Fault(self._name, *_mark(event), path_text(path), message, hint)

    def _value(self, event: Any, path: Path) -> Any:
        if len(path) > DEPTH_MAX:
            raise _UnreadableError(self._fault_at(event, (), f"nests deeper than {DEPTH_MAX} levels", "flatten it"))
        if isinstance(event, yaml.AliasEvent):
            return self._aliased_value(event, path)
        before = self._values
        self._values += 1
        if isinstance(event, yaml.MappingStartEvent):
            value: Any = self._mapping(path)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path)
        else:
            value = _scalar(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._values - before
        return value

    def _aliased_value(self, event: Any, path: Path) -> Any:
        if event.anchor not in self._anchors:
            hint = "define the anchor earlier, and not around its own alias"
            self._fault(event, path, f"alias *{event.anchor} has no anchor before it", hint)
            return None
        value, size = self._anchors[event.anchor]
        self._values += size
        self._aliased += size
        if self._aliased > ALIASED_VALUES_MAX:
            message = f"aliases repeat more than {ALIASED_VALUES_MAX:,} values"
            raise _UnreadableError(self._fault_at(event, path, message, "write the values out"))
        return value

    def _sequence(self, path: Path) -> SequenceNode:
        node = SequenceNode()
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            node.items_at.append(_mark(event))
            node.append(self._value(event, (*path, len(node))))
        return node

    def _mapping(self, path: Path) -> MappingNode:
        node = MappingNode()
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path)
            value_event = next(self._events)
            value = self._value(value_event, (*path, key if key is not None else "?"))
            if key is None:
                continue
            if key in node.keys_at:
                line = node.keys_at[key].line
                self._fault(event, (*path, key), f"stands twice, first in line {line}", "keep one of them")
                continue
            node.keys_at[key] = _mark(event)
            if value is not None:
                node[key] = value
                node.values_at[key] = _mark(value_event)
        return node

    def _key(self, event: Any, path: Path) -> str | None:
        if not isinstance(event, yaml.ScalarEvent):
            self._value(event, (*path, "?"))
            self._fault(event, path, "has a key that is not text", "write keys as plain text")
            return None
        key: str = event.value
        if key == "<<" and event.implicit[0]:
            self._fault(event, (*path, key), "merge keys are not supported", "write the keys out")
            return None
        return key


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _scalar(event: Any) -> Any:
    text: str = event.value
    plain, quoted = event.implicit
    if not plain:
        return text if quoted or event.tag in ("!", f"{_TAG}str") else Unfit(text, "value with a YAML tag")
    if text in _NULL:
        return None
    if _WHOLE.fullmatch(text):
        return int(text)
    for tag, pattern in _Loader.yaml_implicit_resolvers.get(text[:1], ()):
        kind = _KINDS.get(tag.removeprefix(_TAG))
        if kind is not None and pattern.match(text):
            return Unfit(text, kind)
    return text
