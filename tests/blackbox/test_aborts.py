"""Clients that hang up: what the upstream bills is what they pay, and holds return."""

import asyncio
import contextlib
from fractions import Fraction

import httpx2
import pytest

from harness.gateway import Account
from harness.money import price_of
from harness.polling import eventually
from harness.raw import ask_and_leave
from harness.requests import body, chat
from harness.simulator import Simulator

SLOW = {"completion_tokens": 40, "chunks": 40, "chunk_ms": 100}
# One provider stops, and bills what it has produced; the other one runs on to the end.
MODELS = pytest.mark.parametrize("model", ["sim/small", "sim/groq"], ids=["stops", "runs_on"])


def assert_settled(account: Account, simulator: Simulator, requests: int) -> None:
    """Every request is booked once, at what the upstream's books say, and nothing is held any more."""
    events = account.settled(requests)
    eventually(lambda: simulator.running() == 0, "the upstream is done", 10)
    billed = simulator.generations()
    assert len({event.generation_id for event in events}) == requests
    for event in events:
        assert event.list_usd == billed[event.generation_id].cost, event
        assert event.charged_nanos == event.price_nanos == price_of(event.list_usd)
    spent = sum(event.charged_nanos for event in events)
    assert account.balance().balance_nanos == 10 * 10**9 - spent
    eventually(lambda: account.balance().reserved_nanos == 0, "holds and leases return", 10)


@MODELS
def test_a_stream_is_closed_after_some_chunks(account: Account, simulator: Simulator, model: str):
    with account.sdk().chat.completions.create(**chat(model, SLOW), stream=True) as stream:
        for index, _ in enumerate(stream):
            if index == 4:
                break
    assert_settled(account, simulator, 1)
    [event] = account.events()
    assert event.ending == "client_gone"
    generation = simulator.generation(event.generation_id)
    if model == "sim/small":
        assert generation.state == "cancelled"
        assert 0 < generation.completion_tokens < 40
    else:
        assert generation.completion_tokens == 40


@MODELS
def test_a_stream_is_closed_before_its_first_chunk(account: Account, simulator: Simulator, model: str):
    ask_and_leave(account, simulator, body(model, SLOW | {"first_ms": 1500}, stream=True))
    pseudonym = simulator.last_body()["user"]
    eventually(lambda: simulator.running() == 0, "the upstream is done", 10)

    def settled() -> bool:
        listed = sum((event.list_usd for event in account.events()), Fraction(0))
        [generation] = [g for g in simulator.generations().values() if g.user == pseudonym]
        return listed == generation.cost and account.balance().reserved_nanos == 0

    eventually(settled, "settled at what the upstream bills", 30)


def test_an_answer_in_one_piece_is_not_waited_for(account: Account, simulator: Simulator):
    ask_and_leave(account, simulator, body(sim=SLOW | {"chunk_ms": 50}))
    assert_settled(account, simulator, 1)
    assert account.events()[0].completion_tokens == 40


def test_hanging_up_at_the_end_is_no_abort(account: Account, simulator: Simulator):
    with account.http() as http, http.stream("POST", "/v1/chat/completions", json=body(stream=True)) as response:
        for line in response.iter_lines():
            if line == "data: [DONE]":
                break
    assert_settled(account, simulator, 1)
    assert account.events()[0].ending == "complete"


@MODELS
def test_many_hang_up_at_once(account: Account, simulator: Simulator, model: str):
    request = body(model, SLOW, stream=True)
    headers = {"authorization": f"Bearer {account.key}"}

    async def read_and_leave(http: httpx2.AsyncClient, chunks: int) -> None:
        async with http.stream("POST", "/v1/chat/completions", json=request, headers=headers) as response:
            assert response.status_code == 200
            lines = response.aiter_lines()
            seen = 0
            async for line in lines:
                seen += line.startswith("data:")
                if seen > chunks:
                    break
            with contextlib.suppress(RuntimeError):
                await lines.aclose()

    async def ask_all() -> None:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(base_url=account.gateway.url, limits=limits, timeout=60, trust_env=False) as http:
            await asyncio.gather(*(read_and_leave(http, index % 20) for index in range(60)))

    asyncio.run(ask_all())
    assert_settled(account, simulator, 60)
