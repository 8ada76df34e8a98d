"""Routers that resell a router: what a client sees through two and three of them, and what each one's books say."""

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import httpx2
import openai
import pytest

from harness.chains import SURFACES, Chain, Databases, Member, events_of, exact, running_chain, sdk
from harness.gateway import Account
from harness.marks import ON_SQLITE
from harness.money import CLIENT_FACTOR, NANOS, decimal_text, nanos, usd
from harness.polling import eventually
from harness.raw import chat_head, connect
from harness.requests import assert_says_nothing_of_the_upstream, body, chat
from harness.simulator import Simulator

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": PLACE}}
SLOW = {"completion_tokens": 40, "chunks": 40, "chunk_ms": 50}
ON_BOTH_SURFACES = pytest.mark.parametrize("surface", SURFACES)
THROUGH = pytest.mark.parametrize("depth", [2, 3])
DELIVERIES = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
MODELS = pytest.mark.parametrize("model", ["sim/small", "sim/groq"], ids=["stops", "runs_on"])


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, store: Databases) -> Iterator[Chain]:
    """Three routers, each on a database of its own."""
    settings = {"AIROUTER_CREDIT_SECONDS": "1"}
    with running_chain(tmp_path_factory.mktemp("chain"), simulator, store, **settings) as chain:
        yield chain


@pytest.fixture(autouse=True)
def books_agree(chain: Chain) -> Iterator[None]:
    """After each test every router's books agree with the next one's."""
    yield
    chain.check_books()


def client_of(chain: Chain, depth: int, credit: str = "10") -> Account:
    """A new client of the router after so many."""
    return chain.members[depth - 1].new_account(credit)


def assert_charged(chain: Chain, depth: int, client: Account, generation: str) -> None:
    """Each router charged its client its own price, which follows from what the simulator billed."""
    prices = chain.prices(chain.simulator.generation(generation).cost)[:depth]
    [event] = [event for event in client.settled(1) if event.generation_id == generation]
    assert event.charged_nanos == event.price_nanos == prices[-1] > 0
    assert event.list_usd * NANOS == event.cost_nanos == prices[-2]
    assert client.balance().balance_nanos == 10 * NANOS - prices[-1]


@THROUGH
@ON_BOTH_SURFACES
def test_an_answer_in_one_piece(chain: Chain, depth: int, surface: str):
    client = client_of(chain, depth)
    answer = sdk(client, surface).chat.completions.create(**chat(sim={"text": "Grüße, 世界!", "completion_tokens": 7}))
    assert answer.object == "chat.completion"
    assert answer.model == "sim/small"
    [choice] = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Grüße, 世界!")
    assert choice.finish_reason == "stop"
    billed = chain.simulator.generation(answer.id)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (billed.prompt_tokens, 7)
    assert_charged(chain, depth, client, answer.id)


@THROUGH
@ON_BOTH_SURFACES
def test_a_stream(chain: Chain, depth: int, surface: str):
    text = "Ein Satz mit Umlauten: äöü, 世界, 🦀."
    client = client_of(chain, depth)
    request = chat(sim={"text": text, "chunks": 12}, stream_options={"include_usage": True})
    chunks = list(sdk(client, surface).chat.completions.create(**request, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert next(c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason) == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    assert len([chunk for chunk in chunks if chunk.usage]) == 1
    assert_charged(chain, depth, client, chunks[0].id)


@ON_BOTH_SURFACES
@DELIVERIES
def test_the_price_that_a_client_sees_is_its_own(chain: Chain, surface: str, stream: bool):
    """To the last digit, through three roundings."""
    client = client_of(chain, 3)
    request = body(sim={"cost": "0.000012345678", "completion_tokens": 9}, stream=stream)
    request |= {"stream_options": {"include_usage": True}} if stream else {}
    with client.http() as http:
        answer = http.post(f"{surface}/chat/completions", json=request)
    assert answer.status_code == 200, answer.text
    texts = events_of(answer.text)[:-1] if stream else [answer.text]
    objects = [json.loads(text, parse_float=usd, parse_int=usd) for text in texts]
    [usage] = [found["usage"] for found in objects if found.get("usage")]
    first = nanos(usd("0.000012345678") * CLIENT_FACTOR)
    second = nanos(Fraction(first, NANOS) * Fraction(11, 10))
    third = nanos(Fraction(second, NANOS) * Fraction(1333, 1000))
    assert nanos(usage["cost"]) == third
    for word in ("sk-or-", "sk-air-", "cost_details", "user_id", "openrouter.ai", chain.members[0].gateway.url):
        assert word not in answer.text + str(answer.headers)
    assert client.settled(1)[0].charged_nanos == third


@DELIVERIES
def test_a_tool_call(chain: Chain, stream: bool):
    client = client_of(chain, 3)
    request = chat(tools=[WEATHER], tool_choice="required", sim={"chunks": 8})
    if stream:
        chunks = list(sdk(client).chat.completions.create(**request, stream=True))
        calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
        name, arguments = calls[0].function.name, "".join(call.function.arguments or "" for call in calls)
        generation = chunks[0].id
        assert len(calls) > 2
    else:
        answer = sdk(client).chat.completions.create(**request)
        [call] = answer.choices[0].message.tool_calls
        name, arguments, generation = call.function.name, call.function.arguments, answer.id
    assert name == "get_weather"
    assert set(json.loads(arguments)) == {"city"}
    assert_charged(chain, 3, client, generation)


@THROUGH
@MODELS
@pytest.mark.parametrize("chunks", [3, 30])
def test_a_client_leaves_a_stream(chain: Chain, depth: int, model: str, chunks: int):
    """Whoever is behind it is told, and each is charged what the one before it was."""
    client = client_of(chain, depth)
    with sdk(client).chat.completions.create(**chat(model, SLOW), stream=True) as stream:
        for index, chunk in enumerate(stream, 1):
            generation = chunk.id
            if index == chunks:
                break
    eventually(lambda: client.events(), "it is found out", 30)
    assert client.events()[0].ending == "client_gone"
    assert_charged(chain, depth, client, generation)
    billed = chain.simulator.generation(generation)
    if model == "sim/small":
        assert billed.state == "cancelled"
        assert billed.completion_tokens < 40
    else:
        assert billed.completion_tokens == 40


@THROUGH
@DELIVERIES
def test_a_client_leaves_before_the_answer_begins(chain: Chain, depth: int, stream: bool):
    client = client_of(chain, depth)
    with pytest.raises(openai.APITimeoutError):
        sdk(client, timeout=1).chat.completions.create(**chat(sim=SLOW | {"first_ms": 3000}), stream=stream)
    eventually(lambda: chain.simulator.running() == 0, "the upstream is done", 20)
    if not stream:
        assert client.settled(1)[0].completion_tokens == 40


@THROUGH
@ON_BOTH_SURFACES
@pytest.mark.parametrize("kind", ["mid_stream", "reset", "half_event"])
@pytest.mark.parametrize("billed", [True, False], ids=["billed", "free"])
def test_a_stream_that_fails(chain: Chain, depth: int, surface: str, kind: str, billed: bool):
    """What came, then an error; what the upstream billed is charged at each router, and nothing else."""
    client = client_of(chain, depth)
    sim = {"error": {"kind": kind, "after": 3, "billed": billed}, "completion_tokens": 30, "chunks": 10}
    with client.http() as http:
        answer = http.post(f"{surface}/chat/completions", json=body(sim=sim, stream=True))
    assert answer.status_code == 200
    events = [json.loads(event) for event in events_of(answer.text) if event != "[DONE]"]
    assert "error" in events[-1]
    assert not [event for event in events[:-1] if "error" in event]
    assert_says_nothing_of_the_upstream(answer.text)
    [event] = client.settled(1)
    cost = chain.simulator.generation(event.generation_id).cost
    assert (cost > 0) == billed
    assert event.charged_nanos == chain.prices(cost)[depth - 1]


@THROUGH
@DELIVERIES
@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        ("status:401", {503}),
        ("status:402", {503}),
        ("status:403", {503}),
        ("status:429_provider", {429}),
        ("status:500", {503}),
        ("status:502", {503}),
        ("in_200", {503}),
        ("reset", {503}),
    ],
)
def test_an_upstream_that_fails_before_it_answers(
    chain: Chain, depth: int, stream: bool, kind: str, statuses: set[int]
):
    """Nobody pays; nobody hears of anybody's account but its own; and no router puts aside the one before it."""
    client = client_of(chain, depth)
    with client.http() as http:
        for surface in SURFACES:
            sim = {"error": kind, "completion_tokens": 3}
            answer = http.post(f"{surface}/chat/completions", json=body(sim=sim, stream=stream))
            assert answer.status_code in statuses, answer.text
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert_says_nothing_of_the_upstream(answer.text)
            assert "upstream_" in answer.text
    chain.simulator.restore()

    def is_served() -> bool:
        with client.http() as http:
            return http.post("/v1/chat/completions", json=body()).status_code == 200

    eventually(is_served, "it goes on", 100)


@THROUGH
@ON_BOTH_SURFACES
def test_a_model_that_nobody_has(chain: Chain, depth: int, surface: str):
    client = client_of(chain, depth)
    with pytest.raises(openai.NotFoundError) as refused:
        sdk(client, surface).chat.completions.create(**chat("sim/nothing"))
    assert "sim/nothing" in str(refused.value.body)


@ON_BOTH_SURFACES
def test_a_model_that_a_router_does_not_sell_any_more(chain: Chain, surface: str):
    """The next ones have it in their price lists still: their clients are told what theirs would be told."""
    first = chain.members[0].gateway
    first.command("models", "disable", "sim/large")
    clients = [client_of(chain, depth) for depth in (2, 3)]
    try:
        # Until the change acts, it is served.
        probe = client_of(chain, 2)
        eventually(lambda: status_of(probe, surface, "sim/large") == 404, "it is not on sale", 5)
        for client in clients:
            with pytest.raises(openai.NotFoundError) as refused:
                sdk(client, surface).chat.completions.create(**chat("sim/large"))
            assert "sim/large" in str(refused.value.body)
            assert client.events() == []
    finally:
        first.command("models", "enable", "sim/large")
    eventually(lambda: status_of(clients[1], surface, "sim/large") == 200, "it is on sale again", 5)


def status_of(client: Account, surface: str = "/v1", model: str = "sim/small") -> int:
    with client.http() as http:
        return http.post(f"{surface}/chat/completions", json=body(model)).status_code


@pytest.mark.parametrize("broke", [1, 2], ids=["at_the_first", "at_the_second"])
def test_a_router_that_can_not_pay(chain: Chain, broke: int):
    """Its clients are told nothing of its account; it asks no more, and goes on soon after it has paid."""
    member = chain.members[broke]
    account, client = member.buys_as, client_of(chain, 3)
    balance = account.balance().balance_nanos
    account.credit(f"-{decimal_text(balance)}")
    eventually(lambda: status_of(client) == 503, "it can't pay", 10)
    with client.http() as http:
        for surface in SURFACES:
            answer = http.post(f"{surface}/chat/completions", json=body())
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert "upstream_unavailable" in answer.text
            for word in ("balance", "quota", "top up", "credit", "afford"):
                assert word not in answer.text.lower(), answer.text
    credit = f'airouter_master_account_credit_nanodollars{{master_account="{master_of(member)}"}}'
    eventually(lambda: member.gateway.metric(credit) <= 0, "its credit is followed", 10)
    account.credit(decimal_text(balance))
    eventually(lambda: status_of(client) == 200, "it goes on", 20)


def master_of(member: Member) -> str:
    [(name,)] = member.gateway.database.rows("SELECT name FROM master_accounts")
    return name


def test_a_client_that_can_not_pay(chain: Chain):
    """Its own router says so, and asks nobody."""
    client = client_of(chain, 3, credit="0")
    before = chain.simulator.books()["requests"]
    with pytest.raises(openai.APIStatusError) as refused:
        sdk(client).chat.completions.create(**chat())
    assert refused.value.status_code == 402
    assert chain.simulator.books()["requests"] == before


def test_price_lists_are_the_prices_that_the_next_one_pays(chain: Chain):
    """Each router's price list is made of what the one before it tells its client, to the last digit."""
    factor = CLIENT_FACTOR
    with httpx2.Client(trust_env=False) as http:
        listing = http.get(f"{chain.simulator.base_url}/models?output_modalities=all").json()["data"]
    lists = {model["id"]: model["pricing"] for model in listing}
    for member in chain.members:
        factor *= 1 + usd(member.markup) if member.markup else 1
        account = member.new_account("1")
        with account.http() as http:
            shown = {model["id"]: model["pricing"] for model in http.get("/api/v1/models").json()["data"]}
        assert {"sim/small", "sim/one-dollar", "openrouter/auto"} <= set(shown)
        for model, pricing in shown.items():
            for name in ("prompt", "completion"):
                price, given = usd(lists[model][name]), usd(pricing[name])
                assert given == (price * factor if price >= 0 else price), (model, name)


def test_what_is_told_and_what_is_not(chain: Chain):
    """The bounds of prices are the first router's own at the end; nobody sees anybody else's clients."""
    client, other = client_of(chain, 3), client_of(chain, 3)
    seen = []
    for account in (client, other):
        sdk(account).chat.completions.create(**chat("sim/one-dollar", user="mail@example.com"))
        headers, text = chain.simulator.last_request()
        assert headers["authorization"] == f"Bearer {chain.simulator.keys[0]}"
        assert not [name for name in headers if name.startswith("x-airouter")]
        for word in ("mail@example.com", account.key, "sk-air-"):
            assert word not in text + str(headers)
        seen.append(json.loads(text))
    assert seen[0]["user"] == seen[1]["user"], "the second router is one client of the first"
    direct = chain.members[0].new_account("1")
    sdk(direct).chat.completions.create(**chat("sim/one-dollar"))
    assert seen[0]["provider"]["max_price"] == chain.simulator.last_body()["provider"]["max_price"]
    assert seen[0]["user"] != chain.simulator.last_body()["user"]


def test_a_bound_of_the_clients_own_holds_at_the_upstream(chain: Chain):
    """A client bounds what it pays; each router passes on what that is at its own prices."""
    client = client_of(chain, 3)
    # What $1 a million tokens costs at the end of the chain, and half of that.
    price = usd("0.8") * usd("1.1") * usd("1.333")
    bounds = {}
    for share in (Fraction(1), Fraction(1, 2)):
        limit = {"prompt": float(price * share), "completion": float(price * share)}
        request = body("sim/one-dollar", provider={"max_price": limit})
        with client.http() as http:
            http.post("/v1/chat/completions", json=request)
        bounds[share] = chain.simulator.last_body()["provider"]["max_price"]
    assert abs(usd(bounds[Fraction(1)]["prompt"]) - 1) < Fraction(1, 10**6)
    assert abs(usd(bounds[Fraction(1, 2)]["prompt"]) - Fraction(1, 2)) < Fraction(1, 10**6)


def test_a_rate_limit_passes_with_its_time(chain: Chain):
    """Of the account that the second router has at the first: that is put aside until then."""
    account, client = chain.members[1].buys_as, client_of(chain, 3)
    account.set_limit("requests_per_minute", 1)
    try:
        eventually(lambda: status_of(client) == 429, "the limit acts", 10)
        with client.http() as http:
            answer = http.post("/v1/chat/completions", json=body())
        assert answer.status_code == 429
        assert 1 < int(answer.headers["retry-after"]) <= 60
        assert "upstream_rate_limited" in answer.text
    finally:
        account.set_limit("requests_per_minute", None)
        # A pause ends what was held against it.
        gateway, master = chain.members[1].gateway, master_of(chain.members[1])
        gateway.command("master-accounts", "pause", master)
        eventually(lambda: status_of(client) == 503, "it is paused", 5)
        gateway.command("master-accounts", "resume", master)
    eventually(lambda: status_of(client) == 200, "it goes on", 20)


def test_a_generation_that_is_not_found_out_yet(chain: Chain):
    """A router says that it will know, and then what was charged."""
    client = client_of(chain, 2)
    sim = {"usage": "none", "generation_delay_ms": 4000, "completion_tokens": 12}
    with client.http() as http:
        answer = http.post("/api/v1/chat/completions", json=body(sim=sim, stream=True))
        generation = json.loads(events_of(answer.text)[0])["id"]
        account = chain.members[1].buys_as
        for owner in (client, account):
            with owner.http() as asking:
                pending = asking.get(f"/api/v1/generation?id={generation}")
            assert pending.status_code == 404
            assert pending.json()["error"]["metadata"]["error_type"] == "generation_pending"
            assert pending.headers["retry-after"] == "1"
        unknown = http.get("/api/v1/generation?id=gen-1-unknown")
        assert unknown.status_code == 404
        assert "retry-after" not in unknown.headers
    client.settled(1)
    prices = chain.prices(chain.simulator.generation(generation).cost)
    for owner, price in ((account, prices[0]), (client, prices[1])):
        assert nanos(exact(owner, f"/api/v1/generation?id={generation}")["total_cost"]) == price > 0


@THROUGH
def test_the_head_of_a_slow_answer_goes_ahead(chain: Chain, depth: int):
    """On OpenRouter's surface, with the generation's id; so that who resells it knows it too."""
    client = client_of(chain, depth)
    slow = {"completion_tokens": 30, "chunks": 30, "chunk_ms": 100}
    with client.http() as http, http.stream("POST", "/api/v1/chat/completions", json=body(sim=slow)) as answer:
        assert answer.status_code == 200
        generation = answer.headers["x-generation-id"]
        assert chain.simulator.running() == 1, "the head came before the answer"
        assert answer.headers["x-airouter-hold"]
        text = "".join(answer.iter_text())
    assert json.loads(text)["id"] == generation
    assert_charged(chain, depth, client, generation)


def test_an_answer_that_fails_behind_its_head(chain: Chain):
    """Is an error inside the 200; it costs nothing."""
    client = client_of(chain, 1)
    sim = {"error": {"kind": "reset", "after": 10, "billed": False}, "completion_tokens": 20, "chunks": 20}
    with client.http() as http:
        answer = http.post("/api/v1/chat/completions", json=body(sim=sim | {"chunk_ms": 100}))
    assert answer.status_code == 200
    assert answer.json()["error"]["code"] == 503
    assert client.events() == []
    eventually(lambda: client.balance().reserved_nanos == 0, "holds and leases return")


def test_a_router_that_is_its_own_upstream(chain: Chain, tmp_path: Path):
    """A request goes round so often and no further; nothing is charged."""
    last = chain.members[-1]
    client = client_of(chain, 3)
    # Its own account with itself, as a second master account that is better than the first.
    itself = client_of(chain, 3)
    key = tmp_path / "key"
    key.write_text(itself.key)
    address = f"{last.gateway.url}/api/v1"
    last.gateway.command(
        "master-accounts", "add", "--name=itself", f"--base-url={address}", "--discount=50", f"--key-file={key}"
    )
    try:
        eventually(lambda: status_of(client) == 508, "it asks itself", 10)
        other = client_of(chain, 3)
        assert status_of(other) == 508
        assert (other.events(), itself.events()) == ([], [])
    finally:
        last.gateway.command("master-accounts", "pause", "itself")
    eventually(lambda: status_of(client) == 200, "it asks the one before it", 10)


@pytest.mark.parametrize("depth", [2, 3])
def test_a_router_that_reads_on(chain: Chain, depth: int):
    """Where a client leaves, its router hangs up; the first one reads on by its plan, and charges for all of it."""
    first, account = chain.members[0].gateway, chain.members[1].buys_as
    plan = {"rule": {"rule": "percent_of_list", "factor": "0.8"}, "policy": {"disconnect": {"otherwise": "drain"}}}
    file = first.data / f"drain-{depth}.json"
    file.write_text(json.dumps(plan))
    first.command("plans", "create", f"drain-{depth}", f"--file={file}")
    first.command("accounts", "set-plan", f"--email={account.email}", f"drain-{depth}")

    def all_is_read() -> bool:
        client = client_of(chain, depth)
        with sdk(client).chat.completions.create(**chat(sim=SLOW), stream=True) as stream:
            generation = next(next(iter(stream)).id for _ in range(3))
        [event] = client.settled(1)
        assert event.generation_id == generation
        assert event.ending == "client_gone"
        return event.completion_tokens == 40

    try:
        eventually(all_is_read, "the plan acts", 20)
    finally:
        first.command("accounts", "set-plan", f"--email={account.email}", "default")


@ON_SQLITE
def test_silence_is_kept_alive_all_the_way(chain: Chain):
    """Nothing comes from the upstream for 26 s: what each router says meanwhile keeps the next one waiting."""
    client = client_of(chain, 3)
    sim = {"first_ms": 26_000, "completion_tokens": 3}

    def ask(surface: str, stream: bool) -> httpx2.Response:
        with client.http() as http:
            return http.post(f"{surface}/chat/completions", json=body(sim=sim, stream=stream))

    with ThreadPoolExecutor(3) as pool:
        streamed = pool.submit(ask, "/v1", True)
        whole = [pool.submit(ask, surface, False) for surface in SURFACES]
        assert streamed.result().text.startswith(": AIROUTER PROCESSING\n\n")
        assert events_of(streamed.result().text)[-1] == "[DONE]"
        for answer in whole:
            assert answer.result().json()["choices"]
    assert len(client.settled(3)) == 3


def test_many_at_once_are_each_charged_once(chain: Chain):
    """Answers of both kinds by the dozen, some of them left."""
    client = client_of(chain, 3, credit="100")
    request = json.dumps(body(sim=SLOW | {"chunk_ms": 20}, stream=True)).encode()
    with contextlib.ExitStack() as stack:
        for index in range(30):
            connection = stack.enter_context(connect(client.gateway.port))
            connection.sendall(chat_head(client.key, len(request)) + request)
            connection.recv(64 + 100 * index)
    eventually(lambda: len(client.events()) == 30, "all are found out", 60)
    generations = [event.generation_id for event in client.events()]
    assert len(set(generations)) == 30
