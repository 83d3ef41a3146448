"""aiobotocore's client for S3: how it is set up, and the line at which its errors become ours."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import add_expect_header

from gateway.errors import ConfigurationError, StorageUnavailable
from gateway.storage.answers import domain_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.storage.s3 import S3Settings
    from gateway.storage.sockets import Sockets

_ATTEMPTS = 5


@asynccontextmanager
async def opened_client(
    session: Any, settings: S3Settings, endpoint_url: str | None, sockets: Sockets
) -> AsyncIterator[Any]:
    """Open a client for one address of the service, the provider's own without one; raises ConfigurationError."""
    client = session.create_client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=settings.region,
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        config=_config(settings, sockets, addressing_style="path" if endpoint_url else "virtual"),
    )
    try:
        opened = await client.__aenter__()
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"the S3 storage cannot be used as it is configured: {error}") from error
    try:
        # With Expect, aiohttp waits without any time limit for a server that never says 100.
        opened.meta.events.unregister("before-call.s3", add_expect_header)
        yield opened
    finally:
        await client.__aexit__(None, None, None)


def _config(settings: S3Settings, sockets: Sockets, *, addressing_style: str) -> AioConfig:
    """Address buckets in the path of services of one's own, in the host name for AWS.

    What costs time or breaks services other than AWS is off (measured: checksums take 9 ms per part).
    """
    return AioConfig(
        signature_version="s3v4",
        s3={"addressing_style": addressing_style, "payload_signing_enabled": False},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=settings.connections,
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        connector_args={"socket_factory": sockets.make},
    )


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn the client's errors into ours."""
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        message = f"{action} failed: {code}, {error.response.get('Error', {}).get('Message', '')}"
        raise domain_error(code, message) from error
    except TimeoutError as error:
        raise StorageUnavailable(f"{action} took too long") from error
    except (BotoCoreError, OSError) as error:
        raise StorageUnavailable(f"{action} failed: {error}") from error


def error_code(error: ClientError) -> str:
    """Return the code of S3, or the status where there is none."""
    return str(error.response.get("Error", {}).get("Code", ""))
