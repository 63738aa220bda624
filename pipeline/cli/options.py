"""Flags that every command shares."""

import functools
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
from pydantic import ValidationError

from pipeline.settings import Settings, load_settings

P = ParamSpec("P")
R = TypeVar("R")

_SHARED: dict[str, Callable[[Any], Any]] = {
    "kafka": click.option("--kafka", metavar="HOST:PORT,...", help="Kafka bootstrap servers.  [USAGE_KAFKA]"),
    "clickhouse": click.option("--clickhouse", metavar="URL", help="ClickHouse HTTP address.  [USAGE_CLICKHOUSE]"),
    "catalog": click.option(
        "--catalog",
        type=click.Path(exists=True, path_type=Path),
        help="Catalog file, or folder of catalog files.  [USAGE_CATALOG]",
    ),
    "log_level": click.option(
        "--log-level",
        type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
        help="Least level that is logged (default INFO).  [USAGE_LOG_LEVEL]",
    ),
}
_CONFIG = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="USAGE_CONFIG",
    help="TOML file with settings; `usage settings` lists them.  [USAGE_CONFIG]",
)
_SECRETS_DIR = click.option(
    "--secrets-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="USAGE_SECRETS_DIR",
    help="Folder with one file a secret, such as usage_kafka_password.  [USAGE_SECRETS_DIR]",
)


def options_for(*names: str) -> Callable[[Callable[P, R]], Callable[..., R]]:
    """Give a command the named shared flags and pass it `settings`, made from flags, variables and file."""

    def decorate(command: Callable[P, R]) -> Callable[..., R]:
        @functools.wraps(command)
        def with_settings(*args: Any, config: Path | None, secrets_dir: Path | None, **kwargs: Any) -> R:
            flags = {name: kwargs.pop(name) for name in names}
            try:
                settings = load_settings(config, secrets_dir, **flags)
            except ValidationError as error:
                raise click.UsageError(_explain(error)) from None
            except tomllib.TOMLDecodeError as error:
                raise click.UsageError(f"{config}: {error}") from None
            return command(*args, settings=settings, **kwargs)  # type: ignore[arg-type]

        decorated: Callable[..., R] = with_settings
        for option in [_SECRETS_DIR, _CONFIG, *(_SHARED[name] for name in reversed(names))]:
            decorated = option(decorated)
        return decorated

    return decorate


def required_catalog(settings: Settings) -> Path:
    """Return the catalog's path. Raises click.UsageError when none is set."""
    if settings.catalog is None:
        raise click.UsageError("no catalog: give --catalog PATH or set USAGE_CATALOG")
    return settings.catalog


def _explain(error: ValidationError) -> str:
    """Return what is wrong with which setting, without the value: it may be a secret."""
    return "; ".join(f"setting {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
