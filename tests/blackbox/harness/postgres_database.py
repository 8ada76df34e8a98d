"""A PostgreSQL database of its own for one gateway, or for several replicas of it, and the Redis that they share."""

import base64
import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from .database import ALLOW_MODELS, Database, hash_of

WAIT_SECONDS = 10
# Those that hold rows: a partitioned table doesn't, its partitions do.
TABLES = """
    SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema')"""

# The triggers that tell replicas of changes.
NOTIFYING = """
    SELECT CAST(CAST(tgrelid AS regclass) AS text), CAST(quote_ident(tgname) AS text)
    FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
    WHERE NOT tgisinternal AND prosrc ILIKE '%notify%'"""


@dataclass(frozen=True)
class Servers:
    """Where tests make databases, and the Redis beside it."""

    database_url: str
    redis_url: str


class PostgresDatabase(Database):
    NOW = "now()"
    BY_COMMIT = "transaction_id, finished_at, id"

    def __init__(self, url: str, redis_url: str):
        self.url = url
        self._settings = {
            "DATABASE_URL": url,
            "REDIS_URL": redis_url,
            "SECRET_KEY": random_key(),
            "ENCRYPTION_KEY": random_key(),
        }
        self._connection: psycopg.Connection | None = None

    def settings(self) -> dict[str, str]:
        return self._settings

    def secrets(self) -> list[str]:
        password = urlsplit(self.url).password
        return [self._settings["SECRET_KEY"], self._settings["ENCRYPTION_KEY"], *([password] if password else [])]

    def _cursor(self, query: str, values: tuple[object, ...]) -> psycopg.Cursor:
        """Runs a query on the one connection; on a new one if the server was away."""
        for _ in range(2):
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self.url, autocommit=True, connect_timeout=WAIT_SECONDS)
            try:
                return self._connection.execute(query.replace("?", "%s"), values or None)
            except psycopg.OperationalError:
                self._connection.close()
        raise ConnectionError(f"no answer to {query}")

    def rows(self, query: str, *values: object) -> list[tuple]:
        return [tuple(map(_read, row)) for row in self._cursor(query, values).fetchall()]

    def execute(self, statement: str, *values: object) -> int:
        return self._cursor(statement, values).rowcount

    def tamper(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        with psycopg.connect(self.url, connect_timeout=WAIT_SECONDS) as connection:
            connection.execute("SET LOCAL session_replication_role = replica")
            for statement, values in statements:
                changed = connection.execute(statement.replace("?", "%s"), values).rowcount
                assert changed == 1, f"{statement}: {changed} rows"

    def allow_models(self, key: str, models: list[str]) -> None:
        self.operator_sql(ALLOW_MODELS, models, hash_of(key))

    @contextlib.contextmanager
    def unguarded(self, table: str) -> Iterator[None]:
        self.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        self.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")

    def contents(self) -> bytes:
        """Every table in PostgreSQL's binary form, in which texts and bytes are as they are."""
        found = []
        with psycopg.connect(self.url) as connection:
            for name in connection.execute(TABLES).fetchall():
                copy = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(sql.Identifier(*name))
                with connection.cursor().copy(copy) as data:
                    found += map(bytes, data)
        return b"".join(found)

    def block_notifications(self) -> None:
        """Replicas aren't told of changes any more: they have to ask."""
        self._switch_notifications("DISABLE")

    def unblock_notifications(self) -> None:
        self._switch_notifications("ENABLE")

    def _switch_notifications(self, switch: str) -> None:
        triggers = self.rows(NOTIFYING)
        assert triggers, "no trigger notifies"
        for table, trigger in triggers:
            self.execute(f"ALTER TABLE {table} {switch} TRIGGER {trigger}")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _read(value: object) -> object:
    """Exact decimals as texts."""
    return f"{value:f}" if isinstance(value, Decimal) else value


def random_key() -> str:
    """A secret as `SECRET_KEY` and `ENCRYPTION_KEY` take it."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


@contextlib.contextmanager
def new_database(servers: Servers) -> Iterator[PostgresDatabase]:
    """An empty database, dropped at the end."""
    name = f"airouter_test_{secrets.token_hex(8)}"
    at_server(servers, "CREATE DATABASE {}", name)
    url = urlunsplit(urlsplit(servers.database_url)._replace(path=f"/{name}"))
    database = PostgresDatabase(url, servers.redis_url)
    try:
        yield database
    finally:
        database.close()
        at_server(servers, "DROP DATABASE {} WITH (FORCE)", name)


def at_server(servers: Servers, statement: str, *names: str) -> None:
    """A statement about whole databases, whose names it has braces for."""
    with psycopg.connect(servers.database_url, autocommit=True, connect_timeout=WAIT_SECONDS) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
