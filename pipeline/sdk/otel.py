"""Usage events from the GenAI spans of OpenTelemetry."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import StatusCode

from pipeline.domain.instants import format_instant
from pipeline.sdk.client import UsageClient
from pipeline.sdk.events import InvalidEvent

OPERATIONS = ("chat", "text_completion", "generate_content", "embeddings")
"""gen_ai.operation.name of a call of a model. Spans of agents and tools repeat what the calls below them have used."""
ATTRIBUTES = {name: f"usage.{name}" for name in ("workspace", "feature", "unit", "quantity", "operation", "cost")}
"""Where a span says what the conventions have no name for."""
_INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_CACHED = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens")
_OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
"""The present name first, then earlier ones."""


class UsageSpanProcessor(SpanProcessor):
    """Emits a usage event for each model call that ends. Its id is made of trace and span, so a span counts once.

    A span's own attributes, named by `attributes`, go before the values given here. Spans that are no model calls are
    ignored: `operations` tells which are, for those that name their operation.
    """

    def __init__(
        self,
        client: UsageClient,
        *,
        workspace: str | None = None,
        feature: str | None = None,
        unit: str | None = None,
        quantity: int | None = None,
        attributes: Mapping[str, str] = ATTRIBUTES,
        operations: Sequence[str] = OPERATIONS,
    ) -> None:
        if unknown := attributes.keys() - ATTRIBUTES.keys():
            raise ValueError(f"attributes: {', '.join(sorted(unknown))}: only {', '.join(ATTRIBUTES)} can be named")
        self._client = client
        self._values = {"workspace": workspace, "feature": feature, "unit": unit, "quantity": quantity}
        self._attributes = ATTRIBUTES | dict(attributes)
        self._operations = operations

    def on_end(self, span: ReadableSpan) -> None:
        """Emit the event of a model call."""
        with suppress(InvalidEvent):  # a processor raises nothing, not even for a strict client
            try:
                attributes = span.attributes or {}
                fields = self._fields(span, attributes) if self._is_model_call(attributes) else None
            except Exception as error:  # noqa: BLE001 - whatever stands in a span
                self._client.refuse(error)
                return
            if fields is not None:
                self._client.emit(**fields)

    def shutdown(self) -> None:
        """Send what waits; the client stays open, it may have other users."""
        self._client.flush()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return whether everything was acknowledged in time."""
        return self._client.flush(timeout_millis / 1000)

    def _is_model_call(self, attributes: Mapping[str, Any]) -> bool:
        operation = attributes.get("gen_ai.operation.name")
        if operation is not None:
            return operation in self._operations
        return any(name in attributes for name in (*_INPUT, *_OUTPUT))

    def _fields(self, span: ReadableSpan, attributes: Mapping[str, Any]) -> Any:
        told = {name: attributes.get(where) for name, where in self._attributes.items()}
        given = _count(attributes, _INPUT)
        cached = min(given, _count(attributes, _CACHED))
        context, end_ns = span.context, span.end_time
        assert context is not None
        assert end_ns is not None
        return {
            **self._values,
            **{name: value for name, value in told.items() if value is not None},
            "model": attributes.get("gen_ai.response.model") or attributes.get("gen_ai.request.model"),
            "input_tokens": given - cached,
            "cached_input_tokens": cached,
            "output_tokens": _count(attributes, _OUTPUT),
            "status": "failed" if span.status.status_code is StatusCode.ERROR else "succeeded",
            "id": f"{context.trace_id:032x}-{context.span_id:016x}",
            "time": format_instant(end_ns // 1000),
        }


def _count(attributes: Mapping[str, Any], names: Sequence[str]) -> int:
    """Return the count under the first of some names that is there."""
    found = next((attributes[name] for name in names if name in attributes), 0)
    return found if type(found) is int and found > 0 else 0
