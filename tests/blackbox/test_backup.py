"""`airouter backup` while a server runs, and `airouter restore` into a new database."""

import contextlib
import hashlib
import json
import random
import shutil
import sqlite3
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from harness.database import Database
from harness.gateway import Account, Gateway
from harness.load import ended, put_load, wait_for_more
from harness.polling import eventually
from harness.replicas import revive
from harness.requests import chat
from harness.simulator import Simulator
from harness.sqlite_file import SqliteFile

Store = Callable[[], contextlib.AbstractContextManager[Database | None]]
CREDIT = 1000
SECRETS = ("ENCRYPTION_KEY", "SECRET_KEY")
MAGIC = b"airouter backup\n"


@pytest.fixture
def new_place(store: Store, tmp_path: Path, simulator: Simulator) -> Iterator[Callable[[Gateway], Gateway]]:
    """Makes a server that is not started, on a database that is not there or empty, with the secrets of another one."""
    with contextlib.ExitStack() as stack:

        def make(of: Gateway) -> Gateway:
            directory = tmp_path / f"place-{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            secrets = {name: of.environment[name] for name in SECRETS if name in of.environment}
            gateway = Gateway(directory, simulator, stack.enter_context(store()), **secrets)
            for name in ("encryption_key", "secret_key"):
                if (of.data / name).exists():
                    shutil.copy(of.data / name, gateway.data)
            stack.callback(lambda: gateway.child and gateway.child.is_running and gateway.child.kill())
            return gateway

        yield make


@pytest.fixture
def source(tmp_path: Path, simulator: Simulator, own_database: Database | None) -> Iterator[Gateway]:
    """A running server of one test's own."""
    directory = tmp_path / "source"
    directory.mkdir()
    gateway = Gateway(directory, simulator, own_database)
    gateway.start()
    yield gateway
    if gateway.child.is_running:
        gateway.child.kill()


def generations(database: Database, account: Account) -> set[str | None]:
    return {event.generation_id for event in database.events(account.id)}


def is_there(gateway: Gateway) -> bool:
    """Whether its database holds anything."""
    database = gateway.database
    if isinstance(database, SqliteFile):
        return any(gateway.data.glob("airouter.db*")) and database.path.exists()
    [(tables,)] = database.rows("SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace")
    return tables > 0


def refused(gateway: Gateway, file: Path) -> str:
    """What `restore` says when it refuses."""
    done = gateway.run("restore", str(file))
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    return done.stderr


@pytest.mark.timeout(300)
def test_a_backup_under_load_is_restored(source: Gateway, new_place: Callable[[Gateway], Gateway], tmp_path: Path):
    account = source.new_account(credit=str(CREDIT))
    spare = source.new_account()
    file = tmp_path / "backup"
    with ended(put_load(account, tmp_path)) as loads:
        wait_for_more(loads, 200)
        before = generations(source.database, account)
        source.command("credit", f"--email={spare.email}", "--amount=5", "--reason=before")
        printed = source.command("backup", str(file))
        source.command("credit", f"--email={spare.email}", "--amount=7", "--reason=after")
        wait_for_more(loads, 100)
        for load in loads:
            load.stop()
    assert "findings=0" in printed
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".airouter")] == []
    source.stop()

    restored = new_place(source)
    printed = restored.command("restore", str(file))
    assert "findings=0" in printed
    found = generations(restored.database, account)
    assert before <= found < generations(source.database, account)
    events = restored.database.events(account.id)
    balance = restored.database.balance(account.id)
    assert balance.balance_nanos == CREDIT * 10**9 - sum(event.charged_nanos for event in events)
    assert restored.database.balance(spare.id).balance_nanos == 15 * 10**9

    assert restored.database.balance(account.id).reserved_nanos > 0, "a lease of the server that ran is in the backup"
    revive(restored)
    client = account.at(restored)
    assert client.sdk().chat.completions.create(**chat()).usage.completion_tokens > 0
    dead = "SELECT count(*) FROM leases l JOIN replicas r ON r.id = l.replica_id WHERE r.ended_at IS NOT NULL"
    eventually(lambda: restored.database.rows(dead) == [(0,)], "leases of the dead server went back", 30)
    eventually(lambda: not restored.database.pending(), "what the server had in flight is found out", 60)
    # What is numbered goes on behind what was there, and what changes is told.
    newcomer = restored.new_account()
    assert newcomer.sdk().chat.completions.create(**chat()).usage.completion_tokens > 0
    restored.database.revoke(newcomer.key)
    with newcomer.http() as http:
        eventually(lambda: http.get("/v1/models").status_code == 401, "a revoked key is refused", 5)
    restored.command("credit", f"--email={spare.email}", "--amount=1", "--reason=on")
    restored.command("audit", "verify")
    with pytest.raises((sqlite3.Error, psycopg.Error), match="append-only"):
        restored.database.execute("UPDATE ledger_transactions SET reason = 'another'")
    restored.stop()


def test_a_damaged_backup_is_refused_and_touches_nothing(
    source: Gateway, new_place: Callable[[Gateway], Gateway], tmp_path: Path
):
    source.new_account()
    file = tmp_path / "backup"
    source.command("backup", str(file))
    whole = file.read_bytes()
    target = new_place(source)
    damaged = tmp_path / "damaged"
    for _ in range(3):
        damaged.write_bytes(whole[: random.randrange(len(MAGIC), len(whole))])
        assert "torn" in refused(target, damaged)
        altered = bytearray(whole)
        altered[random.randrange(len(MAGIC), len(whole))] ^= 1 << random.randrange(8)
        damaged.write_bytes(altered)
        refused(target, damaged)
    damaged.write_bytes(b"something else")
    assert "no backup" in refused(target, damaged)
    damaged.write_bytes(made(whole, schema=9999))
    assert "newer version" in refused(target, damaged)
    other = {"sqlite": "postgres", "postgres": "sqlite"}[manifest(whole)["kind"]]
    damaged.write_bytes(made(whole, kind=other))
    assert "DATABASE_URL" in refused(target, damaged)
    assert not is_there(target)
    target.command("restore", str(file))
    assert is_there(target)


def manifest(whole: bytes) -> dict:
    [length] = struct.unpack_from(">I", whole, len(MAGIC) + 1)
    start = len(MAGIC) + 5
    return json.loads(whole[start : start + length])


def made(whole: bytes, contents: bytes = b"", **changes: object) -> bytes:
    """A backup of other contents that says other things of itself, as if it had been written so."""
    begun = MAGIC + frame(b"M", json.dumps(manifest(whole) | changes).encode())
    if contents:
        begun += frame(b"D", contents)
    return begun + frame(b"E", hashlib.sha256(begun).digest())


def frame(kind: bytes, contents: bytes) -> bytes:
    return kind + struct.pack(">I", len(contents)) + contents


def test_nothing_is_overwritten(source: Gateway, tmp_path: Path):
    account = source.new_account()
    file = tmp_path / "backup"
    source.command("backup", str(file))
    whole = file.read_bytes()
    again = source.run("backup", str(file))
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert file.read_bytes() == whole

    # Where a server runs; and where one ran.
    said = refused(source, file)
    assert "running" in said or "already" in said
    assert account.sdk().chat.completions.create(**chat()).usage.completion_tokens > 0
    source.stop()
    assert "already" in refused(source, file)
    assert account.balance().balance_nanos < 10 * 10**9

    assert source.run("backup").returncode == 2
    assert source.run("restore", str(tmp_path / "nowhere")).returncode == 1


def test_a_restore_that_fails_leaves_nothing(source: Gateway, new_place: Callable[[Gateway], Gateway], tmp_path: Path):
    """The file is as it was written, and yet there is no database in it."""
    source.new_account()
    file = tmp_path / "backup"
    source.command("backup", str(file))
    strange = tmp_path / "strange"
    strange.write_bytes(made(file.read_bytes(), contents=b"nobody's rows"))
    target = new_place(source)
    refused(target, strange)
    assert not is_there(target)
    target.command("restore", str(file))
