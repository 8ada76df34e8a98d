"""Broken, absurd and hostile requests: a clear error or a plain close, bounded memory, and nothing booked."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import raw
from harness.gateway import Account, Gateway, running_gateway
from harness.money import price_of
from harness.polling import eventually
from harness.processes import Child
from harness.requests import assert_says_nothing_of_the_upstream, body
from harness.simulator import Simulator

BODY_LIMIT = 2 * 1024 * 1024
MEBIBYTE = 1024 * 1024
# A silent or slow sender is cut off at the latest after this.
PATIENCE_SECONDS = 75


@pytest.fixture(scope="module")
def gateway(directory: Path, simulator: Simulator) -> Iterator[Gateway]:
    with running_gateway(directory, simulator, AIROUTER_MAX_BODY_BYTES=str(BODY_LIMIT)) as gateway:
        yield gateway


@pytest.fixture
def refused(account: Account, simulator: Simulator) -> Iterator[Account]:
    """A client whose requests must all be refused: nothing goes upstream, nothing is booked, nothing stays held."""
    before = simulator.books()["requests"]
    yield account
    assert simulator.books()["requests"] == before
    assert account.events() == []
    assert account.balance().balance_nanos == 10 * 10**9
    eventually(lambda: account.balance().reserved_nanos == 0, "nothing stays held")


def post(account: Account, data: bytes, *headers: str) -> raw.RawAnswer:
    return raw.exchange(account.gateway.port, raw.chat_head(account.key, len(data), *headers) + data)


def error_of(answer: raw.RawAnswer) -> dict:
    """The error in OpenAI's envelope."""
    error = json.loads(answer.text.split("\r\n\r\n", 1)[1])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert_says_nothing_of_the_upstream(answer.text)
    assert "x-request-id" in answer.text.lower()
    return error


def changed(**fields: object) -> bytes:
    return json.dumps(body() | fields).encode()


def without(*names: str) -> bytes:
    return json.dumps({name: value for name, value in body().items() if name not in names}).encode()


NOT_CHAT_REQUESTS = {
    "empty body": b"",
    "not JSON": b"not json",
    "cut JSON": changed()[:-5],
    "trailing bytes": changed() + b" x",
    "two objects": changed() + changed(),
    "an array": b"[]",
    "a string": b'"text"',
    "null": b"null",
    "a byte order mark in the middle": b'{"model":\xef\xbb\xbf"sim/small"}',
    "invalid UTF-8": b'{"model":"sim/small","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "a lone surrogate in the model": b'{"model":"\\ud800","messages":[{"role":"user","content":"x"}]}',
    "a control character": b'{"model":"sim/small\x01","messages":[{"role":"user","content":"x"}]}',
    "no messages": without("messages"),
    "empty messages": changed(messages=[]),
    "messages null": changed(messages=None),
    "messages a string": changed(messages="hello"),
    "messages an object": changed(messages={"role": "user"}),
    "messages of numbers": changed(messages=[1, 2]),
    "model a number": changed(model=5),
    "model null": changed(model=None),
    "model a list": changed(model=["sim/small"]),
    "stream a string": changed(stream="yes"),
    "stream a number": changed(stream=1),
    "max_tokens zero": changed(max_tokens=0),
    "max_tokens negative": changed(max_tokens=-5),
    "max_tokens a fraction": changed(max_tokens=1.5),
    "max_tokens a string": changed(max_tokens="100"),
    "max_tokens a list": changed(max_tokens=[100]),
    "max_completion_tokens negative": changed(max_completion_tokens=-1),
    "n two": changed(n=2),
    "n huge": changed(n=10**30),
    "n zero": changed(n=0),
    "n negative": changed(n=-1),
    "n a string": changed(n="1"),
    "models a string": changed(models="sim/large"),
    "models of numbers": changed(models=[1]),
    "provider a string": changed(provider="OpenAI"),
    "max_price a string": changed(provider={"max_price": "1"}),
    "a negative max_price": changed(provider={"max_price": {"prompt": "-3"}}),
    "stream_options a string": changed(stream=True, stream_options="include_usage"),
    "deep nesting": b'{"model":"sim/small","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects in an unknown field": changed()[:-1] + b',"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "a duplicate model": b'{"model":"sim/small",' + changed()[1:],
    "a duplicate output limit": changed()[:-1] + b',"max_tokens":100000}',
    "duplicate messages": changed()[:-1] + b',"messages":[{"role":"user","content":"x"}]}',
    "an escaped duplicate": changed()[:-1] + b',"max\\u005ftokens":100000}',
}


@pytest.mark.parametrize("data", NOT_CHAT_REQUESTS.values(), ids=NOT_CHAT_REQUESTS)
def test_what_is_no_chat_request_is_400(refused: Account, data: bytes):
    answer = post(refused, data)
    assert answer.status == 400, answer.text
    error = error_of(answer)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("tokens", [2**31, 2**63, 2**64, 10**40])
def test_absurd_output_limits_are_refused_or_bounded(account: Account, simulator: Simulator, tokens: int):
    answer = post(account, changed(max_tokens=tokens))
    if answer.status == 200:
        assert simulator.last_body()["max_tokens"] <= 16_384
        return
    assert answer.status in (400, 402)
    assert error_of(answer)
    assert account.events() == []


def test_a_body_over_the_limit_is_413(refused: Account):
    large = changed(padding="x" * BODY_LIMIT)
    assert post(refused, large).status == 413
    assert error_of(post(refused, large))["code"] == "request_too_large"
    # Said, but not sent.
    said = raw.exchange(refused.gateway.port, raw.chat_head(refused.key, 10 * 2**30))
    assert said.status == 413


def test_a_chunked_body_over_the_limit_is_413(refused: Account):
    head = raw.chat_head(refused.key, 0, "transfer-encoding: chunked").replace(b"content-length: 0\r\n", b"")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answer = raw.exchange(refused.gateway.port, head + chunk * (BODY_LIMIT // 0x10000 + 2) + b"0\r\n\r\n")
    assert answer.status in (413, 0)


def test_a_body_just_under_the_limit_is_served(account: Account):
    answer = post(account, changed(padding="x" * (BODY_LIMIT - 2000)))
    assert answer.status == 200


def test_large_bodies_take_bounded_memory(refused: Account):
    child = refused.gateway.child
    before = child.resident_bytes()
    large = changed(padding="x" * BODY_LIMIT * 4)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: post(refused, large).status, range(64)))
    assert set(answers) <= {413, 0}
    assert child.resident_bytes() < before + 128 * MEBIBYTE


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
def test_a_compressed_body_is_refused(refused: Account, encoding: str):
    answer = post(refused, b"\x1f\x8b" + b"\0" * 50, f"content-encoding: {encoding}")
    assert answer.status in (400, 415)
    error_of(answer)


HEADER_FLOODS = {
    "many headers": [f"x-flood-{number}: y" for number in range(20_000)],
    "a long header": ["x-flood: " + "y" * 2 * MEBIBYTE],
}


@pytest.mark.parametrize("headers", HEADER_FLOODS.values(), ids=HEADER_FLOODS)
def test_a_header_flood_is_refused(refused: Account, headers: list[str]):
    answer = post(refused, changed(), *headers)
    assert answer.status in (0, 400, 413, 431)


NOT_HTTP = {
    "nothing of HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    "a bad request line": b"GET\r\n\r\n",
    "a long path": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    "a bad header": raw.CHAT.encode() + b"bad header\r\n\r\n",
    "two lengths": raw.CHAT.encode() + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
    "a negative length": raw.CHAT.encode() + b"content-length: -1\r\n\r\n",
    "length and chunks": raw.CHAT.encode()
    + b"content-length: 5\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n",
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a line end in a header": raw.CHAT.encode() + b"x-a: b\rx-c: d\r\n\r\n",
    "a bad chunk": raw.CHAT.encode() + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\nZZ\r\n",
}


@pytest.mark.parametrize("data", NOT_HTTP.values(), ids=NOT_HTTP)
def test_what_is_no_http_is_refused(refused: Account, data: bytes):
    with raw.connect(refused.gateway.port, PATIENCE_SECONDS) as connection:
        raw.send_all_or_closed(connection, data)
        answer = raw.read_to_end(connection)
    assert answer.status == 0 or 400 <= answer.status < 500, answer.text
    assert refused.gateway.is_ready()


def test_silent_slow_and_broken_senders_are_cut_off(refused: Account):
    half = raw.chat_head(refused.key, 5000) + changed()[:40]
    senders = {
        "silence": b"",
        "half a head": raw.CHAT.encode(),
        "half a body": half,
        "expecting": raw.chat_head(refused.key, 5000, "expect: 100-continue"),
    }

    def wait_for_the_end(data: bytes) -> int:
        with raw.connect(refused.gateway.port, PATIENCE_SECONDS) as connection:
            raw.send_all_or_closed(connection, data)
            return raw.read_to_end(connection).status

    with ThreadPoolExecutor(len(senders)) as pool:
        statuses = dict(zip(senders, pool.map(wait_for_the_end, senders.values()), strict=True))
    assert set(statuses.values()) <= {0, 100, 400, 408}, statuses


def test_a_body_that_breaks_off(refused: Account):
    for count in (0, 1, 40):
        with raw.connect(refused.gateway.port) as connection:
            connection.sendall(raw.chat_head(refused.key, 5000) + changed()[:count])
    assert refused.gateway.is_ready()


def most_resident_bytes(child: Child) -> int:
    """The most memory that it takes during half a second, in which an unbounded buffer would have filled."""
    deadline = time.monotonic() + 0.5
    most = 0
    while time.monotonic() < deadline:
        most = max(most, child.resident_bytes())
    return most


def test_a_stalled_reader_takes_bounded_memory_and_is_billed(account: Account, simulator: Simulator):
    child = account.gateway.child
    before = child.resident_bytes()
    request = changed(stream=True, x_sim={"event_bytes": 48 * MEBIBYTE}, model="sim/groq")
    with raw.connect(account.gateway.port) as connection:
        connection.sendall(raw.chat_head(account.key, len(request)) + request)
        assert connection.recv(64).startswith(b"HTTP/1.1 200")
        assert most_resident_bytes(child) < before + 32 * MEBIBYTE
    [event] = account.settled(1)
    assert event.charged_nanos == price_of(simulator.generation(event.generation_id).cost)


def test_no_key_no_reading_of_the_body(gateway: Gateway):
    head = raw.chat_head("sk-air-nothing", 10 * 2**30)
    assert raw.exchange(gateway.port, head).status == 401


def test_a_flood_of_unknown_keys_takes_bounded_memory(gateway: Gateway):
    before = gateway.child.resident_bytes()

    def ask(start: int) -> set[int]:
        with raw.connect(gateway.port) as connection:
            reader = connection.makefile("rb")
            statuses = set()
            for number in range(start, start + 1000):
                head = f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-air-{number:060}\r\n\r\n"
                connection.sendall(head.encode())
                statuses.add(int(reader.readline().split()[1]))
                length = 0
                while (line := reader.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                reader.read(length)
            return statuses

    with ThreadPoolExecutor(4) as pool:
        assert set().union(*pool.map(ask, range(0, 20_000, 1000))) == {401}
    assert gateway.child.resident_bytes() < before + 64 * MEBIBYTE


def test_many_idle_connections_do_no_harm(refused: Account):
    connections = [raw.connect(refused.gateway.port) for _ in range(500)]
    try:
        assert refused.gateway.is_ready()
    finally:
        for connection in connections:
            connection.close()
