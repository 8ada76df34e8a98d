"""Fixtures: one simulated upstream and one gateway for each test module, new clients for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.gateway import Account, Gateway, running_gateway
from harness.simulator import Simulator, running_simulator

CLOSING_NOTES = pytest.StashKey[list[str]]()


@pytest.fixture
def closing_note(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Says something after all tests, beside their count."""
    return pytestconfig.stash.setdefault(CLOSING_NOTES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for note in config.stash.get(CLOSING_NOTES, []):
        terminalreporter.write_line(note)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return tmp_path_factory.mktemp(request.module.__name__)


@pytest.fixture(scope="module")
def simulator(directory: Path) -> Iterator[Simulator]:
    with running_simulator(directory) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def gateway(directory: Path, simulator: Simulator) -> Iterator[Gateway]:
    with running_gateway(directory, simulator) as gateway:
        yield gateway


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
