"""An S3-compatible store for tests: moto behind a real HTTP server of this process, with a book of all requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

KEY, SECRET = "AKIATESTTESTTEST", "never-to-be-seen-in-any-message"


@dataclass
class Store:
    """A running store: its address, its client, the requests it got, and what to answer instead."""

    address: str
    client: Any
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    instead: Callable[[str, str], int | None] = lambda _method, _path: None

    def put(self, bucket: str, folder: Path, prefix: str = "") -> None:
        """Store all files of a folder."""
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.client.upload_file(str(path), bucket, prefix + path.relative_to(folder).as_posix())
        self.requests.clear()

    def asked(self, method: str | None = None) -> list[tuple[str, str, str]]:
        """The requests, of one method if given."""
        return [r for r in self.requests if method in (None, r[0])]


@contextmanager
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Start a store and name it in the environment."""
    moto = DomainDispatcherApplication(create_backend_app)
    made = Store("", None)

    def counted(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
        made.requests.append((method, path + query, environ.get("HTTP_RANGE", "")))
        if status := made.instead(method, path):
            start(f"{status} instead", [("Content-Length", "0")])
            return [b""]
        return moto(environ, start)

    server = make_server("127.0.0.1", 0, counted, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made.address = f"127.0.0.1:{server.server_port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_S3_ENDPOINT": made.address,
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }.items():
        monkeypatch.setenv(name, value)
    made.client = boto3.client("s3", endpoint_url=f"http://{made.address}")
    made.client.create_bucket(Bucket="scenes")
    made.requests.clear()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
