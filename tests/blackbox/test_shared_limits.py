"""Rate limits that replicas share: at least the limit, at most a tenth more, in any minute; exact where one counts."""

from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.gateway import Account
from harness.load import Load, ended
from harness.replicas import Replicas
from harness.simulator import Generation, Simulator

MINUTE = 60.0
# Long enough for the first minute's requests to leave the window, and for the next ones to come.
LOAD_SECONDS = 75
REQUESTS = 300
TOKENS = 30_000
TOKENS_EACH = 100
# Requests a second, to each replica: unlike, and together thrice what the limit lets through.
RATES = (10, 4, 1)


def load_on(accounts: list[Account], directory: Path, name: str, sim: dict) -> list[Load]:
    rates = RATES if len(accounts) > 1 else (sum(RATES),)
    return [
        Load(account, directory, f"{name}-{n}", 4, rate, sim, seconds=LOAD_SECONDS)
        for n, (account, rate) in enumerate(zip(accounts, rates, strict=True))
    ]


def times_of_answers(loads: list[Load], generations: dict[str, Generation]) -> list[float]:
    """When the requests that were served reached the upstream, in order."""
    for load in loads:
        report = load.report()
        assert set(report["by_status"]) <= {"200", "429"}, report
        assert not report["errors"], report
    return sorted(generations[name].started_at_us / 1e6 for load in loads for name in load.whole())


def most_in_a_minute(times: list[float]) -> int:
    """The most of these moments that lie within one minute."""
    return max(bisect_left(times, moment + MINUTE) - index for index, moment in enumerate(times))


def in_the_first_minute(times: list[float]) -> int:
    return bisect_left(times, times[0] + MINUTE)


@pytest.mark.timeout(200)
def test_limits_are_shared(
    replicas: Replicas, simulator: Simulator, tmp_path: Path, closing_note: Callable[[str], None]
):
    shared, tokens, [alone, *_] = (replicas.new_account("100") for _ in range(3))
    shared[0].set_limit("requests_per_minute", REQUESTS)
    alone.set_limit("requests_per_minute", REQUESTS)
    tokens[0].set_limit("tokens_per_minute", TOKENS)
    sim = {"prompt_tokens": TOKENS_EACH // 2, "completion_tokens": TOKENS_EACH // 2}
    groups = [
        load_on(shared, tmp_path, "shared", {"completion_tokens": 7}),
        load_on(tokens, tmp_path, "tokens", sim),
        load_on([alone], tmp_path, "alone", {"completion_tokens": 7}),
    ]
    with ended([load for group in groups for load in group]) as loads:
        for load in loads:
            load.report(LOAD_SECONDS + 30)
    generations = simulator.generations()
    of_requests, of_tokens, of_one = (times_of_answers(group, generations) for group in groups)

    most = most_in_a_minute(of_requests)
    most_tokens = most_in_a_minute(of_tokens) * TOKENS_EACH
    closing_note(
        f"rate limits over three replicas: {most} requests a minute where {REQUESTS} are allowed, "
        f"{most_tokens} tokens where {TOKENS} are; on one replica {most_in_a_minute(of_one)} requests of {REQUESTS}"
    )
    assert in_the_first_minute(of_requests) >= REQUESTS
    assert most <= REQUESTS * 11 // 10
    # What a request may need at most must be free, so that a little less than the limit is used.
    assert in_the_first_minute(of_tokens) * TOKENS_EACH >= TOKENS * 95 // 100
    assert most_tokens <= TOKENS * 11 // 10
    assert in_the_first_minute(of_one) == most_in_a_minute(of_one) == REQUESTS
    assert len(of_requests) > most, "the load went on into the next minute"
