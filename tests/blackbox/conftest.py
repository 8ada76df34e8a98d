"""Fixtures: one simulated upstream, and one gateway on each store, for each test module; new clients for each test."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.database import Database
from harness.gateway import Account, Gateway, running_gateway
from harness.postgres_database import Servers, new_database
from harness.replicas import Replicas, running_replicas
from harness.services import DATABASE, REDIS, services
from harness.simulator import Simulator, running_simulator

Store = Callable[[], contextlib.AbstractContextManager[Database | None]]
# Modules that measure time, or keep a processor busy for long.
BUSY = {
    "test_chain_faults",
    "test_changes",
    "test_durability",
    "test_fleet",
    "test_many_faults",
    "test_many_streams",
    "test_money_races",
    "test_outages",
    "test_recovery",
    "test_replica_lives",
    "test_replica_races",
    "test_shared_limits",
}
CLOSING_NOTE = "closing note"
TABLE_ROW = "row of "


@pytest.fixture
def closing_note(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says something after all tests, beside their count."""
    return lambda text: record_property(CLOSING_NOTE, text)


@pytest.fixture
def table_row(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """Adds a row to a table, by its title, that many tests make, in whichever processes; each row is shown with its
    count."""
    return lambda title, row: record_property(TABLE_ROW + title, row)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, those of a module on one store are in one group; so are the busy ones,
    which begin first."""
    for item in items:
        store = item.callspec.params.get("store", "") if hasattr(item, "callspec") else ""
        is_busy = item.module.__name__ in BUSY
        item.add_marker(pytest.mark.xdist_group("busy" if is_busy else f"{item.module.__name__}-{store}"))
    items.sort(key=lambda item: item.module.__name__ not in BUSY)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    calls = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
    ]
    shown = [told for report in calls for told in report.user_properties]
    for name, note in shown:
        if name == CLOSING_NOTE:
            terminalreporter.write_line(note)
    rows = Counter((name.removeprefix(TABLE_ROW), row) for name, row in shown if name.startswith(TABLE_ROW))
    for title in sorted({title for title, _ in rows}):
        terminalreporter.write_line(f"{title}, and how often")
        for row in sorted(row for of, row in rows if of == title):
            terminalreporter.write_line(f"{row} {rows[title, row]:>4}")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return tmp_path_factory.mktemp(request.module.__name__)


@pytest.fixture(scope="module")
def simulator(directory: Path) -> Iterator[Simulator]:
    with running_simulator(directory) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The PostgreSQL and the Redis of the whole run."""
    with services() as addresses:
        yield Servers(addresses[DATABASE], addresses[REDIS])


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    """Makes databases for gateways: `None` is the SQLite file in the gateway's data directory."""
    if request.param == "sqlite":
        return contextlib.nullcontext
    servers = request.getfixturevalue("servers")
    return lambda: new_database(servers)


@pytest.fixture(scope="module")
def database(store: Store) -> Iterator[Database | None]:
    """The database of a module's tests."""
    with store() as database:
        yield database


@pytest.fixture
def own_database(store: Store) -> Iterator[Database | None]:
    """A database for one test alone."""
    with store() as database:
        yield database


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, database: Database | None
) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), simulator, database) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, servers: Servers) -> Iterator[Replicas]:
    """Three gateways over one PostgreSQL database and one Redis."""
    with (
        new_database(servers) as database,
        running_replicas(tmp_path_factory.mktemp("replicas"), simulator, database) as replicas,
    ):
        yield replicas


@pytest.fixture
def account(gateway: Gateway) -> Account:
    """A new client with $10."""
    return gateway.new_account()


@pytest.fixture(autouse=True)
def simulator_is_well(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test changed of the simulator's accounts and way of counting doesn't reach the next one."""
    simulator = request.getfixturevalue("simulator") if "simulator" in request.fixturenames else None
    yield
    if simulator is not None:
        simulator.restore()
