"""HTTP by hand: requests that no client library would send."""

import contextlib
import json
import socket
from dataclasses import dataclass

from .gateway import Account
from .polling import eventually
from .simulator import Simulator

CHAT = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"


@dataclass(frozen=True)
class RawAnswer:
    """What came back; status 0 when the connection was closed without an answer."""

    status: int
    text: str


def connect(port: int, seconds: float = 30) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def send_all_or_closed(connection: socket.socket, data: bytes) -> None:
    """Sends as much as the other side takes."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(data)


def read_to_end(connection: socket.socket) -> RawAnswer:
    """Everything until the other side closes (a reset counts as a close)."""
    parts = []
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            break
        if not part:
            break
        parts.append(part)
    text = b"".join(parts).decode(errors="replace")
    status = int(text.split(" ", 2)[1]) if text.startswith("HTTP/1.") else 0
    return RawAnswer(status, text)


def exchange(port: int, data: bytes) -> RawAnswer:
    """Sends these bytes on a connection of their own and reads until it is closed."""
    with connect(port) as connection:
        send_all_or_closed(connection, data)
        return read_to_end(connection)


def chat_head(key: str, length: int, *more: str) -> bytes:
    """The head of a chat request with a body of so many bytes, after which the connection is closed."""
    lines = [
        f"authorization: Bearer {key}",
        "content-type: application/json",
        f"content-length: {length}",
        "connection: close",
        *more,
    ]
    return (CHAT + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode()


def ask_and_leave(account: Account, simulator: Simulator, request: dict) -> None:
    """Sends a chat request, and hangs up once the upstream has it: whoever leaves before that need not be served."""
    before = simulator.books()["requests"]
    data = json.dumps(request).encode()
    with connect(account.gateway.port) as connection:
        connection.sendall(chat_head(account.key, len(data)) + data)
        eventually(lambda: simulator.books()["requests"] > before, "the upstream is asked")
