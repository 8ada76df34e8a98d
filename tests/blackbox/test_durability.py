"""What a client received whole is billed, whatever happens to the gateway in that moment."""

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from harness import trace
from harness.database import Database
from harness.gateway import Gateway
from harness.load import ended, put_load, wait_for_more
from harness.polling import eventually
from harness.postgres_database import Servers, new_database
from harness.reconcile import kill_now, reconcile
from harness.replicas import revive
from harness.requests import chat
from harness.simulator import Simulator

KILLS = 20
WHOLE_ANSWERS = 10_000
FILE_CALLS = ("write", "pwrite64", "pwritev")
SYNCS = ("fsync", "fdatasync")
SENDS = ("writev", "sendto", "sendmsg")
RECEIVES = ("read", "readv", "recvfrom", "recvmsg")


@pytest.fixture
def mortal(tmp_path: Path, simulator: Simulator, own_database: Database | None) -> Iterator[Gateway]:
    """A gateway that may be killed: stopped and checked by the test itself."""
    gateway = Gateway(tmp_path, simulator, own_database)
    gateway.start()
    yield gateway
    if gateway.child.is_running:
        gateway.child.kill()


@pytest.mark.timeout(600)
def test_kills_lose_nothing(mortal: Gateway, simulator: Simulator, tmp_path: Path, closing_note: Callable[[str], None]):
    gateway = mortal
    account = gateway.new_account(credit="100000")
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the kill times: {seed}")
    moments = random.Random(seed)
    before = set(simulator.generations())
    kills = []
    with ended(put_load(account, tmp_path)) as loads:
        for _ in range(KILLS):
            wait_for_more(loads, WHOLE_ANSWERS // KILLS)
            # A random moment, up to one at which slow answers are older than a second.
            time.sleep(moments.random() * 2.5)
            kills.append(kill_now(gateway))
            revive(gateway)
        wait_for_more(loads, 200)
        for load in loads:
            load.stop()
    eventually(lambda: not gateway.database.pending(), "what was cut is found out", 30)
    eventually(lambda: simulator.running() == 0, "the upstream is done", 10)
    gateway.stop()

    whole = [generation for load in loads for generation in load.whole()]
    generations = {name: row for name, row in simulator.generations().items() if name not in before}
    events = gateway.database.events()
    totals = reconcile(whole, events, generations, kills)
    assert totals.whole >= WHOLE_ANSWERS
    assert {event.delivery for event in events} == {"whole", "streamed"}
    assert totals.lost > 0, "kills cut answers older than a second"
    assert totals.cut_young > 0, "kills cut answers younger than a second"
    assert account.balance().balance_nanos == 100_000 * 10**9 - sum(event.charged_nanos for event in events)
    closing_note(
        f"kill test: {KILLS} kills, {totals.whole} whole answers, list cost charged ${float(totals.charged):.6f}, "
        f"lost ${float(totals.lost):.6f}, cut young ${float(totals.cut_young):.6f}"
    )

    planted = [replace(events[0], price_nanos=events[0].price_nanos + 1), *events[1:]]
    with pytest.raises(AssertionError):
        reconcile(whole, planted, generations, kills)


def test_a_run_without_faults_has_no_loss(mortal: Gateway, simulator: Simulator, tmp_path: Path):
    account = mortal.new_account(credit="1000")
    before = set(simulator.generations())
    with ended(put_load(account, tmp_path)) as loads:
        wait_for_more(loads, 1000)
        for load in loads:
            load.stop()
    mortal.stop()
    generations = {name: row for name, row in simulator.generations().items() if name not in before}
    whole = [generation for load in loads for generation in load.whole()]
    totals = reconcile(whole, mortal.database.events(), generations, kills=[])
    assert totals.lost == totals.cut_young == 0


@pytest.fixture
def tracer(tmp_path: Path) -> list[str]:
    """`strace` with what the trace needs; skipped only where tracing is impossible."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed; `apt-get install strace`")
    probe = subprocess.run(["strace", "-D", "-o", tmp_path / "probe", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"tracing is not permitted here: {probe.stderr.decode()}")
    # Detached, so that signals for the gateway reach it and not the tracer.
    return [
        "strace",
        "-D",
        "-f",
        "-yy",
        "-s",
        "20000",
        "-e",
        f"trace={','.join(FILE_CALLS + SYNCS + SENDS + RECEIVES)}",
        "-o",
    ]


def traced(gateway: Gateway, tracer: list[str], file: Path, stream: bool) -> tuple[list[trace.Call], dict[str, str]]:
    """What the gateway did while it gave some answers, and by which text the end of each is known, by generation."""
    try:
        gateway.start((*tracer, str(file)))
        client = gateway.new_account().sdk()
        ids = []
        for _ in range(3):
            answer = client.chat.completions.create(**chat(), stream=stream)
            ids += {chunk.id for chunk in answer} if stream else {answer.id}
        assert gateway.terminate() == 0
    finally:
        if gateway.child.is_running:
            gateway.child.kill()
    eventually(lambda: trace.is_complete(file, gateway.child.process.pid), "the trace is complete")
    return trace.calls(file), {generation: "data: [DONE]" if stream else generation for generation in ids}


DELIVERIES = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@DELIVERIES
def test_the_end_of_an_answer_is_sent_after_the_fsync(
    tmp_path: Path, simulator: Simulator, tracer: list[str], stream: bool
):
    """The event is written to the database's log, then that is synchronized, then the end goes to the client."""

    def is_log(text: str) -> bool:
        return "airouter.db-wal>" in text

    gateway = Gateway(tmp_path, simulator)
    calls, ends = traced(gateway, tracer, tmp_path / "trace", stream)
    for generation, end in ends.items():
        # Requests younger than a second are in no other write than that of their usage event.
        written = trace.first(calls, FILE_CALLS, 0, lambda text, name=generation: is_log(text) and name in text)
        assert written, f"{generation} is not in the database's log"
        synced = trace.first(calls, SYNCS, written.ended, lambda text: is_log(text) and text.endswith("= 0"))
        assert synced, "the log is never synchronized after that"
        assert_sent_after(calls, gateway.port, generation, end, synced)


@DELIVERIES
def test_the_end_of_an_answer_is_sent_after_the_commit(
    tmp_path: Path, simulator: Simulator, servers: Servers, tracer: list[str], stream: bool
):
    """The event is sent to PostgreSQL, then that has committed, then the end goes to the client."""
    port = urlsplit(servers.database_url).port or 5432

    def is_database(text: str) -> bool:
        return f":{port}]>" in text

    with new_database(servers) as database:
        gateway = Gateway(tmp_path, simulator, database)
        calls, ends = traced(gateway, tracer, tmp_path / "trace", stream)
    for generation, end in ends.items():
        written = trace.first(calls, SENDS, 0, lambda text, name=generation: is_database(text) and name in text)
        assert written, f"{generation} was not sent to the database"
        committed = trace.first(calls, RECEIVES, written.ended, lambda text: is_database(text) and "COMMIT" in text)
        assert committed, "the database never said that it has committed"
        assert_sent_after(calls, gateway.port, generation, end, committed)


def assert_sent_after(calls: list[trace.Call], port: int, generation: str, end: str, durable: trace.Call) -> None:
    """The end goes to the client, from the gateway's port, after that call and not before."""

    def is_the_end(text: str) -> bool:
        return f":{port}->" in text and end in text

    begin = begin_of(calls, generation)
    sent = [call for call in calls if call.name in SENDS and call.began > begin and is_the_end(call.text)]
    assert not [call for call in sent if call.began < durable.ended], "the end was sent before it was durable"
    assert trace.first(calls, SENDS, durable.ended, is_the_end), "the end is never sent"


def begin_of(calls: list[trace.Call], generation: str) -> int:
    """Where the upstream first says the generation's id."""
    received = trace.first(calls, RECEIVES, 0, lambda text: generation in text)
    assert received, f"{generation} never came"
    return received.began
