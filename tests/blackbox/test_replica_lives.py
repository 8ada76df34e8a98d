"""Replicas that start together, die, fall silent and wake, and a database that comes back older."""

import contextlib
import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest
from psycopg import sql

from harness.gateway import Account, Gateway
from harness.money import cost_of, decimal_text
from harness.polling import eventually
from harness.postgres_database import PostgresDatabase, Servers, at_server, new_database
from harness.races import request_that_costs_its_hold
from harness.replicas import Replicas
from harness.requests import body
from harness.simulator import Simulator

STREAMS = 20
SLOW = {"completion_tokens": 40, "chunks": 40, "chunk_ms": 100}
# The first one still runs when the last one is on record, however long that takes.
UNTIL_KILLED = {"completion_tokens": 200, "chunks": 200, "chunk_ms": 100}


@pytest.fixture
def new(servers: Servers) -> Iterator[PostgresDatabase]:
    """An empty database."""
    with new_database(servers) as database:
        yield database


@pytest.fixture
def mortals(tmp_path: Path, simulator: Simulator, new: PostgresDatabase) -> Iterator[Replicas]:
    """Three replicas that the test stops itself."""
    replicas = Replicas(tmp_path, simulator, new, 3)
    try:
        replicas.start()
        yield replicas
    finally:
        replicas.kill()


def status(account: Account, request: dict | None = None) -> int:
    with account.http() as http:
        return http.post("/v1/chat/completions", json=request or body()).status_code


def test_an_empty_database_is_migrated_once(tmp_path: Path, simulator: Simulator, new: PostgresDatabase):
    gateways = Replicas(tmp_path, simulator, new, 3).all
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda gateway: gateway.run("migrate"), gateways))
    assert [process.returncode for process in done] == [0, 0, 0], [process.stderr for process in done]
    versions = [version for (version,) in new.rows("SELECT version FROM _sqlx_migrations WHERE success")]
    assert versions
    assert len(set(versions)) == len(versions)
    assert new.rows("SELECT count(*) FROM plans") == [(1,)]


def test_replicas_start_together_on_an_empty_database(tmp_path: Path, simulator: Simulator, new: PostgresDatabase):
    replicas = Replicas(tmp_path, simulator, new, 3)
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(Gateway.start, replicas))
        assert new.rows("SELECT count(*) FROM master_accounts") == [(1,)]
        assert [status(account) for account in replicas.new_account()] == [200] * 3
        replicas.stop()
    finally:
        replicas.kill()


def open_streams(
    account: Account, count: int, closing: contextlib.ExitStack, sim: dict = SLOW
) -> list[httpx2.Response]:
    """So many slow streams, whose first event has come."""
    http = closing.enter_context(account.http())
    request = body(sim=sim, stream=True)
    streams = [
        closing.enter_context(http.stream("POST", "/v1/chat/completions", json=request, timeout=60))
        for _ in range(count)
    ]
    assert [stream.status_code for stream in streams] == [200] * count
    return streams


def pending(database: PostgresDatabase) -> int:
    [(count,)] = database.rows("SELECT count(*) FROM pending_requests WHERE generation_id IS NOT NULL")
    return count


def test_two_replicas_recover_a_dead_one(mortals: Replicas, simulator: Simulator):
    """What it had in flight is booked once, as a loss, and what it had reserved returns."""
    dead, *_ = mortals
    account, other, _ = mortals.new_account()
    with contextlib.ExitStack() as closing:
        open_streams(account, STREAMS, closing, UNTIL_KILLED)
        eventually(lambda: pending(mortals.database) == STREAMS, "the requests are on record")
        dead.child.kill()
    assert account.balance().reserved_nanos > 0
    mortals.let_leases_lapse(dead)
    events = other.settled(STREAMS)
    billed = simulator.generations()
    assert len({event.generation_id for event in events}) == STREAMS
    for event in events:
        assert (event.loss_reason, event.charged_nanos) == ("crash", 0)
        assert event.cost_nanos == cost_of(billed[event.generation_id].cost) > 0
    eventually(lambda: account.balance().reserved_nanos == 0, "what was reserved returns")
    eventually(lambda: not mortals.database.pending(), "nothing is open")
    assert account.balance().balance_nanos == 10 * 10**9
    assert status(other) == 200
    mortals.start_one(dead)
    mortals.stop()
    assert len(other.events()) == STREAMS + 1


def test_a_replica_that_was_paused_wakes(mortals: Replicas):
    """While it slept its leases went back and were spent elsewhere, and its open request was booked by another."""
    sleeper, *_ = mortals
    request, hold, price = request_that_costs_its_hold(mortals.all[1])
    asleep, awake, _ = mortals.new_account(credit=decimal_text(3 * hold))
    with contextlib.ExitStack() as closing:
        [stream] = open_streams(asleep, 1, closing)
        eventually(lambda: pending(mortals.database) == 1, "the request is on record")
        [(_, generation, _)] = mortals.database.pending()
        sleeper.child.signal(signal.SIGSTOP)
        mortals.let_leases_lapse(sleeper)
        [event] = awake.settled(1)
        assert (event.generation_id, event.loss_reason) == (generation, "crash")
        eventually(lambda: awake.balance().reserved_nanos == 0, "its leases go back")
        assert [status(awake, request) for _ in range(4)] == [200, 200, 200, 402]
        sleeper.child.signal(signal.SIGCONT)
        assert "[DONE]" not in rest_of(stream), "an answer that is booked as a loss is not whole"
    eventually(lambda: status(asleep, request) == 402, "it refuses what was spent elsewhere")
    asleep.credit("1")
    eventually(lambda: status(asleep, request) == 200, "it serves again")
    events = asleep.settled(5)
    assert [event.generation_id for event in events].count(generation) == 1
    assert asleep.balance().balance_nanos == 3 * hold + 10**9 - 4 * price
    mortals.stop()


def rest_of(stream: httpx2.Response) -> str:
    """What still comes, up to its end or a break."""
    parts = []
    with contextlib.suppress(httpx2.TransportError):
        parts.extend(stream.iter_text())
    return "".join(parts)


def test_a_database_that_is_older_than_before_is_noticed(mortals: Replicas, servers: Servers):
    """A backup is put in its place while the replicas run: they say so, and what they spend adds up from there on."""
    client = mortals.new_account()
    assert [status(account) for account in client] == [200] * 3
    client[0].settled(3)
    backup = take_backup(mortals, servers)
    later = all_served(client)
    assert later >= 3
    client[0].settled(3 + later)
    with in_its_place(mortals, servers, backup):
        for gateway in mortals:
            notices_that_it_is_older(gateway)
        eventually(lambda: [status(account) for account in client] == [200] * 3, "served again", 20)
        mortals.stop()
        events = client[0].events()
        assert len({event.generation_id for event in events}) == len(events)


def test_an_older_database_that_others_have_written_to_is_noticed(mortals: Replicas, servers: Servers):
    """While one replica sleeps, others find a backup in the database's place, and write past the last transaction that
    the sleeper has seen. When it wakes, it says that what it had seen is gone; all books add up."""
    sleeper, *others = mortals
    asleep, *awake = client = mortals.new_account()
    assert [status(account) for account in client] == [200] * 3
    client[0].settled(3)
    backup = take_backup(mortals, servers)
    later = all_served(client) + all_served(client)
    client[0].settled(3 + later)
    seen = newest(mortals.database)
    eventually(lambda: seen_by(sleeper) == seen, "the sleeper has seen the last transaction")
    sleeper.child.signal(signal.SIGSTOP)
    with in_its_place(mortals, servers, backup):
        for gateway in others:
            notices_that_it_is_older(gateway)

        def write_on() -> bool:
            return [status(account) for account in awake] == [200] * 2 and newest(mortals.database) > seen + 1

        eventually(write_on, "others have written past it", 20)
        sleeper.child.signal(signal.SIGCONT)
        notices_that_it_is_older(sleeper)
        eventually(lambda: status(asleep) == 200, "served again", 20)
        mortals.stop()


def all_served(client: list[Account]) -> int:
    """Waits until each replica serves; how many requests were served. Their events may still have to land."""
    served = 0

    def are_served() -> bool:
        nonlocal served
        statuses = [status(account) for account in client]
        served += statuses.count(200)
        return statuses == [200] * len(client)

    eventually(are_served, "each replica serves", 20)
    return served


def take_backup(replicas: Replicas, servers: Servers) -> str:
    """A copy of the database as it is; its name."""
    original = name_of(replicas)
    backup = f"{original}_backup"
    with nobody_connected(servers, original):
        at_server(servers, "CREATE DATABASE {} TEMPLATE {}", backup, original)
    return backup


@contextlib.contextmanager
def in_its_place(replicas: Replicas, servers: Servers, backup: str) -> Iterator[None]:
    """Puts a backup in the place of the database, which is lost."""
    original = name_of(replicas)
    with nobody_connected(servers, original):
        at_server(servers, "ALTER DATABASE {} RENAME TO {}", original, f"{original}_lost")
        at_server(servers, "ALTER DATABASE {} RENAME TO {}", backup, original)
    try:
        yield
    finally:
        replicas.kill()
        at_server(servers, "DROP DATABASE {} WITH (FORCE)", f"{original}_lost")


def name_of(replicas: Replicas) -> str:
    return urlsplit(replicas.database.url).path.removeprefix("/")


def newest(database: PostgresDatabase) -> int:
    [(number,)] = database.rows("SELECT max(id) FROM ledger_transactions")
    return number


def seen_by(gateway: Gateway) -> int | None:
    """The last transaction that a replica remembers; none before it has seen one."""
    newest = json.loads((gateway.data / "ledger_position.json").read_text())["newest"]
    return newest and newest["number"]


def notices_that_it_is_older(gateway: Gateway) -> None:
    alarm = 'airouter_alarms_total{kind="database_older"}'
    eventually(lambda: gateway.metric(alarm) == 1, "it raises the alarm that the database is older", 20)
    # The log names the data directory too, and with it this test.
    told = "the database is older than it was"
    eventually(lambda: gateway.log_text().count(told) == 1, "it says so once")


@contextlib.contextmanager
def nobody_connected(servers: Servers, name: str) -> Iterator[None]:
    """Breaks every connection to a database, and lets nobody in for a while."""
    with psycopg.connect(servers.database_url, autocommit=True) as server:
        try:
            server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
            server.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name])
            yield
        finally:
            server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))
