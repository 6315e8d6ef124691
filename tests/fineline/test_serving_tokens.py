"""Bearer tokens: who sends none is answered by health alone; the file may change, be rotated and go."""

from pathlib import Path

import pytest
import requests

from fineline.process.errors import ResourceError, UsageError
from fineline.serving.tokens import Tokens
from tests.serving import Server, serving


def ask(server: Server, path: str, authorization: str | bytes = "") -> int:
    headers = {"Authorization": authorization} if authorization else {}
    if path == "/predict":
        return requests.post(server.url + path, json={"texts": ["card"]}, headers=headers, timeout=60).status_code
    return requests.get(server.url + path, headers=headers, timeout=60).status_code


def test_without_a_token_health_alone_answers(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    with serving(bundle, "--name", "tiny", "--token-file", file) as server:
        for path in ("/predict", "/metrics", "/openapi.json", "/v2", "/v2/models/tiny", "/none"):
            for wrong in (
                "",
                "first",
                "Bearer",
                "Bearer ",
                "Bearer firs",
                "Bearer first2",
                "Basic first",
                b"Bearer \xff",
            ):
                assert ask(server, path, wrong) == 401, (path, wrong)
            assert ask(server, path, "bearer first") == (404 if path == "/none" else 200)
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert ask(server, path) == 200
        refused = requests.post(f"{server.url}/predict", data=b"x" * 2_000_000, timeout=60)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "Bearer" in refused.json()["error"]
        found = requests.get(f"{server.url}/openapi.json", headers={"Authorization": "Bearer first"}, timeout=60).json()
        assert found["security"] == [{"bearer": []}]
        assert found["paths"]["/v2/health/live"]["get"]["security"] == []
        assert "401" in found["paths"]["/predict"]["post"]["responses"]

        file.write_text("second\n\n first \n")  # for a while both count
        assert [ask(server, "/v2", f"Bearer {token}") for token in ("first", "second")] == [200, 200]
        new = tmp_path / "new"
        new.write_text("second")
        new.rename(file)
        assert [ask(server, "/v2", f"Bearer {token}") for token in ("first", "second")] == [401, 200]
        file.unlink()
        assert [ask(server, "/v2", f"Bearer {token}") for token in ("first", "second", "")] == [401, 200, 401]
        file.write_text("")
        assert ask(server, "/v2", "Bearer second") == 200
        assert ask(server, "/v2", "Bearer ") == 401
        file.write_text("third")
        assert ask(server, "/v2", "Bearer third") == 200
        assert server.stop() == 0
        assert len(server.events("no tokens")) == 2
        assert "second" not in str(server.log)


@pytest.mark.parametrize(("content", "error"), [(None, ResourceError), ("", UsageError), (" \n", UsageError)])
def test_no_token_to_begin_with(content: str | None, error: type[Exception], tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    with pytest.raises(error, match="--token-file"):
        Tokens(tmp_path / "token")
