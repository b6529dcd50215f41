"""The process in the other environment: loads GroundingDINO from the package ``groundingdino`` and answers requests.

Run by path with ``python -I``; imports the standard library, numpy, torch, the package and its transformers.
The protocol and its limits are described in protocol.py.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labeling.teachers.worker.protocol import PROTOCOL, Read, encode, receive
else:
    # The folder of this file is not on the path of an isolated interpreter.
    sys.path.append(str(Path(__file__).resolve().parent))
    from protocol import PROTOCOL, Read, encode, receive

_PACKAGES = ("groundingdino-py", "transformers", "supervision", "torch")
#: Tensors of published files that are for training alone, or follow from the sizes.
_UNUSED = ("label_enc.weight", "bert.embeddings.position_ids")
#: [CLS], [SEP], full stop and question mark: where one phrase ends and the next begins.
_DELIMITERS = [101, 102, 1012, 1029]


class _WeightsError(Exception):
    """The weights do not fit the package's model."""


class _TokenIds:
    """Stands where the package has its tokenizer: captions arrive as token ids already."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def __call__(self, captions: list[str], **_: Any) -> Any:
        import torch
        from transformers import BatchEncoding

        ids = torch.tensor([self.ids] * len(captions))
        return BatchEncoding(
            {"input_ids": ids, "token_type_ids": torch.zeros_like(ids), "attention_mask": torch.ones_like(ids)}
        )

    def convert_tokens_to_ids(self, _: list[str]) -> list[int]:
        return _DELIMITERS


class Model:
    """The package's model on a device, in evaluation mode."""

    def __init__(self, weights: str, sizes: dict[str, Any], device: str) -> None:
        """Build the model in the sizes of the checkpoint and fill it, every tensor in its place."""
        import torch

        self._torch = torch
        self._device = torch.device(device)
        self._tokens = _TokenIds()
        model = _build(sizes, self._tokens)
        try:
            loaded = _unwrapped(torch.load(weights, map_location="cpu", weights_only=True))
            state = {key.removeprefix("module."): tensor for key, tensor in loaded.items()}
            model.load_state_dict({key: tensor for key, tensor in state.items() if key not in _UNUSED})
        except (RuntimeError, AttributeError) as error:
            raise _WeightsError(f"{weights}: {' '.join(str(error).split())[:300]}") from error
        self._model = model.float().eval().to(self._device)
        self._encoder = _kept(model.backbone[0])
        model.backbone[0] = self._encoder

    def outputs(self, pixels: Any, captions: list[list[int]], mean: list[float], std: list[float]) -> Any:
        """Yield logits, boxes and, with the first caption, the coarsest feature map, per caption as arrays."""
        from groundingdino.util.misc import NestedTensor

        torch = self._torch
        with torch.inference_mode():
            images = torch.from_numpy(pixels.copy()).to(self._device).permute(0, 3, 1, 2).float()
            # As transformers does it: the rescaling is folded into mean and deviation.
            scale, shift = (torch.tensor(values, device=self._device)[:, None, None] * 255 for values in (std, mean))
            images = (images - shift) / scale
            mask = torch.zeros((len(images), *images.shape[-2:]), dtype=torch.bool, device=self._device)
            samples = NestedTensor(images, mask)
            try:
                for number, ids in enumerate(captions):
                    self._tokens.ids = ids
                    raw = self._model(samples, captions=[""] * len(images))
                    arrays = [raw["pred_logits"][..., : len(ids)], raw["pred_boxes"]]
                    if number == 0:
                        arrays.append(self._encoder.coarsest())
                    yield [array.float().cpu().numpy() for array in arrays]
            finally:
                self._encoder.forget()


def _unwrapped(loaded: Any) -> Any:
    """Return the state dict inside a training checkpoint, the same as the other side has read its sizes from."""
    wraps = ("ema", "model", "state_dict")
    while (inner := next((loaded[key] for key in wraps if isinstance(loaded.get(key), dict)), None)) is not None:
        loaded = inner
    return loaded


def _build(sizes: dict[str, Any], tokens: _TokenIds) -> Any:
    from groundingdino import config as configurations
    from groundingdino.models import build_model
    from groundingdino.models.GroundingDINO.backbone import backbone
    from groundingdino.models.GroundingDINO.backbone.swin_transformer import SwinTransformer
    from groundingdino.util import get_tokenlizer
    from groundingdino.util.slconfig import SLConfig
    from transformers import BertConfig, BertModel

    def text_encoder(_: str) -> Any:
        return BertModel(
            BertConfig(
                vocab_size=sizes["vocabulary"],
                hidden_size=sizes["text_width"],
                num_hidden_layers=sizes["text_layers"],
                num_attention_heads=sizes["text_heads"],
                intermediate_size=sizes["text_feedforward"],
                max_position_embeddings=sizes["text_positions"],
            )
        )

    def swin(_: str, **options: Any) -> Any:
        return SwinTransformer(
            embed_dim=sizes["embed_dim"],
            depths=sizes["depths"],
            num_heads=sizes["heads"],
            window_size=sizes["window"],
            **options,
        )

    # The checkpoint has the text encoder's weights, and its sizes say which Swin it is: nothing is fetched by name.
    get_tokenlizer.get_tokenlizer = lambda _: tokens
    get_tokenlizer.get_pretrained_language_model = text_encoder
    backbone.build_swin_transformer = swin
    settings = SLConfig.fromfile(str(Path(configurations.__file__).parent / "GroundingDINO_SwinT_OGC.py"))
    settings.return_interm_indices = sizes["stages"]
    settings.hidden_dim = sizes["width"]
    settings.num_feature_levels = sizes["levels"]
    settings.enc_layers = sizes["encoder_layers"]
    settings.dec_layers = sizes["decoder_layers"]
    settings.dim_feedforward = sizes["feedforward"]
    settings.nheads = sizes["attention_heads"]
    settings.enc_n_points = sizes["encoder_points"]
    settings.dec_n_points = sizes["decoder_points"]
    settings.num_queries = sizes["queries"]
    settings.max_text_len = sizes["max_text_len"]
    # Recomputing activations saves memory in training alone.
    settings.use_checkpoint = settings.use_transformer_ckpt = False
    return build_model(settings)


def _kept(encoder: Any) -> Any:
    """Return the image encoder, run once per batch although the model asks again for every caption."""
    from torch import nn

    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._encoder = encoder
            self._samples: Any = None
            self._result: Any = None

        def forward(self, samples: Any) -> Any:
            if self._samples is not samples:
                self._result = self._encoder(samples)
                self._samples = samples
            return self._result

        def coarsest(self) -> Any:
            return self._result[max(self._result)].tensors

        def forget(self) -> None:
            self._samples = self._result = None

    return Kept()


def serve(read: Read, write: Callable[..., None]) -> None:
    """Answer requests until the input ends."""
    write({"protocol": PROTOCOL, "python": platform.python_version(), "versions": {p: version(p) for p in _PACKAGES}})
    model: Model | None = None
    while (frame := receive(read)) is not None:
        request, arrays = frame
        try:
            if request["op"] == "load":
                model = Model(request["weights"], request["sizes"], request["device"])
                write({"ok": True})
            elif request["op"] == "detect" and model is not None:
                outputs = model.outputs(arrays[0], request["captions"], request["mean"], request["std"])
                for number, answer in enumerate(outputs):
                    write({"caption": number}, answer)
            else:
                write({"error": f"unexpected request {request['op']!r}", "kind": "failed"})
        except BrokenPipeError:
            return
        except Exception as error:  # whatever the package raises: the other side says what to do
            write({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}", "kind": _kind(error)})


def _kind(error: Exception) -> str:
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return "memory"
    return "weights" if isinstance(error, _WeightsError) else "failed"


def _end_with(parent: int) -> None:
    """End this process when the one that started it has ended, even in the middle of a request."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    """Keep the pipes for frames alone, and serve."""
    source, sink = os.dup(0), os.dup(1)
    # What libraries print must not land between frames.
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    with os.fdopen(source, "rb") as incoming, os.fdopen(sink, "wb") as outgoing:

        def write(header: dict[str, Any], arrays: Any = ()) -> None:
            outgoing.writelines(encode(header, arrays))
            outgoing.flush()

        serve(incoming.read, write)


if __name__ == "__main__":
    main()
