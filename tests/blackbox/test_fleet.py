"""The fleet of master accounts: whatever is wrong with one of them, no client feels; what the operator changes acts."""

import datetime
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from harness.database import Database
from harness.gateway import Account, Gateway, running_gateway
from harness.load import Load, ended, wait_for_more
from harness.money import nanos
from harness.polling import eventually
from harness.requests import UPSTREAM_WORDS, body, chat
from harness.shifted_clock import ShiftedClock
from harness.simulator import Simulator, running_simulator

# What goes wrong at the upstream, and what that is counted as.
FAULTS = {
    "disabled": "bad_key",
    "broke": "no_credit",
    "rate_limited": "account_rate_limited",
    "hanging": "timeout",
    "resetting": "broken",
    "garbage": "bad_answer",
    "error_inside": "provider_failed",
}
# One for each fault, and one that is always well.
KEYS = tuple(f"sk-or-v1-fleet-{number}" for number in range(1, len(FAULTS) + 2))
MANAGEMENT = tuple(f"sk-or-v1-fleet-management-{number}" for number in range(1, len(FAULTS) + 2))
STREAMS = 50
# A stream of a third of a second.
STREAM = {"completion_tokens": 10, "chunks": 10, "chunk_ms": 30}
QUICK = {"completion_tokens": 3}
SETTINGS = {"AIROUTER_FIRST_HEADERS_SECONDS": "1", "AIROUTER_CREDIT_SECONDS": "1"}


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    with running_simulator(tmp_path, KEYS, MANAGEMENT) as simulator:
        yield simulator


@pytest.fixture
def gateway(tmp_path: Path, simulator: Simulator, own_database: Database | None) -> Iterator[Gateway]:
    settings = SETTINGS | {"OPENROUTER_PROVISIONING_KEY": ",".join(MANAGEMENT)}
    with running_gateway(tmp_path, simulator, own_database, **settings) as gateway:
        yield gateway


def name_of(key: str) -> str:
    return f"openrouter-{KEYS.index(key) + 1}"


def of_master(gateway: Gateway, metric: str, key: str, **labels: str) -> float:
    labels = dict(sorted((labels | {"master_account": name_of(key)}).items()))
    text = ",".join(f'{label}="{value}"' for label, value in labels.items())
    series = f"{metric}{{{text}}} "
    found = [line for line in gateway.metrics().splitlines() if line.startswith(series)]
    # What upstreams have not said yet is no series.
    return float(found[0].split()[-1]) if found else math.nan


def sum_of(gateway: Gateway, metric: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{metric}{{[^}}]*}} (\S+)$", gateway.metrics(), re.MULTILINE))


def fleet(gateway: Gateway, *arguments: str) -> str:
    return gateway.command("master-accounts", *arguments)


def listed(gateway: Gateway, key: str) -> dict:
    [row] = [row for row in json.loads(fleet(gateway, "list", "--json")) if row["name"] == name_of(key)]
    return row


def ask(account: Account, count: int = 1, **fields) -> list[str]:
    client = account.sdk()
    return [client.chat.completions.create(**chat(sim=QUICK, **fields)).id for _ in range(count)]


def keys_of(simulator: Simulator, ids: list[str]) -> Counter[str]:
    generations = simulator.generations()
    return Counter(generations[generation].key for generation in ids)


def asked(simulator: Simulator, key: str) -> int:
    return simulator.books()["by_key"][key]["requests"]


@dataclass
class Seen:
    """What clients saw of one fault."""

    requests: int
    whole: int
    attempts: int
    breaker: str


def under_load(gateway: Gateway, account: Account, simulator: Simulator, directory: Path, fault: str) -> Seen:
    """Fifty streams, in the middle of which one account fails."""
    victim = KEYS[list(FAULTS).index(fault)]
    load = Load(account, directory, fault, STREAMS, 150, STREAM, stream="streamed")
    with ended([load]):
        wait_for_more([load], 60)
        simulator.account(victim, state=fault)
        failed = "airouter_upstream_faults_total"
        eventually(lambda: of_master(gateway, failed, victim, kind=FAULTS[fault]) > 0, f"{fault} is met", 30)
        wait_for_more([load], 250)
        report = load.stop()
    breaker = eventually(lambda: breaker_of(gateway, victim), "its breaker is shown")
    attempts = int(of_master(gateway, failed, victim, kind=FAULTS[fault]))
    simulator.account(victim, state="ok")
    assert report["errors"] == {}, (fault, report)
    assert report["by_status"] == {"200": report["requests"]}, (fault, report)
    return Seen(report["requests"], report["whole"], attempts, breaker)


def breaker_of(gateway: Gateway, key: str) -> str | None:
    """The one state that is shown at this moment; none while it changes."""
    series = rf'^airouter_master_account_breaker{{master_account="{name_of(key)}",state="(\w+)"}} 1$'
    states = re.findall(series, gateway.metrics(), re.MULTILINE)
    return states[0] if len(states) == 1 else None


@pytest.mark.timeout(300)
def test_losing_any_one_account_fails_nothing(
    gateway: Gateway, simulator: Simulator, tmp_path: Path, closing_note: Callable[[str], None]
):
    account = gateway.new_account("1000")
    seen = {fault: under_load(gateway, account, simulator, tmp_path, fault) for fault in FAULTS}
    for fault, what in seen.items():
        assert what.whole == what.requests, (fault, what)
        # A provider's failure is not the account's.
        assert what.breaker == "closed" if fault == "error_inside" else what.breaker in ("open", "half_open"), what
    assert sum_of(gateway, "airouter_deficit_nanodollars_total") == 0
    events = account.settled(sum(what.whole for what in seen.values()))
    assert all(event.price_nanos >= event.cost_nanos > 0 for event in events)
    lines = [
        f"  {fault:<14} {what.requests:>5} streams, {what.whole:>5} whole, {what.requests - what.whole} failed; "
        f"{what.attempts:>3} attempts failed elsewhere first; breaker {what.breaker}"
        for fault, what in seen.items()
    ]
    closing_note("\n".join([f"one of {len(KEYS)} accounts fails under {STREAMS} streams:", *lines]))


# What a client sees when the only account fails: status and code.
ALONE = {
    "disabled": (503, "upstream_unavailable"),
    "broke": (503, "upstream_unavailable"),
    "rate_limited": (429, "upstream_rate_limited"),
    "hanging": (504, "upstream_timeout"),
    "resetting": (503, "upstream_unavailable"),
    "garbage": (503, "upstream_unavailable"),
    "error_inside": (503, "upstream_unavailable"),
}


def test_what_clients_see_when_every_account_fails(
    tmp_path: Path, own_database: Database | None, closing_note: Callable[[str], None]
):
    count = 3
    lines = []
    with (
        running_simulator(tmp_path, KEYS[:1]) as simulator,
        running_gateway(tmp_path, simulator, own_database, **SETTINGS) as gateway,
    ):
        account = gateway.new_account()
        for fault, expected in ALONE.items():
            simulator.account(KEYS[0], state=fault)
            answers = []
            with account.http() as http:
                for _ in range(count):
                    answer = http.post("/v1/chat/completions", json=body(sim=QUICK, stream=True))
                    error = answer.json()["error"]
                    answers.append((answer.status_code, error["code"]))
                    told = answer.text.lower()
                    assert not [word for word in (*UPSTREAM_WORDS, "credit", "account") if word in told], told
                    assert answer.status_code == 504 or int(answer.headers["retry-after"]) >= 1
            simulator.account(KEYS[0], state="ok")
            # Resumed, it begins anew.
            fleet(gateway, "pause", name_of(KEYS[0]))
            eventually(lambda: refused_at_once(account), "the pause acts")
            fleet(gateway, "resume", name_of(KEYS[0]))
            eventually(lambda: not refused_at_once(account), "the account serves again")
            lines.append(f"  {fault:<14} {Counter(answers)}")
            assert set(answers) == {expected}, (fault, answers)
    closing_note("\n".join(["the only account fails; what clients see, and how often:", *lines]))


def refused_at_once(account: Account) -> bool:
    with account.http() as http:
        return http.post("/v1/chat/completions", json=body(sim=QUICK)).status_code == 503


def test_pausing_and_draining_under_load_fail_nothing(gateway: Gateway, simulator: Simulator, tmp_path: Path):
    account = gateway.new_account("1000")
    load = Load(account, tmp_path, "operated", 20, 100, STREAM, stream="streamed")
    with ended([load]):
        for change in ("pause", "drain"):
            for key in KEYS[:3]:
                wait_for_more([load], 30)
                fleet(gateway, change, name_of(key))
                changed = time.time()
                wait_for_more([load], 150)
                # It acts within a second.
                late = [
                    row
                    for row in simulator.generations().values()
                    if row.key == key and row.started_at_us > (changed + 1) * 1e6
                ]
                assert not late, (change, len(late))
                before = asked(simulator, key)
                fleet(gateway, "resume", name_of(key))
                eventually(lambda key=key, before=before: asked(simulator, key) > before, "it serves again", 5)
        report = load.stop()
    assert report["errors"] == {}, report
    assert report["whole"] == report["requests"], report


def test_a_draining_account_is_the_last_resort(gateway: Gateway, simulator: Simulator):
    account = gateway.new_account()
    for key in KEYS[1:]:
        fleet(gateway, "pause", name_of(key))
    fleet(gateway, "drain", name_of(KEYS[0]))
    eventually(lambda: set(keys_of(simulator, ask(account, 3))) == {KEYS[0]}, "it serves what nobody else does")
    fleet(gateway, "resume", name_of(KEYS[1]))
    eventually(lambda: set(keys_of(simulator, ask(account, 3))) == {KEYS[1]}, "it is left to finish")
    assert listed(gateway, KEYS[0])["status"] == "draining"


def test_credit_is_followed(gateway: Gateway, simulator: Simulator):
    account = gateway.new_account()
    poor, others = KEYS[0], KEYS[1:]
    credit = "airouter_master_account_credit_nanodollars"
    simulator.account(poor, credit_usd="0")
    eventually(lambda: of_master(gateway, credit, poor) == 0, "its credit is known")
    before = asked(simulator, poor)
    assert set(keys_of(simulator, ask(account, 20))) <= set(others)
    assert asked(simulator, poor) == before, "without credit it is not asked"
    simulator.account(poor, credit_usd="50")
    eventually(lambda: of_master(gateway, credit, poor) > 0, "its credit is back")
    eventually(lambda: poor in keys_of(simulator, ask(account, len(KEYS))), "it serves again")
    # It is used as soon as it is known, and written down then.
    eventually(lambda: 49 < float(listed(gateway, poor)["credit_usd"]) <= 50, "its credit is listed")
    assert listed(gateway, poor)["has_management_key"]
    # Known credit that was found wanting is topped up: nobody waits for the breaker.
    simulator.account(poor, state="broke")
    eventually(lambda: ask(account, len(KEYS)) and is_open(gateway, poor), "a 402 puts it aside", 60)
    simulator.account(poor, state="ok", credit_usd="80")
    eventually(lambda: ask(account) and not is_open(gateway, poor), "it serves at once", 10)


def is_open(gateway: Gateway, key: str) -> bool:
    return of_master(gateway, "airouter_master_account_breaker", key, state="open") == 1


def test_no_account_takes_more_than_its_share(gateway: Gateway, simulator: Simulator):
    account = gateway.new_account()
    cheap = KEYS[0]
    fleet(gateway, "set", name_of(cheap), "--discount=90", "--most-share=60")
    eventually(lambda: set(keys_of(simulator, ask(account, 2))) == {cheap}, "the cheapest is asked first")
    with ThreadPoolExecutor(4) as pool:
        ids = [generation for some in pool.map(lambda _: ask(account, 50), range(4)) for generation in some]
    used = keys_of(simulator, ids)
    assert 100 <= used[cheap] <= 125, used
    for key in KEYS[1:]:
        fleet(gateway, "pause", name_of(key))
    eventually(lambda: set(keys_of(simulator, ask(account, 3))) == {cheap}, "alone it takes all")


def test_a_new_discount_is_for_new_requests(gateway: Gateway, simulator: Simulator):
    account = gateway.new_account()
    [old] = ask(account)
    for key in KEYS:
        fleet(gateway, "set", name_of(key), "--discount=10.5")
    new = []
    eventually(lambda: new.append(ask(account)[0]) or is_dear(account), "it acts")
    billed = simulator.generations()
    events = {event.generation_id: event for event in account.events()}
    assert events[old].cost_nanos == nanos(billed[old].cost * 3 / 10)
    last = events[new[-1]]
    assert last.cost_nanos == nanos(billed[new[-1]].cost * 895 / 1000)
    assert last.price_nanos == last.cost_nanos, "never below its cost"


def is_dear(account: Account) -> bool:
    last = account.events()[-1]
    return last.price_nanos == last.cost_nanos


def test_keys_of_one_account(gateway: Gateway, simulator: Simulator, tmp_path: Path):
    account = gateway.new_account()
    first, second = KEYS[0], "sk-or-v1-fleet-second-key"
    simulator.account(second, state="ok")
    gateway.expect_silence_about(second)
    for key in KEYS[1:]:
        fleet(gateway, "pause", name_of(key))
    file = tmp_path / "key"
    file.write_text(second + "\n")
    assert gateway.run("master-accounts", "add-key", name_of(first), f"--key-file={file}").returncode == 0
    eventually(lambda: set(keys_of(simulator, ask(account, 4))) == {first, second}, "both are used")
    assert gateway.run("master-accounts", "add-key", name_of(KEYS[1]), f"--key-file={file}").returncode == 1
    simulator.account(first, state="disabled")
    assert set(keys_of(simulator, ask(account, 10))) == {second}, "a bad key is put aside alone"
    tested = gateway.run("master-accounts", "test", name_of(first))
    assert tested.returncode == 1
    assert len(re.findall(r"^key \w{12}: accepted$", tested.stdout, re.MULTILINE)) == 1
    old = listed(gateway, first)["keys"][0]
    fleet(gateway, "remove-key", name_of(first), f"--key={old}")
    assert len(listed(gateway, first)["keys"]) == 1
    assert gateway.run("master-accounts", "remove-key", name_of(first), f"--key={old}").returncode == 1
    # Its management key belongs to the simulated account of the first key.
    simulator.account(first, state="ok")
    eventually(lambda: gateway.run("master-accounts", "test", name_of(first)).returncode == 0, "what is left works")
    assert set(keys_of(simulator, ask(account, 5))) == {second}


def test_accounts_are_added_and_described(gateway: Gateway, simulator: Simulator, tmp_path: Path):
    account = gateway.new_account()
    key, management = "sk-or-v1-fleet-added", "sk-or-v1-fleet-added-management"
    simulator.account(key, state="ok")
    for secret in (key, management):
        gateway.expect_silence_about(secret)
        (tmp_path / secret).write_text(secret)
    printed = fleet(gateway, "add", "--name=added", "--discount=80", f"--key-file={tmp_path / key}")
    assert "MASTER_ACCOUNT=added\n" in printed
    eventually(lambda: set(keys_of(simulator, ask(account, 2))) == {key}, "the cheapest is asked first")
    ends = "--agreement-ends=2020-01-01"
    management_file = f"--management-key-file={tmp_path / management}"
    fleet(gateway, "set", "added", "--agreement=2026-117", ends, "--weight=5", management_file)
    eventually(lambda: "the agreement of a master account has ended" in gateway.log_text(), "it is told")
    assert gateway.metric('airouter_master_account_agreement_days{master_account="added"}') < 0
    assert set(keys_of(simulator, ask(account, 2))) == {key}, "it serves all the same"
    [row] = [row for row in json.loads(fleet(gateway, "list", "--json")) if row["name"] == "added"]
    assert (row["agreement"], row["agreement_ends_on"], row["agreement_has_ended"]) == ("2026-117", "2020-01-01", True)
    assert (row["weight"], row["has_management_key"], row["discount_percent"]) == (5, True, "80")
    table = fleet(gateway, "list")
    assert "2020-01-01 (ended)" in table
    assert key not in table
    assert gateway.run("master-accounts", "set", "nobody", "--weight=2").returncode == 1
    assert gateway.run("master-accounts", "set", "added", "--weight=0").returncode == 2
    assert gateway.run("master-accounts", "add", "--name=added", f"--key-file={tmp_path / key}").returncode == 1


def test_told_waits_are_obeyed(gateway: Gateway, simulator: Simulator):
    """Every account says "in two seconds": until then none is asked, and the client is told as much."""
    account = gateway.new_account()
    for key in KEYS:
        simulator.account(key, state="rate_limited")
    with account.http() as http:
        first = http.post("/v1/chat/completions", json=body(sim=QUICK))
        count = len(simulator.generations())
        again = http.post("/v1/chat/completions", json=body(sim=QUICK))
    assert (first.status_code, again.status_code) == (429, 429)
    assert again.headers["retry-after"] in ("1", "2")
    assert len(simulator.generations()) == count == len(KEYS)
    for key in KEYS:
        simulator.account(key, state="ok")
    eventually(lambda: not limited(account), "they are asked again", 5)


def limited(account: Account) -> bool:
    with account.http() as http:
        return http.post("/v1/chat/completions", json=body(sim=QUICK)).status_code == 429


def test_repeats_on_the_only_account_are_bounded(tmp_path: Path, own_database: Database | None):
    with (
        running_simulator(tmp_path, KEYS[:1]) as simulator,
        running_gateway(tmp_path, simulator, own_database, **SETTINGS) as gateway,
    ):
        account = gateway.new_account()
        hiccup = {"error": {"kind": "status:502", "first_attempts": 2, "attempt_key": "hiccup"}}
        with account.http() as http:
            assert http.post("/v1/chat/completions", json=body(sim=QUICK | hiccup)).status_code == 200
            assert len(simulator.generations()) == 3
            simulator.account(KEYS[0], state="failing")
            statuses = [http.post("/v1/chat/completions", json=body(sim=QUICK)).status_code for _ in range(20)]
        assert statuses == [503] * 20
        repeats = of_master(gateway, "airouter_upstream_repeats_total", KEYS[0])
        assert 8 <= repeats <= 16, "ten at once, and then a tenth of the traffic"
        assert len(simulator.generations()) == 1 + 20 + repeats


def free(account: Account) -> httpx2.Response:
    with account.http() as http:
        return http.post("/v1/chat/completions", json=body("sim/small:free", sim=QUICK))


def test_free_models_are_shared_fairly(tmp_path: Path, own_database: Database | None):
    """One account has 20 requests of free models a minute."""
    with (
        running_simulator(tmp_path, KEYS[:1]) as simulator,
        running_gateway(tmp_path, simulator, own_database, **SETTINGS) as gateway,
    ):
        greedy, modest = gateway.new_account(), gateway.new_account()
        assert free(modest).status_code == 200
        served = Counter(free(greedy).status_code for _ in range(30))
        assert served == {200: 10, 429: 20}, "half of it is the other one's"
        refused = free(greedy)
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error"]["code"] == "free_models_limited"
        assert Counter(free(modest).status_code for _ in range(12)) == {200: 9, 429: 3}
        assert asked(simulator, KEYS[0]) == 20, "the upstream never has to say no"
        assert ask(greedy), "other models are not touched"
        assert gateway.metric('airouter_refusals_total{reason="free_quota"}') >= 24


def test_a_days_free_quota_is_shared_and_outlives_a_start(tmp_path: Path, own_database: Database | None):
    """An account that never bought 10 credits has 50 requests of free models a day; half of it may go at once."""
    clock = ShiftedClock(tmp_path)
    day = clock.today() + datetime.timedelta(days=1)
    clock.set(day, "00:10")
    # Redis has a clock of its own, by which a minute is not over.
    settings = SETTINGS | {"OPENROUTER_PROVISIONING_KEY": MANAGEMENT[0], "REDIS_URL": ""} | clock.environment
    with running_simulator(tmp_path, KEYS[:1], MANAGEMENT[:1], **clock.environment) as simulator:
        simulator.account(KEYS[0], credit_usd="5")
        gateway = Gateway(tmp_path, simulator, own_database, **settings)
        gateway.start()
        greedy, modest = gateway.new_account(), gateway.new_account()
        eventually(lambda: listed(gateway, KEYS[0])["credit_usd"], "the account's credit is known")
        assert Counter(free(greedy).status_code for _ in range(21)) == {200: 20, 429: 1}
        gateway.stop()

        clock.set(day, "00:12")
        gateway.start()
        assert Counter(free(greedy).status_code for _ in range(8)) == {200: 5, 429: 3}
        assert int(free(greedy).headers["retry-after"]) > 60, "not in the next minute either"
        assert Counter(free(modest).status_code for _ in range(12)) == {200: 10, 429: 2}

        gateway.stop()

        clock.set(day, "23:30")
        gateway.start()
        served = Counter(free(greedy).status_code for _ in range(15))
        assert served == {200: 14, 429: 1}, "hardly anything is kept so late"
        gateway.stop()


def test_a_free_quota_that_others_used_up_puts_no_account_aside(tmp_path: Path, own_database: Database | None):
    with (
        running_simulator(tmp_path, KEYS[:1]) as simulator,
        running_gateway(tmp_path, simulator, own_database, **SETTINGS) as gateway,
    ):
        account = gateway.new_account()
        simulator.account(KEYS[0], state="rate_limited")
        answer = free(account)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
        with account.http() as http:
            fallback = http.post("/v1/chat/completions", json=body(models=["sim/small:free"], sim=QUICK))
        assert (fallback.status_code, fallback.headers["retry-after"]) == (429, "2")
        simulator.account(KEYS[0], state="ok")
        assert ask(account), "paid models are served"


def test_one_request_probes(gateway: Gateway, simulator: Simulator):
    """An account that hangs is put aside; when its time comes, one request finds out, and none waits beside it."""
    account = gateway.new_account()
    victim = KEYS[0]
    for key in KEYS[2:]:
        fleet(gateway, "pause", name_of(key))
    simulator.account(victim, state="hanging")
    stop = threading.Event()
    slow: list[float] = []

    def watch() -> None:
        while not stop.is_set():
            began = time.monotonic()
            with account.http() as http:
                answer = http.post("/v1/chat/completions", json=body(sim=QUICK, stream=True))
            assert answer.status_code == 200
            slow.append(time.monotonic() - began)

    with ThreadPoolExecutor(6) as pool:
        watching = [pool.submit(watch) for _ in range(6)]
        try:
            eventually(lambda: is_open(gateway, victim), "it is put aside", 20)
            slow.clear()
            before = asked(simulator, victim)
            # It opens for 1 s, then for 2 s, …: at least two probes.
            eventually(lambda: asked(simulator, victim) >= before + 2, "it is probed", 20)
            probes = asked(simulator, victim) - before
        finally:
            stop.set()
        for one in watching:
            one.result()
    kept_waiting = sum(seconds > 0.9 for seconds in slow)
    assert kept_waiting <= probes + 6, (kept_waiting, probes)
    assert len(slow) > 10 * probes
