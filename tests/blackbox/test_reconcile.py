"""The checker of the kill test finds what it is there to find."""

from dataclasses import replace
from fractions import Fraction

import pytest

from harness.database import Event
from harness.money import cost_of, price_of
from harness.reconcile import Kill, reconcile
from harness.simulator import Generation

EARLIER, KILL = Kill(900.0, 900.0), Kill(1000.0, 1000.0)
COST = Fraction(123_457, 10**9)


def generation(name: str, started: float, ended: float, cost: Fraction = COST) -> Generation:
    times = {"started_at_us": round(started * 10**6), "ended_at_us": round(ended * 10**6)}
    row = dict.fromkeys(Generation.__dataclass_fields__)
    return Generation(**row | times | {"id": name, "cost": cost})


def event(name: str, loss: str | None = None) -> Event:
    price = 0 if loss else price_of(COST)
    known = {
        "generation_id": name,
        "list_cost": "0.000123457",
        "cost_nanos": cost_of(COST),
        "price_nanos": price,
        "charged_nanos": price,
        "uncollected_nanos": 0,
        "loss_reason": loss,
    }
    return Event(**dict.fromkeys(Event.__dataclass_fields__) | known)


@pytest.fixture
def case() -> dict:
    """An answer received whole, one lost to the kill, one cut young, one cut young and not billed."""
    rows = [
        generation("whole", 990.0, 990.5),
        generation("lost", 998.0, 1000.0),
        generation("young", 999.5, 1000.0),
        generation("free", 999.5, 1000.0, Fraction(0)),
    ]
    return {
        "whole": ["whole"],
        "events": [event("whole"), event("lost", "crash")],
        "generations": {row.id: row for row in rows},
        "kills": [EARLIER, KILL],
    }


def test_right_books_pass(case: dict):
    totals = reconcile(**case)
    assert (totals.whole, totals.charged, totals.lost, totals.cut_young) == (1, COST, COST, COST)


@pytest.mark.parametrize("field", ["price_nanos", "charged_nanos", "cost_nanos", "uncollected_nanos"])
@pytest.mark.parametrize("nano", [-1, 1])
@pytest.mark.parametrize("index", [0, 1])
def test_an_error_of_one_nano_dollar_is_found(case: dict, field: str, nano: int, index: int):
    wrong = case["events"][index]
    case["events"][index] = replace(wrong, **{field: getattr(wrong, field) + nano})
    with pytest.raises(AssertionError):
        reconcile(**case)


def test_an_error_of_one_nano_dollar_in_the_list_cost_is_found(case: dict):
    case["events"][0] = replace(case["events"][0], list_cost="0.000123458")
    with pytest.raises(AssertionError):
        reconcile(**case)


def test_an_error_of_one_nano_dollar_in_the_upstreams_books_is_found(case: dict):
    row = case["generations"]["whole"]
    case["generations"]["whole"] = replace(row, cost=row.cost + Fraction(1, 10**9))
    with pytest.raises(AssertionError):
        reconcile(**case)


def test_other_faults_are_found(case: dict):
    whole, lost = case["events"]
    old = generation("young", 997.0, 1000.0)
    later = generation("young", 1000.5, 1001.0)
    faults = {
        "not booked": case | {"events": [lost]},
        "booked twice": case | {"events": [whole, whole, lost]},
        "received whole and booked as a loss": case | {"events": [event("whole", "crash"), lost]},
        "another loss": case | {"events": [whole, event("lost", "unknown")]},
        "a loss without a kill": case | {"kills": [EARLIER]},
        "unknown to the upstream": case | {"events": [whole, lost, event("invented")]},
        "old and not booked": case | {"generations": case["generations"] | {"young": old}},
        "not in flight and not booked": case | {"generations": case["generations"] | {"young": later}},
    }
    for name, fault in faults.items():
        with pytest.raises(AssertionError):
            reconcile(**fault)
            pytest.fail(f"not found: {name}")
