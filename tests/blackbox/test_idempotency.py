"""`Idempotency-Key`: the whole table of what a repeat is answered, and that each request is billed once."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import openai
import pytest

from harness.database import Database
from harness.gateway import Account, Gateway, running_gateway
from harness.marks import ON_POSTGRES
from harness.polling import eventually
from harness.postgres import running_postgres
from harness.postgres_database import Servers, new_database
from harness.repeats import (
    PATH,
    Table,
    ask,
    assert_billed,
    assert_finished,
    assert_replays,
    assert_running,
    assert_runs,
    code_of,
    new_key,
)
from harness.replicas import Replicas
from harness.requests import body, chat
from harness.simulator import Simulator

OPENROUTER_PATH = "/api/v1/chat/completions"
SLOW_STREAM = {"completion_tokens": 40, "chunks": 40, "chunk_ms": 50}
LAPSE_ALL_BUT_LAST = """
    UPDATE replicas SET lease_ends = (SELECT elapsed_micros FROM lease_clock) - 60000000
    WHERE ended_at IS NULL AND id < (SELECT max(id) FROM replicas)"""


@pytest.fixture
def table(request: pytest.FixtureRequest, store: object, table_row: Callable[[str, str], None]) -> Table:  # noqa: ARG001
    return Table(request.node.callspec.params["store"], table_row)


def stream_text(account: Account, key: str, request: dict) -> tuple[str, str]:
    """A whole stream: its request's id, and its text."""
    headers = {"idempotency-key": key}
    with account.http(headers=headers) as http, http.stream("POST", PATH, json=request) as answer:
        text = "".join(answer.iter_text())
        assert "[DONE]" in text
        return answer.headers["x-request-id"], text


def test_a_finished_request_is_replayed(account: Account, simulator: Simulator, table: Table):
    for path, case in [(PATH, "finished"), (OPENROUTER_PATH, "finished on /api/v1")]:
        key, before = new_key(), len(simulator.generations())
        first = ask(account, key, body(), path)
        assert_runs(first)
        for _ in range(5):
            again = ask(account, key, body(), path)
            assert_replays(again, first)
            assert again.headers["x-airouter-price"] == first.headers["x-airouter-price"]
            assert again.headers.get("x-generation-id") == first.headers.get("x-generation-id")
            table.note(f"same key, same body: {case}", again)
        assert len(simulator.generations()) == before + 1
    assert_billed(account, simulator, [event.generation_id for event in account.settled(2)])


def test_a_replay_needs_no_money_and_counts_for_no_limit(gateway: Gateway):
    account = gateway.new_account(credit="1")
    key, request = new_key(), body()
    first = ask(account, key, request)
    account.credit("-1")
    account.set_limit("requests_per_minute", 1)
    eventually(lambda: ask(account, None, request).status_code in (402, 429), "it can't ask for more")
    events = account.events()
    for _ in range(5):
        assert_replays(ask(account, key, request), first)
    assert account.events() == events


def test_what_is_kept_can_not_be_read(account: Account, gateway: Gateway):
    said = "a-quite-unmistakable-answer"
    key = new_key()
    first = ask(account, key, body(sim={"text": said}))
    assert said in first.text
    assert_replays(ask(account, key, body(sim={"text": said})), first)
    contents = gateway.database.contents()
    assert said.encode() not in contents
    assert key.encode() not in contents
    [(sealed,)] = gateway.database.rows(
        "SELECT count(*) FROM idempotency_keys WHERE length(sealed_answer) > ?", len(first.content)
    )
    assert sealed > 0


def test_a_running_request_is_not_run_again(account: Account, simulator: Simulator, table: Table):
    # It runs for longer than all that is asked meanwhile takes.
    key, request = new_key(), body(sim={"first_ms": 5000})
    before = len(simulator.generations())
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, account, key, request)
        eventually(lambda: simulator.running() > 0, "the upstream is asked")
        for _ in range(3):
            again = ask(account, key, request)
            assert_running(again)
            table.note("same key, same body: running", again)
        other = ask(account, key, body(max_tokens=7))
        assert other.status_code == 422
        table.note("same key, other body: running", other)
        assert_runs(first.result())
    assert again.headers["x-airouter-request-id"] == first.result().headers["x-request-id"]
    assert_replays(ask(account, key, request), first.result())
    assert len(simulator.generations()) == before + 1
    assert_billed(account, simulator, [account.settled(1)[0].generation_id])


def test_the_sdk_waits_for_a_running_request(account: Account, simulator: Simulator):
    """Its own repeat after a time-out finds the request running, waits, and gets the one answer."""
    request = chat(sim={"first_ms": 2500}, extra_headers={"idempotency-key": new_key()})
    with pytest.raises(openai.APITimeoutError):
        account.sdk(timeout=1).chat.completions.create(**request)
    answer = account.sdk(max_retries=3).chat.completions.create(**request)
    assert answer.choices
    assert_billed(account, simulator, [answer.id])


def test_a_stream_is_not_replayed(account: Account, simulator: Simulator, table: Table):
    key, request = new_key(), body(stream=True)
    request_id, _ = stream_text(account, key, request)
    [event] = account.settled(1)
    for _ in range(3):
        again = ask(account, key, request)
        assert_finished(again, request_id, event.charged_nanos)
        table.note("same key, same body: streamed", again)
    assert_billed(account, simulator, [event.generation_id])


def test_a_client_that_left_is_told_what_it_cost(account: Account, simulator: Simulator, table: Table):
    key, request = new_key(), body(sim=SLOW_STREAM, stream=True)
    headers = {"idempotency-key": key}
    with account.http(headers=headers) as http, http.stream("POST", PATH, json=request) as stream:
        next(stream.iter_text())
        request_id = stream.headers["x-request-id"]
    eventually(lambda: code_of(ask(account, key, request)) == "request_finished", "its price is known", 30)
    again = ask(account, key, request)
    [event] = account.settled(1)
    assert_finished(again, request_id, event.charged_nanos)
    table.note("same key, same body: the client left the stream", again)
    assert_billed(account, simulator, [event.generation_id])


def test_a_large_answer_is_not_kept(account: Account, simulator: Simulator, table: Table):
    for size, is_kept in [(200_000, True), (300_000, False)]:
        key, request = new_key(), body(sim={"event_bytes": size})
        first = ask(account, key, request)
        assert_runs(first)
        assert (len(first.content) <= 256 * 1024) == is_kept
        again = ask(account, key, request)
        if is_kept:
            assert_replays(again, first)
        else:
            [_, event] = account.settled(2)
            assert_finished(again, first.headers["x-request-id"], event.charged_nanos)
            table.note("same key, same body: larger than 256 KiB", again)
    assert_billed(account, simulator, [event.generation_id for event in account.settled(2)])


def test_an_answer_whose_price_is_not_known_yet(account: Account, simulator: Simulator, table: Table):
    late = {"usage": "none", "generation_delay_ms": 2000}
    key, request = new_key(), body(sim=late)
    first = ask(account, key, request)
    assert_runs(first)
    again = ask(account, key, request)
    assert_replays(again, first)
    table.note("same key, same body: price not known yet", again)
    streamed, request = new_key(), body(sim=late, stream=True)
    request_id, _ = stream_text(account, streamed, request)
    again = ask(account, streamed, request)
    assert_running(again)
    table.note("same key, same body: price not known yet", again)
    events = account.settled(2)
    [generation] = [event for event in events if event.delivery == "streamed"]
    assert_finished(ask(account, streamed, request), request_id, generation.charged_nanos)
    assert_billed(account, simulator, [event.generation_id for event in events])


def test_what_failed_for_free_may_be_repeated(account: Account, simulator: Simulator, table: Table):
    key = new_key()
    # As often as it is tried on one account.
    fault = {"kind": "status:503", "first_attempts": 3, "attempt_key": new_key()}
    request = body(sim={"error": fault})
    failed = ask(account, key, request)
    assert failed.status_code in (429, 503), failed.text
    again = ask(account, key, request)
    assert_runs(again)
    table.note("same key, same body: failed for free", again)
    assert_replays(ask(account, key, request), again)
    # Nor does a failure keep the key for its body.
    key = new_key()
    assert ask(account, key, body("sim/unknown")).status_code == 404
    other = ask(account, key, body())
    assert_runs(other)
    table.note("same key, other body: failed for free", other)
    assert_billed(account, simulator, [again.json()["id"], other.json()["id"]])


def test_the_sdks_own_repeat_after_a_failure(account: Account, simulator: Simulator):
    fault = {"kind": "status:500", "first_attempts": 2, "attempt_key": new_key()}
    request = chat(sim={"error": fault}, extra_headers={"idempotency-key": new_key()})
    answer = account.sdk(max_retries=4).chat.completions.create(**request)
    assert account.sdk().chat.completions.create(**request).id == answer.id
    assert_billed(account, simulator, [answer.id])


def test_what_was_refused_may_be_repeated(gateway: Gateway, simulator: Simulator, table: Table):
    account = gateway.new_account(credit="0")
    key = new_key()
    assert ask(account, key, body()).status_code == 402
    account.credit("1")
    eventually(lambda: ask(account, None, body()).status_code == 200, "it may spend")
    again = ask(account, key, body())
    assert_runs(again)
    table.note("same key, same body: refused for lack of money", again)
    assert_billed(account, simulator, [event.generation_id for event in account.settled(2)])


def test_another_body_is_another_request(account: Account, simulator: Simulator, table: Table):
    key = new_key()
    first = ask(account, key, body())
    for request, path, case in [
        (body(max_tokens=7), PATH, "same key, other body: finished"),
        (body(stream=True), PATH, "same key, other body: finished"),
        (body(), OPENROUTER_PATH, "same key, other path: finished"),
    ]:
        refused = ask(account, key, request, path)
        assert refused.status_code == 422, refused.text
        if path == PATH:
            assert refused.json()["error"]["code"] == "idempotency_key_reused"
        else:
            assert refused.json()["error"]["metadata"]["error_type"] == "idempotency_key_reused"
        assert "idempotent-replayed" not in refused.headers
        table.add(case, "422 idempotency_key_reused")
    assert_billed(account, simulator, [first.json()["id"]])


def test_clients_never_meet(gateway: Gateway, simulator: Simulator, table: Table):
    key, clients = new_key(), [gateway.new_account() for _ in range(2)]
    answers = [ask(client, key, body()) for client in clients]
    for client, answer in zip(clients, answers, strict=True):
        assert_runs(answer)
        assert_billed(client, simulator, [answer.json()["id"]])
    table.note("same key, other client", answers[1])
    assert answers[0].json()["id"] != answers[1].json()["id"]
    for client, answer in zip(clients, answers, strict=True):
        assert_replays(ask(client, key, body()), answer)


def test_a_key_is_one_header_of_visible_ascii(account: Account, table: Table):
    for key in ["", "a b", "x" * 256, "\u00e9".encode("latin-1")]:
        with account.http() as http:
            refused = http.post(PATH, json=body(), headers={"idempotency-key": key})
        assert (refused.status_code, code_of(refused)) == (400, "invalid_idempotency_key")
        table.note("no key that could be one", refused)
    with account.http() as http:
        twice = http.post(PATH, json=body(), headers=[("idempotency-key", "a"), ("idempotency-key", "a")])
    assert code_of(twice) == "invalid_idempotency_key"
    assert account.events() == []


def test_a_day_later_a_key_is_new(account: Account, gateway: Gateway, simulator: Simulator, table: Table):
    key = new_key()
    first = ask(account, key, body())
    gateway.database.execute(f"UPDATE idempotency_keys SET expires_at = {gateway.database.NOW}")
    again = ask(account, key, body())
    assert_runs(again)
    table.note("same key, same body: a day later", again)
    assert_billed(account, simulator, [first.json()["id"], again.json()["id"]])


def assert_one_of_many_runs(clients: list[Account], simulator: Simulator, table: Table) -> None:
    """Eight at once for each of ten keys, on all replicas: one runs, the others are told so, or get its answer."""
    before = len(simulator.generations())
    keys = [new_key() for _ in range(10)]
    request = body(sim={"first_ms": 300})
    with ThreadPoolExecutor(80) as pool:
        sent = {
            key: [pool.submit(ask, clients[turn % len(clients)], key, request) for turn in range(8)] for key in keys
        }
        answers = {key: [one.result() for one in sent[key]] for key in keys}
    generations = []
    for key in keys:
        ran = [one for one in answers[key] if one.status_code == 200 and "idempotent-replayed" not in one.headers]
        assert len(ran) == 1, [(one.status_code, one.text) for one in answers[key]]
        generations.append(ran[0].json()["id"])
        for one in answers[key]:
            if one.status_code == 409:
                assert_running(one)
            elif one is not ran[0]:
                assert_replays(one, ran[0])
            table.note("same key, same body: 8 at once", one)
        for client in clients:
            assert_replays(ask(client, key, request), ran[0])
    assert len(simulator.generations()) == before + len(keys)
    assert_billed(clients[0], simulator, generations)


def test_of_many_at_once_one_runs(account: Account, simulator: Simulator, table: Table):
    assert_one_of_many_runs([account], simulator, table)


@ON_POSTGRES
def test_of_many_on_several_replicas_one_runs(replicas: Replicas, simulator: Simulator, table: Table):
    assert_one_of_many_runs(replicas.new_account(), simulator, table)


@pytest.fixture
def mortal(tmp_path: Path, simulator: Simulator, own_database: Database | None) -> Iterator[Gateway]:
    """A gateway that may be killed."""
    gateway = Gateway(tmp_path, simulator, own_database)
    gateway.start()
    yield gateway
    if gateway.child.is_running:
        gateway.child.kill()


def test_after_a_kill(mortal: Gateway, simulator: Simulator, table: Table):
    """What was answered is not run again; what was cut cost nothing, and runs as soon as its replica counts as dead."""
    account = mortal.new_account()
    whole, streamed = new_key(), new_key()
    answered = ask(account, whole, body())
    request_id, _ = stream_text(account, streamed, body(stream=True))
    [_, stream_event] = account.settled(2)
    paid = [event.generation_id for event in account.events()]
    # Both still run at the kill, however long it takes until the old one is on record.
    slow = body(sim={"completion_tokens": 200, "chunks": 200, "chunk_ms": 100}, stream=True)
    old, young = new_key(), new_key()
    with contextlib.ExitStack() as closing:
        http = closing.enter_context(account.http())
        open_stream(closing, http, old, slow)
        eventually(mortal.database.pending, "the old one is on record")
        open_stream(closing, http, young, slow)
        assert_running(ask(account, old, slow))
        mortal.child.kill()
    mortal.start()
    again = ask(account, whole, body())
    assert_replays(again, answered)
    table.note("same key, same body: whole answer, then killed", again)
    again = ask(account, streamed, body(stream=True))
    assert_finished(again, request_id, stream_event.charged_nanos)
    table.note("same key, same body: stream, then killed", again)
    if "DATABASE_URL" in mortal.database.settings():
        for key in (old, young):
            assert_running(ask(account, key, slow))
        mortal.database.execute(LAPSE_ALL_BUT_LAST)
    request = body(sim=SLOW_STREAM | {"chunk_ms": 1}, stream=True)
    for key, case in [(old, "old"), (young, "young")]:
        # Whatever it is asked for: nothing of it was charged.
        eventually(lambda key=key: can_claim(account, key, request), "the key is free again", 20)
        table.add(f"same key, same body: killed while it ran ({case})", "200 runs")
    eventually(lambda: not mortal.database.pending(), "what was cut is found out", 20)
    events = account.events()
    losses = [event for event in events if event.loss_reason is not None]
    # The young one may have grown old before the kill.
    assert len(losses) in (1, 2)
    assert {(loss.loss_reason, loss.charged_nanos) for loss in losses} == {("crash", 0)}
    after = [event.generation_id for event in events if event.loss_reason is None]
    assert len(after) == 4
    assert set(paid) <= set(after)
    assert_billed(account, simulator, after)
    mortal.stop()


def open_stream(closing: contextlib.ExitStack, http: httpx2.Client, key: str, request: dict) -> None:
    headers = {"idempotency-key": key}
    stream = closing.enter_context(http.stream("POST", PATH, json=request, headers=headers))
    assert stream.status_code == 200
    texts = stream.iter_text()
    # It has to be kept: without it the stream is closed.
    closing.callback(texts.close)
    next(texts)


def can_claim(account: Account, key: str, request: dict) -> bool:
    answer = ask(account, key, request)
    if answer.status_code == 200:
        assert "[DONE]" in answer.text
    return answer.status_code == 200


@ON_POSTGRES
def test_without_the_database_nothing_runs(tmp_path: Path, simulator: Simulator, servers: Servers, table: Table):
    with (
        running_postgres() as server,
        new_database(Servers(server.url, servers.redis_url)) as database,
        running_gateway(tmp_path, simulator, database) as gateway,
    ):
        account = gateway.new_account()
        assert_runs(ask(account, None, body()))
        before, key = len(simulator.generations()), new_key()
        server.stop()
        try:
            refused = ask(account, key, body())
            assert (refused.status_code, code_of(refused)) == (503, "service_unavailable"), refused.text
            assert int(refused.headers["retry-after"]) > 0
            table.note("the database is away", refused)
            assert len(simulator.generations()) == before
            # Who sends no key is served all the same.
            assert_runs(ask(account, None, body()))
        finally:
            server.start()
        answers: list[httpx2.Response] = []

        def runs() -> bool:
            answers.append(ask(account, key, body()))
            return answers[-1].status_code == 200

        eventually(runs, "it runs once the database is back", 30)
        # What was answered on the strength of the spool is there for repeats once it has landed.
        eventually(lambda: ask(account, key, body()).status_code == 200, "it has landed", 30)
        assert_replays(ask(account, key, body()), answers[-1])
        assert len(simulator.generations()) == before + 2
        assert_billed(account, simulator, [event.generation_id for event in account.settled(3)])
