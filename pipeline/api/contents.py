"""The ways in which CloudEvents come over HTTP, each taken apart into the JSON texts of single events."""

import re
from collections.abc import Sequence
from email.message import Message
from urllib.parse import unquote_to_bytes

import msgspec
import orjson

from pipeline.api.problems import Problem
from pipeline.codec.json_input import parse_json
from pipeline.codec.records import BATCH_EVENTS_MAX, originals_of
from pipeline.domain.records import EVENTS_TOPIC, Record
from pipeline.domain.rejects import Rejected

SINGLE = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"
NDJSON = "application/x-ndjson"
CONTENT_TYPES = (SINGLE, BATCH, JSON, NDJSON)
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,64}", re.ASCII)
_ATTRIBUTES_MAX = 64
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_JSON_SPACE = b" \t\r\n"
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode

Headers = Sequence[tuple[str, str]]
"""Names in lower case."""


def take_apart(headers: Headers, body: bytes) -> list[bytes]:
    """Return the JSON text of each event, as it was sent; that they are JSON is for the codec to find out.

    Raises Problem: 400 when the events cannot be told apart, 413 for too many, 415.
    """
    media_type = _media_type(headers)
    if media_type == NDJSON:
        return _counted([line for line in body.split(b"\n") if line.strip(_JSON_SPACE)])
    if media_type == JSON and any(name == "ce-specversion" for name, _ in headers):
        return [_from_binary(headers, body)]
    is_array = body.lstrip(_JSON_SPACE).startswith(b"[")
    if media_type == (SINGLE if is_array else BATCH):
        found = "an array" if is_array else "no array"
        raise _unreadable(f"content-type is {media_type}, but the body is {found}.")
    return _counted(_elements(body) if is_array else [body])


def _media_type(headers: Headers) -> str:
    given = [value for name, value in headers if name == "content-type"]
    message = Message()
    message["content-type"] = given[0] if given else ""
    media_type = message.get_content_type()
    if len(given) != 1 or media_type not in CONTENT_TYPES:
        detail = f"content-type: one of {', '.join(CONTENT_TYPES)} is needed."
        raise Problem(415, "unsupported-media-type", detail, headers={"Accept-Post": ", ".join(CONTENT_TYPES)})
    if str(message.get_param("charset", "utf-8")).lower() not in ("utf-8", "utf8"):
        raise Problem(415, "unsupported-media-type", "content-type: JSON is always UTF-8, no other charset is taken.")
    return media_type


def _counted(pieces: list[bytes]) -> list[bytes]:
    if not pieces:
        raise _unreadable("There is no event in the body.")
    if len(pieces) > BATCH_EVENTS_MAX:
        raise Problem(413, "too-large", f"{len(pieces)} events are too many: send at most {BATCH_EVENTS_MAX} at once.")
    return pieces


def _elements(body: bytes) -> list[bytes]:
    """Return the elements of a JSON array; one that is not JSON by itself does not keep the others back."""
    try:
        return [bytes(each) for each in _decode_array(body)]
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        parse_json(body)
    except Rejected as rejected:
        raise _unreadable(rejected.message) from None
    return originals_of(Record(EVENTS_TOPIC, 0, 0, 0, None, body))


def _from_binary(headers: Headers, body: bytes) -> bytes:
    """Return an event of the binary content mode as a structured one; its data are the body's very bytes."""
    try:
        parse_json(body)  # so that what follows it in the text cannot be mistaken for attributes
    except Rejected as rejected:
        raise _unreadable(f"data: {rejected.message}") from None
    attributes: dict[str, str] = {}
    for name, value in headers:
        if not name.startswith("ce-"):
            continue
        attribute = name.removeprefix("ce-")
        if not _ATTRIBUTE.fullmatch(attribute) or attribute in ("data", "datacontenttype"):
            raise _unreadable(f"{name[:80]}: no such header of a CloudEvent.")
        if attribute in attributes or len(attributes) == _ATTRIBUTES_MAX:
            raise _unreadable(f"{name}: stands twice, or is one too many.")
        attributes[attribute] = _attribute_value(name, value)
    return orjson.dumps(attributes | {"datacontenttype": JSON})[:-1] + b',"data":' + body + b"}"


def _attribute_value(name: str, value: str) -> str:
    """Return a header's value: quoted or not, with percent-encoding (CloudEvents' HTTP binding, 3.1.3.2)."""
    if _QUOTED.fullmatch(value):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote_to_bytes(value.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise _unreadable(f"{name}: is not UTF-8.") from None


def _unreadable(detail: str) -> Problem:
    return Problem(400, "malformed", detail)
