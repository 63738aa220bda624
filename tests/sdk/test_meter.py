"""Metered functions and blocks: one event a call, and the host's results and exceptions stay what they were."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.sdk import InvalidEvent, UsageClient, meter
from pipeline.sdk.tokens import ModelUsage, usage_in
from tests.sdk.support import Told, client_of

WHERE: Any = {"workspace": "legal", "feature": "answers", "unit": "answer"}
CHAT = {
    "model": "gpt-5-mini",
    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 60}},
}
RESPONSES = {
    "model": "gpt-5",
    "usage": {"input_tokens": 100, "output_tokens": 20, "input_tokens_details": {"cached_tokens": 60}},
}
MESSAGE = {
    "model": "claude",
    "usage": {
        "input_tokens": 40,
        "output_tokens": 20,
        "cache_read_input_tokens": 60,
        "cache_creation_input_tokens": 5,
    },
}


def objects(value: Any) -> Any:
    """Return mappings as the objects that client libraries make of them."""
    return (
        SimpleNamespace(**{name: objects(each) for name, each in value.items()}) if isinstance(value, dict) else value
    )


@pytest.fixture
def transport() -> Told:
    return Told()


@pytest.fixture
def client(transport: Told) -> UsageClient:
    return client_of(transport)


def data_of(client: UsageClient, transport: Told) -> list[dict[str, Any]]:
    """Return the data of all events, without what every event has."""
    client.close()
    common = ("environment", "workspace", "feature", "unit")
    return [{name: each for name, each in event["data"].items() if name not in common} for event in transport.events]


@pytest.mark.rule("R5.2")
@pytest.mark.parametrize("shape", [dict, objects])
@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        (CHAT, ModelUsage("gpt-5-mini", 40, 60, 20)),
        (RESPONSES, ModelUsage("gpt-5", 40, 60, 20)),
        (MESSAGE, ModelUsage("claude", 45, 60, 20)),
        ({"type": "response.completed", "response": RESPONSES}, ModelUsage("gpt-5", 40, 60, 20)),
        ({"type": "message_start", "message": MESSAGE}, ModelUsage("claude", 45, 60, 20)),
        ({"model": "m", "usage": {"prompt_tokens": 7, "total_tokens": 7}}, ModelUsage("m", 7, 0, 0)),
        ({"model": "m", "usage": {"prompt_tokens": 7, "prompt_tokens_details": None}}, ModelUsage("m", 7, 0, 0)),
        ({"model": None, "usage": {"prompt_tokens": "7"}}, ModelUsage(None, 0, 0, 0)),
        ({"model": "m", "usage": None}, None),
        ({"x": 1}, None),
    ],
)
def test_cached_tokens_are_taken_out_of_input_tokens(shape: Any, answer: Any, usage: ModelUsage | None) -> None:
    """OpenAI counts cached tokens among the prompt's, Anthropic beside them; our events have them apart."""
    assert usage_in(shape(answer)) == usage


def test_what_is_no_answer_has_no_usage() -> None:
    """A metered function may return anything."""
    assert [usage_in(each) for each in (None, 1, "text", [], object())] == [None] * 5


def test_a_function_is_metered(client: UsageClient, transport: Told) -> None:
    """Quantity comes from the result, names from the arguments, tokens and model from the answer."""

    @meter(client, **WHERE, quantity=lambda result: result["n"], operation=lambda job, **_: job)
    def answer(job: str, *, n: int) -> dict[str, Any]:
        """Answer."""
        return CHAT | {"n": n, "job": job}

    assert answer("job-1", n=3) == CHAT | {"n": 3, "job": "job-1"}
    assert (answer.__name__, answer.__doc__) == ("answer", "Answer.")
    assert data_of(client, transport) == [
        {
            "operation": "job-1",
            "status": "succeeded",
            "input_tokens": 40,
            "cached_input_tokens": 60,
            "output_tokens": 20,
            "model": "gpt-5-mini",
            "quantity": 3,
        }
    ]


class HostError(Exception):
    pass


def in_a_block(client: UsageClient, error: HostError, cost: str | None) -> None:
    """Raise an error in a metered block that has used something."""
    with meter(client, **WHERE) as call:
        call.record(CHAT, cost=cost)
        raise error


def test_an_exception_passes_unchanged_and_is_reported_as_failed(client: UsageClient, transport: Told) -> None:
    """The very same exception comes out; the event says failed, and what was used before."""
    error = HostError("the host's")

    @meter(client, **WHERE, model="gpt-5-mini")
    def fails() -> None:
        raise error

    with pytest.raises(HostError) as raised:
        fails()
    with pytest.raises(HostError):
        in_a_block(client, error, cost=None)

    assert raised.value is error
    assert raised.value.__cause__ is raised.value.__context__ is None
    first, second = data_of(client, transport)
    assert (first["status"], first["model"], first["quantity"]) == ("failed", "gpt-5-mini", 1)
    assert (second["status"], second["model"], second["output_tokens"]) == ("failed", "gpt-5-mini", 20)


def test_a_failure_before_any_answer_costs_nothing(client: UsageClient, transport: Told) -> None:
    """Without a model nothing was used: the event needs no price that the catalog does not have."""

    @meter(client, **WHERE)
    def fails() -> None:
        raise HostError

    with pytest.raises(HostError):
        fails()

    (event,) = data_of(client, transport)
    assert (event["model"], event["cost"], event["status"]) == ("unknown", "0", "failed")


def test_coroutines_and_streams_are_metered(client: UsageClient, transport: Told) -> None:
    """Coroutines, generators and asynchronous generators give what they gave, and are reported when they end."""

    @meter(client, **WHERE)
    async def answer() -> Any:
        await asyncio.sleep(0)
        return CHAT

    @meter(client, **WHERE)
    def stream() -> Iterator[Any]:
        yield {"usage": None}
        yield CHAT | {"usage": None}
        yield CHAT

    @meter(client, **WHERE)
    async def streams() -> AsyncIterator[Any]:
        yield {"type": "message_start", "message": MESSAGE | {"usage": MESSAGE["usage"] | {"output_tokens": 1}}}
        yield {"type": "message_delta", "usage": {"output_tokens": 33}}

    async def main() -> tuple[Any, list[Any]]:
        return await answer(), [each async for each in streams()]

    answered, chunks = asyncio.run(main())

    assert (answered, len(chunks), len(list(stream()))) == (CHAT, 2, 3)
    told = [(event["model"], event["input_tokens"], event["output_tokens"]) for event in data_of(client, transport)]
    assert told == [("gpt-5-mini", 40, 20), ("claude", 45, 33), ("gpt-5-mini", 40, 20)]


def test_a_stream_that_is_left_early_has_succeeded(client: UsageClient, transport: Told) -> None:
    """Whoever stops reading has had enough: that is no failure; and the generator is closed."""
    closed = []

    @meter(client, **WHERE, model="m")
    def stream() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.append(True)

    chunks = stream()
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]

    assert closed == [True]
    assert [event["status"] for event in data_of(client, transport)] == ["succeeded"]


def test_a_cancelled_call_has_failed(client: UsageClient, transport: Told) -> None:
    """Nothing was delivered to anybody."""

    @meter(client, **WHERE, model="m")
    async def waits() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert [event["status"] for event in data_of(client, transport)] == ["failed"]


@pytest.mark.rule("R6.6")
def test_several_models_in_one_action_count_once(client: UsageClient, transport: Told) -> None:
    """Calls of one model are summed; further models have quantity 0 and come first, so that they are no repeats."""
    with meter(client, **WHERE, operation="job") as call:
        call.record(CHAT, cost="0.1")
        call.record(CHAT, cost=Decimal("0.02"))
        call.record(RESPONSES)
        call.quantity = 2

    first, second = data_of(client, transport)
    assert (first["model"], first["quantity"], first["output_tokens"], first["cost"]) == ("gpt-5-mini", 0, 40, "0.12")
    assert (second["model"], second["quantity"], second["output_tokens"]) == ("gpt-5", 2, 20)
    assert "cost" not in second


def test_a_block_of_a_coroutine_is_metered(client: UsageClient, transport: Told) -> None:
    """The context manager is usable with `async with` too."""

    async def main() -> None:
        async with meter(client, **WHERE) as call:
            call.record(RESPONSES)

    asyncio.run(main())

    assert [event["model"] for event in data_of(client, transport)] == ["gpt-5"]


class Nasty:
    @property
    def usage(self) -> None:
        raise HostError("not even looking is safe")


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"quantity": lambda result: result["missing"]}, CHAT),
        ({"operation": lambda: "takes no argument"}, CHAT),
        ({}, Nasty()),
    ],
)
def test_what_cannot_be_metered_does_not_disturb_the_host(
    client: UsageClient, caplog: pytest.LogCaptureFixture, options: Any, answer: Any
) -> None:
    """A fault in the host's own functions, or in an answer, is counted and logged; the call goes well."""

    @meter(client, **WHERE, **options)
    def answers(_question: str) -> Any:
        return answer

    assert answers("why?") is answer
    assert client.stats().invalid == 1
    assert "not taken" in caplog.text
    client.close()


def test_a_strict_client_raises_but_not_over_the_hosts_exception() -> None:
    """Strict is for tests of a host: it tells what is wrong, unless the host has something to say itself."""
    client = client_of(Told(), strict=True)

    with pytest.raises(InvalidEvent, match="cost"), meter(client, **WHERE) as call:
        call.record(CHAT, cost=0.1)  # type: ignore[arg-type]
    with pytest.raises(HostError):
        in_a_block(client, HostError(), cost="a lot")
    client.close()
    assert client.stats().invalid == 2
