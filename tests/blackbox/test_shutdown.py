"""SIGTERM: new requests are refused, streams finish, everything is settled, exit code 0."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from harness.database import Database
from harness.gateway import Account, Gateway
from harness.money import price_of
from harness.requests import chat
from harness.simulator import Simulator

STREAMS = 50


@pytest.fixture
def gateway(tmp_path: Path, simulator: Simulator, own_database: Database | None) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path, simulator, own_database)
    gateway.start()
    yield gateway
    if gateway.child.is_running:
        gateway.child.kill()


def test_streams_finish_and_the_exit_code_is_0(gateway: Gateway, account: Account, simulator: Simulator):
    ids = asyncio.run(stop_while_streaming(gateway, account))
    assert gateway.child.exit_code() == 0, gateway.log.read_text()[-4000:]
    assert len(set(ids)) == STREAMS
    billed = simulator.generations()
    events = account.events()
    assert sorted(event.generation_id for event in events) == sorted(ids)
    assert [event.charged_nanos for event in events] == [price_of(billed[event.generation_id].cost) for event in events]
    assert all(event.ending == "complete" for event in events)
    assert account.balance().reserved_nanos == 0, "a stopped replica holds nothing"
    gateway.command("ledger", "verify")
    gateway.check_silence()


async def stop_while_streaming(gateway: Gateway, account: Account) -> list[str]:
    """Reads streams whole, between whose first and second chunk the gateway is told to stop."""
    everyone_reads = asyncio.Barrier(STREAMS + 1)
    told_to_stop = asyncio.Event()

    async def read_one(sdk: openai.AsyncOpenAI) -> str:
        request = chat(sim={"completion_tokens": 20, "chunks": 20, "chunk_ms": 150})
        stream = await sdk.chat.completions.create(**request, stream=True)
        first = await anext(aiter(stream))
        await everyone_reads.wait()
        await told_to_stop.wait()
        rest = [chunk async for chunk in stream]
        assert rest[-1].choices[0].finish_reason
        return first.id

    async with account.async_sdk() as sdk:
        streams = [asyncio.create_task(read_one(sdk)) for _ in range(STREAMS)]
        await everyone_reads.wait()
        gateway.child.signal(signal.SIGTERM)
        told_to_stop.set()
        await refused_from_now_on(gateway)
        return await asyncio.gather(*streams)


async def refused_from_now_on(gateway: Gateway) -> None:
    """New connections are refused, or answered with 503, soon after the signal."""
    async with asyncio.timeout(5), httpx2.AsyncClient(trust_env=False) as http:
        while True:
            try:
                answer = await http.get(f"{gateway.url}/health")
            except httpx2.TransportError:
                return
            if answer.status_code == 503:
                return
            await asyncio.sleep(0.01)


def test_an_idle_gateway_stops_at_once(gateway: Gateway):
    assert gateway.terminate() == 0


def test_idle_connections_do_not_hold_it_up(gateway: Gateway, account: Account):
    with account.http() as http:
        assert http.get("/v1/models").status_code == 200
        gateway.child.signal(signal.SIGTERM)
        assert gateway.child.exit_code(10) == 0


@pytest.fixture
def hasty(tmp_path: Path, simulator: Simulator, own_database: Database | None) -> Iterator[Gateway]:
    """A gateway that lets answers go on for only a second after SIGTERM."""
    gateway = Gateway(tmp_path, simulator, own_database, AIROUTER_SHUTDOWN_SECONDS="1")
    gateway.start()
    yield gateway
    if gateway.child.is_running:
        gateway.child.kill()


def known_generations(gateway: Gateway) -> list[str | None]:
    """What is booked, and what is written down to be found out later."""
    booked = [event.generation_id for event in gateway.database.events()]
    return booked + [generation for _, generation, _ in gateway.database.pending()]


def test_a_stream_that_takes_too_long_is_cut_and_not_forgotten(hasty: Gateway):
    sim = {"completion_tokens": 100, "chunks": 100, "chunk_ms": 100}
    with hasty.new_account().sdk().chat.completions.create(**chat(sim=sim), stream=True) as stream:
        chunks = iter(stream)
        generation = next(chunks).id
        hasty.child.signal(signal.SIGTERM)
        with pytest.raises((openai.APIError, httpx2.TransportError)):
            list(chunks)
    assert hasty.child.exit_code(15) in (0, 1)
    assert known_generations(hasty) == [generation]


def test_what_runs_on_without_its_client_is_cut_and_not_forgotten(hasty: Gateway):
    sim = {"completion_tokens": 100, "chunks": 100, "chunk_ms": 100}
    with hasty.new_account().sdk().chat.completions.create(**chat("sim/groq", sim), stream=True) as stream:
        generation = next(iter(stream)).id
    hasty.child.signal(signal.SIGTERM)
    assert hasty.child.exit_code(15) in (0, 1)
    assert known_generations(hasty) == [generation]
