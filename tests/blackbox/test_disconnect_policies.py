"""What a plan says becomes of answers whose clients have gone: metrics, ledger and the upstream's books agree."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.database import Event
from harness.gateway import Account
from harness.money import price_of
from harness.polling import eventually
from harness.raw import ask_and_leave
from harness.requests import body, chat
from harness.simulator import Generation, Simulator

CHUNKS = 60
# Six seconds: whoever leaves at the start has gone long before the end, however busy the machine is.
SLOW = {"completion_tokens": CHUNKS, "chunks": CHUNKS, "chunk_ms": 100}


class Counters:
    """The series of one provider and one way to end."""

    def __init__(self, account: Account, how: str, provider: str):
        self.gateway = account.gateway
        self.labels = f'how="{how}",provider="{provider}"'
        self.before = self.now()

    def now(self) -> tuple[float, float, float]:
        series = (
            f"airouter_abandoned_answers_total{{{self.labels}}}",
            f'airouter_abandoned_nanodollars_total{{bearer="client",{self.labels}}}',
            f'airouter_unread_nanodollars_total{{bearer="client",{self.labels}}}',
        )
        values = dict(line.rsplit(" ", 1) for line in self.gateway.metrics().splitlines() if line[:1] not in ("", "#"))
        answers, amount, unread = (float(values.get(name, 0)) for name in series)
        return answers, amount, unread

    def grown(self) -> tuple[float, float, float]:
        before = self.before
        now = self.now()
        return (now[0] - before[0], now[1] - before[1], now[2] - before[2])

    def unread_of(self, event: Event) -> float:
        """How much nobody read of this event's answer, which alone is counted; that is counted last."""

        def unread() -> float:
            answers, amount, unread = self.grown()
            assert (answers, amount) == (1, event.price_nanos)
            return unread

        return eventually(unread, "counted")


def give(account: Account, directory: Path, **disconnect: Any) -> None:
    file = directory / "plan.json"
    rule = {"rule": "percent_of_list", "factor": "0.8"}
    # The list tells when the plan acts.
    policy = {"disconnect": disconnect, "allowed_models": ["sim/*"]}
    file.write_text(json.dumps({"rule": rule, "policy": policy}))
    account.gateway.command("plans", "create", account.email, f"--file={file}")
    account.gateway.command("accounts", "set-plan", f"--email={account.email}", account.email)
    models = account.sdk().models
    eventually(lambda: all(model.id.startswith("sim/") for model in models.list()), "the plan acts", 1)


def leave_after(account: Account, chunks: int, model: str) -> None:
    with account.sdk().chat.completions.create(**chat(model, SLOW), stream=True) as stream:
        for index, _ in enumerate(stream):
            if index == chunks:
                break


def left(account: Account, simulator: Simulator, chunks: int, model: str) -> tuple[Event, Generation]:
    leave_after(account, chunks, model)
    [event] = account.settled(1)
    eventually(lambda: simulator.running() == 0, "the upstream is done", 10)
    generation = simulator.generation(event.generation_id)
    assert event.ending == "client_gone"
    assert event.list_usd == generation.cost
    assert event.charged_nanos == event.price_nanos == price_of(generation.cost)
    eventually(lambda: account.balance().reserved_nanos == 0, "nothing is held", 10)
    return event, generation


def test_by_default_it_is_cancelled_where_that_helps(account: Account, simulator: Simulator):
    counters = Counters(account, "cancelled", "OpenAI")
    event, generation = left(account, simulator, 4, "sim/small")
    assert generation.state == "cancelled"
    assert generation.completion_tokens < CHUNKS
    eventually(lambda: counters.grown() == (1, event.price_nanos, 0), "counted")


def test_by_default_it_is_drained_elsewhere(account: Account, simulator: Simulator):
    counters = Counters(account, "drained", "Groq")
    event, generation = left(account, simulator, 4, "sim/groq")
    assert generation.completion_tokens == CHUNKS
    assert event.price_nanos / 3 < counters.unread_of(event) < event.price_nanos


def test_a_plan_drains_everywhere(account: Account, simulator: Simulator, tmp_path: Path):
    give(account, tmp_path, otherwise="drain")
    counters = Counters(account, "drained", "OpenAI")
    event, generation = left(account, simulator, 4, "sim/small")
    assert generation.completion_tokens == CHUNKS
    assert counters.unread_of(event) < event.price_nanos


def test_a_plan_knows_better_about_a_provider(account: Account, simulator: Simulator, tmp_path: Path):
    give(account, tmp_path, providers={"groq": "cancel", "OpenAI": "drain"})
    counters = Counters(account, "cancelled", "Groq")
    event, generation = left(account, simulator, 4, "sim/groq")
    # The upstream bills it to the end all the same, and so does the client pay it.
    assert generation.completion_tokens == CHUNKS
    eventually(lambda: counters.grown()[:2] == (1, event.price_nanos), "counted")


CAPS = [
    {"bytes": 2_000},
    {"tokens": 10},
    # 10 tokens at $0.6 a million.
    {"list_cost": 6_000},
    {"seconds": 1},
]


@pytest.mark.parametrize("cap", CAPS, ids=[next(iter(cap)) for cap in CAPS])
def test_draining_ends_at_a_cap(account: Account, simulator: Simulator, tmp_path: Path, cap: dict):
    give(account, tmp_path, otherwise="drain", cap=cap)
    counters = Counters(account, "capped", "OpenAI")
    event, generation = left(account, simulator, 4, "sim/small")
    assert generation.state == "cancelled"
    assert 4 < generation.completion_tokens < CHUNKS
    assert 0 < counters.unread_of(event) < event.price_nanos


def test_an_answer_in_one_piece_counts_as_unread(account: Account, simulator: Simulator):
    counters = Counters(account, "drained", "OpenAI")
    ask_and_leave(account, simulator, body(sim=SLOW))
    [event] = account.settled(1)
    assert event.list_usd == simulator.generation(event.generation_id).cost
    assert 0 < counters.unread_of(event) <= event.price_nanos
