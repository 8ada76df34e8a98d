"""A compatible server as a master account: its price table, and what its answers are to cost."""

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from .gateway import Account, Gateway
from .money import CLIENT_FACTOR, nanos, usd
from .polling import eventually
from .simulator import Simulator

KEY = "sk-compatible-0123456789abcdef"
# What the simulated server asks for its own models, as a table sells them. `x_sim` steers the simulator.
SMALL = {
    "upstream_model": "gpt-sim-small",
    "prompt": "0.00000012",
    "completion": "5e-7",
    "input_cache_read": "0.00000004",
    "context_length": 128_000,
    "max_completion_tokens": 16_384,
    "extra_fields": ["x_sim"],
}
OWN = SMALL | {"upstream_model": "gpt-sim-own", "prompt": "0.000002", "completion": "0.000008"}
REASONING = SMALL | {
    "upstream_model": "gpt-sim-reasoning",
    "prompt": "0.000001",
    "completion": "0.000004",
    "max_completion_tokens": 100_000,
    "limit_field": "max_completion_tokens",
}


@dataclass
class Spare:
    """An account at a compatible server."""

    gateway: Gateway
    simulator: Simulator
    directory: Path
    name: str = "spare"
    discount: int = 50

    def add(self, *flags: str) -> None:
        key = self.simulator.keys[0]
        if key:
            (self.directory / "key").write_text(f"{key}\n")
            self.gateway.expect_silence_about(key)
        source = f"--key-file={self.directory / 'key'}" if key else "--no-key"
        self.fleet(
            "add",
            "--kind=compatible",
            f"--name={self.name}",
            f"--base-url={self.simulator.base_url}",
            f"--discount={self.discount}",
            source,
            *flags,
        )

    def fleet(self, *arguments: str) -> str:
        return self.gateway.command("master-accounts", *arguments)

    def price(self, **table: dict[str, Any]) -> str:
        """Puts a table in force; names have two underscores for a slash."""
        file = self.directory / "prices.json"
        file.write_text(json.dumps({name.replace("__", "/"): entry for name, entry in table.items()}))
        return self.fleet("prices", self.name, f"--file={file}")

    def cost_of(self, list_cost: Fraction) -> int:
        return nanos(list_cost * Fraction(100 - self.discount, 100))

    def price_of(self, list_cost: Fraction) -> int:
        return max(nanos(list_cost * CLIENT_FACTOR), self.cost_of(list_cost))

    def requests(self) -> int:
        return self.simulator.books()["requests"]


def list_cost(entry: dict[str, Any], prompt: int, completion: int, cached: int = 0) -> Fraction:
    """Tokens by the prices of a table."""
    cached_price = usd(entry.get("input_cache_read", entry["prompt"]))
    return (prompt - cached) * usd(entry["prompt"]) + cached * cached_price + completion * usd(entry["completion"])


def models_of(account: Account) -> list[str]:
    return [model.id for model in account.sdk().models.list()]


def wait_for_model(account: Account, model: str) -> None:
    """Until the gateway follows a table."""
    eventually(lambda: model in models_of(account), f"{model} is on sale", 5)
