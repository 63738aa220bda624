"""API keys: what is in one, its token, and its record in `access.keys`."""

import hashlib
import re
import secrets
from typing import Literal, NamedTuple, get_args

import msgspec

Scope = Literal["deployment", "customer", "builder", "operator"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
KEY_PREFIX = "key/"
"""Of an API key's record in `access.keys`; the key's id follows."""
NAME_CHARACTERS_MAX = 128
_ID_BYTES = 6
_SECRET_BYTES = 32
_TOKEN = re.compile(r"uk_([0-9a-f]{12})_([0-9a-f]{64})", re.ASCII)
_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)


class Principal(NamedTuple):
    """Who asks, proven by a key; `owner` is the deployment, customer or builder of its scope, None for an operator."""

    key_id: str
    scope: Scope
    owner: str | None


class ApiKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key as it is stored: of its secret only the hash. Times are in microseconds since 1970."""

    id: str
    scope: Scope
    sha256: str
    """Hex. The secret has 256 random bits, so nothing is gained by a slow hash."""
    created_us: int
    owner: str | None = None
    name: str | None = None
    expires_us: int | None = None
    revoked_us: int | None = None

    @property
    def principal(self) -> Principal:
        """Return whom the key speaks for."""
        return Principal(self.id, self.scope, self.owner)

    def state(self, now_us: int) -> Literal["active", "expired", "revoked"]:
        """Return whether the key can be used at an instant."""
        if self.revoked_us is not None:
            return "revoked"
        return "expired" if self.expires_us is not None and self.expires_us <= now_us else "active"


def new_key(
    scope: Scope, owner: str | None, created_us: int, *, name: str | None = None, expires_us: int | None = None
) -> tuple[str, ApiKey]:
    """Return the token of a new key, which is stored nowhere, and the key."""
    if (owner is None) != (scope == "operator"):
        raise ValueError("every key has an owner, except an operator's")
    identity, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
    key = ApiKey(identity, scope, hash_of(secret), created_us, owner, name, expires_us)
    return f"uk_{identity}_{secret}", key


def parse_token(token: str) -> tuple[str, str] | None:
    """Return the key id and the secret of a token, None when it is no token of ours."""
    found = _TOKEN.fullmatch(token)
    return None if found is None else (found[1], found[2])


def hash_of(secret: str) -> str:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def key_record(key: ApiKey) -> tuple[bytes, bytes]:
    """Return the key and the value of an API key's record in `access.keys`."""
    return f"{KEY_PREFIX}{key.id}".encode(), msgspec.json.encode(key)


def parse_key_record(record_key: bytes | None, value: bytes | None) -> tuple[str, ApiKey | None] | None:
    """Return an API key's id, and the key; None in its place when it was deleted or cannot be read.

    None for a record of something else, such as a signing key.
    """
    text = (record_key or b"").decode(errors="replace")
    identity = text.removeprefix(KEY_PREFIX)
    if not text.startswith(KEY_PREFIX) or not _ID.fullmatch(identity):
        return None
    try:
        key = msgspec.json.decode(value or b"", type=ApiKey)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return identity, None
    sound = key.id == identity and (key.owner is None) == (key.scope == "operator")
    return identity, key if sound else None
