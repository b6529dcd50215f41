"""Safe loading of weights: safetensors, tensors in .pt files, and pickled modules only where the user trusts them."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import BackendError

if TYPE_CHECKING:
    import torch

_PICKLED = (".pt", ".pth", ".bin")
_LOADING = threading.Lock()
"""``from_pretrained`` patches torch while it works: two at once leave weights empty, for later calls too."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a weight file holds.

    Attributes:
        tensors: the state dict, float32; empty where the file held a whole module.
        metadata: text fields of a safetensors file.
        module: the torch module of a pickled file that the user trusted; None otherwise.
    """

    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    module: Any = None


class UntrustedWeightsError(BackendError):
    """The file holds a pickled Python module, and nobody has said that it is trusted."""


def read_checkpoint(path: Path, *, trust_weights: bool = False) -> Checkpoint:
    """Read a weight file without running code from it, unless the user trusts it.

    Args:
        path: .safetensors, or .pt / .pth.
        trust_weights: allow a pickled Python module, which can run any code when it is loaded.

    Raises:
        UntrustedWeightsError: a pickled module that is not trusted.
        BackendError: no such file, not a weight file, or corrupt.
    """
    if not path.is_file():
        raise BackendError(f"weights {path} are not a file: give a .safetensors or .pt file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in _PICKLED:
        return _read_pickled(path, trust_weights)
    raise BackendError(f"weights {path} have the suffix {path.suffix!r}: expected .safetensors or .pt")


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise BackendError(f"weights {path} are no readable safetensors file ({error}): fetch them again") from error
    return Checkpoint({key: _float32(tensor) for key, tensor in tensors.items()}, metadata)


def _read_pickled(path: Path, trust_weights: bool) -> Checkpoint:
    import pickle

    import torch

    if not _looks_pickled(path):
        raise BackendError(f"weights {path} are no PyTorch file: expected what torch.save writes")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not trust_weights:
            raise _untrusted(path) from error
        loaded = _unpickle(path)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise BackendError(f"weights {path} are no readable PyTorch file ({_first_line(error)})") from error
    found = _unwrapped(loaded, path)
    # Once ultralytics is imported, torch loads modules of its classes although it was asked for weights only.
    if found.module is not None and not trust_weights:
        raise _untrusted(path)
    return found


def _untrusted(path: Path) -> UntrustedWeightsError:
    return UntrustedWeightsError(
        f"weights {path} hold more than tensors: a pickled Python module, which can run any code when it is loaded; "
        "where you trust its source add --trust-weights, otherwise convert it to .safetensors"
    )


def _looks_pickled(path: Path) -> bool:
    with path.open("rb") as file:
        # A zip archive, or a bare pickle of protocol 2 or later.
        return file.read(2)[:1] == b"\x80" or zipfile.is_zipfile(path)


def _unpickle(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle can raise anything
        raise BackendError(f"weights {path} could not be unpickled ({_first_line(error)})") from error


def _unwrapped(loaded: Any, path: Path) -> Checkpoint:
    """Return the weights inside a training checkpoint: the averaged ones ("ema") where there are any."""
    import torch

    while isinstance(loaded, Mapping) and not _is_state_dict(loaded):
        inner = next((loaded[key] for key in ("ema", "model", "state_dict") if loaded.get(key) is not None), None)
        if inner is None:
            break
        loaded = inner
    if isinstance(loaded, torch.nn.Module):
        return Checkpoint({}, module=loaded)
    if not _is_state_dict(loaded):
        raise BackendError(f"weights {path} hold no state dict (named tensors), but {type(loaded).__name__}")
    return Checkpoint({key: _float32(tensor) for key, tensor in loaded.items()})


def _is_state_dict(value: object) -> bool:
    import torch

    return isinstance(value, Mapping) and bool(value) and all(isinstance(v, torch.Tensor) for v in value.values())


def _float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def check_model_folder(folder: Path, model_types: tuple[str, ...]) -> str:
    """Return the model type of a transformers folder after checking that it can be loaded. Imports no torch.

    Raises:
        BackendError: no config.json, another architecture, or no safetensors file beside it.
    """
    config = folder / "config.json"
    wanted = " or ".join(model_types)
    if not config.is_file():
        raise BackendError(
            f"weights {folder}: expected a folder with the config.json of a {wanted} model, there is none"
        )
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
        found = settings["model_type"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise BackendError(f"{config} is no configuration of a model: expected JSON with 'model_type'") from error
    if found not in model_types:
        raise BackendError(f"weights {folder}: expected a model of type {wanted}, {config.name} says {found!r}")
    if not any(folder.glob("*.safetensors")):
        raise BackendError(
            f"weights {folder}: no .safetensors file beside config.json; pickled weights are not loaded: convert them"
        )
    return str(found)


def load_pretrained(
    model_class: Any,
    folder: Path,
    device: torch.device,
    *,
    config: Any = None,
    tensors: dict[str, torch.Tensor] | None = None,
) -> Any:
    """Return the transformers model of a local folder in evaluation mode, float32, on a device.

    Args:
        model_class: of transformers.
        folder: where configuration and weights lie; names them in messages where ``tensors`` are given.
        device: where the model goes.
        config: the configuration of a model whose folder has none.
        tensors: weights under the names of transformers, instead of those in the folder; each has to have its place.

    Raises:
        BackendError: a file is corrupt, or the weights do not fill the model.
    """
    from transformers.utils import logging

    # The library reports loading by progress bars and tables on stderr; what matters is checked below.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with _LOADING:
            model, info = model_class.from_pretrained(
                folder if tensors is None else None,
                config=config,
                state_dict=tensors,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # from_pretrained raises whatever its parts raise
        raise BackendError(f"weights {folder} could not be loaded ({_first_line(error)})") from error
    unfilled = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if unfilled:
        raise BackendError(
            f"weights {folder} do not fill the model of its config.json: {len(unfilled)} tensors are missing or of "
            f"another shape, the first is {unfilled[0]}"
        )
    if tensors is not None and info["unexpected_keys"]:
        names = sorted(map(str, info["unexpected_keys"]))
        raise BackendError(
            f"weights {folder}: {len(names)} tensors have no place in the model, the first is {names[0]}"
        )
    return model.float().eval().to(device)


def load_part(part_class: Any, folder: Path) -> Any:
    """Return the processor or tokenizer of a local folder. Raises BackendError."""
    try:
        with _LOADING:
            return part_class.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # from_pretrained raises whatever its parts raise
        raise BackendError(
            f"weights {folder}: {part_class.__name__} could not be loaded ({_first_line(error)})"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
