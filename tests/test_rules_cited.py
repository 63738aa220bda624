"""Every rule of SPEC.md that the pipeline computes is held by a test that names it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

RULES_OF_SECTION = {2: 6, 3: 3, 4: 5, 5: 4, 6: 10, 7: 3, 8: 3, 9: 6, 10: 4, 11: 7}
"""Of SPEC.md; sections 9 to 11 are ours (docs/rules.md)."""
RULES = [f"R{section}.{rule}" for section, count in RULES_OF_SECTION.items() for rule in range(1, count + 1)]
TESTS = Path(__file__).parent


def citations(path: Path) -> Iterator[tuple[int, ast.expr]]:
    """Yield line and argument of every `pytest.mark.rule(...)` that marks a test, a class or, as pytestmark, a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        marks: list[ast.expr] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name.lower().startswith("test"):
                marks = node.decorator_list
        elif isinstance(node, ast.Assign) and any(
            isinstance(each, ast.Name) and each.id == "pytestmark" for each in node.targets
        ):
            marks = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
        for mark in marks:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.rule":
                yield from ((mark.lineno, argument) for argument in mark.args)


@cache
def all_citations() -> list[tuple[str, str]]:
    found = []
    for path in sorted(TESTS.rglob("test_*.py")):
        for line, argument in citations(path):
            assert isinstance(argument, ast.Constant), f"{path}:{line}: a rule's number is written out"
            found.append((str(argument.value), f"{path.relative_to(TESTS)}:{line}"))
    return found


def test_there_are_as_many_rules_as_the_spec_has() -> None:
    """The list holds the rules of sections 2 to 11."""
    assert (RULES[0], RULES[-1], len(RULES)) == ("R2.1", "R11.7", 51)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_cited_by_a_test(rule: str) -> None:
    """At least one test says that it holds the rule."""
    assert rule in {number for number, _ in all_citations()}


def test_no_citation_names_an_unknown_rule() -> None:
    """A number that the spec does not have is a slip."""
    assert [(number, place) for number, place in all_citations() if number not in RULES] == []
