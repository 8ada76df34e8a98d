"""A usage event that the database refuses: its client learns that it is not on record, and nobody else notices."""

import concurrent.futures
import sqlite3

from harness.gateway import Gateway
from harness.requests import body

# What a broken constraint does, for the events of one model.
REFUSE = """CREATE TRIGGER refused_by_a_test BEFORE INSERT ON request_logs WHEN NEW.model = 'sim/large'
BEGIN SELECT RAISE(ABORT, 'refused by a test'); END"""


def test_a_refused_event_is_no_answer_and_stops_no_other(gateway: Gateway):
    account = gateway.new_account()
    planted = sqlite3.connect(gateway.database.path, timeout=10)
    planted.execute(REFUSE)
    planted.commit()

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
    planted.execute("DROP TRIGGER refused_by_a_test")
    planted.commit()
    planted.close()
    assert post("sim/large")[0] == 200
    account.settled(33)
