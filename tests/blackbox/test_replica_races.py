"""Races for money between replicas: what one budget can pay for is served, wherever it is asked, and no more."""

from collections import Counter
from collections.abc import Callable

from harness.gateway import Account
from harness.money import decimal_text, price_of
from harness.polling import eventually
from harness.races import (
    NANOS_A_TOKEN,
    assert_six_holds_are_served,
    costly_request,
    hold_of,
    request_that_costs_its_hold,
    statuses_at_once,
)
from harness.replicas import Replicas
from harness.requests import body
from harness.simulator import Simulator

RUNS = 20
LAST_CENTS = 10


def status(account: Account, request: dict) -> int:
    with account.http() as http:
        return http.post("/v1/chat/completions", json=request).status_code


def test_exactly_six_holds_are_served_by_three_replicas(replicas: Replicas, closing_note: Callable[[str], None]):
    clients = assert_six_holds_are_served(replicas.all, RUNS)
    eventually(lambda: not any(client.balance().reserved_nanos for client in clients), "nothing is held")
    closing_note(f"three replicas: of 100 requests at once for six holds, six were served in each of {RUNS} runs")


def test_the_last_cent_is_spendable_wherever_it_lies(replicas: Replicas):
    """Idle leases lie on two replicas; the third one needs all that is left, and gets it in time."""
    small = costly_request(100, tokens=10)
    large, hold, price = request_that_costs_its_hold(replicas.all[0])
    for _ in range(LAST_CENTS):
        first, second, third = replicas.new_account(credit="0")
        small_price = (100 + 10) * NANOS_A_TOKEN
        first.credit(decimal_text(2 * small_price + hold))
        assert status(first, small) == 200
        assert status(second, small) == 200
        left = third.balance()
        assert left.balance_nanos == hold
        assert left.reserved_nanos > 0, "the others have leases"
        assert status(third, large) == 200
        assert [event.charged_nanos for event in third.settled(3)] == [small_price, small_price, price]
        assert third.balance().balance_nanos == hold - price


def test_a_balance_that_lies_idle_elsewhere_is_not_refused(replicas: Replicas):
    """As above, with a race on the third replica for two holds, of which idle leases hold a part."""
    large, hold, price = request_that_costs_its_hold(replicas.all[0])
    small = costly_request(100, tokens=10)
    small_price = (100 + 10) * NANOS_A_TOKEN
    first, second, third = replicas.new_account(credit="0")
    first.credit(decimal_text(2 * small_price + 2 * hold))
    assert status(first, small) == 200
    assert status(second, small) == 200
    assert statuses_at_once([third], large, 10) == Counter({200: 2, 402: 8})
    assert third.balance().balance_nanos == 2 * (hold - price)


def test_a_debit_reaches_what_is_leased_elsewhere(replicas: Replicas):
    client = replicas.new_account(credit="1")
    request = body("sim/one-dollar", max_tokens=100)
    assert [status(account, request) for account in client] == [200] * 3
    spent = sum(event.charged_nanos for event in client[0].settled(3))
    client[0].credit(f"-{decimal_text(10**9 - spent)}")
    assert client[0].balance().balance_nanos == 0
    for account in client:
        eventually(lambda account=account: status(account, request) == 402, "402 after the debit", 1)


def test_a_broke_client_costs_others_nothing(replicas: Replicas):
    """Refusals are remembered: a client that can't pay is told so quickly, however often it asks."""
    broke = replicas.new_account(credit="0.000001")
    request = body("sim/one-dollar", max_tokens=1000)
    assert statuses_at_once(broke, request, 100) == Counter({402: 100})
    assert broke[0].events() == []
    assert hold_of(replicas.all[1], request) > 0


def test_no_overdraft_through_three_replicas(replicas: Replicas, simulator: Simulator):
    """Answers that cost more than was held, as no upstream that keeps its price list sends them."""
    simulator.configure(prompt_tokens_per_byte=1)
    client = replicas.new_account(credit="0.005")
    words = [{"role": "user", "content": "zebra quartz " + "many words, each byte a token " * 20}]
    request = body("sim/one-dollar", {"completion_tokens": 100_000, "chunks": 1}, messages=words, max_tokens=50)
    for _ in range(3):
        seen = statuses_at_once(client, request, 60)
        assert set(seen) <= {200, 402}, seen
        assert client[0].balance().balance_nanos >= 0
    events = client[0].events()
    billed = simulator.generations()
    assert events
    for event in events:
        assert event.price_nanos == price_of(billed[event.generation_id].cost)
        assert event.charged_nanos + event.uncollected_nanos == event.price_nanos
    assert client[0].balance().balance_nanos == 5 * 10**6 - sum(event.charged_nanos for event in events)
