"""A licence that has to be accepted: refused before, noted for this user alone, asked again when it changes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from labeling.core.errors import InputError, StateError
from labeling.teachers import licences
from labeling.teachers.catalogue import DETECTORS, SEGMENTERS

SAM3 = DETECTORS["sam3"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return tmp_path


def test_a_model_is_refused_until_its_licence_is_accepted() -> None:
    with pytest.raises(InputError) as refusal:
        licences.require_accepted("sam3", SAM3)
    said = str(refusal.value)
    assert "SAM License" in said
    assert "model card of facebook/sam3" in said
    assert said.endswith("labelstill teachers accept sam3")
    licences.accept("sam3")
    licences.require_accepted("sam3", SAM3)


def test_models_without_such_a_licence_need_no_file(home: Path) -> None:
    for name, row in [*DETECTORS.items(), *SEGMENTERS.items()]:
        if row.accept is None:
            licences.require_accepted(name, row)
    assert not (home / "config").exists()


def test_building_the_detector_asks_first(tmp_path: Path) -> None:
    from labeling.teachers.backends import TeacherSpec, build_detector

    with pytest.raises(InputError, match="labelstill teachers accept sam3"):
        build_detector(TeacherSpec(detector="sam3", weights=str(tmp_path), device="cpu"))


def test_who_accepted_what_and_when_is_noted_in_a_file_for_its_owner_alone(home: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    made = licences.accept("sam3")
    path = home / "config" / "labelstill" / "licences.json"
    assert path.stat().st_mode & 0o777 == 0o600
    written = json.loads(path.read_text())
    assert written == {"sam3": {"licence": "SAM License", "when": made.when, "by": made.by}}
    assert before <= datetime.fromisoformat(made.when) <= datetime.now(UTC)
    assert made.by
    assert licences.accepted() == {"sam3": made}
    assert [file.name for file in path.parent.iterdir()] == ["licences.json"]


def test_a_licence_of_another_name_has_to_be_accepted_again() -> None:
    licences.accept("sam3")
    assert not licences.needs_acceptance("sam3", SAM3)
    assert licences.needs_acceptance("sam3", replace(SAM3, accept="SAM License 2"))


def test_the_environment_cannot_accept_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELSTILL_ACCEPT_LICENCES", "sam3")
    assert licences.needs_acceptance("sam3", SAM3)


@pytest.mark.parametrize("name", ["owlv2", "sam4", ""])
def test_what_asks_for_no_licence_cannot_be_accepted(name: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"{name!r} needs no licence to be accepted; expected one of: sam3")):
        licences.accept(name)


@pytest.mark.parametrize("content", ["", "[]", '{"sam3": {"licence": "SAM License"}}', '{"sam3": 1}'])
def test_a_damaged_file_is_no_acceptance_and_no_traceback(content: str) -> None:
    licences.accept("sam3")
    licences.licences_path().write_text(content)
    with pytest.raises(StateError, match="damaged"):
        licences.require_accepted("sam3", SAM3)


def test_the_licence_beside_cached_weights_is_named_as_a_file(home: Path) -> None:
    repository = home / "hub" / "hub" / "models--facebook--sam3"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (snapshot / "model.safetensors").touch()
    (snapshot / "LICENSE").write_text("the text")
    assert licences.where_to_read(SAM3) == f"its text: {snapshot / 'LICENSE'}"


def test_a_relative_home_of_settings_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The XDG specification: a relative path is to be ignored."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "here")
    assert licences.licences_path() == Path.home() / ".config" / "labelstill" / "licences.json"
