"""The simulated upstream: its process and its side door under `/_sim/`."""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx2

from .money import of_picos
from .polling import eventually
from .processes import Child, binary, clean_environment

MASTER_KEY = "sk-or-v1-simulated"


@dataclass(frozen=True)
class Generation:
    """One chat request in the upstream's books."""

    id: str
    key: str
    model: str
    state: str
    streamed: bool
    started_at_us: int
    ended_at_us: int
    prompt_tokens: int
    completion_tokens: int
    cost: Fraction
    paid_at_provider: Fraction
    seen: dict[str, str]
    user: str | None
    max_tokens: int | None
    max_price: str | None

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Generation":
        return cls(
            cost=of_picos(row["cost_picodollars"]),
            paid_at_provider=of_picos(row["provider_picodollars"]),
            **{name: row[name] for name in cls.__dataclass_fields__ if name not in ("cost", "paid_at_provider")},
        )


class Simulator:
    """A running simulated upstream."""

    def __init__(
        self,
        directory: Path,
        keys: tuple[str, ...] = (MASTER_KEY,),
        management: tuple[str, ...] = (),
        speaks: str = "openrouter",
        **environment: str,
    ):
        """`management` are management keys, the n-th of the n-th key's account. What `speaks` "compatible" is a plain
        server with OpenAI's API; an empty key of its is that of requests without one."""
        self.keys = keys
        program = binary("airouter-sim", "AIROUTER_SIM_BIN")
        command = [str(program), "upstream", "--listen", "127.0.0.1:0", "--keys", ",".join(keys), "--speaks", speaks]
        if management:
            command += ["--management-keys", ",".join(management)]
        log = directory / f"simulator-{speaks}.log"
        self.child = Child(command, log, clean_environment(**environment))
        self.base_url = eventually(self._printed_address, "the simulator says where it listens")
        root = self.base_url.removesuffix("/v1").removesuffix("/api")
        self._http = httpx2.Client(base_url=f"{root}/_sim/", timeout=30, trust_env=False)

    def _printed_address(self) -> str | None:
        assert self.child.is_running, self.child.log_text()
        found = re.search(r"listening on (http://\S+)\n", self.child.log_text())
        return found and found[1]

    def _call(self, method: str, path: str, body: object = None) -> Any:
        response = self._http.request(method, path, json=body)
        assert response.status_code == 200, (path, response.status_code, response.text)
        return response.json()

    def restore(self) -> None:
        """Every account is well again, and tokens are counted as usual; the books go on."""
        for key in self.keys:
            self.account(key, state="ok")
        self.configure(prompt_tokens_per_byte=0, generation_cost_hidden=0)

    def configure(self, **settings: int) -> None:
        self._call("PUT", "config", settings)

    def account(self, key: str, **change: str) -> None:
        """Changes an account: `credit_usd`, `state` (ok, disabled, broke, key_limited, rate_limited, failing,
        hanging, resetting, garbage, error_inside)."""
        self._call("PUT", f"accounts/{key}", change)

    def books(self) -> dict[str, Any]:
        return self._call("GET", "books")

    def billed(self) -> Fraction:
        """Everything it has billed."""
        return of_picos(self.books()["total_picodollars"])

    def running(self) -> int:
        return self.books()["running"]

    def last_request(self) -> tuple[dict[str, str], str]:
        """Headers and body of the last chat request, as they arrived."""
        last = self._call("GET", "last_request")
        return last["headers"], last["body"]

    def last_body(self) -> dict[str, Any]:
        return json.loads(self.last_request()[1])

    def generations(self) -> dict[str, Generation]:
        """Every chat request in its books, by id."""
        found: dict[str, Generation] = {}
        since = 0
        while True:
            page = self._call("GET", f"generations?since={since}")
            if not page["generations"]:
                return found
            for row in page["generations"]:
                found[row["id"]] = Generation.of(row)
            since = page["next"]

    def generation(self, generation_id: str) -> Generation:
        return self.generations()[generation_id]

    def stop(self) -> None:
        self._http.close()
        self.child.process.terminate()
        assert self.child.exit_code() == 0, self.child.log_text()


@contextlib.contextmanager
def running_simulator(
    directory: Path,
    keys: tuple[str, ...] = (MASTER_KEY,),
    management: tuple[str, ...] = (),
    speaks: str = "openrouter",
    **environment: str,
) -> Iterator[Simulator]:
    simulator = Simulator(directory, keys, management, speaks, **environment)
    try:
        yield simulator
    finally:
        simulator.stop()
