"""Requests with an `Idempotency-Key`, and the table of what their repeats were answered."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import httpx2

from .gateway import Account
from .money import price_of
from .polling import eventually
from .simulator import Simulator

PATH = "/v1/chat/completions"


def new_key() -> str:
    return f"test-{secrets.token_hex(8)}"


def ask(account: Account, key: str | None, request: dict, path: str = PATH) -> httpx2.Response:
    headers = {} if key is None else {"idempotency-key": key}
    with account.http(headers=headers) as http:
        return http.post(path, json=request)


def code_of(answer: httpx2.Response) -> str | None:
    return None if answer.status_code == 200 else answer.json()["error"]["code"]


@dataclass(frozen=True)
class Table:
    """What repeats were answered on one store, by case: shown with counts after all tests."""

    store: str
    row: Callable[[str, str], None]

    def note(self, case: str, answer: httpx2.Response) -> None:
        replayed = answer.headers.get("idempotent-replayed") == "true"
        told = code_of(answer) or ("replayed" if replayed else "runs")
        self.add(case, f"{answer.status_code} {told}")

    def add(self, case: str, told: str) -> None:
        self.row(f"Idempotency-Key on {self.store}: what a repeat was answered", f"{case:<58} {told:<30}")


def assert_runs(answer: httpx2.Response) -> None:
    assert answer.status_code == 200, answer.text
    assert "idempotent-replayed" not in answer.headers


def assert_replays(answer: httpx2.Response, first: httpx2.Response) -> None:
    """The first answer again, byte by byte, and whose it is."""
    assert answer.status_code == 200, answer.text
    assert answer.content == first.content
    assert answer.headers["content-type"] == first.headers["content-type"]
    assert answer.headers["idempotent-replayed"] == "true"
    assert answer.headers["x-airouter-request-id"] == first.headers["x-request-id"]
    assert answer.headers["x-request-id"] != first.headers["x-request-id"]


def assert_running(answer: httpx2.Response) -> None:
    assert (answer.status_code, code_of(answer)) == (409, "request_running"), answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers.get("x-should-retry") != "false"


def assert_finished(answer: httpx2.Response, request_id: str, price_nanos: int) -> None:
    """No answer any more, but which request it was and what it cost."""
    assert (answer.status_code, code_of(answer)) == (409, "request_finished"), answer.text
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-airouter-request-id"] == request_id
    assert round(float(answer.headers["x-airouter-price"]) * 10**9) == price_nanos
    assert request_id in answer.text
    assert "new key" in answer.text


def assert_billed(account: Account, simulator: Simulator, generations: list[str]) -> None:
    """The client paid for these generations, each once, and for nothing else."""
    paid = lambda: [event for event in account.events() if event.loss_reason is None]  # noqa: E731
    eventually(lambda: len(paid()) >= len(generations), f"{len(generations)} usage events")
    events = paid()
    assert sorted(event.generation_id for event in events) == sorted(generations)
    books = simulator.generations()
    for event in events:
        assert event.charged_nanos == price_of(books[event.generation_id].cost), event
    assert account.balance().lifetime_spent_nanos == sum(event.charged_nanos for event in events)
