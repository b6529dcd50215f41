"""Every format that is written is read back: boxes within half a pixel, masks at IoU 0.99, or a counted loss."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from labeling.core import geometry, masks
from labeling.formats.datasets import Entry
from labeling.formats.items import Corners, Item, LabelledImage
from labeling.formats.reading import labelled_image
from labeling.formats.sources import SOURCES, open_dataset
from labeling.formats.targets import TARGETS
from labeling.formats.writing import Outgoing, write_images
from labeling.formats.written import Written
from labeling.image_copies import ImageCopy

SIZE = (64, 48)
NAMES = ["box", "größe 北京", "12:30", "no"]


def drawn(box: tuple[int, int, int, int], hole: bool, second: bool) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    x0, y0, x1, y1 = box
    mask = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    mask[y0:y1, x0:x1] = True
    if hole:
        mask[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3] = False
    if second:
        mask[44:48, 60:64] = True
    return mask


@st.composite
def items(draw: st.DrawFn) -> Item:
    x0, y0 = draw(st.integers(0, 40)), draw(st.integers(0, 30))
    x1, y1 = x0 + draw(st.integers(9, 18)), y0 + draw(st.integers(9, 13))
    name, crowd = draw(st.sampled_from(NAMES)), draw(st.integers(0, 7)) == 0
    kind = draw(st.sampled_from(["box", "mask", "corners"]))
    if kind == "box":
        part = draw(st.sampled_from([0.0, 0.25, 0.4]))
        return Item(name, (x0 + part, y0 + part, x1 - part / 2, y1 + part / 2), crowd=crowd)
    if kind == "mask":
        rle = masks.encode(drawn((x0, y0, x1, y1), draw(st.booleans()), draw(st.booleans())))
        box = masks.box(rle)
        assert box is not None
        return Item(name, box, rle, crowd=crowd)
    turned = geometry.rotated_to_corners(x0 + 6, y0, 10, 6, draw(st.sampled_from([10.0, 30.0, 45.0])))
    corners: Corners = tuple((float(x), float(y)) for x, y in turned)  # type: ignore[assignment]
    return Item(name, geometry.box_around(turned), corners=corners, crowd=crowd)


IMAGES = st.lists(st.lists(items(), max_size=4), min_size=1, max_size=3)


def picture(seed: int) -> ImageCopy:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)).save(
        buffer, "PNG"
    )
    return ImageCopy(buffer.getvalue(), ".png", hashlib.sha256(buffer.getvalue()).hexdigest())


PICTURES = [picture(seed) for seed in range(4)]


def write(to: str, images: Sequence[Sequence[Item]], out: Path) -> Written:
    """Write images that all have the same name in different folders."""
    outgoing = [outgoing_image(f"{i}/größe.png", things, i) for i, things in enumerate(images)]
    return write_outgoing(to, outgoing, out)


def outgoing_image(name: str, things: Sequence[Item], number: int) -> Outgoing:
    image = LabelledImage(name, SIZE, tuple(things), PICTURES[number].sha256)
    return Outgoing(image, name, partial(PICTURES.__getitem__, number))


def write_outgoing(to: str, outgoing: Sequence[Outgoing], out: Path) -> Written:
    return write_images(
        outgoing, TARGETS[to], out, class_names=NAMES, kept_ids={}, title="labelstill", prompts={}, force=False
    )


def read(form: str, out: Path, count: int) -> list[LabelledImage]:
    """Read images back in the order in which they were written."""
    if form == "coco":
        for i in range(count):
            (out / f"{i}").mkdir()
            (out / f"{i}/größe.png").write_bytes(PICTURES[i].data)
    found: dict[str, LabelledImage] = {}
    for entry in open_dataset(form, out, None).entries():
        assert isinstance(entry, Entry), entry
        sha256 = hashlib.sha256(entry.picture().read_bytes()).hexdigest()
        found[sha256] = labelled_image(entry, SIZE, sha256)
    assert len(found) == count
    return [found[PICTURES[i].sha256] for i in range(count)]


def test_every_format_goes_both_ways() -> None:
    assert TARGETS.keys() == SOURCES.keys()
    assert len(TARGETS) == 7


HOLDS_CROWDS = ("coco",)
HOLDS_MASKS = ("coco", "yolo-seg", "labelstudio", "autodistill")


@pytest.mark.parametrize("form", sorted(TARGETS))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(IMAGES)
@example([[], [Item("no", (0.0, 0.0, 64.0, 48.0))], []])
def test_what_was_written_is_read_back_or_counted(form: str, images: list[list[Item]]) -> None:
    with TemporaryDirectory() as folder:
        done = write(form, images, Path(folder) / "out")
        back = read(form, Path(folder) / "out", len(images))
    kept = [[item for item in things if form in HOLDS_CROWDS or not item.crowd] for things in images]
    assert done.losses["crowd"] == sum(map(len, images)) - sum(map(len, kept))
    assert (done.images, done.empty) == (len(images), sum(not things for things in kept))
    assert done.objects.total() == sum(map(len, kept))
    # VOC has whole pixels only; a rotated rectangle around a mask has a larger box than the mask.
    tolerance = 0.5 + 1e-6 if form == "voc" else 0.05
    lost_masks = unlike = 0
    for before, after in zip(kept, back, strict=True):
        assert [item.class_name for item in before] == [item.class_name for item in after.objects]
        for one, other in zip(before, after.objects, strict=True):
            assert one.crowd == other.crowd
            if form == "yolo-obb":
                assert other.corners is not None
                if one.rle is not None:
                    continue
            clipped = geometry.clip_boxes([one.box_xyxy], SIZE)[0]
            around = geometry.clip_boxes([other.box_xyxy], SIZE)[0]
            smoothed = 1.0 if one.rle is not None and form in ("yolo-seg", "autodistill") else 0.0
            assert np.abs(clipped - around).max() <= tolerance + smoothed
            if one.rle is not None and other.rle is None:
                lost_masks += 1
            elif one.rle is not None:
                assert other.rle is not None
                unlike += masks.iou(one.rle, other.rle) < 0.95
            if one.corners is not None and form in ("yolo-obb", "labelstudio"):
                assert other.corners is not None
                assert hull_iou(one.corners, other.corners) > 0.99
    assert lost_masks == done.losses["masks"]
    assert unlike == done.losses["coarse"]
    made_turned = sum(item.rle is not None for things in kept for item in things) if form == "yolo-obb" else 0
    assert done.losses["made_turned"] == made_turned


def hull_iou(one: Corners, other: Corners) -> float:
    import shapely

    first, second = shapely.Polygon(one), shapely.Polygon(other)
    return float(first.intersection(second).area / first.union(second).area)


@pytest.mark.parametrize("form", HOLDS_MASKS)
@pytest.mark.parametrize("hole", [False, True])
def test_mask_of_one_part_comes_back_at_099(form: str, hole: bool, tmp_path: Path) -> None:
    rle = masks.encode(drawn((5, 5, 50, 40), hole, False))
    done = write(form, [[Item("box", (5.0, 5.0, 50.0, 40.0), rle)]], tmp_path / "out")
    (back,) = read(form, tmp_path / "out", 1)
    assert back.objects[0].rle is not None
    assert masks.iou(back.objects[0].rle, rle) >= 0.99
    assert +done.losses == {}


@pytest.mark.parametrize("form", ["coco", "labelstudio"])
def test_mask_in_parts_with_holes_comes_back_exactly_as_one_object(form: str, tmp_path: Path) -> None:
    rle = masks.encode(drawn((5, 5, 30, 30), True, True))
    write(form, [[Item("box", (5.0, 5.0, 64.0, 48.0), rle)]], tmp_path / "out")
    (back,) = read(form, tmp_path / "out", 1)
    assert [item.rle for item in back.objects] == [rle]


def test_parts_that_a_line_cannot_hold_are_bridged_and_counted(tmp_path: Path) -> None:
    rle = masks.encode(drawn((5, 5, 30, 30), False, True))
    done = write("yolo-seg", [[Item("box", (5.0, 5.0, 64.0, 48.0), rle)]], tmp_path / "out")
    (back,) = read("yolo-seg", tmp_path / "out", 1)
    assert len(back.objects) == 1
    assert done.losses["bridged"] == 1


@pytest.mark.parametrize("form", sorted(TARGETS))
def test_same_stems_and_255_byte_names_stay_apart(form: str, tmp_path: Path) -> None:
    long = "北" * 83 + "ab.png"
    assert len(long.encode()) == 255
    names = [long, "a/" + long, "a/x.png", "b/x.jpg"]
    things = [(Item("box", (1.0, 2.0, 20.0 + i, 30.0)),) for i in range(4)]
    outgoing = [outgoing_image(name, things[i], i) for i, name in enumerate(names)]
    write_outgoing(form, outgoing, tmp_path / "out")
    if form == "coco":
        names = [image["file_name"] for image in json.loads((tmp_path / "out/annotations.json").read_text())["images"]]
        assert len(set(names)) == 4
        return
    back = read(form, tmp_path / "out", 4)
    assert [round(image.objects[0].box_xyxy[2]) for image in back] == [20, 21, 22, 23]


def test_autodistill_split_follows_from_the_hashes_alone(tmp_path: Path) -> None:
    def split(images: Sequence[Sequence[Item]], out: Path) -> dict[str, str]:
        done = write("autodistill", images, out)
        found = {hashlib.sha256(path.read_bytes()).hexdigest(): path.parts[-3] for path in out.rglob("*.png")}
        assert sum(part == "valid" for part in found.values()) == done.splits["valid"]
        return found

    first, again = split([[], [], [], []], tmp_path / "1"), split([[], [], [], []], tmp_path / "2")
    assert first == again
    assert set(first.values()) == {"train", "valid"}
    assert (tmp_path / "1/ontology.json").exists()
