"""GenAI spans of OpenTelemetry become usage events."""

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode

from pipeline.sdk.otel import UsageSpanProcessor
from tests.sdk.support import Told, client_of

GENERAL: Any = {"workspace": "legal", "feature": "answers", "unit": "call"}
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.response.model": "gpt-5-2026-01-01",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.cache_read.input_tokens": 60,
    "gen_ai.usage.output_tokens": 20,
}


def events_of(
    *spans: dict[str, Any], strict: bool = False, error: bool = False, **options: Any
) -> list[dict[str, Any]]:
    """Return the events that spans with these attributes come to."""
    transport = Told()
    client = client_of(transport, strict=strict)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(UsageSpanProcessor(client, **GENERAL | options))
    tracer = provider.get_tracer("test")
    for attributes in spans:
        with tracer.start_as_current_span("span", attributes=attributes) as span:
            if error:
                span.set_status(StatusCode.ERROR)
    provider.shutdown()
    client.close()
    return transport.events


def test_a_model_call_becomes_an_event() -> None:
    """Tokens are taken with the cached ones apart, the model from the response."""
    (event,) = events_of(CHAT)

    assert event["data"] == {
        "environment": "production",
        "workspace": "legal",
        "feature": "answers",
        "unit": "call",
        "model": "gpt-5-2026-01-01",
        "input_tokens": 40,
        "cached_input_tokens": 60,
        "output_tokens": 20,
        "status": "succeeded",
    }


@pytest.mark.rule("R6.1")
def test_a_span_is_one_fact() -> None:
    """The id is made of trace and span, the time is that of the span's end: two processors make the same event."""
    transports = Told(), Told()
    provider = TracerProvider(shutdown_on_exit=False)
    clients = [client_of(transport) for transport in transports]
    for client in clients:
        provider.add_span_processor(UsageSpanProcessor(client, **GENERAL))

    with provider.get_tracer("test").start_as_current_span("span", attributes=CHAT) as span:
        context = span.get_span_context()
    assert provider.force_flush()

    assert transports[0].events == transports[1].events
    assert transports[0].events[0]["id"] == f"{context.trace_id:032x}-{context.span_id:016x}"
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"http.method": "GET"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 100},
        {"gen_ai.operation.name": "execute_tool"},
        {"gen_ai.request.model": "gpt-5"},
    ],
)
def test_other_spans_are_ignored(attributes: dict[str, Any]) -> None:
    """Spans of agents repeat what the model calls below them have used; the rest is none of ours."""
    assert events_of(attributes) == []


def test_earlier_names_are_understood() -> None:
    """Instrumentations that follow an earlier version of the conventions are metered too."""
    old = {
        "gen_ai.request.model": "gpt-5",
        "gen_ai.usage.prompt_tokens": 10,
        "gen_ai.usage.completion_tokens": 3,
        "gen_ai.usage.cache_read_input_tokens": 4,
    }

    (event,) = events_of(old)

    counts = [event["data"][name] for name in ("input_tokens", "cached_input_tokens", "output_tokens")]
    assert (counts, event["data"]["model"]) == ([6, 4, 3], "gpt-5")


def test_an_error_is_a_failed_call() -> None:
    """A call that failed has used what it has used, and may have used nothing."""
    (event,) = events_of({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}, error=True)

    assert (event["data"]["status"], event["data"]["output_tokens"]) == ("failed", 0)


def test_a_span_says_for_itself_what_it_was_for() -> None:
    """Attributes, named as the host likes, go before the values that hold for all."""
    own = CHAT | {"app.team": "hr", "usage.unit": "document", "usage.quantity": 0, "usage.operation": "job-1"}

    (event,) = events_of(own, attributes={"workspace": "app.team"})

    told = {name: event["data"][name] for name in ("workspace", "unit", "quantity", "operation", "feature")}
    assert told == {
        "workspace": "hr",
        "unit": "document",
        "quantity": 0,
        "operation": "job-1",
        "feature": "answers",
    }


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_not_in_order_does_not_disturb_the_tracer(strict: bool) -> None:
    """A processor raises nothing."""
    assert events_of(CHAT | {"usage.cost": 0.1}, CHAT | {"usage.quantity": "three"}, strict=strict) == []


def test_an_attribute_that_nothing_takes_is_refused() -> None:
    """A mapping of a field that there is not is a mistake, said at once."""
    with pytest.raises(ValueError, match="team"):
        UsageSpanProcessor(client_of(Told()), attributes={"team": "app.team"})
