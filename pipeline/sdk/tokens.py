"""What model providers' answers say of the tokens used, in our terms: input tokens do not include cached ones (R5.2)."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class ModelUsage(NamedTuple):
    """The tokens of a model's answer; None for what it does not say."""

    model: str | None
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int


def usage_in(answer: object) -> ModelUsage | None:
    """Return what an answer, or an event of a stream of one, says of its usage; None when it says nothing.

    Reads OpenAI's chat completions and responses and what is like them, and Anthropic's messages: objects or mappings.
    """
    for holder in (answer, _get(answer, "response"), _get(answer, "message")):
        usage = _get(holder, "usage")
        if usage is not None:
            model = _get(holder, "model")
            return ModelUsage(model if isinstance(model, str) else None, *_tokens(usage))
    return None


def _tokens(usage: object) -> tuple[int, int, int]:
    """Return input, cached input and output tokens.

    OpenAI counts cached tokens among the prompt's, Anthropic beside them, and those written to its cache beside both.
    """
    prompt = _count(usage, "prompt_tokens")
    output = _count(usage, "completion_tokens") or _count(usage, "output_tokens")
    if prompt:
        cached = min(prompt, _count(_get(usage, "prompt_tokens_details"), "cached_tokens"))
        return prompt - cached, cached, output
    given, read = _count(usage, "input_tokens"), _count(usage, "cache_read_input_tokens")
    written = _count(usage, "cache_creation_input_tokens")
    cached = min(given, _count(_get(usage, "input_tokens_details"), "cached_tokens"))
    return given - cached + written, cached + read, output


def _get(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _count(value: object, name: str) -> int:
    found = _get(value, name)
    return found if type(found) is int and found > 0 else 0
