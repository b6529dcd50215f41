"""Original GroundingDINO checkpoints in transformers' model."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeling.core.errors import BackendError
from labeling.core.ontology import parse_classes
from tests import tiny_models

pytestmark = pytest.mark.torch

#: For training alone, following from the sizes, or read by nothing.
UNUSED = re.compile("label_enc|position_ids|pooler|relative_position_index")
JOINED = re.compile("in_proj|qkv")
ONTOLOGY = parse_classes("box: box | red box, cone, ladder")


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.file, "run"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_original_grounding_dino(tmp_path_factory.mktemp("original"))


def changed(checkpoint: Path, folder: Path, change: Any) -> Path:
    """Return a copy of the checkpoint and what lies beside it, its tensors changed."""
    import torch

    shutil.copytree(checkpoint.parent, folder, dirs_exist_ok=True)
    tensors = torch.load(checkpoint, weights_only=True)["model"]
    change(tensors)
    torch.save({"model": tensors}, folder / checkpoint.name)
    return folder / checkpoint.name


def test_every_tensor_lands_in_its_place_once(checkpoint: Path) -> None:
    import torch

    from labeling.teachers.detectors.original_grounding_dino import load_original, read_original

    original = {name: value for name, value in read_original(checkpoint).items() if not UNUSED.search(name)}
    model = load_original(checkpoint, torch.device("cpu"))
    # SwinModel has a norm that its use as a backbone never reads; transformers lists one box head once.
    parameters = {name: value for name, value in model.named_parameters() if "swin.layernorm" not in name}

    def content(tensor: torch.Tensor) -> bytes:
        return tensor.detach().contiguous().numpy().tobytes()

    # The box head is stored once per layer and again in the decoder; joined projections are three in transformers.
    expected = {
        content(part)
        for name, value in original.items()
        for part in (value.chunk(3) if JOINED.search(name) else [value])
    }
    assert {content(value) for value in parameters.values()} == expected
    assert len(parameters) == len(expected)
    assert torch.equal(model.model.query_position_embeddings.weight, original["transformer.tgt_embed.weight"])


def test_the_prefix_of_multi_gpu_training_changes_nothing(checkpoint: Path, tmp_path: Path) -> None:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    plain = tiny_models.save_original_grounding_dino(tmp_path, prefix="")
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    # A file, and a folder with one file in it.
    one, other = (
        GroundingDinoDetector(path, "cpu").detect([image], ONTOLOGY, 0.0)[0].detections
        for path in (checkpoint, plain.parent)
    )
    np.testing.assert_array_equal(one.xyxy, other.xyxy)
    assert len(one) == 20


def test_the_published_configuration_is_recognised(tmp_path: Path) -> None:
    import torch

    from labeling.teachers.detectors.original_grounding_dino import original_sizes

    swin_b = tiny_models.original_shapes(
        embed=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), window=12, words=30522, text_width=768, text_layers=12,
        text_feedforward=3072, layers=6, feedforward=2048, queries=900,
    )  # fmt: skip
    tensors = {name: torch.empty(shape, device="meta") for name, shape in swin_b.items()}
    sizes = original_sizes(tensors, tmp_path)
    assert (sizes.embed_dim, sizes.depths, sizes.heads, sizes.window) == (128, (2, 2, 18, 2), (4, 8, 16, 32), 12)
    assert (sizes.stages, sizes.text_heads, sizes.attention_heads) == ((1, 2, 3), 12, 8)
    assert (sizes.encoder_layers, sizes.decoder_layers, sizes.queries, sizes.feedforward) == (6, 6, 900, 2048)
    assert (sizes.levels, sizes.encoder_points, sizes.decoder_points, sizes.text_positions) == (4, 4, 4, 512)


def test_images_are_prepared_with_the_published_settings(tmp_path: Path) -> None:
    from labeling.teachers.detectors.original_grounding_dino import image_processor

    processor = image_processor(tmp_path / "weights.pth")
    pixels = processor(images=[np.full((480, 640, 3), 255, dtype=np.uint8)], return_tensors="pt")["pixel_values"][0]
    assert tuple(pixels.shape) == (3, 800, 1066)
    expected = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(pixels[:, 0, 0].numpy(), expected, atol=1e-5)


def test_a_missing_and_a_surplus_tensor_are_named(checkpoint: Path, tmp_path: Path) -> None:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    cut = changed(checkpoint, tmp_path / "cut", lambda t: t.pop("module.transformer.enc_output.weight"))
    with pytest.raises(BackendError, match=r"do not fill the model.*model\.enc_output\.weight"):
        GroundingDinoDetector(cut, "cpu")
    more = changed(checkpoint, tmp_path / "more", lambda t: t.update(extra=t["module.feat_map.bias"]))
    with pytest.raises(BackendError, match=r"1 tensors have no place in the model, the first is extra"):
        GroundingDinoDetector(more, "cpu")


def test_box_heads_that_differ_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    other = changed(checkpoint, tmp_path, lambda t: t["module.bbox_embed.1.layers.0.bias"].add_(1))
    with pytest.raises(BackendError, match="differs from the box head of another layer"):
        GroundingDinoDetector(other, "cpu")


def test_checkpoints_of_other_models_are_refused(tmp_path: Path) -> None:
    import torch

    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    file = tmp_path / "sam.pth"
    torch.save({"image_encoder.patch_embed.proj.weight": torch.zeros(2)}, file)
    with pytest.raises(BackendError, match="looks like a SAM checkpoint"):
        GroundingDinoDetector(file, "cpu")
    torch.save({"model": {"conv1.weight": torch.zeros(2)}}, file)
    with pytest.raises(BackendError, match=r"expected an original GroundingDINO checkpoint.*level_embed"):
        GroundingDinoDetector(file, "cpu")
    torch.save({"a": torch.zeros(1)}, tmp_path / "second.pth")
    with pytest.raises(BackendError, match=r"2 \.pth files \(sam\.pth, second\.pth\): name one of them"):
        GroundingDinoDetector(tmp_path, "cpu")


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    import torch

    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    canary, file = tmp_path / "canary", tmp_path / "weights.pth"
    torch.save({"model": {"a": torch.zeros(1)}, "more": Payload(canary)}, file)
    with pytest.raises(BackendError, match="more than tensors, and nothing of it was run"):
        GroundingDinoDetector(file, "cpu")
    assert not canary.exists()


def test_without_a_tokenizer_the_error_names_file_and_command(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    shutil.copy(checkpoint, tmp_path / "alone.pth")
    with pytest.raises(BackendError, match=r"vocab\.txt.*hf download google-bert/bert-base-uncased vocab\.txt"):
        GroundingDinoDetector(tmp_path / "alone.pth", "cpu")


def test_the_tokenizer_of_the_hub_is_found_although_no_weights_lie_beside_it(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--google-bert--bert-base-uncased"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint.parent / name, snapshot)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(checkpoint, alone)
    shutil.copy(checkpoint.parent / "preprocessor_config.json", alone)
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    one, other = (
        GroundingDinoDetector(path, "cpu").detect([image], ONTOLOGY, 0.0)[0].detections
        for path in (checkpoint, alone / checkpoint.name)
    )
    np.testing.assert_array_equal(one.xyxy, other.xyxy)


def test_settings_of_images_that_cannot_be_read_are_named(checkpoint: Path, tmp_path: Path) -> None:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    file = changed(checkpoint, tmp_path, lambda _: None)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(BackendError, match="AutoImageProcessor could not be loaded") as caught:
        GroundingDinoDetector(file, "cpu")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
