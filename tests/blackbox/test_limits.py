"""Rate limits of an account: the SDK's own error, with the time to wait."""

import openai
import pytest

from harness.gateway import Account
from harness.money import price_of
from harness.polling import eventually
from harness.requests import chat
from harness.simulator import Simulator

# The SDKs don't wait longer than this.
LONGEST_WAIT_SECONDS = 120


def until_refused(account: Account) -> tuple[list[str], openai.RateLimitError]:
    """The ids of the answers up to the first 429, and that."""
    ids: list[str] = []

    def refused() -> openai.RateLimitError | None:
        try:
            ids.append(account.sdk().chat.completions.create(**chat()).id)
        except openai.RateLimitError as error:
            return error
        return None

    return ids, eventually(refused, "the limit acts", 3)


def test_requests_a_minute(account: Account, simulator: Simulator):
    account.set_limit("requests_per_minute", 1)
    ids, error = until_refused(account)
    assert error.code == "rate_limit_exceeded"
    assert 1 <= int(error.response.headers["retry-after"]) <= LONGEST_WAIT_SECONDS
    assert error.response.headers["x-ratelimit-limit-requests"] == "1"
    assert error.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert error.response.headers["x-ratelimit-reset-requests"]
    billed = simulator.generations()
    assert [event.charged_nanos for event in account.settled(len(ids))] == [price_of(billed[id].cost) for id in ids]


def test_tokens_a_minute(account: Account):
    account.set_limit("tokens_per_minute", 40)
    _, error = until_refused(account)
    assert error.code == "rate_limit_exceeded"
    assert error.response.headers["x-ratelimit-limit-tokens"] == "40"
    assert "tokens" in error.message


def test_requests_at_the_same_time(account: Account):
    account.set_limit("concurrent_requests", 1)
    slow = chat(sim={"completion_tokens": 200, "chunks": 200, "chunk_ms": 50})
    with account.sdk().chat.completions.create(**slow, stream=True) as stream:
        assert next(iter(stream)).choices
        _, error = until_refused(account)
    assert error.code == "rate_limit_exceeded"

    def served_again() -> bool:
        try:
            return bool(account.sdk().chat.completions.create(**chat()).choices)
        except openai.RateLimitError:
            return False

    eventually(served_again, "the place is free again", 5)


def test_a_limit_is_no_limit_for_others(account: Account, gateway):
    account.set_limit("requests_per_minute", 1)
    until_refused(account)
    other = gateway.new_account()
    for _ in range(5):
        assert other.sdk().chat.completions.create(**chat()).choices


def test_the_sdk_waits_and_gives_up(account: Account):
    account.set_limit("requests_per_minute", 1)
    _, error = until_refused(account)
    assert error.response.headers.get("x-should-retry") != "true"
    with pytest.raises(openai.RateLimitError):
        account.sdk().chat.completions.create(**chat())
