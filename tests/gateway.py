"""A real S3 server: JuiceFS's gateway, which is MinIO's front end, on a folder of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
from functools import cached_property
from pathlib import Path

from tests.patience import exit_status, patiently
from tests.serving import ROOT

KEY, SECRET, BUCKET = "testers", "testers-secret", "pictures"
KEYS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
INSTALLED = ROOT / "build" / "clients" / "bin" / "juicefs"


def binary() -> str | None:
    """The program, as `make clients` installs it, or as it lies on the path."""
    return str(INSTALLED) if INSTALLED.exists() else shutil.which("juicefs")


class Gateway:
    """A running gateway with one bucket; `client` speaks to it as boto3 does by itself."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder, self._program = folder, program
        self._meta = f"sqlite3://{folder / 'meta.db'}"
        self._run("format", "--storage", "file", "--bucket", f"{folder / 'blobs'}/", self._meta, "pictures")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://localhost:{self.port}"  # another host than the servers of the tests have in their logs

    def settings(self, instance: Path) -> dict[str, str]:
        """The settings by which an application keeps its pictures there, each instance folder's apart from others'."""
        prefix = hashlib.sha256(str(instance).encode()).hexdigest()[:16]
        place = {"STORAGE_URL": f"s3://{BUCKET}/{prefix}", "S3_ENDPOINT_URL": self.url}
        return {**place, "S3_ADDRESSING": "path", "STORAGE_SERVE": "proxy"}

    def environment(self, instance: Path) -> dict[str, str]:
        """The same for a process, with the keys that it needs."""
        return KEYS | {f"FOOOCUS_{name}": value for name, value in self.settings(instance).items()}

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._program, *arguments], cwd=self.folder, check=True, capture_output=True)

    def start(self) -> None:
        """Start it, again if it was stopped, and wait until it has the bucket."""
        options = ("--multi-buckets", "--keep-etag", "--object-meta", "--no-usage-report", "--no-banner", "--no-bgjob")
        places = ("--cache-dir", str(self.folder / "cache"), "--log", str(self.folder / "gateway.log"))
        roots = {"MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET, "HOME": str(self.folder)}
        command = [self._program, "gateway", *options, *places, self._meta, f"127.0.0.1:{self.port}"]
        with (self.folder / "printed").open("ab") as printed:
            self.process = subprocess.Popen(command, env=os.environ | roots, stdout=printed, stderr=printed)
        patiently(self._answers, (self.folder / "printed").read_text(), self.process.pid)
        names = [bucket["Name"] for bucket in self.client().list_buckets()["Buckets"]]
        if BUCKET not in names:
            self.client().create_bucket(Bucket=BUCKET)

    def _answers(self, seconds: float) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=seconds).close()
        except OSError:
            self._wait(seconds)
            return False
        return True

    def _wait(self, seconds: float) -> None:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def client(self, **config):
        """A client of boto3 with its own defaults but for these."""
        from botocore.config import Config

        options = {"s3": {"addressing_style": "path"}, "signature_version": "s3v4", **config}
        return self._session.client("s3", endpoint_url=self.url, config=Config(**options))

    @cached_property
    def _session(self):
        """What has read boto3's description of S3, which takes longer than a test's requests."""
        import boto3

        return boto3.session.Session(aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1")

    def names(self) -> list[str]:
        """The names of all objects."""
        return [found["Key"] for found in self.client().list_objects_v2(Bucket=BUCKET).get("Contents", ())]

    def stop(self) -> None:
        """End it at once; what it has stays."""
        self.process.send_signal(signal.SIGKILL)
        exit_status(self.process)
