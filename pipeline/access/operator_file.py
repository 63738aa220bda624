"""An operator's key from a file: for the first minute, when `access.keys` has none yet."""

import os
from pathlib import Path

from pipeline.access.keys import ApiKey, hash_of, new_key, parse_token

_NAME = "operator key file"


def read_operator_key(path: Path) -> ApiKey:
    """Return the key whose token a file holds. Raises OSError; ValueError, which does not show what the file holds."""
    parsed = parse_token(path.read_text(errors="replace").strip())
    if parsed is None:
        raise ValueError(f"{path}: holds no API key; one looks like uk_<id>_<secret>")
    identity, secret = parsed
    return ApiKey(identity, "operator", hash_of(secret), created_us=0, name=_NAME)


def ensure_operator_token(path: Path) -> None:
    """Write a new operator's token into a file that only we may read, unless the file is there."""
    token, _ = new_key("operator", None, created_us=0, name=_NAME)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
    except FileExistsError:
        return
    with open(handle, "w") as file:  # noqa: PTH123 - a handle has no path
        file.write(token + "\n")
