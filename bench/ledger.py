"""`airouter ledger verify` on millions of usage events."""

import contextlib
import hashlib
import sqlite3
import subprocess
import time
from pathlib import Path

from programs import AIROUTER, PROJECT, TARGET, clean_environment
from report import Verdict

FILL = TARGET / "release" / "examples" / "verify_bench"
MOST_SECONDS = 60
GIVE_UP_SECONDS = 900


def verify(work: Path, events: int) -> Verdict:
    """Verifies a database of so many events that add up."""
    database = filled(work, events)
    began = time.monotonic()
    done = subprocess.run(
        [AIROUTER, "ledger", "verify"],
        env=clean_environment(DATABASE_URL=f"sqlite://{database}"),
        capture_output=True,
        text=True,
        timeout=GIVE_UP_SECONDS,
        check=False,
    )
    seconds = time.monotonic() - began
    said = ", ".join((done.stdout + done.stderr).splitlines()[:5])
    return Verdict(
        done.returncode == 0 and seconds < MOST_SECONDS,
        f"ledger verify: {seconds:.1f} s ({said}); limit {MOST_SECONDS} s",
    )


def filled(work: Path, events: int) -> Path:
    """The database: one from an earlier time, if the schema is the same, or a new one."""
    schema = b"".join(path.read_bytes() for path in sorted((PROJECT / "migrations" / "sqlite").glob("*.sql")))
    database = work / f"ledger-{events}-{hashlib.sha256(schema).hexdigest()[:12]}.db"
    if not database.exists():
        for stale in work.glob("ledger-*"):
            stale.unlink()
        began, part = time.monotonic(), work / "ledger-part.db"
        subprocess.run([FILL, str(events), part], check=True, timeout=GIVE_UP_SECONDS)
        # What is still in the journal goes into the file, which then moves alone.
        with contextlib.closing(sqlite3.connect(part)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        part.rename(database)
        print(f"filled a ledger, which is kept, in {time.monotonic() - began:.0f} s", flush=True)
    return database
