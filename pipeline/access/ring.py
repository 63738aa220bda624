"""The keys in memory: who a token speaks for."""

import hmac
from collections.abc import Mapping

from pipeline.access.keys import ApiKey, Principal, hash_of, parse_token

_NO_HASH = "0" * 64


class UnauthenticatedError(Exception):
    """A token proves nothing; the message says why, and holds no part of it."""


class KeysNotReadError(Exception):
    """The keys are not read yet, so nobody can be told from anybody."""


class KeyRing:
    """Tells who a token speaks for; refuses everything until the keys are read to their end."""

    def __init__(self, bootstrap: ApiKey | None = None) -> None:
        self._bootstrap = {} if bootstrap is None else {bootstrap.id: bootstrap}
        self._keys: Mapping[str, ApiKey | None] | None = None

    @property
    def is_read(self) -> bool:
        """Return whether the keys are read."""
        return self._keys is not None

    def follow(self, keys: Mapping[str, ApiKey | None]) -> None:
        """Take these keys, by id, from now on, and whatever their owner changes in them; None denies."""
        self._keys = keys

    def principal(self, token: str, now_us: int) -> Principal:
        """Return whom a token speaks for at an instant. Raises UnauthenticatedError, KeysNotReadError."""
        if self._keys is None:
            raise KeysNotReadError("the API keys are not read yet")
        parsed = parse_token(token)
        if parsed is None:
            raise UnauthenticatedError("this is no API key: one looks like uk_<id>_<secret>")
        identity, secret = parsed
        key = self._keys[identity] if identity in self._keys else self._bootstrap.get(identity)
        proven = hmac.compare_digest(hash_of(secret), key.sha256 if key else _NO_HASH)
        if key is None or not proven:
            raise UnauthenticatedError("the API key is unknown")
        return _active(key, now_us)

    def still(self, identity: str, now_us: int) -> Principal:
        """Return whom a key speaks for that was proven before. Raises UnauthenticatedError, KeysNotReadError."""
        if self._keys is None:
            raise KeysNotReadError("the API keys are not read yet")
        key = self._keys[identity] if identity in self._keys else self._bootstrap.get(identity)
        if key is None:
            raise UnauthenticatedError("the API key is unknown")
        return _active(key, now_us)


def _active(key: ApiKey, now_us: int) -> Principal:
    state = key.state(now_us)
    if state != "active":
        raise UnauthenticatedError(f"the API key {key.id} is {state}")
    return key.principal
