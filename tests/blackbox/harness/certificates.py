"""A certificate authority of the tests' own."""

import ssl
import subprocess
from pathlib import Path

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Authority:
    """Issues certificates for this host into the files that a server reads."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.certificate = directory / "authority.pem"
        self.key = directory / "authority.key"
        self._make("/CN=Tests", self.certificate, self.key, "basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign")

    def issue(self, chain: Path, key: Path) -> None:
        """Puts a new certificate and its key into these files, each in one step."""
        new_chain, new_key = self.directory / "new.pem", self.directory / "new.key"
        by = ["-CA", str(self.certificate), "-CAkey", str(self.key)]
        self._make("/CN=localhost", new_chain, new_key, "subjectAltName=DNS:localhost,IP:127.0.0.1", by=by)
        new_key.replace(key)
        new_chain.replace(chain)

    def context(self, *protocols: str) -> ssl.SSLContext:
        """What trusts it."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    def _make(self, subject: str, chain: Path, key: Path, *extensions: str, by: list[str] | None = None) -> None:
        added = [word for extension in extensions for word in ("-addext", extension)]
        files = ["-keyout", str(key), "-out", str(chain), "-days", "30", "-subj", subject]
        command = ["openssl", "req", "-x509", *NEW_KEY, *files, *added, *(by or [])]
        subprocess.run(command, check=True, capture_output=True)
