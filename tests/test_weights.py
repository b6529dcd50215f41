"""Weights of the right kind are read, of the wrong kind refused in one line, and payloads never run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from labeling.core.errors import BackendError
from labeling.teachers.weights import check_model_folder, read_checkpoint


class Payload:
    """Unpickling makes a folder: the canary that tells whether code of the file ran."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def refused(path: Path, **options: bool) -> str:
    with pytest.raises(BackendError) as caught:
        read_checkpoint(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.mark.torch
def test_safetensors_come_as_float32_with_their_metadata(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    half, whole = torch.full((2,), 0.5, dtype=torch.float16), torch.tensor([7])
    save_file({"half": half, "whole": whole}, path, {"names": "[]"})
    checkpoint = read_checkpoint(path)
    assert checkpoint.metadata == {"names": "[]"}
    assert checkpoint.tensors["half"].dtype == torch.float32
    assert checkpoint.tensors["half"].tolist() == [0.5, 0.5]
    assert checkpoint.tensors["whole"].dtype == torch.int64
    assert checkpoint.module is None


@pytest.mark.torch
@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: {"model": d, "epoch": 3}, lambda d: {"state_dict": d}])
def test_plain_tensors_in_a_pt_file_need_no_trust(tmp_path: Path, wrap: Any) -> None:
    import torch

    path = tmp_path / "w.pt"
    torch.save(wrap({"a": torch.ones(2)}), path)
    assert read_checkpoint(path).tensors["a"].tolist() == [1.0, 1.0]


@pytest.mark.torch
@pytest.mark.parametrize("legacy", [False, True])
def test_a_payload_is_refused_and_does_not_run(tmp_path: Path, legacy: bool) -> None:
    import torch

    path, canary = tmp_path / "evil.pt", tmp_path / "canary"
    torch.save({"model": Payload(canary)}, path, _use_new_zipfile_serialization=not legacy)
    message = refused(path)
    assert "can run any code" in message
    assert "--trust-weights" in message
    assert not canary.exists()
    # The canary works: the same file, trusted, does run its payload.
    refused(path, trust_weights=True)
    assert canary.exists()


@pytest.mark.torch
def test_a_payload_under_another_name_is_refused_and_does_not_run(tmp_path: Path) -> None:
    import torch

    canary = tmp_path / "canary"
    for name in ("evil.safetensors", "evil.bin", "evil.pth"):
        torch.save(Payload(canary), tmp_path / name)
        refused(tmp_path / name)
    assert not canary.exists()


@pytest.mark.torch
def test_a_module_is_read_where_it_is_trusted(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "module.pt"
    torch.save({"ema": None, "model": torch.nn.Linear(1, 1)}, path)
    assert "pickled Python module" in refused(path)
    assert isinstance(read_checkpoint(path, trust_weights=True).module, torch.nn.Linear)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.onnx", "w.txt"])
@pytest.mark.parametrize("content", [b"", b"hello, I am text\n", b"\x80\x02garbage", b"PK\x03\x04garbage"])
def test_files_of_another_kind_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused(path)


@pytest.mark.torch
def test_a_truncated_safetensors_file_is_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-10])
    assert "no readable safetensors file" in refused(path)


def test_a_missing_file_and_a_folder_are_no_weight_file(tmp_path: Path) -> None:
    refused(tmp_path / "absent.pt")
    refused(tmp_path)


def test_a_model_folder_is_checked_by_its_configuration(tmp_path: Path) -> None:
    def check() -> str:
        return check_model_folder(tmp_path, ("grounding-dino", "mm-grounding-dino"))

    with pytest.raises(BackendError, match=r"expected a folder with the config\.json"):
        check()
    config = tmp_path / "config.json"
    for broken in ("hello", "[]", "{}", "\xff"):
        config.write_bytes(broken.encode("latin-1"))
        with pytest.raises(BackendError, match="no configuration of a model"):
            check()
    config.write_text(json.dumps({"model_type": "sam2"}))
    with pytest.raises(BackendError, match=r"of type grounding-dino or mm-grounding-dino, config\.json says 'sam2'"):
        check()
    config.write_text(json.dumps({"model_type": "grounding-dino"}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(BackendError, match=r"no \.safetensors file .* pickled weights are not loaded"):
        check()
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert check() == "grounding-dino"


@pytest.mark.torch
def test_weights_that_do_not_fill_the_model_are_refused(tmp_path: Path) -> None:
    """transformers itself would fill the gap with random numbers."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import Sam2Model

    from labeling.teachers.weights import load_pretrained
    from tests.tiny_models import save_sam2

    save_sam2(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    key = next(iter(tensors))
    for change in ({key: torch.ones(1)}, {}):
        save_file({k: v for k, v in tensors.items() if k != key} | change, path, {"format": "pt"})
        with pytest.raises(BackendError) as caught:
            load_pretrained(Sam2Model, tmp_path, torch.device("cpu"))
        assert "\n" not in str(caught.value)
    path.write_bytes(b"corrupt")
    with pytest.raises(BackendError, match="could not be loaded"):
        load_pretrained(Sam2Model, tmp_path, torch.device("cpu"))
