"""The training of the bundled teacher: words, targets, the decoder's start, and a run that was cut off."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeling.demo.objects import COLOURS, NOUNS
from labeling.demo.scenes import UNSEEN_PAIRS
from tests.paths import ROOT

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _scripts_on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "demo_teacher"]:
        del sys.modules[name]


def test_vocabulary_has_the_ids_that_the_model_has_built_in_and_every_word() -> None:
    from demo_teacher.words import vocabulary

    table = vocabulary()
    assert [table[token] for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "?")] == [0, 100, 101, 102, 1012, 1029]
    assert sorted(table.values()) == list(range(len(table)))
    assert {*COLOURS, *NOUNS} <= set(table)


def test_captions_never_name_a_pair_that_is_held_out_and_spans_hold_their_tokens() -> None:
    from demo_teacher.words import Phrase, draw_caption, spell

    rng = np.random.default_rng(0)
    pairs = 0
    for _ in range(200):
        caption = draw_caption(rng, [("red", "box"), ("blue", "cone")], 20)
        ids, spans = spell(caption)
        assert [ids[start:stop] for start, stop in spans] == [phrase.tokens() for phrase in caption]
        for phrase in caption:
            assert not any(phrase.colour and phrase.fits(*pair) for pair in UNSEEN_PAIRS)
            pairs += phrase.colour is not None
    assert pairs > 500
    assert Phrase("red", "carton").fits("red", "box")
    assert not Phrase("red", "carton").fits("blue", "box")
    assert not Phrase(None, None).fits("red", "box")


def test_every_box_gets_tokens_near_its_centre_on_fitting_levels() -> None:
    import torch
    from demo_teacher import detector as d

    boxes = torch.tensor([[0.25, 0.5, 0.08, 0.1], [0.7, 0.5, 0.5, 0.8]])
    which = d.assign(boxes)
    for index, strides in ((0, {8.0}), (1, {32.0})):
        hit = which == index
        assert set(d._POINT_STRIDES[hit].tolist()) <= strides
        assert hit.any()
        middle = boxes[index, :2] * torch.tensor(d.DETECTOR_WH)
        assert ((d._POINTS[hit] - middle).abs().amax(-1) <= 1.5 * d._POINT_STRIDES[hit]).all()
    assert (d.assign(torch.zeros(0, 4)) == -1).all()


def test_decoder_starts_with_the_boxes_of_the_proposals() -> None:
    import torch
    from demo_teacher import detector as d

    torch.manual_seed(0)
    model = d.build(20).eval()
    d.start_quietly(model)
    d.start_as_pass_through(model)
    pixels = torch.randn(1, 3, d.DETECTOR_WH[1], d.DETECTOR_WH[0])
    with torch.no_grad():
        outputs = model(pixel_values=pixels, input_ids=torch.tensor([[101, 1030, 1012, 102]]))
    assert torch.allclose(outputs.pred_boxes, outputs.init_reference_points, atol=1e-5)


def test_run_that_was_cut_off_continues_at_its_step(tmp_path: Path) -> None:
    import torch
    from demo_teacher.loop import train

    def run(folder: Path, steps: int, stop_at: int | None = None) -> tuple[list[int], torch.nn.Linear]:
        torch.manual_seed(1)
        model, seen = torch.nn.Linear(2, 1), []

        def batches(first: int) -> Iterator[Any]:
            for step in range(first, steps):
                if step == stop_at:
                    raise KeyboardInterrupt
                yield step

        def loss_of(step: Any) -> torch.Tensor:
            seen.append(step)
            return model(torch.full((1, 2), float(step))).square().mean()

        groups: list[dict[str, object]] = [{"params": list(model.parameters()), "lr": 1e-2}]
        train("toy", model, groups, batches, loss_of, steps, folder, every=5)
        return seen, model

    folders = tmp_path / "whole", tmp_path / "cut"
    for folder in folders:
        folder.mkdir()
    _, whole = run(folders[0], 20)
    with pytest.raises(KeyboardInterrupt):
        run(folders[1], 20, stop_at=13)
    seen, continued = run(folders[1], 20)
    assert seen == list(range(10, 20))
    assert torch.equal(whole.weight, continued.weight)


def test_segmenter_is_shown_boxes_around_its_masks_and_the_noun_of_every_pixel() -> None:
    import torch
    from demo_teacher import segmenter as s
    from demo_teacher.shards import shrink

    from labeling.demo.scenes import all_pairs, render_scene

    scene = render_scene(1_000_003, pairs=all_pairs())
    ids = np.zeros(scene.picture.shape[:2], np.uint8)
    noun_of = np.zeros(256, np.uint8)
    for number, thing in enumerate(scene.things, start=1):
        ids[thing.mask] = number
        noun_of[number] = 1 + list(NOUNS).index(thing.noun)
    picture = shrink(scene.picture, (s.SEGMENTER_SIDE,) * 2)
    pixels, boxes, masks, nouns = s._example(np.random.default_rng(0), picture, ids, noun_of, 0.0)

    side = s.SEGMENTER_SIDE // 2
    assert pixels.shape == (3, s.SEGMENTER_SIDE, s.SEGMENTER_SIDE)
    assert masks.shape == (s.BOXES, side, side)
    assert nouns.shape == (side, side)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = torch.nonzero(mask > 0.5, as_tuple=True)
        seen = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) * 2
        assert (seen - box).abs().max() <= 4  # two pixels of the mask
        named = nouns[mask > 0.99].unique()
        assert len(named) == 1
        assert named[0] > 0

    lesson = s.Lesson(s.build())
    outputs = lesson.model(pixel_values=pixels[None], input_boxes=boxes[None], multimask_output=False)
    assert outputs.pred_masks.shape == (1, s.BOXES, 1, side, side)
    lesson.noun_loss(outputs.image_embeddings, nouns[None]).backward()
    encoder = lesson.model.vision_encoder.backbone.patch_embed.projection.weight.grad
    assert encoder is not None
    assert encoder.abs().max() > 0  # the lesson reaches the image encoder
