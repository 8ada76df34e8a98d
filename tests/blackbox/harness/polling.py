"""Waiting for something to become true, within a bound."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
INTERVAL_SECONDS = 0.01


def eventually(probe: Callable[[], T], what: str, seconds: float = 10.0) -> T:
    """Asks `probe` until its answer is true, and returns that; fails, naming `what`, when the time is up.

    A probe that raises `AssertionError` isn't there yet; its last message is told.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            last = probe()
            if last:
                return last
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}; last seen: {last!r}")
        time.sleep(INTERVAL_SECONDS)
