"""Exact money, computed apart from the program: fractions of a dollar, rounded half-even once."""

from decimal import Decimal
from fractions import Fraction

NANOS = 10**9
PICOS = 10**12
CLIENT_FACTOR = Fraction(8, 10)
DISCOUNT = Fraction(70, 100)


def usd(text: str | int | Decimal) -> Fraction:
    """A decimal text (also with an exponent) as an exact number of dollars."""
    return Fraction(Decimal(text))


def of_picos(picodollars: str | int) -> Fraction:
    return Fraction(int(picodollars), PICOS)


def nanos(dollars: Fraction) -> int:
    """Rounded half-even to whole nano-dollars (Python's `round` of a fraction does just that)."""
    return round(dollars * NANOS)


def decimal_text(nano_dollars: int) -> str:
    """An amount as the command line takes it: USD with nine places."""
    return f"{Decimal(nano_dollars).scaleb(-9):.9f}"


def cost_of(list_cost: Fraction, paid_at_provider: Fraction = Fraction(0)) -> int:
    """What a request costs the operator: its list cost less the discount, and what was paid at the provider."""
    return nanos(list_cost * (1 - DISCOUNT) + paid_at_provider)


def price_of(list_cost: Fraction, paid_at_provider: Fraction = Fraction(0)) -> int:
    """What the client pays: 80 % of the list cost, never less than the operator's cost."""
    return max(nanos((list_cost + paid_at_provider) * CLIENT_FACTOR), cost_of(list_cost, paid_at_provider))
