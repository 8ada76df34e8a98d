"""What is on sale, under which names, to whom and on what terms; whatever a client writes, it gets nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from harness.gateway import Account, Gateway
from harness.money import nanos, price_of, usd
from harness.polling import eventually
from harness.requests import body
from harness.simulator import Simulator

DELIVERIES = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
PERCENT = {"rule": "percent_of_list", "factor": "0.8"}
# What an operator's change may take to act.
SECOND = 1.0


def ask(account: Account, path: str = "/v1", **fields: Any) -> tuple[int, dict]:
    """A request of only these fields besides the messages."""
    request = {name: value for name, value in body(**fields).items() if value is not None}
    with account.http() as http:
        response = http.post(f"{path}/chat/completions", json=request)
    return response.status_code, json.loads(response.text, parse_float=usd)


def code(account: Account, **fields: Any) -> str | int:
    """The code of the error, or 200."""
    status, answer = ask(account, **fields)
    return answer["error"]["code"] if status != 200 else 200


def listed(account: Account) -> set[str]:
    return {model.id for model in account.sdk().models.list().data}


def policy(**fields: Any) -> dict:
    return {"rule": PERCENT, "policy": fields}


@pytest.fixture
def tools(gateway: Gateway) -> Iterator[Gateway]:
    """The command line; what it changed of models and aliases is undone."""
    yield gateway
    for (model,) in gateway.database.rows("SELECT model FROM models_on_sale"):
        gateway.command("models", "enable", model)
    for (alias,) in gateway.database.rows("SELECT alias FROM model_aliases"):
        gateway.command("aliases", "remove", alias)
    gateway.command("models", "default")
    probe = gateway.new_account()
    eventually(lambda: "mine" not in listed(probe) and "sim/large" in listed(probe), "all is as it was")


class Plans:
    """Plans of their own for accounts of a test."""

    def __init__(self, gateway: Gateway, directory: Path):
        self.gateway = gateway
        self.file = directory / "plan.json"
        self.count = 0

    def write(self, plan: object) -> str:
        self.file.write_text(json.dumps(plan))
        return f"--file={self.file}"

    def give(self, account: Account, plan: dict) -> str:
        """Its name, once it acts."""
        self.count += 1
        name = f"{account.email}-{self.count}"
        self.gateway.command("plans", "create", name, self.write(plan))
        self.gateway.command("accounts", "set-plan", f"--email={account.email}", name)
        return name


@pytest.fixture
def plans(gateway: Gateway, tmp_path: Path) -> Plans:
    return Plans(gateway, tmp_path)


def test_a_hidden_model_is_used_but_not_listed(tools: Gateway, account: Account):
    assert "sim/large" in listed(account)
    tools.command("models", "hide", "sim/large")
    eventually(lambda: "sim/large" not in listed(account), "hidden", SECOND)
    assert code(account, model="sim/large") == 200
    assert account.sdk().models.retrieve("sim/large").id == "sim/large"
    tools.command("models", "enable", "sim/large")
    eventually(lambda: "sim/large" in listed(account), "listed again", SECOND)


def test_a_disabled_model_does_not_exist_by_any_name(tools: Gateway, account: Account, simulator: Simulator):
    tools.command("aliases", "set", "mine", "sim/small")
    tools.command("aliases", "set", "both", "sim/small", "sim/groq")
    eventually(lambda: code(account, model="mine") == 200, "the alias acts", SECOND)
    tools.command("models", "disable", "sim/small")
    eventually(lambda: code(account, model="sim/small") == "model_not_found", "disabled", SECOND)
    requests = len(simulator.generations())
    for name in EVASIONS:
        assert code(account, model=name) == "model_not_found", name
        assert code(account, model=None, models=[name]) == "model_not_found", name
        assert code(account, model="sim/groq", models=["sim/large", name]) == "model_not_found", name
    for name in ("sim/small", "sim/small:free", "mine"):
        assert name not in listed(account)
        with pytest.raises(openai.NotFoundError):
            account.sdk().models.retrieve(name)
    assert len(simulator.generations()) == requests, "something was forwarded"
    # Nor may anything ask for it that asks models by itself.
    for fields in (
        {"plugins": [{"id": "fusion", "models": ["sim/small"]}]},
        {"tools": [{"type": "openrouter:subagent"}]},
    ):
        assert code(account, model="sim/large", **fields) == "not_in_plan", fields
    # An alias goes on with what is left of it.
    status, answer = ask(account, model="both")
    assert (status, answer["model"]) == (200, "both")
    assert simulator.last_body()["model"] == "sim/groq"


def test_a_quote_names_an_alias_and_nothing_behind_it(tools: Gateway, account: Account):
    tools.command("aliases", "set", "mine", "sim/small", "sim/groq")
    eventually(lambda: code(account, model="mine") == 200, "the alias acts", SECOND)
    with account.http() as http:
        answer = http.post("/v1/quote", json=body("mine"))
    assert answer.status_code == 200
    assert [quoted["model"] for quoted in answer.json()["models"]] == ["mine"]
    assert "sim/" not in answer.text


EVASIONS = [
    "sim/small",
    "sim/small:free",
    "sim/small:nitro",
    "sim/small:floor",
    "sim/small:exacto",
    "sim/small:online",
    "sim/small:nitro:online",
    "sim/small@preset/x",
    "@preset/x",
    "~sim/small",
    "Sim/small",
    "SIM/SMALL",
    " sim/small",
    "sim/small ",
    "sim%2Fsmall",
    "sim/smal\u217c",
    "s\u0456m/small",
    "sim\u2215small",
    "sim/small\u200b",
    "sim/small\u0000",
    "mine",
    "mine:nitro",
    "mine:free",
    "openai/../sim/small",
]


@DELIVERIES
def test_an_alias_is_a_model_of_its_own(tools: Gateway, account: Account, simulator: Simulator, stream: bool):
    tools.command("models", "hide", "sim/large")
    tools.command("aliases", "set", "mine", "sim/large")
    eventually(lambda: "mine" in listed(account), "listed", SECOND)
    with account.http() as http:
        for path in ("/v1/models", "/v1/models/mine", "/api/v1/models/mine"):
            assert "sim/large" not in http.get(path).text
            assert "Claude" not in http.get(path).text
        shown = http.get("/api/v1/models/mine").json()["data"]
        assert usd(shown["pricing"]["prompt"]) == usd("0.000003") * usd("0.8")
    model = account.sdk().models.retrieve("mine")
    assert (model.id, model.object) == ("mine", "model")

    for path in ("/v1", "/api/v1"):
        options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        with account.http() as http:
            answer = http.post(f"{path}/chat/completions", json=body("mine", {"chunks": 5}, **options))
        assert answer.status_code == 200
        assert "sim/large" not in answer.text
        parts = answer.text.count('"model":"mine"') + answer.text.count('"model": "mine"')
        events = [line for line in answer.text.split("\n") if line.startswith("data: {")]
        assert parts == (len(events) if stream else 1)
        assert simulator.last_body()["model"] == "sim/large"
        generation = json.loads(events[0].removeprefix("data: ") if stream else answer.text)["id"]
        with account.http() as http:
            found = http.get(f"/api/v1/generation?id={generation}")
        assert found.json()["data"]["model"] == "mine"
    for event in account.settled(2):
        billed = simulator.generation(event.generation_id)
        assert (event.model, event.price_nanos) == ("sim/large", price_of(billed.cost))


def test_an_event_too_large_to_be_held_has_the_aliases_name_too(tools: Gateway, account: Account):
    tools.command("aliases", "set", "mine", "sim/small")
    eventually(lambda: "mine" in listed(account), "listed", SECOND)
    with account.http() as http:
        answer = http.post("/v1/chat/completions", json=body("mine", {"event_bytes": 3_000_000}, stream=True))
    assert answer.status_code == 200
    assert len(answer.text) > 3_000_000
    assert "sim/small" not in answer.text


def test_an_alias_falls_back_and_is_priced_by_what_served(tools: Gateway, account: Account, simulator: Simulator):
    tools.command("aliases", "set", "mine", "sim/small", "sim/large")
    eventually(lambda: "mine" in listed(account), "listed", SECOND)
    with account.http() as http:
        plain = http.post("/v1/chat/completions", json=body("sim/small", max_tokens=1000))
        answer = http.post("/v1/chat/completions", json=body("mine", {"model": "sim/large"}, max_tokens=1000))
    assert (plain.status_code, answer.status_code) == (200, 200)
    forwarded = simulator.last_body()
    assert (forwarded["model"], forwarded["models"]) == ("sim/small", ["sim/large"])
    assert usd(forwarded["provider"]["max_price"]["completion"]) == usd("18.75")
    assert answer.json()["model"] == "mine"
    first, second = account.settled(2)
    # The hold covers the dearest of them.
    assert second.hold_nanos > first.hold_nanos * 20
    assert second.model == "sim/large"
    assert second.price_nanos == price_of(simulator.generation(second.generation_id).cost)


def test_suffixes_go_to_each_model_of_an_alias(tools: Gateway, account: Account, simulator: Simulator):
    tools.command("aliases", "set", "mine", "sim/small", "sim/groq")
    eventually(lambda: "mine" in listed(account), "listed", SECOND)
    for suffix in ("nitro", "floor", "exacto", "online"):
        assert code(account, model=f"mine:{suffix}") == 200
        forwarded = simulator.last_body()
        assert (forwarded["model"], forwarded["models"]) == (f"sim/small:{suffix}", [f"sim/groq:{suffix}"])
    for suffix in ("free", "thinking", "nitro:online", ""):
        assert code(account, model=f"mine:{suffix}") == "model_not_found", suffix
    # In a list of the client's own, each name is what it stands for.
    assert code(account, model="sim/large", models=["mine", "sim/groq"]) == 200
    assert simulator.last_body()["models"] == ["sim/small", "sim/groq"]


def test_the_default_model(tools: Gateway, account: Account, simulator: Simulator):
    assert code(account, model=None) == "missing_model"
    tools.command("models", "default", "sim/groq")
    eventually(lambda: code(account, model=None) == 200, "there is a default", SECOND)
    assert simulator.last_body()["model"] == "sim/groq"
    tools.command("aliases", "set", "mine", "sim/large")
    tools.command("models", "default", "mine")
    eventually(lambda: ask(account, model=None)[1].get("model") == "mine", "the default is an alias", SECOND)
    assert simulator.last_body()["model"] == "sim/large"
    assert tools.run("models", "default", "sim/none").returncode == 1
    tools.command("models", "default")
    eventually(lambda: code(account, model=None) == "missing_model", "there is none", SECOND)


def test_lists_of_plan_and_key_both_hold(tools: Gateway, account: Account, plans: Plans):
    tools.command("aliases", "set", "mine", "sim/large")
    plans.give(account, policy(allowed_models=["sim/*", "mine"]))
    eventually(lambda: code(account, model="openai/gpt-4o-mini") == "model_not_allowed", "the plan's list", SECOND)
    assert code(account, model="sim/groq") == 200
    account.gateway.database.allow_models(account.key, ["sim/small", "openai/*"])
    eventually(lambda: code(account, model="sim/groq") == "model_not_allowed", "the key's list", SECOND)
    assert listed(account) == {"sim/small"}
    for name in ("sim/small", "sim/small:nitro"):
        assert code(account, model=name) == 200, name
    for name in (
        "openai/gpt-4o-mini",
        "openai/gpt-4o-mini:nitro",
        "sim/small:free",
        "sim/large:floor",
        "mine",
        "mine:nitro",
    ):
        assert code(account, model=name) == "model_not_allowed", name
        assert code(account, model="sim/small", models=[name]) == "model_not_allowed", name
    for name in ("SIM/small", "sim/small@preset/x", "~openai/gpt-4o-mini", "sim%2Fsmall", "sim/smal\u217c"):
        assert code(account, model=name) == "model_not_found", name
    # Nothing may ask models by itself where a list holds.
    for fields in (
        {"plugins": [{"id": "fusion"}]},
        {"plugins": [{"id": "auto-router"}]},
        {"plugins": [{}]},
        {"tools": [{"type": "openrouter:subagent"}]},
        {"tools": [{"type": "of tomorrow"}]},
        {"provider": {"options": {"openai": {"plugins": []}}}},
    ):
        assert code(account, model="sim/small", **fields) == "not_in_plan", fields
    account.gateway.database.allow_models(account.key, ["mine"])
    eventually(lambda: code(account, model="mine") == 200, "the alias by its name", SECOND)
    assert code(account, model="sim/large") == "model_not_allowed"


RAISING = [
    ({"plugins": [{"id": "web"}]}, "plugins", "plugins"),
    ({"tools": [{"type": "openrouter:web_search"}]}, "server_tools", "tools"),
    ({"web_search_options": {}}, "web_search_options", "web_search_options"),
    ({"service_tier": "priority"}, "service_tiers", "service_tier"),
    ({"modalities": ["text", "image"]}, "output_modalities", "modalities"),
    ({"provider": {"options": {"openai": {"service_tier": "priority"}}}}, "provider_options", "provider.options"),
    ({"model": "sim/small:online"}, "online", "model"),
    ({"model": "openrouter/auto"}, "routers", "model"),
]


@pytest.mark.parametrize(("fields", "kind", "param"), RAISING, ids=[kind for _, kind, _ in RAISING])
def test_what_raises_the_cost_is_refused_or_held_at_its_cap(
    account: Account, plans: Plans, fields: dict, kind: str, param: str
):
    name = plans.give(account, policy(cost_raising={kind: {"otherwise": "refuse"}}))
    eventually(lambda: code(account, **fields) == "not_in_plan", "refused", SECOND)
    status, answer = ask(account, **fields)
    assert (status, answer["error"]["param"], answer["error"]["type"]) == (403, param, "permission_error")
    assert code(account) == 200
    cap = 2_000_000_000
    account.gateway.command("plans", "set", name, plans.write(policy(cost_raising={kind: {"otherwise": {"cap": cap}}})))
    eventually(lambda: code(account, **fields) == 200, "allowed", SECOND)
    plain, raised = account.events()[-2:]
    if kind == "routers":
        assert raised.hold_nanos == cap
    else:
        assert cap <= raised.hold_nanos < cap + 2 * plain.hold_nanos
    account.credit("-9")
    eventually(lambda: code(account, **fields) == "insufficient_quota", "a cap above the balance", SECOND)


def test_single_plugins_are_allowed_by_name(account: Account, plans: Plans):
    rules = {"otherwise": "refuse", "by_id": {"web": {"cap": 10_000_000}, "file-parser": "allow"}}
    plans.give(account, policy(cost_raising_cap=20_000_000, cost_raising={"plugins": rules}))
    eventually(lambda: code(account, plugins=[{"id": "fusion"}]) == "not_in_plan", "refused", SECOND)
    assert code(account, plugins=[{"id": "web"}, {"id": "fusion"}]) == "not_in_plan"
    assert code(account) == 200
    assert code(account, plugins=[{"id": "web"}, {"id": "web"}, {"id": "file-parser"}]) == 200
    plain, both = account.events()[-2:]
    assert 30_000_000 <= both.hold_nanos < 30_000_000 + 2 * plain.hold_nanos


def test_the_tolerance_is_the_plans(account: Account, plans: Plans, simulator: Simulator):
    assert code(account) == 200
    assert usd(simulator.last_body()["provider"]["max_price"]["completion"]) == usd("0.75")
    plans.give(account, policy(max_price_tolerance="3"))

    def tolerates() -> bool:
        assert code(account) == 200
        return usd(simulator.last_body()["provider"]["max_price"]["completion"]) == usd("1.8")

    eventually(tolerates, "three times the price book", SECOND)


def test_a_fallback_of_an_alias_has_its_own_price(tools: Gateway, account: Account, plans: Plans):
    tools.command("aliases", "set", "mine", "sim/small", "sim/large")
    plan = {"rule": PERCENT, "overrides": {"sim/large": {"rule": "percent_of_list", "factor": "0.95"}}}
    plans.give(account, plan)

    def priced() -> bool:
        status, answer = ask(account, model="mine", sim={"model": "sim/large", "cost": "0.001"})
        return status == 200 and nanos(answer["usage"]["cost"]) == 950_000

    eventually(priced, "the fallback's rule", SECOND)
    assert ask(account, model="mine", sim={"cost": "0.001"})[1]["usage"]["cost"] == usd("0.0008")
    # `ledger verify`, at the end of this module, prices all of it again.


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ({"rule": {"rule": "percent_of_list", "factor": "-0.5"}}, "rule: every number"),
        ({"rule": {"rule": "percent_of_list", "factor": 0.8}}, "can't be read"),
        (policy(max_price_tolerance="0.5"), "max_price_tolerance"),
        (policy(allowed_models=["a*b"]), "allowed_models: 'a*b'"),
        (policy(alowed_models=[]), "alowed_models"),
        (policy(cost_raising={"plugins": {"otherwise": {"cap": -1}}}), "cost_raising of plugins"),
        (policy(disconnect={"cap": {"bytes": 0}}), "disconnect.cap"),
        ([], "can't be read"),
    ],
)
def test_a_bad_plan_is_refused_with_its_reasons(gateway: Gateway, plans: Plans, plan: object, reason: str):
    before = gateway.command("plans", "list")
    for command in (["create", "bad"], ["set", "default"]):
        done = gateway.run("plans", *command, plans.write(plan))
        assert done.returncode == 1
        assert reason in done.stderr, done.stderr
    assert gateway.command("plans", "list") == before


def test_what_the_command_line_refuses(tools: Gateway):
    assert tools.run("aliases", "set", "mine", "sim/none").returncode == 1
    assert tools.run("aliases", "set", "mine:free", "sim/small").returncode == 1
    assert tools.run("aliases", "set", "mine").returncode == 2
    assert tools.run("aliases", "remove", "mine").returncode == 1
    assert tools.run("models", "show", "sim/none").returncode == 1
    assert tools.run("accounts", "set-plan", "--email=nobody@example.com", "default").returncode == 1
    assert tools.run("accounts", "set-plan", "default").returncode == 2
    shown = json.loads(tools.command("plans", "show", "default"))
    assert shown["rule"] == PERCENT
    assert "sim/small state=on_sale" in tools.command("models", "list")
    tools.command("aliases", "set", "mine", "sim/small", "sim/large")
    assert tools.command("aliases", "list") == "mine -> sim/small, sim/large\n"
    assert "ALIAS=mine" in tools.command("models", "show", "sim/large")
