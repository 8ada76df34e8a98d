"""`GET /models`: what is on sale, at the client's prices."""

from urllib.parse import quote

import httpx2
import openai
import pytest

from harness.gateway import Account
from harness.money import CLIENT_FACTOR, usd
from harness.requests import assert_says_nothing_of_the_upstream
from harness.simulator import Simulator


@pytest.fixture
def upstream_models(simulator: Simulator) -> dict[str, dict]:
    response = httpx2.get(f"{simulator.base_url}/models", trust_env=False)
    return {model["id"]: model for model in response.json()["data"]}


def test_the_sdk_lists_models(account: Account):
    page = account.sdk().models.list()
    assert page.object == "list"
    assert {"sim/small", "sim/one-dollar", "openrouter/auto", "sim/small:free"} <= {model.id for model in page.data}
    for model in page.data:
        assert model.object == "model"
        assert model.created > 0
        assert model.owned_by


def test_what_has_no_price_is_not_listed(account: Account):
    assert "sim/unpriced" not in {model.id for model in account.sdk().models.list().data}


def test_prices_are_the_clients(account: Account, upstream_models: dict[str, dict]):
    listed = {model.id: model.to_dict() for model in account.sdk().models.list().data}
    compared = 0
    for name, model in listed.items():
        for key, price in upstream_models[name]["pricing"].items():
            if isinstance(price, str):
                expected = usd(price) if price == "-1" else usd(price) * CLIENT_FACTOR
                assert usd(model["pricing"][key]) == expected, (name, key)
                compared += 1
    assert compared > 20


@pytest.mark.parametrize("name", ["openai/gpt-4o-mini", "sim/small:free"])
def test_one_model_with_encoded_and_with_raw_slashes(account: Account, name: str):
    model = account.sdk().models.retrieve(name)
    assert (model.id, model.object) == (name, "model")
    with account.http() as http:
        for path in (name, quote(name, safe="")):
            answer = http.get(f"/v1/models/{path}")
            assert answer.status_code == 200
            assert answer.json() == model.to_dict()


def test_a_model_that_is_not_there(account: Account):
    for name in ("sim/none", "sim/unpriced"):
        with pytest.raises(openai.NotFoundError):
            account.sdk().models.retrieve(name)


def test_openrouters_surface(account: Account):
    with account.http() as http:
        answer = http.get("/api/v1/models")
    [small] = [model for model in answer.json()["data"] if model["id"] == "sim/small"]
    assert {"id", "name", "created", "context_length", "architecture", "pricing", "top_provider"} <= set(small)
    assert "owned_by" not in small
    assert "object" not in small
    assert usd(small["pricing"]["prompt"]) == usd("0.00000015") * CLIENT_FACTOR
    assert_says_nothing_of_the_upstream(answer.text.replace("openrouter/auto", ""))


def test_models_need_a_key(account: Account):
    with pytest.raises(openai.AuthenticationError):
        account.sdk().with_options(api_key="sk-air-nothing").models.list()
