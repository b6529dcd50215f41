"""Balance and readiness: counts by hand and by a second implementation, planted blur, thresholds to the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.balance import Balance, ClassBalance, balance
from distill.curation.photo_facts import PhotoFacts, measured
from distill.curation.readiness import Verdict, repeat_factor, verdict
from distill.curation.scenes import Scene
from distill.curation.slices import Slice, limits, relative_sharpness
from labeling.core.records import Annotation, ImageState, Provenance
from tests.outcomes import digest
from tests.paths import shared

Box = tuple[float, float, float, float]

NAMES = ("box", "cat", "dog")


def scene(
    name: str, *labels: tuple[str, Box], state: ImageState = "prelabelled", size_wh: tuple[int, int] = (320, 160)
) -> Scene:
    made = tuple(
        Annotation(digest(f"{name} {row}")[:32], digest(name), class_name, box, Provenance("teacher"))
        for row, (class_name, box) in enumerate(labels)
    )
    return Scene(digest(name), f"{name}.jpg", size_wh, state, made, ())


def many(count: int, *class_names: str, start: int = 0, state: ImageState = "prelabelled") -> list[Scene]:
    """Return scenes that hold one box of each class."""
    labels = [(name, (100.0, 40.0, 150.0, 90.0)) for name in class_names]
    return [scene(f"{class_names} {start + row}", *labels, state=state) for row in range(count)]


def facts(
    name: str,
    brightness: float = 0.5,
    contrast: float = 0.2,
    sharpness: float = 500.0,
    camera: str | None = None,
    taken_at: str | None = None,
) -> PhotoFacts:
    thumbnail = np.zeros((48, 48), dtype=np.uint8)
    return PhotoFacts(digest(name), brightness, contrast, sharpness, camera, taken_at, thumbnail)


def by_image(*some: PhotoFacts) -> dict[str, PhotoFacts]:
    return {one.sha256: one for one in some}


def of(found: Balance, name: str) -> ClassBalance:
    return next(one for one in found.classes if one.name == name)


def kind(found: Balance, name: str) -> Slice:
    return next(one for one in found.slices if one.name == name)


# Counts


def test_counts_are_those_of_pencil_and_paper() -> None:
    scenes = [
        scene("a", ("box", (10, 10, 41, 41)), ("box", (100, 50, 200, 150)), ("cat", (0, 20, 40, 60)), state="reviewed"),
        scene("b", ("box", (280, 100, 320, 140))),
        scene("c", state="reviewed-empty"),
    ]
    found = balance(scenes, NAMES, {})
    assert (found.images, found.empty_images, found.reviewed_images, found.boxes) == (3, 1, 2, 4)
    boxes = of(found, "box")
    assert (boxes.images, boxes.boxes, boxes.reviewed_images) == (2, 3, 1)
    assert (boxes.small, boxes.medium, boxes.large) == (1, 1, 1)  # 31 x 31, 40 x 40, 100 x 100
    assert boxes.touching_border == 1
    assert boxes.median_rel_area == pytest.approx(40 * 40 / (320 * 160))
    assert of(found, "cat").touching_border == 1
    assert of(found, "dog") == ClassBalance("dog", 0, 0, 0, 0, 0, 0, 0, 0.0, "none", 150, 1.0)
    assert found.together.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert found.rel_areas == pytest.approx(np.array([31**2, 100**2, 40**2, 40**2]) / (320 * 160))
    # Centres: (25.5, 25.5), (150, 100), (20, 40), (300, 120) in cells of 20 x 10 pixels.
    cells = {(int(y), int(x)): n for (y, x), n in np.ndenumerate(found.positions) if n}
    assert cells == {(2, 1): 1, (10, 7): 1, (4, 1): 1, (12, 15): 1}
    assert found.slices == ()
    assert len(found.brightness) == 0


@pytest.mark.parametrize(
    ("side", "small", "medium", "large"), [(31.99, 1, 0, 0), (32, 0, 1, 0), (95.99, 0, 1, 0), (96, 0, 0, 1)]
)
def test_sizes_change_where_those_of_coco_do(side: float, small: int, medium: int, large: int) -> None:
    (one,) = balance([scene("a", ("box", (10, 10, 10 + side, 10 + side)))], ["box"], {}).classes
    assert (one.small, one.medium, one.large) == (small, medium, large)


def test_a_box_that_leaves_the_image_counts_with_the_part_inside() -> None:
    outside = scene("a", ("box", (-100, -100, 20, 20)), ("box", (-5, -5, 1000, 1000)), ("box", (900, 900, 950, 950)))
    (one,) = balance([outside], ["box"], {}).classes
    assert (one.small, one.medium, one.large, one.touching_border) == (2, 0, 1, 3)
    found = balance([outside], ["box"], {})
    assert found.rel_areas == pytest.approx([400 / 51200, 1.0, 0.0])
    assert found.positions[0, 0] == 1
    assert found.positions[15, 15] == 2


def test_scenes_are_read_once() -> None:
    reads = 0

    def source() -> Iterator[Scene]:
        nonlocal reads
        reads += 1
        yield from many(5, "box")

    assert balance(source(), NAMES, by_image(facts("('box',) 0"))).images == 5
    assert reads == 1


def test_no_image_at_all_is_an_answer_too() -> None:
    found = balance([], NAMES, {})
    assert (found.images, found.boxes, found.rel_areas.shape, found.remarks) == (0, 0, (0,), ())
    assert {one.verdict for one in found.classes} == {"none"}
    assert balance([], (), {}).together.shape == (0, 0)


def test_a_class_that_is_not_asked_for_is_left_out() -> None:
    found = balance(many(3, "box", "ghost"), ["box"], {})
    assert (found.boxes, found.together.tolist()) == (3, [[3]])


BOXES = st.tuples(
    st.sampled_from(NAMES), st.floats(0, 300), st.floats(0, 150), st.floats(0.5, 200), st.floats(0.5, 200)
)


@given(st.lists(st.lists(BOXES, max_size=6), max_size=8))
def test_counts_are_those_of_a_second_implementation(
    rows: Sequence[Sequence[tuple[str, float, float, float, float]]],
) -> None:
    scenes = [
        scene(str(place), *((name, (x, y, x + w, y + h)) for name, x, y, w, h in row)) for place, row in enumerate(rows)
    ]
    found = balance(scenes, NAMES, {})
    labels = [(one.sha256, label) for one in scenes for label in one.labels]
    for row, name in enumerate(NAMES):
        held = {sha256 for sha256, label in labels if label.class_name == name}
        clipped = [
            (min(label.box_xyxy[2], 320) - label.box_xyxy[0]) * (min(label.box_xyxy[3], 160) - label.box_xyxy[1])
            for _, label in labels
            if label.class_name == name
        ]
        one = found.classes[row]
        assert (one.images, one.boxes) == (len(held), len(clipped))
        assert [one.small, one.medium, one.large] == np.histogram(clipped, [0, 1024, 9216, 1e9])[0].tolist()
        for column, other in enumerate(NAMES):
            both = held & {sha256 for sha256, label in labels if label.class_name == other}
            assert found.together[row, column] == len(both)
    assert found.positions.sum() == found.boxes == len(labels)
    assert found.empty_images == sum(not one.labels for one in scenes)


def test_areas_of_many_boxes_are_a_sample_that_looks_like_all_of_them() -> None:
    sides = np.linspace(1, 100, 251)
    rows = [scene(str(row), *[("box", (0, 0, float(side), float(side))) for side in sides]) for row in range(100)]
    found = balance(rows, ["box"], {})
    assert len(found.rel_areas) == 20_000
    assert np.median(found.rel_areas) == pytest.approx(50.5**2 / 51200, rel=0.05)
    assert (found.rel_areas == balance(rows, ["box"], {}).rel_areas).all()


# Readiness


@pytest.mark.parametrize(
    ("images", "reviewed", "subtle", "said", "wanted"),
    [
        (0, 0, False, "none", 150),
        (1, 1, False, "too few", 149),
        (149, 149, False, "too few", 1),
        (150, 0, False, "enough to start", 0),
        (499, 499, False, "enough to start", 0),
        (500, 499, False, "enough to start", 0),
        (500, 500, False, "ready", 0),
        (0, 0, True, "none", 500),
        (150, 150, True, "too few", 350),
        (499, 499, True, "too few", 1),
        (500, 0, True, "enough to start", 0),
        (500, 500, True, "ready", 0),
    ],
)
def test_a_class_is_judged_by_its_images(images: int, reviewed: int, subtle: bool, said: Verdict, wanted: int) -> None:
    scenes = many(reviewed, "box", state="reviewed") + many(images - reviewed, "box", start=reviewed)
    (one,) = balance(scenes, ["box"], {}, subtle=["box"] if subtle else []).classes
    assert (one.verdict, one.wanted_images, one.reviewed_images) == (said, wanted, reviewed)
    assert verdict(images, reviewed, subtle=subtle) == said


def test_many_boxes_in_few_images_are_few_images() -> None:
    crowded = scene("a", *[("box", (float(x), 0.0, x + 10.0, 10.0)) for x in range(300)])
    assert balance([crowded], ["box"], {}).classes[0].verdict == "too few"


@pytest.mark.parametrize(
    ("share", "below", "times"),
    [(0.025, 0.1, 2.0), (0.1, 0.1, 1.0), (0.9, 0.1, 1.0), (0.001, 0.1, 10.0), (0.00025, 0.001, 2.0), (0.0, 0.1, 1.0)],
)
def test_rare_classes_are_repeated_by_the_root_of_their_share(share: float, below: float, times: float) -> None:
    assert repeat_factor(share, below) == pytest.approx(times)


def test_oversampling_counts_images_and_takes_another_threshold() -> None:
    scenes = [*many(39, "box"), scene("rare", *[("cat", (0, 0, 9, 9))] * 5)]
    assert of(balance(scenes, NAMES, {}), "cat").oversample == pytest.approx(2.0)  # sqrt(0.1 / (1 / 40))
    assert of(balance(scenes, NAMES, {}, oversample_below=0.4), "cat").oversample == pytest.approx(4.0)
    assert of(balance(scenes, NAMES, {}), "box").oversample == 1.0


# Remarks


def empty(count: int, state: ImageState = "prelabelled") -> list[Scene]:
    return [scene(f"empty {row}", state=state) for row in range(count)]


@pytest.mark.parametrize(("held", "bare", "warned"), [(2, 198, True), (3, 197, False), (0, 99, False)])
def test_ninety_nine_empty_images_of_a_hundred_say_that_detection_may_be_wrong(
    held: int, bare: int, warned: bool
) -> None:
    found = balance([*many(held, "box"), *empty(bare)], NAMES, {})
    assert any("detection may be the wrong tool" in remark for remark in found.remarks) == warned
    if warned:
        assert "99 % of the images hold none of the classes (if the teacher has not missed them)" in found.remarks[0]


def test_what_people_called_empty_is_not_doubted() -> None:
    found = balance([*many(1, "box", state="reviewed"), *empty(199, "reviewed-empty")], NAMES, {})
    assert "99.5 % of the images hold none of the classes: detection" in found.remarks[0]


def test_one_class_that_has_nearly_all_boxes_is_named() -> None:
    found = balance([*many(198, "box"), *many(2, "cat")], NAMES, {})
    assert any("99 % of the boxes are box" in remark for remark in found.remarks)
    assert balance(many(200, "box"), ["box"], {}).remarks == ()


def test_a_class_that_never_comes_alone_is_named_with_its_companion() -> None:
    scenes = [*many(100, "cat", "dog"), *many(100, "dog"), *many(200, "box")]
    found = balance(scenes, NAMES, {})
    assert [remark for remark in found.remarks if "hardly ever" in remark] == [
        "cat is hardly ever seen without dog: a student may learn the one from the other; collect images with cat alone"
    ]


def test_a_class_of_small_boxes_asks_for_larger_pictures() -> None:
    scenes = [scene(str(row), ("box", (0, 0, 10, 10)), ("cat", (0, 0, 50, 50))) for row in range(100)]
    (remark,) = [one for one in balance(scenes, NAMES, {}).remarks if "pixels" in one]
    assert remark.startswith("100 % of the boxes of box are smaller than 32 x 32 pixels")


# Plan


def test_the_plan_says_what_to_collect_what_to_review_and_what_to_repeat() -> None:
    scenes = [*many(160, "box"), *many(12, "cat"), *many(8, "cat", start=12, state="reviewed")]
    assert list(balance(scenes, NAMES, {}).plan) == [
        "collect 150 images of each class that has none yet: dog",
        "collect images until there are 150: cat has 20",
        "label next: 172 of 180 images were never reviewed; labelstill next 20 names those that teach most",
        "review first the images in which the teacher saw a rare class: cat (12)",
        "review images until 150 of each class are reviewed: box has 0 of 160",
        "collect images without any object, up to 10% of all: they teach what is no object, and there is none yet",
    ]


def test_nothing_is_left_to_plan_for_a_set_that_is_ready() -> None:
    scenes = [*many(500, "box", state="reviewed"), *empty(50, "reviewed-empty")]
    found = balance(scenes, ["box"], {})
    assert (found.classes[0].verdict, found.plan, found.remarks) == ("ready", (), ())


def test_a_step_that_many_classes_need_is_one_sentence() -> None:
    names = [f"class {row}" for row in range(80)]
    plan = balance(many(5, *names[:40]), names, {}).plan
    few = ", ".join(f"class {row} has 5" for row in range(6))
    none = ", ".join(f"class {row}" for row in range(40, 46))
    assert [line for line in plan if line.startswith("collect")] == [
        f"collect 150 images of each class that has none yet: {none} and 34 more",
        f"collect images until there are 150: {few} and 34 more",
    ]


def test_a_rare_class_is_to_be_shown_more_often() -> None:
    scenes = [*many(3900, "box", state="reviewed"), *many(100, "cat", state="reviewed"), *empty(1, "reviewed-empty")]
    plan = balance(scenes, ["box", "cat"], {}).plan
    assert "oversample: show images of these classes more often in training: cat 2.0 times" in plan


def test_a_class_that_is_never_seen_in_the_dark_is_to_be_collected_there() -> None:
    scenes = [*many(100, "box"), *many(100, "cat")]
    light = [
        replace(facts("x"), sha256=one.sha256, brightness=0.1 if place < 20 else 0.5)
        for place, one in enumerate(scenes)
    ]
    found = balance(scenes, ["box", "cat"], by_image(*light))
    assert kind(found, "dark").class_images == (20, 0)
    assert "collect cat in photos that are dark: none of 20 holds one" in found.plan
    assert not any("collect box in photos" in line for line in found.plan)
    assert "collect photos that are bright or blurred if the camera will see such: there is none yet" in found.plan


# Photos


def test_photos_are_sorted_into_kinds_with_their_boxes() -> None:
    scenes = [scene(name, ("box", (0, 0, 9, 9)), ("cat", (0, 0, 9, 9))) for name in "abcd"] + [scene("e"), scene("f")]
    known = by_image(
        facts("a", brightness=0.19),
        facts("b", brightness=0.86, taken_at="2021-06-05T19:59:59"),
        facts("c", sharpness=10.0, camera="ACME Eye", taken_at="2021-06-05T20:00:00"),
        facts("d", contrast=0.03, sharpness=0.0, camera="ACME Eye", taken_at="2021-06-05T05:59:59"),
        facts("e"),
        facts("elsewhere", brightness=0.01),
    )
    found = balance(scenes, NAMES, known)
    assert {(one.name, one.images, one.boxes) for one in found.slices} == {
        ("dark", 1, 2), ("bright", 1, 2), ("blurred", 1, 2), ("flat", 1, 2), ("taken at night", 2, 4),
    }  # fmt: skip
    assert kind(found, "blurred").members == (digest("c"),)
    assert kind(found, "taken at night").class_images == (2, 2, 0)
    assert kind(found, "dark").rule == "brightness under 0.20"
    assert found.brightness == pytest.approx([0.19, 0.86, 0.5, 0.5, 0.5])
    assert found.sharpness == pytest.approx([500, 500, 10, 0, 500])
    assert found.cameras == Counter({"ACME Eye": 2})
    assert found.hours == Counter({19: 1, 20: 1, 5: 1})


def test_without_any_time_nothing_is_said_about_the_night() -> None:
    assert "taken at night" not in [
        one.name for one in balance(many(1, "box"), NAMES, by_image(facts("('box',) 0"))).slices
    ]


def test_limits_follow_the_photos_but_not_beyond_what_is_clear() -> None:
    even = limits([facts(str(row)) for row in range(50)])
    # Even light has no spread; the floor of 0.02 leaves 0.43 and 0.57, which the clear limits cut.
    assert [even.dark, even.bright] == pytest.approx([0.4, 0.6])
    # A median of 0.3 with a median deviation of 0.02: 0.3 - 3.5 x 1.4826 x 0.02 is under 0.2, and above it 0.4038.
    spread = limits([facts(str(row), brightness=0.3 + 0.02 * (row % 3 - 1)) for row in range(51)])
    assert spread.dark == pytest.approx(0.2)
    assert spread.bright == pytest.approx(0.6)
    wild = limits([facts(str(row), brightness=value) for row, value in enumerate(np.linspace(0, 1, 101))])
    assert [wild.dark, wild.bright] == pytest.approx([0.2, 0.85])
    middle = limits([facts(str(row), brightness=0.5 + 0.03 * (row % 3 - 1)) for row in range(51)])
    assert middle.dark == pytest.approx(0.5 - 3.5 * 1.4826 * 0.03)
    assert middle.bright == pytest.approx(0.5 + 3.5 * 1.4826 * 0.03)


def test_few_photos_are_judged_by_what_holds_for_all() -> None:
    few = limits([facts(str(row), brightness=0.5) for row in range(19)])
    assert (few.dark, few.bright, few.flat, few.blurred) == (0.2, 0.85, 0.04, 0.005)


def test_soft_light_is_no_blur() -> None:
    drawn = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    soft = (drawn // 4 + 96).astype(np.uint8)
    hard, faint = (
        relative_sharpness(replace(facts("a"), brightness=b, contrast=c, sharpness=s))
        for b, c, s in (measured(drawn), measured(soft))
    )
    assert faint == pytest.approx(hard, rel=0.05)
    assert relative_sharpness(facts("a", contrast=0.0, sharpness=0.0)) == 0


def _facts_of(pixels: npt.ArrayLike, name: str) -> PhotoFacts:
    return facts(name, *measured(np.asarray(pixels, dtype=np.uint8)))


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["bccd/images", "coco-photos/images"])
def test_planted_blur_and_darkness_are_found_and_real_photos_are_left_alone(folder: str) -> None:
    paths = sorted(shared("data", *Path(folder).parts).glob("*.jpg"))[:80]
    real, blurred, dark = [], [], []
    for path in paths:
        pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        pixels = cv2.resize(pixels, (512, 512 * pixels.shape[0] // pixels.shape[1]), interpolation=cv2.INTER_AREA)
        real.append(_facts_of(pixels, f"real {path.name}"))
        if len(real) % 8 == 0:
            blurred.append(_facts_of(cv2.GaussianBlur(pixels, (0, 0), 4), f"blurred {path.name}"))
            dark.append(_facts_of(pixels // 5, f"dark {path.name}"))
    known = by_image(*real, *blurred, *dark)
    found = balance([Scene(one, "", (9, 9), "prelabelled", (), ()) for one in known], (), known)
    assert len(real) == 80
    planted = {one.sha256 for one in blurred}
    caught = set(kind(found, "blurred").members)
    assert len(caught & planted) >= 0.9 * len(planted)
    assert len(caught - planted) <= 0.02 * len(known)
    assert {one.sha256 for one in dark} <= set(kind(found, "dark").members)
    assert kind(found, "dark").images <= len(dark) + 2
