"""Objects of an S3-compatible store: looked at, read by ranges, listed; pure Python, keys from the environment only.

An object is named by the path ``s3:/bucket/key`` (``s3://`` as a path), so that names, parents and suffixes work as for
files. Which objects may be touched at all is `intake`'s business. Neither a key nor a signature ever enters a message.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from .errors import ConfigError, IntakeError, UnavailableError

SCHEME = "s3:"
TRIES = 4
FIRST_WAIT_S = 0.25
TIMEOUT_S = 20.0
PAGE = 1000
_BUSY = frozenset({429, 500, 502, 503, 504})
_EMPTY = hashlib.sha256(b"").hexdigest()
_HEAD_BYTES = 64 * 2**10


class ObjectState(NamedTuple):
    """What a store says of an object without reading it."""

    size_bytes: int
    etag: str
    version: str

    @property
    def identity(self) -> str:
        """64 digits that stand for the content as far as the store vouches for it; they are no SHA-256 of the bytes."""
        return hashlib.sha256(f"object {self.etag} {self.size_bytes} {self.version}".encode()).hexdigest()


class _Store(NamedTuple):
    """Where the store is and with what one may ask it."""

    scheme: str
    host: str
    region: str
    by_path: bool
    key: str
    secret: str
    token: str

    def place(self, bucket: str, key: str) -> tuple[str, str]:
        """Host and encoded path of an object."""
        encoded = quote(key, safe="/-_.~")
        return (self.host, f"/{bucket}/{encoded}") if self.by_path else (f"{bucket}.{self.host}", f"/{encoded}")


def is_object(path: Path) -> bool:
    """Tell whether a path names an object of a store."""
    return path.parts[:1] == (SCHEME,)


def object_path(text: str) -> Path:
    """Return the path of a text ``s3://bucket/key``.

    Raises
    ------
    IntakeError
        ``OBJECT_NAME`` where the text is anything else, or holds ``..``, a query or a control character.
    """
    path = Path(text)
    plain = text.startswith("s3://") and not set(text) & set("?#%\\") and text.isprintable()
    if not plain or ".." in path.parts or len(path.parts) < 2 or "//" in text[5:]:
        raise IntakeError(
            "OBJECT_NAME", repr(text)[:80], "it names no object", "give s3://bucket/key in plain characters"
        )
    return path


def url_of(path: Path) -> str:
    """Return an object's name as it is written: ``s3://bucket/key``."""
    return f"s3://{'/'.join(path.parts[1:])}"


def object_state(path: Path) -> ObjectState:
    """Ask for size, ETag and version of an object.

    Raises
    ------
    IntakeError
        ``FILE_MISSING``, ``OBJECT_DENIED``, ``OBJECT_REFUSED``.
    UnavailableError
        ``STORE_UNAVAILABLE`` after four tries.
    ConfigError
        ``STORE_SETTINGS`` where the environment names no keys.
    """
    _, headers = _asked("HEAD", path)
    size, etag = headers.get("content-length", ""), headers.get("etag", "").strip('"')
    if not size.isdecimal() or not etag:
        raise IntakeError("OBJECT_REFUSED", url_of(path), "the store tells no size or no ETag", "use another store")
    return ObjectState(int(size), etag, headers.get("x-amz-version-id", "").replace("null", ""))


def read_object(path: Path, state: ObjectState, first: int = 0, count: int | None = None) -> bytes:
    """Read some bytes of an object, as long as it is still the one that was looked at.

    Parameters
    ----------
    path
        The object.
    state
        From `object_state`.
    first, count
        Offset and number of bytes; all that follow without `count`.

    Raises
    ------
    IntakeError
        ``FILE_CHANGING`` where it was replaced meanwhile; else as `object_state`.
    """
    last = state.size_bytes if count is None else min(first + count, state.size_bytes)
    if last <= first:
        return b""
    body, _ = _asked("GET", path, {"range": f"bytes={first}-{last - 1}", "if-match": f'"{state.etag}"'})
    return body[: last - first]


class ObjectStream(io.RawIOBase):
    """An object as a stream that can be sought; its head is fetched once, the rest by what is asked for."""

    def __init__(self, path: Path, state: ObjectState) -> None:
        self._path, self._state, self._place = path, state, 0
        self._head = read_object(path, state, 0, _HEAD_BYTES)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to an offset from the beginning."""
        if whence:
            raise io.UnsupportedOperation("from the beginning only")
        self._place = offset
        return offset

    def read(self, count: int = -1) -> bytes:
        """Read `count` bytes, fewer at the end."""
        last = self._state.size_bytes if count < 0 else self._place + count
        if last <= len(self._head):
            data = self._head[self._place : last]
        else:
            data = read_object(self._path, self._state, self._place, last - self._place)
        self._place += len(data)
        return data


def objects_under(folder: Path) -> Iterator[Path]:
    """Yield the objects under a prefix, in the order of their names.

    Raises
    ------
    IntakeError, UnavailableError, ConfigError
        As `object_state`.
    """
    bucket, prefix = folder.parts[1], "/".join(folder.parts[2:])
    query = {"list-type": "2", "max-keys": str(PAGE), "prefix": f"{prefix}/" if prefix else ""}
    while True:
        body, _ = _asked("GET", Path(SCHEME, bucket), query=query)
        try:
            root = ElementTree.fromstring(body)
        except ElementTree.ParseError as error:
            raise IntakeError(
                "OBJECT_REFUSED", url_of(folder), f"its list is no XML ({error})", "use another store"
            ) from error
        texts = [(e.tag.rpartition("}")[2], e.text or "") for e in root.iter()]
        yield from (Path(SCHEME, bucket, key) for tag, key in texts if tag == "Key" and not key.endswith("/"))
        following = next((text for tag, text in texts if tag == "NextContinuationToken"), "")
        if not following:
            return
        query = query | {"continuation-token": following}


def gdal_options(path: Path) -> dict[str, Any]:
    """Return the GDAL settings under which this one object may be opened, and nothing else.

    Keys come from the environment by GDAL's own way: neither files in the home folder nor the address of a cloud's
    machine data are asked for any.
    """
    _store()
    return {
        "CPL_VSIL_CURL_ALLOWED_FILENAME": f"/vsis3/{'/'.join(path.parts[1:])}",
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": path.name,
        "CPL_VSIL_CURL_USE_HEAD": "YES",
        # What was read of an object is forgotten with its handle: it may be replaced before the next.
        "CPL_VSIL_CURL_NON_CACHED": f"/vsis3/{'/'.join(path.parts[1:])}",
        "CPL_AWS_AUTODETECT_EC2": "NO",
        "CPL_AWS_CREDENTIALS_FILE": os.devnull,
        "AWS_CONFIG_FILE": os.devnull,
        "GDAL_HTTP_MAX_RETRY": TRIES - 1,
        "GDAL_HTTP_RETRY_DELAY": FIRST_WAIT_S,
        "GDAL_HTTP_CONNECTTIMEOUT": TIMEOUT_S,
        "GDAL_HTTP_LOW_SPEED_TIME": TIMEOUT_S,
        "GDAL_HTTP_LOW_SPEED_LIMIT": 1,
        "GDAL_HTTP_FOLLOWLOCATION": "NO",
    }


def gdal_name(path: Path) -> Path:
    """Return the name by which GDAL opens an object."""
    return Path("/vsis3", *path.parts[1:])


def _store(environment: Mapping[str, str] = os.environ) -> _Store:
    endpoint = environment.get("AWS_S3_ENDPOINT") or environment.get("AWS_ENDPOINT_URL") or "s3.amazonaws.com"
    scheme = "http" if environment.get("AWS_HTTPS", "YES").upper() in ("NO", "FALSE", "0") else "https"
    if "://" in endpoint:
        scheme, _, endpoint = endpoint.partition("://")
    host = endpoint.rstrip("/")
    if "@" in host or "/" in host or scheme not in ("http", "https"):
        raise ConfigError("STORE_SETTINGS", "AWS_S3_ENDPOINT", "it is no host name with port", "give host:port")
    free = environment.get("AWS_NO_SIGN_REQUEST", "NO").upper() in ("YES", "TRUE", "1")
    key, secret = (
        ("", "") if free else (environment.get(f"AWS_{n}", "") for n in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    )
    if not free and not (key and secret):
        raise ConfigError(
            "STORE_SETTINGS",
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
            "the environment does not hold both",
            "set them, or AWS_NO_SIGN_REQUEST=YES for a public store",
        )
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
    by_path = environment.get("AWS_VIRTUAL_HOSTING", "TRUE").upper() in ("NO", "FALSE", "0")
    token = "" if free else environment.get("AWS_SESSION_TOKEN", "")
    return _Store(scheme, host, region, by_path, key, secret, token)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A store that sends elsewhere is asked nothing: the signature is for this host alone."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


def _asked(
    method: str, path: Path, headers: Mapping[str, str] | None = None, *, query: Mapping[str, str] | None = None
) -> tuple[bytes, dict[str, str]]:
    """Send one request, a bounded number of times; return body and headers."""
    store = _store()
    host, place = store.place(path.parts[1], "/".join(path.parts[2:]))
    text = urlencode(sorted((query or {}).items()), quote_via=quote, safe="-_.~")
    url = f"{store.scheme}://{host}{place}" + (f"?{text}" if text else "")
    opener = urllib.request.build_opener(_NoRedirect)
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
        signed = _signed(store, method, host, place, text) | dict(headers or {})
        request = urllib.request.Request(url, method=method, headers=signed)
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                return answer.read(), {name.lower(): value for name, value in answer.headers.items()}
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in _BUSY:
                raise _refused(path, error.code) from None
            reason = f"HTTP {error.code}"
        except OSError as error:
            # Also what breaks off while the body is read.
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    remedy = "check the endpoint and the network, then run again"
    raise UnavailableError("STORE_UNAVAILABLE", url_of(path), f"{reason}, {TRIES} times", remedy)


def _refused(path: Path, status: int) -> IntakeError:
    where = url_of(path)
    if status == 404:
        return IntakeError("FILE_MISSING", where, "no such object or bucket", "check the name")
    if status in (401, 403):
        remedy = "check the keys in the environment and the rights on the bucket"
        return IntakeError("OBJECT_DENIED", where, f"the store denies access (HTTP {status})", remedy)
    if status == 412:
        return IntakeError("FILE_CHANGING", where, "it was replaced while it was read", "run again")
    return IntakeError("OBJECT_REFUSED", where, f"HTTP {status}", "check region, endpoint and name")


def _signed(store: _Store, method: str, host: str, place: str, query: str) -> dict[str, str]:
    """Headers of a request, signed as AWS describes under "Signature Version 4"."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": host, "x-amz-content-sha256": _EMPTY, "x-amz-date": now}
    if not store.key:
        return headers
    if store.token:
        headers["x-amz-security-token"] = store.token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = "\n".join((method, place, query, lines, names, _EMPTY))
    scope = f"{now[:8]}/{store.region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{store.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"AWS4-HMAC-SHA256 Credential={store.key}/{scope}"
    return headers | {"authorization": f"{credential}, SignedHeaders={names}, Signature={signature}"}
