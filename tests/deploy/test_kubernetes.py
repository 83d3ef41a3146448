"""The Kubernetes manifests are valid, fit together, and are understood by Slipway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.config import Address, load
from gateway.errors import ConfigurationError

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "kubernetes"
OLDEST = "1.27"
PLACEHOLDER = "CHANGE-ME"


def documents() -> list[dict[str, Any]]:
    """Read all objects of the folder."""
    return [each for file in sorted(FOLDER.glob("*.yaml")) for each in yaml.safe_load_all(file.read_text())]


def of(kind: str, name: str = "slipway") -> Any:
    """Find one object."""
    (found,) = (each for each in documents() if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


POD = of("Deployment")["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]

MOUNTED = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("document", documents(), ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_schema_knows_every_field(document: dict[str, Any], version: str) -> None:
    """No object has a field, or lacks one, against the schema of the oldest and the newest release."""
    kubernetes_validate.validate(document, version, strict=True)


def test_validator_finds_faults() -> None:
    """A misspelt field is found, so that the test above can fail."""
    broken = of("PodDisruptionBudget") | {"spec": {"maxUnavailable": 1, "selectors": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, OLDEST, strict=True)


def test_slipway_understands_the_configuration() -> None:
    """Config map and secret are settings; as long as the placeholders are there, they are refused."""
    environment = of("ConfigMap")["data"] | of("Secret")["stringData"]
    with pytest.raises(ConfigurationError, match="at least 32 characters"):
        load(environment)
    settings = load({name: value.replace(PLACEHOLDER, "x" * 32) for name, value in environment.items()})

    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert settings.metrics_listen == Address("0.0.0.0", ports["metrics"])
    assert settings.private_listen == Address("0.0.0.0", ports["private"])
    files = (settings.private_tls_certificate, settings.private_tls_key)
    assert {str(file.parent) for file in files if file} == {MOUNTED["private-tls"]}
    assert settings.console_host in {rule["host"] for rule in of("Ingress")["spec"]["rules"]}
    assert f"*.{settings.public_domain}" in {rule["host"] for rule in of("Ingress")["spec"]["rules"]}


def test_everything_comes_from_config_map_and_secret() -> None:
    """The container has both, and no variables that Kubernetes would make of services' names."""
    named = {(kind, each[kind]["name"]) for each in CONTAINER["envFrom"] for kind in each}
    assert named == {("configMapRef", "slipway"), ("secretRef", "slipway")}
    assert POD["spec"]["enableServiceLinks"] is False


def test_selectors_and_ports_meet() -> None:
    """Whatever selects pods selects these, at ports that they have."""
    labels, ports = POD["metadata"]["labels"], {port["name"] for port in CONTAINER["ports"]}
    for service in (each for each in documents() if each["kind"] == "Service"):
        assert service["spec"]["selector"].items() <= labels.items()
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    selectors = [of("PodDisruptionBudget")["spec"]["selector"], of("NetworkPolicy")["spec"]["podSelector"]]
    selectors += [of("Deployment")["spec"]["selector"]]
    selectors += [each["labelSelector"] for each in POD["spec"]["topologySpreadConstraints"]]
    assert all(each["matchLabels"].items() <= labels.items() for each in selectors)
    assert {port["port"] for rule in of("NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]} == ports
    backend = of("Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["port"]["name"] in {port["name"] for port in of("Service", backend["name"])["spec"]["ports"]}


def test_pods_can_end_in_order() -> None:
    """Kubernetes gives the time that Slipway takes to end, and its probe fails while Slipway waits for that."""
    settings = load({name: value for name, value in of("ConfigMap")["data"].items() if name.endswith("_SECONDS")})
    given = POD["spec"]["terminationGracePeriodSeconds"]
    assert given > settings.unready_seconds + settings.drain_seconds + 25
    probe = CONTAINER["readinessProbe"]
    assert settings.unready_seconds > probe["periodSeconds"] * probe["failureThreshold"]


def test_pods_are_unprivileged() -> None:
    """As the image is: no root, nothing to write to but one folder."""
    assert POD["spec"]["securityContext"]["runAsNonRoot"] is True
    assert POD["spec"]["securityContext"]["runAsUser"] == 65532
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert MOUNTED["data"] == "/var/lib/slipway"
    assert [mount["name"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")] == ["data"]
    assert {volume["name"] for volume in POD["spec"]["volumes"]} == set(MOUNTED)
