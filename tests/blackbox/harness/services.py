"""The database and the Redis that tests may use: those that the environment names, else throw-away ones."""

import contextlib
import os
from collections.abc import Callable, Iterator

from .postgres import running_postgres
from .redis import running_redis

DATABASE = "TEST_DATABASE_URL"
REDIS = "TEST_REDIS_URL"
SERVERS: dict[str, Callable] = {DATABASE: running_postgres, REDIS: running_redis}


@contextlib.contextmanager
def services() -> Iterator[dict[str, str]]:
    """Addresses by variable; the database's user may create databases."""
    addresses = {name: os.environ[name] for name in SERVERS if os.environ.get(name)}
    with contextlib.ExitStack() as started:
        for name, start in SERVERS.items():
            if name not in addresses:
                addresses[name] = started.enter_context(start()).url
        yield addresses
