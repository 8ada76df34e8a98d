"""The gateway's SQLite file."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

from .database import ALLOW_MODELS, Database, hash_of


class SqliteFile(Database):
    NOW = "strftime('%s', 'now') * 1000000"
    BY_COMMIT = "seq"

    def __init__(self, path: Path):
        self.path = path

    def settings(self) -> dict[str, str]:
        return {}

    def secrets(self) -> list[str]:
        return []

    @contextlib.contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(f"file:{self.path}?mode={mode}", uri=True, timeout=10, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()

    def rows(self, query: str, *values: object) -> list[tuple]:
        with self._open("ro") as connection:
            return connection.execute(query, _stored(values)).fetchall()

    def execute(self, statement: str, *values: object) -> int:
        with self._open("rw") as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            return connection.execute(statement, _stored(values)).rowcount

    def tamper(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        with self._open("rw") as connection:
            connection.execute("BEGIN IMMEDIATE")
            triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            for statement, values in statements:
                changed = connection.execute(statement, _stored(values)).rowcount
                assert changed == 1, f"{statement}: {changed} rows"
            for _, definition in triggers:
                connection.execute(definition)
            connection.execute("COMMIT")

    def allow_models(self, key: str, models: list[str]) -> None:
        self.operator_sql(ALLOW_MODELS, json.dumps(models), hash_of(key))

    @contextlib.contextmanager
    def unguarded(self, table: str) -> Iterator[None]:
        triggers = self.rows("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", table)
        for name, _ in triggers:
            self.execute(f"DROP TRIGGER {name}")
        yield
        for _, create in triggers:
            self.execute(create)

    def contents(self) -> bytes:
        """The database, its log and its index."""
        files = sorted(self.path.parent.glob(self.path.name + "*"))
        return b"".join(file.read_bytes() for file in files)


def _stored(values: tuple[object, ...]) -> list[object]:
    return [value.bytes if isinstance(value, UUID) else value for value in values]
