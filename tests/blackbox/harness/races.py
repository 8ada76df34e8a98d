"""Many requests at the same moment, for less money than they all need."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import httpx2

from .gateway import Account, Gateway
from .money import decimal_text
from .requests import body

# What a token of sim/one-dollar costs the client, each way: $0.80 per million.
NANOS_A_TOKEN = 800


def statuses_at_once(client: Sequence[Account], request: dict, count: int) -> Counter[int]:
    """Sends the same request `count` times at the same moment; a client of several replicas asks them in turn."""

    async def send_all() -> Counter[int]:
        limits = httpx2.Limits(max_connections=count)
        headers = {"authorization": f"Bearer {client[0].key}"}
        async with httpx2.AsyncClient(limits=limits, headers=headers, timeout=60, trust_env=False) as http:
            urls = [f"{client[index % len(client)].gateway.url}/v1/chat/completions" for index in range(count)]
            answers = await asyncio.gather(*(http.post(url, json=request) for url in urls))
        return Counter(answer.status_code for answer in answers)

    return asyncio.run(send_all())


def hold_of(gateway: Gateway, request: dict) -> int:
    """What is held for a request of a client that has enough."""
    client = gateway.new_account(credit="1000")
    with client.http() as http:
        assert http.post("/v1/chat/completions", json=request).status_code == 200
    return client.settled(1)[0].hold_nanos


def costly_request(prompt_tokens: int, tokens: int = 1000) -> dict:
    """A request that fills its output limit."""
    sim = {"completion_tokens": tokens, "prompt_tokens": prompt_tokens}
    return body("sim/one-dollar", sim, max_tokens=tokens)


def request_that_costs_its_hold(gateway: Gateway, tokens: int = 1000) -> tuple[dict, int, int]:
    """A request whose answer costs all that was held but for less than a token, so that nothing returns; its hold; its
    price."""
    hold = hold_of(gateway, costly_request(100, tokens))
    request = costly_request(hold // NANOS_A_TOKEN - tokens, tokens)
    assert hold == hold_of(gateway, request)
    return request, hold, hold // NANOS_A_TOKEN * NANOS_A_TOKEN


def assert_six_holds_are_served(gateways: Sequence[Gateway], runs: int) -> list[Account]:
    """Of a hundred requests at once, for a client that has six holds, exactly six are served, in every run."""
    request, hold, price = request_that_costs_its_hold(gateways[0])
    clients = [gateways[0].new_account(credit=decimal_text(6 * hold)) for _ in range(runs)]
    for client in clients:
        everywhere = [client.at(gateway) for gateway in gateways]
        seen = statuses_at_once(everywhere, request, 100)
        assert seen == Counter({200: 6, 402: 94}), seen
        events = client.settled(6)
        assert [event.charged_nanos for event in events] == [price] * 6
        assert client.balance().balance_nanos == 6 * (hold - price)
    return clients
