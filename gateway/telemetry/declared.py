"""The metrics that there are. To add one, add it to ``METRICS`` and to docs/metrics.md.

Labels are few and known beforehand: never what clients choose, such as repositories, tags and digests.
"""

from __future__ import annotations

from gateway.telemetry.kinds import Counter, Gauge, Histogram, Reading

ROUTES = (
    *("ping", "token", "catalog", "tags", "manifest", "uploads", "upload", "blob", "referrers"),
    *("api", "console", "none"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other")
STATUSES = (
    *("200", "201", "202", "204", "206", "303", "304", "307"),
    *("400", "401", "403", "404", "405", "413", "414", "416", "417", "429", "431", "499", "500", "503", "507", "other"),
)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

REQUESTS = Counter(
    "slipway_requests",
    "Requests that were answered.",
    {"route": ROUTES, "method": METHODS, "status": STATUSES},
)
REQUEST_SECONDS = Histogram(
    "slipway_request_duration_seconds",
    "Time from a request's head to the end of its answer, with both bodies.",
    {"route": ROUTES, "method": METHODS},
    bounds=_SECONDS,
)
FIRST_BYTE_SECONDS = Histogram(
    "slipway_blob_first_byte_seconds",
    "Time from a request's head until the storage has opened the blob and the answer begins, of blobs not redirected.",
    bounds=_SECONDS[:-3],
)
RECEIVED_BYTES = Counter("slipway_received_bytes", "Bytes of the bodies of requests.", {"route": ROUTES})
SENT_BYTES = Counter("slipway_sent_bytes", "Bytes of answers that were sent by Slipway itself.", {"route": ROUTES})

S3_OPERATIONS = (
    *("get_object", "head_object", "put_object", "delete_object", "delete_objects"),
    *("create_multipart_upload", "upload_part", "complete_multipart_upload", "abort_multipart_upload"),
    *("list_objects_v2", "list_objects", "list_multipart_uploads", "list_buckets", "head_bucket", "other"),
)
S3_CALLS = Counter(
    "slipway_s3_calls",
    "Calls to the storage service, with their repetitions, by what came of them.",
    {"operation": S3_OPERATIONS, "outcome": ("ok", "missing", "refused", "unavailable", "cancelled")},
)
S3_SECONDS = Histogram(
    "slipway_s3_call_duration_seconds",
    "Time that calls to the storage service took; of get_object until its answer begins.",
    {"operation": S3_OPERATIONS},
    bounds=_SECONDS,
)

_WAYS = (
    # The first words of the board: those of ``transport.tally.Way``, in its order.
    Counter(
        "slipway_bodies_received",
        "Large request bodies by the way they were received: directly into part buffers, or by aiohttp's parser.",
        {"way": ("direct", "parser")},
    ),
    Counter(
        "slipway_contents_sent",
        "Contents of blobs by the way they were sent: sendfile, splice, or copies through memory.",
        {"way": ("sendfile", "splice", "copy")},
    ),
    Counter(
        "slipway_self_tests_failed",
        "Starts of a worker at which a fast way did not work, so that another one is taken.",
        {"way": ("receiving", "sendfile", "splice")},
    ),
)
WORDS_OF_TRANSPORT = sum(metric.size for metric in _WAYS)

METRICS = (
    *_WAYS,
    REQUESTS,
    REQUEST_SECONDS,
    FIRST_BYTE_SECONDS,
    RECEIVED_BYTES,
    SENT_BYTES,
    Gauge("slipway_requests_in_flight", "Requests that are being answered."),
    Gauge("slipway_uploads_in_flight", "Upload sessions that a request is writing to."),
    Gauge("slipway_upload_buffers_used_bytes", "Memory that uploads hold."),
    Gauge("slipway_upload_buffers_limit_bytes", "Memory that uploads may hold."),
    Gauge("slipway_upload_buffers_waiting", "Uploads that wait for memory."),
    S3_CALLS,
    S3_SECONDS,
    Gauge("slipway_database_connections", "Connections to the database.", {"state": ("used", "idle")}),
    Gauge("slipway_database_connections_limit", "Connections to the database that may be opened."),
    Gauge("slipway_database_waiting", "Tasks that wait for a connection to the database."),
    Counter(
        "slipway_cache_lookups",
        "Lookups in memory by whether what was wanted was there.",
        {"cache": ("manifests", "registries", "keys", "tokens"), "outcome": ("hit", "miss")},
    ),
    Gauge("slipway_pulls_unwritten", "Different counters of pulls that wait in journals to be written."),
    Gauge(
        "slipway_pulls_unwritten_age_seconds",
        "How long the oldest of these waits at most.",
        over_workers=max,
    ),
    Gauge("slipway_workers", "Worker processes that live."),
    Counter("slipway_worker_starts", "Worker processes that were started."),
    Counter(
        "slipway_collected",
        "What the sweeper (uploads) and the collector have taken out of the database.",
        {"kind": ("upload", "untagged", "manifest", "tag", "image", "repository_blob", "blob")},
    ),
    Counter("slipway_removed_objects", "Objects that were deleted in the storage."),
    Counter("slipway_freed_bytes", "Bytes of the blobs among them."),
    Counter(
        "slipway_cleaning_errors",
        "What could not be swept, collected or removed, and is tried again.",
        {"stage": ("sweep", "collect", "remove")},
    ),
    Reading(
        "slipway_collection_queue",
        "What is due to be collected (manifests, blobs of repositories) or deleted in the storage (objects).",
        {"kind": ("manifest", "repository_blob", "object")},
    ),
    Reading("slipway_collection_oldest_seconds", "For how long the oldest of what is to be collected has been due."),
    Reading("slipway_catalogue_unwritten", "Changes that wait to be written to the catalogues in the buckets."),
    Reading("slipway_catalogue_unwritten_age_seconds", "For how long the oldest of these has waited."),
    Gauge(
        "slipway_registries_ahead",
        "Registries whose bucket knows of changes that the database does not, as far as the gateway has looked.",
        over_workers=max,
    ),
)
