"""Clients that ask one replica again and again, and write down what they saw and when."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .gateway import Account
from .polling import eventually
from .requests import body

PAUSE_SECONDS = 0.1
PATIENCE_SECONDS = 40


@dataclass(frozen=True)
class Sight:
    """One request: times in seconds since the epoch, status 0 where there was no answer."""

    replica: Path
    began: float
    ended: float
    status: int
    generation: str | None
    text: str

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Witness:
    """A client of one replica with one request at a time, ten a second at most."""

    def __init__(self, account: Account):
        self._port = account.gateway.port
        self._replica = account.gateway.data
        self._headers = {"authorization": f"Bearer {account.key}", "content-type": "application/json"}
        self._body = json.dumps(body(sim={"completion_tokens": 7}))
        self._connection: http.client.HTTPConnection | None = None
        self._over = threading.Event()
        self.seen: list[Sight] = []
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(PAUSE_SECONDS):
            self.seen.append(self._ask())
        if self._connection is not None:
            self._connection.close()

    def _ask(self) -> Sight:
        began, status, generation, text = time.time(), 0, None, ""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
            self._connection.request("POST", "/v1/chat/completions", self._body, self._headers)
            response = self._connection.getresponse()
            text = response.read().decode(errors="replace")
            status = response.status
            generation = json.loads(text)["id"] if status == 200 else None
        except (OSError, http.client.HTTPException) as error:
            status, text = 0, repr(error)
            if self._connection is not None:
                self._connection.close()
            self._connection = None
        return Sight(self._replica, began, time.time(), status, generation, text)

    def served_after(self, moment: float) -> int:
        """How many requests that began after it were served."""
        return sum(sight.status == 200 and sight.began > moment for sight in self.seen)

    def stop(self) -> None:
        self._over.set()
        self._thread.join(PATIENCE_SECONDS + 5)
        assert not self._thread.is_alive()


def wait_until_served(witnesses: Sequence[Witness], answers: int = 3, seconds: float = 30) -> None:
    """Waits until each has had so many more answers."""
    now = time.time()
    for witness in witnesses:
        eventually(lambda witness=witness: witness.served_after(now) >= answers, "the witness is served", seconds)


@contextlib.contextmanager
def witnesses_of(client: Sequence[Account]) -> Iterator[list[Witness]]:
    """One witness for each replica, while they run."""
    witnesses = [Witness(account) for account in client]
    try:
        yield witnesses
    finally:
        for witness in witnesses:
            witness.stop()


def failures(witnesses: Sequence[Witness]) -> list[Sight]:
    return [sight for witness in witnesses for sight in witness.seen if sight.status != 200]
