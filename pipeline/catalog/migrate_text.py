"""Small edits of a catalog file's text, at the places that reading it found: comments and layout stay."""

import re
import textwrap

import yaml

from pipeline.catalog.faults import Path
from pipeline.catalog.positions import YamlFile, read_yaml
from pipeline.catalog.rows import Row


def replace_scalar(text: str, file: YamlFile, path: Path, value: str) -> str:
    """Return the text with another scalar at a path; `value` is YAML, quotes included."""
    mark = file.mark(path)
    lines = text.splitlines(keepends=True)
    line, column = lines[mark.line - 1], mark.column - 1
    quote = line[column] if line[column] in "'\"" else None
    found = re.compile(r"\".*?\"|'.*?'" if quote else r"[^,}\]#\s]+").match(line, column)
    assert found is not None
    lines[mark.line - 1] = f"{line[:column]}{value}{line[found.end() :]}"
    return "".join(lines)


def insert_before(text: str, row: Row, other: Row, other_text: str, comment: str) -> str:
    """Return the text with another file's row before a row of a block list, which gets a comment.

    The other row's text is taken as it stands, when it is an item of a block list too; else it is written anew.
    """
    lines = text.splitlines(keepends=True)
    at = row.file.mark(row.path).line - 1
    indent = _dash(lines[at])
    if indent is None:
        raise ValueError(f"{row.place()}: the plans are no list with an item a line, begun with '- '")
    item = _item_text(other, other_text) or _dumped(other)
    block = textwrap.indent(item, " " * indent).rstrip("\n")
    return "".join([*lines[:at], f"{block}\n\n{' ' * indent}# {comment}\n", *lines[at:]])


def _dash(line: str) -> int | None:
    """Return the column of the dash that begins an item on a line, None when there is none."""
    bare = line.lstrip(" ")
    return len(line) - len(bare) if bare.startswith("- ") else None


def _item_text(row: Row, text: str) -> str | None:
    """Return an item of a block list as it stands, without indentation; None when it is laid out otherwise."""
    lines = text.splitlines(keepends=True)
    first = row.file.mark(row.path).line - 1
    indent = _dash(lines[first])
    if indent is None:
        return None
    last = first + 1
    for number in range(first + 1, len(lines)):
        bare = lines[number].strip()
        if not bare or bare.startswith("#"):
            continue
        if len(lines[number]) - len(lines[number].lstrip(" ")) <= indent:
            break
        last = number + 1
    item = "".join(line[indent:] if line.strip() else "\n" for line in lines[first:last])
    read = read_yaml("item", item.encode())
    return item if not read.faults and read.root == [row.value] else None


def _dumped(row: Row) -> str:
    text: str = yaml.safe_dump([row.value], sort_keys=False, allow_unicode=True, width=110)
    return text


def append_item(text: str, name: str, section: str, item: str) -> str:
    """Return the text with an item at the end of a top-level list; the list is begun when there is none.

    Raises ValueError for a list that has no item a line.
    """
    file = read_yaml(name, text.encode())
    rows = file.root.get(section)
    text = text if text.endswith("\n") or not text else text + "\n"
    if section not in file.root:
        return f"{text}\n{section}:\n  - {item}\n"
    if not rows:
        raise ValueError(
            f"{name}: write {section} as a list with an item a line, begun with '- ', or remove the empty one"
        )
    lines = text.splitlines(keepends=True)
    first = file.mark((section, len(rows) - 1)).line - 1
    indent = _dash(lines[first])
    if indent is None:
        raise ValueError(f"{name}: write {section} as a list with an item a line, begun with '- '")
    last = first + 1
    while last < len(lines) and lines[last].strip() and len(lines[last]) - len(lines[last].lstrip(" ")) > indent:
        last += 1
    return "".join([*lines[:last], f"{' ' * indent}- {item}\n", *lines[last:]])
