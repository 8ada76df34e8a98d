"""Several accounts at the upstream: what is wrong with one of them, no client feels."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from harness.database import Database
from harness.gateway import Account, Gateway, running_gateway
from harness.money import price_of
from harness.polling import eventually
from harness.raw import ask_and_leave
from harness.requests import body, chat
from harness.simulator import Simulator, running_simulator

BAD = {
    "sk-or-v1-bad": "disabled",
    "sk-or-v1-broke": "broke",
    "sk-or-v1-limited": "key_limited",
    "sk-or-v1-rated": "rate_limited",
}
GOOD = "sk-or-v1-good"


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    with running_simulator(tmp_path, (*BAD, GOOD)) as simulator:
        yield simulator


@pytest.fixture
def gateway(tmp_path: Path, simulator: Simulator, own_database: Database | None) -> Iterator[Gateway]:
    with running_gateway(tmp_path, simulator, own_database) as gateway:
        yield gateway


def ask(account: Account, count: int, sim: dict | None = None) -> list[str]:
    """The ids of so many answers, every second one streamed."""
    client = account.sdk()
    ids = []
    for index in range(count):
        answer = client.chat.completions.create(**chat(sim=sim), stream=index % 2 == 1)
        ids += {answer.id} if index % 2 == 0 else {chunk.id for chunk in answer}
    return ids


def is_served(account: Account) -> bool:
    try:
        return len(ask(account, 1)) == 1
    except openai.RateLimitError:
        return False


def keys_used(simulator: Simulator, ids: list[str]) -> Counter[str]:
    generations = simulator.generations()
    return Counter(generations[generation].key for generation in ids)


def test_no_request_fails_while_one_account_is_good(account: Account, simulator: Simulator):
    for key, state in BAD.items():
        simulator.account(key, state=state)
    began = time.monotonic()
    ids = ask(account, 30)
    assert keys_used(simulator, ids) == Counter({GOOD: 30})
    tried = Counter(generation.key for generation in simulator.generations().values())
    # The one that is limited says "in two seconds" each time.
    probes = 1 + (time.monotonic() - began) / 2
    assert all(tried[key] <= probes for key in BAD), f"marked accounts are left alone: {tried}"
    billed = simulator.generations()
    assert [event.price_nanos for event in account.events()] == [
        price_of(billed[generation].cost) for generation in ids
    ]


@pytest.mark.parametrize("state", [*BAD.values(), "failing"])
def test_an_account_fails_while_it_is_in_use(account: Account, simulator: Simulator, state: str):
    used = keys_used(simulator, ask(account, 4))
    for key in used:
        simulator.account(key, state=state)
    assert not set(keys_used(simulator, ask(account, 10))) & set(used)


@pytest.mark.parametrize(
    "fault", ["status:429_provider", "status:500", "status:502", "status:503", "in_200", "garbage"]
)
def test_a_providers_failure_marks_no_account(account: Account, simulator: Simulator, fault: str):
    used = set(keys_used(simulator, ask(account, 10)))
    for key in used:
        for _ in range(3):
            try:
                ask(account, 1, {"error": {"kind": fault, "only_key": key}})
            except openai.APIStatusError as error:
                assert error.status_code in (429, 502, 503)
    assert set(keys_used(simulator, ask(account, 20))) & used, "an account that was good is still in use"


@pytest.mark.parametrize("state", BAD.values())
def test_the_last_account_is_still_tried(account: Account, simulator: Simulator, state: str):
    for key in simulator.keys:
        simulator.account(key, state=state)
    for _ in range(3):
        with pytest.raises((openai.InternalServerError, openai.RateLimitError)) as raised:
            ask(account, 1)
        assert raised.value.response.headers["retry-after"]
        for word in ("sk-or", "credit", "account"):
            assert word not in raised.value.response.text.lower()
    for key in simulator.keys:
        simulator.account(key, state="ok")
    eventually(lambda: is_served(account), "those that said when to come again are asked then", 5)
    assert len(ask(account, 3)) == 3
    eventually(lambda: len(account.events()) == 4, "only answers are booked")


def test_an_attempt_that_failed_is_not_billed(account: Account, simulator: Simulator):
    fault = {"kind": "status:502", "first_attempts": 1, "attempt_key": "once"}
    [generation] = ask(account, 1, {"error": fault})
    [event] = account.events()
    assert event.price_nanos == price_of(simulator.generation(generation).cost)


def test_new_accounts_are_taken_up_and_missing_ones_are_told(gateway: Gateway, account: Account, simulator: Simulator):
    assert gateway.terminate() == 0
    simulator.account("sk-or-v1-new", state="ok")
    gateway.environment["OPENROUTER_MASTER_KEYS"] = "sk-or-v1-new"
    for key in simulator.keys:
        simulator.account(key, state="disabled")
    gateway.start()
    assert set(keys_used(simulator, ask(account, 6))) == {"sk-or-v1-new"}
    assert "sk-or-v1-new" not in gateway.log.read_text()


def test_nobody_else_is_asked_for_a_client_that_has_left(account: Account, simulator: Simulator, gateway: Gateway):
    """The first account fails after the client has gone: an answer from another would be for nobody."""
    fault = {"kind": "garbage", "first_attempts": 1, "attempt_key": "left"}
    ask_and_leave(account, simulator, body(sim={"first_ms": 1_500, "error": fault}))
    failed = re.compile(r'airouter_upstream_faults_total\{kind="bad_answer",master_account="[^"]*"\} 1$', re.MULTILINE)
    eventually(lambda: failed.search(gateway.metrics()), "the attempt fails")
    eventually(lambda: account.balance().reserved_nanos == 0, "its hold returns")
    assert len(simulator.generations()) == 1
    assert account.events() == []
