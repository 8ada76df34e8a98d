"""What somebody could do to the books who gets round the triggers, and leaves the ledger in order.

`ledger verify` finds nothing of it. For requests of prepaid clients without caps, each committed alone.
"""

from dataclasses import dataclass
from fractions import Fraction
from uuid import UUID, uuid4

from .database import Database
from .money import cost_of, price_of, usd

NANO = Fraction(1, 10**9)
# Those of a usage event that a doubled one shares with it.
COPIED = (
    "api_key_id, payer_id, price_terms_id, budget_set_id, generation_id, model, provider, delivery, ending, "
    "prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, audio_tokens, reasoning_tokens, "
    "image_output_tokens, reported_cost, cost_source, upstream_inference_cost, list_cost, cost_nanos, price_nanos, "
    "charged_nanos, uncollected_nanos, charged_requests, loss_reason, hold_nanos, admitted_at, finished_at, "
    "first_byte_micros"
)

Statements = list[tuple[str, tuple[object, ...]]]


@dataclass(frozen=True)
class Entry:
    """A usage event and the transaction that posts it and nothing else."""

    request: UUID
    transaction: int
    payer: UUID
    charged: int
    # Amounts by account of the ledger: its number and its kind.
    postings: dict[tuple[int, str], int]


def entry_of(database: Database, generation: str) -> Entry:
    [(request, transaction, payer, charged)] = database.rows(
        "SELECT id, transaction_id, payer_id, charged_nanos FROM request_logs WHERE generation_id = ?", generation
    )
    [(events,)] = database.rows("SELECT count(*) FROM request_logs WHERE transaction_id = ?", transaction)
    assert events == 1, "it was not committed alone"
    postings = database.rows(
        "SELECT p.ledger_account_id, a.kind, p.amount_nanos FROM ledger_postings p "
        "JOIN ledger_accounts a ON a.id = p.ledger_account_id WHERE p.transaction_id = ?",
        transaction,
    )
    amounts = {(account, kind): amount for account, kind, amount in postings}
    return Entry(_uuid(request), transaction, _uuid(payer), charged, amounts)


def delete_event(database: Database, generation: str) -> None:
    """As if the request had never been booked."""
    entry = entry_of(database, generation)
    deleted = [
        ("DELETE FROM request_logs WHERE id = ?", (entry.request,)),
        *(
            (
                "DELETE FROM ledger_postings WHERE transaction_id = ? AND ledger_account_id = ?",
                (entry.transaction, account),
            )
            for account, _ in entry.postings
        ),
        ("DELETE FROM ledger_transactions WHERE id = ?", (entry.transaction,)),
    ]
    database.tamper([*deleted, *_changed_sums(entry, -1)])


def double_event(database: Database, generation: str) -> UUID:
    """As if it had been booked once more, under another id."""
    entry = entry_of(database, generation)
    twin = uuid4()
    [(number,)] = database.rows("SELECT max(id) + 1000 FROM ledger_transactions")
    added: Statements = [
        (
            "INSERT INTO ledger_transactions (id, kind, created_at) "
            "SELECT ?, kind, created_at FROM ledger_transactions WHERE id = ?",
            (number, entry.transaction),
        ),
        (
            f"INSERT INTO request_logs (id, transaction_id, {COPIED}) "
            f"SELECT ?, ?, {COPIED} FROM request_logs WHERE id = ?",
            (twin, number, entry.request),
        ),
        *(
            ("INSERT INTO ledger_postings (transaction_id, ledger_account_id, amount_nanos) VALUES (?, ?, ?)", row)
            for row in ((number, account, amount) for (account, _), amount in entry.postings.items())
        ),
    ]
    database.tamper([*added, *_changed_sums(entry, 1)])
    return twin


def alter_cost(database: Database, generation: str, by: Fraction) -> UUID:
    """As if the upstream had reported another cost, and everything had been computed from that."""
    entry = entry_of(database, generation)
    [(before,)] = database.rows("SELECT reported_cost FROM request_logs WHERE id = ?", entry.request)
    after = usd(before) + by
    cost, price = cost_of(after) - cost_of(usd(before)), price_of(after) - price_of(usd(before))
    changes = {"cost_of_sales": cost, "upstream_credit": -cost, "client_balance": price, "revenue": -price}
    text = f"{after.numerator * (10**18 // after.denominator):019d}"
    text = f"{text[:-18]}.{text[-18:]}"
    altered: Statements = [
        (
            "UPDATE request_logs SET reported_cost = ?, list_cost = ?, cost_nanos = cost_nanos + ?, "
            "price_nanos = price_nanos + ?, charged_nanos = charged_nanos + ? WHERE id = ?",
            (text, text, cost, price, price, entry.request),
        )
    ]
    for account, kind in entry.postings:
        row = (changes[kind], entry.transaction, account)
        altered.append(
            (
                "UPDATE ledger_postings SET amount_nanos = amount_nanos + ? "
                "WHERE transaction_id = ? AND ledger_account_id = ?",
                row,
            )
        )
        altered.append(_ledger_sum(account, changes[kind]))
    altered.append(_balance(entry.payer, price))
    database.tamper(altered)
    return entry.request


def _changed_sums(entry: Entry, times: int) -> Statements:
    sums = [_ledger_sum(account, times * amount) for (account, _), amount in entry.postings.items()]
    return [*sums, _balance(entry.payer, times * entry.charged)]


def _ledger_sum(account: int, change: int) -> tuple[str, tuple[object, ...]]:
    return ("UPDATE ledger_accounts SET balance_nanos = balance_nanos + ? WHERE id = ?", (change, account))


def _balance(payer: UUID, charged: int) -> tuple[str, tuple[object, ...]]:
    statement = (
        "UPDATE balances SET balance_nanos = balance_nanos - ?, lifetime_spent_nanos = lifetime_spent_nanos + ? "
        "WHERE account_id = ?"
    )
    return (statement, (charged, charged, payer))


def _uuid(value: object) -> UUID:
    return value if isinstance(value, UUID) else UUID(bytes=value)
