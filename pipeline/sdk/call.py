"""What one metered call has used, as models' answers come in."""

from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from pipeline.sdk.tokens import ModelUsage, usage_in


class Used(NamedTuple):
    """What the calls of one model have used together, as fields of an event."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost: str | None = None


class Call:
    """One metered call. `quantity` may be set until it ends. None of its methods raises."""

    def __init__(self) -> None:
        self.quantity: int | None = None
        self.last: object = None
        """The last answer or chunk."""
        self.fault: Exception | None = None
        self._used: dict[str | None, Used] = {}
        self._streamed: ModelUsage | None = None

    def record(self, answer: object, *, model: str | None = None, cost: str | Decimal | None = None) -> None:
        """Add a model's answer, and what the provider says that it cost. One that says nothing of usage adds nothing."""
        self.last = answer
        try:
            self._end_stream()
            found = usage_in(answer)
            if found is not None or model is not None or cost is not None:
                self._add(found or ModelUsage(None, 0, 0, 0), model, cost)
        except Exception as error:  # noqa: BLE001 - whatever an answer is
            self.fault = error

    def record_chunk(self, chunk: object) -> None:
        """Add an event of a streamed answer. Its counts are those so far, so the largest of each holds."""
        self.last = chunk
        try:
            found, before = usage_in(chunk), self._streamed or ModelUsage(None, 0, 0, 0)
            if found is not None:
                self._streamed = ModelUsage(before.model or found.model, *map(max, before[1:], found[1:]))
        except Exception as error:  # noqa: BLE001 - as above
            self.fault = error

    def by_model(self) -> list[tuple[str | None, Used]]:
        """Return what was used, by model, in the order of first use."""
        self._end_stream()
        return list(self._used.items())

    def _end_stream(self) -> None:
        if self._streamed is not None:
            streamed, self._streamed = self._streamed, None
            self._add(streamed, None, None)

    def _add(self, found: ModelUsage, model: str | None, cost: str | Decimal | None) -> None:
        name = model or found.model
        so_far = self._used.get(name, Used())
        self._used[name] = Used(
            so_far.input_tokens + found.input_tokens,
            so_far.cached_input_tokens + found.cached_input_tokens,
            so_far.output_tokens + found.output_tokens,
            _sum(so_far.cost, cost),
        )


def _sum(before: str | None, more: str | Decimal | None) -> str | None:
    """Return two costs together; None when neither is known. Raises ValueError."""
    if more is None:
        return before
    if not isinstance(more, str | Decimal):
        raise ValueError(f"cost: must be a decimal string or a Decimal, not {type(more).__name__}")
    try:
        return f"{Decimal(before or 0) + Decimal(more):f}"
    except InvalidOperation:
        raise ValueError(f"cost: {more!r} is not a decimal number") from None
