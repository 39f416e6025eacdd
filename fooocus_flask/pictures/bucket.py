"""A bucket of an S3-compatible server. Every call waits for the network, in a thread of the bucket's own.

No thread shares a connection with another: each has its client. Secrets come from the environment or from where the
AWS tools keep them, never from a setting.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from gevent.monkey import get_original
from gevent.threadpool import ThreadPool

from fooocus_flask.errors import StartError
from fooocus_flask.pictures.blocking import Turns, in_pool
from fooocus_flask.pictures.folder_storage import StorageFault

Outcome = TypeVar("Outcome")
THREADS = 4
"""Calls at once; more would keep the hub waiting for its turn at the interpreter."""
CONNECT_SECONDS, READ_SECONDS, TRIES = 3, 30, 3
LONGEST_LINK = 900
"""Seconds for which a URL works at most."""
MODIFIED = "mtime"
"""The member of an object's metadata that has the file's time of change, as rclone has it."""
ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
PASSING = frozenset({"SlowDown", "Throttling", "RequestTimeout", "InternalError", "ServiceUnavailable"})
ALIASES = {"endpoint": "BUCKET_ENDPOINT_URL", "key": "BUCKET_ACCESS_KEY_ID", "secret": "BUCKET_SECRET_ACCESS_KEY"}
"""The variables by which RunPod's workers know a bucket."""


@dataclass(frozen=True)
class BucketAddress:
    """Where a bucket is, as the settings say; `public` is its endpoint as clients see it."""

    name: str
    prefix: str
    endpoint: str | None
    public: str | None
    region: str
    addressing: str
    credentials: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> BucketAddress:
        """The one of these settings.

        Raises:
            StartError: STORAGE_URL names no bucket.
        """
        parts = urlsplit(str(config["STORAGE_URL"]))
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
            raise StartError(f"STORAGE_URL is {config['STORAGE_URL']!r}; give s3://BUCKET or s3://BUCKET/PREFIX")
        name, prefix = parts.netloc, parts.path.strip("/")
        endpoint = config["S3_ENDPOINT_URL"] or without_bucket(os.environ.get(ALIASES["endpoint"], ""), name)
        for setting, url in (("S3_ENDPOINT_URL", endpoint), ("S3_PUBLIC_URL", config["S3_PUBLIC_URL"])):
            if url and urlsplit(url).scheme not in ("http", "https"):
                raise StartError(f"{setting} is {url!r}; give a URL, such as https://s3.example.org, or nothing")
        return cls(
            name=name,
            prefix=f"{prefix}/" if prefix else "",
            endpoint=endpoint or None,
            public=config["S3_PUBLIC_URL"] or None,
            region=str(config["S3_REGION"]),
            addressing=config["S3_ADDRESSING"],
            credentials=credentials(os.environ),
        )


def credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """Those that RunPod's names hold; none where the usual ones do, or else the AWS tools' own places count."""
    key, secret = environ.get(ALIASES["key"]), environ.get(ALIASES["secret"])
    if not key or not secret or environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    return {"aws_access_key_id": key, "aws_secret_access_key": secret}


def without_bucket(url: str, bucket: str) -> str:
    """An endpoint's URL; where it names the bucket, in its host or path, the same without."""
    parts = urlsplit(url)
    host = parts.netloc.removeprefix(f"{bucket}.")
    path = parts.path.strip("/")
    kept = "" if path in ("", bucket) else f"/{path}"
    return f"{parts.scheme}://{host}{kept}" if url else ""


@dataclass(frozen=True)
class StoredObject:
    """What a bucket tells of an object; moments are Unix time."""

    path: str
    size: int
    uploaded: float
    modified: float


class Bucket:
    """The bucket at an address; paths are names below its prefix."""

    def __init__(self, address: BucketAddress) -> None:
        self.address = address
        self._session = boto3.session.Session(**address.credentials)
        self._pool, self.turns = ThreadPool(THREADS), Turns(THREADS)
        self._making = get_original("_thread", "allocate_lock")()
        """A thread's own lock: sessions may not be shared while clients are made."""
        self._own = get_original("_thread", "_local")()

    def probe(self) -> None:
        """Write an object and delete it.

        Raises:
            StorageFault: that cannot be done.
        """
        path = f".probe-{uuid4().hex}"
        self.put(path, b"", "text/plain", 0.0)
        self.delete(path)

    def put(self, path: str, data: bytes, media_type: str, modified: float) -> None:
        """Write an object, whole or not at all."""
        told = {"ContentType": media_type, "Metadata": {MODIFIED: f"{modified:.9f}"}}
        self._call(lambda client: client.put_object(**self._object(path), Body=data, **told))

    def get(self, path: str) -> tuple[bytes, float] | None:
        """An object's bytes and its file's time of change; None if there is none."""

        def read(client: Any) -> tuple[bytes, float]:
            answer = client.get_object(**self._object(path))
            return answer["Body"].read(), modified(answer)

        return self._found(read)

    def head(self, path: str) -> StoredObject | None:
        """What is told of an object; None if there is none."""

        def ask(client: Any) -> StoredObject:
            answer = client.head_object(**self._object(path))
            return StoredObject(path, answer["ContentLength"], answer["LastModified"].timestamp(), modified(answer))

        return self._found(ask)

    def delete(self, path: str) -> None:
        """Delete an object, if it is there."""
        self._call(lambda client: client.delete_object(**self._object(path)))

    def paths(self, below: str) -> Iterator[str]:
        """The paths of all objects below a folder."""
        prefix = self.address.prefix
        more: dict[str, str] = {}
        while True:
            asked = {"Bucket": self.address.name, "Prefix": f"{prefix}{below}/", **more}
            page = self._call(partial(listed, asked))
            for found in page.get("Contents", ()):
                yield found["Key"].removeprefix(prefix)
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def link(self, path: str, media_type: str, seconds: int) -> str:
        """A URL by which anybody can load the object for so long, from where clients reach the bucket."""
        shown = f"inline; filename*=UTF-8''{quote(path.rpartition('/')[2], safe='')}"
        asked = self._object(path) | {"ResponseContentType": media_type, "ResponseContentDisposition": shown}
        made: str = self._call(
            lambda client: client.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds), public=True
        )
        return made

    def _object(self, path: str) -> dict[str, str]:
        return {"Bucket": self.address.name, "Key": self.address.prefix + path}

    def _found(self, work: Callable[[Any], Outcome]) -> Outcome | None:
        try:
            return self._call(work)
        except StorageFault as fault:
            error = fault.__cause__
            if isinstance(error, ClientError) and error.response["Error"].get("Code") in ABSENT:
                return None
            raise

    def _call(self, work: Callable[[Any], Outcome], *, public: bool = False) -> Outcome:
        """What `work` gives, done with a client in a thread.

        Raises:
            StorageFault: the server refuses it, or does not answer.
        """
        try:
            return in_pool(self._pool, self.turns, lambda: work(self._client(public)))
        except ClientError as error:
            code = error.response["Error"].get("Code", "")
            status = error.response["ResponseMetadata"].get("HTTPStatusCode", 500)
            refused = status < 500 and status != 429 and code not in PASSING
            raise StorageFault(str(error), refused=refused) from error
        except BotoCoreError as error:
            refused = isinstance(error, (NoCredentialsError, PartialCredentialsError))
            raise StorageFault(str(error), refused=refused) from error

    def _client(self, public: bool) -> Any:
        """This thread's client, of the endpoint as clients see it if asked so."""
        name = "public" if public else "private"
        if not hasattr(self._own, name):
            with self._making:
                setattr(self._own, name, self._made(public))
        return getattr(self._own, name)

    def _made(self, public: bool) -> Any:
        address = self.address
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": address.addressing},
            # Its own default adds checksums as trailers, which many servers refuse.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "max_attempts": TRIES},
        )
        endpoint = (address.public if public else None) or address.endpoint
        return self._session.client("s3", region_name=address.region, endpoint_url=endpoint, config=config)

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.kill()


def listed(asked: Mapping[str, str], client: Any) -> Any:
    """A page of a bucket's objects."""
    return client.list_objects_v2(**asked)


def modified(answer: Mapping[str, Any]) -> float:
    """The time of change of an object's file, as its metadata tell it; else when it was uploaded."""
    try:
        return float(answer.get("Metadata", {})[MODIFIED])
    except (KeyError, ValueError):
        return float(answer["LastModified"].timestamp())
