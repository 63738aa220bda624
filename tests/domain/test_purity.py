import ast
from pathlib import Path

import pytest

import pipeline.domain

SOURCES = sorted(Path(pipeline.domain.__file__).parent.rglob("*.py"))
FORBIDDEN = {"now", "today", "utcnow", "fromtimestamp", "time_ns", "monotonic", "perf_counter", "random", "shuffle"}


@pytest.mark.rule("R3.3", "R5.1")
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_rules_read_no_clock_and_compute_in_no_float(path: Path) -> None:
    """No source of the domain divides inexactly, holds a float, or names what tells the time or draws lots."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        divides = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)
        inexact = divides or (isinstance(node, ast.Constant) and isinstance(node.value, float))
        converts = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"

        assert name not in FORBIDDEN, f"{path.name}:{node.lineno} uses {name}"
        assert not inexact, f"{path.name}:{node.lineno} computes in floats"
        assert not converts, f"{path.name}:{node.lineno} makes a float"
