"""From one format to another without a project: same labels, same ids, same counts of losses, no labels.db."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from labeling.cli import main
from labeling.formats.datasets import Entry
from labeling.formats.sources import open_dataset
from labeling.formats.targets import TARGETS
from tests import made_stores as made

SIZE = (160, 120)
SQUARE = [[10, 10, 60, 10, 60, 50, 10, 50]]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Two photos called 1.png, with ids that have gaps, a mask, a crowd, and a photo that is gone."""
    size = {"width": 160, "height": 120}
    for seed, name in enumerate(["a/1.png", "b/1.png"]):
        made.photo(tmp_path / "coco/images" / name, seed=seed)
    document = {
        "categories": [{"id": 90, "name": "cat"}, {"id": 3, "name": "dog"}],
        "images": [
            {"id": i, "file_name": name, **size} for i, name in [(7, "a/1.png"), (3, "b/1.png"), (2, "gone.png")]
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 50, 40], "segmentation": SQUARE},
            {"id": 2, "image_id": 7, "category_id": 90, "bbox": [80, 10, 50, 40], "iscrowd": 1},
            {"id": 3, "image_id": 2, "category_id": 90, "bbox": [80, 10, 50, 40]},
        ],
    }
    (tmp_path / "coco/instances.json").write_text(json.dumps(document))
    return tmp_path / "coco"


def test_coco_to_coco_keeps_ids_names_and_photos_that_are_elsewhere(coco: Path, tmp_path: Path) -> None:
    assert main(["convert", "--from", "coco", "--in", str(coco), "--to", "coco", "--out", str(tmp_path / "out")]) == 0
    before = json.loads((coco / "instances.json").read_text())
    after = json.loads((tmp_path / "out/annotations.json").read_text())
    assert [(one["id"], one["name"]) for one in after["categories"]] == [(90, "cat"), (3, "dog")]
    assert [one["file_name"] for one in after["images"]] == ["a/1.png", "b/1.png", "gone.png"]
    assert [one["id"] for one in after["images"]] == [7, 3, 2]
    for key in ("category_id", "bbox"):
        assert [one[key] for one in after["annotations"]] == [one[key] for one in before["annotations"]]
    assert [one["iscrowd"] for one in after["annotations"]] == [0, 1, 0]


@pytest.mark.parametrize("to", sorted(set(TARGETS) - {"coco"}))
def test_losses_and_missing_photos_are_counted(
    coco: Path, tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["convert", "--from", "coco", "--in", str(coco), "--to", to, "--out", str(tmp_path / "out"), "--json"]
    assert main(command) == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["images"], answer["images_without_objects"]) == (2, 1)
    assert (answer["annotations"]["dog"], answer["annotations"]["cat"]) == (1, 0)
    assert answer["left_out"]["crowd_objects"] == answer["losses"]["crowd"] == 1
    assert [row["name"] for row in answer["refused"]] == ["gone.png"]
    assert answer["losses"].get("masks", 0) == (to in ("yolo", "voc"))
    assert answer["losses"].get("made_turned", 0) == (to == "yolo-obb")
    entries = list(open_dataset(to, tmp_path / "out", None).entries())
    assert [len(entry.objects(SIZE)) for entry in entries if isinstance(entry, Entry)] in ([1, 0], [0, 1])
    assert not list(tmp_path.rglob("labels.db"))


@pytest.mark.parametrize("to", sorted(TARGETS))
@pytest.mark.parametrize("form", ["yolo", "voc", "labelstudio", "yolo-obb"])
def test_every_format_passes_into_every_other(coco: Path, tmp_path: Path, form: str, to: str) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["convert", "--from", "coco", "--in", str(coco), "--to", form, "--out", str(first)]) == 2
    assert main(["convert", "--from", form, "--in", str(first), "--to", to, "--out", str(second)]) == 0
    entries = [
        one for one in open_dataset(to, second, first if to == "coco" else None).entries() if isinstance(one, Entry)
    ]
    found = [item for entry in entries for item in entry.objects(SIZE)]
    assert len(entries) == 2
    assert [item.class_name for item in found] == ["dog"]
    assert found[0].box_xyxy == pytest.approx((10, 10, 60, 50), abs=0.51)


def test_photo_of_another_size_is_refused(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.photo(coco / "images/b/1.png", size_wh=(120, 160))
    assert main(["convert", "--from", "coco", "--in", str(coco), "--to", "voc", "--out", str(tmp_path / "out")]) == 2
    assert (
        "the label file says 160 x 120 px, the photo has 120 x 160 px; its labels were drawn" in capsys.readouterr().out
    )


def test_names_that_lead_out_are_refused_though_no_photo_is_opened(coco: Path, tmp_path: Path) -> None:
    document = json.loads((coco / "instances.json").read_text())
    document["images"][1]["file_name"] = "../../etc/passwd"
    (coco / "instances.json").write_text(json.dumps(document))
    assert main(["convert", "--from", "coco", "--in", str(coco), "--to", "coco", "--out", str(tmp_path / "out")]) == 2
    assert "passwd" not in (tmp_path / "out/annotations.json").read_text()


def test_name_that_is_no_utf8_is_spelled_out(tmp_path: Path) -> None:
    root = tmp_path / "set"
    made.photo(root / "images/x.png")
    os.rename(root / "images/x.png", os.fsencode(root / "images") + b"/x\xff.png")
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("box\n")
    Path(os.fsdecode(os.fsencode(root / "labels") + b"/x\xff.txt")).write_text("0 0.5 0.5 0.5 0.5\n")
    for to in TARGETS:
        assert main(["convert", "--from", "yolo", "--in", str(root), "--to", to, "--out", str(tmp_path / to)]) == 0
    (image,) = json.loads((tmp_path / "coco/annotations.json").read_text())["images"]
    assert image["file_name"] == "images/x\\udcff.png"


def test_export_is_never_written_into_what_is_read(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--from", "coco", "--in", str(coco), "--to", "yolo", "--out", str(coco / "out")]) == 1
    assert "lies in the folder that is read" in capsys.readouterr().err


def test_nothing_usable_writes_nothing(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in coco.rglob("*.png"):
        path.unlink()
    assert main(["convert", "--from", "coco", "--in", str(coco), "--to", "yolo", "--out", str(tmp_path / "out")]) == 1
    assert "instances.json: none of its images can be used; the first of 3: a/1.png: missing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
