"""Storages outside of this machine's files: a bucket as S3 answers for it, a website, git."""

import contextlib
import hashlib
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

Storage = TypeVar("Storage", bound="Website")


class Website:
    """Files that a server has by their paths, without the first slash. `headers` are what it says of them beside the length.

    `forbidden` makes it refuse everything; `after_read` is called once with the path of the next file that was read.
    """

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.headers = ("ETag", "Last-Modified")
        self.modified = 0
        self.forbidden = False
        self.after_read = None

    def put(self, path: str, content: bytes) -> None:
        self.files[path] = content
        self.modified += 1

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        path = urlsplit(request.path).path.strip("/")
        if self.forbidden:
            send(request, 403, b"no")
        elif path not in self.files:
            send(request, 404, b"not here")
        else:
            self.send_file(request, path, self.files[path])

    def send_file(
        self,
        request: http.server.BaseHTTPRequestHandler,
        path: str,
        content: bytes,
        more: dict[str, str] | None = None,
    ) -> None:
        known = {"ETag": etag(content), "Last-Modified": f"Thu, 01 Jan 2026 00:00:{self.modified:02} GMT"}
        headers = {name: value for name, value in known.items() if name in self.headers} | (more or {})
        if (wanted := request.headers.get("If-Match")) and wanted != etag(content):
            send(request, 412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        if span := request.headers.get("Range"):
            first, last = span.removeprefix("bytes=").split("-")
            whole, content = len(content), content[int(first) : int(last or len(content)) + 1]
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(content) - 1}/{whole}"
        send(request, 206 if span else 200, content, headers)
        if request.command == "GET" and self.after_read:
            self.after_read, after = None, self.after_read
            after(path)


class Bucket(Website):
    """One bucket in S3, as far as reading needs it: HeadObject, GetObject (Range, If-Match, versionId), ListObjectsV2.

    Follows docs.aws.amazon.com/AmazonS3/latest/API: an object of a bucket that keeps versions (`versions`) has the header
    x-amz-version-id, a listing has ETags and no versions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.versions: dict[str, dict[str, bytes]] | None = None

    def put(self, path: str, content: bytes) -> None:
        super().put(path, content)
        if self.versions is not None:
            self.versions.setdefault(path, {})[f"v{self.modified}"] = content

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        key, query = url.path.strip("/").partition("/")[2], parse_qs(url.query)
        kept = (self.versions or {}).get(key, {})
        newest = list(kept)[-1] if kept else ""
        version = query.get("versionId", [newest])[0]
        if self.forbidden:
            send(request, 403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
        elif "list-type" in query:
            send(request, 200, self._listing(query.get("prefix", [""])[0]).encode())
        elif version in kept and (key in self.files or version != newest or "versionId" in query):
            self.send_file(request, key, kept[version], {"x-amz-version-id": version})
        elif key in self.files and not version:
            self.send_file(request, key, self.files[key])
        else:
            send(request, 404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _listing(self, prefix: str) -> str:
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(data)}</Size><LastModified>2026-01-01T00:00:00Z</LastModified>"
            f"{f'<ETag>{etag(data)}</ETag>' if 'ETag' in self.headers else ''}</Contents>"
            for key, data in self.files.items()
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"


def etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def send(
    request: http.server.BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(body)


@contextlib.contextmanager
def serving(storage: Storage) -> Iterator[Storage]:
    """`storage` behind a port of this machine, its address in `url`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            storage.answer(self)

        do_HEAD = do_GET

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    storage.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield storage
    finally:
        server.shutdown()
        server.server_close()


def git(repository: Path, *words: str) -> str:
    """Runs git in a repository as somebody; gives what it says."""
    somebody = {
        f"GIT_{role}_{key}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")
    }
    environment = {**os.environ, **somebody}
    done = subprocess.run(["git", *words], cwd=repository, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()
