"""Every trap in which a meter was ever caught: what is booked is what the upstream's books say, to the nano-dollar."""

import json
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from harness.database import Event
from harness.gateway import Account, Gateway
from harness.money import cost_of, nanos, price_of, usd
from harness.polling import eventually
from harness.requests import assert_says_nothing_of_the_upstream, body, chat
from harness.simulator import Generation, Simulator

DELIVERIES = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
TEXT = "Grüße aus 世界: 🦀🦀🦀, \u2028 und so weiter \u0085 bis zum Ende."


@dataclass
class Answer:
    """What came down, and whose it is."""

    id: str
    content: str
    text: str
    chunks: list[dict[str, Any]]


def ask(account: Account, stream: bool, model: str = "sim/small", sim: dict | None = None, **fields: Any) -> Answer:
    """Sends a request and reads the whole answer as a careful client of `/v1` does."""
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    with account.http() as http:
        response = http.post("/v1/chat/completions", json=body(model, sim, **fields))
    assert response.status_code == 200, response.text
    assert_says_nothing_of_the_upstream(response.text.replace("openrouter/auto", "") + str(response.headers))
    if not stream:
        chunks = [json.loads(response.text, parse_float=usd)]
        content = chunks[0]["choices"][0]["message"]["content"]
    else:
        events = data_of(response.text)
        assert events[-1] == "[DONE]"
        chunks = [json.loads(event, parse_float=usd) for event in events[:-1]]
        deltas = (choice["delta"] for chunk in chunks for choice in chunk["choices"])
        content = "".join(delta.get("content") or "" for delta in deltas)
    return Answer(chunks[0]["id"], content, response.text, chunks)


def data_of(text: str) -> list[str]:
    """The data lines of a stream, whatever its line ends."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line.removeprefix("data:").lstrip(" ") for line in lines if line.startswith("data:")]


def assert_booked(account: Account, simulator: Simulator, answer: Answer, events: int = 1) -> tuple[Event, Generation]:
    """The last usage event says what the upstream's books say."""
    event = account.settled(events)[-1]
    billed = simulator.generation(answer.id)
    assert event.generation_id == answer.id
    assert event.list_usd == billed.cost + billed.paid_at_provider
    assert event.price_nanos == price_of(billed.cost, billed.paid_at_provider)
    assert event.cost_nanos == cost_of(billed.cost, billed.paid_at_provider)
    assert (event.charged_nanos, event.uncollected_nanos, event.loss_reason) == (event.price_nanos, 0, None)
    assert (event.prompt_tokens, event.completion_tokens) == (billed.prompt_tokens, billed.completion_tokens)
    return event, billed


def usages(answer: Answer) -> list[dict]:
    return [chunk["usage"] for chunk in answer.chunks if chunk.get("usage")]


PLACES = ["normal", "null_finish", "empty_choices", "repeated", "several", "first_chunk", "finish_chunk"]


@pytest.mark.parametrize("place", PLACES)
def test_usage_may_stand_anywhere(account: Account, simulator: Simulator, place: str):
    answer = ask(account, True, sim={"usage": place, "text": TEXT, "completion_tokens": 40})
    event, _ = assert_booked(account, simulator, answer)
    assert answer.content == TEXT
    [usage] = usages(answer)
    assert answer.chunks[-1]["choices"] == []
    assert answer.chunks[-1]["usage"] == usage
    assert usage["completion_tokens"] == 40
    assert nanos(usage["cost"]) == event.price_nanos


@pytest.mark.parametrize("place", PLACES)
def test_usage_that_was_not_asked_for_is_not_there(account: Account, simulator: Simulator, place: str):
    request = chat(sim={"usage": place, "text": TEXT})
    chunks = list(account.sdk().chat.completions.create(**request, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    [event] = account.events()
    assert event.price_nanos == price_of(simulator.generation(chunks[0].id).cost)


@DELIVERIES
def test_an_answer_without_usage_is_asked_for(account: Account, simulator: Simulator, stream: bool):
    answer = ask(account, stream, sim={"usage": "none", "completion_tokens": 33})
    event, _ = assert_booked(account, simulator, answer)
    assert event.cost_source == "generation_record"


@DELIVERIES
def test_usage_without_a_cost_has_a_price_all_the_same(account: Account, simulator: Simulator, stream: bool):
    answer = ask(account, stream, sim={"usage": "null_cost", "completion_tokens": 33})
    event, _ = assert_booked(account, simulator, answer)
    assert event.cost_source in ("price_book", "generation_record")


@DELIVERIES
def test_a_record_that_comes_late_is_asked_again(account: Account, simulator: Simulator, stream: bool):
    answer = ask(account, stream, sim={"usage": "none", "generation_delay_ms": 1500})
    assert_booked(account, simulator, answer)


def test_a_record_that_never_comes_stays_open_and_held(account: Account, gateway: Gateway):
    answer = ask(account, True, sim={"usage": "none", "generation_never": True})
    [(reason, _, details)] = [row for row in gateway.database.pending() if row[1] == answer.id]
    assert reason == "usage_unknown"
    assert details
    assert account.events() == []
    assert account.balance().reserved_nanos > 0


@DELIVERIES
def test_a_reported_cost_of_zero_is_charged_zero(account: Account, simulator: Simulator, stream: bool):
    answer = ask(account, stream, sim={"usage": "zero_cost"})
    event, _ = assert_booked(account, simulator, answer)
    assert event.price_nanos == event.cost_nanos == 0
    assert event.completion_tokens > 0


@pytest.mark.parametrize("line_end", ["lf", "crlf", "cr"])
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 7, 64])
def test_streams_may_be_cut_anywhere(account: Account, simulator: Simulator, line_end: str, cut: int):
    answer = ask(account, True, sim={"line_end": line_end, "cut": cut, "text": TEXT, "chunks": 9})
    assert answer.content == TEXT
    assert_booked(account, simulator, answer)


@pytest.mark.parametrize("cut", [1, 5])
def test_whole_answers_may_be_cut_anywhere(account: Account, simulator: Simulator, cut: int):
    answer = ask(account, False, sim={"cut": cut, "text": TEXT})
    assert answer.content == TEXT
    assert_booked(account, simulator, answer)


@DELIVERIES
def test_compressed_although_nobody_asked(account: Account, simulator: Simulator, stream: bool):
    answer = ask(account, stream, sim={"gzip": True, "text": TEXT, "chunks": 5})
    assert answer.content == TEXT
    assert_booked(account, simulator, answer)


def test_compressed_and_cut(account: Account, simulator: Simulator):
    answer = ask(account, True, sim={"gzip": True, "cut": 1, "text": TEXT})
    assert answer.content == TEXT
    assert_booked(account, simulator, answer)


@DELIVERIES
@pytest.mark.parametrize("size", [200_000, 3_000_000])
def test_events_of_megabytes(account: Account, simulator: Simulator, stream: bool, size: int):
    answer = ask(account, stream, sim={"event_bytes": size, "text": TEXT})
    assert len(answer.text) > size
    assert answer.content == TEXT
    assert_booked(account, simulator, answer)


@DELIVERIES
def test_whitespace_before_the_answer(account: Account, simulator: Simulator, stream: bool):
    answer = ask(account, stream, sim={"leading_whitespace": 5000, "text": TEXT})
    assert answer.content == TEXT
    assert_booked(account, simulator, answer)


def test_a_slow_answer_in_one_piece(account: Account, simulator: Simulator):
    answer = ask(account, False, sim={"first_ms": 1200, "text": TEXT})
    assert answer.content == TEXT
    assert_booked(account, simulator, answer)


# With a factor of 0.8: halves of a nano-dollar that go to the even neighbour, exponents, a long tail of digits.
COSTS = {
    "7.1e-05": 56_800,
    "7.1E-05": 56_800,
    "1e-3": 800_000,
    "1.25e+0": 1_000_000_000,
    "0.000000000625": 0,
    "0.000000001875": 2,
    "0.000000003125": 2,
    "0.000000004375": 4,
    "6.26e-10": 1,
    "0.000123456789": 98_765,
    "0": 0,
    "0.0": 0,
    "0e-7": 0,
}


@DELIVERIES
@pytest.mark.parametrize(("cost", "price"), COSTS.items(), ids=COSTS)
def test_costs_are_read_as_exact_decimals(account: Account, simulator: Simulator, stream: bool, cost: str, price: int):
    answer = ask(account, stream, sim={"cost": cost})
    event, billed = assert_booked(account, simulator, answer)
    assert billed.cost == usd(cost)
    assert event.price_nanos == price


@DELIVERIES
def test_a_cost_below_zero_charges_nothing(account: Account, stream: bool):
    answer = ask(account, stream, sim={"cost": "-0.5"})
    [event] = account.settled(1)
    assert event.generation_id == answer.id
    assert event.price_nanos >= 0
    assert account.balance().balance_nanos <= 10 * 10**9


@DELIVERIES
@pytest.mark.parametrize(("fee", "upstream"), [("0.00005", "0.001"), ("0.001", "0.001"), ("0", "0.0007")])
def test_a_provider_key_of_the_operators_own(
    account: Account, simulator: Simulator, stream: bool, fee: str, upstream: str
):
    answer = ask(account, stream, sim={"byok": {"fee": fee, "upstream": upstream}})
    event, billed = assert_booked(account, simulator, answer)
    assert (billed.cost, billed.paid_at_provider) == (usd(fee), usd(upstream))
    assert event.price_nanos >= event.cost_nanos > 0


@DELIVERIES
def test_tokens_by_kind(account: Account, simulator: Simulator, stream: bool):
    counts = {"prompt_tokens": 5000, "cached_tokens": 3000, "cache_write_tokens": 1000, "completion_tokens": 70}
    answer = ask(account, stream, "sim/large", counts | {"reasoning_tokens": 50})
    event, billed = assert_booked(account, simulator, answer)
    assert (event.cached_tokens, event.cache_write_tokens, event.reasoning_tokens) == (3000, 1000, 50)
    assert billed.cost == usd("0.003") + usd("0.0009") + usd("0.00375") + usd("0.00105")
    [usage] = usages(answer)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 3000
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 50


@DELIVERIES
def test_input_images(account: Account, simulator: Simulator, stream: bool):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 2000}}
    content = [{"type": "text", "text": "zebra quartz: what is this?"}, picture, picture]
    answer = ask(account, stream, "sim/vision", {"prompt_tokens": 900}, messages=[{"role": "user", "content": content}])
    _, billed = assert_booked(account, simulator, answer)
    assert billed.cost > 2 * usd("0.001445")


@DELIVERIES
@pytest.mark.parametrize(
    ("model", "served"),
    [
        ("sim/search", "sim/search"),
        ("sim/small:free", "sim/small:free"),
        ("sim/small:nitro", "sim/small"),
        ("sim/small:floor", "sim/small"),
        ("sim/small:exacto", "sim/small"),
        ("sim/small:online", "sim/small"),
        ("sim/long-context", "sim/long-context"),
        ("sim/sub-nano", "sim/sub-nano"),
        ("sim/no-maximum", "sim/no-maximum"),
        ("sim/uncapped", "sim/uncapped"),
        ("openrouter/auto", "openai/gpt-4o-mini"),
    ],
)
def test_models_with_prices_of_their_own(account: Account, simulator: Simulator, stream: bool, model: str, served: str):
    answer = ask(account, stream, model, {"completion_tokens": 11})
    event, billed = assert_booked(account, simulator, answer)
    assert event.model == billed.model == answer.chunks[0]["model"] == served
    assert (billed.cost > 0) is (model != "sim/small:free")


def test_prices_that_rise_with_the_prompt(account: Account, simulator: Simulator):
    answer = ask(
        account,
        False,
        "sim/long-context",
        {"prompt_tokens": 250_000},
        messages=[{"role": "user", "content": "zebra quartz " * 50_000}],
    )
    _, billed = assert_booked(account, simulator, answer)
    assert billed.cost > usd("0.6")


@DELIVERIES
def test_another_model_answers(account: Account, simulator: Simulator, stream: bool):
    for count, name in enumerate(("sim/large", "some/model-2026-11-05"), start=1):
        answer = ask(account, stream, sim={"model": name})
        event, _ = assert_booked(account, simulator, answer, count)
        assert event.model == answer.chunks[0]["model"] == name


@DELIVERIES
def test_fallback_models(account: Account, simulator: Simulator, stream: bool):
    answer = ask(account, stream, "sim/small", {"model": "sim/large"}, models=["sim/large"])
    event, _ = assert_booked(account, simulator, answer)
    assert event.model == "sim/large"


def test_a_plugin_raises_the_cost(account: Account, simulator: Simulator):
    answer = ask(account, False, plugins=[{"id": "web"}])
    _, billed = assert_booked(account, simulator, answer)
    assert billed.cost > usd("0.02")


@DELIVERIES
def test_sums_of_sub_nano_prices_are_rounded_once(account: Account, simulator: Simulator, stream: bool):
    for tokens in (1, 2, 3, 13):
        ask(account, stream, "sim/sub-nano", {"completion_tokens": tokens, "prompt_tokens": tokens})
    events = account.settled(4)
    billed = simulator.generations()
    assert [event.price_nanos for event in events] == [price_of(billed[event.generation_id].cost) for event in events]
    assert account.balance().balance_nanos == 10 * 10**9 - sum(event.price_nanos for event in events)


def test_a_stream_without_done_is_metered(account: Account, simulator: Simulator):
    request = body(sim={"error": "no_done", "text": TEXT}, stream=True)
    with account.http() as http:
        text = http.post("/v1/chat/completions", json=request).text
    generation = json.loads(data_of(text)[0])["id"]
    [event] = account.settled(1)
    assert event.price_nanos == price_of(simulator.generation(generation).cost)


@pytest.mark.parametrize("billed", [False, True], ids=["free", "billed"])
def test_an_error_in_the_middle_of_a_stream(account: Account, simulator: Simulator, billed: bool):
    sim = {"error": {"kind": "mid_stream", "after": 3, "billed": billed}, "completion_tokens": 30, "chunks": 10}
    seen = []
    with pytest.raises(openai.APIError) as raised:
        seen.extend(account.sdk().chat.completions.create(**chat(sim=sim), stream=True))
    assert len(seen) >= 3
    assert_says_nothing_of_the_upstream(str(raised.value.body))
    generation = simulator.generation(seen[0].id)
    assert (generation.cost > 0) is billed
    assert_final_balance(account, simulator, generation)


@pytest.mark.parametrize(
    "fault", [{"kind": "in_choice", "billed": True}, {"kind": "reset", "after": 3}], ids=["in_choice", "reset"]
)
@DELIVERIES
def test_what_breaks_on_the_way_costs_what_the_upstream_bills(
    account: Account, simulator: Simulator, stream: bool, fault: Any
):
    request = body(sim={"error": fault, "completion_tokens": 30, "chunks": 10}, stream=stream)
    before = set(simulator.generations())
    with account.http() as http:
        response = http.post("/v1/chat/completions", json=request)
    assert_says_nothing_of_the_upstream(response.text)
    assert "[DONE]" not in response.text or '"error"' in response.text
    for generation in set(simulator.generations()) - before:
        assert_final_balance(account, simulator, simulator.generation(generation))


def assert_final_balance(account: Account, simulator: Simulator, generation: Generation) -> None:
    """What the upstream billed is charged, or booked as a loss; nothing else is."""

    def settled() -> bool:
        events = account.events()
        listed = sum(event.list_usd for event in events)
        charged = sum(event.charged_nanos for event in events)
        assert listed == simulator.generation(generation.id).cost
        assert account.balance().balance_nanos == 10 * 10**9 - charged
        assert charged in (0, price_of(listed))
        assert charged or not listed or events[0].loss_reason
        return account.balance().reserved_nanos == 0

    eventually(settled, "the failed answer is settled", 20)
