"""Five hundred streams at once: all whole, all billed once."""

import asyncio

from harness.gateway import Account, Gateway
from harness.money import price_of
from harness.requests import chat
from harness.simulator import Simulator

STREAMS = 500
TEXT = "Ein Text, der in Stücken kommt. " * 8


def test_five_hundred_streams_at_once(gateway: Gateway, simulator: Simulator):
    client = gateway.new_account(credit="1000")
    ids, most = asyncio.run(read_all(client, simulator))
    assert most == STREAMS, "they all ran at the same time"
    assert len(set(ids)) == STREAMS
    events = client.settled(STREAMS)
    assert sorted(event.generation_id for event in events) == sorted(ids)
    billed = simulator.generations()
    assert sum(event.list_usd for event in events) == sum(billed[generation].cost for generation in ids)
    spent = sum(price_of(billed[generation].cost) for generation in ids)
    assert client.balance().balance_nanos == 1000 * 10**9 - spent


async def read_all(client: Account, simulator: Simulator) -> tuple[list[str], int]:
    """The ids of all answers, and how many ran at once: nobody reads on before everyone has a first chunk."""
    everyone_reads = asyncio.Barrier(STREAMS)
    most = 0

    async def read_one(sdk) -> str:
        nonlocal most
        request = chat(sim={"text": TEXT, "chunks": 30, "chunk_ms": 800})
        stream = await sdk.chat.completions.create(**request, stream=True)
        chunks = [await anext(aiter(stream))]
        await everyone_reads.wait()
        most = max(most, await asyncio.to_thread(simulator.running) if most < STREAMS else most)
        chunks += [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
        assert chunks[-1].choices[0].finish_reason == "stop"
        return chunks[0].id

    async with client.async_sdk() as sdk:
        return await asyncio.gather(*(read_one(sdk) for _ in range(STREAMS))), most
