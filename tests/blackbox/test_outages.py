"""What fails and what goes on when PostgreSQL or Redis is away: servers of their own, stopped, hanging and wiped."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx2
import pytest

from harness.gateway import Account, Gateway
from harness.money import cost_of, nanos, price_of, usd
from harness.polling import eventually
from harness.postgres import PostgresServer, running_postgres
from harness.postgres_database import Servers, new_database
from harness.redis import RedisServer, running_redis
from harness.replicas import Replicas
from harness.requests import body
from harness.simulator import Simulator
from harness.witness import Witness, failures, wait_until_served, witnesses_of

OUTAGE_SECONDS = 10
# Redis is never waited for so long that a client feels it: so much longer than clients who need no Redis.
UNFELT_SECONDS = 0.5


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def servers(postgres: PostgresServer, redis: RedisServer) -> Servers:
    return Servers(postgres.url, redis.url)


def assert_booked_once(account: Account, simulator: Simulator, witnesses: Sequence[Witness]) -> None:
    """Every answer that the witnesses had is booked once and charged, and nothing else is."""
    answers = [sight.generation for witness in witnesses for sight in witness.seen if sight.status == 200]
    events = account.settled(len(answers))
    assert Counter(event.generation_id for event in events) == Counter(answers)
    billed = simulator.generations()
    for event in events:
        assert event.charged_nanos == event.price_nanos == price_of(billed[event.generation_id].cost), event


@pytest.mark.parametrize("fault", ["stopped", "hanging"])
def test_requests_go_on_while_the_database_is_away(
    replicas: Replicas, simulator: Simulator, postgres: PostgresServer, fault: str, closing_note: Callable[[str], None]
):
    client = replicas.new_account("100")
    stranger = replicas.new_account("100")[0]
    with witnesses_of(client) as witnesses:
        wait_until_served(witnesses, 10)
        began = time.time()
        postgres.stop() if fault == "stopped" else postgres.pause()
        try:
            refused_as_unavailable(stranger)
            # How long it is away is what is tested.
            time.sleep(max(0.0, began + OUTAGE_SECONDS - time.time()))
            during = [witness.served_after(began) for witness in witnesses]
        finally:
            postgres.start() if fault == "stopped" else postgres.resume()
        wait_until_served(witnesses, 10)
        eventually(lambda: status(stranger) == 200, "others are served again", 10)
    failed = [(round(sight.began - began, 2), sight.replica, sight.text) for sight in failures(witnesses)]
    assert not failed, f"seconds after the outage began, and what was said: {failed}"
    assert min(during) >= 3, "each replica has served somebody without the database"
    assert_booked_once(client[0], simulator, witnesses)
    eventually(lambda: client[0].balance().reserved_nanos == 0, "leases return", 10)
    closing_note(f"PostgreSQL {fault} for {OUTAGE_SECONDS} s: {sum(during)} requests served on leases, none failed")


@pytest.mark.parametrize("fault", ["stopped", "hanging"])
def test_who_pauses_in_an_outage_is_served_after_it(replicas: Replicas, postgres: PostgresServer, fault: str):
    """What it has leased is kept: a database that is away can't take it back."""
    client = replicas.new_account()[0]
    assert status(client) == 200
    postgres.stop() if fault == "stopped" else postgres.pause()
    try:
        # Longer than a lease may be idle, and than it takes to give one back.
        time.sleep(4)
        assert status(client) == 200
    finally:
        postgres.start() if fault == "stopped" else postgres.resume()
    client.settled(2)
    eventually(lambda: client.balance().reserved_nanos == 0, "its lease goes back", 20)


@pytest.mark.timeout(120)
def test_a_stream_that_began_in_an_outage_and_was_killed_in_it_is_found(
    tmp_path: Path, simulator: Simulator, postgres: PostgresServer, servers: Servers
):
    """Nobody but the local disk knows of it: what it cost is booked as a loss when all is back."""
    with new_database(servers) as database:
        replicas = Replicas(tmp_path, simulator, database, 1)
        [gateway] = replicas
        try:
            replicas.start()
            [account] = replicas.new_account()
            assert status(account) == 200
            postgres.stop()
            try:
                generation = cut_stream(gateway, account)
            finally:
                postgres.start()
            assert generation not in [row[1] for row in database.pending()], "the database knew of it"
            replicas.revive(gateway)
            [_, cut] = account.settled(2)
            assert cut.generation_id == generation
            assert (cut.loss_reason, cut.charged_nanos) == ("crash", 0)
            assert cut.cost_nanos == cost_of(simulator.generation(generation).cost) > 0
            replicas.stop()
        finally:
            replicas.kill()


def cut_stream(gateway: Gateway, account: Account) -> str:
    """Kills the gateway in the middle of a stream which is on record on its disk; the stream's generation."""
    slow = {"completion_tokens": 200, "chunks": 200, "chunk_ms": 100}
    request = body(sim=slow, stream=True)
    spooled = gateway.metric("airouter_spooled_batches")
    with account.http() as http, http.stream("POST", "/v1/chat/completions", json=request) as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines()
        event = next(line for line in lines if line.startswith("data: "))
        eventually(lambda: gateway.metric("airouter_spooled_batches") > spooled, "it is on record", 20)
        gateway.child.kill()
    return json.loads(event.removeprefix("data: "))["id"]


def status(account: Account) -> int:
    with account.http() as http:
        return http.post("/v1/chat/completions", json=body()).status_code


def refused_as_unavailable(account: Account) -> None:
    """A client of whom nothing is known here is told to come again."""
    with account.http() as http:
        answer = http.post("/v1/chat/completions", json=body())
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("usage", [{}, {"usage": "none", "generation_delay_ms": 2000}], ids=["with", "without"])
def test_a_client_with_its_answer_pays_although_its_replica_was_given_up(
    replicas: Replicas, simulator: Simulator, postgres: PostgresServer, usage: dict
):
    """Its usage, or that this is not known, is spooled; another replica books a loss before that lands."""
    account, other, *_ = replicas.new_account()
    gateway, heir, *_ = replicas
    corrected = 'airouter_loss_corrections_total{reason="crash"}'
    before = {replica.data: replica.metric(corrected) for replica in replicas}
    lost_before = balance_of_loss(replicas)
    generation = booked_as_loss(replicas, postgres, account, usage)
    billed = simulator.generations()[generation].cost
    assert balance_of_loss(replicas) - lost_before == cost_of(billed) > 0
    paid = account.balance().balance_nanos

    replicas.start_one(gateway)
    eventually(lambda: corrections(replicas, generation), "the loss is corrected", 30)
    assert corrections(replicas, generation) == [(price_of(billed), cost_of(billed))]
    assert paid - account.balance().balance_nanos == price_of(billed)
    assert balance_of_loss(replicas) == lost_before
    eventually(lambda: not replicas.database.pending(), "nothing is open", 30)

    def counted() -> float:
        # The process that was killed began to count anew.
        anew = gateway.metric(corrected)
        return anew + sum(other.metric(corrected) - before[other.data] for other in replicas if other is not gateway)

    eventually(lambda: counted() == 1, "it is counted once")
    told = "its client had its answer, and is billed"
    eventually(lambda: any(told in replica.log_text() for replica in replicas), "it is told")
    with other.http() as http:
        shown = http.get("/api/v1/generation", params={"id": generation}).json()["data"]
    assert nanos(usd(str(shown["total_cost"]))) == price_of(billed)
    assert heir.command("ledger", "verify").splitlines()[3] == "findings=0"


def booked_as_loss(replicas: Replicas, postgres: PostgresServer, account: Account, usage: dict) -> str:
    """An answer that ends without the database; its replica is killed, and another books a loss. Its generation."""
    # It must outlast the stop of the database, which takes its time.
    sim = {"completion_tokens": 80, "chunks": 80, "chunk_ms": 100} | usage
    with account.http() as http, http.stream("POST", "/v1/chat/completions", json=body(sim=sim, stream=True)) as stream:
        eventually(lambda: in_flight(replicas, account), "the request is on record")
        postgres.stop()
        try:
            assert "".join(stream.iter_text()).endswith("data: [DONE]\n\n")
            account.gateway.child.kill()
        finally:
            postgres.start()
    others = [account.at(replica) for replica in replicas if replica is not account.gateway]
    eventually(lambda: status(others[0]) == 200, "the others are back", 20)
    replicas.let_leases_lapse(account.gateway)
    lost = eventually(lambda: [event for event in account.events() if event.loss_reason], "the loss is booked", 30)
    assert [(event.loss_reason, event.charged_nanos) for event in lost] == [("crash", 0)]
    [generation] = [event.generation_id for event in lost]
    return generation


def test_a_late_charge_that_the_database_refuses_is_owed(
    replicas: Replicas, simulator: Simulator, postgres: PostgresServer
):
    """The loss in its place does not hide it: it is a finding until it is booked, and then its client pays."""
    account, other, *_ = replicas.new_account()
    gateway, heir, *_ = replicas
    generation = booked_as_loss(replicas, postgres, account, {})
    price = price_of(simulator.generations()[generation].cost)
    paid = account.balance().balance_nanos
    for statement in (
        """CREATE FUNCTION refuse_in_a_test() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE check_violation USING MESSAGE = 'refused by a test'; END $$""",
        """CREATE TRIGGER refused_by_a_test BEFORE INSERT ON request_corrections FOR EACH ROW
        EXECUTE FUNCTION refuse_in_a_test()""",
    ):
        replicas.database.execute(statement)
    replicas.start_one(gateway)
    [(refused,)] = eventually(
        lambda: replicas.database.rows("SELECT request_id FROM refused_settlements"), "it is refused", 30
    )
    verified = heir.run("ledger", "verify")
    assert verified.returncode == 1
    assert f"check=refused subject=request {refused}" in verified.stdout
    assert heir.run("ledger", "book-refused").stdout.split() == ["booked=0", "left=1"]
    replicas.database.execute("DROP TRIGGER refused_by_a_test ON request_corrections")
    assert heir.command("ledger", "book-refused").split() == ["booked=1", "left=0"]
    assert paid - account.balance().balance_nanos == price
    assert status(other) == 200
    assert heir.command("ledger", "verify").splitlines()[3] == "findings=0"


def in_flight(replicas: Replicas, account: Account) -> bool:
    return any(
        generation is not None and details["request"]["payer"] == str(account.id)
        for _, generation, details in replicas.database.pending()
    )


def balance_of_loss(replicas: Replicas) -> int:
    rows = replicas.database.rows("SELECT balance_nanos FROM ledger_accounts WHERE kind = 'loss_crash'")
    return sum(balance for (balance,) in rows)


def corrections(replicas: Replicas, generation: str) -> list[tuple]:
    query = "SELECT charged_nanos, cost_nanos FROM request_corrections WHERE generation_id = ?"
    return replicas.database.rows(query, generation)


def test_nothing_is_admitted_where_nothing_can_be_kept(replicas: Replicas, postgres: PostgresServer):
    """Neither the database nor the disk takes what a request cost: running answers end with an error."""
    account, *_ = replicas.new_account()
    gateway = replicas.all[0]
    assert status(account) == 200
    # It must outlast the stop of the database, which takes its time.
    request = body(sim={"completion_tokens": 80, "chunks": 80, "chunk_ms": 100}, stream=True)
    with account.http() as http, http.stream("POST", "/v1/chat/completions", json=request) as stream:
        text = stream.iter_text()
        first = next(text)
        postgres.stop()
        gateway.fill_disk()
        try:
            rest = first + "".join(text)
            assert '"error"' in rest
            assert "[DONE]" not in rest
            eventually(lambda: gateway_health(gateway) == 503, "it is not ready", 20)
            refused_as_unavailable(account)
        finally:
            gateway.empty_disk()
            postgres.start()
    eventually(lambda: gateway_health(gateway) == 200, "it is ready again", 20)
    eventually(lambda: status(account) == 200, "it serves again", 20)
    generation = json.loads(first.split("data: ", 1)[1].split("\n", 1)[0])["id"]
    booked = eventually(
        lambda: [event for event in account.events() if event.generation_id == generation], "it is booked", 30
    )
    assert len(booked) == 1


def gateway_health(gateway: Gateway) -> int:
    return httpx2.get(f"{gateway.url}/health", trust_env=False, timeout=10).status_code


def redis_gauges(replicas: Replicas) -> set[str]:
    lines = [line for gateway in replicas for line in gateway.metrics().splitlines()]
    return {line.split()[-1] for line in lines if line.startswith("airouter_redis_up")}


@pytest.mark.parametrize("fault", ["stopped", "hanging", "wiped"])
def test_clients_do_not_feel_redis(replicas: Replicas, redis: RedisServer, fault: str):
    client, without_limits = replicas.new_account("100"), replicas.new_account("100")
    client[0].set_limit("requests_per_minute", 100_000)
    logs = [len(gateway.log.read_text(errors="replace")) for gateway in replicas]
    with witnesses_of(without_limits) as others, witnesses_of(client) as witnesses:
        wait_until_served([*witnesses, *others], 10)
        eventually(lambda: redis_gauges(replicas) == {"1"}, "a metric says that Redis is there", 10)
        break_off = {"stopped": redis.stop, "hanging": redis.pause, "wiped": redis.wipe}
        break_off[fault]()
        try:
            wait_until_served(witnesses, 20)
            if fault != "wiped":
                eventually(lambda: redis_gauges(replicas) == {"0"}, "a metric says that Redis is away", 10)
        finally:
            {"stopped": redis.start, "hanging": redis.resume, "wiped": lambda: None}[fault]()
        wait_until_served(witnesses, 10)
        eventually(lambda: redis_gauges(replicas) == {"1"}, "a metric says that Redis is back", 10)
    assert not failures(witnesses)
    # What the machine takes, it takes from both.
    slowest, usual = slowest_of(witnesses), slowest_of(others)
    assert slowest < usual + UNFELT_SECONDS, f"a request took {slowest} s; without limits {usual} s"
    if fault != "wiped":
        for gateway, length in zip(replicas, logs, strict=True):
            said = lambda gateway=gateway, length=length: gateway.log_text()[length:].lower()  # noqa: E731
            eventually(lambda said=said: "redis" in said(), "the log says so")


def slowest_of(witnesses: Sequence[Witness]) -> float:
    return max(sight.seconds for witness in witnesses for sight in witness.seen)


def test_a_replica_starts_without_redis(replicas: Replicas, redis: RedisServer):
    """It counts for itself until Redis is there."""
    account, *_ = replicas.new_account()
    account.set_limit("requests_per_minute", 2)
    gateway = replicas.all[0]
    assert gateway.terminate() == 0
    redis.stop()
    try:
        replicas.start_one(gateway)
        assert [status(account) for _ in range(3)] == [200, 200, 429]
    finally:
        redis.start()
    eventually(lambda: redis_gauges(replicas) == {"1"}, "it has found Redis", 10)
