"""Meter a function or a block of code: one usage event a call, with the tokens that the models' answers report."""

import functools
import inspect
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, aclosing, closing, contextmanager, nullcontext, suppress
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from pipeline.sdk.call import Call, Used
from pipeline.sdk.client import UsageClient
from pipeline.sdk.events import InvalidEvent

P = ParamSpec("P")
R = TypeVar("R")
Named = str | Callable[..., str | None] | None
"""A value, or what makes it of the call's arguments."""
UNKNOWN_MODEL = "unknown"


def meter(
    client: UsageClient,
    *,
    workspace: Named,
    feature: Named,
    unit: Named,
    quantity: int | Callable[[Any], int] = 1,
    model: Named = None,
    operation: Named = None,
    request_type: Named = None,
    route: Named = None,
) -> "Meter":
    """Return what meters: a decorator of a function, coroutine or generator, or a context manager that gives a `Call`.

    `quantity` may be made of the result, the other fields of the arguments. The model is that of the answer, else `model`.
    A call that raises is reported as failed, with what it has used by then; a stream that is left early is not.
    """
    fields = {
        "workspace": workspace,
        "feature": feature,
        "unit": unit,
        "operation": operation,
        "request_type": request_type,
        "route": route,
    }
    return Meter(client, quantity, model, fields)


class Meter:
    """Made by `meter`."""

    def __init__(
        self, client: UsageClient, quantity: int | Callable[[Any], int], model: Named, fields: dict[str, Named]
    ) -> None:
        self._client = client
        self._quantity = quantity
        self._model = model
        self._fields = fields
        self._block: AbstractContextManager[Call] | None = None

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return the function, metered: its results and exceptions stay as they are."""
        if inspect.isasyncgenfunction(function):
            metered = self._async_generator(function)
        elif inspect.iscoroutinefunction(function):
            metered = self._coroutine(function)
        elif inspect.isgeneratorfunction(function):
            metered = self._generator(function)
        else:
            metered = self._function(function)
        return cast("Callable[P, R]", functools.wraps(function)(metered))

    def __enter__(self) -> Call:
        self._block = self._metered()
        return self._block.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._block is not None
        self._block.__exit__(kind, error, trace)

    async def __aenter__(self) -> Call:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def metered(*args: Any, **kwargs: Any) -> Any:
            with self._metered(*args, **kwargs) as call:
                result = function(*args, **kwargs)
                call.record(result)
                return result

        return metered

    def _coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def metered(*args: Any, **kwargs: Any) -> Any:
            with self._metered(*args, **kwargs) as call:
                result = await function(*args, **kwargs)
                call.record(result)
                return result

        return metered

    def _generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def metered(*args: Any, **kwargs: Any) -> Any:
            with self._metered(*args, **kwargs) as call, closing(function(*args, **kwargs)) as chunks:
                for chunk in chunks:
                    call.record_chunk(chunk)
                    yield chunk

        return metered

    def _async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def metered(*args: Any, **kwargs: Any) -> Any:
            with self._metered(*args, **kwargs) as call:
                async with aclosing(function(*args, **kwargs)) as chunks:
                    async for chunk in chunks:
                        call.record_chunk(chunk)
                        yield chunk

        return metered

    @contextmanager
    def _metered(self, *args: Any, **kwargs: Any) -> Generator[Call]:
        call, status = Call(), "failed"
        try:
            yield call
            status = "succeeded"
        except GeneratorExit:
            status = "succeeded"  # whoever reads a stream has had enough of it
            raise
        finally:
            with suppress(InvalidEvent) if status == "failed" else nullcontext():  # what the host raised goes first
                self._report(call, status, args, kwargs)

    def _report(self, call: Call, status: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            events = self._events(call, status, args, kwargs)
        except Exception as error:  # noqa: BLE001 - of the host's functions that make fields
            self._client.refuse(error)
            return
        for fields in events:
            self._client.emit(**fields)

    def _events(self, call: Call, status: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Return the fields of an event for each model that was used; the last counts, others have quantity 0 (R6.6)."""
        used = call.by_model() or [(None, Used())]
        if call.fault is not None:
            raise call.fault
        fields = {name: _made(value, args, kwargs) for name, value in self._fields.items()} | {"status": status}
        default_model = _made(self._model, args, kwargs)
        events = [
            fields | each._asdict() | {"model": model or default_model or UNKNOWN_MODEL, "quantity": 0}
            for model, each in used
        ]
        events[-1]["quantity"] = self._quantity_of(call, status)
        if used == [(None, Used())] and default_model is None:
            events[-1]["cost"] = "0"  # nothing is known to have been used, so nothing needs a price
        return events

    def _quantity_of(self, call: Call, status: str) -> int:
        if call.quantity is not None:
            return call.quantity
        if not callable(self._quantity):
            return self._quantity
        return self._quantity(call.last) if status == "succeeded" else 1


def _made(value: Named, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    return value(*args, **kwargs) if callable(value) else value
