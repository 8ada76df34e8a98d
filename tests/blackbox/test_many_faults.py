"""Everything at once: replicas are killed, PostgreSQL and Redis fail, nobody is told of changes; no cent is lost."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import pytest

from harness.gateway import Account, Gateway
from harness.load import Load, ended, wait_for_more
from harness.polling import eventually
from harness.postgres import PostgresServer, running_postgres
from harness.postgres_database import Servers, new_database
from harness.reconcile import Kill, kill_now, reconcile
from harness.redis import RedisServer, running_redis
from harness.replicas import Replicas
from harness.simulator import Simulator
from harness.witness import Sight, Witness, failures, wait_until_served, witnesses_of

KILLS = 20
# At these kills the database is away, for so long.
OUTAGES = (6, 14)
OUTAGE_SECONDS = 10
WIPE = 10
# From these kills on nobody is told of changes, or is again.
BLOCKED, UNBLOCKED = (0, 10), (5, 15)
# What a client of little money has: less than it asks for.
LITTLE = "0.005"


@dataclass
class History:
    """What was done to them; times in seconds since the epoch."""

    kills: list[Kill] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    # When a replica was away, from its kill until it was ready again.
    away: dict[Path, list[tuple[float, float]]] = field(default_factory=dict)

    def explains(self, sight: Sight) -> bool:
        """Whether a request failed because its replica was killed."""
        return any(sight.began <= ready and sight.ended >= killed for killed, ready in self.away[sight.replica])

    def is_in_an_outage(self, sight: Sight) -> bool:
        """Whether it began and ended without a database."""
        return any(begin <= sight.began and sight.ended <= end for begin, end in self.outages)


@dataclass
class World:
    """Three replicas on servers of their own."""

    postgres: PostgresServer
    redis: RedisServer
    replicas: Replicas
    history: History


@pytest.fixture
def world(tmp_path: Path, simulator: Simulator) -> Iterator[World]:
    with (
        running_postgres() as postgres,
        running_redis() as redis,
        new_database(Servers(postgres.url, redis.url)) as database,
    ):
        replicas = Replicas(tmp_path, simulator, database, 3)
        try:
            replicas.start()
            history = History(away={gateway.data: [] for gateway in replicas})
            yield World(postgres, redis, replicas, history)
        finally:
            replicas.kill()


def put_load(client: list[Account], poor: list[Account], directory: Path) -> list[Load]:
    """Quick and slow answers for a client with enough, and quick ones for one with too little, from each replica."""
    quick, slow = {"completion_tokens": 7}, {"completion_tokens": 20, "chunks": 20, "chunk_ms": 120}
    loads = []
    for n, (account, poor_account) in enumerate(zip(client, poor, strict=True)):
        loads += [
            Load(account, directory, f"quick-{n}", 8, 100, quick),
            Load(account, directory, f"slow-{n}", 8, 20, slow),
            Load(poor_account, directory, f"poor-{n}", 2, 15, quick),
        ]
    return loads


def kill(world: World, victim: Gateway) -> float:
    kill = kill_now(victim)
    world.history.kills.append(kill)
    return kill.began


def revive(world: World, victim: Gateway, killed: float) -> None:
    world.replicas.revive(victim)
    world.history.away[victim.data].append((killed, time.time()))


def kill_in_an_outage(world: World, victim: Gateway, witnesses: list[Witness], moment: float) -> None:
    """The database is away for ten seconds, and in the middle of that a replica dies."""
    wait_until_served(witnesses)
    began = time.time()
    world.postgres.stop()
    time.sleep(1 + moment * (OUTAGE_SECONDS - 3))
    killed = kill(world, victim)
    time.sleep(max(0.0, began + OUTAGE_SECONDS - time.time()))
    world.postgres.start()
    world.history.outages.append((began, time.time()))
    revive(world, victim, killed)


def do_everything(world: World, loads: list[Load], witnesses: list[Witness], moments: random.Random) -> None:
    for number in range(KILLS):
        if number in BLOCKED:
            world.replicas.database.block_notifications()
        if number in UNBLOCKED:
            world.replicas.database.unblock_notifications()
        if number == WIPE:
            world.redis.wipe()
        victim = moments.choice(world.replicas.all)
        wait_for_more(loads, 200)
        if number in OUTAGES:
            kill_in_an_outage(world, victim, witnesses, moments.random())
        else:
            # A random moment, up to one at which slow answers are older than a second.
            time.sleep(moments.random() * 2.5)
            revive(world, victim, kill(world, victim))


@pytest.mark.timeout(600)
def test_many_faults_lose_nothing(
    world: World, simulator: Simulator, tmp_path: Path, closing_note: Callable[[str], None]
):
    replicas, history = world.replicas, world.history
    client, poor, watched = replicas.new_account("100000"), replicas.new_account(LITTLE), replicas.new_account("1000")
    client[0].set_limit("requests_per_minute", 1_000_000)
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the moments: {seed}")
    began = time.time()
    with witnesses_of(watched) as witnesses, ended(put_load(client, poor, tmp_path)) as loads:
        wait_until_served(witnesses)
        do_everything(world, loads, witnesses, random.Random(seed))
        wait_until_served(witnesses)
        wait_for_more(loads, 200)
        for load in loads:
            load.stop()
    eventually(lambda: not replicas.database.pending(), "what was cut is found out", 60)
    eventually(lambda: simulator.running() == 0, "the upstream is done", 10)
    replicas.stop()

    unexplained = [sight for sight in failures(witnesses) if not history.explains(sight)]
    assert not unexplained, unexplained[:5]
    answers = [sight for witness in witnesses for sight in witness.seen if sight.status == 200]
    whole = [name for load in loads for name in load.whole()] + [sight.generation for sight in answers]
    events = replicas.database.events()
    totals = reconcile(whole, events, simulator.generations(), history.kills, history.outages)
    assert len(history.kills) == KILLS
    assert len(history.outages) == len(OUTAGES)
    assert totals.lost > 0, "kills cut answers older than a second"
    assert totals.cut_young > 0, "kills cut answers younger than a second"
    for account, credit in ((client[0], 100_000), (watched[0], 1_000), (poor[0], Fraction(LITTLE))):
        charged = sum(event.charged_nanos for event in account.events())
        assert account.balance().balance_nanos == credit * 10**9 - charged >= 0
    served = [sight for sight in answers if history.is_in_an_outage(sight)]
    assert served, "requests go on without the database"
    closing_note(
        f"many faults: {KILLS} kills and {len(OUTAGES)} outages in {time.time() - began:.0f} s, {totals.whole} whole "
        f"answers ({len(served)} seen without a database), list cost charged ${float(totals.charged):.6f}, "
        f"lost ${float(totals.lost):.6f}, cut young ${float(totals.cut_young):.6f}"
    )
