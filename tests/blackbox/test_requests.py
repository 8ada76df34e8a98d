"""Single requests: their lists, how their prices came about, and what is given back of them."""

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import httpx2
import openai
import pytest

from harness.control_plane import Person, administrator, register
from harness.gateway import Gateway
from harness.money import decimal_text, usd
from harness.polling import eventually
from harness.requests import assert_says_nothing_of_the_upstream, chat

WITHIN_SECONDS = 1.0
LISTED = "/v1/client/recent-requests"
# What is the operator's alone.
OPERATORS_WORDS = ('"cost"', "margin", "discount", "master", "plan_version", "sk-or-")


@dataclass
class Client:
    """A person with money and a key."""

    person: Person
    key: dict
    sdk: openai.OpenAI

    def ask(self, model: str = "sim/small", **fields) -> str:
        """The id of a request whose answer has come whole."""
        with self.sdk.chat.completions.with_streaming_response.create(**chat(model, **fields)) as answer:
            answer.read()
            return answer.headers["x-request-id"]

    def listed(self, **query) -> list[dict]:
        return self.person.call("GET", LISTED, params=query)["data"]

    def balance(self) -> Fraction:
        return usd(self.person.call("GET", "/v1/client/balance")["balance"])


def credit(admin: Person, account: str, amount: str) -> None:
    booking = {"amount": amount, "reason": "a test"}
    admin.call("POST", f"/v1/admin/clients/{account}/credit", json=booking)


def new_client(gateway: Gateway, admin: Person, amount: str = "10") -> Client:
    person = register(gateway)
    credit(admin, person.call("GET", "/v1/auth/me")["account_id"], amount)
    key = person.new_key()
    return Client(person, key, person.sdk(key["key"]))


@pytest.fixture
def admin(gateway: Gateway) -> Person:
    return administrator(gateway)


def test_a_list_stays_what_it_was_while_requests_come(gateway: Gateway, admin: Person):
    client = new_client(gateway, admin)
    asked = [client.ask() for _ in range(5)]
    newest_first = asked[::-1]
    assert [request["id"] for request in client.listed()] == newest_first
    for path, person in ((LISTED, client.person), ("/v1/admin/logs", admin)):
        query = {"limit": 2, "from": client.listed(limit=200)[-1]["admitted_at"]}
        expected = [request["id"] for request in person.call("GET", path, params=query | {"limit": 200})["data"]]
        seen = []
        while True:
            page = person.call("GET", path, params=query)
            seen += [request["id"] for request in page["data"]]
            if not page["next_cursor"]:
                break
            query["cursor"] = page["next_cursor"]
            client.ask()
        assert seen == expected
        assert set(newest_first) <= set(seen)


def test_a_list_is_filtered(gateway: Gateway, admin: Person):
    client, other = new_client(gateway, admin), new_client(gateway, admin)
    small, large = client.ask(), client.ask("sim/large", stream=True)
    others = other.ask()
    second = client.person.new_key("the second")
    with_second = Client(client.person, second, client.person.sdk(second["key"])).ask()

    def ids(**query) -> list[str]:
        return [request["id"] for request in client.listed(**query)]

    assert ids() == [with_second, large, small]
    assert ids(model="sim/large") == [large]
    assert ids(key_id=second["id"]) == [with_second]
    assert ids(key_id=other.key["id"]) == []
    assert ids(ending="complete") == [with_second, large, small]
    assert ids(ending="client_gone") == []
    began = {request["id"]: request["admitted_at"] for request in client.listed()}
    assert ids(**{"from": began[large]}) == [with_second, large]
    assert ids(to=began[large]) == [small]

    account = other.person.call("GET", "/v1/auth/me")["account_id"]
    [logged] = admin.call("GET", "/v1/admin/logs", params={"client_id": account, "outcome": "charged"})["data"]
    assert (logged["id"], logged["key_id"]) == (others, other.key["id"])
    by_master = {"client_id": account, "master_account_id": logged["master_account_id"]}
    assert len(admin.call("GET", "/v1/admin/logs", params=by_master)["data"]) == 1
    table = admin.send("GET", "/v1/admin/logs", params=by_master | {"format": "csv"})
    [row] = csv.DictReader(io.StringIO(table.text))
    assert {name: row[name] for name in ("id", "cost", "charged")} == {
        name: logged[name] for name in ("id", "cost", "charged")
    }
    assert client.person.send("GET", f"/v1/client/requests/{others}").status_code == 404
    assert client.person.send("GET", "/v1/admin/logs").status_code == 403


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", ["sim/small", "sim/reasoning", "sim/sub-nano"])
def test_a_price_worked_out_is_what_was_charged(gateway: Gateway, admin: Person, model: str, stream: bool):
    client = new_client(gateway, admin)
    asked = client.ask(model, stream=stream)
    [event] = gateway.database.events(gateway.database.account_of(client.key["key"]))
    told = client.person.send("GET", f"/v1/client/requests/{asked}")
    assert told.status_code == 200, told.text
    assert_says_nothing_of_the_upstream(told.text)
    assert not [word for word in OPERATORS_WORDS if word in told.text]
    logged = admin.call("GET", f"/v1/admin/logs/{asked}")
    for request, worked_out in (
        (told.json()["request"], told.json()["worked_out"]),
        (logged["request"], logged["worked_out"]),
    ):
        assert sum_of(worked_out["lines"]) == usd(worked_out["price"]) == usd(request["charged"])
        assert usd(request["charged"]) * 10**9 == event.charged_nanos
        assert usd(worked_out["lines"][0]["quantity"]) == event.list_usd
        assert worked_out["lines"][0]["rate"] == "0.8"
        check = worked_out["cross_check"]
        assert sum_of(check["lines"]) == usd(check["sum"])
        assert usd(check["difference"]) == event.list_usd - usd(check["sum"])
        tokens = {line["what"]: usd(line["quantity"]) for line in check["lines"]}
        assert tokens.get("completion", 0) + tokens.get("internal_reasoning", 0) == event.completion_tokens
    assert usd(logged["request"]["cost"]) * 10**9 == event.cost_nanos
    assert logged["discount"] == "0.7"


def sum_of(lines: list[dict]) -> Fraction:
    for line in lines:
        assert usd(line["amount"]) == usd(line["quantity"]) * usd(line["rate"])
    return sum((usd(line["amount"]) for line in lines), Fraction(0))


def test_refunds_never_exceed_the_charge(gateway: Gateway, admin: Person):
    client = new_client(gateway, admin)
    asked = client.ask("sim/one-dollar")
    charged = 10 - client.balance()
    assert charged > 0
    path = f"/v1/admin/logs/{asked}/refund"
    part = {"amount": decimal_text(int(charged / 4 * 10**9)), "reason": "the answer was broken"}
    assert usd(part["amount"]) * 4 == charged

    def refund(key: str) -> httpx2.Response:
        return admin.send("POST", path, json=part, headers={"idempotency-key": f"{asked} {key}"})

    with ThreadPoolExecutor(8) as pool:
        once = list(pool.map(refund, ["the same"] * 8))
    assert {answer.status_code for answer in once} <= {200, 409}
    assert len({answer.text for answer in once if answer.status_code == 200}) == 1
    assert client.balance() == 10 - charged + charged / 4
    with ThreadPoolExecutor(8) as pool:
        many = list(pool.map(refund, map(str, range(8))))
    assert sorted(answer.status_code for answer in many) == [200] * 3 + [409] * 5
    assert {answer.json()["code"] for answer in many if answer.status_code == 409} == {"refund_too_large"}
    assert client.balance() == 10
    detail = admin.call("GET", f"/v1/admin/logs/{asked}")
    assert usd(detail["request"]["refunded"]) == charged
    assert len(detail["refunds"]) == 4
    assert {refund["actor"] for refund in detail["refunds"]} == {admin.email}
    assert "findings=0" in gateway.command("ledger", "verify")
    assert "entries=" in gateway.command("audit", "verify")


def test_what_is_refunded_can_be_spent_within_a_second(gateway: Gateway, admin: Person):
    # Enough for one of these requests, and not for two.
    client = new_client(gateway, admin, "0.06")

    def attempt() -> str | None:
        try:
            return client.ask("sim/one-dollar", sim={"completion_tokens": 50_000}, max_tokens=50_000)
        except openai.APIStatusError as error:
            assert error.status_code == 402
            return None

    spent = attempt()
    assert spent
    assert attempt() is None
    admin.call("POST", f"/v1/admin/logs/{spent}/refund", json={"reason": "a test"})
    eventually(attempt, "a request paid with what was given back", WITHIN_SECONDS)
