"""The official Node SDK: runs the tests in tests/node and asserts what they counted."""

import os
import re
import subprocess
from collections.abc import Callable

from harness.gateway import Account, Gateway
from harness.processes import PROJECT

DIRECTORY = PROJECT / "tests" / "node"
AT_LEAST = 20


def test_the_node_sdk(gateway: Gateway, account: Account, closing_note: Callable[[str], None]):
    assert (DIRECTORY / "node_modules" / "openai").is_dir(), "run `npm ci` in tests/node"
    poor = gateway.new_account(credit="0")
    limited = gateway.new_account()
    gateway.database.allow_models(limited.key, ["sim/large"])
    environment = os.environ | {
        "BASE_URL": gateway.url,
        "API_KEY": account.key,
        "POOR_KEY": poor.key,
        "LIMITED_KEY": limited.key,
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", "sdk.test.js"],
        cwd=DIRECTORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    counted = re.findall(r"^# (pass|fail|skipped|cancelled|todo) (\d+)$", done.stdout, re.MULTILINE)
    counts = {name: int(count) for name, count in counted}
    closing_note("node: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    assert done.returncode == 0, done.stdout + done.stderr
    assert counts["pass"] >= AT_LEAST
    assert counts["fail"] == counts["skipped"] == counts["cancelled"] == counts["todo"] == 0
    assert poor.events() == limited.events() == []
    assert len(account.events()) > 5
