"""Pooled features of all images by a model that the user names, kept in labels.db beside those of the teacher."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from labeling.core.errors import BackendError, InputError, MissingExtraError
from labeling.core.file_hashes import cached_hash
from labeling.core.store import Store
from labeling.core.store_rows import PIXELS
from labeling.images import LoadedImage
from labeling.teachers.hub import cached_snapshot, fetch

from .scenes import LABELLED_STATES

if TYPE_CHECKING:
    import torch

PhotoOf = Callable[[str], LoadedImage | None]

_STATES = ", ".join(f"'{state}'" for state in sorted({*LABELLED_STATES, "new"}))
_WAITING = f"""SELECT i.sha256 FROM images i
    WHERE i.state IN ({_STATES}) AND EXISTS (SELECT 1 FROM files f WHERE f.sha256 = i.sha256)
    AND NOT EXISTS (SELECT 1 FROM features f WHERE f.sha256 = i.sha256 AND f.annotation_id IS NULL AND f.model = ?)
    ORDER BY i.sha256"""


def embed(
    store: Store,
    model: str,
    photo_of: PhotoOf,
    *,
    batch: int = 16,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Give every labelled or new image a feature of the model, and return the name that its features carry.

    The name holds a hash of the weights, so features of other weights never mix with these. An image that has its
    feature is not opened again; where all have one, torch is not imported. Each batch is committed by itself. A photo
    that cannot be read, or that the model's own preparation refuses, is left out.

    Args:
        store: labels.db.
        model: a folder as ``save_pretrained`` writes it, or a hub id ``ORG/NAME``.
        photo_of: decodes the image of a sha256.
        batch: images in memory at once.
        device: auto, cpu, cuda or cuda:N.
        progress: is told after each batch how many of how many are through.

    Raises:
        InputError: the batch is below 1, or no such device here.
        BackendError: no such model here, pickled weights only, code of its own, or it gives no pooled feature.
        MissingExtraError: transformers is not installed.
    """
    if batch < 1:
        raise InputError(f"the batch is {batch}: expected 1 or more images, such as 16")
    folder = _folder(model)
    name = f"{PIXELS}{folder.name if Path(model).is_dir() else model} {_fingerprint(store, folder)}"
    waiting = [sha256 for (sha256,) in store.rows(_WAITING, name)]
    if not waiting:
        return name
    encode = _encoder(folder, device)
    for start in range(0, len(waiting), batch):
        some = waiting[start : start + batch]
        photos = [(sha256, photo.pixels) for sha256 in some if (photo := _readable(photo_of, sha256)) is not None]
        rows = [
            (sha256, name, len(vector), vector.astype("<f2").tobytes())
            for (sha256, _), vector in zip(photos, encode([pixels for _, pixels in photos]), strict=True)
            if vector is not None
        ]
        with store.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO features VALUES (?, NULL, ?, ?, ?)", rows)
        if progress is not None:
            progress(start + len(some), len(waiting))
    return name


def _folder(model: str) -> Path:
    """Return the folder that holds the model. Raises BackendError."""
    here = Path(model).expanduser()
    if here.is_dir():
        folder = here.resolve()
    else:
        found = (cached_snapshot(model) or fetch(model)) if _is_hub_id(model) else None
        if found is None:
            raise BackendError(
                f"model {model}: there is no such folder, it is not in the cache of the model hub, and it could not be "
                "fetched: name a folder with its config.json and .safetensors, or run once with a network"
            )
        folder = found
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BackendError(f"model {model}: expected a config.json in its folder, there is no readable one") from error
    if not isinstance(config, dict) or "auto_map" in config:
        raise BackendError(f"model {model}: brings code of its own, which is not run: name one that transformers knows")
    if not any(folder.glob("*.safetensors")):
        raise BackendError(f"model {model}: no .safetensors beside its config.json; pickled weights are not loaded")
    return folder


def _is_hub_id(model: str) -> bool:
    organisation, slash, name = model.partition("/")
    return bool(organisation and slash and name) and "/" not in name and not model.startswith((".", "~"))


def _fingerprint(store: Store, folder: Path) -> str:
    parts = sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json")])
    hashes = [f"{part.name} {cached_hash(store, part)}" for part in parts]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:12]


def _readable(photo_of: PhotoOf, sha256: str) -> LoadedImage | None:
    try:
        return photo_of(sha256)
    except (InputError, OSError, MemoryError):
        return None


Encode = Callable[[Sequence[npt.NDArray[np.uint8]]], list[npt.NDArray[np.float16] | None]]


def _encoder(folder: Path, device: str) -> Encode:
    """Load the model and return what turns pictures into pooled features, None where a picture was refused."""
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError("transformers", "teacher") from error
    from labeling.teachers.device import pick_device
    from labeling.teachers.weights import load_part, load_pretrained

    place = pick_device(device)
    network = load_pretrained(_without_code(transformers.AutoModel), folder, place)
    processor = load_part(_without_code(transformers.AutoImageProcessor), folder)

    def encode(pictures: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.float16] | None]:
        answers: list[npt.NDArray[np.float16] | None] = [None] * len(pictures)
        with torch.inference_mode():
            for rows, inputs in _alike(processor, pictures):
                try:
                    pooled = _pooled(network, torch.cat(inputs).to(place))
                except (RuntimeError, ValueError, TypeError) as error:
                    raise BackendError(f"model {folder.name} failed on {len(rows)} image(s): {error}") from error
                for row, vector in zip(rows, pooled, strict=True):
                    answers[row] = vector
        return answers

    return encode


def _without_code(part: Any) -> Any:
    """Return a class of transformers that refuses a model which brings code, instead of asking on the terminal."""
    return SimpleNamespace(
        __name__=part.__name__, from_pretrained=partial(part.from_pretrained, trust_remote_code=False)
    )


def _alike(processor: Any, pictures: Sequence[npt.NDArray[np.uint8]]) -> Iterator[tuple[list[int], list[torch.Tensor]]]:
    """Yield rows of pictures and their inputs, (1, 3, height, width) each, together where the sizes are the same."""
    ready: dict[tuple[int, ...], tuple[list[int], list[torch.Tensor]]] = {}
    for row, pixels in enumerate(pictures):
        try:
            inputs = processor(images=[pixels], input_data_format="channels_last", return_tensors="pt")["pixel_values"]
        except ValueError:  # such as a picture of impossible proportions
            continue
        rows, tensors = ready.setdefault(tuple(inputs.shape), ([], []))
        rows.append(row)
        tensors.append(inputs)
    yield from ready.values()


def _pooled(network: Any, inputs: torch.Tensor) -> npt.NDArray[np.float16]:
    """Return (n, dim): the model's pooled output, or the mean of its last hidden state where it has none."""
    if hasattr(network, "get_image_features"):  # of pictures and texts: only the former is asked
        output = network.get_image_features(pixel_values=inputs)
    else:
        output = network(pixel_values=inputs)
    pooled = output if hasattr(output, "flatten") else getattr(output, "pooler_output", None)
    if pooled is None:
        hidden = output.last_hidden_state
        # Tokens are (n, tokens, dim), maps are (n, dim, height, width).
        pooled = hidden.mean(dim=1) if hidden.dim() == 3 else hidden.mean(dim=(2, 3))
    values = pooled.flatten(1).float().cpu().numpy()
    limit = float(np.finfo(np.float16).max)
    return np.asarray(np.clip(np.nan_to_num(values), -limit, limit), dtype=np.float16)
