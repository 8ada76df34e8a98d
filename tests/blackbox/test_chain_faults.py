"""Three routers in a row, killed at random under load: each one's books agree with the next one's, but for what was cut
too young to be on record, and that is known."""

import random
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from harness.chain_kills import Kill, reconcile_chain
from harness.chains import Chain, Databases, is_settled
from harness.gateway import Account
from harness.load import Load, ended, wait_for_more
from harness.money import NANOS
from harness.polling import eventually
from harness.replicas import revive
from harness.simulator import Simulator

KILLS = 20
CREDIT = 10_000
# What a client of little money has: less than it asks for.
LITTLE = "0.005"


@pytest.fixture
def mortal(tmp_path: Path, simulator: Simulator, store: Databases) -> Iterator[Chain]:
    """A chain whose routers may be killed: stopped and checked by the test itself."""
    chain = Chain(tmp_path, simulator, store, 3)
    try:
        chain.start()
        yield chain
    finally:
        chain.kill()


def put_load(client: Account, poor: Account, directory: Path) -> list[Load]:
    """Quick and slow answers for a client with enough, and quick ones for one with too little."""
    quick, slow = {"completion_tokens": 7}, {"completion_tokens": 20, "chunks": 20, "chunk_ms": 120}
    return [
        Load(client, directory, "quick", 6, 40, quick),
        Load(client, directory, "slow", 20, 20, slow),
        Load(poor, directory, "poor", 2, 10, quick),
    ]


def kill_at_random(chain: Chain, loads: list[Load], moments: random.Random) -> list[Kill]:
    """Each router about as often as the others, in any order."""
    kills = []
    victims = [number % len(chain.members) for number in range(KILLS)]
    moments.shuffle(victims)
    for member in victims:
        wait_for_more(loads, 40)
        # A random moment, up to one at which slow answers are older than a second.
        time.sleep(moments.random() * 2)
        gateway = chain.gateways[member]
        began = time.time()
        gateway.child.kill()
        kills.append(Kill(member, began, time.time()))
        revive(gateway)
    return kills


@pytest.mark.timeout(400)
def test_kills_in_a_chain_lose_nothing(
    mortal: Chain, simulator: Simulator, tmp_path: Path, closing_note: Callable[[str], None]
):
    chain = mortal
    last = chain.members[-1]
    client, poor = last.new_account(str(CREDIT)), last.new_account(LITTLE)
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the moments: {seed}")
    began = time.time()
    with ended(put_load(client, poor, tmp_path)) as loads:
        kills = kill_at_random(chain, loads, random.Random(seed))
        wait_for_more(loads, 40)
        for load in loads:
            load.stop()
    seconds = time.time() - began
    eventually(lambda: is_settled(chain.members), "what was cut is found out", 120)
    eventually(lambda: simulator.running() == 0, "the upstream is done", 10)
    chain.stop()

    whole = [generation for load in loads for generation in load.whole()]
    totals = reconcile_chain(chain, whole, chain.generations(), kills)
    for account, credit in ((client, CREDIT), (poor, Fraction(LITTLE))):
        charged = sum(event.charged_nanos for event in account.events())
        assert account.balance().balance_nanos == credit * NANOS - charged >= 0
    assert totals[0].lost > 0, "kills cut answers older than a second"
    assert sum(total.cut for total in totals) > 0, "kills cut answers younger than a second"
    for number, total in enumerate(totals, 1):
        closing_note(f"chain of three, router {number}: {total}")
    counts = [sum(kill.member == number for kill in kills) for number in range(3)]
    closing_note(f"chain of three: {KILLS} kills ({counts}) in {seconds:.0f} s, {len(whole)} whole answers")
