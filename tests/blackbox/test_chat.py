"""Answers in one piece, through the official SDK."""

import asyncio
import json

import openai
import pytest

from harness.gateway import Account
from harness.money import nanos, price_of, usd
from harness.requests import assert_says_nothing_of_the_upstream, body, chat
from harness.simulator import Simulator


def test_an_answer_is_openais_and_booked_to_the_nano_dollar(account: Account, simulator: Simulator):
    answer = account.sdk().chat.completions.create(**chat(sim={"text": "Grüße, 世界!", "completion_tokens": 7}))

    assert answer.object == "chat.completion"
    assert answer.model == "sim/small"
    [choice] = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Grüße, 世界!")
    assert choice.finish_reason == "stop"
    billed = simulator.generation(answer.id)
    assert answer.usage.completion_tokens == billed.completion_tokens == 7
    assert answer.usage.prompt_tokens == billed.prompt_tokens
    assert answer.usage.total_tokens == billed.prompt_tokens + 7
    [event] = account.events()
    assert event.generation_id == answer.id
    assert event.list_usd == billed.cost
    assert event.price_nanos == event.charged_nanos == price_of(billed.cost)
    assert event.cost_nanos < event.price_nanos
    assert account.balance().balance_nanos == 10 * 10**9 - event.price_nanos


def test_the_cost_that_a_client_sees_is_its_own_price(account: Account, simulator: Simulator):
    with account.http() as http:
        response = http.post("/v1/chat/completions", json=body())
    answer = json.loads(response.text, parse_float=usd, parse_int=int)
    assert nanos(answer["usage"]["cost"]) == price_of(simulator.generation(answer["id"]).cost)
    assert_says_nothing_of_the_upstream(response.text + str(response.headers))


def test_raw_responses_have_a_request_id_and_nothing_of_the_upstream(account: Account):
    raw = account.sdk().chat.completions.with_raw_response.create(**chat())
    assert raw.status_code == 200
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.request_id == raw.headers["x-request-id"] != ""
    assert raw.parse()._request_id == raw.request_id
    assert_says_nothing_of_the_upstream(raw.text + str(raw.headers))
    assert "set-cookie" not in raw.headers


def test_each_answer_has_a_request_id_of_its_own(account: Account):
    client = account.sdk()
    ids = {client.chat.completions.create(**chat())._request_id for _ in range(5)}
    assert len(ids) == 5
    assert None not in ids


def test_the_async_client(account: Account, simulator: Simulator):
    async def ask() -> list[openai.types.chat.ChatCompletion]:
        async with account.async_sdk() as client:
            return await asyncio.gather(*(client.chat.completions.create(**chat()) for _ in range(20)))

    answers = asyncio.run(ask())
    assert len({answer.id for answer in answers}) == 20
    billed = simulator.generations()
    events = account.settled(20)
    assert sum(event.price_nanos for event in events) == sum(price_of(billed[answer.id].cost) for answer in answers)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_an_output_limit_is_kept(account: Account, field: str):
    request = chat(sim={"completion_tokens": 500})
    del request["max_tokens"]
    answer = account.sdk().chat.completions.create(**request | {field: 9})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 9


def test_unknown_fields_and_number_texts_pass_unchanged(account: Account, simulator: Simulator):
    own = '"x_own":{"deep":[1.50,1e+3,0.1000000000000000055511151231257827,"\\u00fc\\/"]},"temperature":0.70'
    text = json.dumps(body())[:-1] + "," + own + "}"
    with account.http() as http:
        answer = http.post("/v1/chat/completions", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    forwarded = simulator.last_request()[1]
    assert own in forwarded


def test_what_goes_upstream(account: Account, simulator: Simulator):
    headers = {
        "cookie": "session=secret",
        "x-forwarded-for": "192.0.2.1",
        "x-openrouter-cache": "true",
        "openai-organization": "org",
        "accept-encoding": "gzip, br",
    }
    account.sdk().chat.completions.create(**chat(user="mail@example.com"), extra_headers=headers)
    sent, text = simulator.last_request()
    assert sent["authorization"] == f"Bearer {simulator.keys[0]}"
    assert not set(sent) & {
        "cookie",
        "x-forwarded-for",
        "x-openrouter-cache",
        "openai-organization",
        "forwarded",
        "via",
    }
    assert not [name for name in sent if name.startswith("x-stainless")]
    assert account.key not in text + str(sent)
    assert sent.get("accept-encoding", "identity") == "identity"
    forwarded = json.loads(text)
    assert forwarded["user"] not in ("", "mail@example.com")
    assert set(forwarded["provider"]["max_price"]) >= {"prompt", "completion"}


def test_pseudonyms_tell_clients_apart_and_stay(gateway, simulator: Simulator):
    def pseudonym(client: Account) -> str:
        client.sdk().chat.completions.create(**chat())
        return simulator.last_body()["user"]

    one, other = gateway.new_account(), gateway.new_account()
    assert pseudonym(one) == pseudonym(one) != pseudonym(other)


def test_a_missing_output_limit_is_written_into_the_request(account: Account, simulator: Simulator):
    request = chat()
    del request["max_tokens"]
    account.sdk().chat.completions.create(**request)
    sent = simulator.last_body()
    assert 0 < max(sent.get("max_tokens", 0), sent.get("max_completion_tokens", 0)) <= 16_384


def test_a_metered_client_has_a_cap_instead_of_a_balance(gateway, simulator: Simulator):
    client = gateway.new_metered_account(limit_cents=1)
    costly = {"completion_tokens": 1000}
    answer = client.sdk().chat.completions.create(**chat("sim/one-dollar", costly, max_tokens=1000))
    [event] = client.settled(1)
    assert event.price_nanos == price_of(simulator.generation(answer.id).cost)
    with pytest.raises(openai.APIStatusError) as refused:
        client.sdk().chat.completions.create(**chat("sim/one-dollar", max_tokens=20_000))
    assert refused.value.status_code == 402
