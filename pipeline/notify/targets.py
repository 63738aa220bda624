"""Where alerts go: the targets that the file `alerts_config` names (docs/alerts.md)."""

import base64
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec
import yaml

from pipeline.domain.catalog import Catalog
from pipeline.notify.notices import Notice

CONFIG_BYTES_MAX = 1 << 20
TARGETS_MAX = 100
SECRET_BYTES_MIN = 24
"""Standard Webhooks asks for 24 to 64 random bytes."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_INLINE = re.compile(r"unknown field `(secret|password)`")


class TargetError(Exception):
    """The targets cannot be used as they are configured; the message says what is wrong, and holds no secret."""


class _Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """What every target has; what it leaves out does not narrow."""

    name: str
    """Also names its consumer group: what was delivered to it is remembered under this name."""
    customers: frozenset[str] | None = None
    apps: frozenset[str] | None = None
    builders: frozenset[str] | None = None
    thresholds: frozenset[int] | None = None
    start: Literal["beginning", "now"] = "beginning"
    """What a target that was never delivered to gets first: all alerts that Kafka still has, or those from now on."""

    def wants(self, notice: Notice) -> bool:
        """Tell whether an alert goes to this target.

        One whose app is not certain goes to a target of some apps or builders only if each that it can be of is among
        them: no builder hears of another's customers.
        """
        return (
            notice.target in (None, self.name)
            and (self.customers is None or notice.alert.customer in self.customers)
            and (self.thresholds is None or notice.alert.threshold in self.thresholds)
            and (self.apps is None or bool(notice.apps and notice.apps <= self.apps))
            and (self.builders is None or bool(notice.builders and notice.builders <= self.builders))
        )


class WebhookTarget(_Target, frozen=True, tag="webhook"):
    """An HTTP address that takes signed alerts."""

    url: str
    secret_env: str | None = None
    secret_file: Path | None = None
    timeout_s: float = 10
    allow_insecure: bool = False

    def secret(self) -> bytes:
        """Return the signing secret. Raises TargetError."""
        text = _secret(self.name, "secret", self.secret_env, self.secret_file)
        if text is None:
            raise TargetError(f"target {self.name}: a webhook is signed: give secret_env or secret_file")
        try:
            secret = base64.b64decode(text.removeprefix("whsec_") + "==", validate=False)
        except ValueError:
            secret = b""
        if len(secret) < SECRET_BYTES_MIN:
            raise TargetError(
                f"target {self.name}: its secret must be whsec_ and then at least {SECRET_BYTES_MIN} random bytes in base64, "
                "such as: echo whsec_$(openssl rand -base64 32)"
            )
        return secret


class SmtpTarget(_Target, frozen=True, tag="smtp"):
    """A mail server, and who gets a mail by it."""

    host: str
    sender: str
    recipients: tuple[str, ...]
    port: int = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None
    username: str | None = None
    password_env: str | None = None
    password_file: Path | None = None
    timeout_s: float = 20
    allow_insecure: bool = False

    def password(self) -> str | None:
        """Return the password, None when there is none. Raises TargetError."""
        return _secret(self.name, "password", self.password_env, self.password_file)


class StdoutTarget(_Target, frozen=True, tag="stdout"):
    """Standard output, an alert a line."""

    format: Literal["text", "json"] = "text"


Target = WebhookTarget | SmtpTarget | StdoutTarget


class _Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    targets: list[Target]


def load_targets(path: Path, catalog: Catalog | None) -> list[Target]:
    """Return the targets of a YAML file. Raises TargetError."""
    try:
        with path.open("rb") as file:
            text = file.read(CONFIG_BYTES_MAX + 1)
        if len(text) > CONFIG_BYTES_MAX:
            raise TargetError(f"{path} has more than {CONFIG_BYTES_MAX} bytes")
        targets = msgspec.convert(yaml.safe_load(text), _Config, dec_hook=_path).targets
    except OSError as error:
        raise TargetError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise TargetError(f"{path}{line}: this is no YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError):
        raise TargetError(f"{path}: this is no YAML") from None
    except msgspec.ValidationError as error:
        raise TargetError(f"{path}: {_explain(str(error))}") from None
    _check_names(path, targets)
    for target in targets:
        if fault := _fault_of(target, catalog):
            raise TargetError(f"{path}: target {target.name}: {fault}")
    return targets


def _path(wanted: type, text: object) -> Path:
    """Return what msgspec cannot make itself: paths. Raises ValueError."""
    if wanted is not Path or not isinstance(text, str) or not text:
        raise ValueError("this is no path")
    return Path(text)


def _explain(message: str) -> str:
    found = _INLINE.search(message)
    if found is None:
        return message
    return (
        f"{message}: a secret does not stand in this file; name its variable ({found[1]}_env) or file ({found[1]}_file)"
    )


def _check_names(path: Path, targets: list[Target]) -> None:
    names = [target.name for target in targets]
    if not 1 <= len(names) <= TARGETS_MAX:
        raise TargetError(f"{path}: there are {len(names)} targets, not 1 to {TARGETS_MAX}")
    for name in names:
        if not _NAME.fullmatch(name):
            raise TargetError(f"{path}: target name {name!r}: use small letters, digits, - and _, at most 63")
        if names.count(name) > 1:
            raise TargetError(f"{path}: two targets are named {name}; each needs a name of its own")


def _fault_of(target: Target, catalog: Catalog | None) -> str | None:
    """Return what is wrong with a target, None when nothing is."""
    if (target.apps or target.builders) and catalog is None:
        return "apps and builders are told apart by the catalog: give --catalog PATH or set USAGE_CATALOG"
    for name, known in () if catalog is None else _known(catalog):
        unknown = sorted((getattr(target, name) or frozenset()) - known)
        if unknown:
            return f"{name}: {unknown[0]!r} is not in the catalog"
    if isinstance(target, WebhookTarget):
        return _webhook_fault(target)
    if isinstance(target, SmtpTarget):
        return _smtp_fault(target)
    return None


def _known(catalog: Catalog) -> list[tuple[str, set[str]]]:
    return [("customers", set(catalog.customers)), ("apps", set(catalog.apps)), ("builders", set(catalog.builders))]


def _webhook_fault(target: WebhookTarget) -> str | None:
    try:
        url = urlsplit(target.url)
        port = url.port
    except ValueError:
        return "url: this is no address"
    if url.scheme not in ("https", "http") or not url.hostname or port == 0:
        return "url: this is no https:// address"
    if url.scheme == "http" and not target.allow_insecure:
        return "url: it must be https://; allow_insecure: true is for tests"
    if url.username is not None or url.password is not None:
        return "url: it holds no user or password; what is sent is signed"
    target.secret()
    return _timeout_fault(target.timeout_s)


def _smtp_fault(target: SmtpTarget) -> str | None:
    if target.tls == "none" and not target.allow_insecure:
        return "tls: none sends alerts in the clear; allow_insecure: true is for tests"
    if (target.username is None) != (target.password() is None):
        return "a username needs a password (password_env or password_file), and the other way round"
    if not target.recipients:
        return "recipients: there are none"
    if not all(address.isprintable() and "@" in address for address in (target.sender, *target.recipients)):
        return "sender and recipients are mail addresses"
    if not 1 <= target.port <= 65535:
        return "port: use 1 to 65535"
    return _timeout_fault(target.timeout_s)


def _timeout_fault(timeout_s: float) -> str | None:
    return None if 0 < timeout_s <= 60 else "timeout_s: use more than 0, at most 60"


def _secret(name: str, what: str, variable: str | None, file: Path | None) -> str | None:
    """Return a secret from where the configuration says that it is, None when it does not say."""
    if variable is not None and file is not None:
        raise TargetError(f"target {name}: give {what}_env or {what}_file, not both")
    read: Callable[[], str | None]
    if variable is not None:
        where, read = f"variable {variable}", lambda: os.environ.get(variable)
    elif file is not None:
        where, read = f"file {file}", file.read_text
    else:
        return None
    try:
        text = (read() or "").strip()
    except (OSError, ValueError):
        text = ""
    if not text:
        raise TargetError(f"target {name}: there is no {what} in {where}")
    return text
