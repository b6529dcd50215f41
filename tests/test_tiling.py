"""Large images in tiles, seen by a detector that is exact: what is drawn comes out once, wherever the seams are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeling.core import geometry, masks
from labeling.core.errors import InputError
from labeling.core.ontology import Ontology, parse_classes
from labeling.teachers.filter_settings import FilterSettings
from labeling.teachers.interfaces import Detected, RgbImage, Segmented
from labeling.teachers.teacher import Labelled, Teacher
from labeling.teachers.tiles import AUTO_ABOVE_PX, OVERLAP, Tiling, looks, starts, tiling_of
from labeling.teachers.tiling import TiledDetector, TiledSegmenter, windows

ONTOLOGY = parse_classes("red, blue")
SIDE = 64
TILING = Tiling(SIDE, SIDE)

Box = tuple[int, int, int, int]


class Components:
    """Finds each patch of red or blue, whole or cut; the more of its class's colour, the surer.

    Args:
        fits: how many images a call can hold before it runs out of memory.
        draws: whether it draws the masks itself.
    """

    def __init__(self, fits: int = 1000, draws: bool = False) -> None:
        self.fits = fits
        self.draws = draws
        self.calls: list[int] = []

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        if len(images) > self.fits:
            raise MemoryError("no room for that many")
        if images:
            self.calls.append(len(images))
        return [self._one(image) for image in images]

    def _one(self, image: RgbImage) -> Detected:
        import supervision as sv

        boxes, classes, rles = [], [], []
        for class_id, channel in enumerate((0, 2)):
            others = [other for other in range(3) if other != channel]
            mask = (image[..., channel] > 127) & (image[..., others] < 128).all(axis=2)
            count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
            for number in range(1, count):
                x, y, width, height = (int(value) for value in stats[number, :4])
                boxes.append((x, y, x + width, y + height))
                classes.append(class_id)
                rles.append(masks.encode(labels == number))
        data = {"prompt": np.array([ONTOLOGY.names[class_id] for class_id in classes], dtype=object)}
        if self.draws:
            data["rle"] = np.empty(len(rles), dtype=object)
            data["rle"][:] = rles
            data["mask_score"] = np.ones(len(rles), dtype=np.float32)
        detections = sv.Detections(
            xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
            confidence=np.full(len(boxes), 0.9, dtype=np.float32),
            class_id=np.array(classes, dtype=int),
            data=data,
        )
        return Detected(detections, image.mean(axis=(0, 1)).astype(np.float16))


class Filling:
    """A segmenter that fills each box, and remembers what it was shown."""

    def __init__(self, fits: int = 1000) -> None:
        self.fits = fits
        self.shapes: list[tuple[int, ...]] = []

    def segment(self, images: Sequence[RgbImage], boxes_xyxy: Sequence[npt.NDArray[np.float32]]) -> list[Segmented]:
        if len(images) > self.fits:
            raise MemoryError("no room for that many")
        self.shapes += [image.shape[:2] for image in images]
        return [self._one(image, boxes) for image, boxes in zip(images, boxes_xyxy, strict=True)]

    def _one(self, image: RgbImage, boxes: npt.NDArray[np.float32]) -> Segmented:
        rles = []
        for x0, y0, x1, y1 in boxes.round().astype(int):
            mask = np.zeros(image.shape[:2], dtype=bool)
            mask[y0:y1, x0:x1] = True
            rles.append(masks.encode(mask))
        return Segmented(tuple(rles), np.full(len(boxes), 0.7, np.float32), image.mean(axis=(0, 1)).astype(np.float16))


def drawn(size_wh: tuple[int, int], red: Sequence[Box] = (), blue: Sequence[Box] = ()) -> RgbImage:
    image = np.full((size_wh[1], size_wh[0], 3), 255, dtype=np.uint8)
    for boxes, colour in ((red, (255, 0, 0)), (blue, (0, 0, 255))):
        for x0, y0, x1, y1 in boxes:
            image[y0:y1, x0:x1] = colour
    return image


def found(image: RgbImage, detector: Components | None = None) -> Labelled:
    teacher = Teacher(detector or Components(), None, ONTOLOGY, (0.5, 0.5), FilterSettings(), tiling=TILING)
    return teacher.label([image])[0]


def boxes_of(labelled: Labelled, class_id: int) -> list[list[float]]:
    rows = labelled.detections
    return sorted(rows.xyxy[rows.class_id == class_id].tolist())


def assert_same(boxes: list[list[float]], expected: Sequence[Box], least_iou: float = 1.0) -> None:
    assert len(boxes) == len(expected)
    if expected:
        overlap = geometry.iou(np.array(sorted(expected), dtype=np.float32), np.array(boxes, dtype=np.float32))
        assert overlap.diagonal().min() >= least_iou


SEAM = starts(200, SIDE)[1]
"""Where the second column of tiles begins in an image 200 pixels wide."""


@pytest.mark.parametrize(
    "box",
    [
        (SEAM - 6, 5, SEAM + 6, 15),  # on the left edge of a tile
        (SIDE - 5, 5, SIDE + 5, 15),  # on the right edge of one
        (SEAM - 6, SEAM - 6, SEAM + 8, SEAM + 8),  # on the corner of four
        (SIDE - 4, SIDE - 4, SIDE + 6, SIDE + 6),
        (SEAM + 1, 20, SIDE - 1, 30),  # all of the overlap
        (0, 0, 10, 10),  # in the corner of the image
        (190, 190, 200, 200),
    ],
)
def test_an_object_on_a_seam_comes_out_once_and_exact(box: Box) -> None:
    labelled = found(drawn((200, 200), red=[box]))
    assert_same(boxes_of(labelled, 0), [box])
    assert boxes_of(labelled, 1) == []
    assert labelled.notes == ("tiled",)


@pytest.mark.parametrize("box", [(30, 40, 150, 160), (0, 0, 200, 190), (10, 90, 195, 120), (60, 8, 90, 190)])
def test_an_object_larger_than_a_tile_comes_out_once(box: Box) -> None:
    assert_same(boxes_of(found(drawn((200, 200), red=[box])), 0), [box], least_iou=0.9)


def test_what_no_coarser_look_saw_is_put_together_from_its_parts() -> None:
    class Nearsighted(Components):
        """Sees nothing that fills less than a third of what it is shown: not the object once it is shrunk."""

        def _one(self, image: RgbImage) -> Detected:
            seen = super()._one(image)
            sides = seen.detections.xyxy[:, 2:] - seen.detections.xyxy[:, :2]
            return Detected(seen.detections[sides.min(axis=1, initial=99) >= 20], seen.image_feature)

    box = (10, 40, 180, 70)
    labelled = found(drawn((200, 100), red=[box]), Nearsighted())
    assert_same(boxes_of(labelled, 0), [box])
    assert labelled.drops["part_of_an_object_at_the_edge_of_a_tile", ""] > 0


def test_dense_neighbours_stay_apart() -> None:
    rows = [(x, y, x + 9, y + 9) for x in range(2, 190, 12) for y in range(2, 190, 12)]
    assert_same(boxes_of(found(drawn((200, 200), red=rows)), 0), rows)


def test_neighbours_on_both_sides_of_a_seam_stay_two() -> None:
    pair = [(SEAM - 14, 4, SEAM - 1, 20), (SEAM + 1, 4, SEAM + 14, 20)]
    assert_same(boxes_of(found(drawn((200, 200), red=pair)), 0), pair)
    labelled = found(drawn((200, 200), red=pair[:1], blue=pair[1:]))
    assert_same(boxes_of(labelled, 0), pair[:1])
    assert_same(boxes_of(labelled, 1), pair[1:])


def test_a_small_object_in_front_of_a_large_one_of_its_class_stays() -> None:
    """Seen apart by a frame of another colour; both are cut by the same seams."""
    image = drawn((200, 200), red=[(SEAM - 30, 20, SEAM + 60, 110)])
    image[50:80, SEAM - 12 : SEAM + 14] = 255
    image[56:74, SEAM - 6 : SEAM + 8] = (255, 0, 0)
    expected: list[Box] = [(SEAM - 30, 20, SEAM + 60, 110), (SEAM - 6, 56, SEAM + 8, 74)]
    assert_same(boxes_of(found(image), 0), expected, least_iou=0.95)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[tuple[int, int], list[Box], list[Box]]:
    """Rectangles in cells of their own: two pixels shrunk away by the coarsest look do not join them."""
    columns, rows, cell = draw(st.integers(2, 5)), draw(st.integers(2, 5)), draw(st.sampled_from((20, 45, 90)))
    red: list[Box] = []
    blue: list[Box] = []
    for column in range(columns):
        for row in range(rows):
            kind = draw(st.sampled_from(("none", "red", "blue")))
            inset = draw(st.tuples(*[st.integers(3, cell // 3)] * 4))
            x, y = column * cell, row * cell
            box = (x + inset[0], y + inset[1], x + cell - inset[2], y + cell - inset[3])
            if kind != "none":
                (red if kind == "red" else blue).append(box)
    return (columns * cell, rows * cell), red, blue


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenes())
def test_every_object_comes_out_once_with_its_class(scene: tuple[tuple[int, int], list[Box], list[Box]]) -> None:
    size, red, blue = scene
    labelled = found(drawn(size, red, blue))
    for class_id, expected in ((0, red), (1, blue)):
        boxes = np.array(boxes_of(labelled, class_id), dtype=np.float32).reshape(-1, 4)
        assert len(boxes) == len(expected)
        if expected:
            overlap = geometry.iou(np.array(expected, dtype=np.float32), boxes)
            assert overlap.max(axis=1).min() >= 0.75
    if len(labelled.detections):
        corners = labelled.detections.xyxy
        assert (corners >= 0).all()
        assert (corners <= np.array([*size, *size])).all()


@settings(max_examples=12, deadline=None)
@given(scenes(), scenes(), st.integers(1, 9))
def test_results_depend_neither_on_the_batch_nor_on_the_order_of_images(
    one: tuple[tuple[int, int], list[Box], list[Box]], other: tuple[tuple[int, int], list[Box], list[Box]], fits: int
) -> None:
    images = [drawn((width + 65, height), red, blue) for (width, height), red, blue in (one, other)]
    expected = TiledDetector(Components(), TILING).detect(images, ONTOLOGY, 0.1)
    turned = TiledDetector(Components(fits), TILING).detect(images[::-1], ONTOLOGY, 0.1)[::-1]
    for result, again in zip(expected, turned, strict=True):
        assert result.detections == again.detections
        assert result.dropped == again.dropped
        assert result.image_feature is not None
        assert again.image_feature is not None
        assert result.image_feature.tolist() == again.image_feature.tolist()


def test_tiles_share_calls_and_memory_that_runs_out_makes_calls_smaller() -> None:
    image = drawn((300, 300), [(5, 5, 20, 20)])
    detector = Components()
    TiledDetector(detector, TILING).detect([image, image], ONTOLOGY, 0.1)
    count = sum(1 for _ in looks(image, SIDE))
    assert detector.calls == [8] * (2 * count // 8) + [2 * count % 8] * (2 * count % 8 > 0)
    small = Components(fits=3)
    TiledDetector(small, TILING).detect([image], ONTOLOGY, 0.1)
    assert max(small.calls) <= 3
    assert sum(small.calls) == count
    with pytest.raises(MemoryError):
        TiledDetector(Components(fits=0), TILING).detect([image], ONTOLOGY, 0.1)


def test_smaller_images_reach_the_detector_as_they_are() -> None:
    class Whole(Components):
        def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
            self.given = list(images)
            self.answer = super().detect(images, ontology, floor)
            return self.answer

    images = [drawn((64, 40), [(3, 3, 20, 20)]), drawn((30, 64))]
    detector = Whole()
    answer = TiledDetector(detector, TILING).detect(images, ONTOLOGY, 0.1)
    assert answer is detector.answer
    assert all(given is image for given, image in zip(detector.given, images, strict=True))
    assert found(images[0]).notes == ()


def test_the_feature_of_the_image_is_that_of_the_look_at_all_of_it() -> None:
    image = drawn((200, 160), [(0, 0, 100, 160)])
    (result,) = TiledDetector(Components(), TILING).detect([image], ONTOLOGY, 0.1)
    assert result.image_feature is not None
    assert result.image_feature.tolist() == pytest.approx([255, 127.5, 127.5], abs=1)


def test_masks_that_a_detector_draws_are_moved_and_put_together() -> None:
    boxes: list[Box] = [(SEAM - 6, 5, SEAM + 6, 15), (10, 100, 190, 180)]
    image = drawn((200, 200), red=boxes)
    rows = found(image, Components(draws=True)).detections
    rles = [rle for _, rle in sorted(zip(rows.xyxy[:, 1].tolist(), rows.data["rle"], strict=True))]
    for rle, box in zip(rles, boxes, strict=True):
        truth = (drawn((200, 200), red=[box]) == (255, 0, 0)).all(axis=2)
        assert rle["size"] == [200, 200]
        assert masks.iou(rle, masks.encode(truth)) >= 0.9
    assert masks.iou(rles[0], masks.encode((drawn((200, 200), red=boxes[:1]) == (255, 0, 0)).all(axis=2))) == 1


def test_a_panorama_is_never_shown_as_a_thin_strip() -> None:
    image = drawn((1000, 40), red=[(20, 5, 700, 35)], blue=[(900, 3, 930, 37)])
    assert all(min(pixels.shape[:2]) >= SIDE // 4 for _, pixels in looks(image, SIDE))
    labelled = found(image, Components(draws=True))
    assert_same(boxes_of(labelled, 0), [(20, 5, 700, 35)], least_iou=0.7)
    assert_same(boxes_of(labelled, 1), [(900, 3, 930, 37)], least_iou=0.75)
    for rle, box in zip(labelled.detections.data["rle"], labelled.detections.xyxy, strict=True):
        assert rle["size"] == [40, 1000]
        assert masks.box(rle) == pytest.approx(box, abs=3)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(64, 1500))
def test_tiles_lie_edge_to_edge_and_overlap_enough(length: int, side: int) -> None:
    begins = starts(length, side)
    assert begins[0] == 0
    assert begins[-1] == max(length - side, 0)
    assert all(0 < later - one <= side - OVERLAP * side for one, later in pairwise(begins))


def test_looks_grow_coarser_until_one_shows_everything() -> None:
    image = drawn((500, 130), [(100, 20, 400, 100)])
    seen = list(looks(image, SIDE))
    assert [look.level for look, _ in seen] == sorted(look.level for look, _ in seen)
    assert all(max(pixels.shape[:2]) <= SIDE and pixels.flags.c_contiguous for _, pixels in seen)
    whole = [look for look, _ in seen if not any(look.inner)]
    assert whole == [seen[-1][0]]
    assert whole[0].xyxy == pytest.approx((0, 0, 500, 130))
    covered = np.zeros(image.shape[:2], dtype=bool)
    for look, pixels in seen:
        if look.level == 0:
            x0, y0, x1, y1 = (int(edge) for edge in look.xyxy)
            assert (image[y0:y1, x0:x1] == pixels).all()
            covered[y0:y1, x0:x1] = True
    assert covered.all()


@pytest.mark.parametrize("width", [SIDE + 1, 100, 2 * SIDE + 1, 500])
def test_the_look_at_the_whole_is_shrunk_no_further_than_to_a_tile(width: int) -> None:
    *_, (look, pixels) = looks(drawn((width, 60)), SIDE)
    assert look.xyxy == (0, 0, width, 60)
    assert pixels.shape[1] == SIDE


def test_only_very_large_images_are_cut_unless_asked_for() -> None:
    automatic = tiling_of(None)
    assert automatic is not None
    assert not automatic.cuts(np.zeros((10, AUTO_ABOVE_PX, 3), np.uint8))
    assert automatic.cuts(np.zeros((AUTO_ABOVE_PX + 1, 10, 3), np.uint8))
    assert tiling_of(0) is None
    assert tiling_of(300) == Tiling(300, 300)
    with pytest.raises(InputError, match="--tile is 20: expected 0 for no tiles, or a side of 64 pixels or more"):
        tiling_of(20)


boxes_in_image = st.lists(
    st.tuples(st.integers(0, 900), st.integers(0, 600), st.integers(4, 400), st.integers(4, 300)).map(
        lambda row: (row[0], row[1], min(row[0] + row[2], 1000), min(row[1] + row[3], 700))
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(boxes_in_image)
def test_each_box_is_in_one_window_that_holds_it_with_a_margin(boxes: list[Box]) -> None:
    array = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    cut = windows(array, (1000, 700), SIDE)
    assert sorted(int(row) for _, rows in cut for row in rows) == list(range(len(boxes)))
    for (x0, y0, x1, y1), rows in cut:
        assert 0 <= x0 < x1 <= 1000
        assert 0 <= y0 < y1 <= 700
        for left, top, right, bottom in array[rows]:
            margin = 0.25 * max(right - left, bottom - top)
            assert x0 <= max(left - margin, 0)
            assert y0 <= max(top - margin, 0)
            assert x1 >= min(right + margin, 1000)
            assert y1 >= min(bottom + margin, 700)
            assert max(x1 - x0, y1 - y0) <= max(SIDE, 2 * (max(right - left, bottom - top) + 2 * margin + 2))


@pytest.mark.parametrize("fits", [1000, 1])
def test_masks_of_a_large_image_come_from_windows_around_the_boxes(fits: int) -> None:
    image = drawn((1000, 700))
    boxes: list[Box] = [(3, 4, 20, 30), (980, 690, 1000, 700), (400, 300, 430, 320), (405, 310, 440, 330)]
    large = (100, 50, 900, 650)
    segmenter = Filling(fits)
    small = np.array([(3, 3, 30, 30)], dtype=np.float32)
    (first, other) = TiledSegmenter(segmenter, TILING).segment(
        [image, drawn((64, 50))], [np.array([*boxes, large], dtype=np.float32), small]
    )
    assert all(max(shape) <= SIDE for shape in segmenter.shapes)
    for rle, (x0, y0, x1, y1) in zip(first.rles, boxes, strict=False):
        truth = np.zeros((700, 1000), dtype=bool)
        truth[y0:y1, x0:x1] = True
        assert rle is not None
        assert (masks.decode(rle) == truth).all()
    assert first.rles[-1] is not None
    assert masks.box(first.rles[-1]) == pytest.approx(large, abs=10)
    assert first.scores.tolist() == pytest.approx([0.7] * 5)
    assert first.image_feature is not None
    assert other.rles[0] is not None
    assert masks.box(other.rles[0]) == (3, 3, 30, 30)


def test_a_segmenter_sees_smaller_images_as_they_are() -> None:
    segmenter = Filling()
    (result,) = TiledSegmenter(segmenter, TILING).segment([drawn((64, 50))], [np.zeros((0, 4), np.float32)])
    assert segmenter.shapes == [(50, 64)]
    assert result.rles == ()


masks_drawn = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1)).map(
    lambda row: np.random.default_rng(row[2]).random((row[0], row[1])) < 0.5
)


@given(masks_drawn, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(1, 4))
def test_a_mask_is_placed_and_stretched_as_its_pixels_are(
    mask: npt.NDArray[np.bool_], left: int, top: int, right: int, below: int, times: int
) -> None:
    stretched = np.kron(mask, np.ones((times, times), dtype=bool)).astype(bool)
    height, width = stretched.shape
    dense = np.pad(stretched, ((top, below), (left, right)))
    box = (float(left), float(top), float(left + width), float(top + height))
    rle = masks.placed(masks.encode(mask), box, (dense.shape[0], dense.shape[1]))
    assert rle == masks.encode(dense)


def test_a_mask_in_a_huge_image_is_placed_without_its_pixels() -> None:
    mask = masks.encode(np.ones((1000, 1000), dtype=bool))
    rle = masks.placed(mask, (1e4, 2e4, 1e4 + 1000, 2e4 + 1000), (100_000, 100_000))
    assert masks.area(rle) == 1_000_000
    assert masks.box(rle) == (1e4, 2e4, 1e4 + 1000, 2e4 + 1000)


def test_the_slicer_of_supervision_finds_the_same_where_no_object_is_cut_everywhere() -> None:
    """A second implementation: its parts go by intersection over smaller area, whole boxes by the same."""
    import supervision as sv

    rows = [(x, y, x + 9, y + 9) for x in range(2, 190, 23) for y in range(2, 190, 23)]
    image = drawn((200, 200), red=rows)

    def look(part: RgbImage) -> sv.Detections:
        seen = Components()._one(part).detections
        return sv.Detections(xyxy=seen.xyxy, confidence=seen.confidence, class_id=seen.class_id)

    slicer = sv.InferenceSlicer(
        look, slice_wh=SIDE, overlap_wh=SIDE // 4,
        overlap_filter=sv.OverlapFilter.NON_MAX_MERGE, overlap_metric=sv.OverlapMetric.IOS,
    )  # fmt: skip
    assert sorted(slicer(image).xyxy.tolist()) == boxes_of(found(image), 0)


@pytest.mark.torch
def test_a_tile_is_taken_from_the_spec(tmp_path: Path) -> None:
    from labeling.teachers.backends import TeacherSpec
    from labeling.teachers.teacher import build_teacher
    from tests import tiny_models

    detector = tiny_models.save_grounding_dino(tmp_path / "dino")
    segmenter = tiny_models.save_sam2(tmp_path / "sam")
    spec = TeacherSpec(
        weights=str(detector), segmenter="sam2", segmenter_weights=str(segmenter), device="cpu", score=0.0
    )
    image = np.random.default_rng(0).integers(0, 255, (96, 160, 3), dtype=np.uint8)
    results: Callable[[int | None], Labelled] = lambda tile: build_teacher(  # noqa: E731
        TeacherSpec(**{**{name: getattr(spec, name) for name in spec.__slots__}, "tile": tile}),
        parse_classes("box, cone"),
        FilterSettings(),
    ).label([image])[0]
    plain, never, cut = results(None), results(0), results(80)
    assert plain.notes == never.notes == ()
    assert cut.notes == ("tiled",)
    assert plain.detections == never.detections
    assert {"prompt", "feature", "rle", "mask_score", "flags"} <= set(cut.detections.data)
    assert all(rle is None or rle["size"] == [96, 160] for rle in cut.detections.data["rle"])
