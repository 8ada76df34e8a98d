"""Organizations: several people spend one balance, each as much as the owner lets them."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import openai
import pytest

from harness.control_plane import Person, administrator, register
from harness.gateway import Account, Gateway
from harness.money import nanos, usd
from harness.polling import eventually
from harness.races import statuses_at_once
from harness.requests import body, chat

WITHIN_SECONDS = 1.0
MODEL = "sim/one-dollar"
REQUEST = chat(MODEL, {"completion_tokens": 1000}, max_tokens=1000)


class School:
    """An organization with an owner and two teachers."""

    def __init__(self, gateway: Gateway, credit: str):
        self.gateway = gateway
        self.owner, *self.teachers = (register(gateway) for _ in range(3))
        made = self.owner.call("POST", "/v1/organizations", json={"name": "School"})
        self.id, self.path = made["id"], f"/v1/organizations/{made['id']}"
        for teacher in self.teachers:
            self.join(teacher)
        booking = {"amount": credit, "reason": "a test"}
        administrator(gateway).call("POST", f"/v1/admin/clients/{self.id}/credit", json=booking)

    def join(self, person: Person) -> None:
        invitation = {"email": person.email.upper(), "role": "member"}
        made = self.owner.call("POST", f"{self.path}/invitations", json=invitation)
        self.gateway.expect_silence_about(made["code"])
        person.call("POST", "/v1/organizations/invitations/accept", json={"code": made["code"]})

    def member(self, person: Person) -> dict:
        members = self.owner.call("GET", f"{self.path}/members")["data"]
        [found] = [member for member in members if member["email"] == person.email]
        return found

    def limit(self, person: Person, **limits: str | None) -> dict:
        path = f"{self.path}/members/{self.member(person)['id']}"
        etag = self.owner.send("GET", path).headers["etag"]
        return self.owner.call("PATCH", path, json=limits, headers={"if-match": etag})

    def key(self, person: Person) -> dict:
        return person.new_key(organization_id=self.id)

    def balance(self) -> int:
        return nanos(usd(self.owner.call("GET", f"{self.path}/balance")["balance"]))


def status_of(person: Person, key: dict) -> int:
    try:
        person.sdk(key["key"]).chat.completions.create(**REQUEST)
    except openai.APIStatusError as error:
        return error.status_code
    return 200


def within_a_second(probe: Callable[[], bool], what: str) -> None:
    began = time.monotonic()
    eventually(probe, what, WITHIN_SECONDS)
    assert time.monotonic() - began <= 2 * WITHIN_SECONDS


def test_each_key_spends_from_where_its_owner_chose(gateway: Gateway):
    school = School(gateway, "1")
    teacher = school.teachers[0]
    theirs, own = school.key(teacher), teacher.new_key()
    assert theirs["payer_id"] == school.id != own["payer_id"]
    assert status_of(teacher, theirs) == 200
    # No money of the organization's pays for it.
    assert status_of(teacher, own) == 402
    spent = 10**9 - school.balance()
    [event] = gateway.database.events(gateway.database.account_of(theirs["key"]))
    assert spent == event.charged_nanos > 0
    assert nanos(usd(teacher.call("GET", "/v1/client/balance")["lifetime_spent"])) == 0
    gateway.command("credit", f"--email={teacher.email}", "--amount=1", "--reason=a test")
    within_a_second(lambda: status_of(teacher, own) == 200, "the own balance pays")
    assert school.balance() == 10**9 - spent
    outsider = register(gateway)
    refused = outsider.send("POST", "/v1/auth/api-keys", json={"name": "a key", "organization_id": school.id})
    assert refused.status_code == 404


def test_members_race_for_one_balance(gateway: Gateway):
    school = School(gateway, "0.02")
    accounts = [Account(gateway, person.email, school.key(person)["key"]) for person in school.teachers]
    request = body(MODEL, {"completion_tokens": 1000}, max_tokens=1000)
    with ThreadPoolExecutor(len(accounts)) as pool:
        runs = [pool.submit(statuses_at_once, [account], request, 30) for account in accounts]
    seen = [run.result() for run in runs]
    assert all(set(statuses) <= {200, 402} for statuses in seen), seen
    assert sum(statuses[402] for statuses in seen) > 0
    events = accounts[0].settled(sum(statuses[200] for statuses in seen))
    assert all(event.uncollected_nanos == 0 for event in events)
    assert school.balance() == 2 * 10**7 - sum(event.charged_nanos for event in events) >= 0


def test_a_members_limit(gateway: Gateway):
    school = School(gateway, "1")
    one, other = school.teachers
    keys = {one: [school.key(one), school.key(one)], other: [school.key(other)]}
    assert status_of(one, keys[one][0]) == 200
    spent = 10**9 - school.balance()
    # What was spent before counts, with whichever of the member's keys.
    school.limit(one, monthly_limit="0.0015")
    within_a_second(lambda: status_of(one, keys[one][0]) == 402, "the member's limit acts")
    assert status_of(one, keys[one][1]) == 402
    assert status_of(other, keys[other][0]) == 200
    headers = {"authorization": f"Bearer {keys[one][0]['key']}"}
    seen = httpx2.get(f"{gateway.url}/api/v1/key", headers=headers, trust_env=False).json()["data"]
    assert round(seen["limit_remaining"] * 10**9) == 1_500_000 - spent
    school.limit(one, monthly_limit=None)
    within_a_second(lambda: status_of(one, keys[one][1]) == 200, "the limit is lifted")


@pytest.mark.parametrize("how", ["removed", "left"])
def test_a_member_who_is_gone_spends_no_more(gateway: Gateway, how: str):
    school = School(gateway, "1")
    teacher, colleague = school.teachers
    key, others = school.key(teacher), school.key(colleague)
    assert (status_of(teacher, key), status_of(colleague, others)) == (200, 200)
    who = school.owner if how == "removed" else teacher
    who.call("DELETE", f"{school.path}/members/{school.member(teacher)['id']}")
    within_a_second(lambda: status_of(teacher, key) == 401, "the key is refused")
    assert status_of(colleague, others) == 200
    assert teacher.send("GET", school.path).status_code == 404
    assert teacher.key(key)["revoked_at"]
    # Who comes back makes new keys.
    school.join(teacher)
    assert status_of(teacher, key) == 401
    assert status_of(teacher, school.key(teacher)) == 200


def test_the_roles_table(gateway: Gateway, closing_note: Callable[[str], None]):
    school = School(gateway, "1")
    member, colleague = school.teachers
    callers = {"owner": school.owner, "member": member, "outsider": register(gateway)}
    key = school.key(colleague)["id"]
    theirs = school.member(colleague)["id"]
    routes = {
        ("GET", ""): (200, 200, 404),
        ("PATCH", ""): (200, 403, 404),
        ("GET", "/balance"): (200, 403, 404),
        ("GET", "/api-keys"): (200, 403, 404),
        ("GET", "/members"): (200, 403, 404),
        ("GET", f"/members/{theirs}"): (200, 403, 404),
        ("GET", "/invitations"): (200, 403, 404),
        ("DELETE", f"/members/{theirs}"): (204, 403, 404),
        ("DELETE", f"/api-keys/{key}"): (204, 403, 404),
    }
    for (method, path), expected in routes.items():
        options = {"json": {"name": "College"}} if method == "PATCH" else {}
        # The owner last: it removes what it names.
        for who, status in reversed(list(zip(callers, expected, strict=True))):
            answer = callers[who].send(method, f"{school.path}{path}", **options)
            assert answer.status_code == status, (method, path, who, answer.text)
    closing_note(f"organizations: {len(routes)} routes by owner, member, outsider as expected")
