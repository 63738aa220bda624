"""The Ed25519 keys with which a deployment signs its offline batches: their files, and their public form as text."""

import base64
import binascii
import os
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

_SCHEME = "ed25519:"
_PEM_START = "-----BEGIN"
_ID_DIGITS = 16


class SigningKeyError(ValueError):
    """A key cannot be used; the message says why, and never holds a private key."""


class Signer:
    """Signs with the private key in a file (PEM, PKCS 8, not encrypted). Raises SigningKeyError."""

    def __init__(self, private_key_file: Path) -> None:
        try:
            key = load_pem_private_key(private_key_file.read_bytes(), password=None)
        except OSError as error:
            raise SigningKeyError(f"the private key cannot be read: {error}") from None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise SigningKeyError(f"{private_key_file} holds no unencrypted private key in PEM form") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningKeyError(f"{private_key_file} holds a private key of another kind than Ed25519")
        self._key = key
        self.public_key = _as_text(key.public_key())
        self.key_id = key_id(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        return self._key.sign(message)


def make_private_key(path: Path) -> str:
    """Write a new private key to a file that only its owner may read, and return the public key as text.

    Raises FileExistsError: a key is never written over. Raises OSError.
    """
    key = Ed25519PrivateKey.generate()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return _as_text(key.public_key())


def parse_public_key(text: str) -> str:
    """Return a public key, given as "ed25519:BASE64" or as PEM, in the former form. Raises SigningKeyError."""
    text = text.strip()
    return _as_text(_public_key(text) if not text.startswith(_PEM_START) else _public_key_in_pem(text))


def key_id(public_key: str) -> str:
    """Return the name of a key: made from the public key, so that no two keys share one."""
    return sha256(_raw(_public_key(public_key))).hexdigest()[:_ID_DIGITS]


def is_signed(public_key: str, message: bytes, signature: bytes) -> bool:
    """Return whether the signature of a message was made by the owner of a public key. Raises SigningKeyError."""
    try:
        _public_key(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _public_key(text: str) -> Ed25519PublicKey:
    if not text.startswith(_SCHEME):
        raise SigningKeyError(f"a public key is {_SCHEME}BASE64, or PEM")
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text[len(_SCHEME) :], validate=True))
    except (binascii.Error, ValueError):
        raise SigningKeyError(f"no public key: {_SCHEME} is followed by 32 bytes in base64") from None


def _public_key_in_pem(text: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise SigningKeyError("this PEM holds no public key; a private key stays where it was made") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SigningKeyError("this is a public key of another kind than Ed25519")
    return key


def _as_text(key: Ed25519PublicKey) -> str:
    return _SCHEME + base64.b64encode(_raw(key)).decode()


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
