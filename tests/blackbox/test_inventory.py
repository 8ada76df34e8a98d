"""The operator's inventory by HTTP alone: master accounts, plans, tiers, models; what changes acts within a second."""

import itertools
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from harness.control_plane import Person, administrator
from harness.database import Database
from harness.gateway import Account, Gateway, running_gateway
from harness.money import nanos
from harness.polling import eventually
from harness.requests import body
from harness.simulator import Simulator, running_simulator

FIRST, SECOND, THIRD = (f"sk-or-v1-inventory-{number}-0123456789abcdef" for number in (1, 2, 3))
MANAGEMENT = "sk-or-v1-inventory-management-0123456789"
ACCOUNTS = "/v1/admin/master-accounts"
MODEL = "sim/one-dollar"
# What an operator's change may take to act.
WITHIN_SECONDS = 1.0
NAMES = itertools.count(1)


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    with running_simulator(tmp_path, (FIRST, SECOND), ("sk-or-v1-other-management", MANAGEMENT)) as simulator:
        yield simulator


@pytest.fixture
def gateway(tmp_path: Path, simulator: Simulator, own_database: Database | None) -> Iterator[Gateway]:
    with running_gateway(tmp_path, simulator, own_database, OPENROUTER_MASTER_KEYS=FIRST) as gateway:
        for key in (THIRD, MANAGEMENT):
            gateway.expect_silence_about(key)
        yield gateway
        assert "entries=" in gateway.command("audit", "verify")


class Operator(Person):
    """The administrator; no answer may have a key of an upstream in it."""

    def send(self, method: str, path: str, **options) -> httpx2.Response:
        answer = super().send(method, path, **options)
        assert not [key for key in (FIRST, SECOND, THIRD, MANAGEMENT) if key in answer.text], answer.text
        return answer

    def change(self, method: str, path: str, change: dict) -> dict:
        """Changes what is there now."""
        tag = self.send("GET", path).headers["etag"]
        return self.call(method, path, json=change, headers={"if-match": tag})

    def client(self, account: Account, change: dict) -> None:
        [found] = self.call("GET", "/v1/admin/clients", params={"search": account.email})["data"]
        self.change("PATCH", f"/v1/admin/clients/{found['id']}", change)

    def log(self, **query: str) -> list[dict]:
        return self.call("GET", "/v1/admin/audit-log", params={"limit": 200} | query)["data"]


@pytest.fixture
def operator(gateway: Gateway) -> Operator:
    admin = administrator(gateway)
    admin.__class__ = Operator
    return admin


def status(account: Account, **fields) -> int:
    with account.http() as http:
        return http.post("/v1/chat/completions", json=body(MODEL, **fields)).status_code


def served_by(account: Account, simulator: Simulator) -> str:
    """The upstream key of one more request."""
    before = set(simulator.generations())
    assert status(account) == 200
    [key] = [generation.key for id, generation in simulator.generations().items() if id not in before]
    return key


def test_a_second_account_serves_while_the_first_rests(gateway: Gateway, simulator: Simulator, operator: Operator):
    account = gateway.new_account()
    [first] = operator.call("GET", ACCOUNTS)["data"]
    assert (first["name"], first["is_in_environment"]) == ("openrouter-1", True)
    new = {"name": "second", "key": SECOND, "discount_percent": "60"}
    second = operator.call("POST", ACCOUNTS, json=new)
    path = f"{ACCOUNTS}/{second['id']}"
    assert second["keys"][0]["preview"] == f"{SECOND[:9]}…{SECOND[-3:]}"
    assert operator.call("POST", f"{path}/test")["all_accepted"]

    change = {"weight": 5, "management_key": MANAGEMENT, "agreement": "2026-117"}
    operator.change("PATCH", path, change)
    tested = operator.call("POST", f"{path}/test")
    assert tested["management_key"]["said"].startswith("accepted, bought ")

    operator.call("POST", f"{ACCOUNTS}/{first['id']}/pause", json={"reason": "a test"})
    eventually(lambda: served_by(account, simulator) == SECOND, "the second account serves", WITHIN_SECONDS * 2)
    shown = operator.call("GET", path)
    assert shown["health"]["breaker"] == "closed"
    assert shown["health"]["requests_of_last_minute"] >= 1
    assert {served_by(account, simulator) for _ in range(3)} == {SECOND}

    wrong = operator.call("POST", f"{path}/keys", json={"key": THIRD})
    tested = operator.call("POST", f"{path}/test")
    assert [key["accepted"] for key in tested["keys"]] == [True, False]
    assert tested["keys"][1]["said"] == "the upstream does not accept the key"
    operator.call("DELETE", f"{path}/keys/{wrong['id']}")
    operator.call("POST", f"{ACCOUNTS}/{first['id']}/resume", json={})
    operator.call("POST", f"{path}/drain", json={})
    eventually(lambda: served_by(account, simulator) == FIRST, "the first account serves", WITHIN_SECONDS * 2)
    actions = [entry["action"] for entry in operator.log(action="master_account", actor="admin@localhost")]
    done = ("add", "change", "pause", "add_key", "remove_key", "resume", "drain")
    assert actions == [f"master_account.{what}" for what in done]
    assert THIRD not in json.dumps(operator.log())


def test_of_two_who_have_seen_the_same_the_second_is_refused(operator: Operator):
    [first] = operator.call("GET", ACCOUNTS)["data"]
    new_plan(operator, "0.8", "shared")
    operator.call("PUT", "/v1/admin/tiers/shared", json={"monthly_limit": "1"})
    operator.call("PUT", "/v1/admin/aliases/shared", json={"models": [MODEL]})
    changes = {
        f"{ACCOUNTS}/{first['id']}": ("PATCH", {"weight": 2}, {"weight": 3}),
        "/v1/admin/plans/shared": ("PUT", {"terms": terms("0.7")}, {"terms": terms("0.6")}),
        "/v1/admin/tiers/shared": ("PUT", {"monthly_limit": "2"}, {"monthly_limit": "3"}),
        "/v1/admin/aliases/shared": ("PUT", {"models": ["sim/large"]}, {"models": ["sim/large", MODEL]}),
    }
    for path, (method, one, other) in changes.items():
        seen = {"if-match": operator.send("GET", path).headers["etag"]}
        assert operator.send(method, path, json=one, headers=seen).status_code == 200, path
        late = operator.send(method, path, json=other, headers=seen)
        assert (late.status_code, late.json()["code"]) == (412, "changed_meanwhile"), path
        assert operator.send(method, path, json=other).status_code == 428, path
    assert len(operator.log(subject="plan:shared")) == 2


def terms(factor: str, **more: object) -> dict:
    return {"rule": {"rule": "percent_of_list", "factor": factor}} | more


def new_plan(operator: Operator, factor: str, name: str | None = None) -> str:
    name = name or f"plan {next(NAMES)}"
    operator.call("POST", "/v1/admin/plans", json={"name": name, "terms": terms(factor)})
    return name


def factor_paid(account: Account) -> float:
    """What one more request costs the client, of its list cost."""
    count = len(account.events())
    assert status(account) == 200
    event = account.settled(count + 1)[-1]
    return round(event.price_nanos / nanos(event.list_usd), 3)


def test_a_changed_plan_prices_the_next_requests(gateway: Gateway, operator: Operator):
    account = gateway.new_account()
    plan = new_plan(operator, "0.9")
    operator.client(account, {"plan": plan})
    eventually(lambda: factor_paid(account) == 0.9, "the plan acts", WITHIN_SECONDS * 2)
    path = f"/v1/admin/plans/{plan.replace(' ', '%20')}"
    operator.change("PUT", path, {"terms": terms("0.7", overrides={"sim/large": terms("0.5")["rule"]})})
    time_of_change = time.monotonic()
    eventually(lambda: factor_paid(account) == 0.7, "the change acts", WITHIN_SECONDS * 2)
    assert time.monotonic() - time_of_change < WITHIN_SECONDS * 2
    prices = operator.call("GET", "/v1/admin/prices", params={"plan": plan, "search": "sim/large"})["data"]
    assert all(float(price["client"]["prompt"]) == float(price["list"]["prompt"]) * 0.5 for price in prices)
    history = operator.call("GET", "/v1/admin/prices/history", params={"model": MODEL})["data"]
    assert history[0]["is_in_force"]

    soon = datetime.now(UTC) + timedelta(seconds=2)
    later = {"terms": terms("0.6"), "effective_from": soon.isoformat()}
    operator.call("POST", f"{path}/schedule", json=later)
    if datetime.now(UTC) < soon - timedelta(seconds=0.5):
        assert factor_paid(account) == 0.7
    eventually(lambda: factor_paid(account) == 0.6, "what was scheduled acts", 5)
    assert soon <= datetime.now(UTC) <= soon + timedelta(seconds=WITHIN_SECONDS * 2)
    assert operator.call("GET", f"{path}/schedule")["data"] == []
    assert [entry["actor"] for entry in operator.log(subject=f"plan:{plan}")][-1] == "schedule"
    gateway.command("ledger", "verify")


def test_a_tiers_limit_acts_at_once(gateway: Gateway, operator: Operator):
    account = gateway.new_metered_account(10_000)
    tier = "/v1/admin/tiers/mine"
    operator.call("PUT", tier, json={"monthly_limit": "50"})
    operator.client(account, {"tier": "mine"})
    assert status(account, max_tokens=10) == 200
    operator.change("PUT", tier, {"monthly_limit": "0"})
    eventually(lambda: status(account, max_tokens=10) == 402, "the limit acts", WITHIN_SECONDS)
    operator.change("PUT", tier, {"monthly_limit": "50"})
    eventually(lambda: status(account, max_tokens=10) == 200, "it is lifted", WITHIN_SECONDS * 2)
    assert operator.send("DELETE", tier).json()["code"] == "in_use"


def test_what_is_not_on_sale_is_refused(gateway: Gateway, operator: Operator):
    account = gateway.new_account()
    model = "/v1/admin/models/sim%2Fone-dollar"

    def listed() -> bool:
        return MODEL in {model.id for model in account.sdk().models.list().data}

    assert operator.call("PATCH", model, json={"state": "hidden"})["state"] == "hidden"
    eventually(lambda: not listed(), "it is hidden", WITHIN_SECONDS)
    assert status(account) == 200
    operator.call("PATCH", model, json={"state": "disabled"})
    eventually(lambda: status(account) == 404, "it is refused", WITHIN_SECONDS)
    [shown] = operator.call("GET", "/v1/admin/models", params={"state": "disabled"})["data"]
    assert shown["id"] == MODEL
    assert shown["prices"][0]["list"]["completion"] == "0.000001"
    operator.call("PATCH", model, json={"state": "on_sale"})
    eventually(lambda: status(account) == 200, "it is on sale", WITHIN_SECONDS)


def test_what_the_command_line_changes_is_in_the_audit_log(gateway: Gateway, operator: Operator, tmp_path: Path):
    (tmp_path / "key").write_text(SECOND)
    (tmp_path / "plan.json").write_text(json.dumps(terms("0.9")))
    account = gateway.new_account("3")
    account.credit("-1")
    plan = f"--file={tmp_path / 'plan.json'}"
    for command in (
        ("master-accounts", "add", "--name=second", f"--key-file={tmp_path / 'key'}"),
        ("master-accounts", "set", "second", "--weight=2"),
        ("master-accounts", "pause", "second"),
        ("plans", "create", "school", plan),
        ("plans", "set", "school", plan),
        ("accounts", "set-plan", f"--email={account.email}", "school"),
        ("models", "hide", "sim/large"),
        ("aliases", "set", "fast", MODEL),
        ("models", "default", "fast"),
        ("aliases", "remove", "fast"),
    ):
        gateway.command(*command)
    entries = operator.log(actor="command line")
    assert [entry["action"] for entry in entries] == [
        "client.create",
        "client.credit",
        "client.create_key",
        "client.debit",
        "master_account.add",
        "master_account.change",
        "master_account.pause",
        "plan.create",
        "plan.set",
        "client.change",
        "model.set",
        "alias.set",
        "model.default",
        "alias.remove",
    ]
    assert (entries[5]["before"]["weight"], entries[5]["after"]["weight"]) == (1, 2)
    assert SECOND not in json.dumps(entries)
    settings = operator.call("GET", "/v1/admin/settings")["settings"]
    assert {"name": "AIROUTER_REGISTRATION", "value": "open"} in settings
