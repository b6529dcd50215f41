"""`labelstill bench`: exit codes, JSON, where results may go, and the sentences of refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from labeling.cli import main
from tests.made_bundles import flat_bundle
from tests.made_runs import made_project

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flat_bundle(tmp_path_factory.mktemp("bundle"))


def test_figures_accuracy_and_the_row_are_shown(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle), "--calls", "4"]) == 0
    said = capsys.readouterr().out
    assert "yard: yolov8n, fp32, 64 x 64 pixels, ONNX Runtime, CPUExecutionProvider" in said
    assert "4 frames after warm-up, none left out" in said
    assert "AP50 0.900, AP50-95 0.600 on 12 images of val" in said
    assert "power mode not measured" in said
    assert said.rstrip().splitlines()[-3].startswith("| device | power mode | model |")


def test_json_and_out_hold_the_same_figures(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "bench.json"
    assert main(["bench", str(bundle), "--calls", "4", "--json", "--threads", "1", "--out", str(out)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == printed
    assert printed["gate"] == {"fps": 0, "passed": True, "faults": []}


def test_a_rate_that_is_not_reached_exits_with_3(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle), "--calls", "4", "--fps", "1000000", "--json"]) == 3
    said = capsys.readouterr()
    assert "frames per second are wanted" in said.err
    assert json.loads(said.out)["gate"]["passed"] is False


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--precision", "int8"], "has no model in int8"),
        (["--fps", "inf"], "expected frames per second such as 60"),
        (["--images", "nowhere"], "nowhere: is no folder"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    bundle: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(bundle), *options]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_results_do_not_go_into_the_sealed_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle), "--out", str(bundle / "bench.json")]) == 1
    assert "sealed by its manifest" in capsys.readouterr().err
    assert not (bundle / "bench.json").exists()


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tmp_path), "--project", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "is no bundle, for no manifest.json is in it: labelstill export makes one" in said
    assert said.count("\n") == 1


def test_the_bundles_of_the_project_are_named_and_found_by_name(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = made_project(tmp_path / "project")
    shutil.copytree(bundle, root / "exports" / "yard")
    monkeypatch.chdir(root)
    assert main(["bench", "photos"]) == 1
    assert "photos: is no bundle" in (said := capsys.readouterr().err)
    assert "those of the project are in exports: yard" in said
    # A folder of the same name that is no bundle does not hide the bundle.
    (root / "yard").mkdir()
    assert main(["bench", "yard", "--calls", "2"]) == 0
