"""`airouter credit` beside a running gateway."""

import time

import pytest

from harness.gateway import Account, Gateway
from harness.marks import ON_SQLITE
from harness.polling import eventually
from harness.requests import body

WITHIN_SECONDS = 1.0


def status(account: Account) -> int:
    with account.http() as http:
        return http.post("/v1/chat/completions", json=body("sim/one-dollar", max_tokens=100)).status_code


def acts_within_a_second(account: Account, amount: str, expected: int) -> None:
    account.credit(amount)
    began = time.monotonic()
    eventually(lambda: status(account) == expected, f"{expected} after {amount}", WITHIN_SECONDS)
    assert time.monotonic() - began <= WITHIN_SECONDS


def test_credit_turns_402_into_200_and_a_debit_back(gateway: Gateway):
    client = gateway.new_account(credit="0")
    assert status(client) == 402
    acts_within_a_second(client, "5", 200)
    spent = sum(event.charged_nanos for event in client.events())
    client_left = f"-{(5 * 10**9 - spent) / 10**9:.9f}"
    acts_within_a_second(client, client_left, 402)
    acts_within_a_second(client, "0.01", 200)


def test_a_debit_reaches_what_is_leased(gateway: Gateway):
    client = gateway.new_account(credit="1")
    assert status(client) == 200
    price = client.settled(1)[0].charged_nanos
    acts_within_a_second(client, f"-{1 - price / 10**9:.9f}", 402)
    assert client.balance().balance_nanos == 0


@pytest.mark.parametrize("amount", ["abc", "1e400", "", "NaN", "0.0000000001"])
def test_an_amount_that_is_none_is_refused(gateway: Gateway, account: Account, amount: str):
    done = gateway.run("credit", f"--email={account.email}", f"--amount={amount}", "--reason=test")
    assert done.returncode in (1, 2)
    assert done.stderr
    assert account.balance().balance_nanos == 10 * 10**9


def test_an_unknown_client_is_refused(gateway: Gateway):
    done = gateway.run("credit", "--email=nobody@example.com", "--amount=1", "--reason=test")
    assert done.returncode == 1
    assert "nobody@example.com" in done.stderr


def test_provisioning_again_adds_a_key(gateway: Gateway, account: Account):
    done = gateway.run("provision-user", f"--email={account.email}", "--name=A Client")
    assert done.returncode == 0, done.stderr
    assert "AI_GATEWAY_API_KEY=sk-air-" in done.stdout
    assert done.stderr.strip()
    assert account.key not in done.stdout
    assert status(account) == 200


@ON_SQLITE
def test_a_second_server_on_the_same_data_ends(gateway: Gateway):
    done = gateway.run("serve")
    assert done.returncode == 1
    assert done.stderr or done.stdout
    assert gateway.is_ready()
