"""What an audit looks at, and what it found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Scope:
    """What is audited: a period, named by its first day (R3.1), and one customer or all; and how much is shown."""

    period: str
    customer: str | None = None
    findings_max: int = 20
    """Findings that a check names; all are counted."""

    def of_customer(self, column: str = "customer") -> str:
        """Return the SQL condition that holds for the rows of the customers in scope."""
        return "1" if self.customer is None else f"{column} = {{customer:String}}"

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of queries with `{period:Date}` and `of_customer`."""
        return {"period": self.period, "customer": self.customer or ""}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `seq` is None when it is about no line; amounts are picodollars."""

    customer: str
    seq: int | None
    what: str
    expected: Any = None
    found: Any = None

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON."""
        return {
            "customer": self.customer,
            "seq": self.seq,
            "what": self.what,
            "expected": self.expected,
            "found": self.found,
        }


@dataclass(slots=True)
class Check:
    """One check: what it holds (`about`, `rules`), and what it found; notes are no damage."""

    name: str
    rules: tuple[str, ...]
    about: str
    findings: list[Finding] = field(default_factory=list)
    count: int = 0
    """All findings; `findings` names the first of them."""
    notes: list[str] = field(default_factory=list)

    def add(self, finding: Finding, findings_max: int) -> None:
        """Count a finding, and keep it while there is room."""
        self.count += 1
        if len(self.findings) < findings_max:
            self.findings.append(finding)

    def as_dict(self) -> dict[str, Any]:
        """Return the check as JSON."""
        return {
            "check": self.name,
            "rules": list(self.rules),
            "about": self.about,
            "count": self.count,
            "findings": [finding.as_dict() for finding in self.findings],
            "notes": self.notes,
        }


def differing(expected: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parts of two rows in which they differ."""
    names = [name for name in expected if expected[name] != found.get(name)]
    return {name: expected[name] for name in names}, {name: found.get(name) for name in names}
