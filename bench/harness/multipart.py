"""What the S3 server takes: a bare multipart client that hashes nothing, four parts at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench.harness.content import MIB, Content
from bench.harness.crowd import observe
from bench.harness.http import Connection
from bench.harness.programs import BUCKET_OF_PEER

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.seaweed import SeaweedFS

_LANES = 4
_PART = 8 * MIB

_Etags = dict[int, str]


def push_bare(server: SeaweedFS, size: int) -> float:
    """Send an object by multipart upload, check what is stored, delete it, and return the rate in MiB/s."""
    content = Content(size)
    where = {"Bucket": BUCKET_OF_PEER, "Key": f"bare/{content.digest}"}
    client = server.client()
    try:
        upload = where | {"UploadId": client.create_multipart_upload(**where)["UploadId"]}
        targets = _presigned(client, upload, range(1, -(-size // _PART) + 1))
        observed = observe(None, _LANES, lambda lane: _lane(server.endpoint_url, content, targets, lane))
        etags = {number: etag for lane in observed.results for number, etag in lane.items()}
        parts = [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        _check(client, where, content)
        client.delete_object(**where)
    finally:
        client.close()
    return size / MIB / observed.seconds


def _presigned(client: Any, upload: dict[str, str], numbers: range) -> dict[int, str]:
    """Return path and query of each part's address; signed addresses leave the payload unsigned."""
    urls = {
        number: urlsplit(client.generate_presigned_url("upload_part", Params=upload | {"PartNumber": number}))
        for number in numbers
    }
    return {number: f"{url.path}?{url.query}" for number, url in urls.items()}


def _lane(endpoint_url: str, content: Content, targets: dict[int, str], lane: int) -> Callable[[], _Etags]:
    connection = Connection(endpoint_url)

    def work() -> _Etags:
        etags = {}
        for number, target in targets.items():
            if number % _LANES == lane:
                start = (number - 1) * _PART
                stop = min(start + _PART, content.size)
                headers = {"Content-Length": str(stop - start)}
                head = connection.request("PUT", target, headers, content.blocks(start, stop))
                if head.status != 200:
                    raise ValueError(f"part {number} was answered with {head.status}: {connection.body()!r}")
                connection.body()
                etags[number] = head.headers["etag"]
        return etags

    return work


def _check(client: Any, where: dict[str, str], content: Content) -> None:
    with client.get_object(**where)["Body"] as stored:

        def receive_into(view: memoryview) -> None:
            view[:] = stored.read(len(view))

        content.check(receive_into)
