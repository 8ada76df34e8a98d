"""The gateway's SQLite file, read beside the running program."""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from .money import usd


@dataclass(frozen=True)
class Event:
    """A usage event: one row of `request_logs`."""

    generation_id: str | None
    model: str | None
    delivery: str
    ending: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_source: str
    list_cost: str
    cost_nanos: int
    price_nanos: int
    charged_nanos: int
    uncollected_nanos: int
    loss_reason: str | None
    hold_nanos: int

    @property
    def list_usd(self) -> Fraction:
        return usd(self.list_cost)


@dataclass(frozen=True)
class Balance:
    balance_nanos: int
    reserved_nanos: int
    lifetime_spent_nanos: int


class Database:
    """Read-only views, and what an operator would change by SQL."""

    def __init__(self, path: Path):
        self.path = path

    @contextlib.contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(f"file:{self.path}?mode={mode}", uri=True, timeout=10, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()

    def rows(self, query: str, *values: object) -> list[tuple]:
        with self._open("ro") as connection:
            return connection.execute(query, values).fetchall()

    def operator_sql(self, statement: str, *values: object) -> None:
        """One statement that changes something, as an operator types it beside the running gateway."""
        with self._open("rw") as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            changed = connection.execute(statement, values).rowcount
        assert changed == 1, f"{statement}: {changed} rows"

    def account_of(self, key: str) -> bytes:
        """The paying account of a client key."""
        [(account,)] = self.rows("SELECT payer_id FROM api_keys WHERE hash = ?", hash_of(key))
        return account

    def balance(self, account: bytes) -> Balance:
        columns = ", ".join(Balance.__dataclass_fields__)
        [row] = self.rows(f"SELECT {columns} FROM balances WHERE account_id = ?", account)
        return Balance(*row)

    def events(self, account: bytes | None = None) -> list[Event]:
        """Usage events in the order of their commits, of one account or of all."""
        columns = ", ".join(Event.__dataclass_fields__)
        where = "WHERE payer_id = ?" if account is not None else ""
        values = (account,) if account is not None else ()
        return [Event(*row) for row in self.rows(f"SELECT {columns} FROM request_logs {where} ORDER BY seq", *values)]

    def pending(self) -> list[tuple[str, str | None, dict]]:
        """Requests whose usage isn't known: reason, generation id, details."""
        rows = self.rows("SELECT reason, generation_id, details FROM pending_requests")
        return [(reason, generation, json.loads(details)) for reason, generation, details in rows]

    def bytes_on_disk(self) -> bytes:
        """The database, its log and its index, for finding what must not be in them."""
        files = sorted(self.path.parent.glob(self.path.name + "*"))
        return b"".join(file.read_bytes() for file in files)


def hash_of(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
