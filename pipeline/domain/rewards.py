"""What providers are owed for a calendar month: a ledger of its own, never mixed with payouts (R8.2, R11.7)."""

from dataclasses import dataclass
from typing import Any

from pipeline.domain.statements import format_exact

NOT_IN_CATALOG = "(not in catalog)"
"""Shown as the provider of models that the catalog did not have, and of lines from before lines named it."""


@dataclass(frozen=True, slots=True)
class RewardRow:
    """One model of one provider. Amounts are exact picodollars."""

    provider: str
    """Empty when the catalog did not have the model."""
    model: str
    lines: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_pico: int
    """What the calls cost, those that nobody was charged for included."""
    reward_pico: int
    """What was charged for them on behalf of the provider (R6.9)."""

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON: exact amounts as decimal strings and as integers."""
        return {
            "provider": self.provider or NOT_IN_CATALOG,
            "model": self.model,
            "lines": self.lines,
            "input_tokens": self.input_tokens,
            "cached_input_tokens": self.cached_input_tokens,
            "output_tokens": self.output_tokens,
            "cost": format_exact(self.cost_pico),
            "cost_pico": self.cost_pico,
            "reward": format_exact(self.reward_pico),
            "reward_pico": self.reward_pico,
        }


@dataclass(frozen=True, slots=True)
class RewardReport:
    """The provider rewards of a month, by provider and model."""

    month: str
    currency: str | None
    rows: tuple[RewardRow, ...]

    def providers(self) -> list[tuple[str, int, int]]:
        """Return (provider, cost, reward) of each provider, in picodollars; the name is empty as in rows."""
        names = sorted({row.provider for row in self.rows})
        return [
            (
                name,
                sum(row.cost_pico for row in self.rows if row.provider == name),
                sum(row.reward_pico for row in self.rows if row.provider == name),
            )
            for name in names
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "month": self.month,
            "currency": self.currency,
            "rows": [row.as_dict() for row in self.rows],
            "providers": [
                {
                    "provider": name or NOT_IN_CATALOG,
                    "cost": format_exact(cost_pico),
                    "cost_pico": cost_pico,
                    "reward": format_exact(reward_pico),
                    "reward_pico": reward_pico,
                }
                for name, cost_pico, reward_pico in self.providers()
            ],
        }
