"""Reports and look-ups by HTTP, over a PostgreSQL database with millions of requests."""

import http.client
import json
import secrets
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway import Installation, start_replica
from postgres import Database, psql, run_file
from programs import BENCH, Programs, Target
from report import Verdict, table

REPORT_MS = 200
LOOK_UP_MS = 50
REPEATS = 9
# A list's hundredth page costs what the first one costs, but for noise.
FAR_PAGE = 100
MOST_TIMES_FIRST = 1.5
DAYS = 90
SUM_UP_SECONDS = 3600
ANSWER_SECONDS = 60
ADMIN, PASSWORD = "admin@localhost", "correct horse battery"

WAITING = (
    "SELECT (SELECT folded_through FROM usage_rollup_state) < (SELECT coalesce(max(id), 0) FROM ledger_transactions)"
)
# What autovacuum does in the meantime where requests come one by one.
TIDY = "VACUUM (ANALYZE)"
NEWEST = "SELECT id FROM request_logs WHERE payer_id = '{payer}' ORDER BY transaction_id DESC LIMIT 1"


class Caller:
    """Somebody who calls the control plane over one connection."""

    def __init__(self, port: int):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        self.bearer = ""

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        """What the answer says; it must be a good one."""
        headers = {"content-type": "application/json"} if body is not None else {}
        if self.bearer:
            headers["authorization"] = f"Bearer {self.bearer}"
        self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text)

    def log_in(self, email: str) -> None:
        """From now on calls are this login's, over a new connection."""
        self.connection.close()
        self.bearer = ""
        self.bearer = self.call("POST", "/v1/auth/login", {"email": email, "password": PASSWORD})["access_token"]


@dataclass(frozen=True)
class Timed:
    """How long one question takes, in milliseconds."""

    what: str
    limit: int
    millis: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.millis)


@dataclass(frozen=True)
class Answers:
    """How long everything takes."""

    timed: list[Timed]
    # The first page and the hundredth of each list.
    pages: list[tuple[Timed, Timed]]


def timed(caller: Caller, what: str, path: str, limit: int) -> Timed:
    """Asks several times, after once that does not count."""
    millis = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        caller.call("GET", path)
        millis.append((time.perf_counter() - began) * 1000)
    return Timed(what, limit, millis[1:])


def timed_pages(caller: Caller, what: str, path: str) -> tuple[Timed, Timed]:
    """A list's first page, and one far behind it."""
    far = path
    for _ in range(FAR_PAGE - 1):
        far = f"{path}&cursor={caller.call('GET', far)['next_cursor']}"
    first, hundredth = (timed(caller, f"{what}: page {n}", at, REPORT_MS) for n, at in ((1, path), (FAR_PAGE, far)))
    return first, hundredth


def client_reports(days: str) -> Iterator[tuple[str, str]]:
    """What a client may ask."""
    yield "usage", f"/v1/client/usage?{days}"
    yield "daily, UTC", f"/v1/client/usage/daily?{days}"
    yield "daily, Kolkata", f"/v1/client/usage/daily?{days}&time_zone=Asia/Kolkata"
    yield (
        "daily of a model, Kathmandu",
        (f"/v1/client/usage/daily?{days}&time_zone=Asia/Kathmandu&model=bench/model-1"),
    )
    yield "by model, Berlin", f"/v1/client/models/usage?{days}&time_zone=Europe/Berlin"
    yield "by key", f"/v1/client/keys/usage?{days}"


def operator_reports(days: str, client: str) -> Iterator[tuple[str, str]]:
    """What the operator may ask."""
    for group in ("day", "model", "master_account", "client"):
        for zone in ("UTC", "Asia/Kolkata"):
            yield (
                f"stats by {group}, {zone}",
                f"/v1/admin/stats?{days}&time_zone={zone}&group_by={group}",
            )
    yield (
        "stats of a client by day, Kolkata",
        f"/v1/admin/stats?{days}&time_zone=Asia/Kolkata&client_id={client}",
    )


def sum_up(database: Database) -> float:
    """Waits until the server has summed everything up; seconds."""
    began = time.monotonic()
    while psql(database.url, WAITING) == "t":
        if time.monotonic() - began > SUM_UP_SECONDS:
            raise RuntimeError("the requests are not summed up")
        time.sleep(0.5)
    return time.monotonic() - began


def measure(programs: Programs, installation: Installation, database: Database, rows: int) -> Answers:
    """Fills the database, lets a server sum up, and asks."""
    installation.settings.update(ADMIN_EMAIL=ADMIN, ADMIN_PASSWORD=PASSWORD)
    server = start_replica(programs, installation, programs.upstream(), 0, key="")
    heavy, typical, admin = (Caller(server.port) for _ in range(3))
    accounts, logins = {}, {admin: ADMIN}
    for caller in (heavy, typical):
        email = logins[caller] = f"{secrets.token_hex(4)}@example.com"
        caller.call(
            "POST",
            "/v1/auth/register",
            {"email": email, "password": PASSWORD, "name": email},
        )
        caller.log_in(email)
        accounts[caller] = caller.call("GET", "/v1/auth/me")["account_id"]
    key = heavy.call("POST", "/v1/auth/api-keys", {"name": "the key"})
    fill(
        database,
        rows,
        heavy=accounts[heavy],
        typical=accounts[typical],
        heavy_key=key["id"],
    )
    seconds = sum_up(database)
    print(
        f"summed {rows:,} requests up, {seconds:.0f} s after they were there",
        flush=True,
    )
    psql(database.url, TIDY, seconds=SUM_UP_SECONDS)
    # Tokens and connections don't last as long as that may have taken.
    for caller, email in logins.items():
        caller.log_in(email)
    return ask(server, database, (heavy, typical, admin), accounts[heavy], key["key"])


def ask(
    server: Target,
    database: Database,
    callers: tuple[Caller, Caller, Caller],
    account: str,
    key: str,
) -> Answers:
    """Every report of a large client, of one like most, and of the operator; look-ups; and lists."""
    heavy, typical, admin = callers
    first = time.strftime("%Y-%m-%d", time.gmtime(time.time() - (DAYS - 1) * 86_400))
    days = f"from={first}"
    results = []
    [large_key] = [line["key_id"] for line in heavy.call("GET", "/v1/client/keys/usage?limit=1")["data"]]
    for who, caller in (("large client", heavy), ("client", typical)):
        results += [timed(caller, f"{who}: {what}", path, REPORT_MS) for what, path in client_reports(days)]
    path = f"/v1/client/usage/daily?{days}&time_zone=Asia/Kolkata&key_id={large_key}"
    results.append(timed(heavy, "large client: daily of a key, Kolkata", path, REPORT_MS))
    results += [timed(admin, what, path, REPORT_MS) for what, path in operator_reports(days, account)]
    client = Caller(server.port)
    client.bearer = key
    request = psql(database.url, NEWEST.format(payer=account))
    results.append(
        timed(
            client,
            "a request by its id",
            f"/api/v1/generation?id={request}",
            LOOK_UP_MS,
        )
    )
    results.append(timed(client, "a key", "/api/v1/key", LOOK_UP_MS))
    pages = [
        timed_pages(heavy, "large client: requests", "/v1/client/recent-requests?limit=50"),
        timed_pages(
            heavy,
            "large client: requests of a key",
            f"/v1/client/recent-requests?limit=50&key_id={large_key}",
        ),
        timed_pages(admin, "log", "/v1/admin/logs?limit=50"),
        timed_pages(admin, "log of a client", f"/v1/admin/logs?limit=50&client_id={account}"),
    ]
    return Answers(results, pages)


def fill(database: Database, rows: int, **variables: str) -> None:
    """Makes so many requests in the database itself."""
    began = time.monotonic()
    run_file(
        database.url,
        BENCH / "reports.sql",
        seconds=SUM_UP_SECONDS,
        rows=str(rows),
        **variables,
    )
    print(f"made {rows:,} requests in {time.monotonic() - began:.0f} s", flush=True)


def results_table(answers: Answers) -> str:
    """All of them."""
    header = ["report or look-up", "p50 ms", "max ms", "limit"]
    results = [*answers.timed, *(page for pages in answers.pages for page in pages)]
    lines = ([it.what, f"{it.median:.1f}", f"{max(it.millis):.1f}", str(it.limit)] for it in results)
    return table(header, lines)


def verdicts(answers: Answers, rows: int) -> list[Verdict]:
    """Whether all are quick enough."""
    texts = {REPORT_MS: "reports", LOOK_UP_MS: "look-ups"}
    found = []
    for limit, name in texts.items():
        slowest = max((it for it in answers.timed if it.limit == limit), key=lambda it: it.median)
        text = f"{name} over {rows:,} requests: the slowest, {slowest.what}, takes {slowest.median:.0f} ms"
        found.append(Verdict(slowest.median < limit, f"{text}; limit {limit} ms"))
    for first, far in answers.pages:
        text = f"{first.what} takes {first.median:.1f} ms, page {FAR_PAGE} {far.median:.1f} ms"
        holds = far.median <= MOST_TIMES_FIRST * first.median
        found.append(Verdict(holds, f"{text}; limit {MOST_TIMES_FIRST} x"))
    return found


def work_directory(work: Path) -> Path:
    """Where the server of this part lives."""
    directory = work / "reports"
    directory.mkdir()
    return directory
