"""How clients get in: TLS, HTTP/2, proxies in between, and what is done about those who only take up room."""

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h2.errors
import httpx2
import openai
import pytest

from harness import raw
from harness.certificates import Authority
from harness.database import Database
from harness.gateway import Account, Gateway, running_gateway
from harness.money import price_of
from harness.polling import eventually
from harness.raw_http2 import RawHttp2
from harness.requests import body, chat
from harness.simulator import Simulator

STREAMS = 100
MEBIBYTE = 1024 * 1024
SLOW = {"completion_tokens": 40, "chunks": 40, "chunk_ms": 50}
# What silent clients get of the impatient gateway, and when they must have been cut off at the latest.
IDLE_SECONDS = 2
PATIENCE_SECONDS = 20
PROXY = "127.0.0.2"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Tls:
    """Certificate files, and who trusts them."""

    def __init__(self, directory: Path):
        self.authority = Authority(directory)
        self.chain, self.key = directory / "chain.pem", directory / "key.pem"
        self.renew()

    def renew(self) -> None:
        self.authority.issue(self.chain, self.key)

    def settings(self) -> dict[str, str]:
        return {"AIROUTER_TLS_CERT": str(self.chain), "AIROUTER_TLS_KEY": str(self.key)}

    def served_by(self, gateway: Gateway) -> dict:
        """What a new connection sees of the certificate."""
        with self.connect(gateway) as connection:
            return connection.getpeercert()

    def connect(self, gateway: Gateway, *protocols: str) -> ssl.SSLSocket:
        plain = raw.connect(gateway.port)
        return self.authority.context(*protocols).wrap_socket(plain, server_hostname="localhost")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, database: Database | None, tls: Tls
) -> Iterator[Gateway]:
    """On both stores, with TLS."""
    directory = tmp_path_factory.mktemp("gateway")
    with running_gateway(directory, simulator, database, tls.authority.context(), **tls.settings()) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, tls: Tls) -> Iterator[Gateway]:
    """With TLS, and little time for its clients."""
    directory = tmp_path_factory.mktemp("impatient")
    settings = tls.settings() | {"AIROUTER_IDLE_SECONDS": str(IDLE_SECONDS)}
    with running_gateway(directory, simulator, None, tls.authority.context(), **settings) as gateway:
        yield gateway


def rejected(gateway: Gateway, reason: str) -> float:
    return gateway.metric(f'airouter_rejected_connections_total{{reason="{reason}"}}')


def sdk(account: Account, **options) -> openai.OpenAI:
    client = openai.DefaultHttpxClient(verify=account.gateway.verify, trust_env=False, **options)
    return account.sdk(http_client=client)


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_the_official_sdk_over_tls(account: Account, simulator: Simulator, http2: bool):
    with sdk(account, http2=http2) as client:
        raw_answer = client.chat.completions.with_raw_response.create(**chat())
        assert raw_answer.http_response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        whole = raw_answer.parse()
        with client.chat.completions.create(**chat(), stream=True) as stream:
            streamed = list(stream)
    events = account.settled(2)
    assert {event.generation_id for event in events} == {whole.id, streamed[0].id}
    billed = simulator.generations()
    assert all(event.charged_nanos == price_of(billed[event.generation_id].cost) for event in events)


def test_nobody_else_is_trusted_or_understood(gateway: Gateway):
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{gateway.url}/health", trust_env=False)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with raw.connect(gateway.port) as plain, pytest.raises((ssl.SSLError, OSError)):
        old.wrap_socket(plain)
    eventually(lambda: rejected(gateway, "tls_handshake") >= 2, "both are counted")


def test_plain_http_is_told_so(gateway: Gateway):
    answer = raw.exchange(gateway.port, raw.chat_head("sk-air-nothing", 100_000) + b"x" * 100_000)
    assert answer.status == 400
    assert json.loads(answer.text.split("\r\n\r\n", 1)[1])["error"]["code"] == "tls_required"
    assert raw.exchange(gateway.port, b"\0" * 300).status == 0


def test_many_streams_on_one_connection(gateway: Gateway, simulator: Simulator):
    client = gateway.new_account(credit="1000")
    request = body(sim=SLOW | {"completion_tokens": 20, "chunks": 20}, stream=True)

    async def read_one(http: httpx2.AsyncClient, everyone_reads: asyncio.Barrier) -> str:
        async with http.stream("POST", "/v1/chat/completions", json=request) as response:
            assert (response.status_code, response.http_version) == (200, "HTTP/2")
            lines = response.aiter_lines()
            first = json.loads((await anext(lines)).removeprefix("data: "))
            await everyone_reads.wait()
            rest = [line async for line in lines if line]
            assert rest[-1] == "data: [DONE]"
            return first["id"]

    async def read_all() -> list[str]:
        everyone_reads = asyncio.Barrier(STREAMS + 1)
        limits = httpx2.Limits(max_connections=1)
        headers = {"authorization": f"Bearer {client.key}"}
        async with httpx2.AsyncClient(
            base_url=gateway.url,
            headers=headers,
            verify=gateway.verify,
            http2=True,
            limits=limits,
            timeout=120,
            trust_env=False,
        ) as http:
            reading = [asyncio.ensure_future(read_one(http, everyone_reads)) for _ in range(STREAMS)]
            await everyone_reads.wait()
            # One that an earlier test has closed may be counted a moment longer.
            is_one = lambda: gateway.metric("airouter_open_connections") == 1  # noqa: E731
            await asyncio.to_thread(eventually, is_one, "all are on one connection")
            return await asyncio.gather(*reading)

    ids = asyncio.run(read_all())
    events = client.settled(STREAMS)
    assert sorted(event.generation_id for event in events) == sorted(set(ids))
    billed = simulator.generations()
    assert sum(event.list_usd for event in events) == sum(billed[generation].cost for generation in ids)


def test_who_leaves_one_stream_stays_on_the_others(account: Account, simulator: Simulator, tls: Tls):
    client = RawHttp2(account.gateway.port, tls.authority.context("h2"))
    request = json.dumps(body(sim=SLOW, stream=True)).encode()
    kept, left = (client.ask("POST", "/v1/chat/completions", account.key, request) for _ in range(2))
    client.read_until(lambda: client.data(kept) and client.data(left))
    client.reset(left)
    client.read_until(lambda: client.has_ended(kept))
    assert client.data(kept).endswith(b"data: [DONE]\n\n")
    client.close()
    events = account.settled(2)
    assert sorted(event.ending for event in events) == ["client_gone", "complete"]
    [gone] = [event for event in events if event.ending == "client_gone"]
    generation = simulator.generation(gone.generation_id)
    assert generation.state == "cancelled"
    assert gone.charged_nanos == price_of(generation.cost)


def test_a_certificate_is_exchanged_while_a_stream_runs(account: Account, tls: Tls):
    gateway = account.gateway
    before = tls.served_by(gateway)
    with (
        account.http(http2=True) as http,
        http.stream(
            "POST",
            "/v1/chat/completions",
            json=body(sim={"completion_tokens": 40, "chunks": 40, "chunk_ms": 250}, stream=True),
        ) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        tls.renew()
        eventually(lambda: tls.served_by(gateway) != before, "new connections see the new certificate")
        *_, last = (line for line in lines if line)
        assert last == "data: [DONE]"
    assert account.settled(1)[0].ending == "complete"
    expiry = ssl.cert_time_to_seconds(tls.served_by(gateway)["notAfter"])
    assert gateway.metric("airouter_certificate_expiry_timestamp_seconds") == expiry


def test_a_broken_certificate_changes_nothing(gateway: Gateway, tls: Tls):
    alarm = 'airouter_alarms_total{kind="certificate_refused"}'
    good, alarms = tls.served_by(gateway), gateway.metric(alarm)
    broken = tls.chain.with_suffix(".broken")
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    # In one step: half of it would be another thing that is wrong.
    broken.replace(tls.chain)
    eventually(lambda: gateway.metric(alarm) == alarms + 1, "the operator is told")
    assert tls.served_by(gateway) == good
    tls.renew()
    eventually(lambda: tls.served_by(gateway) != good, "a good one is taken again")
    assert gateway.metric(alarm) <= alarms + 2, "told once for each thing that is wrong"


def closed_after(connection: socket.socket) -> float:
    """How long the other side takes to close, whatever it says before."""
    began = time.monotonic()
    connection.settimeout(PATIENCE_SECONDS)
    with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
        while connection.recv(65536):
            pass
    return time.monotonic() - began


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
# A frame of headers that does not say that they are complete.
HALF_HEADERS = b"\0\0\1\1\0\0\0\0\1\x82"
HALF_BODY = raw.CHAT.encode() + b"content-length: 5000\r\n\r\n{"
NOT_FOUND = b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n"
SILENT = {
    "no handshake": (None, b""),
    "half a handshake": (None, b"\x16\x03\x01\x02\x00\x01"),
    "no request": ("http/1.1", b""),
    "half a head": ("http/1.1", raw.CHAT.encode()),
    "nothing more": ("http/1.1", NOT_FOUND),
    "no preface": ("h2", b""),
    "no stream": ("h2", PREFACE),
    "half of the headers": ("h2", PREFACE + HALF_HEADERS),
}


@pytest.mark.parametrize(("protocol", "data"), SILENT.values(), ids=SILENT)
def test_who_falls_silent_is_disconnected(impatient: Gateway, tls: Tls, protocol: str | None, data: bytes):
    with raw.connect(impatient.port) if protocol is None else tls.connect(impatient, protocol) as connection:
        if protocol is not None:
            assert connection.selected_alpn_protocol() == protocol
        connection.sendall(data)
        assert closed_after(connection) < PATIENCE_SECONDS


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_half_a_body_is_not_waited_for(impatient: Gateway, tls: Tls, protocol: str):
    account = impatient.new_account()
    if protocol == "h2":
        client = RawHttp2(impatient.port, tls.authority.context("h2"))
        stream = client.http.get_next_available_stream_id()
        headers = {":method": "POST", ":scheme": "https", ":authority": "x", ":path": "/v1/chat/completions"}
        client.http.send_headers(stream, [*headers.items(), ("authorization", f"Bearer {account.key}")])
        client.http.send_data(stream, b"{")
        client.flush()
        client.read_until(lambda: client.status(stream))
        assert client.status(stream) == 408
        client.close()
        return
    with tls.connect(impatient) as connection:
        connection.sendall(raw.chat_head(account.key, 5000) + b"{")
        assert raw.read_to_end(connection).status == 408


def test_who_does_not_read_one_stream_loses_that_one(impatient: Gateway, tls: Tls, simulator: Simulator):
    account = impatient.new_account()
    large = json.dumps(body(sim={"event_bytes": 8 * MEBIBYTE}, stream=True)).encode()
    slow = json.dumps(body(sim={"completion_tokens": 80, "chunks": 80, "chunk_ms": 100}, stream=True)).encode()
    client = RawHttp2(impatient.port, tls.authority.context("h2"))
    # The connection has room for more, the stream has not.
    client.http.increment_flow_control_window(4 * MEBIBYTE)
    stalled = client.ask("POST", "/v1/chat/completions", account.key, large)
    read = client.ask("POST", "/v1/chat/completions", account.key, slow)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(client.read_until, lambda: client.has_ended(read))
        [gone] = account.settled(1)
        assert gone.ending == "client_gone", "while the other one still runs"
        assert not client.has_ended(read)
        reading.result()
    assert client.status(stalled) == 200
    assert client.data(read).endswith(b"data: [DONE]\n\n")
    client.close()
    complete = next(event for event in account.settled(2) if event.ending == "complete")
    for event in (gone, complete):
        assert event.charged_nanos == price_of(simulator.generation(event.generation_id).cost)
    eventually(lambda: account.balance().reserved_nanos == 0, "nothing stays held")


def test_who_only_opens_and_resets_is_disconnected(impatient: Gateway, tls: Tls):
    """Rapid reset (CVE-2023-44487)."""
    client = RawHttp2(impatient.port, tls.authority.context("h2"))
    headers = [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/v1/models")]
    for _ in range(100):
        stream = client.http.get_next_available_stream_id()
        client.http.send_headers(stream, headers, end_stream=True)
        client.http.reset_stream(stream)
    client.flush()
    client.read_until(lambda: False)
    assert not client.is_open
    assert client.ended_with() == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
    client.close()
    assert impatient.is_ready()


def test_an_idle_http2_connection_does_not_delay_the_end(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, tls: Tls
):
    directory = tmp_path_factory.mktemp("stopped")
    with running_gateway(directory, simulator, None, tls.authority.context(), **tls.settings()) as gateway:
        http = gateway.new_account().http(http2=True)
        assert http.get("/v1/models").http_version == "HTTP/2"
        # It answers no ping: nobody reads from an idle connection of a pool.
        began = time.monotonic()
        gateway.stop()
        assert time.monotonic() - began < PATIENCE_SECONDS
        http.close()


# Proxies.


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Gateway]:
    """Behind a proxy that writes headers of HTTP; with a limit for each address."""
    settings = {"AIROUTER_TRUSTED_PROXIES": f"{PROXY}, 10.0.0.0/8", "AIROUTER_CONNECTIONS_PER_ADDRESS": "3"}
    with running_gateway(tmp_path_factory.mktemp("behind"), simulator, None, **settings) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Gateway]:
    """Behind a load balancer that speaks the PROXY protocol."""
    settings = {
        "AIROUTER_TRUSTED_PROXIES": PROXY,
        "AIROUTER_PROXY_PROTOCOL": "on",
        "AIROUTER_CONNECTIONS_PER_ADDRESS": "2",
    }
    with running_gateway(tmp_path_factory.mktemp("balanced"), simulator, None, **settings) as gateway:
        yield gateway


def connect_from(gateway: Gateway, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=30, source_address=(source, 0))


def enter(connection: socket.socket, before: bytes = b"") -> socket.socket:
    """Has a first answer on it, and leaves it open."""
    connection.sendall(before + NOT_FOUND)
    assert connection.recv(65536).startswith(b"HTTP/1.1 404")
    return connection


def ask(connection: socket.socket, *headers: str, before: bytes = b"") -> raw.RawAnswer:
    """A request without a key."""
    lines = ["GET /v1/models HTTP/1.1", "host: x", "connection: close", *headers]
    raw.send_all_or_closed(connection, before + "\r\n".join([*lines, "", ""]).encode())
    return raw.read_to_end(connection)


def client_in_log(gateway: Gateway, answer: raw.RawAnswer) -> str:
    """From where a request came, as the log says."""
    assert answer.status == 401, answer.text
    [request] = [line.split(": ")[1] for line in answer.text.splitlines() if line.startswith("x-request-id: ")]
    line = eventually(lambda: [line for line in gateway.log_lines() if request in line], "its line")[0]
    return json.loads(line)["client"]


FORWARDED = {
    "nothing": ([], "127.0.0.1", PROXY),
    "a list": (["x-forwarded-for: 1.1.1.1, 192.0.2.7"], "127.0.0.1", "192.0.2.7"),
    "a list through another proxy": (
        ["x-forwarded-for: 1.1.1.1", "X-Forwarded-For: 192.0.2.7, 10.1.1.1"],
        "127.0.0.1",
        "192.0.2.7",
    ),
    "the standard": (['forwarded: for=1.1.1.1, for="[2001:db8::7]:80";proto=https'], "127.0.0.1", "2001:db8::7"),
    "both, one forged": (["x-forwarded-for: 192.0.2.7", "forwarded: for=1.1.1.1"], "127.0.0.1", PROXY),
    "nonsense": (["x-forwarded-for: ;drop table"], "127.0.0.1", PROXY),
}


@pytest.mark.parametrize(("headers", "direct", "proxied"), FORWARDED.values(), ids=FORWARDED)
def test_only_trusted_proxies_say_who_asks(behind: Gateway, headers: list[str], direct: str, proxied: str):
    for source, client in (("127.0.0.1", direct), (PROXY, proxied)):
        with connect_from(behind, source) as connection:
            assert client_in_log(behind, ask(connection, *headers)) == client


def test_the_line_of_a_served_request_says_so_too(behind: Gateway):
    account = behind.new_account()
    data = json.dumps(body()).encode()
    with connect_from(behind, PROXY) as connection:
        connection.sendall(raw.chat_head(account.key, len(data), "x-forwarded-for: 192.0.2.7") + data)
        assert raw.read_to_end(connection).status == 200

    def clients() -> list[str]:
        lines = [json.loads(line) for line in behind.log_lines() if '"message":"request"' in line]
        return [line["client"] for line in lines]

    # The log is written beside the answer.
    eventually(lambda: clients() == ["192.0.2.7"], "the line is there")


def test_connections_of_one_address_are_limited(behind: Gateway):
    source = "127.0.0.9"
    before = rejected(behind, "address_limit")
    with contextlib.ExitStack() as open_sockets:
        held = [open_sockets.enter_context(enter(connect_from(behind, source))) for _ in range(3)]
        with connect_from(behind, source) as refused:
            assert ask(refused).status == 0
        assert rejected(behind, "address_limit") == before + 1
        with connect_from(behind, "127.0.0.8") as other:
            assert ask(other).status == 401
        # Proxies are not counted.
        proxies = [open_sockets.enter_context(connect_from(behind, PROXY)) for _ in range(5)]
        assert [ask(proxy).status for proxy in proxies] == [401] * 5
        held[0].close()

        def is_let_in() -> bool:
            with connect_from(behind, source) as connection:
                return ask(connection).status == 401

        eventually(is_let_in, "a place that is left is free")


def version_2(source: str | None) -> bytes:
    if source is None:
        return SIGNATURE + b"\x20\0\0\0"
    addresses = socket.inet_aton(source) + socket.inet_aton("10.0.0.1") + b"\x10\0\1\xbb"
    extension = b"\x04\0\3abc"
    return SIGNATURE + b"\x21\x11" + (len(addresses) + len(extension)).to_bytes(2, "big") + addresses + extension


HEADERS = {
    "version 1": (b"PROXY TCP4 192.0.2.7 10.0.0.1 4096 443\r\n", "192.0.2.7"),
    "version 1, IPv6": (b"PROXY TCP6 2001:db8::7 ::1 4096 443\r\n", "2001:db8::7"),
    "version 1, unknown": (b"PROXY UNKNOWN\r\n", PROXY),
    "version 2": (version_2("192.0.2.7"), "192.0.2.7"),
    "version 2, its own": (version_2(None), PROXY),
}


@pytest.mark.parametrize(("header", "client"), HEADERS.values(), ids=HEADERS)
def test_a_load_balancer_says_whose_connection_it_is(balanced: Gateway, header: bytes, client: str):
    with connect_from(balanced, PROXY) as connection:
        # Headers of HTTP are a client's own here.
        answer = ask(connection, "x-forwarded-for: 1.1.1.1", before=header)
        assert client_in_log(balanced, answer) == client


def test_the_header_is_required_of_the_load_balancer_and_refused_from_others(balanced: Gateway):
    before = rejected(balanced, "proxy_header")
    with connect_from(balanced, PROXY) as connection:
        assert ask(connection).status == 0
    with connect_from(balanced, PROXY) as connection:
        assert ask(connection, before=b"PROXY TCP4 nobody 10.0.0.1 1 2\r\n").status == 0
    assert rejected(balanced, "proxy_header") == before + 2
    for header, _ in HEADERS.values():
        with connect_from(balanced, "127.0.0.1") as connection:
            assert ask(connection, before=header).status in (0, 400)
    with connect_from(balanced, "127.0.0.1") as connection:
        assert client_in_log(balanced, ask(connection)) == "127.0.0.1"


def test_addresses_behind_a_load_balancer_are_counted_apart(balanced: Gateway):
    def status(source: str) -> int:
        with connect_from(balanced, PROXY) as connection:
            return ask(connection, before=version_2(source)).status

    def entered() -> socket.socket:
        return enter(connect_from(balanced, PROXY), before=version_2("192.0.2.20"))

    with entered(), entered():
        assert status("192.0.2.20") == 0
        assert status("192.0.2.21") == 401
