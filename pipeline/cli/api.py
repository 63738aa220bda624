"""`usage api`: serve the HTTP API."""

import json
import sys
from functools import partial
from pathlib import Path

import click
import uvloop

from pipeline.api.server import serve
from pipeline.cli.catalogs import catalog_in_force
from pipeline.cli.options import options_for
from pipeline.observe.log import log_to_stderr
from pipeline.settings import Settings
from pipeline.web.install import install_page


@click.command("api")
@click.option("--host", metavar="ADDRESS", help="Address to listen on (default 127.0.0.1).  [USAGE_API_HOST]")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="Port to listen on (default 8080); 0 = any free one.  [USAGE_API_PORT]",
)
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help='File to write, as JSON with the address ({"api": "http://..."}), when requests can be served.',
)
@options_for("kafka", "catalog", "log_level")
def api_command(host: str | None, port: int | None, ready_file: Path | None, settings: Settings) -> None:
    """Serve the HTTP API: take in usage events and grants, until SIGTERM or Ctrl-C.

    Who may do what is said by API keys (`usage keys make`). The routes are described at /docs. Start as many as are
    needed. The catalog is the version published last; the one of --catalog serves until there is one. Put TLS in front when clients come from other machines.
    """
    log_to_stderr(settings.log_level)
    catalog = catalog_in_force(settings)
    given = {name: value for name, value in (("api_host", host), ("api_port", port)) if value is not None}
    settings = settings.model_copy(update=given)
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)  # of one that was killed
    try:
        code = uvloop.run(
            serve(settings, catalog, None if ready_file is None else partial(_say, ready_file), install_page)
        )
    except (OSError, ValueError) as error:
        where = f"{settings.api_host}:{settings.api_port}"
        raise click.ClickException(f"the API cannot be served on {where}: {error}") from None
    finally:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
    sys.exit(code)


def _say(ready_file: Path, address: str) -> None:
    """Write the address so that nobody reads half of it."""
    partial = ready_file.with_name(f".{ready_file.name}.partial")
    partial.write_text(json.dumps({"api": address}) + "\n")
    partial.replace(ready_file)
