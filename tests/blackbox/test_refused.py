"""A usage event that the database refuses: its client learns that it is not on record, and nobody else notices."""

import concurrent.futures

from harness.database import Database
from harness.gateway import Gateway
from harness.postgres_database import PostgresDatabase
from harness.requests import body

# What a broken constraint does, for the events of one model.
ON_SQLITE = [
    """CREATE TRIGGER refused_by_a_test BEFORE INSERT ON request_logs WHEN NEW.model = 'sim/large'
    BEGIN SELECT RAISE(ABORT, 'refused by a test'); END"""
]
ON_POSTGRES = [
    """CREATE FUNCTION refuse_in_a_test() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE check_violation USING MESSAGE = 'refused by a test'; END $$""",
    """CREATE TRIGGER refused_by_a_test BEFORE INSERT ON request_logs FOR EACH ROW
    WHEN (NEW.model = 'sim/large') EXECUTE FUNCTION refuse_in_a_test()""",
]


def plant(database: Database) -> None:
    for statement in ON_POSTGRES if isinstance(database, PostgresDatabase) else ON_SQLITE:
        database.execute(statement)


def pull(database: Database) -> None:
    table = " ON request_logs" if isinstance(database, PostgresDatabase) else ""
    database.execute(f"DROP TRIGGER refused_by_a_test{table}")


def test_a_refused_event_is_no_answer_and_stops_no_other(gateway: Gateway):
    account = gateway.new_account()
    plant(gateway.database)

    def post(model: str) -> tuple[int, str]:
        with account.http() as http:
            response = http.post("/v1/chat/completions", json=body(model))
            return response.status_code, response.text

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        good = [pool.submit(post, "sim/small") for _ in range(32)]
        bad = [pool.submit(post, "sim/large") for _ in range(4)]
    assert [answer.result()[0] for answer in good] == [200] * 32
    assert [answer.result()[0] for answer in bad] == [503] * 4
    assert all('"not_recorded"' in answer.result()[1] for answer in bad)
    with account.http() as http:
        stream = http.post("/v1/chat/completions", json=body("sim/large", stream=True)).text
    assert '"not_recorded"' in stream
    assert "[DONE]" not in stream
    assert [event.model for event in account.settled(32)] == ["sim/small"] * 32
    assert 'kind="commit_refused"} 5' in gateway.metrics()
    verified = gateway.run("ledger", "verify")
    assert verified.returncode == 1
    assert verified.stdout.count("check=refused") == 5, verified.stdout
    again = gateway.run("ledger", "book-refused")
    assert again.returncode == 1
    assert again.stdout.split() == ["booked=0", "left=5"]
    pull(gateway.database)
    assert post("sim/large")[0] == 200
    assert gateway.command("ledger", "book-refused").split() == ["booked=5", "left=0"]
    account.settled(38)
    gateway.command("ledger", "verify")
