"""Checks the form of a catalog file against `schemas/catalog.schema.json` and explains faults without its jargon.

The schema alone says which keys there are, which values they take, and (in `errorMessage`, which editors show too)
what to write instead.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend

from pipeline.catalog.faults import Fault, Path, Unfit, shown, suggestion
from pipeline.catalog.positions import YamlFile
from pipeline.settings.resources import schema_path

_DECIMAL = re.compile(r"([0-9]+)(?:\.([0-9]+))?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TYPES = {"array": "a list", "object": "a mapping", "string": "text", "integer": "a whole number"}


class _Finding(NamedTuple):
    steps: Path
    """From the value that broke the schema to what is meant."""
    message: str
    hint: str = ""
    key: bool = False
    """Whether the key, not its value, is to blame."""


def form_faults(file: YamlFile) -> list[Fault]:
    """Return every fault of form of one file, none twice."""
    faults: dict[tuple[Path, str], Fault] = {}
    for error in _validator().iter_errors(file.root):
        path = tuple(error.absolute_path)
        for finding in _explained(error):
            whole = (*path, *finding.steps)
            fault = file.fault(whole, finding.message, finding.hint, key=finding.key)
            faults.setdefault((whole, finding.message), fault)
    return list(faults.values())


@cache
def _validator() -> Any:
    schema = json.loads(schema_path("catalog.schema.json").read_bytes())
    checked: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]
    return checked(_inlined(schema, schema["$defs"]), format_checker=FormatChecker(["date"]))


def _inlined(shape: Any, definitions: dict[str, Any]) -> Any:
    """Return a schema with its references replaced by what they refer to, which is checked twice as fast."""
    if isinstance(shape, list):
        return [_inlined(each, definitions) for each in shape]
    if not isinstance(shape, dict):
        return shape
    whole = {key: _inlined(each, definitions) for key, each in shape.items() if key not in ("$ref", "$defs")}
    if "$ref" in shape:
        return _inlined(definitions[shape["$ref"].removeprefix("#/$defs/")], definitions) | whole
    return whole


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:  # noqa: ARG001
    # Python's `$` also matches before a final line end, JSON Schema's does not.
    if isinstance(value, str) and re.search(pattern.replace("$", r"\Z"), value) is None:
        yield ValidationError("pattern")


def _explained(error: ValidationError) -> Iterator[_Finding]:
    value: Any = error.instance
    schema: Any = error.schema
    wanted: Any = error.validator_value
    explain = _EXPLANATIONS.get(str(error.validator))
    if explain is None:
        return iter([_Finding((), error.message, schema.get("errorMessage", ""))])
    if error.validator == "pattern" and "propertyNames" in error.absolute_schema_path:
        return iter([_Finding((value,), f"the name {_bad_text(value)}", schema.get("errorMessage", ""), key=True)])
    return explain(value, wanted, schema)


def _unknown_keys(value: Any, _: Any, schema: Any) -> Iterator[_Finding]:
    known = schema["properties"]
    for key in value:
        if key not in known:
            yield _Finding((key,), "is an unknown key", suggestion(key, known), key=True)


def _missing_keys(value: Any, required: Any, schema: Any) -> Iterator[_Finding]:
    for name in required:
        if name not in value:
            yield _Finding((name,), "is missing", _advice(schema["properties"][name]) or "add it")


def _advice(schema: Any) -> str:
    """Return what a key's schema says to write."""
    return schema.get("errorMessage") or (f"write {' or '.join(schema['enum'])}" if "enum" in schema else "")


def _choice(value: Any, branches: Any, _: Any) -> Iterator[_Finding]:
    names = [branch["required"][0] for branch in branches]
    found = [name for name in names if name in value]
    choice = f"{', '.join(names[:-1])} and {names[-1]}"
    if found:
        yield _Finding((), f"has {' and '.join(found)}, but may have only one of {choice}", "keep one of them")
    else:
        yield _Finding((), f"has none of {choice}", "add exactly one of them")


def _wrong_type(value: Any, wanted: Any, schema: Any) -> Iterator[_Finding]:
    types = [wanted] if isinstance(wanted, str) else wanted
    goal = " or ".join(_TYPES[name] for name in types if name != "null")
    hint: str = schema.get("errorMessage", "")
    if "string" in types and isinstance(value, int | Unfit):
        text = value.text if isinstance(value, Unfit) else str(value)
        kind = value.kind if isinstance(value, Unfit) else "number"
        yield _Finding((), f"{shown(value)} is a {kind}, not text", f"write it in quotes: {shown(text)}")
    elif isinstance(value, Unfit):
        yield _Finding((), f"{shown(value)} is a {value.kind}, not {goal}", hint)
    elif isinstance(value, str) and types == ["integer"]:
        advice = "write it without quotes" if value.isdecimal() else hint
        yield _Finding((), f"{shown(value)} is text, not a whole number", advice)
    else:
        yield _Finding((), f"is {shown(value)}, not {goal}", hint)


def _not_listed(value: Any, known: Any, _: Any) -> Iterator[_Finding]:
    yield _Finding((), f"{shown(value)} is none of {', '.join(known)}", suggestion(_bare(value), known))


def _bare(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def _out_of_range(value: Any, bound: Any, schema: Any) -> Iterator[_Finding]:
    relation = "less" if value < bound else "more"
    yield _Finding((), f"{shown(value)} is {relation} than {bound}", schema.get("errorMessage", ""))


def _bad_form(value: Any, pattern: Any, schema: Any) -> Iterator[_Finding]:
    message = _bad_decimal(value, pattern) if "integer" in schema["type"] else _bad_text(value)
    yield _Finding((), f"{shown(value)} {message}", schema.get("errorMessage", ""))


def _bad_decimal(value: str, pattern: str) -> str:
    found = _DECIMAL.fullmatch(value)
    if found is None:
        return "is not a decimal number >= 0"
    if found[2] is not None and re.search(pattern, found[1]):
        return f"has too many decimals ({len(found[2])})"
    return "is too large"


def _bad_text(value: str) -> str:
    if not value:
        return "is empty"
    if _CONTROL.search(value):
        return "holds a control character"
    return f"is too long ({len(value)} characters)" if len(value) > 128 else "is not what is expected here"


def _no_day(value: Any, _: Any, schema: Any) -> Iterator[_Finding]:
    yield _Finding((), f"{shown(value)} is not a day", schema.get("errorMessage", ""))


def _empty(_: Any, __: Any, schema: Any) -> Iterator[_Finding]:
    yield _Finding((), "is empty", schema.get("errorMessage", ""))


_EXPLANATIONS: dict[str, Callable[[Any, Any, Any], Iterator[_Finding]]] = {
    "additionalProperties": _unknown_keys,
    "required": _missing_keys,
    "oneOf": _choice,
    "type": _wrong_type,
    "enum": _not_listed,
    "minimum": _out_of_range,
    "maximum": _out_of_range,
    "pattern": _bad_form,
    "format": _no_day,
    "minItems": _empty,
}
