"""Whatever a catalog file holds, it loads or is refused with faults; nothing else ever happens."""

import tempfile
from datetime import date
from pathlib import Path
from random import Random

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.catalog import CatalogError, load_catalog
from pipeline.domain.catalog import Catalog
from tests.catalog.support import GOOD, write
from tests.model.case_catalog import make_catalog

TOKENS = [
    "~", "5", "-1", "0.5", "yes", "''", "[]", "{}", "[1]", "{a: b}", "*x", "&x", "!!str", "<<", "2026-02-30", ": ", "- ",
    '"', "'", "\t", "\n", "#", "---\n", "|\n", "\x00", "\ufeff", "é", "99999999999999999999999999999999999999999",
]  # fmt: skip
WORDS = sorted({word for line in GOOD.splitlines() for word in line.replace("{", " ").replace("}", " ").split()})


def outcome(content: bytes) -> Catalog | None:
    """Return the catalog that a file holds, None when it was refused with faults."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), content)
        try:
            return load_catalog(path)
        except CatalogError as error:
            faults = error.faults
    assert faults
    assert all(fault.line >= 0 and fault.message and str(fault) for fault in faults)
    return None


@st.composite
def edited_texts(draw: st.DrawFn) -> str:
    """Draw the good catalog after some words were replaced, doubled, swapped or cut."""
    text = GOOD
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 12)))
        text = text[:begin] + draw(st.sampled_from([*TOKENS, *WORDS])) + text[end:]
    return text


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(edited_texts())
def test_edited_text_never_escapes(text: str) -> None:
    """A catalog with pieces of its text replaced is loaded or refused."""
    outcome(text.encode())


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_edited_values_never_escape(data: st.DataObject) -> None:
    """A catalog with any of its values or keys replaced by another kind of value is loaded or refused."""
    root = yaml.load(GOOD, yaml.BaseLoader)
    for _ in range(data.draw(st.integers(1, 3))):
        node = root
        while isinstance(node, dict | list) and node:
            key = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
            child = node[key]
            if not isinstance(child, dict | list) or not child or data.draw(st.booleans()):
                node[key] = data.draw(
                    st.sampled_from([None, 5, -1, 0.5, True, "", "x", [], {}, [1], {"id": "x"}, 10**40])
                )
                break
            node = child
    outcome(yaml.safe_dump(root).encode())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_bytes_never_escape(content: bytes) -> None:
    """Any bytes are loaded or refused."""
    assert outcome(content) is None


@pytest.mark.parametrize("seed", range(10))
def test_random_sound_catalogs_load(seed: int) -> None:
    """The catalogs of the random cases are sound, whatever order their keys and rows are written in."""
    catalog = make_catalog(Random(seed), date(2026, 11, 1))
    rows = list(catalog["plans"])
    Random(seed).shuffle(rows)

    first = outcome(yaml.safe_dump(catalog, allow_unicode=True).encode())
    second = outcome(yaml.safe_dump({**catalog, "plans": rows}).encode())

    assert first is not None
    assert first == second
