"""Who is signed in: in memory, for a while, by an id that only the browser has."""

import hashlib
import secrets
import time
from collections import OrderedDict, deque
from dataclasses import dataclass

SESSION_S_MAX = 8 * 3600
"""After which one signs in again."""
SESSIONS_MAX = 10_000
ATTEMPTS_MAX = 20
ATTEMPTS_S = 60
"""At most so many wrong keys of one address in so many seconds."""
ADDRESSES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who has proven an API key."""

    key_id: str
    """Of the API key, asked for at every request: one that is revoked ends the session."""
    csrf: str
    """What every form must send back."""
    ends_s: float
    """Of the monotonic clock."""


class Sessions:
    """The sessions, and the attempts to sign in."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._attempts: OrderedDict[str, deque[float]] = OrderedDict()

    def begin(self, key_id: str) -> str:
        """Return the id of a new session."""
        identity = secrets.token_urlsafe(32)
        session = Session(key_id, secrets.token_urlsafe(32), time.monotonic() + SESSION_S_MAX)
        self._sessions[_digest(identity)] = session
        while len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return identity

    def find(self, identity: str | None) -> Session | None:
        """Return the session of an id, None when there is none or it is over."""
        session = self._sessions.get(_digest(identity)) if identity else None
        if session is not None and session.ends_s <= time.monotonic():
            self.end(identity)
            return None
        return session

    def end(self, identity: str | None) -> None:
        """Forget a session."""
        if identity:
            self._sessions.pop(_digest(identity), None)

    def may_try(self, address: str) -> bool:
        """Return whether an address may try another key now."""
        tried = self._attempts.get(address)
        if tried is None:
            return True
        while tried and tried[0] <= time.monotonic() - ATTEMPTS_S:
            tried.popleft()
        return len(tried) < ATTEMPTS_MAX

    def note_failure(self, address: str) -> None:
        """Note that an address has tried a key that is none."""
        self._attempts.setdefault(address, deque(maxlen=ATTEMPTS_MAX)).append(time.monotonic())
        self._attempts.move_to_end(address)
        while len(self._attempts) > ADDRESSES_MAX:
            self._attempts.popitem(last=False)


def _digest(identity: str) -> str:
    """Return what a session is kept under: looking it up tells nothing about ids by its time."""
    return hashlib.sha256(identity.encode()).hexdigest()
