"""Each error class of the official SDK, and the advice to retry or not."""

import openai
import pytest

from harness.gateway import Account, Gateway
from harness.polling import eventually
from harness.processes import free_port
from harness.requests import assert_says_nothing_of_the_upstream, body, chat
from harness.simulator import Simulator


def refusal(client: openai.OpenAI, **request) -> openai.APIStatusError:
    """The error that a chat request ends with; checks what all errors have in common."""
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(**request)
    error = raised.value
    assert set(error.body) == {"message", "type", "param", "code"}, error.body
    assert error.body["message"]
    assert error.body["type"]
    assert error.body["code"] is None or isinstance(error.body["code"], str)
    assert error.request_id
    assert error.response.headers["content-type"].startswith("application/json")
    assert_says_nothing_of_the_upstream(error.response.text + str(error.response.headers))
    return error


def attempts(client: openai.OpenAI, **request) -> int:
    """How often the SDK with its usual retries sends a request that fails."""
    sent = []
    http = openai.DefaultHttpxClient(trust_env=False, event_hooks={"request": [sent.append]})
    refusal(client.with_options(max_retries=2, http_client=http), **request)
    return len(sent)


@pytest.fixture(autouse=True)
def nothing_is_booked(account: Account):
    """No refused request costs anything."""
    yield
    assert account.events() == []
    assert account.balance().balance_nanos in (0, 10 * 10**9)
    eventually(lambda: account.balance().reserved_nanos == 0, "holds and leases return")


def mistyped(key: str) -> str:
    return key[:-1] + ("a" if key[-1] != "a" else "b")


@pytest.mark.parametrize("key", ["sk-air-nothing", "sk-or-v1-simulated", "mistyped", "x" * 5000])
def test_401_for_a_wrong_key(account: Account, key: str):
    key = mistyped(account.key) if key == "mistyped" else key
    error = refusal(account.sdk().with_options(api_key=key), **chat())
    assert isinstance(error, openai.AuthenticationError)
    assert error.code == "invalid_api_key"
    assert account.key not in error.response.text


def test_401_without_a_key_and_with_a_key_in_the_wrong_place(account: Account, simulator: Simulator):
    before = simulator.books()["requests"]
    with account.http(headers={"authorization": ""}) as http:
        for headers in ({}, {"x-api-key": account.key}, {"authorization": f"Basic {account.key}"}):
            answer = http.post("/v1/chat/completions", json=body(), headers=headers)
            assert answer.status_code == 401, headers
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert account.key not in answer.text
        answer = http.post(f"/v1/chat/completions?api_key={account.key}", json=body())
        assert answer.status_code == 401
    assert simulator.books()["requests"] == before


def test_402_without_money_says_what_is_affordable(gateway: Gateway):
    poor = gateway.new_account(credit="0")
    error = refusal(poor.sdk(), **chat())
    assert type(error) is openai.APIStatusError
    assert error.status_code == 402
    assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota")
    assert " 0 tokens" in error.message
    assert poor.events() == []


def test_402_for_an_unaffordable_limit_and_less_is_served(gateway: Gateway):
    client = gateway.new_account(credit="0.01")
    error = refusal(client.sdk(), **chat("sim/one-dollar", max_tokens=60_000))
    assert error.status_code == 402
    affordable = int(error.message.split(" tokens")[0].rsplit(" ", 1)[1])
    assert 5_000 < affordable < 12_500
    answer = client.sdk().chat.completions.create(**chat("sim/one-dollar", max_tokens=affordable))
    assert answer.choices


def test_402_is_not_retried(gateway: Gateway):
    assert attempts(gateway.new_account(credit="0").sdk(), **chat()) == 1


def test_403_for_a_model_that_the_key_may_not_use(account: Account, gateway: Gateway):
    gateway.database.allow_models(account.key, ["sim/large"])

    def refused() -> bool:
        with account.http() as http:
            answer = http.post("/v1/chat/completions", json=body(sim={"error": "status:500"}))
            return answer.status_code == 403

    eventually(refused, "the key's new list of models acts", 3)
    error = refusal(account.sdk(), **chat("sim/small"))
    assert isinstance(error, openai.PermissionDeniedError)
    assert error.code == "model_not_allowed"
    for way_round in ("sim/small:nitro", "sim/small:free"):
        assert isinstance(refusal(account.sdk(), **chat(way_round)), openai.PermissionDeniedError)
    fallback = chat("sim/large", extra_body={"models": ["sim/small"]})
    assert isinstance(refusal(account.sdk(), **fallback), openai.PermissionDeniedError)


def test_a_revoked_key_is_refused_within_a_second(account: Account, gateway: Gateway):
    assert len(account.sdk().models.list().data) > 0
    gateway.database.revoke(account.key)

    def refused() -> bool:
        with account.http() as http:
            return http.get("/v1/models").status_code == 401

    eventually(refused, "the key is refused", 1.0)
    assert isinstance(refusal(account.sdk(), **chat()), openai.AuthenticationError)


@pytest.mark.parametrize("model", ["sim/none", "sim/unpriced", "gpt-4o", "sim/small:nonsense", "../models", "x" * 3000])
def test_404_for_a_model_that_is_not_on_sale(account: Account, simulator: Simulator, model: str):
    before = simulator.books()["requests"]
    error = refusal(account.sdk(), **chat(model))
    assert isinstance(error, openai.NotFoundError)
    assert (error.code, error.param) == ("model_not_found", "model")
    assert simulator.books()["requests"] == before


def test_404_for_an_endpoint_that_is_not_there(account: Account):
    with pytest.raises(openai.NotFoundError) as raised:
        account.sdk().embeddings.create(model="sim/small", input="text")
    assert raised.value.code == "unknown_url"


def test_405_names_the_method(account: Account):
    with account.http() as http:
        answer = http.get("/v1/chat/completions")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"model": ""}, "model"),
    ],
)
def test_400_names_the_field(account: Account, change: dict, param: str):
    error = refusal(account.sdk(), **chat(**change))
    assert isinstance(error, openai.BadRequestError)
    assert error.param == param
    assert error.type == "invalid_request_error"


def test_400_when_the_upstream_finds_the_request_wrong(account: Account):
    error = refusal(account.sdk(), **chat(sim={"prompt_tokens": 200_000}))
    assert isinstance(error, openai.BadRequestError)
    assert "context" in error.message


def test_429_of_a_provider(account: Account):
    error = refusal(account.sdk(), **chat(sim={"error": "status:429_provider"}))
    assert isinstance(error, openai.RateLimitError)
    assert int(error.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("fault", ["status:500", "status:502", "status:503", "in_200", "garbage", "empty", "reset"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_5xx_when_the_upstream_fails(account: Account, fault: str, stream: bool):
    error = refusal(account.sdk(), **chat(sim={"error": fault}), stream=stream)
    assert isinstance(error, openai.InternalServerError)
    assert error.status_code in (502, 503)


@pytest.mark.parametrize("fault", ["status:401", "status:402", "status:403", "status:429"])
def test_what_is_wrong_with_the_operators_account_is_never_told(account: Account, fault: str):
    error = refusal(account.sdk(), **chat(sim={"error": fault}))
    assert isinstance(error, (openai.InternalServerError, openai.RateLimitError))
    assert int(error.response.headers["retry-after"]) >= 1
    for word in ("credit", "quota", "api key", "key limit", "account"):
        assert word not in error.message.lower()


def test_5xx_are_retried_by_the_sdk(account: Account):
    assert attempts(account.sdk(), **chat(sim={"error": "status:503"})) == 3


def test_the_connection_error(account: Account):
    nobody = account.sdk().with_options(base_url=f"http://127.0.0.1:{free_port()}/v1")
    with pytest.raises(openai.APIConnectionError):
        nobody.chat.completions.create(**chat())


def test_openrouters_surface_has_openrouters_errors(account: Account):
    with account.http() as http:
        answer = http.post("/api/v1/chat/completions", json=body("sim/none"))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == 404
    assert answer.json()["error"]["message"]
