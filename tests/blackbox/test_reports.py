"""Reports of what was used: they are what was booked, at once and after it was summed up."""

import csv
import io
from uuid import UUID

from harness.control_plane import administrator, register
from harness.gateway import Gateway
from harness.money import usd
from harness.polling import eventually
from harness.requests import body

MODEL = "sim/one-dollar"
SUMMED_UP_WITHIN_SECONDS = 30


def test_a_report_is_exact_before_and_after_it_is_summed_up(gateway: Gateway):
    admin, person = administrator(gateway), register(gateway)
    account = person.call("GET", "/v1/auth/me")["account_id"]
    admin.call("POST", f"/v1/admin/clients/{account}/credit", json={"amount": "10", "reason": "a test"})
    keys = [person.new_key(name) for name in ("one", "two")]
    for number in range(4):
        person.sdk(keys[number % 2]["key"]).chat.completions.create(**body(MODEL, max_tokens=100))

    def reports() -> list:
        stats = {"client_id": account}
        return [
            person.call("GET", "/v1/client/usage"),
            person.call("GET", "/v1/client/usage/daily", params={"time_zone": "Asia/Kathmandu"}),
            person.call("GET", "/v1/client/models/usage"),
            person.call("GET", "/v1/client/keys/usage"),
            admin.call("GET", "/v1/admin/stats", params=stats),
            admin.call("GET", "/v1/admin/stats", params=stats | {"group_by": "model"}),
        ]

    before = reports()
    spent = person.call("GET", "/v1/client/balance")["lifetime_spent"]
    assert usd(spent) > 0
    total, daily, models, by_key, stats, _ = before
    assert (total["total"]["requests"], total["total"]["charged"]) == (4, spent)
    assert sum(day["requests"] for day in daily["data"]) == 4
    assert [model["requests"] for model in models["data"]] == [4]
    assert sorted((key["key_name"], key["requests"]) for key in by_key["data"]) == [("one", 2), ("two", 2)]
    assert stats["total"]["revenue"] == spent
    assert 0 < usd(stats["total"]["margin"]) < usd(spent)

    query = "SELECT CAST(coalesce(sum(requests), 0) AS BIGINT) FROM usage_by_payer WHERE grain = 86400 AND payer_id = ?"

    def summed_up() -> bool:
        [(requests,)] = gateway.database.rows(query, UUID(account))
        return requests == 4

    eventually(summed_up, "the requests are summed up", SUMMED_UP_WITHIN_SECONDS)
    assert reports() == before
    text = person.send("GET", "/v1/client/keys/usage", headers={"accept": "text/csv"}).text
    assert {line["key_name"]: line["requests"] for line in csv.DictReader(io.StringIO(text))} == {
        "one": "2",
        "two": "2",
    }
