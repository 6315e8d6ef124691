"""An S3 object store that answers whoever signs with a header, as the MLflow server does, and refuses presigned addresses.

That is how a store looks that only MLflow may reach: the addresses that MLflow hands out for it lead its clients nowhere.
"""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "mlflow"


class PrivateStore(NamedTuple):
    """`settings` are the MLflow server's, `objects` what is stored, `direct` the requests with a presigned address."""

    settings: dict[str, str]
    objects: dict[str, bytes]
    direct: list[str]


@contextlib.contextmanager
def private_store() -> Iterator[PrivateStore]:
    """A store with one empty bucket, up inside the block."""
    objects: dict[str, bytes] = {}
    direct: list[str] = []
    handler = type("Handler", (_Handler,), {"objects": objects, "direct": direct})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}",
        "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        yield PrivateStore(settings, objects, direct)
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    """As much of S3's REST API as MLflow's S3ArtifactRepository asks for, path-style:
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html"""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    direct: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url, query = self._allowed()
        if url is None:
            return
        key = unquote(url).partition("/")[2]
        if "list-type" in query:
            self._answer(200, self._listing(query.get("prefix", [""])[0], query.get("delimiter", [""])[0]))
        elif key not in self.objects:
            self._answer(404, "<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._answer(200, self.objects[key])

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        url, _query = self._allowed()
        if url is not None:
            self.objects[unquote(url).partition("/")[2]] = body
            self._answer(200, "")

    def do_DELETE(self) -> None:
        url, _query = self._allowed()
        if url is not None:
            self.objects.pop(unquote(url).partition("/")[2], None)
            self._answer(204, "")

    def _allowed(self) -> tuple[str | None, dict[str, list[str]]]:
        """(path without its slash, query) of a request that is signed in its header; (None, {}) for a refused one."""
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        if "X-Amz-Signature" in query or "Authorization" not in self.headers:
            self.direct.append(self.path)
            self._answer(403, "<Error><Code>AccessDenied</Code></Error>")
            return None, {}
        return url.path.strip("/"), query

    def _listing(self, prefix: str, delimiter: str) -> str:
        found = {key: len(data) for key, data in self.objects.items() if key.startswith(prefix)}
        nested = {key for key in found if delimiter and delimiter in key[len(prefix) :]}
        folders = {prefix + key[len(prefix) :].partition(delimiter)[0] + delimiter for key in nested}
        entries = [
            f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size></Contents>"
            for key, size in found.items()
            if key not in nested
        ]
        entries += [f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders)]
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(entries)}</ListBucketResult>"

    def _answer(self, status: int, body: str | bytes) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", "application/xml" if isinstance(body, str) else "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", '"x"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_args: Any) -> None:
        pass
