"""Races for money: no balance pays for more than it holds, and none is refused what it can pay for."""

import asyncio
from collections import Counter

import httpx2
import pytest

from harness.gateway import Account, Gateway
from harness.money import decimal_text, price_of
from harness.polling import eventually
from harness.requests import body
from harness.simulator import Simulator

RUNS = 20
# What 1,000 tokens of sim/one-dollar cost the client, each way: $0.80 per million.
NANOS_A_TOKEN = 800


def statuses_at_once(account: Account, request: dict, count: int) -> Counter[int]:
    """Sends the same request `count` times at the same moment."""

    async def send_all() -> Counter[int]:
        limits = httpx2.Limits(max_connections=count)
        headers = {"authorization": f"Bearer {account.key}"}
        url = f"{account.gateway.url}/v1/chat/completions"
        async with httpx2.AsyncClient(limits=limits, headers=headers, timeout=60, trust_env=False) as http:
            answers = await asyncio.gather(*(http.post(url, json=request) for _ in range(count)))
        return Counter(answer.status_code for answer in answers)

    return asyncio.run(send_all())


def hold_of(gateway: Gateway, request: dict) -> int:
    """What is held for a request of a client that has enough."""
    client = gateway.new_account(credit="1000")
    with client.http() as http:
        assert http.post("/v1/chat/completions", json=request).status_code == 200
    return client.settled(1)[0].hold_nanos


def test_exactly_six_holds_are_served(gateway: Gateway):
    tokens = 1000

    def request_of(prompt_tokens: int) -> dict:
        sim = {"completion_tokens": tokens, "prompt_tokens": prompt_tokens}
        return body("sim/one-dollar", sim, max_tokens=tokens)

    hold = hold_of(gateway, request_of(100))
    # Each answer costs all that was held, so that nothing returns for a seventh.
    request = request_of(hold // NANOS_A_TOKEN - tokens)
    price = hold // NANOS_A_TOKEN * NANOS_A_TOKEN
    assert hold == hold_of(gateway, request)
    clients = [gateway.new_account(credit=decimal_text(6 * hold)) for _ in range(RUNS)]
    for client in clients:
        assert statuses_at_once(client, request, 100) == Counter({200: 6, 402: 94})
        events = client.settled(6)
        assert [event.charged_nanos for event in events] == [price] * 6
        assert client.balance().balance_nanos == 6 * (hold - price)
    eventually(lambda: not any(client.balance().reserved_nanos for client in clients), "nothing is held")


def test_a_dollar_serves_twenty_parallel_calls_without_a_limit(gateway: Gateway):
    client = gateway.new_account(credit="1")
    request = body("sim/one-dollar", {"first_ms": 1500, "completion_tokens": 100})
    del request["max_tokens"]
    assert statuses_at_once(client, request, 20) == Counter({200: 20})
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
        seen = statuses_at_once(client, request, 40)
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
        assert set(statuses_at_once(client, request, 50)) <= {200, 402}
    spent = sum(event.charged_nanos for event in client.events())
    assert 0 < spent <= 10**7
