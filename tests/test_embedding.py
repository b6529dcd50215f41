"""Features by a model that the user names: tiny models with random weights, against transformers called by hand."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pytest

from distill.curation.embedding import embed
from labeling.core.errors import BackendError, InputError
from labeling.core.store import FileStamp, ImageOutcome, Store
from labeling.core.store_rows import PIXELS
from labeling.images import LoadedImage
from labeling.vectors import Encoder, image_vectors
from tests.outcomes import digest
from tests.paths import ROOT

pytestmark = pytest.mark.torch

COUNT = 7
IMAGES = [digest(f"{row}") for row in range(COUNT)]


def photo_of(sha256: str) -> LoadedImage | None:
    """Return noise of a size of its own."""
    row = IMAGES.index(sha256)
    pixels = np.random.default_rng(row).integers(0, 255, (40 + 5 * row, 60, 3), dtype=np.uint8)
    return LoadedImage(sha256, pixels, "PNG")


def refused(sha256: str) -> LoadedImage | None:
    raise AssertionError(f"{sha256} was opened")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "labels.db", create=True)
    outcomes = [
        ImageOutcome((FileStamp(os.fsencode(f"/p/{row}.png"), 1, 1),), sha256, 60, 40 + 5 * row, done_key="k")
        for row, sha256 in enumerate(IMAGES)
    ]
    made.commit_batch(outcomes, made.start_run("label", {}))
    return made


def save_vit(folder: Path, *, seed: int = 0, **settings: Any) -> Path:
    """Save a ViT of some thousand random parameters; images are resized to 32 x 32."""
    import torch
    import transformers as tf

    torch.manual_seed(seed)
    config = tf.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    model = tf.ViTModel(config, **settings)
    model.save_pretrained(folder)
    tf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def rows(store: Store) -> dict[str, str]:
    return dict(store.rows("SELECT sha256, model FROM features WHERE annotation_id IS NULL"))


def by_hand(folder: Path, sha256: str) -> Any:
    """Return what transformers itself gives for one picture."""
    import torch
    import transformers as tf

    photo = photo_of(sha256)
    assert photo is not None
    processor, model = tf.AutoImageProcessor.from_pretrained(folder), tf.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model(**processor(images=photo.pixels, input_data_format="channels_last", return_tensors="pt"))


def test_every_image_gets_the_pooled_output_of_the_model(store: Store, tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "small-vit")
    told: list[tuple[int, int]] = []
    name = embed(store, str(folder), photo_of, batch=3, progress=lambda done, of: told.append((done, of)))
    assert name.startswith(f"{PIXELS}small-vit ")
    assert str(tmp_path) not in name
    assert rows(store) == dict.fromkeys(IMAGES, name)
    assert told == [(3, 7), (6, 7), (7, 7)]
    kept = image_vectors(store, Encoder(name, 24), IMAGES)
    for row, sha256 in enumerate(IMAGES):
        np.testing.assert_allclose(kept[row], by_hand(folder, sha256).pooler_output[0], atol=2e-3)


def test_maps_are_pooled_over_the_picture(store: Store, tmp_path: Path) -> None:
    import transformers as tf

    config = tf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    tf.ResNetModel(config).save_pretrained(tmp_path / "resnet")
    tf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "resnet")
    name = embed(store, str(tmp_path / "resnet"), photo_of)
    kept = image_vectors(store, Encoder(name, 16), IMAGES)
    wanted = by_hand(tmp_path / "resnet", IMAGES[2]).last_hidden_state.mean(dim=(2, 3))[0]
    np.testing.assert_allclose(kept[2], wanted, atol=2e-3)


def test_a_model_of_pictures_and_texts_is_asked_about_pictures(store: Store, tmp_path: Path) -> None:
    import transformers as tf

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = tf.CLIPConfig(
        text_config=small | {"vocab_size": 50}, vision_config=small | {"image_size": 32, "patch_size": 8},
        projection_dim=12,
    )  # fmt: skip
    tf.CLIPModel(config).save_pretrained(tmp_path / "clip")
    size = {"height": 32, "width": 32}
    tf.CLIPImageProcessor(size=size, crop_size=size).save_pretrained(tmp_path / "clip")
    name = embed(store, str(tmp_path / "clip"), photo_of)
    assert np.abs(image_vectors(store, Encoder(name, 12), IMAGES)).sum(axis=1).all()


def test_a_rerun_opens_nothing_and_new_weights_begin_anew(store: Store, tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "vit")
    name = embed(store, str(folder), photo_of)
    assert embed(store, str(folder), refused) == name
    save_vit(folder, seed=1)
    other = embed(store, str(folder), photo_of)
    assert other != name
    assert store.rows("SELECT model, count(*) FROM features GROUP BY model ORDER BY model") == sorted(
        [(name, COUNT), (other, COUNT)]
    )


def test_a_rerun_imports_no_torch(store: Store, tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "vit")
    embed(store, str(folder), photo_of)
    store.close()
    code = (
        "import sys; from pathlib import Path; from labeling.core.store import Store\n"
        "from distill.curation.embedding import embed\n"
        "embed(Store.open(Path(sys.argv[1])), sys.argv[2], lambda sha256: 1 / 0)\n"
        "assert 'torch' not in sys.modules"
    )
    run([sys.executable, "-c", code, str(tmp_path / "labels.db"), str(folder)], check=True, cwd=ROOT)


def test_what_is_cut_off_goes_on_where_it_stopped(store: Store, tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "vit")
    opened: list[str] = []

    def until_the_fifth(sha256: str) -> LoadedImage | None:
        opened.append(sha256)
        if len(opened) == 5:
            raise KeyboardInterrupt
        return photo_of(sha256)

    with pytest.raises(KeyboardInterrupt):
        embed(store, str(folder), until_the_fifth, batch=2)
    assert len(rows(store)) == 4
    embed(store, str(folder), lambda sha256: None if sha256 in opened[:4] else photo_of(sha256), batch=2)
    assert len(rows(store)) == COUNT


def test_a_photo_that_cannot_be_read_is_left_out(store: Store, tmp_path: Path) -> None:
    def some(sha256: str) -> LoadedImage | None:
        if sha256 == IMAGES[0]:
            raise InputError("cut off")
        return None if sha256 == IMAGES[1] else photo_of(sha256)

    embed(store, str(save_vit(tmp_path / "vit")), some)
    assert set(rows(store)) == set(IMAGES[2:])


def test_an_absent_model_is_named_with_what_to_do(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    for model in ("facebook/not-here", "./no/such/folder", "noslash"):
        with pytest.raises(BackendError, match=r"no such folder.*safetensors") as caught:
            embed(store, model, photo_of)
        assert model in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_model_in_the_hub_cache_is_found_by_its_id(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    kept = tmp_path / "hub" / "models--org--tiny"
    save_vit(kept / "snapshots" / "abc")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc", encoding="utf-8")
    assert embed(store, "org/tiny", photo_of).startswith(f"{PIXELS}org/tiny ")


def test_pickled_weights_are_refused(store: Store, tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BackendError, match="pickled"):
        embed(store, str(folder), refused)


@pytest.mark.parametrize("model_type", ["vit", "of its own"])
def test_code_that_a_model_brings_is_never_run(store: Store, tmp_path: Path, model_type: str) -> None:
    folder, ran = save_vit(tmp_path / "coded"), tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\nOwn = OwnConfig = None\n", encoding="utf-8")
    changes = {
        "config.json": {"AutoModel": "own.Own", "AutoConfig": "own.OwnConfig"},
        "preprocessor_config.json": {"AutoImageProcessor": "own.Own"},
    }
    for name, parts in changes.items():
        settings = json.loads((folder / name).read_text(encoding="utf-8")) | {"auto_map": parts}
        if name == "config.json":
            settings["model_type"] = model_type
        (folder / name).write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(BackendError, match="coded: brings code of its own"):
        embed(store, str(folder), refused)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del settings["auto_map"]
    settings["model_type"] = "vit"
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    embed(store, str(folder), photo_of)  # transformers has an image processor of its own for this type
    assert not ran.exists()


def test_a_folder_without_configuration_and_a_batch_of_nothing_are_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackendError, match=r"config\.json"):
        embed(store, str(tmp_path / "empty"), refused)
    with pytest.raises(InputError, match="batch is 0"):
        embed(store, str(tmp_path / "empty"), refused, batch=0)


def test_weights_that_leave_the_pooling_empty_are_refused(store: Store, tmp_path: Path) -> None:
    """Random numbers in a layer would make features that mean nothing."""
    with pytest.raises(BackendError, match="do not fill"):
        embed(store, str(save_vit(tmp_path / "vit", add_pooling_layer=False)), refused)
