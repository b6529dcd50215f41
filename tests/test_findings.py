"""What a report says, against hand-counted labels."""

from __future__ import annotations

import random

from labeling.core.records import Annotation, ImageRecord, Provenance
from labeling.findings import ClassFindings, collect


def image(number: int, copies: int = 1) -> ImageRecord:
    paths = tuple(f"p/{number:03d}-{copy}.jpg" for copy in range(copies))
    return ImageRecord(f"{number:064x}", 64, 48, "prelabelled", None, paths)


def label(number: int, name: str, score: float | None) -> Annotation:
    source = "human" if score is None else "teacher"
    identity = f"{number}{name}{score}"
    return Annotation(identity, f"{number:064x}", name, (0, 0, 9, 9), Provenance(source, score=score))  # type: ignore[arg-type]


def labelled() -> list[tuple[ImageRecord, list[Annotation]]]:
    return [
        (image(1), [label(1, "cone", 0.9), label(1, "cone", 0.2), label(1, "box", 0.5)]),
        (image(2, copies=3), []),
        (image(3), [label(3, "cone", 0.4), label(3, "box", None)]),
    ]


def test_counts_are_those_of_the_labels() -> None:
    found = collect(labelled(), ["box", "cone", "ladder"], sample_size=10, unsure_size=2)
    assert {name: (row.objects, row.images) for name, row in found.classes.items()} == {
        "box": (2, 2),
        "cone": (3, 2),
        "ladder": (0, 0),
    }
    assert (found.images, found.empty, found.copies, found.objects) == (3, 1, 2, 5)
    assert found.classes["cone"].median == 0.4
    assert found.classes["ladder"].median is None
    assert found.classes["cone"].histogram(10) == [0, 0, 1, 0, 1, 0, 0, 0, 0, 1]


def test_least_sure_are_the_lowest_scores_and_never_human_labels() -> None:
    found = collect(labelled(), ["box", "cone"], sample_size=10, unsure_size=3)
    assert [(row[0].sha256, row[1].provenance.score) for row in found.unsure] == [
        (f"{1:064x}", 0.2),
        (f"{3:064x}", 0.4),
        (f"{1:064x}", 0.5),
    ]


def test_sample_holds_every_class_and_an_empty_image_before_any_class_twice() -> None:
    many = [(image(n), [label(n, "common", 0.5)]) for n in range(300)]
    many += [(image(n), []) for n in range(300, 310)]
    many += [(image(310), [label(310, "rare", 0.5)])]
    found = collect(many, ["common", "rare"], sample_size=5, unsure_size=1)
    kept = {int(row.sha256 or "", 16) for row in found.sample}
    assert len(kept) == 5
    assert 310 in kept
    assert any(300 <= n < 310 for n in kept)


def test_answer_does_not_depend_on_the_order_of_the_images() -> None:
    many = [(image(n), [label(n, "ab"[n % 2], n / 1000)]) for n in range(999)]
    first = collect(many, ["a", "b"], sample_size=6, unsure_size=4)
    random.Random(0).shuffle(many)
    assert collect(many, ["a", "b"], sample_size=6, unsure_size=4) == first


def test_score_of_one_falls_into_the_last_bin() -> None:
    found = ClassFindings()
    found.add(1.0)
    assert found.histogram(20)[-1] == 1
