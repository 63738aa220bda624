"""Alerts to webhooks, signed by Standard Webhooks (https://www.standardwebhooks.com)."""

import asyncio
import email.utils
import logging
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import msgspec
from standardwebhooks import Webhook

from pipeline.notify.notices import EVENT_TYPE, Notice
from pipeline.notify.sending import UndeliveredError
from pipeline.notify.targets import WebhookTarget

RETRY_AFTER_S_MAX = 3600.0
_TRY_AGAIN = (408, 425, 429)
"""The 4xx that a later attempt may mend: Request Timeout, Too Early, Too Many Requests."""


class WebhookSender:
    """Posts notices to an address; follows no redirect, and reads no more of an answer than its head."""

    def __init__(self, target: WebhookTarget) -> None:
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)  # they log addresses, which may hold tokens
        self._url = target.url
        self._timeout_s = target.timeout_s
        self._webhook = Webhook(target.secret())
        self._where = urlsplit(target.url).hostname
        self._client = httpx.AsyncClient(timeout=target.timeout_s, follow_redirects=False)

    async def send(self, notice: Notice) -> None:
        """Post a notice; any 2xx is its receipt. Raises UndeliveredError."""
        body = webhook_body(notice)
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(
                    "POST", self._url, content=body, headers=signed_headers(self._webhook, notice.id, body)
                ) as answer,
            ):
                _check(answer)
        except TimeoutError:
            raise UndeliveredError(f"{self._where} did not answer within {self._timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise UndeliveredError(f"{self._where} cannot be reached: {type(error).__name__}") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def webhook_body(notice: Notice) -> bytes:
    """Return what is posted: the same bytes at every attempt."""
    fields = notice.as_dict()
    return msgspec.json.encode({"type": EVENT_TYPE, "timestamp": fields["reached_at"], "data": fields})


def signed_headers(webhook: Webhook, notice_id: str, body: bytes) -> dict[str, str]:
    """Return the headers by which a receiver knows who sent a body, and when."""
    now = datetime.fromtimestamp(int(time.time()), UTC)
    return {
        "content-type": "application/json",
        "user-agent": "usage-alerts",
        "webhook-id": notice_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign(notice_id, now, body.decode()),
    }


def _check(answer: httpx.Response) -> None:
    status = answer.status_code
    if answer.is_success:
        return
    if status >= 500 or status in _TRY_AGAIN:
        asked = _retry_after_s(answer.headers.get("retry-after"))
        raise UndeliveredError(f"the receiver answered {status}", retry_after_s=asked)
    more = ", and redirects are not followed" if 300 <= status < 400 else ""
    raise UndeliveredError(f"the receiver refused it: {status}{more}", permanent=True)


def _retry_after_s(text: str | None) -> float:
    """Return how long a receiver asks to wait, by seconds or by date; 0 for what is neither."""
    if text is None:
        return 0
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), RETRY_AFTER_S_MAX)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0
    wait_s = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(wait_s, 0), RETRY_AFTER_S_MAX)
