"""What settings of buckets do to a registry, as S3 services tell them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.storage.bucket_settings import (
    acl_findings,
    lifecycle_findings,
    object_lock_findings,
    policy_findings,
    restricts_addresses,
    versioning_findings,
)

EXPIRY = {"Expiration": {"Days": 30}}


def rule(**parts: Any) -> dict[str, Any]:
    return {"ID": "r", "Status": "Enabled", **parts}


@pytest.mark.parametrize(
    ("found", "severities"),
    [
        (rule(**EXPIRY), ["error"]),
        (rule(Expiration={"Date": "2030-01-01"}), ["error"]),
        (rule(Expiration={"ExpiredObjectDeleteMarker": True}), []),
        (rule(Filter={"Prefix": ""}, **EXPIRY), ["error"]),
        (rule(Filter={"Prefix": "sli"}, **EXPIRY), ["error"]),
        (rule(Prefix="slipway/abc/", **EXPIRY), ["error"]),
        (rule(Prefix="logs/", **EXPIRY), []),
        (rule(Filter={"And": {"Prefix": "logs/"}}, **EXPIRY), []),
        (rule(Filter={"And": {"Prefix": "slipway/", "ObjectSizeGreaterThan": 1}}, **EXPIRY), ["error"]),
        # Our objects have no tags.
        (rule(Filter={"Tag": {"Key": "a", "Value": "b"}}, **EXPIRY), []),
        (rule(Filter={"And": {"Prefix": "", "Tags": [{"Key": "a", "Value": "b"}]}}, **EXPIRY), []),
        ({**rule(**EXPIRY), "Status": "Disabled"}, []),
        (rule(Transitions=[{"Days": 1, "StorageClass": "GLACIER"}]), ["error"]),
        (rule(Transitions=[{"Days": 1, "StorageClass": "DEEP_ARCHIVE"}]), ["error"]),
        (rule(Transitions=[{"Days": 1, "StorageClass": "STANDARD_IA"}]), ["warning"]),
        (rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}), ["warning"]),
        (rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7}), []),
        (rule(NoncurrentVersionExpiration={"NoncurrentDays": 1}), []),
        (rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}, **EXPIRY), ["error", "warning"]),
    ],
)
def test_lifecycle_rules(found: dict[str, Any], severities: list[str]) -> None:
    """Those that delete or freeze our objects are errors; others are none of our business."""
    assert [each.severity for each in lifecycle_findings([found])] == severities


@pytest.mark.parametrize(
    ("answer", "count"),
    [({}, 0), ({"ObjectLockConfiguration": {}}, 0), ({"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}}, 1)],
)
def test_object_lock(answer: dict[str, Any], count: int) -> None:
    assert [each.severity for each in object_lock_findings(answer)] == ["error"] * count


def test_versioning() -> None:
    """It costs unless old versions are cleaned up."""
    enabled = {"Status": "Enabled"}
    assert [each.severity for each in versioning_findings(enabled, [])] == ["warning"]
    assert versioning_findings({"Status": "Suspended"}, []) == []
    assert versioning_findings({}, []) == []
    assert versioning_findings(enabled, [rule(NoncurrentVersionExpiration={"NoncurrentDays": 1})]) == []


def policy(**statement: Any) -> str:
    return json.dumps({"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", **statement}]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (policy(Condition={"NotIpAddress": {"aws:SourceIp": ["192.0.2.0/24"]}}), True),
        (policy(Condition={"StringNotEquals": {"AWS:sourceVpce": "vpce-1"}}), True),
        (policy(Condition={"Bool": {"aws:SecureTransport": "false"}}), False),
        (policy(Effect="Allow", Condition={"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}), False),
        (policy(), False),
        (json.dumps({"Statement": {"Effect": "Deny", "Condition": {"NotIpAddress": {"aws:SourceIp": "::/0"}}}}), True),
        ("{}", False),
    ],
)
def test_policies_by_address(text: str, *, expected: bool) -> None:
    """Only a denial keeps the owner of the keys out."""
    assert restricts_addresses(text) is expected
    assert (len(policy_findings(text)) == 1) is expected


@pytest.mark.parametrize(
    ("statement", "count"),
    [
        ({"Action": "s3:GetObject"}, 1),
        ({"Action": ["s3:PutObject", "s3:Get*"], "Principal": {"AWS": "*"}}, 1),
        ({"Action": "s3:GetObject", "Principal": {"AWS": "arn:aws:iam::1:root"}}, 0),
        ({"Action": "s3:GetObject", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}, 0),
        ({"Action": "s3:ListBucket"}, 0),
    ],
)
def test_policies_for_everybody(statement: dict[str, Any], count: int) -> None:
    """Private images would be anybody's."""
    assert len(policy_findings(policy(Effect="Allow", **statement))) == count


@pytest.mark.parametrize(
    ("permission", "severities"),
    [("READ", ["warning"]), ("WRITE", ["error"]), ("FULL_CONTROL", ["error"])],
)
def test_acls(permission: str, severities: list[str]) -> None:
    """What is granted to everybody."""
    everybody = {"URI": "http://acs.amazonaws.com/groups/global/AllUsers"}
    grants = [{"Grantee": {"ID": "me"}, "Permission": "FULL_CONTROL"}, {"Grantee": everybody, "Permission": permission}]

    assert [each.severity for each in acl_findings({"Grants": grants})] == severities
    assert acl_findings({"Grants": grants[:1]}) == []
    assert acl_findings({}) == []
