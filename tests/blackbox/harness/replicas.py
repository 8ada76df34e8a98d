"""Several gateways over one PostgreSQL database and one Redis."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .gateway import Account, Gateway
from .polling import eventually
from .postgres_database import PostgresDatabase
from .simulator import Simulator

# All but the last grain of the time after which a silent replica is ended has passed.
LAPSE = "UPDATE replicas SET lease_ends = (SELECT elapsed_micros FROM lease_clock) - 60000000 WHERE id = ?"


def has_landed(gateway: Gateway) -> bool:
    """Whether nothing is spooled. Gauges are set twice a second, and say nothing before it is ready."""
    return gateway.metric("airouter_ready") == 1 and gateway.metric("airouter_spooled_batches") == 0


def revive(gateway: Gateway) -> None:
    """Starts one that was killed, and which is alone. When what it had spooled has landed, the leases of its former
    lives lapse, which would take three minutes on PostgreSQL; on SQLite they end at the start."""
    gateway.start()
    eventually(lambda: has_landed(gateway), "what was spooled has landed", 30)
    if isinstance(gateway.database, PostgresDatabase):
        [(present,)] = gateway.database.rows("SELECT max(id) FROM replicas")
        gateway.database.execute(LAPSE.replace("id = ?", "id < ? AND ended_at IS NULL"), present)


class Replicas:
    """So many `airouter serve`, each with a data directory and ports of its own."""

    def __init__(self, directory: Path, simulator: Simulator, database: PostgresDatabase, count: int, **settings: str):
        self.database = database
        self.all = [self._member(directory / f"replica-{n}", simulator, settings) for n in range(count)]
        self._numbers: dict[Path, int] = {}

    def _member(self, directory: Path, simulator: Simulator, settings: dict[str, str]) -> Gateway:
        directory.mkdir()
        return Gateway(directory, simulator, self.database, **settings)

    def __iter__(self) -> Iterator[Gateway]:
        return iter(self.all)

    def start(self) -> None:
        for gateway in self.all:
            self.start_one(gateway)

    def start_one(self, gateway: Gateway) -> None:
        """One after another, so that it is known which number each has in the database."""
        gateway.start()
        [(number,)] = self.database.rows("SELECT max(id) FROM replicas WHERE ended_at IS NULL")
        self._numbers[gateway.data] = number

    def let_leases_lapse(self, gateway: Gateway) -> None:
        """As if it had been silent through its leases and their grace: the others may end it at once."""
        self.database.operator_sql(LAPSE, self._numbers[gateway.data])

    def revive(self, gateway: Gateway) -> None:
        """Starts one that was killed. When what it had spooled has landed, the leases of its former life lapse, which
        would take three minutes otherwise."""
        former = self._numbers[gateway.data]
        self.start_one(gateway)
        eventually(lambda: has_landed(gateway), "what was spooled has landed", 30)
        self.database.operator_sql(LAPSE, former)

    def new_account(self, credit: str = "10") -> list[Account]:
        """A new client, as it talks to each of them."""
        client = self.all[0].new_account(credit)
        return [client, *(client.at(gateway) for gateway in self.all[1:])]

    def stop(self) -> None:
        """Stops them all and checks what must hold after any run."""
        for gateway in self.all:
            assert gateway.terminate() == 0, gateway.log.read_text(errors="replace")[-4000:]
        self.all[0].command("ledger", "verify")
        for gateway in self.all:
            gateway.check_silence()

    def kill(self) -> None:
        """Ends those that still run."""
        for gateway in self.all:
            if gateway.child is not None and gateway.child.is_running:
                gateway.child.kill()


@contextlib.contextmanager
def running_replicas(
    directory: Path, simulator: Simulator, database: PostgresDatabase, count: int = 3, **settings: str
) -> Iterator[Replicas]:
    replicas = Replicas(directory, simulator, database, count, **settings)
    try:
        replicas.start()
        yield replicas
        replicas.stop()
    finally:
        replicas.kill()
