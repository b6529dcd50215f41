"""Propagation between labelled frames: what both sides say, a tiny video model, and the whole command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeling.cli import main
from labeling.core import masks
from labeling.core.errors import BackendError, InputError
from labeling.core.records import Rle
from labeling.core.store import Store
from labeling.teachers.backends import TeacherSpec
from labeling.video.ledger import FootageCounts, FrameLedger
from labeling.video.propagating import UNSURE, Followed, check_video_weights, combine
from labeling.video.sam2_video import Sam2VideoTracker, Sight
from tests import tiny_models
from tests.made_videos import encode, moving

pytestmark = pytest.mark.torch


def rectangle(x0: int, x1: int) -> Rle:
    mask = np.zeros((20, 40), dtype=bool)
    mask[5:15, x0:x1] = True
    return masks.encode(mask)


def sight(x0: int, x1: int, presence: float = 0.9) -> Sight:
    return Sight(rectangle(x0, x1), presence)


def test_where_both_sides_agree_the_score_is_that_of_the_label_times_their_iou() -> None:
    (found,) = combine([sight(0, 10)], [sight(2, 10)], 0.5)
    assert found is not None
    assert (found.score, found.unsure) == (pytest.approx(0.5 * 0.8), False)


def test_the_mask_is_that_of_the_nearer_side() -> None:
    found = combine([sight(0, 10)] * 4, [sight(1, 10)] * 4, 1.0)
    assert [one.rle for one in found if one] == [rectangle(0, 10)] * 2 + [rectangle(1, 10)] * 2


def test_where_they_disagree_or_one_side_has_lost_it_the_label_is_flagged() -> None:
    apart, lost, gone, one_sided = (
        combine([sight(0, 10)], [sight(8, 18)], 1.0)[0],
        combine([sight(0, 10, 0.7)], [Sight(None, 0.1)], 0.5)[0],
        combine([Sight(None, 0.0)], [Sight(None, 0.0)], 0.5)[0],
        combine(None, [sight(3, 9, 0.6)], 0.5)[0],
    )
    assert apart is not None
    assert apart.unsure
    assert apart.score == pytest.approx(2 / 18)
    assert lost == Followed(rectangle(0, 10), pytest.approx(0.35), True)
    assert gone is None
    assert one_sided == Followed(rectangle(3, 9), pytest.approx(0.3), True)


def save_sam2_video(folder: Path) -> Path:
    """Save a SAM 2 video model of random parameters; images are resized to 64 x 64."""
    import torch
    import transformers as tf

    tiny_models.save_sam2(folder)  # for its processor
    torch.manual_seed(0)
    image = tf.Sam2Config.from_pretrained(folder)
    image.vision_config.fpn_hidden_size = 128  # memories have 64 channels, and an object pointer is split into such
    config = tf.Sam2VideoConfig(
        vision_config=image.vision_config,
        prompt_encoder_config={"hidden_size": 128, "image_size": 64, "patch_size": 16},
        mask_decoder_config={
            "hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32,
            "dynamic_multimask_via_stability": True,
        },
        image_size=64, num_maskmem=3, max_object_pointers_in_encoder=4,
        memory_attention_hidden_size=128, memory_attention_num_layers=1, memory_attention_num_attention_heads=1,
        memory_attention_feed_forward_hidden_size=32, memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=128, memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=128, memory_fuser_embed_dim=128, memory_fuser_intermediate_dim=32,
        memory_fuser_num_layers=1,
    )  # fmt: skip
    tf.Sam2VideoModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def video_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sam2_video(tmp_path_factory.mktemp("sam2-video"))


def test_every_frame_has_one_mask_per_object_of_its_size_and_a_second_time_the_same(video_model: Path) -> None:
    frames = [frame[:60, :100] for frame in moving(6)]
    boxes = np.array([[8, 16, 40, 48], [50, 10, 90, 50]], dtype=np.float32)
    tracker = Sam2VideoTracker(video_model, "cpu")
    seen = list(tracker.follow(frames, boxes))
    assert [len(one) for one in seen] == [2] * 6
    for one in seen:
        for object_ in one:
            assert 0 <= object_.presence <= 1
            assert object_.rle is None or object_.rle["size"] == [60, 100]
    assert list(tracker.follow(frames, boxes)) == seen


def test_an_object_is_the_same_alone_and_beside_another(video_model: Path) -> None:
    frames = moving(4)
    boxes = np.array([[8, 16, 40, 48], [100, 60, 150, 120]], dtype=np.float32)
    tracker = Sam2VideoTracker(video_model, "cpu")
    both, alone = list(tracker.follow(frames, boxes)), list(tracker.follow(frames, boxes[1:]))
    for one, other in zip(both, alone, strict=True):
        assert one[1].presence == pytest.approx(other[0].presence, abs=1e-5)
        if one[1].rle and other[0].rle:
            assert masks.iou(one[1].rle, other[0].rle) > 0.99


def test_what_is_remembered_does_not_grow(video_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Sam2VideoTracker(video_model, "cpu")
    kept: list[tuple[int, int]] = []
    forget = tracker._forget

    def counting(session: Any, number: int) -> None:
        forget(session, number)
        memories = session.output_dict_per_obj[0]["non_cond_frame_outputs"]
        kept.append((len(session.processed_frames), len(memories)))

    monkeypatch.setattr(tracker, "_forget", counting)
    list(tracker.follow(moving(20), np.array([[8, 16, 40, 48]], dtype=np.float32)))
    assert {frames for frames, _ in kept} == {0}
    assert max(memories for _, memories in kept) <= 5


def test_forgetting_changes_no_answer(video_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.array([[8, 16, 40, 48]], dtype=np.float32)
    tracker = Sam2VideoTracker(video_model, "cpu")
    seen = list(tracker.follow(moving(14), boxes))
    monkeypatch.setattr(tracker, "_forget", lambda session, number: None)
    assert list(tracker.follow(moving(14), boxes)) == seen


def test_weights_without_memory_and_other_segmenters_are_refused(tmp_path: Path) -> None:
    folder = tiny_models.save_sam2(tmp_path / "image-only")
    with pytest.raises(BackendError, match="no memory modules"):
        check_video_weights(TeacherSpec(segmenter="sam2", segmenter_weights=str(folder)))
    with pytest.raises(InputError, match="--segmenter sam2"):
        check_video_weights(TeacherSpec(detector="bundled"))


@pytest.mark.usefixtures("snapped_backend")
def test_the_frames_between_get_labels_of_the_tracks_around_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], video_model: Path
) -> None:
    clip = encode(tmp_path / "clip.mp4", moving(12), pix_fmt="yuv444p")
    (tmp_path / "w").write_text("drawn")
    arguments = [
        "label", str(clip), "--project", str(tmp_path / "p"), "--classes", "crimson: red box, sea: blue box",
        "--detector", "snapped", "--weights", str(tmp_path / "w"), "--segmenter", "sam2",
        "--segmenter-weights", str(video_model), "--device", "cpu", "--propagate",
        "--propagate-every", "2", "--json",
    ]  # fmt: skip
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["propagated"]["frames"] == 4  # 2 and 4 between 0 and 5, 7 and 9 between 5 and 10
    assert told["propagated"]["labels"] + told["propagated"]["lost"] == 8
    with Store.open(tmp_path / "p" / "labels.db") as store:
        (video,) = (one for (one,) in store.rows("SELECT DISTINCT video FROM frames"))
        ledger = FrameLedger(store)
        assert [frame.number for frame in ledger.frames(video, picked=False)] == [2, 4, 7, 9]
        assert ledger.counts() == FootageCounts(videos=1, picked=3, between=4, tracks=2)
        found = [label for frame in ledger.frames(video, picked=False) for label in store.annotations_of(frame.sha256)]
        assert len(found) == told["propagated"]["labels"]
        track_of = {label: track for track, seen in ledger.tracks(video).items() for _, label in seen}
        for label in found:
            assert label.provenance.source == "teacher"
            assert (label.provenance.model or "").startswith("sam2-video/")
            assert track_of[label.id] == track_of[label.provenance.parent_id or ""]
            assert 0 <= (label.provenance.score or 0) <= 1
            assert label.rle is not None
            assert label.rle["size"] == [128, 192]
            assert label.flags in ((), (UNSURE,))
        before = store.rows("SELECT * FROM annotations ORDER BY id"), store.rows("SELECT * FROM tracks")
    assert main(arguments) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["labelled"], again["propagated"]["frames"]) == (0, 0)
    with Store.open(tmp_path / "p" / "labels.db") as store:
        assert (store.rows("SELECT * FROM annotations ORDER BY id"), store.rows("SELECT * FROM tracks")) == before
