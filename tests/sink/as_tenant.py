"""Ask a migrated ClickHouse folder as a user of a role: `python -m tests.sink.as_tenant FOLDER ROLE`, queries as JSON on stdin.

The embedded engine makes no users, but it holds what a users.xml says of its own. So the grants and row policies of the
access migrations, word for word, are said there of the user `default`.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

from chdb.state.sqlitelike import Connection

from pipeline.sink.migrations import load_access_migrations

_POLICY = re.compile(r"CREATE ROW POLICY IF NOT EXISTS \w+ ON usage\.(\w+) FOR SELECT USING (.*) TO (.*)")
_USERS = """<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default>
<password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
<grants>{grants}</grants><databases><usage>{filters}</usage></databases>
</default></users></clickhouse>"""
_CONFIG = "<clickhouse><user_directories><users_xml><path>{users}</path></users_xml></user_directories></clickhouse>"


def users_of(role: str) -> str:
    """Return a users.xml whose user has the grants and the row policies of a role."""
    statements = [" ".join(each.split()) for migration in load_access_migrations() for each in migration.statements]
    to_role = f" TO {role}"
    grants = [each.removesuffix(to_role) for each in statements if each.startswith("GRANT ") and each.endswith(to_role)]
    policies = [found.groups() for each in statements if (found := _POLICY.fullmatch(each))]
    filters = {table: condition for table, condition, roles in policies if role in roles.split(", ")}
    return _USERS.format(
        grants="".join(f"<query>{escape(grant)}</query>" for grant in grants),
        filters="".join(f"<{table}><filter>{escape(sql)}</filter></{table}>" for table, sql in filters.items()),
    )


def main() -> None:
    """Print for each query its rows, or the error's code as text."""
    folder, role = sys.argv[1:]
    with tempfile.TemporaryDirectory() as made:
        users, config = Path(made, "users.xml"), Path(made, "config.xml")
        users.write_text(users_of(role))
        config.write_text(_CONFIG.format(users=users))
        connection = Connection(f"{folder}?config-file={config}")
        print(json.dumps([_answer(connection, query) for query in json.load(sys.stdin)]))  # noqa: T201 - its answer
        connection.close()


def _answer(connection: Connection, query: str) -> list[list[str]] | str:
    try:
        rows = connection.query(query, "TSV").bytes().decode().splitlines()
    except RuntimeError as error:
        return str(re.search(r"\((\w+)\)\s*$", str(error).strip())[1])  # type: ignore[index]
    return [row.split("\t") for row in rows]


if __name__ == "__main__":
    main()
