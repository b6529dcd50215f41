"""Original checkpoints of SAM 2: through their own package, and under other names through transformers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeling.core.errors import BackendError
from tests import tiny_models, zoo_segmenters
from tests.test_sam2 import full, photo, random_boxes, without_islands

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]
pytest.importorskip("sam2", reason="the package sam2 is not installed")

slow = pytest.mark.slow
SIZES = ("tiny", "small", "base_plus", "large")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:

    path = zoo_segmenters.save_native(tmp_path_factory.mktemp("native"))
    yield path
    path.unlink()


def package_config(size: str, version: str) -> Any:
    """Return the configuration that the package brings for a size, as a plain dict."""
    import sam2
    from omegaconf import OmegaConf

    letter = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}[size]
    file = Path(sam2.__path__[0]) / f"configs/sam{version}/sam{version}_hiera_{letter}.yaml"
    return OmegaConf.to_container(OmegaConf.load(file))["model"]


@pytest.mark.parametrize("version", ["2", "2.1"])
@pytest.mark.parametrize("size", SIZES)
def test_the_table_says_what_the_package_says(size: str, version: str) -> None:
    """Oracle: the package's configuration, its omissions filled from the signature of its Hiera."""
    import inspect

    from sam2.modeling.backbones.hieradet import Hiera

    from labeling.teachers.segmenters.sam2_weights import HIERAS

    defaults = {name: one.default for name, one in inspect.signature(Hiera.__init__).parameters.items()}
    trunk = defaults | package_config(size, version)["image_encoder"]["trunk"]
    ours = HIERAS[size]
    assert (ours.width, ours.heads, ours.background) == (
        trunk["embed_dim"],
        trunk["num_heads"],
        trunk["window_pos_embed_bkg_spatial_size"][0],
    )
    assert ours.blocks == tuple(trunk["stages"])
    assert ours.whole == tuple(trunk["global_att_blocks"])
    assert ours.windows == tuple(trunk["window_spec"])


@pytest.mark.parametrize("size", ["tiny", "small", *(pytest.param(size, marks=slow) for size in SIZES[2:])])
def test_every_tensor_of_the_image_model_has_its_place_in_transformers(size: str) -> None:
    """Oracle: names and shapes of transformers' own model; nothing is missing, nothing is left over."""
    import torch
    import transformers
    from hydra.utils import instantiate

    from labeling.teachers.segmenters.sam2_weights import HIERAS, image_config, to_transformers

    native = instantiate(package_config(size, "2.1"), _recursive_=True).state_dict()
    with torch.device("meta"):
        wanted = transformers.Sam2Model(image_config(HIERAS[size])).state_dict()
    renamed = to_transformers(native)
    assert {key: tensor.shape for key, tensor in renamed.items()} == {key: one.shape for key, one in wanted.items()}


def test_four_point_embeddings_become_the_rows_of_one() -> None:
    import torch

    from labeling.teachers.segmenters.sam2_weights import to_transformers

    rows = {f"sam_prompt_encoder.point_embeddings.{row}.weight": torch.full((1, 3), float(row)) for row in range(4)}
    renamed = to_transformers(rows | {"memory_encoder.x": torch.zeros(1)})
    assert list(renamed) == ["prompt_encoder.point_embed.weight"]
    assert renamed["prompt_encoder.point_embed.weight"].tolist() == [[row] * 3 for row in (0.0, 1.0, 2.0, 3.0)]


@pytest.mark.parametrize("version", ["2", "2.1"])
def test_both_versions_of_the_checkpoints_load(tmp_path: Path, version: str) -> None:
    """Oracle: the package's own strict loading, which would fail for the network of the other version."""
    import torch

    from labeling.teachers.segmenters.sam2_native import Sam2NativeSegmenter

    path = zoo_segmenters.save_native(tmp_path, version=version)
    state = torch.load(path, weights_only=True)["model"]
    loaded = Sam2NativeSegmenter(path, device="cpu")._model.state_dict()
    path.unlink()
    assert loaded.keys() == state.keys()
    assert all((loaded[key] == state[key].float()).all() for key in state)
    assert ("no_obj_embed_spatial" in loaded) == (version == "2.1")


def test_hydra_of_the_caller_stays_as_it_was(checkpoint: Path, tmp_path: Path) -> None:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from labeling.teachers.segmenters.sam2_native import Sam2NativeSegmenter

    (tmp_path / "mine.yaml").write_text("answer: 42\n")
    GlobalHydra.instance().clear()
    Sam2NativeSegmenter(checkpoint, device="cpu")
    assert not GlobalHydra.instance().is_initialized()
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        Sam2NativeSegmenter(checkpoint, device="cpu")
        assert compose("mine").answer == 42


@slow
def test_importing_the_package_leaves_hydra_alone_too(checkpoint: Path) -> None:
    import subprocess
    import sys

    code = (
        "import logging, os, sys; from pathlib import Path\n"
        "from labeling.teachers.segmenters.sam2_native import Sam2NativeSegmenter\n"
        "assert 'sam2' not in sys.modules and 'hydra' not in sys.modules\n"
        "before = set(os.listdir('.'))\n"
        f"Sam2NativeSegmenter(Path({str(checkpoint)!r}), 'cpu')\n"
        "from hydra.core.global_hydra import GlobalHydra\n"
        "assert not GlobalHydra.instance().is_initialized()\n"
        "assert not logging.getLogger().handlers and set(os.listdir('.')) == before\n"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


def broken_file(kind: str, tmp_path: Path, checkpoint: Path) -> tuple[Path, str]:
    """Return weights that are no original SAM 2, and what has to be said about them."""
    import torch

    path = tmp_path / "weights.pt"
    if kind == "detector":
        torch.save({"model": {"module.transformer.level_embed": torch.zeros(4, 256)}}, path)
        return path, r"no original checkpoint of SAM 2: .* first of which is 'module.transformer.level_embed'"
    if kind == "folder":
        return tiny_models.save_sam2(tmp_path), "are a folder: expected the file of an original checkpoint of SAM 2"
    if kind == "absent":
        return path, "are not a file"
    if kind == "module":
        torch.save({"model": torch.nn.Linear(2, 2), "epoch": 1}, path)
        return path, "hold more than tensors: .* expected an original checkpoint of SAM 2"
    if kind == "payload":
        torch.save({"model": {"a": Payload(tmp_path / "canary")}}, path)
        return path, "hold more than tensors"
    if kind == "truncated":
        path.write_bytes(checkpoint.read_bytes()[:1_000_000])
        return path, "no PyTorch file|no readable PyTorch file"
    if kind == "other size":
        torch.save({"model": {"image_encoder.trunk.patch_embed.proj.weight": torch.zeros(64, 3, 7, 7)}}, path)
        return path, r"of a SAM 2 with 64 channels and 0 blocks .* expected one of tiny \(96, 12\), small \(96, 16\)"
    state = torch.load(checkpoint, weights_only=True)["model"]
    if kind == "missing":
        del state["sam_mask_decoder.iou_token.weight"]
    else:
        state["sam_mask_decoder.iou_token.weight"] = torch.zeros(1, 128)
    torch.save({"model": state}, path)
    return path, r"do not fit .*: 1 tensors differ, the first is \S*mask_decoder.iou_token.weight"


BROKEN = ("detector", "folder", "absent", "module", "payload", "truncated", "other size", "missing", "reshaped")


@pytest.mark.parametrize("kind", BROKEN)
def test_other_weights_are_refused_in_one_line_and_run_nothing(kind: str, tmp_path: Path, checkpoint: Path) -> None:
    from labeling.teachers.segmenters.sam2 import Sam2Segmenter
    from labeling.teachers.segmenters.sam2_native import Sam2NativeSegmenter

    path, message = broken_file(kind, tmp_path, checkpoint)
    # A folder is how transformers keeps its weights; where there is nothing, it asks for a folder.
    for adapter in (Sam2NativeSegmenter,) if kind in ("folder", "absent") else (Sam2NativeSegmenter, Sam2Segmenter):
        with pytest.raises(BackendError, match=message) as caught:
            adapter(path, device="cpu")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "canary").exists()
    path.unlink() if path.is_file() else None


def overlap(one: Any, other: Any, size_hw: tuple[int, int]) -> float:
    first, second = full(one, size_hw), full(other, size_hw)
    return float((first & second).sum() / max((first | second).sum(), 1))


@slow
def test_both_ways_draw_the_same_masks_from_the_same_checkpoint(checkpoint: Path) -> None:
    """The tiny network. Where transformers resizes, it rounds pixels to whole numbers, the package does not."""
    from labeling.teachers.segmenters.sam2 import Sam2Segmenter
    from labeling.teachers.segmenters.sam2_native import Sam2NativeSegmenter

    native, renamed = Sam2NativeSegmenter(checkpoint, "cpu"), Sam2Segmenter(checkpoint, "cpu")
    for size_hw, smallest, close in (((1024, 1024), 0.999, 1e-5), ((480, 640), 0.99, 1e-3)):
        image, boxes = photo(*size_hw), random_boxes(6, *size_hw)
        (one,), (other,) = native.segment([image], [boxes]), renamed.segment([image], [boxes])
        assert all(rle is not None for rle in one.rles)
        assert min(overlap(a, b, size_hw) for a, b in zip(one.rles, other.rles, strict=True)) >= smallest
        np.testing.assert_allclose(one.scores, other.scores, atol=close)


@slow
def test_masks_are_those_of_the_package_on_the_full_frame(checkpoint: Path) -> None:
    """Oracle: the package's SAM2ImagePredictor from the image to the full frame."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    from labeling.teachers.segmenters.sam2_native import Sam2NativeSegmenter

    segmenter = Sam2NativeSegmenter(checkpoint, device="cpu")
    image, boxes = photo(120, 200), random_boxes(4, 120, 200)
    predictor = SAM2ImagePredictor(segmenter._model)
    predictor.set_image(image)
    masks, scores, _ = predictor.predict(box=boxes, multimask_output=False)
    (segmented,) = segmenter.segment([image], [boxes])
    for mask, rle in zip(masks[:, 0] > 0, segmented.rles, strict=True):
        assert (full(rle, (120, 200)) != without_islands(mask)).mean() < 0.001
    np.testing.assert_allclose(segmented.scores, scores[:, 0], atol=1e-5)
