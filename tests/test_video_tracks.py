"""Labels of neighbouring frames that are one object: drawn ways, crossings, cuts and gaps."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.video.tracks import Seen, Shown, link


def at(x: float, y: float = 50.0, side: float = 20.0) -> tuple[float, float, float, float]:
    return (x, y, x + side, y + side)


def shown(seconds: float, *labels: tuple[str, str, tuple[float, float, float, float]], scene: int = 0) -> Shown:
    return Shown(seconds, scene, tuple(Seen(*label) for label in labels))


def keys(tracks: list[list[tuple[int, str]]]) -> list[str]:
    return sorted("".join(key[0] for _, key in track) for track in tracks)


def test_two_objects_that_cross_keep_their_own_tracks() -> None:
    frames = [
        shown(n / 2, (f"a{n}", "box", at(10 + 12 * n, 40)), (f"b{n}", "box", at(130 - 12 * n, 52))) for n in range(11)
    ]
    assert keys(link(frames)) == ["a" * 11, "b" * 11]


def test_a_fast_object_whose_boxes_never_touch_is_one_track() -> None:
    assert keys(link([shown(n / 2, (f"a{n}", "box", at(28.0 * n))) for n in range(6)])) == ["a" * 6]


def test_classes_are_never_mixed() -> None:
    frames = [shown(0, ("a", "box", at(0))), shown(1, ("b", "cone", at(0))), shown(2, ("c", "box", at(0)))]
    assert link(frames) == [[(0, "a"), (2, "c")]]


def test_a_cut_ends_every_track() -> None:
    frames = [shown(n, (f"a{n}", "box", at(0)), scene=n // 2) for n in range(4)]
    assert link(frames) == [[(0, "a0"), (1, "a1")], [(2, "a2"), (3, "a3")]]


def test_an_object_may_be_hidden_for_two_frames_and_no_longer() -> None:
    def hidden(count: int) -> list[Shown]:
        return [shown(0, ("a", "box", at(0))), *(shown(n + 1) for n in range(count)), shown(9, ("b", "box", at(0)))]

    assert link(hidden(2)) == [[(0, "a"), (3, "b")]]
    assert link(hidden(3)) == []


def test_what_is_seen_once_is_no_track_and_what_changes_its_size_is_another_object() -> None:
    assert link([shown(0, ("a", "box", at(0)))]) == []
    assert link([shown(0, ("a", "box", at(0, side=10))), shown(1, ("b", "box", at(0, side=40)))]) == []
    assert link([]) == []


boxes = st.tuples(st.floats(0, 200), st.floats(0, 200), st.floats(5, 60)).map(lambda one: at(*one))


@given(st.lists(st.lists(st.tuples(st.sampled_from("xyz"), boxes), max_size=5), max_size=8))
@settings(max_examples=80, deadline=None)
def test_no_label_is_in_two_tracks_and_no_track_twice_in_a_frame(
    scenes: list[list[tuple[str, tuple[float, ...]]]],
) -> None:
    frames = [
        shown(place, *((f"{place}-{n}", name, box) for n, (name, box) in enumerate(labels)))  # type: ignore[misc]
        for place, labels in enumerate(scenes)
    ]
    tracks = link(frames)
    used = [key for track in tracks for _, key in track]
    assert len(used) == len(set(used))
    for track in tracks:
        places = [place for place, _ in track]
        assert places == sorted(set(places))
        assert len(places) > 1
    assert link(frames) == tracks
