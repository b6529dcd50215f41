"""Demo scenes: the same seed gives the same bytes, and boxes and masks are the truth about the picture."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from labeling.demo.objects import COLOURS, NOUNS, Brush
from labeling.demo.photos import write_photos
from labeling.demo.scenes import UNSEEN_PAIRS, all_pairs, render_scene


def test_there_are_twelve_nouns_and_eight_colours_or_more() -> None:
    assert len(NOUNS) >= 12
    assert len(COLOURS) == 8
    assert {"forklift", "pallet", "box", "barrel", "cone", "ladder", "person", "helmet"} <= set(NOUNS)


def test_same_seed_same_bytes() -> None:
    first, again = (render_scene(3, pairs=all_pairs()) for _ in range(2))
    assert first.jpeg == again.jpeg
    assert [thing.box_xyxy for thing in first.things] == [thing.box_xyxy for thing in again.things]
    assert render_scene(4, pairs=all_pairs()).jpeg != first.jpeg


def test_picture_is_what_the_file_decodes_to() -> None:
    scene = render_scene(5, pairs=all_pairs())
    decoded = np.asarray(Image.open(io.BytesIO(scene.jpeg)))
    assert decoded.shape == scene.picture.shape == (360, 480, 3)
    assert np.abs(decoded.astype(int) - scene.picture.astype(int)).max() <= 3  # two JPEG decoders


def test_boxes_enclose_their_masks_exactly_and_masks_do_not_overlap() -> None:
    seen = 0
    for seed in range(30):
        scene = render_scene(seed, pairs=all_pairs(unseen=True))
        total = np.zeros(scene.picture.shape[:2], int)
        for thing in scene.things:
            x0, y0, x1, y1 = (int(value) for value in thing.box_xyxy)
            inside = np.zeros_like(thing.mask)
            inside[y0:y1, x0:x1] = True
            assert not (thing.mask & ~inside).any()
            assert thing.mask[y0].any()
            assert thing.mask[y1 - 1].any()
            assert thing.mask[:, x0].any()
            assert thing.mask[:, x1 - 1].any()
            assert min(x1 - x0, y1 - y0) >= 12
            total += thing.mask
            seen += 1
        assert total.max() <= 1
    assert seen > 60


def test_mask_covers_the_colour_that_was_drawn() -> None:
    """A red box on a grey floor: the mask's pixels are redder than the rest."""
    scene = render_scene(11, pairs=(("red", "box"),), most=1)
    (thing,) = scene.things
    picture = scene.picture.astype(int)
    redness = picture[..., 0] - picture[..., 1:].mean(-1)
    assert np.median(redness[thing.mask]) > np.median(redness[~thing.mask]) + 60


@pytest.mark.parametrize("noun", sorted(NOUNS))
def test_every_noun_draws_the_same_pixels_into_picture_and_mask(noun: str) -> None:
    picture, ids = np.zeros((200, 400, 3), np.uint8), np.zeros((200, 400), np.uint8)
    brush = Brush(picture, ids, 7, (200, 30, 30), (200.0, 180.0), 90.0, 1.0)
    NOUNS[noun].draw(brush, np.random.default_rng(0))
    drawn = picture.any(-1)
    assert set(np.unique(ids)) == {0, 7}
    assert ((ids == 7) & ~drawn).sum() == 0
    rim = cv2.dilate((ids == 7).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert not (drawn & ~rim).any()  # antialiasing goes a pixel or two beyond the mask


def test_training_pairs_leave_the_unseen_ones_out() -> None:
    training = all_pairs()
    assert len(UNSEEN_PAIRS) == 16
    assert not UNSEEN_PAIRS & set(training)
    assert len(training) + len(UNSEEN_PAIRS) == len(all_pairs(unseen=True)) == 8 * len(NOUNS)
    shown = {(t.colour, t.noun) for seed in range(60) for t in render_scene(seed, pairs=training).things}
    assert len(shown) > 60
    assert not shown & UNSEEN_PAIRS


def test_photos_are_written_once(tmp_path: Path) -> None:
    write_photos(tmp_path, 2)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    write_photos(tmp_path, 3)
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(before) == 2
    assert len(after) == 3
    assert before.items() <= after.items()
