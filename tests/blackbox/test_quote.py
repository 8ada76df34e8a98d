"""`POST …/quote`: its verdict is what the request then meets; and the headers that tell what an answer cost."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from harness.database import Database
from harness.gateway import Account, Gateway, running_gateway
from harness.money import nanos, price_of, usd
from harness.polling import eventually
from harness.requests import assert_says_nothing_of_the_upstream, body
from harness.simulator import Simulator

OWN_HEADERS = "x-airouter-"


def quoted(account: Account, request: dict, surface: str = "/v1") -> dict:
    with account.http() as http:
        answer = http.post(f"{surface}/quote", json=request)
    assert answer.status_code == 200, answer.text
    assert_says_nothing_of_the_upstream(answer.text)
    return answer.json()


def asked(account: Account, request: dict) -> httpx2.Response:
    with account.http() as http:
        return http.post("/v1/chat/completions", json=request)


@dataclass(frozen=True)
class Case:
    name: str
    request: dict
    credit: str = "10"
    prepare: Callable[[Account], object] = lambda _: None


def limit_models(account: Account) -> None:
    account.gateway.database.allow_models(account.key, ["sim/small"])
    eventually(lambda: asked(account, body("sim/one-dollar")).status_code == 403, "the limit acts")


def limit_rate(account: Account) -> None:
    account.set_limit("requests_per_minute", 1)
    eventually(lambda: asked(account, body()).status_code == 429, "the limit acts")


def limit_tokens(account: Account) -> None:
    account.set_limit("tokens_per_minute", 5)
    eventually(lambda: asked(account, body()).status_code == 429, "the limit acts")


CASES = [
    Case("a plain request", body()),
    Case("a stream", body(stream=True)),
    Case("no output limit", body(max_tokens=None)),
    Case("fallback models", body(models=["sim/one-dollar"])),
    Case("a long prompt", body(messages=[{"role": "user", "content": "word " * 20_000}])),
    Case("a plugin", body(plugins=[{"id": "web"}])),
    Case("little money, no limit", body("sim/one-dollar", max_tokens=None), credit="0.002"),
    Case("little money, a large limit", body("sim/one-dollar", max_tokens=100_000), credit="0.002"),
    Case("no money", body(), credit="0"),
    Case("an unknown model", body("sim/unknown")),
    Case("no model", body(model=None)),
    Case("a model that is not allowed", body("sim/one-dollar"), prepare=limit_models),
    Case("a rate limit", body(), prepare=limit_rate),
    Case("a limit of tokens", body(), prepare=limit_tokens),
]


def without_nulls(request: dict) -> dict:
    return {name: value for name, value in request.items() if value is not None}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_verdict_is_what_the_request_meets(
    case: Case, gateway: Gateway, simulator: Simulator, closing_note: Callable[[str], None]
):
    account = gateway.new_account(credit=case.credit)
    case.prepare(account)
    request, before = without_nulls(case.request), len(account.events())
    served = len(simulator.generations())
    quote = quoted(account, request)
    assert len(simulator.generations()) == served
    answer = asked(account, request)
    assert quote["would_be_admitted"] == (answer.status_code == 200), (quote, answer.text)
    if answer.status_code == 200:
        event = account.settled(before + 1)[-1]
        assert quote["refusal"] is None
        assert nanos(usd(quote["hold"])) == event.hold_nanos
        assert quote["output_limit"] == simulator.last_body().get("max_tokens")
        assert event.charged_nanos <= event.hold_nanos
    else:
        error = answer.json()["error"]
        refusal = quote["refusal"]
        assert (refusal["status"], refusal["code"]) == (answer.status_code, error["code"])
        assert refusal["message"] == error["message"]
        assert quote["hold"] is None
    closing_note(f"quote: {case.name:<32} {'admitted' if quote['would_be_admitted'] else refusal['code']}")


def test_a_quote_leaves_no_trace(account: Account, simulator: Simulator):
    account.set_limit("requests_per_minute", 2)
    account.set_limit("concurrent_requests", 1)
    assert asked(account, body()).status_code == 200
    asked_before, events = len(simulator.generations()), account.settled(1)
    for surface in ("/v1", "/api/v1"):
        for _ in range(20):
            assert quoted(account, body(), surface)["would_be_admitted"]
    assert len(simulator.generations()) == asked_before
    assert account.events() == events
    eventually(lambda: account.balance().reserved_nanos == 0, "nothing is held")
    assert asked(account, body()).status_code == 200


def test_the_prices_are_the_clients(account: Account):
    quote = quoted(account, body("sim/one-dollar", models=["sim/small"]))
    assert [model["model"] for model in quote["models"]] == ["sim/one-dollar", "sim/small"]
    with account.http() as http:
        listed = http.get("/v1/models/sim/one-dollar").json()["pricing"]
    prices = quote["models"][0]["prices"]
    assert prices["prompt_token"] == listed["prompt"]
    assert prices["completion_token"] == listed["completion"]
    assert nanos(usd(quote["balance"])) == account.balance().balance_nanos
    assert quote["limit_remaining"] is None


def test_a_quote_needs_a_key_and_a_chat_body(gateway: Gateway, account: Account):
    assert httpx2.post(f"{gateway.url}/v1/quote", json=body(), trust_env=False).status_code == 401
    with account.http() as http:
        assert http.get("/v1/quote").status_code == 405
        broken = http.post("/v1/quote", content=b"{")
        assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_request")
        broken = http.post("/api/v1/quote", content=b"{")
        assert broken.json()["error"]["metadata"]["error_type"] == "invalid_request"


def test_an_answer_tells_what_it_cost_and_what_is_left(gateway: Gateway, simulator: Simulator):
    account = gateway.new_account(credit="10")
    answer = asked(account, body())
    price = price_of(simulator.generation(answer.json()["id"]).cost)
    [event] = account.settled(1)
    assert nanos(usd(answer.headers["x-airouter-price"])) == price == event.charged_nanos
    assert nanos(usd(answer.headers["x-airouter-hold"])) == event.hold_nanos
    assert nanos(usd(answer.headers["x-airouter-balance"])) == 10 * 10**9 - price
    with account.http() as http, http.stream("POST", "/v1/chat/completions", json=body(stream=True)) as stream:
        stream.read()
    assert "x-airouter-price" not in stream.headers
    hold = nanos(usd(stream.headers["x-airouter-hold"]))
    assert hold == account.settled(2)[-1].hold_nanos
    # While it runs, its hold is not there to be spent.
    assert nanos(usd(stream.headers["x-airouter-balance"])) == 10 * 10**9 - price - hold


def test_a_metered_client_sees_its_limit(gateway: Gateway):
    account = gateway.new_metered_account(limit_cents=500)
    answer = asked(account, body())
    assert "x-airouter-balance" not in answer.headers
    [event] = account.settled(1)
    assert nanos(usd(answer.headers["x-airouter-limit-remaining"])) == 5 * 10**9 - event.charged_nanos


def test_the_headers_can_be_turned_off(tmp_path: Path, simulator: Simulator, own_database: Database | None):
    with running_gateway(tmp_path, simulator, own_database, AIROUTER_ANSWER_HEADERS="off") as gateway:
        answer = asked(gateway.new_account(), body())
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith(OWN_HEADERS)]
