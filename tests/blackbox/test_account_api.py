"""OpenRouter's account API for a client key: key, credits, generation."""

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from harness.gateway import Account, Gateway
from harness.money import NANOS, nanos, price_of
from harness.requests import chat
from harness.simulator import Simulator


def get(account: Account, path: str) -> Any:
    """The `data` of an answer, its numbers exact."""
    with account.http() as http:
        response = http.get(path)
    assert response.status_code == 200, response.text
    assert "sk-or-" not in response.text
    return json.loads(response.text, parse_float=lambda text: Fraction(Decimal(text)))["data"]


def test_credits_are_the_clients_own(account: Account, simulator: Simulator):
    assert get(account, "/api/v1/credits") == {"total_credits": 10, "total_usage": 0}
    answer = account.sdk().chat.completions.create(**chat(sim={"completion_tokens": 200}))
    price = price_of(simulator.generation(answer.id).cost)
    credits = get(account, "/api/v1/credits")
    assert credits["total_credits"] == 10
    assert nanos(credits["total_usage"]) == price


def test_key(account: Account, simulator: Simulator):
    answer = account.sdk().chat.completions.create(**chat())
    price = price_of(simulator.generation(answer.id).cost)
    key = get(account, "/api/v1/key")
    assert {"label", "limit", "limit_remaining", "limit_reset", "usage_weekly"} <= set(key)
    assert nanos(key["usage"]) == nanos(key["usage_daily"]) == nanos(key["usage_monthly"]) == price
    assert account.key not in str(key)
    assert key["label"].startswith("sk-air-")


def test_the_key_of_a_metered_client_shows_its_limit(gateway: Gateway):
    client = gateway.new_metered_account(limit_cents=250)
    key = get(client, "/api/v1/key")
    assert key["limit"] * NANOS == 25 * 10**8
    assert key["limit_remaining"] * NANOS == 25 * 10**8
    assert key["limit_reset"] == "monthly"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_generation_at_the_clients_price(account: Account, simulator: Simulator, stream: bool):
    request = chat("openrouter/auto", {"completion_tokens": 5})
    answer = account.sdk().chat.completions.create(**request, stream=stream)
    [generation_id] = {chunk.id for chunk in answer} if stream else {answer.id}
    billed = simulator.generation(generation_id)
    generation = get(account, f"/api/v1/generation?id={generation_id}")
    assert generation["id"] == generation_id
    assert generation["model"] == billed.model == "openai/gpt-4o-mini"
    assert generation["streamed"] is stream
    assert nanos(generation["total_cost"]) == nanos(generation["usage"]) == price_of(billed.cost)
    assert generation["native_tokens_prompt"] == billed.prompt_tokens
    assert generation["native_tokens_completion"] == 5


def test_generations_of_others_are_not_there(account: Account, gateway: Gateway):
    answer = account.sdk().chat.completions.create(**chat())
    stranger = gateway.new_account()
    with stranger.http() as http:
        for generation in (answer.id, "gen-1-unknown", ""):
            response = http.get(f"/api/v1/generation?id={generation}")
            assert response.status_code == 404
            assert response.json()["error"]["code"] == 404


def test_the_account_api_needs_a_key(account: Account):
    with account.http(headers={"authorization": "Bearer sk-air-nothing"}) as http:
        for path in ("key", "credits", "generation?id=x"):
            assert http.get(f"/api/v1/{path}").status_code == 401
