"""Loaded by schemathesis: whose login sends a request, and what it may make up."""

import itertools
import os
import sys
import threading
from typing import Any

import schemathesis
from hypothesis import strategies

# Ends the session that sends it, or one of the same login.
ENDS_SESSIONS = ("/v1/auth/logout", "/v1/auth/sessions/{id}")
LOCK = threading.Lock()
# Calls are bounded for each login and each address, so there are several of both.
LASTING = itertools.cycle(os.environ["LASTING_TOKENS"].split(","))
ADDRESSES = itertools.cycle(f"198.51.100.{number}" for number in range(1, 255))
# When they are used up, the last one goes on being refused.
ENDING = os.environ["ENDING_TOKENS"].split(",")


@schemathesis.auth(refresh_interval=None)
class NextLogin:
    def get(self, _case: schemathesis.Case, context: schemathesis.AuthContext) -> str:
        with LOCK:
            if context.operation.path in ENDS_SESSIONS:
                return ENDING.pop() if len(ENDING) > 1 else ENDING[0]
            return next(LASTING)

    def set(self, case: schemathesis.Case, token: str, _context: schemathesis.AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {token}"


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case, _kwargs: dict) -> None:
    with LOCK:
        case.headers["X-Forwarded-For"] = next(ADDRESSES)


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    return plain(body)


def plain(value: Any) -> Any:
    """The same with numbers as programs write them: to a schema 1.0 is an integer, and a number has no bound; here an
    integer has no fraction, and no number is beyond what a double holds (RFC 8259, section 6)."""
    match value:
        case dict():
            return {name: plain(member) for name, member in value.items()}
        case list():
            return [plain(member) for member in value]
        case float() if value.is_integer():
            return int(value)
        case int() if abs(value) > sys.float_info.max:
            return 0
    return value


# Times are from 1970 to 9998, which a schema can't say.
YEARS = strategies.integers(1970, 9998)
DAYS = strategies.integers(1, 28)
TIMES = strategies.builds("{:04}-{:02}-{:02}T12:00:00Z".format, YEARS, strategies.integers(1, 12), DAYS)
schemathesis.openapi.format("date-time", TIMES)
