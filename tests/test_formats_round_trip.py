"""Every format that is written is read back: boxes within half a pixel, masks at IoU 0.99, or a counted loss."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import shapely
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from labeling.core import geometry, masks
from labeling.formats import yolo_obb
from labeling.formats.counting import count_mask
from labeling.formats.datasets import Entry
from labeling.formats.items import Corners, Item, LabelledImage
from labeling.formats.reading import labelled_image
from labeling.formats.sources import SOURCES, open_dataset
from labeling.formats.targets import TARGETS
from labeling.formats.writing import Outgoing, write_images
from labeling.formats.written import Written
from labeling.image_copies import ImageCopy
from tests import made_stores as made

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
    score = draw(st.sampled_from([None, 0.25]))
    if kind == "box":
        part = draw(st.sampled_from([0.0, 0.25, 0.4]))
        over = draw(st.sampled_from([0, 0, 0.4, 20]))
        thin = draw(st.sampled_from([0, 0, 0, 0.3, 0.8]))
        x1 = x0 + part + thin if thin else x1 - part / 2 + 2 * over
        return Item(name, (x0 + part, y0 + part - over, x1, y1 + part / 2), crowd=crowd, score=score)
    if kind == "mask":
        shape = draw(st.sampled_from(["square", "round", "dots"]))
        mask = drawn((x0, y0, x1, y1), draw(st.booleans()), draw(st.booleans()))
        if shape == "round":
            mask &= made.ellipse((x0, y0, x1, y1), SIZE) | (np.indices(mask.shape)[1] > 50)
        if shape == "dots":
            mask &= np.indices(mask.shape).sum(axis=0) % 3 > 0
        rle = masks.encode(mask)
        box = masks.box(rle)
        assert box is not None
        off = draw(st.sampled_from([0.0, 0.0, 0.4, 0.9, 2.0]))
        return Item(name, (box[0], box[1], box[2] - off, box[3]), rle, crowd=crowd, score=score)
    turned = geometry.rotated_to_corners(x0 + 6, y0, 10, 6, draw(st.sampled_from([10.0, 30.0, 45.0])))
    corners: Corners = tuple((float(x), float(y)) for x, y in turned)  # type: ignore[assignment]
    return Item(name, geometry.box_around(turned), corners=corners, crowd=crowd, score=score)


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
        outgoing,
        TARGETS[to],
        out,
        class_names=NAMES,
        kept_ids={},
        title="labelstill",
        prompts={},
        supercategories={},
        force=False,
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
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
    found: Counter[str] = Counter()
    for before, after in zip(kept, back, strict=True):
        assert [item.class_name for item in before] == [item.class_name for item in after.objects]
        for one, other in zip(before, after.objects, strict=True):
            assert one.crowd == other.crowd
            found.update(differences(form, one, other))
    assert found == {kind: done.losses[kind] for kind in FOUND_BY_READING if done.losses[kind]}


FOUND_BY_READING = ("clipped", "shifted", "scores", "masks", "turned", "to_masks", "made_turned", "coarse")


def differences(form: str, one: Item, other: Item) -> Iterator[str]:
    """Yield what became another thing on the way, by comparing what went in with what came out."""
    if one.score is not None and other.score is None:
        yield "scores"
    if one.corners is not None and other.corners is None:
        yield "turned" if other.rle is None else "to_masks"
    if one.corners is not None and other.corners is not None:
        assert hull_iou(one.corners, other.corners) > 0.99
    if form == "yolo-obb" and one.rle is not None:
        yield "made_turned"
        return
    if one.rle is not None and other.rle is None:
        yield "masks"
    elif one.rle is not None and masks.iou(one.rle, other.rle or one.rle) < 0.99:
        yield "coarse"
    if (form, one.corners is None) == ("yolo-obb", False):
        return
    inside = geometry.clip_boxes([one.box_xyxy], SIZE)[0]
    if apart(one.box_xyxy, other.box_xyxy):
        yield from ["clipped"] * apart(one.box_xyxy, inside)
        yield from ["shifted"] * apart(inside, other.box_xyxy)


def apart(box_xyxy: npt.ArrayLike, other_xyxy: npt.ArrayLike) -> bool:
    return bool(np.abs(np.subtract(box_xyxy, other_xyxy)).max() > 0.5 + 1e-6)


@pytest.mark.parametrize(("rows", "coarse"), [(200, 0), (199, 0), (198, 0), (197, 1), (190, 1)])
def test_mask_that_comes_back_below_an_iou_of_099_is_coarse(rows: int, coarse: int, tmp_path: Path) -> None:
    done = Written(tmp_path, tmp_path, Counter())
    meant, back = (masks.encode(np.arange(240)[:, None] < np.full((1, 10), end)) for end in (200, rows))
    count_mask(done, Item("box", (0.0, 0.0, 10.0, 200.0), meant), Item("box", (0.0, 0.0, 10.0, 200.0), back))
    assert done.losses["coarse"] == coarse


def hull_iou(one: Corners, other: Corners) -> float:
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


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(0, 44), st.integers(3, 60), st.integers(3, 44), st.integers(0, 179))
def test_rotated_rectangle_of_a_mask_is_the_smallest_around_its_pixels(
    x: int, y: int, across: int, down: int, degrees: int
) -> None:
    canvas = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    cv2.ellipse(canvas, (x, y), (across // 2, down // 2), degrees, 0, 360, 1, -1)
    mask = canvas.astype(bool)
    rle = masks.encode(mask)
    box = masks.box(rle)
    assert box is not None
    with TemporaryDirectory() as folder:
        done = write("yolo-obb", [[Item("box", box, rle)]], Path(folder) / "out")
        (label,) = (Path(folder) / "out/labels").iterdir()
        rectangle = shapely.Polygon(yolo_obb.corners_in(label.read_text(), SIZE))
    assert +done.losses == {"made_turned": 1}
    rows, columns = np.nonzero(mask)
    corners = np.concatenate([np.stack([columns + i, rows + j], axis=1) for i in (0, 1) for j in (0, 1)])
    assert shapely.distance(rectangle, shapely.points(corners)).max() <= 1
    smallest = shapely.minimum_rotated_rectangle(shapely.multipoints(corners))
    x0, y0, x1, y1 = smallest.bounds
    # Trainers refuse a rectangle that is larger than its image; the upright one stands in.
    fits = x1 - x0 <= SIZE[0] and y1 - y0 <= SIZE[1] and 0 <= x0 + x1 <= 2 * SIZE[0] and 0 <= y0 + y1 <= 2 * SIZE[1]
    assert rectangle.area == pytest.approx(smallest.area if fits else (box[2] - box[0]) * (box[3] - box[1]), abs=0.01)


def test_losses_that_a_reader_cannot_see_are_counted(tmp_path: Path) -> None:
    rle = masks.encode(drawn((5, 5, 30, 30), False, False))
    turned: Corners = ((10.0, 5.0), (30.0, 15.0), (25.0, 25.0), (5.0, 15.0))
    askew: Corners = ((10.0, 5.0), (50.0, 5.0), (40.0, 30.0), (20.0, 30.0))
    over: Corners = ((-40.0, 20.0), (-20.0, 0.0), (20.0, 40.0), (0.0, 60.0))
    expected = {
        "yolo-obb": {"masks": 1, "clipped": 1},
        "labelstudio": {"squared": 1},
        "yolo-seg": {"to_masks": 3, "clipped": 1, "coarse": 1},
    }
    things = [Item("box", geometry.box_around(turned), rle, turned), *(rotated(one) for one in (askew, over))]
    for form, losses in expected.items():
        done = write(form, [things], tmp_path / form)
        found = {kind: number for kind, number in (+done.losses).items() if kind != "shifted"}
        assert found.keys() | {"coarse"} == losses.keys() | {"coarse"}, form
        read(form, tmp_path / form, 1)


def rotated(corners: Corners) -> Item:
    return Item("box", geometry.box_around(corners), corners=corners)


def test_outline_over_the_edge_is_cut_as_it_looks_not_pressed_flat(tmp_path: Path) -> None:
    over: Corners = ((-20.0, 20.0), (20.0, -20.0), (40.0, 0.0), (0.0, 40.0))
    write("yolo-seg", [[rotated(over)]], tmp_path / "out")
    (back,) = read("yolo-seg", tmp_path / "out", 1)
    drawn_again = masks.polygons_to_rle([np.array(over)], SIZE[::-1])
    assert back.objects[0].rle is not None
    assert masks.iou(back.objects[0].rle, drawn_again) > 0.97


@pytest.mark.parametrize("form", sorted(TARGETS))
def test_boxes_too_thin_for_the_format_leave_a_file_that_is_read(form: str, tmp_path: Path) -> None:
    things = [Item("box", (10.0, 10.0, 10.0 + 1e-8, 30.0)), Item("no", (1.0, 2.0, 20.0, 30.0))]
    done = write(form, [things], tmp_path / "out")
    (back,) = read(form, tmp_path / "out", 1)
    assert len(back.objects) + done.losses["outside"] == 2


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
