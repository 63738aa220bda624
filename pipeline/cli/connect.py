"""The ClickHouse client of commands that ask and answer."""

import logging

import clickhouse_connect
from click import ClickException
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.settings import Settings
from pipeline.settings.clients import clickhouse_arguments

CONNECT_TIMEOUT_S = 5
_REFUSED = (192, 193, 194, 516)
"""ClickHouse's codes of unknown users, wrong or missing passwords, and failed authentication."""


def clickhouse_client(settings: Settings) -> Client:
    """Return a connected client. Raises click.ClickException, which says where ClickHouse was looked for and what to do."""
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # what it logs, it raises too
    try:
        return clickhouse_connect.get_client(**clickhouse_arguments(settings), connect_timeout=CONNECT_TIMEOUT_S)
    except ValueError as error:
        raise ClickException(str(error)) from None
    except (ClickHouseError, OSError) as error:
        if getattr(error, "code", None) in _REFUSED or "AUTHENTICATION_FAILED" in str(error):
            raise ClickException(
                f"ClickHouse at {settings.clickhouse} refuses user {settings.clickhouse_user!r}: set "
                "USAGE_CLICKHOUSE_USER and USAGE_CLICKHOUSE_PASSWORD"
            ) from None
        raise ClickException(
            f"ClickHouse does not answer at {settings.clickhouse}: start it (`usage up`), or say where it is with "
            f"--clickhouse URL or USAGE_CLICKHOUSE ({_root(error)})"
        ) from error


def _root(error: BaseException) -> str:
    """Return the message of the failure that led to the others."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return one_line(error)


def one_line(error: BaseException) -> str:
    """Return an error's message in one line that is not too long."""
    text = str(error).strip() or type(error).__name__
    return " ".join(text.split())[:300]
