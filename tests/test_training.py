"""One training: shares of the train part, runs by name, settings that come back from run.json as they went in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.run_folder import RunFolder, runs
from distill.split import Split, SplitSettings
from distill.students import TrainSettings, kind_of, pace
from distill.training import _plain, _settings, named_run, thinned
from labeling.core.errors import InputError, StateError
from labeling.project import Project
from tests.made_stores import ontology


def split_of(kin: dict[str, str]) -> Split:
    return Split("default", SplitSettings(), {"v": "val", **dict.fromkeys(kin, "train")}, {}, {"v": "v", **kin}, {}, ())  # type: ignore[arg-type]


@given(st.integers(1, 40), st.integers(1, 5), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_smaller_shares_lie_in_larger_ones_and_groups_stay_whole(
    images: int, of_a_kin: int, first: float, second: float
) -> None:
    kin = {f"{number:03d}": f"{number - number % of_a_kin:03d}" for number in range(images)}
    whole = split_of(kin)
    less, more = (set(thinned(whole, share).images("train")) for share in sorted((first, second)))
    assert set() < less <= more <= set(kin)
    for part in (less, more):
        assert all({one for one in kin if kin[one] == kin[image]} <= part for image in part)
    assert thinned(whole, first).images("val") == ("v",)
    assert thinned(whole, 1) is whole


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="above 0 and up to 1"):
        thinned(split_of({"a": "a"}), share)


def test_settings_come_back_as_they_went_in(tmp_path: Path) -> None:
    settings = TrainSettings(
        "yolov8n",
        tmp_path / "w.safetensors",
        7,
        96,
        4,
        3,
        "cpu",
        ("mlflow",),
        tmp_path / "big.safetensors",
        {"lr0": 0.1},
    )
    project = Project.create(tmp_path / "project", ontology(["box"]))
    made = RunFolder.create(project, None, {"dataset": "d", "settings": _plain(settings)})
    assert _settings(RunFolder.open(made.path)) == settings
    assert _settings(RunFolder("", {"settings": _plain(TrainSettings("yolov8n"))})) == TrainSettings("yolov8n")  # type: ignore[arg-type]


def test_runs_count_up_are_found_by_name_and_the_newest_that_has_finished_is_the_default(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", ontology(["box"]))
    with pytest.raises(StateError, match="no student is trained yet"):
        named_run(project, None)
    first, second = (RunFolder.create(project, None, {"dataset": "d"}) for _ in range(2))
    assert (first.name, second.name) == ("1", "2")
    first.weights.write_bytes(b"w")
    first.write(finished_at="2026-01-01T00:00:00+00:00")
    assert named_run(project, None).name == "1"
    assert named_run(project, "2").name == "2"
    with pytest.raises(StateError, match="there are: 1, 2"):
        named_run(project, "3")
    with pytest.raises(StateError, match="--resume"):
        RunFolder.create(project, "2", {"dataset": "d"})
    with pytest.raises(InputError, match="first-try"):
        RunFolder.create(project, "../2", {"dataset": "d"})


def test_a_run_whose_file_is_damaged_is_named_and_hides_no_other(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", ontology(["box"]))
    good, bad = (RunFolder.create(project, name, {"dataset": "d"}) for name in ("good", "bad"))
    (bad.path / "run.json").write_text('{"dataset"')
    assert [run.name for run in runs(project)] == ["good"]
    for open_it in (lambda: RunFolder.open(bad.path), lambda: named_run(project, "bad")):
        with pytest.raises(StateError, match=r"run\.json: cannot be read"):
            open_it()
    with pytest.raises(StateError, match="is no training"):
        RunFolder.open(good.path.parent)


@pytest.mark.parametrize(
    ("model", "kind"), [("yolov8n", "ultralytics"), ("yolo11s-seg", "ultralytics"), ("dfine-n", "dfine")]
)
def test_a_model_says_which_kind_of_student_it_is(model: str, kind: str) -> None:
    assert kind_of(model) == kind


@pytest.mark.parametrize("model", ["yolov8n-cls", "yolov8n-obb", "yolo11n-pose", "yolov8n.pt", "yolov8", "yolov8n-p2"])
def test_a_model_that_is_no_detector_by_name_is_refused(model: str) -> None:
    with pytest.raises(InputError, match="expected the name of an architecture that finds boxes"):
        kind_of(model)


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "../../etc"},
        {"dataset": 3},
        {"settings": []},
        {"names": "box"},
        {"model": 5},
        {"kind": None},
    ],
)
def test_a_run_whose_facts_are_of_wrong_types_is_damaged(tmp_path: Path, changes: dict[str, Any]) -> None:
    project = Project.create(tmp_path / "project", ontology(["box"]))
    run = RunFolder.create(project, "one", {"dataset": "d", **changes})
    with pytest.raises(StateError, match=r"run\.json: is damaged"):
        RunFolder.open(run.path)


@pytest.mark.parametrize(
    "settings", [None, {}, {"model": 3}, {"model": "yolov8n-cls"}, {"model": "yolov8n", "epochs": "many"}]
)
def test_settings_that_no_run_can_go_on_with_are_damage(tmp_path: Path, settings: Any) -> None:
    with pytest.raises(StateError, match="no settings to go on with"):
        _settings(RunFolder(tmp_path, {"settings": settings}))


@pytest.mark.parametrize(
    ("seconds", "left", "words"),
    [
        (12.4, 0, "12 s"),
        (12.0, 5, "12 s, about 60 s left"),
        (12.0, 49, "12 s, about 10 min left"),
        (300.0, 99, "300 s, about 8.2 h left"),
    ],
)
def test_the_time_that_is_left_is_said_in_words(seconds: float, left: int, words: str) -> None:
    assert pace(seconds, left) == words


def test_a_model_that_nobody_has_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'yolov8n'"):
        kind_of("yolo8n")
