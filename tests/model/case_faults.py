"""Broken input of every kind for tests: events, grants and whole records that SPEC.md R2 refuses."""

import json
from random import Random
from typing import Any

MISSING = object()
BAD_STRINGS: list[Any] = [
    "",
    "x" * 129,
    "tab\there",
    "nul\x00",
    "del\x7f",
    "nel\x85",
    5,
    True,
    None,
    MISSING,
    ["a"],
    {},
]
BAD_COUNTS: list[Any] = [-1, 10**12 + 1, 1.5, 1.0, True, False, "3", [], 10**40, 1e300]
BAD_AMOUNTS: list[Any] = [
    *["-1", "-0", "+1", " 1", "1 ", "1e3", "1E-3", ".5", "1.", "", "abc", "NaN", "Infinity", "1_000", "1,5", "0x1"],
    *[
        "0.1234567890123",
        "0.0000000000000",
        "\u0661",
        "1000000000000000000",
        "9" * 128,
        "1" * 129,
        0.5,
        3,
        True,
        [],
        {},
    ],
]
BAD_TIMES: list[Any] = [
    *["yesterday", "2026-11-03", "2026-11-03T10:22:33", "2026-11-03 10:22:33Z", "2026-02-30T00:00:00Z"],
    *["2026-11-03T24:00:00Z", "2026-11-03T10:22:60Z", "2026-11-03T10:60:00Z", "2026-11-03T10:22:33+24:00"],
    *["2026-11-03T10:22:33+05:60", "2026-11-03T10:22:33+0530", "2026-11-03T10:22:33.Z", "2026-11-03T10:22:33,5Z"],
    *["2026-11-03T10:22Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "2026-13-01T00:00:00Z"],
    *[
        "2026-11-03T10:22:33Z ",
        "٢٠٢٦-11-03T10:22:33Z",
        "2026-11-03T10:22:33." + "1" * 120 + "Z",
        1793152033,
        None,
        MISSING,
    ],
    *["2026-11-03T10:22:33Z\n", "+2026-11-03T10:22:33Z", "26-11-03T10:22:33Z"],
]
BAD_FIELDS: list[tuple[str, list[Any]]] = [
    ("specversion", ["0.3", "1", 1, 1.0, None, MISSING]),
    ("type", ["ai.usage.v2", "AI.usage.v1", "", None, MISSING, 1]),
    *[(name, BAD_STRINGS) for name in ("id", "source", "subject")],
    ("time", BAD_TIMES),
    ("data", [None, MISSING, [], "data", 1, {}]),
    *[(f"data.{name}", BAD_STRINGS) for name in ("environment", "workspace", "feature", "model", "unit")],
    *[(f"data.{name}", BAD_COUNTS) for name in ("quantity", "input_tokens", "cached_input_tokens", "output_tokens")],
    ("data.cost", BAD_AMOUNTS),
    ("data.route", ["BYOK", "direct", "", 1, True, [], {}]),
    ("data.status", ["ok", "Failed", "", 0, False, []]),
    *[(f"data.{name}", ["", "x" * 129, "a\nb", 7, True, [], {}]) for name in ("operation", "request_type")],
]
NO_EVENTS = ['"not an event"', "null", "7", "true", "[]", "[{}]", "1.5", "NaN", "-Infinity", '"\\ud800"']


def put(plain: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with one field, at `path`, set or taken away."""
    head, _, rest = path.partition(".")
    if rest:
        return {**plain, head: put(plain[head], rest, value)}
    if value is MISSING:
        return {key: old for key, old in plain.items() if key != head}
    return {**plain, head: value}


def bad_event(rng: Random, event: dict[str, Any]) -> str:
    """Write an event that is malformed or has an invalid field."""
    form = rng.choice(["field"] * 7 + ["text"] * 2 + ["none"])
    if form == "none":
        return rng.choice(NO_EVENTS)
    if form == "field":
        path, values = rng.choice(BAD_FIELDS)
        return json.dumps(put(event, path, rng.choice(values)), ensure_ascii=rng.random() < 0.5)
    text = json.dumps(event)
    inside = text[: text.rindex("}")].rindex("}")  # where data ends
    return rng.choice(
        [
            text[:-1] + ', "id": "again"}',
            text[:-1] + f', "id": {json.dumps(event["id"])}' + "}",
            text[:inside] + ', "quantity": 1, "quantity": 1' + text[inside:],
            text[:inside] + ', "extra": {"a": 1, "a": 1}' + text[inside:],
            text[:inside] + ', "extra": NaN' + text[inside:],
            text[:-1] + ', "extra": [[-Infinity]]}',
            text[:inside] + ', "request_type": "\\ud83d"' + text[inside:],
            text[:-1] + ', "extra": "\\udc00\\ud800"}',
            text[:-1] + ', "\\ud800": 1}',
            text[:inside] + ', "output_tokens": ' + "9" * 5000 + text[inside:],  # doubled, or far too large
            text[:inside] + ', "quantity": NaN' + text[inside:],
        ],
    )


def scramble(rng: Random, text: str) -> str:
    """Take a character out of the text, put one in, or change one, a few times; at times it stays good JSON."""
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(len(text))
        put_in = rng.choice(
            ["", *'"{}[]:,\\0129-+.eE tnu/', "\x00", "\x1f", "\x7f", "\ud800", "é", "\u2028", "null", "\\u0000"]
        )
        text = text[:at] + put_in + text[at + rng.choice([0, 1]) :]
    return text


def bad_payload(rng: Random, good: str) -> str | None:
    """Return the payload of a record that is, most often, malformed as a whole."""
    if rng.random() < 0.5:
        return scramble(rng, good)
    return rng.choice(
        [
            good[: rng.randint(1, len(good) - 1)].rstrip("]}") or "{",
            good + "]",
            good + good,
            "\ufeff" + good,
            good.replace('"', "'"),
            "",
            "  \n",
            None,
            "[]",
            " [ ] ",
            "null",
            "17",
            '"text"',
            "NaN",
            "true",
            "{",
            "[{},]",
            '{"a": 1,}',
            "[" * 100_000,
            "[" * 100_000 + "]" * 100_000,
            '{"a": "tab\there"}',
            '{"a": 01}',
            "// comment\n" + good,
            good.encode().decode("latin-1") + "\x00",
        ],
    )


def bad_grant(rng: Random, grant: dict[str, Any]) -> str | None:
    """Write a grant or topup that breaks its form."""
    faults: list[tuple[str, list[Any]]] = [
        ("type", ["gift", "", None, MISSING, 1]),
        ("id", BAD_STRINGS),
        ("customer", [name for name in BAD_STRINGS if name != "x"]),
    ]
    if grant["type"] == "topup":
        faults += [("amount", [*BAD_AMOUNTS, None, MISSING])] * 3
    else:
        faults += [
            ("quantity", [*BAD_COUNTS, None, MISSING]),
            ("priority", [1.5, "5", True, 10**40, []]),
            ("effective_at", [value for value in BAD_TIMES if value is not None and value is not MISSING]),
            ("expires_at", [value for value in BAD_TIMES if value is not None and value is not MISSING]),
            ("credits", [[], "1", {"page": 0}, {"page": -1}, {"page": 1.0}, {"page": None}, {"": 1}, 3]),
            (
                "match",
                [[], "unit", {"colour": ["red"]}, {"unit": "page"}, {"unit": [1]}, {"unit": None}, {"unit": [""]}],
            ),
        ]
    form = rng.choice(["field"] * 5 + ["text"] * 2)
    if form == "field":
        path, values = rng.choice(faults)
        return json.dumps(put(grant, path, rng.choice(values)))
    text = json.dumps(grant)
    return rng.choice(
        [text[:-1], f"[{text}]", "", None, "null", text[:-1] + ', "id": "again"}', text[:-1] + ', "x": NaN}', "NaN"],
    )
