"""What a format cannot hold, or a reader does not read, is counted and said: in the text, in --json, never silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from labeling.cli import main
from labeling.core.errors import InputError
from labeling.formats.datasets import Entry, PathRefused, Refused, find_picture
from labeling.formats.labelstudio_config import class_names, config
from labeling.formats.sources import open_dataset
from labeling.formats.targets import TARGETS
from labeling.formats.written import LOSSES
from labeling.project import Project
from tests import made_stores as made
from tests.made_stores import Thing

SIZE = {"width": 160, "height": 120}
NAMES = ["box", 'a "quoted" <b> & ünï']


def coco(root: Path, **changes: Any) -> Path:
    """Write one photo and a COCO file with one object about it."""
    made.photo(root / "a.png")
    document = {
        "images": [{"id": 1, "file_name": "a.png", **SIZE}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 40]}],
        "categories": [{"id": 1, "name": "box"}],
    }
    (root / "x.json").write_text(json.dumps({**document, **changes}))
    return root / "x.json"


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[dict[str, Any], str]:
    """Convert twice and return what --json says and what people read."""
    typed = ["convert", *map(str, arguments)]
    out = typed.index("--out") + 1
    main([*typed, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    typed[out] += "-again"
    main(typed)
    return found, capsys.readouterr().out


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with labels of a machine, one over the edge and one masked."""
    project = Project.create(tmp_path / "project", made.ontology(NAMES))
    things = (Thing("box", (10, 10, 90, 90), 0.9, masked=True), Thing(NAMES[1], (100, 20, 170.5, 60), 0.4))
    with project.open_store(create=True) as store:
        outcomes = [
            made.outcome([made.photo(tmp_path / "photos/1 ä.png", things, seed=1)], things),
            made.outcome([made.photo(tmp_path / "photos/2.png", (), seed=2)], ()),
            made.outcome([made.photo(tmp_path / "photos/3.png", things[:1], seed=3)], things[:1]),
        ]
        made.write(store, NAMES, outcomes)
        sha256 = outcomes[2].sha256 or ""
        store.set_reviewed(sha256, [made.human(sha256, NAMES[1], (5, 5, 50, 60))], "reviewed")
    return project.root


@pytest.mark.parametrize("to", sorted(TARGETS))
def test_scores_and_cut_boxes_are_said(root: Path, tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, text = answer(capsys, "--project", root, "--to", to, "--out", tmp_path / to)
    keeps = to in ("coco", "labelstudio")
    for kind, number in (("scores", 2), ("clipped", 1)):
        assert found["losses"].get(kind, 0) == (0 if keeps else number)
        assert (f"{number} {LOSSES[kind]}" in text) != keeps  # type: ignore[index]


def test_what_classes_are_in_coco_stays_there_and_is_counted_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    categories = [{"id": 1, "name": "box", "supercategory": "thing"}, {"id": 5, "name": "disc", "supercategory": ""}]
    path = coco(tmp_path / "in", categories=categories)
    for to in ("coco", "voc"):
        found, text = answer(capsys, "--from", "coco", "--in", path, "--to", to, "--out", tmp_path / to)
        kinds = ("supercategories", "category_ids", "empty_classes")
        assert found["losses"] == ({} if to == "coco" else dict.fromkeys(kinds, 1))
        for kind in kinds:
            assert (f"1 {LOSSES[kind]}" in text) == (to != "coco")
    assert main(["convert", "--from", "coco", "--in", str(path), "--project", str(tmp_path / "p")]) == 0
    assert main(["convert", "--project", str(tmp_path / "p"), "--to", "coco", "--out", str(tmp_path / "out")]) == 0
    for folder in ("coco", "out"):
        document = json.loads((tmp_path / folder / "annotations.json").read_text())
        assert document["categories"] == categories


def test_what_coco_says_beyond_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thing = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 40]}
    cvat = [{"occluded": False, "rotation": 0.0}, {"occluded": False, "rotation": 12.5}]
    things = [{"id": i, **thing, "attributes": said} for i, said in enumerate(cvat)]
    things.append({"id": 3, **thing, "keypoints": [1, 2, 2], "num_keypoints": 1, "ignore": 1})
    images = [{"id": i, "file_name": "a.png", "license": 1, **SIZE} for i in (1, 2)]
    path = coco(tmp_path / "in", annotations=things, images=images, info={"year": 2017}, tags=["x"], licenses=[])
    found, text = answer(capsys, "--from", "coco", "--in", path, "--to", "coco", "--out", tmp_path / "out")
    assert found["notes"] == [
        "not read of objects: 'attributes' (1), 'ignore' (1), 'keypoints' (1), 'num_keypoints' (1)",
        "1 images have the file_name of another one, so each has a part of the labels",
        "not read of images: 'license' (2)",
        "not read of the file: 'info' (1), 'tags' (1)",
        "ids of annotations are given anew, and area is that of the mask or box as it is drawn here",
    ]
    assert open_dataset("coco", coco(tmp_path / "plain", info={"year": 2017}), None).said() == ()
    assert all(f"note: {note}" in text for note in found["notes"])


def test_photos_written_with_other_bytes_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = coco(tmp_path / "in")
    for grey in (False, True):
        if grey:
            Image.new("L", (160, 120)).save(tmp_path / "in/a.png")
        for to in sorted(TARGETS):
            found, text = answer(capsys, "--from", "coco", "--in", path, "--to", to, "--out", tmp_path / f"{to}{grey}")
            assert found["losses"].get("copies", 0) == (grey and to != "coco")
            assert (f"1 {LOSSES['copies']}" in text) == (grey and to != "coco")


def test_classes_without_objects_pass_through_label_studio_in_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = coco(tmp_path / "in", categories=[{"id": i, "name": name} for i, name in ((7, "b"), (1, "box"), (2, "a"))])
    studio, back = tmp_path / "studio", tmp_path / "back"
    assert main(["convert", "--from", "coco", "--in", str(path), "--to", "labelstudio", "--out", str(studio)]) == 0
    assert main(["convert", "--from", "labelstudio", "--in", str(studio), "--to", "coco", "--out", str(back)]) == 0
    document = json.loads((back / "annotations.json").read_text())
    assert [entry["name"] for entry in document["categories"]] == ["b", "box", "a"]
    (studio / "label_config.xml").write_text('<!DOCTYPE x [<!ENTITY a "b">]><View/>')
    dataset = open_dataset("labelstudio", studio, None)
    assert dataset.class_names == ()
    assert "label_config.xml: expected plain XML, got a document type definition" in dataset.said()[0]


def test_configuration_of_others_names_the_labels_of_shapes_alone() -> None:
    text = """<View><Choices name="c"><Choice value="day"/></Choices>
    <KeyPointLabels name="k"><Label value="eye"/></KeyPointLabels>
    <PolygonLabels name="p"><Label value="cat"/><Label value="long name" alias="dog"/></PolygonLabels>
    <RectangleLabels name="r"><View><Label value="cat"/><Label value="ünï"/></View></RectangleLabels></View>"""
    assert class_names(text, "x.xml") == ("cat", "dog", "ünï")


def test_folder_that_was_named_is_said_to_lack_the_photo(tmp_path: Path) -> None:
    path = coco(tmp_path / "in")
    assert main(["convert", "--from", "coco", "--in", str(path), "--to", "voc", "--out", str(tmp_path / "voc")]) == 0
    for to in ("labelstudio", "yolo"):
        out = str(tmp_path / to)
        assert main(["convert", "--from", "coco", "--in", str(path), "--to", to, "--out", out]) == 0
    for file in tmp_path.rglob("a.png"):
        file.unlink()
    (tmp_path / "photos").mkdir()
    checked = 0
    for form, place in (("coco", path), ("voc", tmp_path / "voc"), ("labelstudio", tmp_path / "labelstudio")):
        for images, said in ((tmp_path / "photos", "photos, which --images names"), (None, "; name the folder of the")):
            (entry,) = open_dataset(form, place, images).entries()
            assert isinstance(entry, Entry)
            with pytest.raises(InputError, match=said):
                entry.picture()
            checked += 1
    (refused,) = open_dataset("yolo", tmp_path / "yolo", tmp_path / "photos").entries()
    assert isinstance(refused, Refused)
    assert refused.reason.endswith("photos, which --images names")
    assert checked == 6


def test_what_voc_says_beyond_the_boxes_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "in"
    made.photo(root / "JPEGImages/a.png")
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>"
    plain = f"<object><name>box</name><pose>Unspecified</pose><difficult>0</difficult>{box}</object>"
    more = f"<object><name>box</name><pose>Left</pose><difficult>1</difficult><part><name>x</name></part>{box}</object>"
    (root / "Annotations").mkdir()
    (root / "Annotations/a.xml").write_text(f"<annotation><filename>a.png</filename>{plain}{more}{more}</annotation>")
    made.photo(root / "SegmentationObject/a.png")
    expected = [
        "1 pictures of masks in SegmentationObject are not read, only boxes are",
        "not read of objects: 'difficult' (2), 'part' (2), 'pose' (2)",
    ]
    found, text = answer(capsys, "--from", "voc", "--in", root, "--to", "yolo", "--out", tmp_path / "out")
    assert found["notes"] == expected
    assert all(f"note: {note}" in text for note in expected)
    command = ["convert", "--from", "voc", "--in", str(root), "--project", str(tmp_path / "p"), "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == expected


def test_what_label_studio_says_beyond_the_newest_annotation_is_counted(tmp_path: Path) -> None:
    made.photo(tmp_path / "a.png")
    older, newer = ({"id": i, "result": [{"type": "choices", "value": {}}]} for i in (1, 2))
    task = {"id": 1, "data": {"image": "a.png"}, "annotations": [older, newer], "predictions": [{}], "drafts": [{}]}
    (tmp_path / "tasks.json").write_text(json.dumps([task]))
    assert open_dataset("labelstudio", tmp_path, None).said() == (
        "1 tasks have several annotations, of which the newest is read",
        "1 tasks have predictions beside an annotation, which are not read",
        "1 tasks have drafts that nobody submitted, which are not read",
        "not read of annotations: 'choices' (2)",
    )


def test_photo_with_other_bytes_than_were_labelled_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "--project", str(root), "--to", "coco", "--out", str(tmp_path / "out")]) == 0
    made.photo(tmp_path / "photos/3.png", seed=99)
    read = ["convert", "--from", "coco", "--in", str(tmp_path / "out"), "--images", str(tmp_path / "photos"), "--json"]
    capsys.readouterr()
    for more in (["--to", "voc", "--out", str(tmp_path / "voc")], ["--project", str(tmp_path / "second")]):
        main([*read, *more])
        captured = capsys.readouterr()
        if more[0] == "--to":
            (refused,) = json.loads(captured.out)["refused"]
            assert refused["name"] == "3.png"
            assert "other bytes: the label file says sha256" in refused["reason"]
        else:  # the other two are a machine's, so nothing is left
            assert "3.png: other bytes" in captured.err


def test_label_studio_takes_the_tasks_with_the_configuration_beside_them(root: Path, tmp_path: Path) -> None:
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason="needs the studio extra")
    assert main(["convert", "--project", str(root), "--to", "labelstudio", "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out/label_config.xml").read_text(encoding="utf-8")
    view = interface.LabelInterface(text)
    view.validate()
    for control in ("box", "mask"):
        assert list(view.get_control(control).labels) == NAMES
    tasks = json.loads((tmp_path / "out/tasks.json").read_text())
    checked = 0
    for task in tasks:
        assert view.validate_task({"data": task["data"]})
        for prediction in task.get("predictions", []):
            assert view.validate_prediction(prediction, return_errors=True) == []
            checked += len(prediction["result"])
        for annotation in task.get("annotations", []):
            assert view.validate_annotation(annotation)
            checked += len(annotation["result"])
    assert (len(tasks), checked) == (3, 4)
    foreign = interface.LabelInterface(config(["other"]))
    assert not foreign.validate_annotation(next(task["annotations"][0] for task in tasks if task.get("annotations")))


def test_class_name_that_a_configuration_cannot_hold_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = coco(tmp_path / "in", categories=[{"id": 1, "name": "a\x01b"}])
    typed = ["convert", "--from", "coco", "--in", str(path), "--to", "labelstudio", "--out", str(tmp_path / "out")]
    assert main(typed) == 1
    assert r"class 'a\x01b': Label Studio's configuration cannot hold this name" in capsys.readouterr().err


def test_photos_are_found_under_names_of_windows_of_addresses_and_in_another_case(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for name in ("sub/a b.png", "one.PNG", "two.png", "TWO.png", "100%25.png"):
        made.photo(root / name)
    assert find_picture([root], "sub\\a b.png") == root / "sub/a b.png"
    assert find_picture([root], "sub/a%20b.png") == root / "sub/a b.png"
    assert find_picture([root], "ONE.png") == root / "one.PNG"
    assert find_picture([root], "100%25.png") == root / "100%25.png"
    with pytest.raises(InputError, match="missing"):
        find_picture([root], "Two.PNG")
    for name in ("..\\photos2\\x.png", "%2e%2e/x.png", "..%2fx.png"):
        with pytest.raises(PathRefused):
            find_picture([root], name)


def yolo(root: Path, text: str = "0 0.5 0.5 0.5 0.5\n", yaml: str = "train: images\nnames: [box]\n") -> Path:
    made.photo(root / "images/a.png")
    (root / "labels").mkdir()
    (root / "labels/a.txt").write_bytes(text.encode())
    (root / "data.yaml").write_bytes(yaml.encode())
    return root


@pytest.mark.parametrize("yaml", ["train: images\nnames: [box]\n", "train: ./images/\nnames: [box]\n", None])
def test_labels_without_a_photo_are_refused_by_name(yaml: str | None, tmp_path: Path) -> None:
    root = yolo(tmp_path, yaml=yaml or "")
    if yaml is None:
        (root / "data.yaml").unlink()
        (root / "classes.txt").write_text("box\n")
    (root / "labels/gone.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "labels/classes.txt").write_text("box\n")
    entry, refused = open_dataset("yolo", root, None).entries()
    assert isinstance(entry, Entry)
    assert isinstance(refused, Refused)
    assert refused.name == "labels/gone.txt"
    assert "no photo of this name" in refused.reason


def test_keypoints_behind_a_box_are_no_polygon(tmp_path: Path) -> None:
    yaml = "train: images\nkpt_shape: [3, 2]\nnames: [box, box]\n"
    dataset = open_dataset("yolo", yolo(tmp_path, "0 0.5 0.5 0.5 0.5 .1 .1 .2 .2 .3 .3\n", yaml), None)
    (entry,) = dataset.entries()
    assert isinstance(entry, Entry)
    (item,) = entry.objects((160, 120))
    assert (item.box_xyxy, item.rle) == ((40, 30, 120, 90), None)
    assert dataset.said() == (
        "data.yaml has kpt_shape: keypoints are not read, only the boxes before them",
        "1 classes have the name of another one and are taken for the same class",
    )


def test_byte_order_marks_and_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    root = yolo(tmp_path, "\ufeff0.0 0.5 0.5 0.5 0.5  \r\n\r\n", "\ufefftrain: images\r\nnames: [box]\r\n")
    (entry,) = open_dataset("yolo", root, None).entries()
    assert isinstance(entry, Entry)
    assert [item.class_name for item in entry.objects((160, 120))] == ["box"]


@pytest.mark.parametrize("region", [{"type": []}, {"type": {}}, {"type": "rectanglelabels", "value": []}])
def test_label_studio_rubbish_is_refused_task_by_task(region: dict[str, Any], tmp_path: Path) -> None:
    tasks = [
        {"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": [region]}]},
        {"id": 2, "data": {"image": "http://[bad/a.png"}, "annotations": [{"result": []}]},
    ]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    found = list(open_dataset("labelstudio", tmp_path, None).entries())
    assert [type(one) for one in found] == [Refused, Refused]
