"""Routers in a row: each one's upstream is the one before it, whose client it is; the first one's is the simulator."""

import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import openai

from .database import Database, Event
from .gateway import Account, Gateway
from .money import CLIENT_FACTOR, NANOS, nanos, usd
from .polling import eventually
from .simulator import Generation, Simulator

# What each router adds to what a request costs it; the first one sells at a part of the list price.
MARKUPS = ("0.1", "0.333")
CREDIT = 1000
SURFACES = ("/v1", "/api/v1")


# Makes a database for a router, as the fixture `store` does.
Databases = Callable[[], contextlib.AbstractContextManager[Database | None]]


@dataclass(frozen=True)
class RouterAsUpstream:
    """A router as the upstream of another, as far as a `Gateway` asks."""

    base_url: str
    keys: tuple[str, ...]


@dataclass
class Member:
    """A router of a chain."""

    gateway: Gateway
    # As whom it buys of the one before it; the first one buys of the simulator.
    buys_as: Account | None = None
    # The plan of its clients; the first one's is the default.
    markup: str | None = None

    def price_of(self, list_cost: Fraction) -> int:
        """What its client pays for what the upstream says a request costs, in nano-dollars."""
        if self.markup is None:
            return nanos(list_cost * CLIENT_FACTOR)
        return nanos(list_cost * (1 + usd(self.markup)))

    def new_account(self, credit: str) -> Account:
        account = self.gateway.new_account(credit)
        if self.markup is not None:
            self.gateway.command("accounts", "set-plan", f"--email={account.email}", "resale")
        return account


class Chain:
    """So many routers, the first one at the simulator."""

    def __init__(
        self,
        directory: Path,
        simulator: Simulator,
        databases: Databases,
        count: int,
        **settings: str,
    ):
        self.simulator = simulator
        self.members: list[Member] = []
        self._directory = directory
        self._databases = databases
        self._stack = contextlib.ExitStack()
        # Those of another chain before.
        self._foreign = set(simulator.generations())
        self._count = count
        self._settings = settings

    def start(self) -> None:
        for number in range(self._count):
            directory = self._directory / f"router-{number}"
            directory.mkdir()
            database = self._stack.enter_context(self._databases())
            if not self.members:
                member = Member(Gateway(directory, self.simulator, database, **self._settings))
            else:
                account = self.members[-1].new_account(str(CREDIT))
                member = Member(self._reseller(directory, account, database), account, MARKUPS[number - 1])
            self.members.append(member)
            member.gateway.start()
            if member.markup is not None:
                add_markup_plan(member.gateway, member.markup)

    def _reseller(self, directory: Path, account: Account, database: Database | None) -> Gateway:
        upstream = RouterAsUpstream(f"{account.gateway.url}/api/v1", (account.key,))
        settings = {"OPENROUTER_DISCOUNT_PERCENT": "0"} | self._settings
        # It needs no more of the simulator's than the address and the keys.
        return Gateway(directory, upstream, database, **settings)  # type: ignore[arg-type]

    @property
    def gateways(self) -> list[Gateway]:
        return [member.gateway for member in self.members]

    def prices(self, list_cost: Fraction) -> list[int]:
        """What the clients of each router pay for a request, from the first router on."""
        prices = []
        for member in self.members:
            prices.append(member.price_of(list_cost))
            list_cost = Fraction(prices[-1], NANOS)
        return prices

    def generations(self) -> dict[str, Generation]:
        """What the simulator has in its books of this chain."""
        found = self.simulator.generations()
        return {name: row for name, row in found.items() if name not in self._foreign}

    def check_books(self, depth: int | None = None, seconds: float = 30) -> None:
        """Waits until all is settled, and compares each router's books with the next one's."""
        members = self.members[:depth]
        eventually(lambda: is_settled(members), "everything is settled", seconds)
        eventually(lambda: self.simulator.running() == 0, "the upstream is done", seconds)
        billed = {name: row.cost for name, row in self.generations().items()}
        booked = listed(members[0].gateway.database.events())
        wrong = {name for name in {*billed, *booked} if billed.get(name, 0) != booked.get(name, 0)}
        assert not wrong, {name: (billed.get(name), booked.get(name)) for name in wrong}
        for buyer in members[1:]:
            assert_agrees_with_its_upstream(buyer)

    def stop(self) -> None:
        """Stops them, the last one first, and checks what must hold after any run."""
        for gateway in reversed(self.gateways):
            gateway.stop()

    def kill(self) -> None:
        for gateway in self.gateways:
            if gateway.child is not None and gateway.child.is_running:
                gateway.child.kill()
        self._stack.close()


def add_markup_plan(gateway: Gateway, markup: str) -> None:
    terms = {"rule": {"rule": "markup_on_cost", "markup": markup}}
    file = gateway.data / "resale.json"
    file.write_text(json.dumps(terms))
    gateway.command("plans", "create", "resale", f"--file={file}")


@contextlib.contextmanager
def running_chain(
    directory: Path,
    simulator: Simulator,
    databases: Databases,
    count: int = 3,
    **settings: str,
) -> Iterator[Chain]:
    chain = Chain(directory, simulator, databases, count, **settings)
    try:
        chain.start()
        yield chain
        chain.stop()
    finally:
        chain.kill()


def sdk(account: Account, surface: str = "/v1", **options: Any) -> openai.OpenAI:
    """The official client on one of the two surfaces."""
    options = {"max_retries": 0, "timeout": 60} | options
    return openai.OpenAI(base_url=f"{account.gateway.url}{surface}", api_key=account.key, **options)


def events_of(text: str) -> list[str]:
    """The data of each event of a stream."""
    return [block.removeprefix("data: ") for block in text.split("\n\n") if block.startswith("data: ")]


def is_settled(members: Sequence[Member]) -> bool:
    """Nothing is still to be found out, but for attempts that failed: they hold nothing, and most were never billed."""
    pending = [row for member in members for row in member.gateway.database.pending()]
    return all(reason == "failed_attempt" for reason, _, _ in pending)


def charged(events: Sequence[Event]) -> dict[str | None, int]:
    """What a client was charged, by generation."""
    sums: dict[str | None, int] = defaultdict(int)
    for event in events:
        sums[event.generation_id] += event.charged_nanos
    return sums


def listed(events: Sequence[Event]) -> dict[str | None, Fraction]:
    """What the upstream billed, by generation, as the books have it."""
    sums: dict[str | None, Fraction] = defaultdict(Fraction)
    for event in events:
        sums[event.generation_id] += event.list_usd
    return sums


def differences(sold: Mapping[str | None, int], bought: Mapping[str | None, Fraction]) -> dict[str | None, Fraction]:
    """By generation, how much more the seller charged than the buyer has booked."""
    found = {name: sold.get(name, 0) - bought.get(name, Fraction(0)) * NANOS for name in {*sold, *bought}}
    return {name: difference for name, difference in found.items() if difference}


def assert_agrees_with_its_upstream(buyer: Member) -> None:
    """What its upstream charged is what it has booked as its list cost, generation by generation; and the money is gone
    from its balance there, as every route of the account API says too."""
    account = buyer.buys_as
    sold, bought = account.events(), buyer.gateway.database.events()
    assert not differences(charged(sold), listed(bought)), differences(charged(sold), listed(bought))
    spent = sum(event.charged_nanos for event in sold)
    assert account.balance().balance_nanos == CREDIT * NANOS - spent
    assert account.balance().lifetime_spent_nanos == spent
    credits = exact(account, "/api/v1/credits")
    assert nanos(credits["total_usage"]) == spent
    assert nanos(credits["total_credits"]) == CREDIT * NANOS
    assert nanos(exact(account, "/api/v1/key")["usage"]) == spent
    for event in sold[-3:]:
        if event.generation_id is not None:
            record = exact(account, f"/api/v1/generation?id={event.generation_id}")
            assert nanos(record["total_cost"]) == charged(sold)[event.generation_id]


def exact(account: Account, path: str) -> Any:
    """The `data` of an answer of the account API, its numbers exact."""
    with account.http() as http:
        response = http.get(path)
    assert response.status_code == 200, response.text
    return json.loads(response.text, parse_float=usd, parse_int=usd)["data"]
