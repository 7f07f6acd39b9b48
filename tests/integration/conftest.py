"""Servers for the tests with real sockets."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from airflow_provider_anyformat.api.client import AnyformatClient
from airflow_provider_anyformat.sandbox import Sandbox
from tests.support.fork_server import ForkServer
from tests.support.logs import Lines, listening
from tests.support.sandboxes import connected_sandbox, versions_asked
from tests.support.scripted import KEY, ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Yield a server on plain http that answers as told."""
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


@pytest.fixture
def make_client(server: ScriptedServer) -> Iterator[Callable[..., AnyformatClient]]:
    """Yield a maker of clients whose waits are short."""
    clients: list[AnyformatClient] = []

    def make(base_url: str | None = None, **settings: Any) -> AnyformatClient:
        quick = {"timeout": 5.0, "max_attempts": 3, "backoff": 0.001, "max_backoff": 2.0, **settings}
        clients.append(AnyformatClient(KEY, base_url or server.url, **quick))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client: Callable[..., AnyformatClient]) -> AnyformatClient:
    """Return a client of the scripted server."""
    return make_client()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a PEM file with a self-signed certificate for localhost and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + pem)
    return path


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[ScriptedServer]:
    """Yield a server on https whose certificate nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    scripted = ScriptedServer(context)
    yield scripted
    scripted.close()


@pytest.fixture
def version() -> str:
    """Return the version of the API that the connection names; ``on_both_versions`` has a test run on both."""
    return "v2"


@pytest.fixture
def sandbox(version: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Yield an empty sandbox without a rate limit, to which the default connection leads."""
    with connected_sandbox(monkeypatch, {"api_version": version}) as running:
        yield running
        assert versions_asked(running) <= {version}


@pytest.fixture(scope="session")
def purge_server() -> Iterator[ForkServer]:
    """Yield what runs purges in processes of their own, so that a test can kill them."""
    running = ForkServer("tests.support.purge_server")
    yield running
    running.stop()


@pytest.fixture
def workflow(sandbox: Sandbox) -> str:
    """Return the id of an empty workflow of the sandbox."""
    return sandbox.add_workflow()


@pytest.fixture
def lines(sandbox: Sandbox) -> Iterator[Lines]:
    """Yield what the provider logs during the test; the key is not in it."""
    with listening() as heard:
        yield heard
    assert sandbox.key not in heard.text
