"""What the upstream billed beside what is booked: what differs is found by day, account and amount, and posted once."""

import datetime
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import httpx2
import pytest

from harness.database import Database
from harness.gateway import Account, Gateway, running_gateway
from harness.money import nanos, of_picos, usd
from harness.polling import eventually
from harness.postgres_database import Servers, new_database
from harness.replicas import revive, running_replicas
from harness.requests import body, chat
from harness.shifted_clock import ShiftedClock
from harness.simulator import Simulator, running_simulator
from harness.tampering import NANO, alter_cost, delete_event, double_event

KEYS = ("sk-or-v1-books-1", "sk-or-v1-books-2")
MANAGEMENT = ("sk-or-v1-books-management-1", "sk-or-v1-books-management-2")
FIRST, SECOND = "openrouter-1", "openrouter-2"
SETTINGS = {"OPENROUTER_PROVISIONING_KEY": ",".join(MANAGEMENT), "AIROUTER_RECONCILE_MINUTES": "off"}
ONE_DAY = datetime.timedelta(days=1)
# What a dollar of list cost costs with the usual discount.
SHARE = Fraction(3, 10)


@pytest.fixture
def clock(tmp_path: Path) -> ShiftedClock:
    clock = ShiftedClock(tmp_path)
    clock.set(clock.today(), "12:00")
    return clock


@pytest.fixture
def simulator(tmp_path: Path, clock: ShiftedClock) -> Iterator[Simulator]:
    with running_simulator(tmp_path, KEYS, MANAGEMENT, **clock.environment) as simulator:
        yield simulator


@pytest.fixture
def gateway(
    tmp_path: Path, simulator: Simulator, clock: ShiftedClock, own_database: Database | None
) -> Iterator[Gateway]:
    with running_gateway(tmp_path, simulator, own_database, **SETTINGS, **clock.environment) as gateway:
        yield gateway


@pytest.fixture
def day(clock: ShiftedClock) -> datetime.date:
    """The day in which requests are made."""
    return clock.today()


class Report:
    """What `airouter reconcile` printed, and how it ended."""

    def __init__(self, gateway: Gateway, *arguments: str):
        done = gateway.run("reconcile", *arguments)
        self.code, self.text = done.returncode, done.stdout + done.stderr
        self.lines = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in done.stdout.splitlines()]

    def day(self, account: str, purse: str = "credits") -> dict[str, str]:
        [line] = [line for line in self._of(account) if "requests" in line and line["purse"] == purse]
        return line

    def findings(self, account: str) -> list[dict[str, str]]:
        return [line for line in self._of(account) if "finding" in line]

    def _of(self, account: str) -> list[dict[str, str]]:
        return [line for line in self.lines if line.get("account") == account]

    def number(self, name: str) -> int:
        [line] = [line for line in self.lines if name in line and len(line) == 1]
        return int(line[name])


def ask(account: Account, count: int, **fields) -> list[str]:
    """Requests one after the other, each committed alone; the upstream's ids."""
    client = account.sdk()
    before = len(account.events())
    ids = [client.chat.completions.create(**chat(**fields)).id for _ in range(count)]
    account.settled(before + count)
    return ids


def served_by(simulator: Simulator, ids: list[str], key: str) -> list[str]:
    generations = simulator.generations()
    return [generation for generation in ids if generations[generation].key == key]


def next_day(clock: ShiftedClock, day: datetime.date) -> None:
    clock.set(day + ONE_DAY, "02:00")


def billed(simulator: Simulator, key: str) -> Fraction:
    return of_picos(simulator.books()["by_key"][key]["picodollars"])


def posted(gateway: Gateway) -> int:
    """What all accounts of reconciliation have."""
    [(sum_of_all,)] = gateway.database.rows(
        "SELECT CAST(coalesce(sum(balance_nanos), 0) AS bigint) FROM ledger_accounts WHERE kind = 'reconciliation'"
    )
    return int(sum_of_all)


def assert_found(
    gateway: Gateway, account: str, what: str, difference: Fraction, subject: str, day: datetime.date
) -> None:
    """One finding, the same however often it is asked, and posted once; `ledger verify` has nothing against it."""
    cost = nanos(difference * SHARE)
    for entered in (1, 0, 0):
        report = Report(gateway)
        assert (report.code, report.number("findings"), report.number("entered")) == (1, 1, entered), report.text
        [finding] = report.findings(account)
        assert (finding["finding"], finding["day"], finding["subject"]) == (what, str(day), subject), report.text
        assert usd(finding["difference"]) == difference, report.text
        assert nanos(usd(finding["cost"])) == cost == posted(gateway), report.text
        assert finding["entered"] == ("now" if entered else "before")
    listed = Report(gateway, "--report")
    [entry] = listed.findings(account)
    assert (listed.code, entry["number"], entry["finding"]) == (1, "1", what), listed.text
    assert (entry["transaction"] == "-") == (cost == 0)
    gateway.command("ledger", "verify")


def test_a_clean_day_differs_in_nothing(
    gateway: Gateway, simulator: Simulator, clock: ShiftedClock, day: datetime.date
):
    """Two accounts with discounts of their own; cancelled streams, keys at providers, costs with many digits."""
    gateway.command("master-accounts", "set", SECOND, "--discount=40")
    account = gateway.new_account("100")
    ids = ask(account, 8, sim={"completion_tokens": 7})
    # Nothing goes to the dearer one as long as the other serves.
    gateway.command("master-accounts", "pause", FIRST)
    eventually(lambda: served_by(simulator, ask(account, 1), KEYS[1]), "the second one serves")
    ids += ask(account, 3, sim={"completion_tokens": 7})
    ids += ask(account, 2, sim={"cost": "0.000000123456"})
    gateway.command("master-accounts", "resume", FIRST)
    byok = ask(account, 2, sim={"byok": {"fee": "0.000001", "upstream": "0.000023"}})
    with account.http() as http:
        slow = body(sim={"completion_tokens": 50, "chunks": 50, "chunk_ms": 20}, stream=True)
        count = len(account.events())
        with http.stream("POST", "/v1/chat/completions", json=slow) as stream:
            next(stream.iter_lines())
    account.settled(count + 1)
    assert all(served_by(simulator, ids, key) for key in KEYS)
    next_day(clock, day)
    report = Report(gateway)
    assert (report.code, report.number("findings"), report.number("entered")) == (0, 0, 0), report.text
    for name, key in ((FIRST, KEYS[0]), (SECOND, KEYS[1])):
        line = report.day(name)
        assert line["day"] == str(day)
        assert usd(line["ours"]) == usd(line["theirs"]) == billed(simulator, key), report.text
        assert (line["difference"], line["carried"], line["waiting"]) == ("0", "0", "0")
        assert int(line["compared"]) == int(line["requests"]) > 0
    at_providers = [line for line in report.lines if line.get("purse") == "provider"]
    assert sum(usd(line["theirs"]) for line in at_providers) == len(byok) * usd("0.000023")
    assert posted(gateway) == 0
    again = Report(gateway, f"--day={day}", f"--account={SECOND}", "--all-events")
    assert (again.code, again.number("findings")) == (0, 0), again.text
    assert not again._of(FIRST)


def test_an_event_that_was_deleted(gateway: Gateway, simulator: Simulator, clock: ShiftedClock, day: datetime.date):
    victim = served_by(simulator, ask(gateway.new_account(), 6), KEYS[1])[0]
    cost = simulator.generation(victim).cost
    delete_event(gateway.database, victim)
    gateway.command("ledger", "verify")
    next_day(clock, day)
    assert_found(gateway, SECOND, "missing_here", cost, "-", day)


def test_an_event_that_was_doubled(gateway: Gateway, simulator: Simulator, clock: ShiftedClock, day: datetime.date):
    victim = served_by(simulator, ask(gateway.new_account(), 6), KEYS[0])[0]
    cost = simulator.generation(victim).cost
    double_event(gateway.database, victim)
    gateway.command("ledger", "verify")
    next_day(clock, day)
    assert_found(gateway, FIRST, "doubled", -cost, victim, day)


@pytest.mark.parametrize("by", [NANO, -NANO, 7 * NANO], ids=["a nano-dollar", "minus a nano-dollar", "seven"])
def test_a_cost_that_was_altered(
    gateway: Gateway, simulator: Simulator, clock: ShiftedClock, day: datetime.date, by: Fraction
):
    victim = served_by(simulator, ask(gateway.new_account(), 6), KEYS[0])[0]
    request = alter_cost(gateway.database, victim, by)
    gateway.command("ledger", "verify")
    next_day(clock, day)
    assert_found(gateway, FIRST, "cost_differs", -by, str(request), day)
    # What is set right is taken back by an entry of its own.
    alter_cost(gateway.database, victim, -by)
    for entered in (1, 0):
        report = Report(gateway)
        assert (report.code, report.number("findings"), report.number("entered")) == (0, 0, entered), report.text
    listed = Report(gateway, "--report")
    assert (listed.code, listed.number("findings")) == (0, 0)
    assert [entry["number"] for entry in listed.findings(FIRST)] == ["1", "2"]
    assert posted(gateway) == 0


def test_an_event_of_which_the_upstream_knows_nothing(gateway: Gateway, clock: ShiftedClock, day: datetime.date):
    """It explains what the day differs by: that is told once."""
    victim, _ = ask(gateway.new_account(), 2)
    twin = double_event(gateway.database, victim)
    gateway.database.tamper([("UPDATE request_logs SET generation_id = ? WHERE id = ?", ("gen-1-invented", twin))])
    [(cost,)] = gateway.database.rows("SELECT reported_cost FROM request_logs WHERE id = ?", twin)
    [(terms,)] = gateway.database.rows(
        "SELECT t.terms FROM price_terms t JOIN request_logs r ON r.price_terms_id = t.id WHERE r.id = ?", twin
    )
    [(first,)] = gateway.database.rows("SELECT id FROM master_accounts ORDER BY seq LIMIT 1")
    name = FIRST if str(first) in terms or first_is(first, terms) else SECOND
    next_day(clock, day)
    assert_found(gateway, name, "unknown_generation", -usd(cost), str(twin), day)


def first_is(account: object, terms: str) -> bool:
    return isinstance(account, bytes) and str(UUID(bytes=account)) in terms


def test_a_call_outside_of_the_gateway(gateway: Gateway, simulator: Simulator, clock: ShiftedClock, day: datetime.date):
    ask(gateway.new_account(), 4)
    outside = call_outside(simulator, KEYS[1])
    next_day(clock, day)
    assert_found(gateway, SECOND, "missing_here", outside, "-", day)


def call_outside(simulator: Simulator, key: str) -> Fraction:
    """Somebody uses a master key elsewhere; what that costs."""
    before = billed(simulator, key)
    answer = httpx2.post(
        f"{simulator.base_url}/chat/completions",
        headers={"authorization": f"Bearer {key}"},
        json=body(sim={"completion_tokens": 123}),
        trust_env=False,
    )
    assert answer.status_code == 200
    return billed(simulator, key) - before


def test_several_at_once_are_told_apart(
    gateway: Gateway, simulator: Simulator, clock: ShiftedClock, day: datetime.date
):
    ids = served_by(simulator, ask(gateway.new_account(), 10), KEYS[0])
    deleted, doubled, altered = ids[:3]
    costs = {generation: simulator.generation(generation).cost for generation in ids[:3]}
    delete_event(gateway.database, deleted)
    double_event(gateway.database, doubled)
    request = alter_cost(gateway.database, altered, 5 * NANO)
    outside = call_outside(simulator, KEYS[0])
    next_day(clock, day)
    found = {
        "missing_here": ("-", costs[deleted] + outside),
        "doubled": (doubled, -costs[doubled]),
        "cost_differs": (str(request), -5 * NANO),
    }
    for entered in (3, 0):
        report = Report(gateway)
        assert (report.code, report.number("entered")) == (1, entered), report.text
        rows = {row["finding"]: (row["subject"], usd(row["difference"])) for row in report.findings(FIRST)}
        assert rows == found, report.text
    assert posted(gateway) == sum(nanos(difference * SHARE) for _, difference in found.values())
    gateway.command("ledger", "verify")


def test_a_loss_is_no_finding(gateway: Gateway, clock: ShiftedClock, day: datetime.date):
    """An answer that a crash cut is booked as a loss; the upstream billed it all the same."""
    account = gateway.new_account()
    ask(account, 2)
    slow = body(sim={"completion_tokens": 100, "chunks": 100, "chunk_ms": 50}, stream=True)
    with account.http() as http, http.stream("POST", "/v1/chat/completions", json=slow) as stream:
        lines = stream.iter_lines()
        next(lines)
        eventually(gateway.database.pending, "it is on record")
        for _ in range(10):
            next(lines)
        gateway.child.kill()
    revive(gateway)
    [*_, lost] = account.settled(3)
    assert lost.loss_reason == "crash"
    assert lost.list_usd > 0
    next_day(clock, day)
    report = Report(gateway)
    assert (report.code, report.number("findings")) == (0, 0), report.text


def test_what_is_still_asked_for_may_explain_a_difference(
    gateway: Gateway, simulator: Simulator, clock: ShiftedClock, day: datetime.date
):
    account = gateway.new_account()
    ask(account, 2)
    never = {"usage": "none", "generation_never": True}
    with account.http() as http:
        answer = http.post("/v1/chat/completions", json=body(sim=never, stream=True))
    assert answer.status_code == 200
    eventually(lambda: gateway.database.pending(), "its usage is asked for")
    [row] = [row for row in simulator.generations().values() if row.id not in generations_of(account)]
    next_day(clock, day)
    report = Report(gateway)
    assert (report.code, report.number("findings")) == (0, 0), report.text
    line = report.day(FIRST if row.key == KEYS[0] else SECOND)
    assert usd(line["waiting"]) == row.cost > 0


def generations_of(account: Account) -> set[str | None]:
    return {event.generation_id for event in account.events()}


def test_requests_over_midnight_are_no_finding(
    gateway: Gateway, simulator: Simulator, clock: ShiftedClock, day: datetime.date
):
    """One runs through midnight, and the upstream's clock and ours need not agree on others."""
    account = gateway.new_account()
    clock.set(day, "23:59:57")
    ids = ask(account, 1, sim={"first_ms": 6000})
    assert clock.today() == day + ONE_DAY
    for wanted in (day, day + ONE_DAY):
        next_day(clock, wanted)
        report = Report(gateway)
        assert (report.code, report.number("findings")) == (0, 0), report.text
        assert report.day(FIRST)["day"] == str(wanted)
        clock.set(wanted + ONE_DAY, "12:00")
        ids += ask(account, 2)
    assert len(simulator.generations()) == len(ids)


def test_without_a_management_key_single_requests_are_compared(
    tmp_path: Path, simulator: Simulator, clock: ShiftedClock, own_database: Database | None, day: datetime.date
):
    settings = {"AIROUTER_RECONCILE_MINUTES": "off"} | clock.environment
    with running_gateway(tmp_path, simulator, own_database, **settings) as gateway:
        victim = served_by(simulator, ask(gateway.new_account(), 6), KEYS[0])[0]
        request = alter_cost(gateway.database, victim, NANO)
        next_day(clock, day)
        report = Report(gateway)
        [finding] = report.findings(FIRST)
        assert (report.code, finding["finding"], finding["subject"]) == (1, "cost_differs", str(request)), report.text
        assert report.text.count("why=it has no management key") == 2


def test_without_a_management_key_what_the_keys_were_used_for_is_compared(
    tmp_path: Path, simulator: Simulator, clock: ShiftedClock, own_database: Database | None, day: datetime.date
):
    """From one day's first reading to the next one's; what a single request explains is not told again."""
    settings = {"AIROUTER_RECONCILE_MINUTES": "off"} | clock.environment
    with running_gateway(tmp_path, simulator, own_database, **settings) as gateway:
        account = gateway.new_account()
        ask(account, 2)
        clock.set(day, "13:00")
        # The first readings.
        assert Report(gateway).code == 0
        clock.set(day, "14:00")
        ids = served_by(simulator, ask(account, 6), KEYS[0])
        alter_cost(gateway.database, ids[0], 3 * NANO)
        outside = call_outside(simulator, KEYS[1])
        next_day(clock, day)
        for entered in (2, 0):
            report = Report(gateway)
            assert (report.code, report.number("findings"), report.number("entered")) == (1, 2, entered), report.text
            [altered], [missing] = report.findings(FIRST), report.findings(SECOND)
            assert (altered["finding"], usd(altered["difference"])) == ("cost_differs", -3 * NANO), report.text
            assert (missing["finding"], missing["day"]) == ("missing_here", str(day)), report.text
            assert usd(missing["difference"]) == outside
        assert posted(gateway) == nanos(outside * SHARE) + nanos(-3 * NANO * SHARE)


def test_what_the_credit_shows_first_is_posted_by_its_day(
    gateway: Gateway, simulator: Simulator, clock: ShiftedClock, day: datetime.date
):
    """A call outside just before the next day's first reading: the credit shows it before its day is over."""
    Report(gateway)
    clock.set(day, "14:00")
    ask(gateway.new_account(), 2)
    clock.set(day + ONE_DAY, "01:00")
    outside = call_outside(simulator, KEYS[0])
    clock.set(day + ONE_DAY, "02:00")
    report = Report(gateway)
    [finding] = report.findings(FIRST)
    assert (report.code, usd(finding["difference"]), finding["cost"]) == (1, outside, "0"), report.text
    assert posted(gateway) == 0
    next_day(clock, day + ONE_DAY)
    report = Report(gateway)
    [finding] = report.findings(FIRST)
    assert (finding["day"], usd(finding["difference"])) == (str(day + ONE_DAY), outside), report.text
    report = Report(gateway, f"--day={day}")
    assert (report.code, report.number("findings")) == (0, 0), report.text
    assert posted(gateway) == nanos(outside * SHARE)


def test_wrong_usage(gateway: Gateway, day: datetime.date):
    for arguments in (
        (f"--day={day}",),
        (f"--day={day - 31 * ONE_DAY}",),
        ("--day=yesterday",),
        ("--since=2026-01-01",),
        ("--report", "--all-events"),
    ):
        assert gateway.run("reconcile", *arguments).returncode == 2, arguments
    unknown = gateway.run("reconcile", "--account=nobody")
    assert (unknown.returncode, "nobody" in unknown.stderr) == (1, True)


def test_an_upstream_that_does_not_answer_is_said(
    gateway: Gateway, simulator: Simulator, clock: ShiftedClock, day: datetime.date
):
    ask(gateway.new_account(), 2)
    next_day(clock, day)
    simulator.account(KEYS[0], state="failing")
    report = Report(gateway, f"--account={FIRST}")
    assert report.number("findings") == 0, report.text
    assert "not_checked=day" in report.text
    simulator.account(KEYS[0], state="ok")
    report = Report(gateway)
    assert (report.code, "not_checked=day" in report.text) == (0, False), report.text


def test_the_server_compares_by_itself(
    tmp_path: Path, simulator: Simulator, clock: ShiftedClock, own_database: Database | None, day: datetime.date
):
    """From the first day on that an account is here from its beginning."""
    settings = SETTINGS | {"AIROUTER_RECONCILE_MINUTES": "5"} | clock.environment
    with running_gateway(tmp_path, simulator, own_database, **settings) as gateway:
        account = gateway.new_account()
        call_outside(simulator, KEYS[0])
        clock.set(day + ONE_DAY, "12:00")
        ask(account, 4)
        outside = call_outside(simulator, KEYS[0])
        clock.set(day + 2 * ONE_DAY, "00:04")
        before = gateway.log_text()
        assert "compared with the upstream" not in before
        clock.set(day + 2 * ONE_DAY, "00:06")
        said = eventually(lambda: warning(gateway), "the log says so", 30)
        assert said["master_account"] == FIRST
        assert (said["day"], said["finding"]) == (str(day + ONE_DAY), "missing_here")
        assert usd(said["difference"]) == outside
        series = f'airouter_reconciliation_difference_nanodollars{{kind="day",master_account="{FIRST}"}}'
        eventually(lambda: gateway.metric(series) == nanos(outside), "the metric says so", 30)
        assert gateway.metric('airouter_alarms_total{kind="bill_differs"}') == 1
        report = Report(gateway)
        assert (report.code, report.number("findings"), report.number("entered")) == (1, 1, 0), report.text
        assert posted(gateway) == nanos(outside * SHARE)


def warning(gateway: Gateway) -> dict | None:
    """What the log says of a difference."""
    lines = [json.loads(line) for line in gateway.log_text().splitlines() if "otherwise than it is booked" in line]
    if not lines:
        return None
    [line] = lines
    return line.get("fields", line)


def test_whoever_compares_at_the_same_time_posts_once(
    tmp_path: Path, simulator: Simulator, clock: ShiftedClock, servers: Servers, day: datetime.date
):
    settings = SETTINGS | {"AIROUTER_RECONCILE_MINUTES": "5"} | clock.environment
    with (
        new_database(servers) as database,
        running_replicas(tmp_path, simulator, database, count=2, **settings) as replicas,
    ):
        first, second = replicas
        clock.set(day + ONE_DAY, "12:00")
        ids = ask(first.new_account(), 4)
        doubled = ids[0]
        outside = {key: call_outside(simulator, key) for key in KEYS}
        double_event(database, doubled)
        clock.set(day + 2 * ONE_DAY, "00:06")
        with ThreadPoolExecutor(6) as pool:
            reports = list(pool.map(Report, [first, second] * 3))
        assert [report.number("findings") for report in reports] == [3] * 6, [report.text for report in reports]
        entries = database.rows("SELECT kind, number FROM reconciliation_findings ORDER BY kind")
        assert entries == [("day", 1), ("day", 1), ("doubled", 1)]
        differences = [*outside.values(), -simulator.generation(doubled).cost]
        assert posted(first) == sum(nanos(difference * SHARE) for difference in differences)
