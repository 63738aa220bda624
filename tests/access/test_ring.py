import msgspec
import pytest

from pipeline.access import ApiKey, KeyRing, KeysNotReadError, UnauthenticatedError, new_key


def test_nobody_is_known_before_the_keys_are_read() -> None:
    """Until the keys are read to their end every token is refused, the operator's from the file too."""
    token, key = new_key("operator", None, 1)
    ring = KeyRing(bootstrap=key)

    with pytest.raises(KeysNotReadError):
        ring.principal(token, 2)

    ring.follow({})
    assert ring.principal(token, 2).scope == "operator"


def test_a_key_speaks_for_its_owner() -> None:
    """A token that proves a key gives its scope and owner."""
    token, key = new_key("customer", "acme", 1)
    ring = KeyRing()
    ring.follow({key.id: key})

    assert ring.principal(token, 2) == (key.id, "customer", "acme")


def test_a_wrong_secret_proves_nothing() -> None:
    """Another secret under a known id is refused as an unknown key is, and in the same words."""
    _, key = new_key("customer", "acme", 1)
    ring = KeyRing()
    ring.follow({key.id: key})

    for identity in (key.id, "0" * 12):
        with pytest.raises(UnauthenticatedError, match=r"^the API key is unknown$"):
            ring.principal(f"uk_{identity}_{'0' * 64}", 2)


def test_what_ends_a_key_holds_at_once() -> None:
    """A key that is revoked, deleted or unreadable is refused from that record on."""
    token, key = new_key("customer", "acme", 1)
    keys: dict[str, ApiKey | None] = {key.id: key}
    ring = KeyRing()
    ring.follow(keys)
    ring.principal(token, 2)

    keys[key.id] = msgspec.structs.replace(key, revoked_us=2)
    with pytest.raises(UnauthenticatedError, match="revoked"):
        ring.principal(token, 2)
    keys[key.id] = None
    with pytest.raises(UnauthenticatedError, match="unknown"):
        ring.principal(token, 2)


def test_an_expired_key_is_refused() -> None:
    """A key ends at its time to the microsecond."""
    token, key = new_key("customer", "acme", 1, expires_us=10)
    ring = KeyRing()
    ring.follow({key.id: key})

    ring.principal(token, 9)
    with pytest.raises(UnauthenticatedError, match="expired"):
        ring.principal(token, 10)


def test_the_log_is_above_the_operators_file() -> None:
    """The key from the file can be revoked like any other."""
    token, key = new_key("operator", None, 1)
    ring = KeyRing(bootstrap=key)
    ring.follow({key.id: msgspec.structs.replace(key, revoked_us=2)})

    with pytest.raises(UnauthenticatedError, match="revoked"):
        ring.principal(token, 3)
