"""What a bucket's settings do to a registry: pure functions over what an S3 service answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.model.findings import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_PREFIX = "slipway/"
"""Where all our objects are."""
_FEWEST_DAYS_OF_AN_UPLOAD = 7
_FROZEN = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes whose objects have to be thawed before they can be read."""
_ADDRESS_CONDITIONS = frozenset(
    {"aws:sourceip", "aws:vpcsourceip", "aws:sourcevpc", "aws:sourcevpce", "aws:sourcevpcarn"}
)
_EVERYBODY = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
)
_WRITING = frozenset({"WRITE", "FULL_CONTROL", "WRITE_ACP"})


def object_lock_findings(answer: Mapping[str, Any]) -> list[Finding]:
    """Judge GetObjectLockConfiguration."""
    if answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
        return []
    return [
        Finding(
            Severity.ERROR,
            "object lock",
            "the bucket keeps objects from being deleted (WORM), so images that are deleted would stay for ever",
            "take a bucket that was created without object lock; it cannot be turned off",
        )
    ]


def versioning_findings(answer: Mapping[str, Any], rules: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Judge GetBucketVersioning; ``rules`` of the lifecycle may clean up behind it."""
    cleans_up = any(_is_on(rule) and "NoncurrentVersionExpiration" in rule for rule in rules)
    if answer.get("Status") != "Enabled" or cleans_up:
        return []
    return [
        Finding(
            Severity.WARNING,
            "versioning",
            "whatever is deleted stays as an old version, and is paid for",
            "suspend versioning, or add a lifecycle rule that expires noncurrent versions",
        )
    ]


def lifecycle_findings(rules: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Judge the rules of GetBucketLifecycleConfiguration."""
    return [finding for rule in rules if _is_on(rule) and _concerns_us(rule) for finding in _rule_findings(rule)]


def _is_on(rule: Mapping[str, Any]) -> bool:
    return rule.get("Status") == "Enabled"


def _concerns_us(rule: Mapping[str, Any]) -> bool:
    """Whether a rule may apply to objects below our prefix, which have no tags."""
    where: Mapping[str, Any] = rule.get("Filter", {})
    both: Mapping[str, Any] = where.get("And", {})
    if "Tag" in where or both.get("Tags"):
        return False
    prefix = str(rule.get("Prefix") or where.get("Prefix") or both.get("Prefix") or "")
    return prefix.startswith(_PREFIX) or _PREFIX.startswith(prefix)


def _rule_findings(rule: Mapping[str, Any]) -> list[Finding]:
    name = f"lifecycle rule {rule.get('ID') or 'without a name'}"
    mend = f"turn the rule off, or limit it to a prefix other than {_PREFIX}"
    found = []
    expiration = rule.get("Expiration", {})
    if "Days" in expiration or "Date" in expiration:
        found.append(Finding(Severity.ERROR, name, "it deletes objects, and images need theirs however old", mend))
    for transition in rule.get("Transitions", []):
        target = transition.get("StorageClass", "another class")
        if target in _FROZEN:
            reason = f"it moves objects to {target}, where they cannot be read until they are thawed"
            found.append(Finding(Severity.ERROR, name, reason, mend))
        else:
            reason = f"it moves objects to {target}: make sure that reading from there is fast and not charged"
            found.append(Finding(Severity.WARNING, name, reason, mend))
    days = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
    if days is not None and days < _FEWEST_DAYS_OF_AN_UPLOAD:
        reason = f"it ends uploads {days} days after they began, even those that go on"
        mend = f"let it wait at least {_FEWEST_DAYS_OF_AN_UPLOAD} days; unfinished uploads are cleaned up without it"
        found.append(Finding(Severity.WARNING, name, reason, mend))
    return found


def policy_findings(policy: str) -> list[Finding]:
    """Judge the policy of GetBucketPolicy."""
    found = []
    if restricts_addresses(policy):
        found.append(
            Finding(
                Severity.WARNING,
                "bucket policy",
                "it lets certain addresses in only, so that clients elsewhere cannot be redirected to the storage",
                "nothing, if blobs are to be delivered by proxy, as they are now; to redirect, change the policy",
            )
        )
    if any(_is_open(statement) for statement in _statements(policy)):
        found.append(
            Finding(
                Severity.WARNING,
                "bucket policy",
                "it lets everybody read objects, private images included, without asking the registry",
                "remove the statement that allows s3:GetObject to everybody",
            )
        )
    return found


def restricts_addresses(policy: str) -> bool:
    """Whether a policy denies by the caller's address or network."""
    return any(
        statement.get("Effect") == "Deny" and _ADDRESS_CONDITIONS & _condition_keys(statement)
        for statement in _statements(policy)
    )


def _statements(policy: str) -> Sequence[Mapping[str, Any]]:
    statements = orjson.loads(policy).get("Statement", [])
    return statements if isinstance(statements, list) else [statements]


def _condition_keys(statement: Mapping[str, Any]) -> set[str]:
    return {key.lower() for values in statement.get("Condition", {}).values() for key in values}


def _is_open(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    everybody = principal == "*" or (isinstance(principal, dict) and "*" in _texts(principal.get("AWS", [])))
    reads = {"*", "s3:*", "s3:Get*", "s3:GetObject"} & set(_texts(statement.get("Action", [])))
    return statement.get("Effect") == "Allow" and everybody and bool(reads) and not statement.get("Condition")


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def acl_findings(answer: Mapping[str, Any]) -> list[Finding]:
    """Judge GetBucketAcl."""
    granted = {
        str(grant.get("Permission"))
        for grant in answer.get("Grants", [])
        if grant.get("Grantee", {}).get("URI") in _EVERYBODY
    }
    if not granted:
        return []
    mend = "remove what the bucket's ACL grants to everybody"
    if granted & _WRITING:
        reason = "everybody may write into the bucket, over images as well"
        return [Finding(Severity.ERROR, "bucket ACL", reason, mend)]
    return [Finding(Severity.WARNING, "bucket ACL", "everybody may see what is in the bucket", mend)]
