"""The compose file for teams: valid by the compose specification's own schema, and closed where it has to be."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from tests.paths import ROOT

FOLDER = ROOT / "scripts" / "studio"
COMPOSE: dict[str, Any] = YAML(typ="safe").load(FOLDER / "compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
ENVIRONMENT: dict[str, str] = SERVICES["app"]["environment"]
REQUIRED = {"SECRET_KEY", "POSTGRES_PASSWORD", "ADMIN_EMAIL", "ADMIN_PASSWORD", "STUDIO_FILES"}


def complaints(compose: dict[str, Any]) -> list[str]:
    schema = json.loads(files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text())
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(compose)]


def test_it_is_what_the_specification_calls_a_compose_file() -> None:
    assert set(SERVICES) == {"web", "app", "db"}
    assert complaints(COMPOSE) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda services: services["app"].update(enviroment={}),
        lambda services: services["db"].update(restart=3),
        lambda services: services["web"].update(ports={"8080": "8085"}),
        lambda services: services["app"]["volumes"][1].update(readonly=True),
        lambda services: services["db"]["healthcheck"].update(test=5),
        lambda services: services["web"]["depends_on"]["app"].update(condition="ready"),
    ],
)
def test_a_broken_one_is_refused_by_the_same_check(spoil: Callable[[dict[str, Any]], None]) -> None:
    broken = copy.deepcopy(COMPOSE)
    spoil(broken["services"])
    assert complaints(broken) != []


def test_one_port_is_published_and_only_on_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 1
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert not any("network_mode" in service or service.get("privileged") for service in SERVICES.values())


def test_no_secret_has_a_value_or_a_default() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    secret = {name: value for name, value in ENVIRONMENT.items() if re.search("PASSWORD|SECRET|USERNAME", name)}
    assert len(secret) == 4
    assert all(re.fullmatch(r"\$\{\w+:\?[^}]+\}", value) for value in secret.values())
    assert SERVICES["db"]["environment"]["POSTGRES_PASSWORD"] == ENVIRONMENT["POSTGRE_PASSWORD"]
    assert "trust" not in text
    assert set(re.findall(r"\$\{(\w+):\?", text)) == REQUIRED


def test_the_example_asks_for_just_what_is_required_and_fills_nothing_in() -> None:
    lines = [line for line in (FOLDER / "env.example").read_text().splitlines() if not line.startswith("#")]
    assert sorted(lines) == sorted(f"{name}=" for name in REQUIRED)


def test_nobody_signs_up_and_nothing_is_reported_to_others() -> None:
    assert ENVIRONMENT["LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK"] == "true"
    assert ENVIRONMENT["LABEL_STUDIO_SSRF_PROTECTION_ENABLED"] == "true"
    assert ENVIRONMENT["LABEL_STUDIO_COLLECT_ANALYTICS"] == ENVIRONMENT["LABEL_STUDIO_LATEST_VERSION_CHECK"] == "false"
    assert ENVIRONMENT["LABEL_STUDIO_SENTRY_DSN"] == ENVIRONMENT["LABEL_STUDIO_FRONTEND_SENTRY_DSN"] == ""
    assert "*" not in ENVIRONMENT["LABEL_STUDIO_ALLOWED_HOSTS"]


def test_the_document_root_is_the_mounted_dataset_and_read_only() -> None:
    named, dataset = SERVICES["app"]["volumes"]
    assert ENVIRONMENT["LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED"] == "true"
    assert ENVIRONMENT["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"] == dataset["target"] == "/images"
    assert dataset["read_only"] is True
    assert not dataset["target"].startswith("/label-studio")
    assert named.split(":")[0] in COMPOSE["volumes"]


def test_the_versions_are_the_ones_that_are_tested_here() -> None:
    pinned = re.findall(r"^label-studio==(.+)$", (ROOT / "constraints-studio.txt").read_text(), re.MULTILINE)
    assert pinned == ["1.23.2"]
    assert {SERVICES[name]["image"] for name in ("web", "app")} == {f"heartexlabs/label-studio:{pinned[0]}"}
    assert all(re.search(r":\d", service["image"]) for service in SERVICES.values())


def test_every_service_is_watched_and_comes_back() -> None:
    assert all(service["restart"] == "unless-stopped" for service in SERVICES.values())
    assert all(service["healthcheck"]["test"] for service in SERVICES.values())
    assert SERVICES["db"]["volumes"][0].split(":")[0] in COMPOSE["volumes"]
