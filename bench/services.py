"""The PostgreSQL and Redis servers beside which the benchmark runs."""

import os
import sys
from dataclasses import dataclass

from programs import LOAD_CORE, PROJECT

DATABASE, REDIS = "TEST_DATABASE_URL", "TEST_REDIS_URL"


@dataclass(frozen=True)
class Services:
    """Where a database may be created, and where rates are counted."""

    database_url: str
    redis_url: str


def services() -> Services:
    """Those that the environment names; where it doesn't, this program begins again beside throw-away ones."""
    if not all(os.environ.get(name) for name in (DATABASE, REDIS)):
        begin_again()
    return Services(os.environ[DATABASE], os.environ[REDIS])


def begin_again() -> None:
    """Replaces this process. The servers get the core of the load, so that the proxies have theirs to themselves."""
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    # Their files are to be on a disk, where what is durable costs what it costs in production; /tmp may be in memory.
    os.environ.setdefault("TMPDIR", "/var/tmp")
    os.sched_setaffinity(0, {LOAD_CORE})
    program = str(PROJECT / "scripts" / "with-services")
    sys.stdout.flush()
    os.execv(program, [program, "taskset", "--cpu-list", cores, *sys.argv])
