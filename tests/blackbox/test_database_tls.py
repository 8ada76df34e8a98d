"""PostgreSQL behind TLS, with a certificate of an authority that only the operator knows."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.gateway import Gateway, running_gateway
from harness.postgres import running_postgres
from harness.postgres_database import Servers, new_database
from harness.requests import body
from harness.simulator import Simulator

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass
class Server:
    """Its address, and the certificate of its authority."""

    url: str
    authority: Path
    redis_url: str


def openssl(directory: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def certificate(directory: Path) -> tuple[Path, Path, Path]:
    """A certificate for 127.0.0.1 and its key, and the certificate of its authority."""
    openssl(directory, "req", "-x509", *KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test", "-days", "2")
    openssl(directory, "req", *KEY, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=database")
    (directory / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl(directory, "x509", "-req", "-in", "server.csr", "-out", "server.pem", *signing)
    return directory / "server.pem", directory / "server.key", directory / "ca.pem"


@pytest.fixture(scope="module")
def server(directory: Path, servers: Servers) -> Iterator[Server]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    signed, key, authority = certificate(directory)
    with running_postgres(tls=(signed, key)) as postgres:
        yield Server(postgres.url, authority, servers.redis_url)


def serves(tmp_path: Path, simulator: Simulator, server: Server, parameters: str) -> None:
    """A gateway starts and serves with these parameters of the address, and all of its connections are encrypted."""
    with (
        new_database(Servers(f"{server.url}?{parameters}", server.redis_url)) as database,
        running_gateway(tmp_path, simulator, database) as gateway,
    ):
        account = gateway.new_account()
        with account.http() as http:
            assert http.post("/v1/chat/completions", json=body()).status_code == 200
        account.settled(1)
        connections = database.rows(
            "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'airouter'"
        )
        assert len(connections) >= 3
        assert all(encrypted for (encrypted,) in connections)


def test_encrypted(tmp_path: Path, simulator: Simulator, server: Server):
    serves(tmp_path, simulator, server, "sslmode=require")


def test_encrypted_and_verified(tmp_path: Path, simulator: Simulator, server: Server):
    serves(tmp_path, simulator, server, f"sslmode=verify-full&sslrootcert={server.authority}")


@pytest.mark.parametrize("case", ["not encrypted", "unknown authority", "other name"])
def test_what_cannot_be_trusted_is_refused(tmp_path: Path, simulator: Simulator, server: Server, case: str):
    url = {
        "not encrypted": f"{server.url}?sslmode=disable",
        "unknown authority": f"{server.url}?sslmode=verify-full",
        "other name": server.url.replace("@127.0.0.1:", "@localhost:")
        + f"?sslmode=verify-full&sslrootcert={server.authority}",
    }[case]
    with new_database(Servers(f"{server.url}?sslmode=require", server.redis_url)) as database:
        gateway = Gateway(tmp_path, simulator, database, DATABASE_URL=url)
        refused = gateway.run("migrate")
    assert refused.returncode == 1
    told = refused.stdout + refused.stderr
    expected = {
        "not encrypted": "pg_hba|encrypt",
        "unknown authority": "UnknownIssuer",
        "other name": "not valid for name",
    }
    assert re.search(expected[case], told), told
    password = server.url.split("@")[0].rsplit(":", 1)[1]
    assert password not in told
