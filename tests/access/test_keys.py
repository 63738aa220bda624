import stat
from pathlib import Path

import msgspec
import pytest

from pipeline.access.keys import ApiKey, hash_of, key_record, new_key, parse_key_record, parse_token
from pipeline.access.operator_file import ensure_operator_token, read_operator_key


def test_a_key_holds_no_secret() -> None:
    """What is stored is the hash of the secret, never the secret or the token."""
    token, key = new_key("deployment", "dep_acme", 1, name="acme")

    record_key, value = key_record(key)

    parsed = parse_token(token)
    assert parsed is not None
    identity, secret = parsed
    assert (identity, hash_of(secret)) == (key.id, key.sha256)
    assert record_key == f"key/{identity}".encode()
    assert secret.encode() not in record_key + value
    assert parse_key_record(record_key, value) == (identity, key)


def test_secrets_differ() -> None:
    """Each key has a secret of its own, of 256 bits."""
    secrets = {new_key("operator", None, 1)[0].split("_")[2] for _ in range(100)}

    assert len(secrets) == 100
    assert {len(secret) for secret in secrets} == {64}


@pytest.mark.parametrize(
    "token",
    ["", "uk_", "uk_0123456789ab_", "uk_0123456789AB_" + "0" * 64, "uk_0123456789ab_" + "0" * 64 + "\n", "x" * 99],
)
def test_what_is_no_token_is_none(token: str) -> None:
    """A token has one exact form."""
    assert parse_token(token) is None


@pytest.mark.parametrize(("scope", "owner"), [("operator", "acme"), ("customer", None)])
def test_every_key_but_an_operators_has_an_owner(scope: str, owner: str | None) -> None:
    """A key that would belong to nobody, or to somebody beside the operator, is not made."""
    with pytest.raises(ValueError, match="owner"):
        new_key(scope, owner, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"[]",
        b'{"id":"0123456789ab"}',
        b'{"id":"0123456789ab","scope":"god","sha256":"x","created_us":1}',
        b'{"id":"ffffffffffff","scope":"operator","sha256":"x","created_us":1}',
        b'{"id":"0123456789ab","scope":"operator","owner":"acme","sha256":"x","created_us":1}',
        b'{"id":"0123456789ab","scope":"customer","sha256":"x","created_us":1}',
        b'{"id":"0123456789ab","scope":"operator","sha256":"\xff","created_us":1}',
    ],
)
def test_a_record_that_is_not_in_order_is_no_key(value: bytes | None) -> None:
    """A deleted key, and one that cannot be read or contradicts itself, denies."""
    assert parse_key_record(b"key/0123456789ab", value) == ("0123456789ab", None)


@pytest.mark.parametrize("record_key", [None, b"", b"key/", b"key/xyz", b"signing/dep_acme/1", b"\xff"])
def test_other_records_are_left_alone(record_key: bytes | None) -> None:
    """The topic also holds signing keys."""
    assert parse_key_record(record_key, b"{}") is None


@pytest.mark.parametrize(
    ("expires_us", "revoked_us", "state"),
    [(None, None, "active"), (11, None, "active"), (10, None, "expired"), (None, 5, "revoked"), (10, 5, "revoked")],
)
def test_a_key_ends(expires_us: int | None, revoked_us: int | None, state: str) -> None:
    """A key is active until it expires or is revoked."""
    key = ApiKey("0123456789ab", "operator", "x", 1, expires_us=expires_us, revoked_us=revoked_us)

    assert key.state(now_us=10) == state


def test_the_operators_file_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    """The file keeps its token over restarts, and nobody else may read it."""
    path = tmp_path / "operator.key"

    ensure_operator_token(path)
    first = path.read_text()
    ensure_operator_token(path)

    assert path.read_text() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    parsed = parse_token(first.strip())
    assert parsed is not None
    key = read_operator_key(path)
    assert (key.id, key.scope, key.sha256) == (parsed[0], "operator", hash_of(parsed[1]))
    assert parsed[1].encode() not in msgspec.json.encode(key)


def test_an_unusable_operators_file_is_not_shown(tmp_path: Path) -> None:
    """What stands in the file may be a mistyped secret."""
    path = tmp_path / "operator.key"
    path.write_text("uk_hunter2")

    with pytest.raises(ValueError, match="no API key") as raised:
        read_operator_key(path)

    assert "hunter2" not in str(raised.value)
