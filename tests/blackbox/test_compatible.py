"""A compatible server as a second kind of upstream: in the same pool, priced by tokens and a table of its own."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from harness.compatible import KEY, OWN, REASONING, SMALL, Spare, list_cost, models_of, wait_for_model
from harness.database import Database, Event
from harness.gateway import Account, Gateway, running_gateway
from harness.load import Load, ended, wait_for_more
from harness.polling import eventually
from harness.replicas import revive
from harness.requests import UPSTREAM_WORDS, body, chat
from harness.simulator import MASTER_KEY, Simulator, running_simulator

QUICK = {"completion_tokens": 5}


@pytest.fixture(scope="module")
def spare_simulator(directory: Path) -> Iterator[Simulator]:
    with running_simulator(directory, (KEY,), speaks="compatible") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, database: Database | None
) -> Iterator[Gateway]:
    settings = {"AIROUTER_FIRST_HEADERS_SECONDS": "1"}
    with running_gateway(tmp_path_factory.mktemp("gateway"), simulator, database, **settings) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory, gateway: Gateway, spare_simulator: Simulator) -> Spare:
    spare = Spare(gateway, spare_simulator, tmp_path_factory.mktemp("spare"))
    spare.add()
    printed = spare.price(own__model=OWN, sim__small=SMALL)
    assert printed == "MODELS=2\nNEW_PRICES=2\n"
    wait_for_model(gateway.new_account(), "own/model")
    return spare


@pytest.fixture(autouse=True)
def spare_is_well(spare_simulator: Simulator) -> Iterator[None]:
    yield
    spare_simulator.restore()


def assert_booked(event: Event, spare: Spare, entry: dict) -> None:
    """Priced by tokens and the table, to the nano-dollar."""
    cost = list_cost(entry, event.prompt_tokens, event.completion_tokens, event.cached_tokens)
    assert event.list_usd == cost
    assert (event.cost_nanos, event.price_nanos) == (spare.cost_of(cost), spare.price_of(cost))
    assert (event.charged_nanos, event.loss_reason) == (event.price_nanos, None)
    assert (event.cost_source, event.generation_id) == ("price_book", None)
    assert event.price_nanos <= event.hold_nanos


def test_a_model_that_only_the_server_has(account: Account, spare: Spare):
    completion = account.sdk().chat.completions.create(**chat("own/model", {"cached_tokens": 4, "text": "Hello!"}))
    assert (completion.model, completion.choices[0].message.content) == ("own/model", "Hello!")
    [event] = account.settled(1)
    assert (event.model, event.cached_tokens) == ("own/model", 4)
    assert_booked(event, spare, OWN)
    assert completion.usage.prompt_tokens == event.prompt_tokens
    assert spare.simulator.last_body()["model"] == "gpt-sim-own"


def test_a_stream_has_usage_if_it_was_asked_for(account: Account, spare: Spare):
    client = account.sdk()
    stream = client.chat.completions.create(**chat("own/model", {"text": "Hello!", "chunks": 3}), stream=True)
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello!"
    assert all(chunk.usage is None and chunk.model == "own/model" for chunk in chunks)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *_, last = client.chat.completions.create(**chat("own/model", QUICK, **options))
    events = account.settled(2)
    for event in events:
        assert_booked(event, spare, OWN)
    assert (last.choices, last.model, last.usage.completion_tokens) == ([], "own/model", 5)
    assert round(last.usage.cost * 10**9) == events[-1].price_nanos


def test_tools_are_called(account: Account, spare: Spare):
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    fields = {"tools": [tool], "tool_choice": "required"}
    completion = account.sdk().chat.completions.create(**chat("own/model", {}, **fields))
    [call] = completion.choices[0].message.tool_calls
    assert call.function.name == "weather"
    # What OpenRouter puts into answers comes back with the conversation.
    history = completion.choices[0].message.model_dump() | {"reasoning": "so", "reasoning_details": []}
    messages = [
        *chat()["messages"],
        history,
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    again = account.sdk().chat.completions.create(**chat("own/model", QUICK, messages=messages, tools=[tool]))
    assert again.choices[0].finish_reason == "stop"
    for event in account.settled(2):
        assert_booked(event, spare, OWN)


def test_nothing_that_only_openrouter_knows_is_sent(account: Account, spare: Spare):
    extra = {
        "provider": {"max_price": {"prompt": 50, "completion": 100}},
        "reasoning": {"effort": "low", "exclude": True},
        "usage": {"include": True},
        "transforms": [],
        "route": "fallback",
        "session_id": "s",
        "top_k": 3,
        "x_sim": QUICK,
    }
    account.sdk().chat.completions.create(**chat("own/model", extra_body=extra, user="me", max_tokens=77))
    [event] = account.settled(1)
    assert_booked(event, spare, OWN)
    sent = spare.simulator.last_body()
    assert sorted(sent) == ["max_tokens", "messages", "model", "reasoning_effort", "user", "x_sim"]
    assert (sent["max_tokens"], sent["reasoning_effort"]) == (77, "low")
    assert sent["user"] != "me"


@pytest.mark.usefixtures("spare")
def test_openrouters_surface_names_no_server(account: Account):
    with account.http() as http:
        answer = http.post("/api/v1/chat/completions", json=body("own/model", QUICK))
    assert answer.status_code == 200, answer.text
    told = answer.text + str(answer.headers)
    assert "spare" not in told
    assert "gpt-sim" not in told
    assert not [word for word in UPSTREAM_WORDS if word in told]
    [event] = account.settled(1)
    assert round(answer.json()["usage"]["cost"] * 10**9) == event.price_nanos
    assert answer.json()["model"] == "own/model"


def test_what_it_claims_to_cost_is_not_believed(account: Account, spare: Spare):
    account.sdk().chat.completions.create(**chat("own/model", QUICK | {"cost": "123.0"}))
    [event] = account.settled(1)
    assert_booked(event, spare, OWN)


@pytest.mark.parametrize("usage", ["finish_chunk", "several", "repeated", "empty_choices"])
def test_usage_may_stand_anywhere(account: Account, spare: Spare, usage: str):
    sim = {"completion_tokens": 20, "usage": usage}
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(account.sdk().chat.completions.create(**chat("own/model", sim, **options)))
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [20]
    [event] = account.settled(1)
    assert event.completion_tokens == 20
    assert_booked(event, spare, OWN)


@pytest.mark.usefixtures("spare")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_without_usage_an_answer_is_free_and_an_alarm(account: Account, stream: bool):
    series = 'airouter_alarms_total{kind="usage_missing"}'
    before = account.gateway.metric(series)
    request = chat("own/model", {"text": "Hello!", "usage": "none"})
    if stream:
        chunks = list(account.sdk().chat.completions.create(**request, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello!"
    else:
        answer = account.sdk().chat.completions.create(**request)
        assert (answer.choices[0].message.content, answer.usage) == ("Hello!", None)
    [event] = account.settled(1)
    assert (event.loss_reason, event.price_nanos, event.cost_nanos) == ("unknown", 0, 0)
    assert account.gateway.metric(series) == before + 1
    eventually(lambda: "reports no usage" in account.gateway.log_text(), "the log says so")
    eventually(lambda: account.balance().balance_nanos == 10 * 10**9, "nothing is charged")


def leave_after(account: Account, chunks: int) -> None:
    slow = {"completion_tokens": 30, "chunks": 30, "chunk_ms": 20}
    with account.sdk().chat.completions.create(**chat("own/model", slow), stream=True) as stream:
        for index, _ in enumerate(stream):
            if index == chunks:
                return


def test_what_a_client_leaves_is_read_to_its_end_and_paid(account: Account, spare: Spare):
    leave_after(account, 3)
    [event] = account.settled(1)
    assert (event.ending, event.completion_tokens) == ("client_gone", 30)
    assert_booked(event, spare, OWN)


@pytest.mark.usefixtures("spare")
def test_what_is_cancelled_by_plan_is_a_loss(account: Account, tmp_path: Path):
    plan = {
        "rule": {"rule": "percent_of_list", "factor": "0.8"},
        "policy": {"disconnect": {"providers": {"compatible": "cancel"}}, "allowed_models": ["own/model"]},
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    gateway = account.gateway
    gateway.command("plans", "create", account.email, f"--file={tmp_path / 'plan.json'}")
    gateway.command("accounts", "set-plan", f"--email={account.email}", account.email)
    eventually(lambda: models_of(account) == ["own/model"], "the plan acts", 2)
    leave_after(account, 3)
    [event] = account.settled(1)
    assert (event.ending, event.loss_reason, event.price_nanos) == ("client_gone", "unknown", 0)
    eventually(lambda: account.balance().reserved_nanos == 0, "the hold is back")


@pytest.mark.usefixtures("spare")
def test_one_that_breaks_off_is_a_loss(account: Account):
    sim = {"completion_tokens": 10, "chunks": 10, "error": {"kind": "reset", "after": 5}}
    with pytest.raises(openai.APIError):
        list(account.sdk().chat.completions.create(**chat("own/model", sim), stream=True))
    [event] = account.settled(1)
    assert (event.ending, event.loss_reason, event.price_nanos) == ("upstream_failed", "unknown", 0)
    eventually(lambda: account.balance().reserved_nanos == 0, "the hold is back")


def test_either_serves_a_model_that_both_have(account: Account, spare: Spare, simulator: Simulator):
    """OpenRouter is cheaper; when it is away the other one serves, without a failure."""
    ask = account.sdk().chat.completions.create
    before = spare.requests()
    ask(**chat("sim/small", QUICK))
    assert spare.requests() == before
    simulator.account(MASTER_KEY, state="resetting")
    completion = ask(**chat("sim/small", QUICK))
    assert completion.model == "sim/small"
    first, second = account.settled(2)
    assert (first.cost_source, first.loss_reason) == ("reported", None)
    assert_booked(second, spare, SMALL)
    assert second.model == "sim/small"


def test_only_who_is_bounded_by_the_hold_may_serve(account: Account, spare: Spare, simulator: Simulator):
    """A server that asks more than OpenRouter's price and the plan's tolerance is not asked."""
    spare.price(own__model=OWN, sim__small=SMALL, sim__groq=OWN, added__one=OWN)
    wait_for_model(account, "added/one")
    simulator.account(MASTER_KEY, state="resetting")
    before = spare.requests()
    with pytest.raises(openai.InternalServerError):
        account.sdk().chat.completions.create(**chat("sim/groq", QUICK))
    assert spare.requests() == before
    spare.price(own__model=OWN, sim__small=SMALL)
    assert account.balance().balance_nanos == 10 * 10**9


@pytest.mark.parametrize(
    "extra",
    [{"provider": {"only": ["openai"]}}, {"transforms": ["middle-out"]}, {"plugins": [{"id": "response-healing"}]}],
    ids=["provider", "transforms", "plugins"],
)
def test_what_only_openrouter_does_is_not_asked_of_others(
    account: Account, spare: Spare, simulator: Simulator, extra: dict
):
    ask = account.sdk().chat.completions.create
    before = spare.requests()
    with pytest.raises(openai.NotFoundError) as refused:
        ask(**chat("own/model", QUICK, extra_body=extra))
    assert refused.value.code == "no_endpoint"
    simulator.account(MASTER_KEY, state="resetting")
    with pytest.raises(openai.InternalServerError):
        ask(**chat("sim/small", QUICK, extra_body=extra))
    assert spare.requests() == before
    assert account.events() == []


def test_a_client_may_say_what_it_is_ready_to_pay(account: Account, spare: Spare):
    ask = account.sdk().chat.completions.create
    before = spare.requests()
    with pytest.raises(openai.NotFoundError) as refused:
        ask(**chat("own/model", QUICK, extra_body={"provider": {"max_price": {"completion": 1}}}))
    assert refused.value.code == "no_endpoint"
    assert spare.requests() == before
    eventually(lambda: account.balance().reserved_nanos == 0, "the hold is back")


def test_a_limit_beyond_the_models_own_is_lowered(account: Account, spare: Spare):
    account.sdk().chat.completions.create(**chat("own/model", QUICK, max_tokens=100_000))
    assert spare.simulator.last_body()["max_tokens"] == OWN["max_completion_tokens"]
    assert_booked(account.settled(1)[0], spare, OWN)


def test_openrouter_is_asked_for_what_it_has_of_the_models(account: Account, spare: Spare, simulator: Simulator):
    ask = account.sdk().chat.completions.create
    both = {"extra_body": {"models": ["own/model", "sim/small"]}}
    assert ask(**chat("own/model", QUICK, **both)).model == "own/model"
    spare.fleet("pause", spare.name)
    try:
        eventually(lambda: is_away(account), "the server is paused", 5)
        assert ask(**chat("own/model", QUICK, **both)).model == "sim/small"
        sent = simulator.last_body()
        assert (sent["model"], "models" in sent) == ("sim/small", False)
    finally:
        spare.fleet("resume", spare.name)
        eventually(lambda: not is_away(account), "the server is back", 5)


def is_away(account: Account) -> bool:
    """Whether nobody serves the server's own model."""
    try:
        account.sdk().chat.completions.create(**chat("own/model", QUICK))
    except (openai.InternalServerError, openai.RateLimitError):
        return True
    return False


# What goes wrong at the server, and what that is counted as.
FAULTS = {
    "disabled": "bad_key",
    "key_limited": "bad_key",
    "broke": "no_credit",
    "rate_limited": "account_rate_limited",
    "failing": "server_failed",
    "hanging": "timeout",
    "resetting": "broken",
    "garbage": "bad_answer",
    "error_inside": "server_failed",
}


def faults(gateway: Gateway, spare: Spare, kind: str) -> float:
    return gateway.metric(f'airouter_upstream_faults_total{{kind="{kind}",master_account="{spare.name}"}}')


@pytest.fixture
def preferred(spare: Spare, account: Account) -> Iterator[Spare]:
    """A server that is cheaper than OpenRouter at a model that both have."""
    spare.price(own__model=OWN, sim__large=SMALL, added__two=OWN)
    wait_for_model(account, "added/two")
    yield spare
    spare.price(own__model=OWN, sim__small=SMALL)
    # What was put aside begins anew after a pause.
    spare.simulator.restore()
    spare.fleet("pause", spare.name)
    eventually(lambda: is_away(account), "the server is paused", 5)
    spare.fleet("resume", spare.name)
    eventually(lambda: not is_away(account), "the server is back", 5)


@pytest.mark.parametrize("state", FAULTS)
def test_whatever_is_wrong_with_it_another_serves(account: Account, preferred: Spare, state: str):
    ask = account.sdk().chat.completions.create
    ask(**chat("sim/large", QUICK))
    [first] = account.settled(1)
    assert first.cost_source == "price_book"
    preferred.simulator.account(KEY, state=state)
    before = faults(account.gateway, preferred, FAULTS[state])
    chunks = list(ask(**chat("sim/large", QUICK), stream=True))
    assert {chunk.model for chunk in chunks} == {"sim/large"}
    second = account.settled(2)[1]
    assert (second.cost_source, second.loss_reason) == ("reported", None)
    assert faults(account.gateway, preferred, FAULTS[state]) > before


def test_a_model_that_it_does_not_have_is_served_elsewhere(account: Account, preferred: Spare):
    preferred.price(own__model=OWN, sim__large=SMALL | {"upstream_model": "gpt-nowhere"}, added__three=OWN)
    wait_for_model(account, "added/three")
    before = faults(account.gateway, preferred, "model_not_served")
    account.sdk().chat.completions.create(**chat("sim/large", QUICK))
    assert account.settled(1)[0].cost_source == "reported"
    assert faults(account.gateway, preferred, "model_not_served") == before + 1


@pytest.mark.usefixtures("spare")
def test_what_is_wrong_with_a_request_is_told_without_its_names(account: Account):
    wrong = {"tools": [{"type": "function", "function": {"name": "f"}}]}
    choice = {"type": "function", "function": {"name": "g"}}
    with pytest.raises(openai.BadRequestError) as refused:
        account.sdk().chat.completions.create(**chat("own/model", QUICK, tool_choice=choice, **wrong))
    assert "gpt-sim" not in str(refused.value)
    assert account.events() == []
    assert eventually(lambda: account.balance().reserved_nanos == 0, "the hold is back")


def test_each_model_is_limited_its_own_way(account: Account, spare: Spare):
    spare.price(own__model=OWN, sim__small=SMALL, own__reasoning=REASONING)
    wait_for_model(account, "own/reasoning")
    sim = {"completion_tokens": 50, "reasoning_tokens": 20}
    completion = account.sdk().chat.completions.create(**chat("own/reasoning", sim, max_tokens=30))
    assert completion.choices[0].finish_reason == "length"
    sent = spare.simulator.last_body()
    assert (sent["max_completion_tokens"], "max_tokens" in sent) == (30, False)
    [event] = account.settled(1)
    assert (event.completion_tokens, event.reasoning_tokens) == (30, 20)
    assert_booked(event, spare, REASONING)


def test_bad_tables_change_nothing(account: Account, spare: Spare):
    for entry, told in [
        (OWN | {"prompt": "-1"}, "prompt"),
        (OWN | {"prompt": 0.1}, "expected a string"),
        (OWN | {"image": "1"}, "image"),
        (OWN | {"extra_fields": ["provider"]}, "provider"),
    ]:
        file = spare.directory / "bad.json"
        file.write_text(json.dumps({"own/model": OWN, "bad/one": entry}))
        done = account.gateway.run("master-accounts", "prices", spare.name, f"--file={file}")
        assert done.returncode == 1
        assert "bad/one" in done.stderr
        assert told in done.stderr
    shown = spare.fleet("prices", spare.name)
    assert "own/model upstream_model=gpt-sim-own prompt=0.000002 completion=0.000008" in shown
    refused = account.gateway.run("master-accounts", "prices", "openrouter-1", f"--file={spare.directory / 'bad.json'}")
    assert refused.returncode == 1


def test_the_list_shows_what_each_is(spare: Spare):
    rows = {row["name"]: row for row in json.loads(spare.fleet("list", "--json"))}
    assert {name: row["kind"] for name, row in rows.items()} == {"openrouter-1": "openrouter", "spare": "compatible"}
    assert "compatible" in spare.fleet("list")
    assert "accepted" in spare.fleet("test", spare.name)
    # A model that both have is one.
    models = spare.gateway.command("models", "list").splitlines()
    assert [line for line in models if line.startswith("sim/small ")] == ["sim/small state=on_sale"]
    assert "own/model state=on_sale" in models
    refused = spare.gateway.run(
        "master-accounts", "set", spare.name, f"--management-key-file={spare.directory / 'key'}"
    )
    assert refused.returncode == 1


@pytest.fixture
def own_gateway(tmp_path: Path, simulator: Simulator, own_database: Database | None) -> Iterator[Gateway]:
    with running_gateway(tmp_path, simulator, own_database) as gateway:
        yield gateway


def test_a_server_that_wants_no_key_and_lists_its_prices(own_gateway: Gateway, tmp_path: Path):
    with running_simulator(tmp_path, ("",), speaks="compatible") as simulator:
        spare = Spare(own_gateway, simulator, tmp_path)
        spare.add()
        assert "no key" in spare.fleet("list")
        assert spare.fleet("test", spare.name) == "key no key: accepted\n"
        assert spare.fleet("prices", spare.name, "--from-upstream").startswith("MODELS=4\n")
        account = own_gateway.new_account()
        wait_for_model(account, "gpt-sim-own")
        account.sdk().chat.completions.create(**chat("gpt-sim-own", max_tokens=5))
        [event] = account.settled(1)
        assert_booked(event, spare, OWN)
        headers, _ = simulator.last_request()
        assert "authorization" not in headers
        # An empty table takes all back.
        spare.price()
        eventually(lambda: "gpt-sim-own" not in models_of(account), "nothing of it is on sale", 5)


@pytest.mark.timeout(300)
def test_a_business_does_not_hang_on_one_provider(own_gateway: Gateway, simulator: Simulator, tmp_path: Path):
    """OpenRouter goes away under load, and comes back: no stream fails, none is sold below its cost."""
    with running_simulator(tmp_path, (KEY,), speaks="compatible") as other:
        spare = Spare(own_gateway, other, tmp_path)
        spare.add()
        spare.price(sim__small=SMALL, own__model=OWN)
        account = own_gateway.new_account("1000")
        wait_for_model(account, "own/model")
        stream = {"completion_tokens": 10, "chunks": 10, "chunk_ms": 20}
        load = Load(account, tmp_path, "failover", 30, 100, stream, stream="streamed")
        with ended([load]):
            wait_for_more([load], 60)
            assert spare.requests() == 0
            simulator.account(MASTER_KEY, state="resetting")
            eventually(lambda: spare.requests() > 150, "the other one serves", 60)
            simulator.account(MASTER_KEY, state="ok")
            before = simulator.books()["requests"]
            eventually(lambda: simulator.books()["requests"] > before + 150, "OpenRouter serves again", 60)
            report = load.stop()
        assert report["errors"] == {}, report
        assert report["by_status"] == {"200": report["requests"]}, report
        assert report["whole"] == report["requests"]
        events = account.settled(report["whole"])
        sources = {event.cost_source for event in events}
        assert sources == {"reported", "price_book"}
        for event in events:
            assert event.loss_reason is None
            assert event.cost_nanos <= event.price_nanos <= event.hold_nanos
            if event.cost_source == "price_book":
                assert_booked(event, spare, SMALL)
        spent = sum(event.price_nanos for event in events)
        assert account.balance().balance_nanos == 1000 * 10**9 - spent


def test_what_a_crash_cuts_is_a_loss_at_once(own_gateway: Gateway, tmp_path: Path):
    with running_simulator(tmp_path, (KEY,), speaks="compatible") as other:
        spare = Spare(own_gateway, other, tmp_path)
        spare.add()
        spare.price(own__model=OWN)
        account = own_gateway.new_account()
        wait_for_model(account, "own/model")
        slow = {"completion_tokens": 60, "chunks": 60, "chunk_ms": 100}
        with pytest.raises(httpx2.HTTPError), account.http() as http:
            request = body("own/model", slow, stream=True)
            with http.stream("POST", "/v1/chat/completions", json=request) as stream:
                lines = stream.iter_lines()
                next(lines)
                eventually(own_gateway.database.pending, "it is on record")
                own_gateway.child.kill()
                for _ in lines:
                    pass
        revive(own_gateway)
        [event] = account.settled(1)
        assert (event.price_nanos, event.loss_reason, event.ending) == (0, "unknown", "interrupted")
        eventually(lambda: account.balance().reserved_nanos == 0, "the hold is back")
        account.sdk().chat.completions.create(**chat("own/model", QUICK))
        assert_booked(account.settled(2)[1], spare, OWN)
