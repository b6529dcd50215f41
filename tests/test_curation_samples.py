"""What FiftyOne shows of labels.db: every image, box, mask and fact, upright, and no number out of its range."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill.curate import build
from distill.curation import datasets
from distill.curation.samples import Looks, Remarks, sample
from distill.curation.scenes import Scene
from labeling.core import masks
from labeling.project import Project
from tests.curated import (
    CLASSES,
    THINGS,
    Curated,
    curated,
    findings,
    of,
    opened,
    suspect,
)
from tests.made_stores import Thing, ellipse, ontology, outcome, photo, write
from tests.outcomes import machine

pytestmark = pytest.mark.server


# What is shown


def test_every_image_is_a_sample_with_its_boxes_and_where_they_come_from(room: Curated, fo: Any) -> None:
    missing = suspect("missing", None, room.claim("b.png", 1), 0.9, "teacher")
    wrong = suspect("wrong class", room.label("b.png"), room.claim("b.png"), 0.7, "teacher", "looks")
    dataset = opened(fo, room, findings([missing, wrong]))
    assert re.fullmatch(r"labelstill-t-1-[0-9a-f]{8}-[0-9a-f]{8}", dataset.name)
    assert dataset.persistent
    assert set(dataset.values("labelstill_id")) == set(room.sha256.values())
    shown = of(dataset, room, "b.png")
    assert (shown.filepath, shown.state, shown.suspicion) == (str(room.path("b.png")), "reviewed", 0.9)
    assert (shown.metadata.width, shown.metadata.height) == (160, 120)
    (label,) = shown.labels.detections
    assert (label.label, label.labelstill_id, label.source, label.annotator) == (
        "pallet",
        room.label("b.png").id,
        "human",
        "ann",
    )
    assert label.bounding_box == pytest.approx([16 / 160, 12 / 120, 32 / 160, 48 / 120])
    assert (label.suspicion, label.kind, label.signals) == (0.7, "wrong class", ["teacher", "looks"])
    assert label.why == "teacher says so; looks says so"
    assert label.confidence is None
    told = [name for name in label.to_dict() if name in ("kind", "why", "suspicion", "source", "labelstill_id")]
    assert told == ["kind", "why", "suspicion", "source", "labelstill_id"]
    claims = shown.claims.detections
    assert [(one.label, one.confidence, one.model, one.prompt) for one in claims] == [
        ("box", 0.8, "drawn/1", "a box"),
        ("pallet", 0.97, "drawn/1", "a pallet"),
    ]
    (candidate,) = shown.missing.detections
    assert (candidate.labelstill_id, candidate.kind, candidate.suspicion) == (claims[1].labelstill_id, "missing", 0.9)
    assert not of(dataset, room, "a.jpg").claims.detections


def test_a_mask_is_the_part_of_the_whole_mask_inside_its_box(room: Curated, fo: Any) -> None:
    dataset = opened(fo, room)
    first = of(dataset, room, "a.jpg").labels.detections[0]
    whole = ellipse(THINGS[0].box, (160, 120))
    assert np.array_equal(first.mask, whole[12:60, 16:48])


def test_the_sidebar_offers_every_field_of_a_box(room: Curated, fo: Any) -> None:
    schema = opened(fo, room).get_field_schema(flat=True)
    for boxes in ("labels", "missing", "claims"):
        for name in ("suspicion", "kind", "why", "source", "model", "annotator", "prompt", "labelstill_id", "signals"):
            assert f"{boxes}.detections.{name}" in schema
    for name in ("state", "suspicion", "brightness", "sharpness", "near_duplicates", "keep", "gap", "labelstill_id"):
        assert name in schema


def test_facts_groups_and_gaps_of_the_photos_are_shown(room: Curated, fo: Any) -> None:
    a, b, c = room.sha256.values()
    with room.store.transaction() as db:
        db.execute("INSERT INTO photo_facts VALUES (?, 0.25, 0.1, 12.5, 'Cam X', NULL, x'00')", (a,))
    found = findings(
        groups=[{"kind": "near", "members": (b, a)}, {"kind": "sequence", "members": (c,)}],
        pairs=[{"first": b, "second": a, "similarity": 0.96}],
        gaps=[(c,)],
    )
    dataset = opened(fo, room, found)
    first, second, third = (of(dataset, room, name) for name in room.sha256)
    assert (first.brightness, first.sharpness, first.camera, second.brightness) == (0.25, 12.5, "Cam X", None)
    assert (first.near_duplicates, first.keep, second.near_duplicates, second.keep) == (1, False, 1, True)
    assert (first.similarity, third.similarity) == (0.96, None)
    assert (third.near_duplicates, third.series, third.gap, first.gap) == (None, 2, 1, None)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_box_of_a_marked_corner_lies_on_it_however_the_camera_was_held(
    tmp_path: Path, fo: Any, orientation: int
) -> None:
    upright = np.full((60, 100, 3), 90, dtype=np.uint8)
    upright[5:20, 70:95] = (250, 20, 20)
    # What the camera stores, so that a viewer who turns it by the tag sees it upright.
    stored = {
        1: lambda one: one,
        2: lambda one: one[:, ::-1],
        3: lambda one: one[::-1, ::-1],
        4: lambda one: one[::-1],
        5: lambda one: one.transpose(1, 0, 2),
        6: lambda one: np.rot90(one),
        7: lambda one: one[::-1, ::-1].transpose(1, 0, 2),
        8: lambda one: np.rot90(one, -1),
    }[orientation](upright)
    path = tmp_path / "photos" / "held.jpg"
    path.parent.mkdir()
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=98, subsampling=0)
    project = Project.create(tmp_path / "project", ontology(CLASSES))
    with project.open_store(create=True) as store:
        write(store, CLASSES, [outcome([path], [Thing("box", (70.0, 5.0, 95.0, 20.0))], (100, 60))])
        (shown,) = fo.load_dataset(build(project, store, findings()).name)
        with Image.open(shown.filepath) as picture:
            assert picture.getexif().get(274, 1) == 1
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert (shown.filepath == str(path)) == (orientation == 1)
        height, width = pixels.shape[:2]
        x, y, wide, high = shown.labels.detections[0].bounding_box
        box = [round(x * width), round(y * height), round((x + wide) * width), round((y + high) * height)]
        red = (pixels[..., 0] > 200) & (pixels[..., 1] < 80)
        rows, columns = np.nonzero(red)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(np.subtract(box, found)).max() <= 1
        datasets.delete(datasets.names(project)[0])


def test_pictures_that_browsers_do_not_show_are_copied_and_no_photo_changes(tmp_path: Path, fo: Any) -> None:
    room = curated(tmp_path, ["scan.tif", "plain.png", "plain.bmp"], reviewed="")
    before = {name: room.path(name).read_bytes() for name in room.sha256}
    shown = {one.name.rpartition("/")[2]: Path(one.filepath) for one in opened(fo, room)}
    media = room.project.root / "curation" / "media"
    assert shown["scan.tif"].is_relative_to(media)
    assert shown["scan.tif"].suffix == ".png"
    assert (shown["plain.png"], shown["plain.bmp"]) == (room.path("plain.png"), room.path("plain.bmp"))
    assert before == {name: room.path(name).read_bytes() for name in room.sha256}
    shutil.rmtree(media)
    opened(fo, room)
    assert shown["scan.tif"].is_file()
    datasets.delete(datasets.names(room.project)[0])


def test_images_whose_photo_is_gone_or_another_one_are_left_out_by_name(room: Curated, fo: Any) -> None:
    room.path("a.jpg").unlink()
    photo(room.path("c.jpg"), seed=99)
    built = build(room.project, room.store, findings())
    assert built.left_out == {
        str(room.path("a.jpg")): "the photo is gone: put it back",
        str(
            room.path("c.jpg")
        ): "the file holds another picture than the one that was labelled: run labelstill label again",
    }
    assert built.images == 1
    photo(room.path("a.jpg"), THINGS, seed=0)
    assert build(room.project, room.store, findings()).images == 2


@pytest.mark.parametrize(
    "box", [(1.0, 1.0, math.nan, 5.0), (-9.0, 0.0, 20.0, 20.0), (0.0, 0.0, 20.0, 300.0), (1.0, 1.0, math.inf, 9.0)]
)
def test_a_box_outside_the_picture_is_refused_with_the_name_of_the_image(box: Any, fo: Any) -> None:
    good = machine("x", 1, rle=None)
    bad = machine("x", 2, rle=None, box_xyxy=box)
    scene = Scene("5" * 64, "/photos/x.jpg", (20, 20), "prelabelled", (bad, good), ())
    made, refused = sample(scene, "/photos/x.jpg", Remarks())
    assert [one.labelstill_id for one in made.labels.detections] == [good.id]
    assert len(refused) == 1
    assert refused[0].startswith("/photos/x.jpg: box (")


def test_numbers_out_of_range_are_refused_with_the_name_of_the_image(fo: Any) -> None:
    label = machine("x", 1, rle=None)
    wild = replace(label, provenance=replace(label.provenance, score=1.5))
    off = suspect("spurious", label, None, math.nan, "looks")
    scene = Scene(label.sha256, "/photos/x.jpg", (20, 20), "prelabelled", (wild, label), ())
    remarks = Remarks(suspects={label.id: off}, looks=Looks(brightness=math.nan, sharpness=-1.0, similarity=2.0))
    made, refused = sample(scene, "/photos/x.jpg", remarks)
    assert (made.brightness, made.sharpness, made.similarity, made.suspicion) == (None, None, None, 0.0)
    assert not made.labels.detections
    assert [line.split(":")[0] for line in refused] == ["/photos/x.jpg"] * 5


def test_a_large_mask_is_thinned_out_and_keeps_its_shape() -> None:
    from distill.curation.samples import _mask

    whole = ellipse((100.0, 50.0, 1900.0, 1150.0), (2000, 1200))
    thin = _mask(masks.encode(whole), (100, 50, 1900, 1150), (2000, 1200))
    assert np.array_equal(thin, whole[50:1150, 100:1900][::4, ::4])
