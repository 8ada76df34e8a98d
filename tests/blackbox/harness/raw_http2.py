"""HTTP/2 by hand: a client that gives its windows as a test wants it."""

import socket
import ssl
from collections.abc import Callable

import h2.config
import h2.connection
import h2.errors
import h2.events


class RawHttp2:
    """One connection. What comes is kept by stream; no window is given back unless asked for."""

    def __init__(self, port: int, context: ssl.SSLContext, seconds: float = 30):
        plain = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        assert self.socket.selected_alpn_protocol() == "h2"
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.initiate_connection()
        self.events: list[h2.events.Event] = []
        self.is_open = True
        self.flush()

    def flush(self) -> None:
        if data := self.http.data_to_send():
            self.socket.sendall(data)

    def reset(self, stream: int) -> None:
        """Leaves one stream; the SDK's HTTP client only stops reading it."""
        self.http.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self.flush()

    def ask(self, method: str, path: str, key: str, data: bytes = b"") -> int:
        """Sends a request; the number of its stream."""
        stream = self.http.get_next_available_stream_id()
        headers = [
            (":method", method),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path),
            ("authorization", f"Bearer {key}"),
            ("content-type", "application/json"),
        ]
        self.http.send_headers(stream, headers, end_stream=not data)
        if data:
            self.http.send_data(stream, data, end_stream=True)
        self.flush()
        return stream

    def read_until(self, is_there: Callable[[], object]) -> None:
        """Reads on until something is there, or the other side has closed."""
        while self.is_open and not is_there():
            try:
                data = self.socket.recv(65536)
                self.events += self.http.receive_data(data) if data else []
                self.flush()
            except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
                data = b""
            self.is_open = bool(data)

    def status(self, stream: int) -> int | None:
        for event in self.of(stream, h2.events.ResponseReceived):
            return int(dict(event.headers)[":status"])
        return None

    def data(self, stream: int) -> bytes:
        return b"".join(event.data for event in self.of(stream, h2.events.DataReceived))

    def has_ended(self, stream: int) -> bool:
        return bool(self.of(stream, h2.events.StreamEnded) or self.of(stream, h2.events.StreamReset))

    def of(self, stream: int, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind) and event.stream_id == stream]

    def ended_with(self) -> int | None:
        """The error with which the other side ended the connection."""
        ends = [event for event in self.events if isinstance(event, h2.events.ConnectionTerminated)]
        return ends[0].error_code if ends else None

    def close(self) -> None:
        self.socket.close()
