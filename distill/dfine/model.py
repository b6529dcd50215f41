"""D-FINE as it is built, started from other weights, written to a student's file and read from it (Apache-2.0)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from transformers import DFineConfig, DFineForObjectDetection, HGNetV2Config

from labeling.core.errors import BackendError, InputError, StateError
from labeling.core.strict import did_you_mean
from labeling.image_files import display
from labeling.teachers.weights import check_model_folder, load_pretrained, read_checkpoint

from ..yolo.weights import write_whole

KIND = "dfine"
LICENCE = "Apache-2.0"
MIN_IMGSZ = 64
"""A map of one pixel has no batch statistics, and the coarsest one is 1/32 of the input."""

_B0: Mapping[str, Any] = {
    "stem_channels": [3, 16, 16],
    "stage_in_channels": [16, 64, 256, 512],
    "stage_mid_channels": [16, 32, 64, 128],
    "stage_out_channels": [64, 256, 512, 1024],
    "hidden_sizes": [64, 256, 512, 1024],
    "stage_num_blocks": [1, 1, 2, 1],
    "stage_numb_of_layers": [3, 3, 3, 3],
    "use_learnable_affine_block": True,
}

_SIZES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "dfine-n": (
        {**_B0, "out_indices": [3, 4]},
        {
            "num_feature_levels": 2,
            "feat_strides": [16, 32],
            "encoder_in_channels": [512, 1024],
            "encode_proj_layers": [1],
            "encoder_hidden_dim": 128,
            "encoder_ffn_dim": 512,
            "d_model": 128,
            "decoder_in_channels": [128, 128],
            "decoder_ffn_dim": 512,
            "decoder_n_points": [6, 6],
            "decoder_layers": 3,
            "depth_mult": 0.5,
            "hidden_expansion": 0.34,
        },
    ),
    "dfine-s": (
        {**_B0, "out_indices": [2, 3, 4]},
        {
            "encoder_in_channels": [256, 512, 1024],
            "decoder_n_points": [3, 6, 3],
            "decoder_layers": 3,
            "depth_mult": 0.34,
            "hidden_expansion": 0.5,
        },
    ),
}
"""Backbone and detector of each size, as published with the paper (arXiv 2410.13842); the rest is DFineConfig's own."""

_OURS = ("num_labels", "id2label", "label2id", "backbone", "freeze_backbone_batch_norms")
"""Settings that follow from the data and the way of training."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a student's file holds.

    Attributes:
        model: name of the architecture.
        names: the classes, in the order of the ontology.
        imgsz: side of the square input in pixels.
        dataset: hash of what it was trained on.
        config: of the network, as DFineConfig writes it.
        tensors: the weights.
    """

    model: str
    names: tuple[str, ...]
    imgsz: int
    dataset: str
    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]

    def network(self) -> Any:
        """Return the network in evaluation mode. Raises BackendError where the weights do not fill it."""
        try:
            network = DFineForObjectDetection(DFineConfig.from_dict(dict(self.config)))
            network.load_state_dict(dict(self.tensors))
        except Exception as error:  # configurations of another version raise whatever their checks raise
            raise BackendError(
                f"the weights do not fill the {self.model} that they describe ({error!s:.200})"
            ) from error
        return network.eval()


def config_keys() -> tuple[str, ...]:
    """Return the settings of the network that may be changed, by the names of DFineConfig."""
    return tuple(key for key in DFineConfig().to_dict() if key not in _OURS)


def configured(model: str, names: Sequence[str], imgsz: int, changes: Mapping[str, Any]) -> Any:
    """Return the configuration of a size for these classes and this input.

    Args:
        model: dfine-n or dfine-s.
        names: the classes, in the order of the ontology.
        imgsz: side of the square input in pixels; a small one has fewer places than 300 queries.
        changes: settings of DFineConfig; ``backbone_config`` holds those of HGNetV2Config that differ.

    Raises:
        InputError: an unknown size, a side that is no multiple of 32 from 64 on, or settings that do not fit.
    """
    if model not in _SIZES:
        raise InputError(f"--model {model!r}: expected {' or '.join(_SIZES)}{did_you_mean(model, list(_SIZES))}")
    if imgsz % 32 or imgsz < MIN_IMGSZ:
        raise InputError(f"--imgsz is {imgsz}: expected a multiple of 32 from {MIN_IMGSZ} on for {model}")
    backbone, detector = _SIZES[model]
    changed = {**detector, **{key: value for key, value in changes.items() if key != "backbone_config"}}
    try:
        config = DFineConfig(
            backbone_config=HGNetV2Config(**{**backbone, **changes.get("backbone_config", {})}),
            freeze_backbone_batch_norms=False,
            **changed,
        )
    except Exception as error:  # the library checks types and sizes with errors of its own
        raise InputError(f"--model {model}: these settings make no network ({_line(error)})") from error
    return fitted(config, names, imgsz)


def fitted(config: Any, names: Sequence[str], imgsz: int) -> Any:
    """Set the classes of a configuration and as many queries as the input has places for, 300 at most; return it."""
    config.id2label = dict(enumerate(names))
    config.label2id = {name: row for row, name in enumerate(names)}
    places = sum((imgsz // stride) ** 2 for stride in config.feat_strides)
    config.num_queries = min(config.num_queries, places)
    return config


def fresh(config: Any, seed: int) -> Any:
    """Return a network with random weights. Raises InputError where the configuration makes none."""
    torch.manual_seed(seed)
    try:
        return DFineForObjectDetection(config)
    except Exception as error:  # sizes that do not fit each other fail somewhere inside the library
        raise InputError(f"these settings make no D-FINE network ({_line(error)})") from error


def started(start: Path, config: Any, seed: int) -> tuple[Any, tuple[str, ...]]:
    """Return a network with the weights of a checkpoint, and the names of the tensors that it does not fill.

    Those are the heads of another number of classes, and start at random.

    Args:
        start: folder with config.json and model.safetensors of a D-FINE from transformers, or the file of a student.
        config: of the network that is wanted; the checkpoint has to be of this size.
        seed: of what is not filled.

    Raises:
        BackendError: there is no such checkpoint, or it cannot be read.
        InputError: it is of another size.
    """
    network = fresh(config, seed)
    own = network.state_dict()
    found = _tensors_of(start)
    fits = {key: value for key, value in found.items() if key in own and own[key].shape == value.shape}
    unfilled = tuple(sorted(own.keys() - fits.keys()))
    other = [key for key in unfilled if not _of_classes(key)]
    if other:
        raise InputError(
            f"--start {display(start)}: does not fit the model: {len(other)} tensors are missing or of another "
            f"shape, the first is {other[0]}: give the --model that it was trained as"
        )
    network.load_state_dict(fits, strict=False)
    return network, unfilled


def save(path: Path, tensors: Mapping[str, torch.Tensor], config: Any, about: Mapping[str, str]) -> None:
    """Write a student's file in single precision, whole or not at all.

    Args:
        path: of the file.
        tensors: the weights.
        config: of the network.
        about: what a student's file says of itself, see ``metadata_of``.

    Raises:
        StateError: the disk is full.
    """
    # The heads are in the state dict twice under two names; the format wants every tensor to have its own bytes.
    own = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    try:
        write_whole(path, safetensors.torch.save(own, {**about, "config": config.to_json_string(use_diff=False)}))
    except OSError as error:
        raise StateError(
            f"{display(path)}: cannot be written ({error.strerror}): free some space, then resume"
        ) from error


def read(path: Path) -> Stored:
    """Return what a student's file holds. Raises BackendError."""
    checkpoint = read_checkpoint(path)
    texts = checkpoint.metadata
    if texts.get("kind") != KIND:
        raise BackendError(f"weights {display(path)}: expected a student of kind {KIND}, got {texts.get('kind')!r}")
    try:
        return Stored(
            texts["yaml"],
            tuple(json.loads(texts["names"])),
            int(texts["imgsz"]),
            texts["dataset"],
            json.loads(texts["config"]),
            checkpoint.tensors,
        )
    except (KeyError, ValueError) as error:
        raise BackendError(f"weights {display(path)}: the description of the model is damaged ({error})") from error


def _tensors_of(start: Path) -> Mapping[str, torch.Tensor]:
    if start.is_file():
        return read(start).tensors
    check_model_folder(start, ("d_fine",))
    tensors: Mapping[str, torch.Tensor] = load_pretrained(
        DFineForObjectDetection, start, torch.device("cpu")
    ).state_dict()
    return tensors


def _of_classes(key: str) -> bool:
    return any(part in key for part in ("class_embed", "enc_score_head"))


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip()[:200] if lines else type(error).__name__
