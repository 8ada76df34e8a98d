"""The gateway's database, read beside the running program: what its tables say, whichever store they are in."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar
from uuid import UUID

from .money import usd

ALLOW_MODELS = "UPDATE api_keys SET allowed_models = ? WHERE hash = ?"


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


class Database(ABC):
    """Read-only views, and what an operator would change by SQL.

    Queries have `?` for values. Ids are UUIDs, exact decimals are texts, amounts are nano-dollars, in either store.
    """

    # The present moment, as this store writes it in SQL.
    NOW: ClassVar[str]
    # Usage events in the order of their commits.
    BY_COMMIT: ClassVar[str]

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """The environment that makes the gateway use it."""

    @abstractmethod
    def secrets(self) -> list[str]:
        """What among those settings no log may hold."""

    @abstractmethod
    def rows(self, query: str, *values: object) -> list[tuple]: ...

    @abstractmethod
    def execute(self, statement: str, *values: object) -> int:
        """Changes something, as an operator does beside the running gateway; how many rows."""

    @abstractmethod
    def tamper(self, statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        """Changes one row with each statement, whatever triggers have against it: all of them or none."""

    @abstractmethod
    def unguarded(self, table: str) -> AbstractContextManager[None]:
        """Meanwhile no trigger of the table keeps it as it is."""

    @abstractmethod
    def contents(self) -> bytes:
        """All that it stores, for finding what must not be in it."""

    def operator_sql(self, statement: str, *values: object) -> None:
        """One statement that changes one row."""
        changed = self.execute(statement, *values)
        assert changed == 1, f"{statement}: {changed} rows"

    def account_of(self, key: str) -> UUID:
        """The paying account of a client key."""
        [(account,)] = self.rows("SELECT payer_id FROM api_keys WHERE hash = ?", hash_of(key))
        return account if isinstance(account, UUID) else UUID(bytes=account)

    def revoke(self, key: str) -> None:
        self.operator_sql(f"UPDATE api_keys SET revoked_at = {self.NOW} WHERE hash = ?", hash_of(key))

    @abstractmethod
    def allow_models(self, key: str, models: list[str]) -> None:
        """The key may use no other models from now on."""

    def balance(self, account: UUID) -> Balance:
        columns = ", ".join(Balance.__dataclass_fields__)
        [row] = self.rows(f"SELECT {columns} FROM balances WHERE account_id = ?", account)
        return Balance(*row)

    def events(self, account: UUID | None = None) -> list[Event]:
        """Usage events in the order of their commits, of one account or of all."""
        columns = ", ".join(Event.__dataclass_fields__)
        where = "WHERE payer_id = ?" if account is not None else ""
        values = (account,) if account is not None else ()
        query = f"SELECT {columns} FROM request_logs {where} ORDER BY {self.BY_COMMIT}"
        return [Event(*row) for row in self.rows(query, *values)]

    def pending(self) -> list[tuple[str, str | None, dict]]:
        """Requests whose usage isn't known: reason, generation id, details."""
        rows = self.rows("SELECT reason, generation_id, CAST(details AS TEXT) FROM pending_requests")
        return [(reason, generation, json.loads(details)) for reason, generation, details in rows]


def hash_of(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
