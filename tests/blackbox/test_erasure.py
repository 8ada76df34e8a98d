"""A person is erased, and an administrator looks in a client's place."""

import httpx2

from harness.control_plane import PASSWORD, Person, administrator, register, send_registration
from harness.gateway import Gateway
from harness.polling import eventually
from harness.requests import chat

WHY = {"reason": "ticket 12"}


def client_of(admin: Person, person: Person) -> str:
    """The path of a person's account."""
    [client] = admin.call("GET", f"/v1/admin/clients?search={person.email}")["data"]
    return f"/v1/admin/clients/{client['id']}"


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_an_erased_person_is_gone_and_the_books_are_not(gateway: Gateway):
    admin, person = administrator(gateway), register(gateway)
    path = client_of(admin, person)
    key = person.new_key("Ann's laptop")["key"]
    admin.call("POST", f"{path}/credit", json={"amount": "5", "reason": "an invoice"})
    assert person.sdk(key).chat.completions.create(**chat()).usage.completion_tokens > 0
    eventually(lambda: person.call("GET", "/v1/client/recent-requests")["data"], "the request is booked")

    assert code(admin.send("POST", f"{path}/erase", json=WHY)) == (409, "balance_left")
    left = admin.call("GET", path)["balance"]["balance"]
    admin.call("POST", f"{path}/debit", json={"amount": left, "reason": "paid out"})
    assert admin.send("POST", f"{path}/erase", json=WHY).status_code == 204

    assert person.send("GET", "/v1/auth/me").status_code == 401
    with httpx2.Client(base_url=gateway.url, trust_env=False, headers={"authorization": f"Bearer {key}"}) as http:
        eventually(lambda: http.get("/v1/models").status_code == 401, "the key is refused", 5)
    login = person.http.post("/v1/auth/login", json={"email": person.email, "password": PASSWORD})
    assert login.status_code == 401
    assert admin.call("GET", f"/v1/admin/clients?search={person.email}")["data"] == []
    assert code(admin.send("POST", f"{path}/enable", json=WHY)) == (404, "not_found")
    log = admin.send("GET", "/v1/admin/audit-log?limit=200")
    assert person.email not in log.text
    assert "Ann's laptop" not in log.text
    for tool in (("ledger", "verify"), ("audit", "verify")):
        gateway.command(*tool)

    assert send_registration(gateway, person.email).status_code == 201
    assert client_of(admin, person) != path

    # The command line does the same.
    other = register(gateway)
    gateway.command("accounts", "erase", f"--email={other.email}", "--reason=ticket 13")
    assert other.send("GET", "/v1/auth/me").status_code == 401
    again = gateway.run("accounts", "erase", f"--email={other.email}", "--reason=ticket 13")
    assert again.returncode == 1
    gateway.command("audit", "verify")


def test_an_administrator_looks_in_a_clients_place(gateway: Gateway):
    admin, person = administrator(gateway), register(gateway)
    begun = admin.call("POST", f"{client_of(admin, person)}/impersonate", json=WHY)
    gateway.expect_silence_about(begun["access_token"])
    headers = {"authorization": f"Bearer {begun['access_token']}"}

    def send(method: str, path: str, **options) -> httpx2.Response:
        return httpx2.request(method, f"{gateway.url}{path}", headers=headers, trust_env=False, **options)

    me = send("GET", "/v1/auth/me").json()
    assert (me["email"], me["impersonated_by"]) == (person.email, admin.email)
    assert "impersonated_by" not in person.call("GET", "/v1/auth/me")
    for path in ("/v1/client/balance", "/v1/client/usage", "/v1/auth/api-keys"):
        assert send("GET", path).status_code == 200
    assert code(send("POST", "/v1/auth/api-keys", json={"name": "mine"})) == (403, "only_looking")
    assert code(send("POST", "/v1/auth/logout")) == (403, "only_looking")
    assert code(send("GET", "/v1/admin/clients")) == (403, "forbidden")
    admin.send("POST", "/v1/auth/logout")
    assert send("GET", "/v1/auth/me").status_code == 401
    assert person.send("GET", "/v1/auth/me").status_code == 200
