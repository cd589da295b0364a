"""A certificate for 127.0.0.1, made by ``openssl``."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

_SUBJECT = ["-subj", "/CN=fake-kubernetes", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]


def make(folder: Path) -> None:
    """Write a new key and a certificate that is its own authority into the folder."""
    names = ["-keyout", str(folder / "tls.key"), "-out", str(certificate(folder))]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run(["openssl", "req", *kind, *_SUBJECT, *names], check=True, capture_output=True)


def certificate(folder: Path) -> Path:
    """The file."""
    return folder / "tls.crt"


def server_context(folder: Path) -> ssl.SSLContext:
    """Of the server that shows this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(folder), folder / "tls.key")
    return context
