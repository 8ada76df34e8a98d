"""Races for money: no balance pays for more than it holds, and none is refused what it can pay for."""

from collections import Counter

import pytest

from harness.gateway import Gateway
from harness.money import price_of
from harness.polling import eventually
from harness.races import assert_six_holds_are_served, statuses_at_once
from harness.requests import body
from harness.simulator import Simulator

RUNS = 20


def test_exactly_six_holds_are_served(gateway: Gateway):
    clients = assert_six_holds_are_served([gateway], RUNS)
    eventually(lambda: not any(client.balance().reserved_nanos for client in clients), "nothing is held")


def test_a_dollar_serves_twenty_parallel_calls_without_a_limit(gateway: Gateway):
    client = gateway.new_account(credit="1")
    request = body("sim/one-dollar", {"first_ms": 1500, "completion_tokens": 100})
    del request["max_tokens"]
    assert statuses_at_once([client], request, 20) == Counter({200: 20})
    assert all(event.uncollected_nanos == 0 for event in client.settled(20))


@pytest.mark.parametrize("limit", [{"max_tokens": 50}, {}], ids=["limited", "unlimited"])
def test_no_overdraft_against_a_token_a_byte(gateway: Gateway, simulator: Simulator, limit: dict):
    simulator.configure(prompt_tokens_per_byte=1)
    client = gateway.new_account(credit="0.005")
    words = [{"role": "user", "content": "zebra quartz " + "many words, each byte a token " * 20}]
    request = body("sim/one-dollar", {"completion_tokens": 100_000, "chunks": 1}, messages=words) | limit
    if not limit:
        del request["max_tokens"]
    lowest = 5 * 10**6
    for _ in range(5):
        seen = statuses_at_once([client], request, 40)
        assert set(seen) <= {200, 402}, seen
        lowest = min(lowest, client.balance().balance_nanos)
    events = client.events()
    billed = simulator.generations()
    assert events
    assert lowest >= 0
    for event in events:
        assert event.price_nanos == price_of(billed[event.generation_id].cost)
        assert event.charged_nanos + event.uncollected_nanos == event.price_nanos
    assert client.balance().balance_nanos == 5 * 10**6 - sum(event.charged_nanos for event in events)


def test_a_key_with_a_cap_of_its_own_is_not_overspent(gateway: Gateway):
    client = gateway.new_metered_account(limit_cents=1)
    request = body("sim/one-dollar", {"completion_tokens": 1000}, max_tokens=1000)
    for _ in range(3):
        assert set(statuses_at_once([client], request, 50)) <= {200, 402}
    spent = sum(event.charged_nanos for event in client.events())
    assert 0 < spent <= 10**7
