"""Our signatures are botocore's, byte by byte."""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import urlsplit

import botocore.auth
import botocore.session
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from gateway.storage.sigv4 import Keys, Place, Signer, place_of, signs_alike

NOW = 1_790_000_000
KEYS = ["slipway/r1/objects/abc", "a b+c~d/é€/%2F&?=#", "//double//../dots/./", "~_-.!*'();:@$,[]"]
TOKENS = [None, "FwoGZXIvYXdzEBYaD/+=session&token=="]


@pytest.fixture(autouse=True)
def frozen_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = dt.datetime.fromtimestamp(NOW, dt.UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: now)


def _client(style: str, token: str | None, endpoint: str | None) -> Any:
    return botocore.session.Session().create_client(
        "s3",
        region_name="eu-central-1",
        endpoint_url=endpoint,
        aws_access_key_id="AKIA/odd+id",
        aws_secret_access_key="secret/+",
        aws_session_token=token,
        config=Config(signature_version="s3v4", s3={"addressing_style": style}),
    )


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("style", "endpoint"),
    [
        ("path", "http://127.0.0.1:9000"),
        ("path", "http://storage.example"),
        ("path", "https://storage.example:8443/below"),
        ("virtual", None),
    ],
)
def test_addresses(style: str, endpoint: str | None, key: str, token: str | None) -> None:
    client = _client(style, token, endpoint)
    signer = Signer(Keys("AKIA/odd+id", "secret/+", token))

    def presigned(key: str, seconds: int) -> str:
        return str(
            client.generate_presigned_url("get_object", Params={"Bucket": "a-bucket", "Key": key}, ExpiresIn=seconds)
        )

    place = place_of(presigned("sample", 600), "sample")
    assert place is not None
    for seconds in (600, 61):
        assert signer.address(place, key, NOW, seconds) == presigned(key, seconds)
    assert signs_alike(signer, place, presigned(key, 600), key)
    assert not signs_alike(Signer(Keys("AKIA/odd+id", "other", token)), place, presigned(key, 600), key)
    client.close()


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("host", ["127.0.0.1:9000", "storage.example"])
def test_headers(host: str, key: str, token: str | None) -> None:
    place = Place("http", host, "/a-bucket/", "eu-central-1")
    path = place.path_of(key)
    request = AWSRequest("GET", f"http://{host}{path}", headers={"Range": "bytes=5-99"})
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    botocore.auth.S3SigV4Auth(Credentials("AKIA", "secret", token), "s3", "eu-central-1").add_auth(request)

    ours = Signer(Keys("AKIA", "secret", token)).headers(place, path, "bytes=5-99", NOW)

    theirs = {name.lower(): value for name, value in request.headers.items()} | {"host": host}
    assert ours == theirs


def test_keys_change_with_the_day() -> None:
    signer, place = Signer(Keys("AKIA", "secret")), Place("http", "h", "/b/", "r")
    for now in (NOW, NOW + 86_400, NOW):
        assert signer.address(place, "k", now, 60) == Signer(Keys("AKIA", "secret")).address(place, "k", now, 60)


@pytest.mark.parametrize("sample", ["", "http://h/b/key?AWSAccessKeyId=x&Signature=y&Expires=1", "http://h/other"])
def test_what_is_no_address_of_this_kind(sample: str) -> None:
    assert place_of(sample, "key") is None


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(Keys("AKIA", "secret", "secret-token"))
    assert urlsplit(Signer(Keys("A", "secret")).address(Place("http", "h", "/", "r"), "k", NOW, 1)).netloc == "h"
