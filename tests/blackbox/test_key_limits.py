"""Limits of keys, as their owners set and change them, and what a request against each of them gets."""

import datetime
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from harness.control_plane import Person, register
from harness.database import Database
from harness.gateway import Account, Gateway, running_gateway
from harness.money import decimal_text, nanos, usd
from harness.polling import eventually
from harness.races import statuses_at_once
from harness.replicas import Replicas
from harness.requests import body, chat
from harness.simulator import Simulator

WITHIN_SECONDS = 1.0
# Costs the client 800 nano-dollars a token.
MODEL = "sim/one-dollar"
REQUEST = chat(MODEL, {"completion_tokens": 1000}, max_tokens=1000)
ADDRESS, OTHER_ADDRESS = "192.0.2.7", "198.51.100.7"


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, database: Database | None
) -> Iterator[Gateway]:
    """Behind a proxy at 127.0.0.1, which is believed."""
    directory = tmp_path_factory.mktemp("gateway")
    settings = {"AIROUTER_TRUSTED_PROXIES": "127.0.0.1"}
    with running_gateway(directory, simulator, database, **settings) as gateway:
        yield gateway


@pytest.fixture
def person(gateway: Gateway) -> Person:
    """Somebody with $10."""
    person = register(gateway)
    gateway.command("credit", f"--email={person.email}", "--amount=10", "--reason=a test")
    return person


def status_of(person: Person, key: dict, request: dict = REQUEST, **headers: str) -> tuple[int, str | None]:
    """What the SDK sees: the status, and of an error its code."""
    try:
        person.sdk(key["key"]).chat.completions.create(**request, extra_headers=headers)
    except openai.APIStatusError as error:
        return error.status_code, error.code
    return 200, None


def soon(person: Person, key: dict, expected: tuple[int, str | None], request: dict = REQUEST, **headers: str) -> None:
    """A change of the key acts within a second."""
    began = time.monotonic()
    eventually(lambda: status_of(person, key, request, **headers) == expected, f"{expected}", WITHIN_SECONDS)
    assert time.monotonic() - began <= 2 * WITHIN_SECONDS


def openrouters_view(gateway: Gateway, key: dict) -> dict:
    headers = {"authorization": f"Bearer {key['key']}"}
    answer = httpx2.get(f"{gateway.url}/api/v1/key", headers=headers, trust_env=False)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text, parse_float=usd, parse_int=usd)["data"]


def spent(gateway: Gateway, key: dict) -> int:
    return sum(event.charged_nanos for event in gateway.database.events(gateway.database.account_of(key["key"])))


def test_a_spend_limit(gateway: Gateway, person: Person):
    key = person.new_key(spend_limit={"amount": "0.0025", "reset": "monthly"})
    statuses = [status_of(person, key) for _ in range(4)]
    assert statuses[0] == (200, None)
    assert statuses[-1] == (402, "insufficient_quota")
    used = spent(gateway, key)
    assert 0 < used <= 2_500_000
    left = usd(person.key(key)["spend_limit"]["left"])
    assert nanos(left) == 2_500_000 - used
    seen = openrouters_view(gateway, key)
    assert (seen["limit_remaining"], seen["limit_reset"]) == (left, "monthly")
    assert nanos(seen["limit"]) == 2_500_000

    person.change_key(key, spend_limit={"amount": "1", "reset": "monthly"})
    soon(person, key, (200, None))
    # With another reset it is another budget, which knows what was spent today.
    changed = person.change_key(key, spend_limit={"amount": "0.0025", "reset": "daily"})
    assert nanos(usd(changed["spend_limit"]["left"])) == max(0, 2_500_000 - spent(gateway, key))
    soon(person, key, (402, "insufficient_quota"))
    person.change_key(key, spend_limit=None)
    soon(person, key, (200, None))
    assert openrouters_view(gateway, key)["limit"] is None


def test_requests_a_day(person: Person):
    key = person.new_key(requests_per_day=2)
    statuses = [status_of(person, key) for _ in range(3)]
    assert statuses == [(200, None), (200, None), (429, "request_budget_spent")]
    with pytest.raises(openai.RateLimitError) as refused:
        person.sdk(key["key"]).chat.completions.create(**REQUEST)
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert int(refused.value.response.headers["retry-after"]) <= 86_400
    assert person.key(key)["requests_left_today"] == 0
    person.change_key(key, requests_per_day=3)
    soon(person, key, (200, None))
    assert status_of(person, key) == (429, "request_budget_spent")
    person.change_key(key, requests_per_day=None)
    soon(person, key, (200, None))
    # Those of before count.
    assert person.change_key(key, requests_per_day=5)["requests_left_today"] == 1


@pytest.mark.parametrize("limit", ["requests_per_minute", "tokens_per_minute"])
def test_a_rate(person: Person, limit: str):
    key = person.new_key(**{limit: 1})
    limited = (429, "rate_limit_exceeded")
    eventually(lambda: status_of(person, key) == limited, "the limit acts", 3)
    person.change_key(key, **{limit: 1_000_000})
    soon(person, key, (200, None))


def test_requests_at_the_same_time(person: Person):
    key = person.new_key(concurrent_requests=1)
    slow = chat(sim={"completion_tokens": 100, "chunks": 100, "chunk_ms": 50})
    with person.sdk(key["key"]).chat.completions.create(**slow, stream=True) as stream:
        assert next(iter(stream)).choices
        assert status_of(person, key) == (429, "rate_limit_exceeded")
        person.change_key(key, concurrent_requests=2)
        soon(person, key, (200, None))


def test_allowed_models(person: Person):
    key = person.new_key(allowed_models=["sim/small"])
    refused = (403, "model_not_allowed")
    assert status_of(person, key) == refused
    assert status_of(person, key, chat(f"{MODEL}:nitro")) == refused
    assert status_of(person, key, chat("sim/small")) == (200, None)
    person.change_key(key, allowed_models=["sim/one-*"])
    soon(person, key, (200, None))
    assert status_of(person, key, chat("sim/small")) == refused
    person.change_key(key, allowed_models=None)
    soon(person, key, (200, None), chat("sim/small"))


def test_allowed_addresses_behind_a_proxy(gateway: Gateway, person: Person):
    key = person.new_key(allowed_addresses=[f"{ADDRESS}/24", "2001:db8::/32"])
    refused = (403, "address_not_allowed")

    def at(address: str) -> dict[str, str]:
        return {"x-forwarded-for": f"1.1.1.1, {address}"}

    assert status_of(person, key, **at(ADDRESS)) == (200, None)
    assert status_of(person, key, **at("2001:db8:7::1")) == (200, None)
    for address in (OTHER_ADDRESS, "127.0.0.1", "2001:db9::1"):
        assert status_of(person, key, **at(address)) == refused
    assert status_of(person, key) == refused
    headers = {"authorization": f"Bearer {key['key']}"} | at(OTHER_ADDRESS)
    for surface, where in (("/v1", "code"), ("/api/v1", "metadata")):
        answer = httpx2.get(f"{gateway.url}{surface}/models", headers=headers, trust_env=False)
        assert answer.status_code == 403
        assert "address_not_allowed" in json.dumps(answer.json()["error"][where])
        assert ADDRESS not in answer.text
        assert OTHER_ADDRESS not in answer.text
    # Who is no proxy says in vain that it speaks for somebody.
    transport = httpx2.HTTPTransport(local_address="127.0.0.5")
    with httpx2.Client(base_url=gateway.url, transport=transport, trust_env=False) as stranger:
        forged = stranger.get("/v1/models", headers=headers | {"x-forwarded-for": ADDRESS})
    assert forged.status_code == 403

    person.change_key(key, allowed_addresses=[OTHER_ADDRESS])
    soon(person, key, refused, **at(ADDRESS))
    assert status_of(person, key, **at(OTHER_ADDRESS)) == (200, None)
    person.change_key(key, allowed_addresses=None)
    soon(person, key, (200, None), **at(ADDRESS))


def test_expiry_and_name(gateway: Gateway, person: Person):
    key = person.new_key()
    assert status_of(person, key) == (200, None)
    expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    person.change_key(key, expires_at=expiry.isoformat(), name="another name")
    eventually(lambda: status_of(person, key) == (401, "invalid_api_key"), "401 after it has expired", 2)
    assert datetime.datetime.now(datetime.UTC) >= expiry
    person.change_key(key, expires_at=None)
    soon(person, key, (200, None))
    assert openrouters_view(gateway, key)["name"] == "another name"


def test_races_for_a_spend_limit_with_one_reset_after_the_other(gateway: Gateway, person: Person):
    key = person.new_key(spend_limit={"amount": "0", "reset": "none"})
    account = Account(gateway, person.email, key["key"])
    request = body(MODEL, {"completion_tokens": 1000}, max_tokens=1000)
    for thousandths, reset in [(6, "none"), (10, "daily"), (14, "weekly"), (18, "monthly"), (22, "daily")]:
        cap = thousandths * 1_000_000
        person.change_key(key, spend_limit={"amount": decimal_text(cap), "reset": reset})
        # The limit before refuses: who is served is counted by this one.
        soon(person, key, (200, None))
        seen = statuses_at_once([account], request, 30)
        assert set(seen) == {200, 402}, seen
        used = spent(gateway, key)
        assert cap - 2_000_000 <= used <= cap
        assert nanos(usd(person.key(key)["spend_limit"]["left"])) == cap - used
    assert all(event.uncollected_nanos == 0 for event in account.events())


def test_when_a_key_was_last_used_is_known(tmp_path: Path, simulator: Simulator, own_database: Database | None):
    with running_gateway(tmp_path, simulator, own_database) as gateway:
        person = register(gateway)
        used, unused = person.new_key(), person.new_key()
        before = datetime.datetime.now(datetime.UTC)
        assert status_of(person, used) == (402, "insufficient_quota")
        # It is written now and then, at the latest when the server stops.
        gateway.stop()
        gateway.start()
        last = datetime.datetime.fromisoformat(person.key(used)["last_used_at"])
        assert abs(last - before) < datetime.timedelta(seconds=5)
        assert person.key(unused)["last_used_at"] is None


def test_a_changed_key_is_another_everywhere(replicas: Replicas):
    first, *others = replicas
    person = register(first)
    key = person.new_key()
    urls = [replica.url for replica in replicas]

    def statuses() -> set[int]:
        headers = {"authorization": f"Bearer {key['key']}"}
        return {httpx2.get(f"{url}/v1/models", headers=headers, trust_env=False).status_code for url in urls}

    assert statuses() == {200}
    person.change_key(key, allowed_addresses=[ADDRESS])
    eventually(lambda: statuses() == {403}, "403 everywhere", WITHIN_SECONDS)
    person.change_key(key, allowed_addresses=["127.0.0.0/8"])
    eventually(lambda: statuses() == {200}, "200 everywhere", WITHIN_SECONDS)
    assert len(others) == 2
