"""Objects that were hidden for long: pieces of tracks are put together by where they should be and how they look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labeling.core.ontology import parse_classes
from labeling.core.records import Annotation, Provenance
from labeling.core.store import FileStamp, ImageOutcome, Store
from labeling.core.store_rows import Feature
from labeling.video.footage import Footage, record
from labeling.video.ledger import FrameLedger
from labeling.video.stitching import Look, Track, alike_bar, stitched
from labeling.video.taking import Film, TakenFrame
from labeling.video.tracks import Seen, Shown, link

RED, BLUE = np.eye(4, dtype=np.float32)[:2]


def seen_from(
    start: float,
    x: float,
    look: Look | None,
    *,
    count: int = 3,
    step: float = 0.0,
    side: float = 20.0,
    name: str = "box",
) -> Track:
    """Return a piece that is seen every half second and goes right by so many pixels each time."""
    track = Track(name, 0)
    for number in range(count):
        left = x + step * number
        place = round(2 * start) + number
        track.see(np.array([left, 50, left + side, 50 + side]), start + number / 2, look, place, f"{name}{place}{x:g}")
    return track


def joined(*tracks: Track, bar: float | None = 0.8) -> list[list[int]]:
    """Return which pieces are one object."""
    piece_of = {key: number for number, track in enumerate(tracks) for _, key in track.seen}
    return sorted(list(dict.fromkeys(piece_of[key] for _, key in chain)) for chain in stitched(tracks, bar))


def test_an_object_that_comes_back_as_it_was_goes_on() -> None:
    assert joined(seen_from(0, 10, RED), seen_from(6, 12, RED)) == [[0, 1]]


def test_another_look_another_class_another_shot_and_another_size_are_another_object() -> None:
    first, cut = seen_from(0, 10, RED), seen_from(6, 10, RED)
    cut.scene = 1
    others = (seen_from(6, 10, BLUE), seen_from(6, 10, RED, name="cone"), cut, seen_from(6, 10, RED, side=60))
    for other in (*others, seen_from(6, 10, None)):
        assert joined(first, other) == [[0], [1]]


def test_it_may_have_gone_on_as_it_went_and_no_further() -> None:
    first = seen_from(0, 0, RED, step=20)  # 40 pixels a second; at 5 s it should be 160 pixels further than at 1 s
    assert joined(first, seen_from(5, 200, RED)) == [[0, 1]]
    assert joined(first, seen_from(5, 600, RED)) == [[0], [1]]


def test_pieces_that_are_seen_at_one_time_or_far_apart_in_time_stay_apart() -> None:
    assert joined(seen_from(0, 10, RED), seen_from(0.5, 12, RED)) == [[0], [1]]
    assert joined(seen_from(0, 10, RED), seen_from(30, 10, RED)) == [[0], [1]]


def test_each_of_two_that_come_back_is_taken_by_the_one_it_looks_like() -> None:
    mixed = np.array([0.9, np.sqrt(1 - 0.81), 0, 0], dtype=np.float32)
    assert joined(seen_from(0, 10, RED), seen_from(0, 40, mixed), seen_from(5, 40, RED), seen_from(5, 10, mixed)) == [
        [0, 2],
        [1, 3],
    ]


def test_three_pieces_are_one_chain_and_without_a_bar_nothing_is_put_together() -> None:
    pieces = [seen_from(start, 10, RED) for start in (0, 5, 10)]
    assert joined(*pieces) == [[0, 1, 2]]
    assert joined(*pieces, bar=None) == [[0], [1], [2]]
    assert stitched([], 0.5) == []


def test_the_bar_is_what_hardly_any_two_labels_side_by_side_reach() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [21, 1, 31, 11]], dtype=np.float64)
    looks = np.array([[1, 0], [0.6, 0.8], [0.6, 0.8]], dtype=np.float32)
    # The second and third overlap, so their cosine of 1 says nothing.
    assert alike_bar([(boxes, looks)] * 10) == pytest.approx(0.6)
    assert alike_bar([(boxes, looks)] * 9) is None
    assert alike_bar([]) is None


def test_link_puts_together_what_is_gone_for_longer_than_it_waits() -> None:
    def frames(back: Look | None) -> list[Shown]:
        def other(n: int) -> Seen:
            return Seen(f"o{n}", "cone", (100, 100, 120, 120), BLUE)

        there = {**dict.fromkeys(range(5), RED), **dict.fromkeys(range(14, 30), back)}
        return [
            Shown(n / 2, 0, (*((Seen(f"a{n}", "box", (10, 10, 30, 30), there[n]),) if n in there else ()), other(n)))
            for n in range(32)
        ]

    assert [len(track) for track in link(frames(RED))] == [21, 32]
    assert sorted(len(track) for track in link(frames(None))) == [5, 16, 32]


@pytest.mark.parametrize(("model", "tracks"), [("seer/1", [21, 32]), ("another encoder", [5, 16, 32])])
def test_the_looks_are_the_features_that_the_labelling_model_gave(
    tmp_path: Path, model: str, tracks: list[int]
) -> None:
    outcomes = []
    for n in range(32):
        shown = {"box": ((10, 10, 30, 30), RED), "cone": ((100, 100, 120, 120), BLUE)}
        if 5 <= n < 14 or n >= 30:
            del shown["box"]
        labels = [
            Annotation(f"{name}{n}", f"{n:064d}", name, box, Provenance("teacher", "seer/1", score=0.9))
            for name, (box, _) in shown.items()
        ]
        looks = [Feature(f"{name}{n}", model, (3 * look).astype(np.float16)) for name, (_, look) in shown.items()]
        stamp = FileStamp(f"/{n}.jpg".encode(), 1, 1)
        outcomes.append(
            ImageOutcome(
                (stamp,), f"{n:064d}", 200, 200, annotations=tuple(labels), features=tuple(looks), done_key="k"
            )
        )
    taken = tuple(TakenFrame(n, n / 2, 0, f"{n:064d}") for n in range(32))
    with Store.open(tmp_path / "labels.db", create=True) as store:
        store.write_classes(parse_classes("box, cone"))
        store.commit_batch(outcomes, store.start_run("label", {}))
        record(store, Footage((Film("v", "v", tmp_path, 32, 0, 0, taken),)))
        assert sorted(len(seen) for seen in FrameLedger(store).tracks("v").values()) == tracks
