"""What an operator changes acts on every replica within a second."""

import hashlib
import http.client
import json
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.gateway import Account
from harness.load import Load, ended
from harness.money import nanos, usd
from harness.polling import eventually
from harness.postgres_database import Servers, new_database
from harness.replicas import Replicas, running_replicas
from harness.requests import body
from harness.simulator import MASTER_KEY, Simulator, running_simulator

WITHIN_SECONDS = 1.0
REVOCATIONS = 100
SECOND_KEY = "sk-or-v1-second"
LIST_COST = "0.001"


@pytest.fixture(scope="module")
def simulator(directory: Path) -> Iterator[Simulator]:
    with running_simulator(directory, (MASTER_KEY, SECOND_KEY)) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def replicas(directory: Path, simulator: Simulator, servers: Servers) -> Iterator[Replicas]:
    with (
        new_database(servers) as database,
        running_replicas(directory, simulator, database, OPENROUTER_MASTER_KEYS=MASTER_KEY) as replicas,
    ):
        yield replicas


@pytest.fixture
def load(replicas: Replicas, tmp_path: Path) -> Iterator[None]:
    """Other clients keep every replica busy."""
    client = replicas.new_account(credit="1000")
    sim = {"completion_tokens": 7}
    with ended([Load(account, tmp_path, f"load-{n}", 8, 100, sim) for n, account in enumerate(client)]) as loads:
        yield
        for load in loads:
            report = load.stop()
            assert set(report["by_status"]) == {"200"}, report
            assert not report["errors"], report


def together(probes: list[Callable[[], float]]) -> list[float]:
    with ThreadPoolExecutor(len(probes)) as pool:
        return [answer.result() for answer in [pool.submit(probe) for probe in probes]]


def seconds_until(account: Account, expected: int, since: float) -> float:
    """From `since` to the first answer with this status."""
    connection = http.client.HTTPConnection("127.0.0.1", account.gateway.port, timeout=10)
    headers = {"authorization": f"Bearer {account.key}"}

    def answered() -> bool:
        connection.request("GET", "/v1/models/sim/small", headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status == expected

    eventually(answered, f"{expected} from {account.gateway.url}", 5)
    connection.close()
    return time.monotonic() - since


def revoke_everywhere(client: list[Account]) -> float:
    """Seconds until the slowest replica refuses the key, all of which have just answered it."""
    together([lambda account=account: seconds_until(account, 200, time.monotonic()) for account in client])
    client[0].gateway.database.revoke(client[0].key)
    began = time.monotonic()
    return max(together([lambda account=account: seconds_until(account, 401, began) for account in client]))


@pytest.mark.usefixtures("load")
@pytest.mark.parametrize("bus", ["notified", "polled"])
def test_a_revoked_key_is_refused_everywhere_within_a_second(
    replicas: Replicas, bus: str, closing_note: Callable[[str], None]
):
    with ThreadPoolExecutor(4) as pool:
        clients = list(pool.map(lambda _: replicas.new_account(), range(REVOCATIONS // 2)))
    if bus == "polled":
        replicas.database.block_notifications()
    try:
        taken = [revoke_everywhere(client) for client in clients]
    finally:
        replicas.database.unblock_notifications()
    assert max(taken) < WITHIN_SECONDS, sorted(taken)[-5:]
    closing_note(
        f"revocation under load, {bus}: slowest of {len(taken)} over three replicas {max(taken) * 1000:.0f} ms, "
        f"median {statistics.median(taken) * 1000:.0f} ms"
    )


def ask(account: Account, **fields: object) -> tuple[int, dict]:
    with account.http() as http:
        response = http.post("/v1/chat/completions", json=body(**fields))
    return response.status_code, json.loads(response.text, parse_float=usd, parse_int=usd)


def within_a_second(client: list[Account], acts: Callable[[Account], bool], change: Callable[[], None], what: str):
    """No replica acts so before the change, and each does within a second of it."""
    for account in client:
        assert not acts(account), f"before the change: {what}"
    change()
    began = time.monotonic()

    def seconds(account: Account) -> float:
        eventually(lambda: acts(account), f"{what} at {account.gateway.url}", 5)
        return time.monotonic() - began

    taken = together([lambda account=account: seconds(account) for account in client])
    assert max(taken) < WITHIN_SECONDS, taken


def test_a_limit(replicas: Replicas):
    client = replicas.new_account()
    within_a_second(
        client,
        lambda account: ask(account)[0] == 429,
        lambda: client[0].set_limit("requests_per_minute", 1),
        "a limit of one request a minute",
    )


def test_a_cap_of_a_key(replicas: Replicas):
    client = replicas.new_account()
    [(key_id,)] = replicas.database.rows("SELECT id FROM api_keys WHERE account_id = ?", client[0].id)
    assert [ask(account)[0] for account in client] == [200] * 3
    within_a_second(
        client,
        lambda account: ask(account)[0] == 402,
        lambda: replicas.database.operator_sql(
            "INSERT INTO budgets (id, owner_kind, owner_id, quantity, period, cap) "
            "VALUES (gen_random_uuid(), 'key', ?, 'nanos', 'month', 0)",
            key_id,
        ),
        "a cap of nothing",
    )


def test_a_model_that_a_key_may_not_use_any_more(replicas: Replicas):
    client = replicas.new_account()
    within_a_second(
        client,
        lambda account: ask(account)[0] == 403,
        lambda: replicas.database.allow_models(client[0].key, ["sim/large"]),
        "another list of models",
    )


def test_a_plan(replicas: Replicas):
    """A new version of the plan sets the price from 80 % to 90 % of the list cost."""
    database = replicas.database
    client = replicas.new_account()
    database.operator_sql("INSERT INTO plans (id, name) VALUES (1000, 'of a test')")
    insert = f"""INSERT INTO plan_versions (plan_id, rule, overrides, policy, created_at)
        SELECT 1000, CAST(? AS json), overrides, policy, {database.NOW} FROM plan_versions
        WHERE plan_id = 1 ORDER BY id DESC LIMIT 1"""
    database.operator_sql(insert, '{"rule":"percent_of_list","factor":"0.8"}')
    database.operator_sql("UPDATE accounts SET plan_id = 1000 WHERE id = ?", client[0].id)
    assert [ask(account)[0] for account in client] == [200] * 3

    def costs_more(account: Account) -> bool:
        price = nanos(ask(account, sim={"cost": LIST_COST})[1]["usage"]["cost"])
        assert price in (800_000, 900_000)
        return price == 900_000

    within_a_second(
        client,
        costs_more,
        lambda: database.operator_sql(insert, '{"rule":"percent_of_list","factor":"0.9"}'),
        "a new price",
    )


def cost_at(account: Account) -> int:
    """What a request of `LIST_COST` costs the operator, in nano-dollars, which tells the master account."""
    status, answer = ask(account, sim={"cost": LIST_COST})
    assert status == 200, answer
    [event] = [event for event in account.events() if event.generation_id == answer["id"]]
    return event.cost_nanos


def test_a_discount(replicas: Replicas):
    """A master account's discount falls from 70 % to 50 %: the operator's cost rises."""
    client = replicas.new_account()

    def set_discount(discount: str) -> None:
        replicas.database.operator_sql("UPDATE master_accounts SET discount = ?", discount)

    try:
        within_a_second(
            client, lambda account: cost_at(account) == 500_000, lambda: set_discount("0.5"), "another discount"
        )
    finally:
        set_discount("0.7")


def test_master_keys_are_added_and_paused(replicas: Replicas):
    """One replica is started with a second key; of two, the cheaper one is used."""
    database = replicas.database
    client = replicas.new_account()
    second = hashlib.sha256(SECOND_KEY.encode()).hexdigest()
    database.operator_sql("UPDATE master_accounts SET discount = '0.75'")

    def change(assignment: str) -> Callable[[], None]:
        statement = f"UPDATE master_accounts SET {assignment} WHERE key_fingerprint = ?"
        return lambda: database.operator_sql(statement, second)

    def uses_first(account: Account) -> bool:
        return cost_at(account) == 250_000

    def uses_second(account: Account) -> bool:
        return cost_at(account) == 200_000

    starting = replicas.all[0]
    assert starting.terminate() == 0
    starting.environment["OPENROUTER_MASTER_KEYS"] = f"{MASTER_KEY},{SECOND_KEY}"
    starting.start()
    within_a_second(client, uses_second, change("discount = '0.8'"), "the new key, when it is cheaper")
    within_a_second(client, uses_first, change("status = 'paused'"), "the first key, when the second is paused")
    within_a_second(client, uses_second, change("status = 'active'"), "the second key, when it is active again")
