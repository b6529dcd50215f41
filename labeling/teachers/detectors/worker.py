"""GroundingDINO through the package groundingdino-py, which runs as a worker process in an environment of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from ...core.errors import BackendError
from ...core.ontology import Ontology
from ..device import pick_device
from ..interfaces import Detected, RgbImage
from ..prompts import Chunk
from ..weights import load_part
from ..worker.client import START_WITHIN_S, Worker, WorkerEndedError
from ..worker_environment import find, pins, place
from .captions import CaptionReader, RawOutput
from .original_grounding_dino import (
    image_processor,
    original_file,
    original_sizes,
    read_original,
    tokenizer_folder,
)

ENVIRONMENT = "groundingdino-py"
_INSTALL = f"run 'labelstill teachers install {ENVIRONMENT}'"
_LOAD_WITHIN_S = 300.0
#: A full-size image and caption take 15 s on two slow cores.
_SECONDS_PER_IMAGE = 120.0
_MAX_RESTARTS = 3
#: Pixels of one request: about sixteen images of 800 x 1333.
_REQUEST_BYTES = 1 << 26


class WorkerDetector:
    """Detector over an original .pth checkpoint, run by the package itself.

    Prompts, pixels and boxes are treated as for ``GroundingDinoDetector``; only the model runs over there. A worker
    that dies takes the call with it; the next call starts a new one, at most three times. It ends with this object
    or this process.
    """

    def __init__(
        self, weights: Path, device: str = "auto", prompts_per_pass: int | None = None, *, patience: float = 1.0
    ) -> None:
        """Start the worker and load the weights there.

        Args:
            weights: .pth file or the folder of one, with the files of its tokenizer.
            device: as ``pick_device`` reads it.
            prompts_per_pass: most prompts of a caption; None for as many as fit.
            patience: factor on all time limits.

        Raises:
            BackendError: no environment, no checkpoint of this architecture, or the worker could not load it.
        """
        file = original_file(weights)
        if file is None or file.suffix == ".safetensors":
            raise BackendError(
                f"weights {weights}: expected an original GroundingDINO checkpoint (.pth); other kinds are for "
                "--detector grounding-dino"
            )
        self._file = file.resolve()
        self._device = pick_device(device)
        self._patience = patience
        self._sizes = original_sizes(read_original(file), file)
        parts = tokenizer_folder(file)
        processor = image_processor(file)
        tokenizer = load_part(transformers.AutoTokenizer, parts)
        self._reader = CaptionReader(processor, tokenizer, parts, self._sizes.max_text_len, prompts_per_pass)
        self._normalisation = {"mean": list(processor.image_mean), "std": list(processor.image_std)}
        self._starts_left = 1 + _MAX_RESTARTS
        self._worker: Worker | None = None
        self._running()

    def close(self) -> None:
        """End the worker; a later call would start a new one."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def chunks(self, ontology: Ontology) -> tuple[Chunk, ...]:
        """Return the captions that the prompts are packed into. Raises InputError, see ``pack_prompts``."""
        return self._reader.chunks(ontology)

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        """Return every box whose score reaches ``floor``; see the Detector protocol."""
        return self._reader.detect(images, ontology, floor, self._run, normalised=False)

    def _run(self, pixels: torch.Tensor, chunks: Sequence[Chunk]) -> Iterator[RawOutput]:
        plain = pixels.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8, copy=False)
        at_once = max(1, _REQUEST_BYTES // max(1, plain[0].nbytes))
        parts = [self._outputs(plain[start : start + at_once], chunks) for start in range(0, len(plain), at_once)]
        for outputs in zip(*parts, strict=True):
            yield RawOutput(*(torch.cat(pieces) for pieces in zip(*outputs, strict=True)))

    def _outputs(self, pixels: Any, chunks: Sequence[Chunk]) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        request = {"op": "detect", "captions": [chunk.token_ids for chunk in chunks], **self._normalisation}
        within = self._patience * _SECONDS_PER_IMAGE * len(pixels) * len(chunks)
        results: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for arrays in self._ask(self._running(), request, [pixels], answers=len(chunks), within_s=within):
            tensors = [torch.from_numpy(array.copy()) for array in arrays]
            features = tensors[2] if not results else results[0][2]
            results.append((tensors[0], tensors[1], features))
        self._check(results, len(pixels), chunks)
        return results

    def _check(self, results: Sequence[tuple[torch.Tensor, ...]], images: int, chunks: Sequence[Chunk]) -> None:
        for chunk, (logits, boxes, features) in zip(chunks, results, strict=True):
            expected = (images, self._sizes.queries, len(chunk.token_ids)), (images, self._sizes.queries, 4)
            if (logits.shape, boxes.shape) != expected or features.ndim != 4 or len(features) != images:
                raise BackendError(f"the worker's answer has shapes {tuple(logits.shape)}, {tuple(boxes.shape)}")

    def _running(self) -> Worker:
        """Return the worker with the weights loaded, starting one where none lives or the last call was broken off."""
        if self._worker is not None and not self._worker.busy:
            return self._worker
        self.close()
        python = find(ENVIRONMENT)
        if python is None:
            raise BackendError(
                f"the package {ENVIRONMENT} needs an environment of its own, there is none that is whole and current "
                f"in {place(ENVIRONMENT)}: {_INSTALL}"
            )
        if self._starts_left == 0:
            raise BackendError(
                f"the worker of {ENVIRONMENT} has ended {_MAX_RESTARTS + 1} times and is not started again: "
                "see why it ended, memory first, or use --detector grounding-dino with the same weights"
            )
        self._starts_left -= 1
        try:
            worker = Worker(python, within_s=self._patience * START_WITHIN_S)
            self._worker = worker
            self._check_versions(worker)
            request = {
                "op": "load",
                "weights": str(self._file),
                "sizes": asdict(self._sizes),
                "device": str(self._device),
            }
            list(self._ask(worker, request, within_s=self._patience * _LOAD_WITHIN_S))
        except BaseException:  # memory that ran out and Ctrl-C as well: a worker without weights is of no use
            self.close()
            raise
        return worker

    def _check_versions(self, worker: Worker) -> None:
        tested = pins(ENVIRONMENT)
        for package, version in worker.versions.items():
            if tested.get(package, version) != version:
                raise BackendError(
                    f"the environment of {ENVIRONMENT} has {package} {version}, expected {tested[package]}: {_INSTALL}"
                )

    def _ask(
        self, worker: Worker, request: dict[str, Any], arrays: Sequence[Any] = (), **limits: Any
    ) -> Iterator[list[Any]]:
        """Yield the arrays of each answer; an error over there is raised here."""
        try:
            for answer, received in worker.ask(request, arrays, **limits):
                if "error" in answer:
                    raise self._failure(answer)
                yield received
        except WorkerEndedError as error:
            self.close()
            raise BackendError(
                f"{ENVIRONMENT}: {error}; the next call starts a new one, {self._starts_left} time(s) left"
            ) from error

    def _failure(self, answer: dict[str, Any]) -> Exception:
        if answer.get("kind") == "memory":
            return torch.OutOfMemoryError(str(answer["error"]))
        if answer.get("kind") == "weights":
            return BackendError(f"weights do not fit the model of {ENVIRONMENT}: {answer['error']}")
        return BackendError(f"{ENVIRONMENT} failed: {answer['error']}")
