"""Labels of people taken into a project: what is written, what is kept, what is refused, and what a kill leaves."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import sqlite3
import weakref
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from labeling.cli import main
from labeling.core import masks
from labeling.core.errors import InputError
from labeling.formats import importing
from labeling.formats.export import export_labels
from labeling.formats.importing import Imported, import_labels
from labeling.formats.sources import open_dataset
from labeling.formats.written import EMPTY_MASKS
from labeling.image_copies import normalised_copy
from labeling.images import LoadedImage, load
from labeling.project import Project
from tests import made_stores as made
from tests.paths import shared

LOAD = partial(load, max_pixels=10**8)
COPY = partial(normalised_copy, max_pixels=10**8)

HOLED = np.zeros((120, 160), dtype=bool)
HOLED[10:60, 10:60] = True
HOLED[20:40, 20:40] = False
HOLED[80:100, 100:140] = True


def uncompressed(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> list[int]:
    counts, value, run = [], False, 0
    for pixel in mask.T.ravel():
        if pixel != value:
            counts.append(run)
            value, run = pixel, 0
        run += 1
    return [*counts, run]


def coco_file(root: Path, **changes: Any) -> Path:
    """Write photos and a COCO file about them, ids with gaps, in a foreign order."""
    for number, name in enumerate(["a/1.png", "b/1.png", "empty größe.png"]):
        made.photo(root / name, seed=number)
    size = {"width": 160, "height": 120}
    document = {
        "categories": [{"id": 90, "name": "cat"}, {"id": 3, "name": "yes"}, {"id": 17, "name": "北京 dog"}],
        "images": [
            {"id": 700, "file_name": "a/1.png", **size},
            {"id": 5, "file_name": "b/1.png", **size},
            {"id": 9, "file_name": "empty größe.png", **size},
        ],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 17, "bbox": [1.5, 2.5, 30, 40], "segmentation": []},
            {
                "id": 2, "image_id": 700, "category_id": 90, "bbox": [10, 10, 130, 90], "iscrowd": 1,
                "segmentation": {"size": [120, 160], "counts": uncompressed(HOLED)},
            },
            {
                "id": 3, "image_id": 700, "category_id": 3, "bbox": [10, 10, 60, 50], "iscrowd": 0,
                "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30], [50, 40, 70, 40, 70, 60, 50, 60]],
            },
            {
                "id": 4, "image_id": 5, "category_id": 3, "bbox": [10, 10, 130, 90],
                "segmentation": {"size": [120, 160], "counts": masks.encode(HOLED)["counts"]},
            },
        ],
    }  # fmt: skip
    path = root / "instances.json"
    path.write_text(json.dumps({**document, **changes}))
    return path


def take(form: str, path: Path, project: Path, images: Path | None = None, **options: Any) -> Imported:
    return import_labels(open_dataset(form, path, images), project, options.pop("load", LOAD), **options)


def dump(project: Path) -> list[str]:
    """Return everything that labels.db and project.yaml hold."""
    with sqlite3.connect(project / "labels.db") as db:
        rows = list(db.iterdump())
    return [*rows, (project / "project.yaml").read_text()]


def test_coco_becomes_reviewed_labels_with_their_source(tmp_path: Path) -> None:
    done = take("coco", coco_file(tmp_path / "photos"), tmp_path / "project")
    assert (done.images, done.empty, done.kept, done.refused) == (3, 1, 0, [])
    assert done.objects == {"cat": 1, "yes": 2, "北京 dog": 1}
    assert done.new_classes == ["cat", "yes", "北京 dog"]
    project = Project.open(tmp_path / "project")
    assert [(entry.name, entry.prompts) for entry in project.ontology.classes] == [
        ("cat", ("cat",)), ("yes", ("yes",)), ("北京 dog", ("北京 dog",)),
    ]  # fmt: skip
    with project.open_store() as store:
        images = {image.paths[0].removeprefix(f"{tmp_path}/photos/"): image for image in store.iter_images()}
        assert {name: image.state for name, image in images.items()} == {
            "a/1.png": "reviewed", "b/1.png": "reviewed", "empty größe.png": "reviewed-empty",
        }  # fmt: skip
        crowd, parts = store.annotations_of(images["a/1.png"].sha256 or "")
        box, holed = store.annotations_of(images["b/1.png"].sha256 or "")
    assert {(one.provenance.source, one.provenance.annotator) for one in (crowd, parts, box, holed)} == {
        ("imported", "instances.json")
    }
    assert (crowd.flags, parts.flags) == (("crowd",), ())
    assert (box.box_xyxy, box.rle, box.provenance.score) == ((1.5, 2.5, 31.5, 42.5), None, None)
    for label in (crowd, holed):
        assert label.rle is not None
        assert (masks.decode(label.rle) == HOLED).all()
    assert parts.rle is not None
    assert masks.area(parts.rle) == 800


def test_coco_goes_out_again_with_the_ids_it_came_with(tmp_path: Path) -> None:
    take("coco", coco_file(tmp_path / "photos"), tmp_path / "project")
    project = Project.open(tmp_path / "project")
    with project.open_store() as store:
        export_labels(store, project.ontology, "coco", tmp_path / "out", "best", COPY, force=False)
        export_labels(store, project.ontology, "yolo", tmp_path / "yolo", "best", COPY, force=False)
    document = json.loads((tmp_path / "out/annotations.json").read_text())
    assert [(entry["id"], entry["name"]) for entry in document["categories"]] == [
        (90, "cat"), (3, "yes"), (17, "北京 dog"),
    ]  # fmt: skip
    assert sorted((entry["category_id"], entry["iscrowd"]) for entry in document["annotations"]) == [
        (3, 0), (3, 0), (17, 0), (90, 1),
    ]  # fmt: skip
    assert {line.split()[0] for path in (tmp_path / "yolo/labels").iterdir() for line in path.open()} == {"1", "2"}
    # And in again: the two photos that are called 1.png are told apart by their bytes.
    again = take("coco", tmp_path / "out", tmp_path / "second", tmp_path / "photos")
    assert (again.images, again.objects.total(), again.refused) == (3, 4, [])


def test_same_import_twice_changes_nothing_and_decodes_nothing(tmp_path: Path) -> None:
    path = coco_file(tmp_path / "photos")
    take("coco", path, tmp_path / "project")
    before = dump(tmp_path / "project")
    done = take("coco", path, tmp_path / "project", load=refuse)
    assert (done.images, done.kept, done.refused) == (0, 3, [])
    assert dump(tmp_path / "project") == before


def refuse(path: Path) -> LoadedImage:
    raise AssertionError(f"{path} was decoded")


def test_what_people_reviewed_stays_and_machine_labels_stay_beside(tmp_path: Path) -> None:
    path = coco_file(tmp_path / "photos")
    project = Project.create(tmp_path / "project", made.ontology(["yes"]))
    shas = {
        name: hashlib.sha256((tmp_path / "photos" / name).read_bytes()).hexdigest() for name in ("a/1.png", "b/1.png")
    }
    thing = made.Thing("yes", (1.0, 2.0, 30.0, 40.0))
    with project.open_store(create=True) as store:
        outcomes = [made.outcome([tmp_path / "photos" / name], [thing]) for name in shas]
        made.write(store, ["yes"], outcomes)
        store.set_reviewed(shas["a/1.png"], [made.human(shas["a/1.png"], "yes", (5, 5, 9, 9))], "reviewed")
    done = take("coco", path, tmp_path / "project")
    assert (done.images, done.kept, done.new_classes) == (2, 1, ["cat", "北京 dog"])
    with Project.open(tmp_path / "project").open_store() as store:
        assert store.class_names() == ("yes", "cat", "北京 dog")
        assert [one.provenance.source for one in store.annotations_of(shas["a/1.png"])] == ["human"]
        assert [one.provenance.source for one in store.annotations_of(shas["b/1.png"])] == ["imported"] * 2
        assert [one.provenance.source for one in store.annotations_of(shas["b/1.png"], "machine")] == ["teacher"]


def test_bad_pictures_and_labels_are_refused_one_by_one(tmp_path: Path) -> None:
    path = coco_file(tmp_path / "photos")
    document = json.loads(path.read_text())
    size = {"width": 160, "height": 120}
    (tmp_path / "photos/bad.png").write_bytes(b"\x89PNG\r\n\x1a\n rubbish")
    (tmp_path / "outside.png").write_bytes((tmp_path / "photos/a/1.png").read_bytes())
    (tmp_path / "photos/link.png").symlink_to(tmp_path / "outside.png")
    made.photo(tmp_path / "photos/broken.png", seed=77)
    made.photo(tmp_path / "photos/turned.png", size_wh=(120, 160), seed=78)
    odd = {
        20: "gone.png", 21: "bad.png", 22: "../outside.png", 23: str(tmp_path / "outside.png"), 24: "link.png",
        25: "broken.png", 26: "turned.png", 27: "", 28: "x" * 300, 29: "nul\0.png", 30: "half \ud800.png",
    }  # fmt: skip
    document["images"] += [{"id": number, "file_name": name, **size} for number, name in odd.items()]
    document["annotations"] += [
        {"id": 50, "image_id": 25, "category_id": 90, "bbox": [1, 2, 3]},
        {"id": 51, "image_id": 4444, "category_id": 90, "bbox": [1, 2, 3, 4]},
    ]
    path.write_text(json.dumps(document))
    done = take("coco", path, tmp_path / "project")
    assert (done.images, done.objects.total()) == (3, 4)
    reasons = [reason for _, reason in done.refused]
    assert len(reasons) == len(odd) + 1
    for said, count in {
        "missing": 2, "truncated": 1, "refused: '../outside.png' leads out": 1, "leads out": 3, "other size": 1,
        "annotations[4]: bbox": 1, "file_name: expected text": 2, "image_id 4444 is none": 1, "no name of a file": 1,
    }.items():  # fmt: skip
        assert sum(said in reason for reason in reasons) == count, (said, reasons)


def test_nothing_usable_makes_no_project(tmp_path: Path) -> None:
    path = coco_file(tmp_path / "photos")
    shutil.move(path, tmp_path / "instances.json")
    with pytest.raises(InputError, match=r"none of its images can be used; the first of 3: a/1\.png: missing"):
        take("coco", tmp_path / "instances.json", tmp_path / "project")
    assert not (tmp_path / "project").exists()


def test_killed_import_continues_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = coco_file(tmp_path / "photos")
    take("coco", path, tmp_path / "whole")
    monkeypatch.setattr(importing, "BATCH", 1)

    def die(done: Imported) -> None:
        if done.images == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take("coco", path, tmp_path / "project", on_batch=die)
    decoded: list[Path] = []

    def counted(path: Path) -> LoadedImage:
        decoded.append(path)
        return LOAD(path)

    done = take("coco", path, tmp_path / "project", load=counted)
    assert (done.images, done.kept, len(decoded)) == (1, 2, 1)
    kept = [line for line in dump(tmp_path / "project") if '"annotations"' in line]
    assert kept == [line for line in dump(tmp_path / "whole") if '"annotations"' in line]
    assert len(kept) == 4


def test_import_that_was_killed_outright_leaves_whole_batches(tmp_path: Path) -> None:
    path = coco_file(tmp_path / "photos")
    process = get_context("fork").Process(target=import_until_killed, args=(path, tmp_path / "project"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    with Project.open(tmp_path / "project").open_store() as store:
        assert store.counts()["images"] == {"reviewed": 1}
    done = take("coco", path, tmp_path / "project")
    assert (done.images, done.kept) == (2, 1)


def import_until_killed(path: Path, project: Path) -> None:
    importing.BATCH = 1
    take("coco", path, project, on_batch=lambda _: os.kill(os.getpid(), signal.SIGKILL))


@pytest.mark.realdata
def test_real_coco_file_has_the_masks_that_pycocotools_draws(tmp_path: Path) -> None:
    path, photos = shared("data/coco-photos/instances.json"), shared("data/coco-photos/images")
    done = take("coco", path, tmp_path / "project", photos)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
    assert (done.images, done.objects.total(), done.refused) == (len(truth.imgs), len(truth.anns), [])
    by_name = {image["file_name"]: image["id"] for image in truth.imgs.values()}
    project, checked = Project.open(tmp_path / "project"), 0
    with project.open_store() as store:
        for image in store.iter_images():
            entries = truth.loadAnns(truth.getAnnIds(imgIds=[by_name[Path(image.paths[0]).name]]))
            for label, entry in zip(store.annotations_of(image.sha256 or ""), entries, strict=True):
                assert ("crowd" in label.flags) == bool(entry["iscrowd"])
                assert label.rle is not None
                assert (masks.decode(label.rle) == truth.annToMask(entry).astype(bool)).all()
                checked += 1
        export_labels(store, project.ontology, "coco", tmp_path / "out", "human", COPY, force=False)
    assert checked == len(truth.anns) > 100
    names = {entry["id"]: entry["name"] for entry in json.loads(path.read_text())["categories"]}
    exported = json.loads((tmp_path / "out/annotations.json").read_text())["categories"]
    assert {entry["id"]: entry["name"] for entry in exported} == names


def test_same_bytes_under_two_names_are_one_image_with_two_paths(tmp_path: Path) -> None:
    path = coco_file(tmp_path / "photos")
    shutil.copy(tmp_path / "photos/a/1.png", tmp_path / "photos/b/1.png")
    done = take("coco", path, tmp_path / "project")
    assert (done.images, done.doubled) == (2, [("b/1.png", 2)])
    with Project.open(tmp_path / "project").open_store() as store:
        assert sorted(len(image.paths) for image in store.iter_images()) == [1, 2]
    before = dump(tmp_path / "project")
    take("coco", path, tmp_path / "project")
    assert dump(tmp_path / "project") == before


def test_labels_of_a_machine_never_become_reviewed(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", made.ontology(["box"]))
    things = (made.Thing("box", (1.0, 2.0, 30.0, 40.0)),)
    with project.open_store(create=True) as store:
        photos = [made.photo(tmp_path / f"photos/{i}.png", seed=i) for i in range(3)]
        made.write(store, ["box"], [made.outcome([photos[0]], things), *(made.outcome([p], ()) for p in photos[1:])])
        sha256 = hashlib.sha256(photos[2].read_bytes()).hexdigest()
        store.set_reviewed(sha256, [made.human(sha256, "box", (5, 5, 50, 60))], "reviewed")
        for form in ("coco", "labelstudio"):
            export_labels(store, project.ontology, form, tmp_path / form, "best", COPY, force=False)
    for form in ("coco", "labelstudio"):
        done = take(form, tmp_path / form, tmp_path / f"from {form}", tmp_path / "photos" if form == "coco" else None)
        assert (done.images, done.objects["box"]) == (1, 1)
        assert done.machine + done.unlabelled == 2


def test_label_studio_answers_find_their_images_by_hash(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", made.ontology(["box"]))
    photo = made.photo(tmp_path / "photos/x.bmp", seed=1)
    with project.open_store(create=True) as store:
        made.write(store, ["box"], [made.outcome([photo], (made.Thing("box", (1.0, 2.0, 30.0, 40.0)),))])
        export_labels(store, project.ontology, "labelstudio", tmp_path / "out", "best", COPY, force=False)
    (task,) = json.loads((tmp_path / "out/tasks.json").read_text())
    task["annotations"] = [{"id": 1, "result": task.pop("predictions")[0]["result"]}]
    (tmp_path / "answers.json").write_text(json.dumps([task]))
    photo.unlink()
    done = take("labelstudio", tmp_path / "answers.json", tmp_path / "project")
    assert (done.images, done.objects) == (1, {"box": 1})
    with Project.open(tmp_path / "project").open_store() as store:
        (image,) = store.iter_images("human")
        assert image.paths == (str(photo),)


def yolo_folder(root: Path) -> Path:
    """Write a YOLO folder: two splits, subfolders with one stem, mixed lines, an empty and a missing label file."""
    for seed, name in enumerate(["train/a/1.png", "train/b/1.png", "train/none.png", "val/empty.png"]):
        made.photo(root / "images" / name, seed=seed)
    labels = {
        "train/a/1.txt": "0 0.5 0.5 0.5 0.5\n1 0.1 0.1 0.5 0.1 0.5 0.5\n",
        "train/b/1.txt": "1 0.25 0.5 0.25 0.5\n",
        "val/empty.txt": "",
    }
    for name, text in labels.items():
        (root / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "labels" / name).write_text(text)
    (root / "data.yaml").write_text("train: images/train\nval: images/val\ntest:\nnames: {0: box, 1: yes}\n")
    return root


def test_yolo_folder_with_mixed_lines_and_equal_stems(tmp_path: Path) -> None:
    done = take("yolo", yolo_folder(tmp_path / "set"), tmp_path / "project")
    assert (done.images, done.empty, done.unlabelled, done.refused) == (3, 1, 1, [])
    assert done.objects == {"box": 1, "yes": 2}
    with Project.open(tmp_path / "project").open_store() as store:
        by_name = {image.paths[0][-7:]: image.sha256 or "" for image in store.iter_images()}
        box, segment = store.annotations_of(by_name["a/1.png"])
        (other,) = store.annotations_of(by_name["b/1.png"])
    assert box.box_xyxy == (40.0, 30.0, 120.0, 90.0)
    assert segment.box_xyxy == pytest.approx((16, 12, 80, 60))
    assert segment.rle is not None
    assert masks.area(segment.rle) == pytest.approx(64 * 48 / 2, rel=0.05)
    assert (other.class_name, other.box_xyxy, other.provenance.annotator) == ("yes", (20.0, 30.0, 60.0, 90.0), "set")


def test_broken_line_refuses_its_image_and_names_the_line(tmp_path: Path) -> None:
    root = yolo_folder(tmp_path / "set")
    label = root / "labels/train/a/1.txt"
    for line in ("7 0.5 0.5 0.5 0.5", "0 0.5 0.5", "0 a b c d", "0 0.5 0.5 0 0.5", "0 5 5 20 20", "0 nan 0.5 0.5 0.5"):
        label.write_text(f"0 0.5 0.5 0.5 0.5\n\n{line}\n")
        done = take("yolo", root, tmp_path / f"project {line}")
        assert (done.images, len(done.refused)) == (2, 1)
        assert f"{label}:3: expected" in done.refused[0][1] or f"{label}:3: class id" in done.refused[0][1]
        assert done.refused[0][1].endswith("; its 2 labels were not taken")


def test_command_says_what_happened_and_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = yolo_folder(tmp_path / "set")
    (root / "labels/val/empty.txt").write_text("rubbish\n")
    command = ["convert", "--from", "yolo", "--in", str(root), "--project", str(tmp_path / "project")]
    assert main(command) == 2
    out = capsys.readouterr().out
    assert "imported yolo from set, as reviewed: 3 objects of 2 classes on 2 photos" in out
    assert "1 photos not labelled yet" in out
    assert "images/val/empty.png: " in out
    assert "empty.txt:1: expected numbers, got 'rubbish'" in out
    assert main([*command, "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["images"], answer["kept"], len(answer["refused"])) == (0, 2, 1)
    assert main(command) == 2
    out = capsys.readouterr().out
    assert out.startswith("nothing new in yolo from set\n  2 photos were reviewed before and keep their labels\n")
    assert "0 objects" not in out


def test_photos_that_come_twice_are_named_with_what_is_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = coco_file(tmp_path / "photos")
    shutil.copy(tmp_path / "photos/a/1.png", tmp_path / "photos/b/1.png")
    command = ["convert", "--from", "coco", "--in", str(path), "--project", str(tmp_path / "project")]
    assert main(command) == 0
    said = "  1 photos came twice, the first labels were taken\n    b/1.png: 2 objects not taken\n"
    assert said in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["doubled"], answer["doubled_photos"]) == (1, [{"name": "b/1.png", "objects_not_taken": 2}])


def test_mask_without_a_pixel_leaves_its_box_and_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [10, 10, 60, 10, 60, 10.2, 10, 10.2]
    thin = {"id": 1, "image_id": 5, "category_id": 3, "bbox": [10, 10, 50, 0.2], "segmentation": [line]}
    path = coco_file(tmp_path / "photos", annotations=[thin])
    done = take("coco", path, tmp_path / "project")
    assert (done.objects, done.empty_masks, done.refused) == ({"yes": 1}, 1, [])
    with Project.open(tmp_path / "project").open_store() as store:
        (label,) = (one for image in store.iter_images() for one in store.annotations_of(image.sha256 or ""))
    assert (label.box_xyxy, label.rle) == (pytest.approx((10, 10, 60, 10.2)), None)
    for target in (["--project", str(tmp_path / "second")], ["--to", "voc", "--out", str(tmp_path / "out")]):
        assert main(["convert", "--from", "coco", "--in", str(path), *target]) == 0
        assert f"  1 {EMPTY_MASKS}\n" in capsys.readouterr().out


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    coco_file(tmp_path / "coco")
    yolo_folder(tmp_path / "yolo")
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc/1.xml").write_text("<annotation><filename>1.png</filename></annotation>")
    (tmp_path / "broken.json").write_text('{"images": [\n1,\n')
    (tmp_path / "bad.yaml").write_text("names: [a\ntrain: x\n")
    return tmp_path


@pytest.mark.parametrize(
    ("form", "name", "said"),
    [
        ("coco", "yolo", "expected a COCO file, found no JSON file; it looks like yolo: try --from yolo"),
        ("coco", "voc", "try --from voc"),
        ("yolo", "coco", "expected a YOLO folder with data.yaml or classes.txt, found neither"),
        ("yolo", "voc", "try --from voc"),
        ("voc", "yolo", "try --from yolo"),
        ("labelstudio", "coco/instances.json", "it looks like coco: try --from coco"),
        ("autodistill", "yolo", "expected the folder that autodistill wrote, found no train/images"),
        ("coco", "nothing", "found nothing"),
        ("coco", "broken.json", "broken.json:3: not valid JSON"),
        ("yolo", "bad.yaml", "bad.yaml:2: not valid YAML"),
    ],
)
def test_wrong_format_is_one_line_that_says_what_to_try(
    wrong: Path, form: str, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "--from", form, "--in", str(wrong / name), "--project", str(wrong / "project")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (wrong / "project").exists()


def test_memory_holds_no_picture_of_an_earlier_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    alive: list[weakref.ref[Any]] = []
    most = 0

    def watched(path: Path) -> LoadedImage:
        nonlocal most
        most = max(most, sum(one() is not None for one in alive))
        loaded = LOAD(path)
        alive.append(weakref.ref(loaded.pixels))
        return loaded

    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    for i in range(9):
        Image.fromarray(np.full((32, 32, 3), i, dtype=np.uint8)).save(root / f"images/{i}.png")
        (root / "labels").mkdir(exist_ok=True)
        (root / f"labels/{i}.txt").write_text("")
    (root / "classes.txt").write_text("box\n")
    done = take("yolo", root, tmp_path / "project", load=watched)
    assert (done.images, done.empty, len(alive)) == (9, 9, 9)
    assert most <= 1
