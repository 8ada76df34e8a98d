"""Streams, through the official SDK and on the wire."""

import json
from typing import Any

from harness.gateway import Account
from harness.marks import ON_SQLITE
from harness.money import nanos, price_of, usd
from harness.requests import assert_says_nothing_of_the_upstream, body, chat
from harness.simulator import Simulator

TEXT = "Ein Satz mit Umlauten: äöü, 世界, 🦀, und einem Ende."


def events_of(text: str) -> list[str]:
    """The data of each event of a stream with LF line ends."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    assert all(block.startswith("data: ") for block in blocks), text
    return [block.removeprefix("data: ") for block in blocks]


def streamed(account: Account, path: str = "/v1/chat/completions", **fields: Any) -> tuple[list[dict], str, Any]:
    """The chunks of a stream, its text, and its headers."""
    with account.http() as http:
        response = http.post(path, json=body(stream=True, **fields))
    assert response.status_code == 200, response.text
    events = events_of(response.text)
    assert events[-1] == "[DONE]"
    assert events.count("[DONE]") == 1
    return [json.loads(event, parse_float=usd) for event in events[:-1]], response.text, response.headers


def test_the_sdk_reads_a_stream(account: Account, simulator: Simulator):
    chunks = list(account.sdk().chat.completions.create(**chat(sim={"text": TEXT, "chunks": 12}), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert chunks[0].choices[0].delta.role == "assistant"
    finishes = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason]
    assert finishes == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    [event] = account.events()
    assert event.generation_id == chunks[0].id
    assert event.delivery == "streamed"
    assert event.price_nanos == price_of(simulator.generation(chunks[0].id).cost)


def test_usage_is_absent_unless_it_was_asked_for(account: Account):
    for options in ({}, {"stream_options": {"include_usage": False}}):
        chunks, text, headers = streamed(account, sim={"text": TEXT}, **options)
        assert all(chunk["choices"] for chunk in chunks)
        assert not [chunk for chunk in chunks if "usage" in chunk]
        assert_says_nothing_of_the_upstream(text + str(headers))


def test_usage_comes_last_when_it_was_asked_for(account: Account, simulator: Simulator):
    chunks, text, _ = streamed(account, sim={"text": TEXT}, stream_options={"include_usage": True})
    *ordinary, last = chunks
    assert all(chunk["choices"] and chunk.get("usage") is None for chunk in ordinary)
    assert [c["choices"][0]["finish_reason"] for c in ordinary if c["choices"][0].get("finish_reason")] == ["stop"]
    assert last["choices"] == []
    billed = simulator.generation(last["id"])
    usage = last["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (billed.prompt_tokens, billed.completion_tokens)
    assert usage["total_tokens"] == billed.prompt_tokens + billed.completion_tokens
    assert nanos(usage["cost"]) == price_of(billed.cost)
    assert_says_nothing_of_the_upstream(text)


def test_the_sdk_sees_the_usage_it_asked_for(account: Account):
    request = chat(sim={"completion_tokens": 5}, stream_options={"include_usage": True})
    chunks = list(account.sdk().chat.completions.create(**request, stream=True))
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [5]
    assert chunks[-1].choices == []


def test_openrouters_surface_always_has_usage(account: Account, simulator: Simulator):
    chunks, text, _ = streamed(account, "/api/v1/chat/completions", sim={"text": TEXT})
    with_usage = [chunk for chunk in chunks if chunk.get("usage")]
    assert len(with_usage) == 1
    assert nanos(with_usage[0]["usage"]["cost"]) == price_of(simulator.generation(chunks[0]["id"]).cost)
    for word in ("user_id", "sk-or-"):
        assert word not in text


def test_stream_headers(account: Account):
    _, _, headers = streamed(account)
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-request-id"]
    assert "content-encoding" not in headers
    assert "set-cookie" not in headers


def test_the_stream_helper_collects_an_answer(account: Account):
    request = chat(sim={"text": TEXT, "chunks": 9})
    with account.sdk().chat.completions.stream(**request) as stream:
        deltas = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert deltas == final.choices[0].message.content == TEXT


def test_a_raw_streaming_response(account: Account):
    with account.sdk().chat.completions.with_streaming_response.create(**chat(sim={"text": TEXT})) as raw:
        assert raw.headers["x-request-id"]
        assert raw.parse().choices[0].message.content == TEXT


def test_events_arrive_as_they_are_made(account: Account, simulator: Simulator):
    with account.sdk().chat.completions.create(**chat(sim={"chunk_ms": 300, "chunks": 10}), stream=True) as stream:
        first = next(iter(stream))
        assert first.choices
        assert simulator.running() == 1, "the first chunk came before the answer was complete"
        assert sum(1 for _ in stream) >= 10
    account.settled(1)


@ON_SQLITE
def test_a_silent_stream_is_kept_alive(account: Account):
    """Nothing comes from the upstream for 26 s: the answer begins after 10 s, and a comment comes every 15 s."""
    with account.http() as http:
        response = http.post("/v1/chat/completions", json=body(stream=True, sim={"first_ms": 26_000}), timeout=60)
    assert response.text.startswith(": AIROUTER PROCESSING\n\n"), response.text[:100]
    assert events_of(response.text)[-1] == "[DONE]"
    [event] = account.events()
    assert event.ending == "complete"
