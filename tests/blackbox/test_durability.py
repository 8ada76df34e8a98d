"""What a client received whole is billed, whatever happens to the gateway in that moment."""

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness import trace
from harness.gateway import Account, Gateway
from harness.polling import eventually
from harness.processes import Child, binary
from harness.reconcile import reconcile
from harness.requests import body, chat
from harness.simulator import Simulator

KILLS = 20
WHOLE_ANSWERS = 10_000
FILE_CALLS = ("write", "pwrite64", "pwritev")
SYNCS = ("fsync", "fdatasync")
SENDS = ("writev", "sendto", "sendmsg")
RECEIVES = ("read", "readv", "recvfrom", "recvmsg")


class Load:
    """Clients that ask without a pause, as a process of their own."""

    def __init__(self, account: Account, directory: Path, name: str, connections: int, rate: int, sim: dict):
        self.answers = directory / f"{name}.jsonl"
        self.child = Child(
            [
                str(binary("airouter-sim", "AIROUTER_SIM_BIN")),
                "load",
                f"--target=127.0.0.1:{account.gateway.port}",
                f"--key={account.key}",
                f"--connections={connections}",
                f"--rate={rate}",
                "--seconds=600",
                "--stream=alternating",
                f"--body={json.dumps(body(sim=sim))}",
                f"--answers={self.answers}",
            ],
            directory / f"{name}.log",
        )

    def count(self) -> int:
        """Answers received whole so far."""
        assert self.child.is_running, self.child.log_text()
        return self.answers.read_bytes().count(b"\n") if self.answers.exists() else 0

    def stop(self) -> dict:
        """Lets what is under way end; the load generator's report."""
        self.child.signal(signal.SIGINT)
        assert self.child.exit_code() == 0, self.child.log_text()
        return json.loads(self.child.log_text())

    def whole(self) -> list[str]:
        return [json.loads(line)["id"] for line in self.answers.read_text().splitlines()]


@pytest.fixture
def mortal(tmp_path: Path, simulator: Simulator) -> Iterator[Gateway]:
    """A gateway that may be killed: stopped and checked by the test itself."""
    gateway = Gateway(tmp_path, simulator)
    gateway.start()
    yield gateway
    if gateway.child.is_running:
        gateway.child.kill()


def put_load(account: Account, directory: Path) -> list[Load]:
    return [
        Load(account, directory, "quick", 24, 800, {"completion_tokens": 7}),
        Load(account, directory, "slow", 16, 100, {"completion_tokens": 20, "chunks": 20, "chunk_ms": 120}),
    ]


def wait_for_more(loads: list[Load], answers: int) -> None:
    """Waits until clients have received so many more answers whole."""
    wanted = sum(load.count() for load in loads) + answers
    eventually(lambda: sum(load.count() for load in loads) >= wanted, f"{answers} more answers", 60)


@pytest.mark.timeout(600)
def test_kills_lose_nothing(mortal: Gateway, simulator: Simulator, tmp_path: Path, closing_note: Callable[[str], None]):
    gateway = mortal
    account = gateway.new_account(credit="100000")
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the kill times: {seed}")
    moments = random.Random(seed)
    before = set(simulator.generations())
    loads = put_load(account, tmp_path)
    kills = []
    for _ in range(KILLS):
        wait_for_more(loads, WHOLE_ANSWERS // KILLS)
        # A random moment, up to one at which slow answers are older than a second.
        time.sleep(moments.random() * 2.5)
        kills.append(time.time())
        gateway.child.kill()
        gateway.start()
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
    loads = put_load(account, tmp_path)
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
        "-y",
        "-s",
        "20000",
        "-e",
        f"trace={','.join(FILE_CALLS + SYNCS + SENDS + RECEIVES)}",
        "-o",
    ]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_end_of_an_answer_is_sent_after_the_fsync(
    tmp_path: Path, simulator: Simulator, tracer: list[str], stream: bool
):
    gateway = Gateway(tmp_path, simulator)
    file = tmp_path / "trace"
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
    eventually(lambda: trace.is_complete(file), "the trace is complete")
    calls = trace.calls(file)
    for generation in ids:
        assert_durable_before_done(calls, generation, "data: [DONE]" if stream else generation)


def assert_durable_before_done(calls: list[trace.Call], generation: str, end: str) -> None:
    """The event is written to the database's log, then that is synchronized, then the end goes to the client."""

    def is_log(text: str) -> bool:
        return "airouter.db-wal>" in text

    def is_the_end(text: str) -> bool:
        return "socket:" in text and end in text

    # Requests younger than a second are in no other write than that of their usage event.
    written = trace.first(calls, FILE_CALLS, 0, lambda text: is_log(text) and generation in text)
    assert written, f"{generation} is not in the database's log"
    synced = trace.first(calls, SYNCS, written.ended, lambda text: is_log(text) and text.endswith("= 0"))
    assert synced, "the log is never synchronized after that"
    too_early = [
        call
        for call in calls
        if call.name in SENDS and is_the_end(call.text) and begin_of(calls, generation) < call.began < synced.ended
    ]
    assert not too_early, f"the end was sent before it was durable: {too_early}"
    assert trace.first(calls, SENDS, synced.ended, is_the_end), "the end is never sent"


def begin_of(calls: list[trace.Call], generation: str) -> int:
    """Where the upstream first says the generation's id."""
    received = trace.first(calls, RECEIVES, 0, lambda text: generation in text)
    assert received, f"{generation} never came"
    return received.began
