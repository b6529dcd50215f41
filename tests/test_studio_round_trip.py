"""The whole way on real photos: pre-labels to a real Label Studio, people correct them, exactly that comes back."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco_masks

from labeling.cli import main
from labeling.core import masks
from labeling.core.ontology import Ontology, OntologyClass
from labeling.core.records import Annotation, Provenance, Rle
from labeling.core.store import FileStamp, ImageOutcome, Store
from labeling.core.store_studio import StudioLedger
from labeling.project import Project
from tests.annotators import Annotator, brush, polygon, rectangle, region
from tests.paths import shared
from tests.studio_servers import StudioServer

pytestmark = [pytest.mark.server, pytest.mark.realdata]

PHOTOS = 60
_MOST_OBJECTS = 8
_SMALLEST_MASK = 1500  # square pixels: below, two rasterisers of one polygon differ by more than 1 %


@dataclass(frozen=True)
class Truth:
    """One object as people see it; ``points`` where one outline says it all, and the pre-label that it came from."""

    class_name: str
    box: tuple[float, float, float, float]
    rle: Rle | None
    points: npt.NDArray[np.float64] | None
    teacher_id: str | None


@dataclass(frozen=True)
class Photo:
    path: Path
    sha256: str
    size_wh: tuple[int, int]
    truth: tuple[Truth, ...]
    taught: tuple[Annotation, ...]
    fate: str


def fate_of(number: int) -> str:
    fates = ("skipped", "emptied", "accepted", "draft", "unanswered", "two people")
    return fates[number % 10] if number % 10 < len(fates) else "corrected"


def truth_of(entry: dict[str, Any], size_wh: tuple[int, int], name: str) -> Truth:
    x, y, width, height = entry["bbox"]
    parts = [np.array(ring, dtype=np.float64).reshape(-1, 2) for ring in entry["segmentation"]]
    if entry["area"] < _SMALLEST_MASK:
        return Truth(name, (x, y, x + width, y + height), None, None, None)
    merged = coco_masks.merge(coco_masks.frPyObjects([ring.ravel().tolist() for ring in parts], *size_wh[::-1]))
    rle: Rle = {"size": list(merged["size"]), "counts": merged["counts"].decode()}
    left, top, across, down = (float(edge) for edge in coco_masks.toBbox(merged))
    return Truth(name, (left, top, left + across, top + down), rle, parts[0] if len(parts) == 1 else None, None)


def taught(sha256: str, number: int, name: str, box: Any, rle: Rle | None) -> Annotation:
    made = Provenance("teacher", model="teacher of the test", prompt=name, score=0.5 + (number % 5) / 10)
    name_of = hashlib.sha256(f"{sha256} {number}".encode()).hexdigest()[:32]
    return Annotation(name_of, sha256, name, tuple(float(edge) for edge in box), made, rle)


def shifted(one: Truth, size_wh: tuple[int, int]) -> tuple[Any, Rle | None]:
    """Return the object a little to the side, as a teacher might see it."""
    x0, y0, x1, y1 = one.box
    by = max(2.0, 0.15 * (x1 - x0))
    by = by if x1 + by < size_wh[0] else -min(by, x0)
    if one.rle is None or not by:
        return (x0 + by, y0, x1 + by, y1), one.rle
    moved = np.roll(masks.decode(one.rle), round(by), axis=1)
    rle = masks.encode(moved)
    return masks.box(rle), rle


def photographed(path: Path, entries: list[dict[str, Any]], names: dict[int, str], size: Any, number: int) -> Photo:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    fate, classes = fate_of(number), sorted(set(names.values()))
    truth: list[Truth] = []
    labels: list[Annotation] = []
    for place, entry in enumerate(entries[:_MOST_OBJECTS]):
        one = truth_of(entry, size, names[entry["category_id"]])
        box, rle, name = one.box, one.rle, one.class_name
        what = ("kept", "moved", "relabelled", "missing", "spurious")[place % 5]
        if fate == "accepted":
            what = "kept"
        if what == "moved":
            box, rle = shifted(one, size)
        if what == "relabelled":
            name = next(other for other in classes if other != name)
        if what != "missing":
            labels.append(taught(sha256, place, name, box, rle))
        if what != "spurious":
            made = labels[-1].id if what != "missing" else None
            truth.append(Truth(one.class_name, one.box, one.rle, one.points, made))
    if fate == "emptied":
        truth = []
    return Photo(path, sha256, size, tuple(truth), tuple(labels), fate)


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    folder = shared("data/coco-photos")
    coco = json.loads((folder / "instances.json").read_text())
    names = {entry["id"]: entry["name"] for entry in coco["categories"]}
    plain = [one for one in coco["annotations"] if not one["iscrowd"] and min(one["bbox"][2:]) >= 4]
    by_image: dict[int, list[dict[str, Any]]] = {}
    for entry in plain:
        by_image.setdefault(entry["image_id"], []).append(entry)
    chosen = [image for image in coco["images"] if len(by_image.get(image["id"], ())) >= 3][:PHOTOS]
    assert len(chosen) == PHOTOS
    made = []
    for number, image in enumerate(chosen):
        (source,) = folder.rglob(image["file_name"])
        path = tmp_path / "photos" / image["file_name"]
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, path)
        entries = by_image[image["id"]]
        made.append(photographed(path, entries, names, (image["width"], image["height"]), number))
    return made


def label(project: Project, photos: list[Photo]) -> None:
    """Write what the teacher of the test has seen into labels.db."""
    known = project.ontology.names
    wanted = {one.class_name for photo in photos for one in (*photo.truth, *photo.taught)}
    fresh = [OntologyClass(name, (name,)) for name in sorted(wanted - set(known))]
    with project.lock(), project.open_store(create=True) as store:
        project.with_ontology(Ontology((*project.ontology.classes, *fresh)), store)
        run = store.start_run("label", {})
        outcomes = []
        for photo in photos:
            stat = photo.path.stat()
            stamp = FileStamp(str(photo.path).encode(), stat.st_size, stat.st_mtime_ns)
            width, height = photo.size_wh
            outcomes.append(
                ImageOutcome((stamp,), photo.sha256, width, height, annotations=photo.taught, done_key="test")
            )
        store.commit_batch(outcomes, run)


def corrected(photo: Photo, task: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a person makes of the regions that they see: the truth, with the regions kept where that works."""
    seen = {one["id"]: one for one in task["predictions"][0]["result"]} if task["predictions"] else {}
    pushed = {one.id: one for one in photo.taught}
    result = []
    for place, one in enumerate(photo.truth):
        shape = seen.get(one.teacher_id or "")
        if shape is None:
            result.append(fresh(f"new-{place}", one, photo.size_wh))
            continue
        before = pushed[shape["id"]]
        if (before.box_xyxy, before.rle) != (one.box, one.rle):
            redrawn = fresh(shape["id"], one, photo.size_wh)
            # A polygon cannot become a brush: people delete it and paint.
            shape = redrawn if redrawn["type"] == shape["type"] else {**redrawn, "id": f"new-{place}"}
        kind = shape["type"]
        result.append({**shape, "value": {**shape["value"], kind: [one.class_name]}})
    return result


def fresh(region_id: str, one: Truth, size_wh: tuple[int, int]) -> dict[str, Any]:
    if one.rle is None:
        return region(region_id, "rectanglelabels", rectangle(one.box, size_wh), one.class_name, size_wh)
    if one.points is not None:
        return region(region_id, "polygonlabels", polygon(one.points, size_wh), one.class_name, size_wh)
    return region(region_id, "brushlabels", brush(masks.decode(one.rle)), one.class_name, size_wh)


@pytest.fixture
def people(studio_server: StudioServer) -> Iterator[tuple[Annotator, Annotator]]:
    first = Annotator(studio_server.url, studio_server.email, studio_server.password)
    second = Annotator.signed_up(first, f"{uuid4().hex}@example.org", "a long password 1")
    yield first, second
    first.close()
    second.close()


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = main([*arguments, "--json"])
    captured = capsys.readouterr()
    assert code in (0, 2), captured.err
    answer: dict[str, Any] = json.loads(captured.out)
    return {**answer, "exit": code}


def test_what_people_say_about_sixty_real_photos_comes_back_exactly(
    studio_server: StudioServer,
    people: tuple[Annotator, Annotator],
    photos: list[Photo],
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = Project.open(studio_server.project_root)
    label(project, photos)
    here = ("--project", str(project.root))
    pushed = said(capsys, "push", *here)
    assert (pushed["new"], pushed["changed"], pushed["refused"]) == (PHOTOS, 0, [])
    assert said(capsys, "push", *here)["new"] == 0

    first, second = people
    by_image = {photo.sha256: photo for photo in photos}
    with project.open_store() as store:
        (target,) = [one for one in StudioLedger(store).targets() if one.url == studio_server.url]
    tasks = first.tasks(target.project_id)
    assert Counter(task["data"]["labelstill_id"] for task in tasks) == Counter(by_image.keys())
    assert [one["id"] for one, other in pairwise(tasks) if one["id"] >= other["id"]] == []
    for task in tasks:
        photo = by_image[task["data"]["labelstill_id"]]
        if photo.fate == "skipped":
            first.skip(task)
        elif photo.fate == "draft":
            first.draft(task, corrected(photo, task))
        elif photo.fate == "two people":
            first.submit(task, [])
            second.submit(task, corrected(photo, task))
        elif photo.fate != "unanswered":
            first.submit(task, corrected(photo, task))

    pulled = said(capsys, "pull", *here)
    fates = Counter(photo.fate for photo in photos)
    reviewed = fates["accepted"] + fates["corrected"] + fates["two people"]
    assert pulled["attention"] == []
    assert pulled["reviewed"] == reviewed == 36
    assert (pulled["reviewed_empty"], pulled["skipped"]) == (fates["emptied"], fates["skipped"])
    assert pulled["exit"] == 0
    with project.open_store() as store:
        compared = sum(compare(store, photo) for photo in photos)
    assert compared > 150
    before = snapshot(project)
    assert said(capsys, "push", *here)["new"] == 0
    said(capsys, "pull", *here)
    assert snapshot(project) == before
    assert len(first.tasks(target.project_id)) == PHOTOS


def compare(store: Store, photo: Photo) -> int:
    """Hold labels.db against the truth of one photo; return how many objects were compared."""
    state = store.states()[photo.sha256]
    expected = {"skipped": "skipped", "emptied": "reviewed-empty", "draft": "pushed", "unanswered": "pushed"}
    assert state == expected.get(photo.fate, "reviewed")
    found = store.annotations_of(photo.sha256, "human")
    if state != "reviewed":
        assert found == []
        return 0
    assert Counter(one.class_name for one in found) == Counter(one.class_name for one in photo.truth)
    left = list(found)
    for one in photo.truth:
        near = min(left, key=lambda other: distance(one, other))
        left.remove(near)
        assert distance(one, near) <= 0.5, (photo.path.name, one.class_name, one.box, near.box_xyxy)
        assert (near.rle is None) == (one.rle is None)
        if one.rle is not None and near.rle is not None:
            assert masks.iou(one.rle, near.rle) >= 0.99, (photo.path.name, one.class_name, one.box)
    return len(photo.truth)


def distance(one: Truth, other: Annotation) -> float:
    """Return the largest difference of two boxes of one class in pixels; infinite for two classes."""
    if one.class_name != other.class_name:
        return float("inf")
    return max(abs(a - b) for a, b in zip(one.box, other.box_xyxy, strict=True))


def snapshot(project: Project) -> list[Any]:
    """Return everything that people have said, as labels.db has it."""
    with project.open_store() as store:
        images = sorted(store.states().items())
        return [images, [store.annotations_of(sha256, "human") for sha256, _ in images]]
