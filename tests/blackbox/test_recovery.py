"""What became of requests that were cut, or whose usage did not come: found out, and booked where it belongs."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from harness.database import Database, Event
from harness.gateway import Account, Gateway, running_gateway
from harness.lossy_way import lossy_way
from harness.money import cost_of, nanos, price_of
from harness.polling import eventually
from harness.postgres_database import Servers, new_database
from harness.replicas import LAPSE, revive
from harness.requests import body
from harness.simulator import Simulator, running_simulator

SLOW = {"completion_tokens": 60, "chunks": 60, "chunk_ms": 100}


class Stream:
    """A stream that is being read; its upstream goes on for as long as this does."""

    def __init__(self, response: httpx2.Response):
        assert response.status_code == 200
        self._lines = response.iter_lines()

    def first(self) -> dict:
        """The first event."""
        line = next(line for line in self._lines if line.startswith("data: "))
        return json.loads(line.removeprefix("data: "))

    def some(self) -> None:
        """A few more: what has come by then is billed."""
        for _ in range(10):
            next(self._lines)


def test_what_was_taken_over_without_an_answer_is_not_forgotten(tmp_path: Path, simulator: Simulator, servers: Servers):
    """The database makes a dead replica's request another one's own, and the answer gets lost on the way."""
    with new_database(servers) as database, lossy_way(database.url) as way:
        dead, heir = (new_gateway(tmp_path / name, simulator, database) for name in ("dead", "heir"))
        heir.environment["DATABASE_URL"] = way.url
        try:
            dead.start()
            [(number,)] = database.rows("SELECT max(id) FROM replicas")
            heir.start()
            account = dead.new_account()
            with (
                account.http() as http,
                http.stream("POST", "/v1/chat/completions", json=body(sim=SLOW, stream=True)) as stream,
            ):
                reading = Stream(stream)
                generation = reading.first()["id"]
                eventually(lambda: generation in [row[1] for row in database.pending()], "it is on record")
                dead.child.kill()
            way.lose_the_answer_after(generation)
            database.operator_sql(LAPSE, number)
            eventually(way.lost.is_set, "the answer was lost", 20)
            [event] = account.settled(1, seconds=15)
            assert (event.generation_id, event.loss_reason) == (generation, "crash")
            heir.stop()
        finally:
            for gateway in (dead, heir):
                if gateway.child is not None and gateway.child.is_running:
                    gateway.child.kill()


def new_gateway(directory: Path, simulator: Simulator, database: Database | None) -> Gateway:
    directory.mkdir()
    return Gateway(directory, simulator, database)


KEYS = ("sk-or-v1-first", "sk-or-v1-second")


@pytest.fixture
def two_accounts(tmp_path: Path) -> Iterator[Simulator]:
    """An upstream with two accounts of the operator."""
    with running_simulator(tmp_path, KEYS) as simulator:
        yield simulator


def test_a_crash_after_a_failover_is_the_loss_of_who_served(
    tmp_path: Path, two_accounts: Simulator, own_database: Database | None
):
    """The request was on record as the first master account's, which then refused it."""
    gateway = new_gateway(tmp_path / "gateway", two_accounts, own_database)
    try:
        gateway.start()
        account = gateway.new_account()
        fault = {"kind": "status:429", "first_attempts": 1, "attempt_key": "failover"}
        # Long enough to be on record, and to be seen there, before it is refused.
        request = body(sim=SLOW | {"first_ms": 5000, "error": fault}, stream=True)

        def on_record(generation: str | None) -> list[str]:
            rows = [details for _, found, details in gateway.database.pending() if found == generation]
            return [details["served"]["master_account"] for details in rows]

        with ThreadPoolExecutor(1) as pool, account.http() as http:
            early = pool.submit(eventually, lambda: on_record(None), "it is on record before it is refused")
            with http.stream("POST", "/v1/chat/completions", json=request) as stream:
                reading = Stream(stream)
                generation = reading.first()["id"]
                [first] = early.result()
                [second] = eventually(lambda: on_record(generation), "it is on record as the second one's")
                reading.some()
                gateway.child.kill()
        assert first != second
        revive(gateway)
        [event] = account.settled(1)
        assert (event.generation_id, event.loss_reason) == (generation, "crash")
        [served_by] = [row.key for row in two_accounts.generations().values() if row.id == generation]
        [(terms,)] = gateway.database.rows("SELECT terms FROM price_terms")
        assert json.loads(terms)["master_account"] == second
        assert credit_owner(gateway) == master_with(gateway, served_by)
        assert event.cost_nanos == cost_of(two_accounts.generation(generation).cost) > 0
        gateway.stop()
    finally:
        if gateway.child.is_running:
            gateway.child.kill()


def credit_owner(gateway: Gateway) -> object:
    """Whose upstream credit was spent."""
    [(owner,)] = gateway.database.rows("SELECT owner_id FROM ledger_accounts WHERE kind = 'upstream_credit'")
    return owner


def master_with(gateway: Gateway, key: str) -> object:
    """The master account with this key: they were added in the order in which the environment names them."""
    rows = gateway.database.rows("SELECT id FROM master_accounts ORDER BY seq")
    return rows[KEYS.index(key)][0]


@pytest.fixture
def own_gateway(tmp_path: Path, simulator: Simulator, own_database: Database | None) -> Iterator[Gateway]:
    with running_gateway(tmp_path, simulator, own_database) as gateway:
        yield gateway


def test_tokens_are_priced_by_the_price_book_of_the_admission(own_gateway: Gateway, simulator: Simulator):
    """Neither the answer nor the upstream's record says what was charged, and meanwhile prices rise."""
    account, other = own_gateway.new_account(), own_gateway.new_account()
    simulator.configure(generation_cost_hidden=1)
    sim = {"usage": "none", "generation_delay_ms": 5000, "prompt_tokens": 1000, "completion_tokens": 200}
    with account.http() as http:
        assert http.post("/v1/chat/completions", json=body(sim=sim, stream=True)).status_code == 200
    before = max_price(other, simulator)
    raise_prices(own_gateway.database, "sim/small")
    eventually(lambda: max_price(other, simulator) != before, "other prices are in force")
    assert not account.events(), "prices changed before it was found out"
    [event] = account.settled(1)
    billed = simulator.generation(event.generation_id)
    assert event.list_usd == billed.cost > 0
    assert event.charged_nanos == price_of(billed.cost)


def max_price(account: Account, simulator: Simulator) -> object:
    """The bound of prices that a request is sent with."""
    with account.http() as http:
        assert http.post("/v1/chat/completions", json=body(sim={"completion_tokens": 1})).status_code == 200
    return simulator.last_body()["provider"]["max_price"]


def raise_prices(database: Database, model: str) -> None:
    """Another version of a model's prices, ten times as dear."""
    columns = "provider, model, context_length, max_completion_tokens, output_limit"
    [row] = database.rows(
        f"SELECT {columns}, CAST(pricing AS text), CAST(listing AS text) FROM model_pricing WHERE model = ?", model
    )
    *others, pricing, listing = row
    pricing = re.sub(r'"0\.0([0-9]+)"', r'"0.\1"', pricing)
    assert pricing != row[-2]
    database.operator_sql("UPDATE model_pricing SET is_active = false WHERE model = ?", model)
    database.operator_sql(
        f"INSERT INTO model_pricing ({columns}, pricing, listing, in_force_from) "
        f"VALUES (?, ?, ?, ?, ?, ?, ?, {database.NOW})",
        *others,
        pricing,
        listing,
    )


def test_a_fallback_is_priced_by_its_own_rule(own_gateway: Gateway, simulator: Simulator):
    """The plan has another factor for the model that answers in the place of the first."""
    database = own_gateway.database
    account = own_gateway.new_account()
    overrides = json.dumps({"sim/large": {"rule": "percent_of_list", "factor": "0.95"}})
    [(rule, policy)] = database.rows("SELECT CAST(rule AS text), CAST(policy AS text) FROM plan_versions")
    database.operator_sql(
        f"INSERT INTO plan_versions (plan_id, rule, overrides, policy, created_at) VALUES (1, ?, ?, ?, {database.NOW})",
        rule,
        overrides,
        policy,
    )
    other = own_gateway.new_account()

    def is_in_force() -> bool:
        ask(other, "sim/large", {}, stream=False)
        event = other.events()[-1]
        return event.charged_nanos == own_price(simulator, event)

    eventually(is_in_force, "the plan is in force")
    for sim in ({}, {"model": "sim/large"}):
        for stream in (False, True):
            ask(account, "sim/small", sim, stream, models=["sim/large"])
    events = account.settled(4)
    assert [event.model for event in events] == ["sim/small"] * 2 + ["sim/large"] * 2
    for event in events[:2]:
        assert event.charged_nanos == price_of(simulator.generation(event.generation_id).cost)
    for event in events[2:]:
        assert event.charged_nanos == own_price(simulator, event)


def ask(account: Account, model: str, sim: dict, stream: bool, **fields) -> None:
    with account.http() as http:
        answer = http.post("/v1/chat/completions", json=body(model, sim, stream=stream, **fields))
    assert answer.status_code == 200, answer.text


def own_price(simulator: Simulator, event: Event) -> int:
    return nanos(simulator.generation(event.generation_id).cost * 95 / 100)


@pytest.mark.parametrize("billed", [True, False], ids=["billed", "free"])
def test_a_stream_that_ends_inside_an_event(gateway: Gateway, account: Account, simulator: Simulator, billed: bool):
    """The client has what came whole, then an error event, and pays what the upstream billed."""
    fault = {"kind": "half_event", "after": 3, "billed": billed}
    sim = {"error": fault, "completion_tokens": 30, "chunks": 10, "text": "one two three four five six seven eight"}
    with account.http() as http:
        answer = http.post("/v1/chat/completions", json=body(sim=sim, stream=True))
    assert answer.status_code == 200
    assert answer.text.endswith("\n\n")
    events = [event.removeprefix("data: ") for event in answer.text.split("\n\n") if event.startswith("data: ")]
    *content, last = [json.loads(event) for event in events if event != "[DONE]"]
    assert "error" in last
    assert not [event for event in content if "error" in event]
    assert "never whole" not in answer.text
    [event] = account.settled(1)
    assert event.generation_id == content[0]["id"]
    cost = simulator.generation(event.generation_id).cost
    assert (cost > 0) == billed
    assert event.charged_nanos == price_of(cost)
    assert gateway.is_ready()
