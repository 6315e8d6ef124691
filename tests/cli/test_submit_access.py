"""How fineline reaches a Kubeflow Pipelines server: addresses and credentials, good and bad, and what is said of them."""

import datetime
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cli.__main__ import main
from fineline.process.errors import FinelineError
from pipelines import client
from pipelines.client import connect
from tests.conftest import PROJECT
from tests.pipelines.kubeflow_server import KubeflowServer

SECRET = "s3cr3t-value"


def refused(capsys: pytest.CaptureFixture[str], host: str) -> tuple[int, str]:
    """(exit code, what is said) of a command that needs the server at `host`."""
    code = main(["schedule", "list", "--host", host])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert SECRET not in captured.out + captured.err
    return code, captured.err


def test_a_token_from_the_environment_is_sent_and_never_shown(
    server: KubeflowServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.wanted = {"authorization": f"Bearer {SECRET}"}
    code, said = refused(capsys, server.url)
    assert code == 4
    assert "refuses access (401, no credential was given)" in said
    assert "docs/cluster.md, 'Credentials of the client'" in said
    monkeypatch.setenv(client.TOKEN, SECRET)
    assert refused(capsys, server.url) == (0, "")
    monkeypatch.setenv(client.TOKEN, SECRET[::-1])
    code, said = refused(capsys, server.url)
    assert code == 4
    assert f"(403, with the token in {client.TOKEN})" in said
    assert SECRET[::-1] not in said


def test_cookies_go_along(server: KubeflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.wanted = {"cookie": f"authservice_session={SECRET}"}
    monkeypatch.setenv(client.COOKIES, f"authservice_session={SECRET}")
    assert connect(server.url, None).credential == f"the cookies in {client.COOKIES}"


def test_a_service_accounts_token_is_read_anew_for_every_request(
    server: KubeflowServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    monkeypatch.setenv(client.TOKEN_FILE, str(file))
    server.wanted = {"authorization": "Bearer first"}
    connected = connect(server.url, None)
    file.write_text("second\n")
    server.wanted = {"authorization": "Bearer second"}
    assert connected.listed("PipelineServiceApi.pipeline_service_list_pipelines") == []


def test_a_kubernetes_context_goes_through_its_api_server(server: KubeflowServer, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        json.dumps(
            {
                "clusters": [{"name": "test", "cluster": {"server": server.url}}],
                "users": [{"name": "me", "user": {"token": SECRET}}],
                "contexts": [{"name": "there", "context": {"cluster": "test", "user": "me"}}],
                "current-context": "",
            }
        )
    )
    server.wanted = {"authorization": f"Bearer {SECRET}"}

    def schedules(context: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), client.KUBE_CONTEXT: context}
        command = [sys.executable, "-m", "cli", "schedule", "list"]
        return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment)

    found = schedules("there")
    assert (found.returncode, found.stderr) == (0, "")
    assert server.paths[0] == "/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy/apis/v2beta1/healthz"
    missing = schedules("elsewhere")
    assert missing.returncode == 4
    assert "elsewhere" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_a_certificate_of_ones_own_is_trusted_when_it_is_named(
    server: KubeflowServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with KubeflowServer(certificate=certificate(tmp_path / "server.pem")) as secure:
        code, said = refused(capsys, secure.url)
        assert code == 4
        assert "CERTIFICATE_VERIFY_FAILED" in said
        assert client.CA_FILE in said
        monkeypatch.setenv(client.CA_FILE, str(tmp_path / "server.pem"))
        assert refused(capsys, secure.url) == (0, "")


def certificate(file: Path) -> Path:
    """A self-signed certificate of localhost with its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    file.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, form, serialization.NoEncryption()))
    return file


@pytest.mark.parametrize(
    ("host", "code", "expected"),
    [
        ("", 2, "give --host URL"),
        (f"http://me:{SECRET}@localhost:8080", 2, "holds a user name or password"),
        ("localhost:8080", 2, "is not an address"),
        ("http://localhost:8080/#/runs", 2, "is not an address"),
        ("http://127.0.0.1:1", 4, "Connection refused"),
    ],
)
def test_an_address_that_is_none(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str], host: str, code: int, expected: str
) -> None:
    found, said = refused(capsys, host)
    assert found == code
    assert expected in said


def test_something_else_at_the_address(server: KubeflowServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.page = "<html>Log in with your company account</html>"
    code, said = refused(capsys, server.url)
    assert code == 4
    assert "is not Kubeflow Pipelines, or wants a login first: it answers with text/html" in said
    server.page = ""
    server.trouble = {"GET healthz": [404]}
    code, said = refused(capsys, server.url)
    assert code == 4
    assert "answers 404" in said
    assert "kubectl port-forward" in said


def test_what_times_out_is_not_asked_again(
    server: KubeflowServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_SECONDS", (0.5, 0.5))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, said = refused(capsys, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert (code, "Read timed out. (read timeout=0.5)" in said) == (4, True)
        silent.settimeout(0.5)
        silent.accept()[0].close()
        with pytest.raises(TimeoutError):
            silent.accept()


@pytest.mark.parametrize("variable", [client.CA_FILE, client.TOKEN_FILE])
def test_a_file_that_is_named_must_be_there(
    server: KubeflowServer, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "/nowhere/file")
    with pytest.raises(FinelineError, match=f"{variable} names /nowhere/file"):
        connect(server.url, None)
