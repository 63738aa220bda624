"""Keys, batches and files as deployments make them, for the tests of the import."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.access.signing_keys import SigningKey
from pipeline.codec.offline_batches import (
    BatchHeader,
    BatchReader,
    Damaged,
    SignedBatch,
    digest_of,
    encode_batch,
    encode_header,
    events_digest,
)
from pipeline.domain.instants import format_instant
from pipeline.sdk.signing import Signer, make_private_key

SPOOL = "0123456789abcdef"
NOW_US = 1_795_000_000_000_000
DATA = {"environment": "production", "workspace": "legal", "feature": "search", "model": "small", "unit": "document"}


class Deployed(NamedTuple):
    """A deployment with a key of its own."""

    name: str
    customer: str
    signer: Signer
    key_file: Path

    def registered(self, **changes: Any) -> SigningKey:
        """Return its public key as it is registered."""
        fields = {
            "id": self.signer.key_id,
            "deployment": self.name,
            "public_key": self.signer.public_key,
            "created_us": 1,
        }
        return SigningKey(**(fields | changes))

    def event(self, identity: str, time_us: int = NOW_US, **changes: Any) -> bytes:
        """Return a usage event of its own."""
        event = {"specversion": "1.0", "type": "ai.usage.v1", "id": identity, "source": self.name}
        event |= {"subject": self.customer, "time": format_instant(time_us), "data": DATA}
        return json.dumps(event | changes).encode()

    def chain(self, contents: Iterable[list[bytes]], **changes: Any) -> list[bytes]:
        """Return batches with these events, each following the one before; `changes` are to all of their headers."""
        made: list[bytes] = []
        previous = None
        for sequence, events in enumerate(contents, start=1):
            fields = {
                "deployment": self.name,
                "spool": SPOOL,
                "sequence": sequence,
                "made_at": format_instant(NOW_US),
                "events": len(events),
                "events_sha256": events_digest(events),
                "previous": previous,
                "key": self.signer.key_id,
            }
            head = encode_header(BatchHeader(**(fields | changes)))
            made.append(encode_batch(head, events, self.signer.sign(head)))
            previous = digest_of(head)
        return made

    def batches(self, count: int, spool: str = SPOOL, events: int = 1) -> list[bytes]:
        """Return a chain of batches of so many events, whose ids tell the batch."""
        names = [[f"{spool[:4]}-{number}-{each}" for each in range(events)] for number in range(1, count + 1)]
        return self.chain(([self.event(name) for name in each] for each in names), spool=spool)


def deployed(folder: Path, name: str, customer: str) -> Deployed:
    """Return a deployment with a new key in a folder."""
    path = folder / f"{name}-{len(list(folder.iterdir()))}.pem"
    make_private_key(path)
    return Deployed(name, customer, Signer(path), path)


def read(content: bytes) -> list[SignedBatch | Damaged]:
    """Return what is in a file."""
    lines = iter(content.splitlines(keepends=True))
    return list(BatchReader(lambda _: next(lines, b"")))
