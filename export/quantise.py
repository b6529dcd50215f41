"""From an ONNX model to INT8 with QDQ nodes, as TensorRT takes it; layers that hurt go back to float, worst first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from .int8_gate import Verdict
from .onnx_files import read_card, read_onnx, save_onnx
from .qdq import METHOD, Method, calibrate, layers, with_int8, write_int8
from .runtime import Card, Floats, Frame, Model, OnnxSession

Tell = Callable[[str], None]

STEPS = (0, 1, 2, 4, 8, 16)
"""How many layers go back to float, one try after the other."""

PROBES = 8
"""So many frames say which layers hurt."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution and the error that comes from it alone.

    Attributes:
        name: of the node.
        noise: see ``noise``, with this layer in INT8 and all others in float; 0 is no error.
    """

    name: str
    noise: float


@dataclass(frozen=True, slots=True)
class Step:
    """One try: which layers stayed in float, and what the gate said."""

    kept: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Search:
    """How INT8 was found or given up.

    Attributes:
        layers: that can be INT8.
        ranked: all of them, the worst first; empty where the first try passed.
        steps: what was tried, in order; only the last can have passed.
        frames: that the ranges were measured on.
        method: of the ranges.
    """

    layers: int
    ranked: tuple[Layer, ...]
    steps: tuple[Step, ...]
    frames: int
    method: Method

    @property
    def verdict(self) -> Verdict:
        """What the gate said of the last try."""
        return self.steps[-1].verdict

    @property
    def passed(self) -> bool:
        """Say whether there is an INT8 model."""
        return self.verdict.passed

    @property
    def sentence(self) -> str:
        """What to tell people."""
        kept = len(self.steps[-1].kept)
        return f"{self.verdict.sentence}; {self.layers - kept} of {self.layers} layers in INT8, {kept} kept in float"


def search(
    onnx: Path,
    int8: Path,
    frames: Iterable[Frame],
    judge: Callable[[Path], Verdict],
    *,
    steps: Sequence[int] = STEPS,
    method: Method = METHOD,
    tell: Tell = lambda line: None,
) -> Search:
    """Quantise, and put the worst layers back to float until the gate passes or the last step is reached.

    Args:
        onnx: a model in fp32 with its card.
        int8: gets the model that passed; is not written where none did.
        frames: BGR uint8 (h, w, 3), gone through once; few are in memory at a time.
        judge: measures a model file, see ``int8_gate.gate``.
        steps: how many layers to keep in float, growing.
        method: of the ranges.
        tell: called with lines for people.

    Raises:
        InputError: the model is not in fp32, has no layer to quantise, or there is no frame.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    names = layers(onnx)
    probes: list[Floats] = []
    tried: list[Step] = []
    ranked: tuple[Layer, ...] = ()
    with TemporaryDirectory(prefix="labelstill-int8-") as folder:
        ranges, candidate = Path(folder) / "ranges.json", Path(folder) / "model.onnx"
        seen = calibrate(onnx, _kept(tensors(onnx, frames), probes), ranges, method=method)
        tell(f"INT8: ranges measured on {seen} photos")
        for count in sorted({min(step, len(names)) for step in steps}):
            if count and not ranked:
                tell(f"INT8: looking for the layers that hurt, {len(names)} to try")
                ranked = tuple(sensitive(onnx, ranges, probes))
            kept = tuple(layer.name for layer in ranked[:count])
            card = write_int8(onnx, candidate, ranges, keep=kept)
            tried.append(Step(kept, judge(candidate)))
            tell(f"INT8 with {count} of {len(names)} layers in float: {tried[-1].verdict.sentence}")
            if tried[-1].verdict.passed:
                save_onnx(read_onnx(candidate), int8, card)
                break
    return Search(len(names), ranked, tuple(tried), seen, method)


def quantise(
    onnx: Path, int8: Path, frames: Iterable[Frame], *, keep: Collection[str] = (), method: Method = METHOD
) -> Card:
    """Write the INT8 model of ranges that are measured on frames, and return its card.

    Args:
        onnx: a model in fp32 with its card.
        int8: of the file that is written.
        frames: BGR uint8 (h, w, 3), gone through once, one in memory at a time.
        keep: names of layers that stay in float.
        method: of the ranges.

    Raises:
        InputError: see ``search``; or a layer to keep is none.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    with TemporaryDirectory(prefix="labelstill-int8-") as folder:
        ranges = Path(folder) / "ranges.json"
        calibrate(onnx, tensors(onnx, frames), ranges, method=method)
        return write_int8(onnx, int8, ranges, keep=keep)


def tensors(onnx: Path, frames: Iterable[Frame]) -> Iterator[Floats]:
    """Yield frames as the runtime gives them to the network; to a dynamic model in the shapes of its letterbox."""
    model = Model(OnnxSession(onnx))
    for frame in frames:
        yield model.prepare(frame).tensor


def sensitive(onnx: Path, ranges: Path, inputs: Sequence[Floats]) -> list[Layer]:
    """Return every layer with the error that it adds alone, the worst first.

    Args:
        onnx: the model in fp32.
        ranges: file of ``calibrate``.
        inputs: a few tensors that the network is shown.
    """
    import onnxruntime

    card = read_card(onnx)

    def outputs(model: bytes) -> list[list[Floats]]:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return [session.run(None, {name: tensor}) for tensor in inputs]

    exact = outputs(onnx.read_bytes())
    found = []
    for name in layers(onnx):
        rounded = outputs(with_int8(onnx, ranges, [name]).SerializeToString())
        errors = [noise(one, other, card) for one, other in zip(exact, rounded, strict=True)]
        found.append(Layer(name, float(np.mean(errors))))
    return sorted(found, key=lambda layer: (-layer.noise, layer.name))


def noise(exact: Sequence[Floats], other: Sequence[Floats], card: Card) -> float:
    """Return how far the outputs for one frame are off: squared error over squared signal, of scores plus of boxes.

    Places where nothing is count for little: boxes weigh as much as the best score of their place. Of masks, and of
    rows that NMS in the graph has put in order, it is the plain ratio of all numbers or of the scores.

    Args:
        exact: outputs of the model in float.
        other: outputs of the quantised one.
        card: whose layout they have.
    """
    if card.layout == "nms":
        return _ratio(exact[0][0, :, 4], other[0][0, :, 4])
    if card.layout == "queries":
        scores, boxes, rest = (0, 1, [(exact[place], other[place]) for place in range(2, len(exact))])
        pairs = (exact[scores][0].T, other[scores][0].T), (exact[boxes][0].T, other[boxes][0].T)
    else:
        end = 4 + len(card.names)
        pairs = (exact[0][0, 4:end], other[0][0, 4:end]), (exact[0][0, :4], other[0][0, :4])
        rest = [(exact[0][0, end:], other[0][0, end:]), *zip(exact[1:], other[1:], strict=True)]
    weights = pairs[0][0].max(axis=0)
    return _ratio(*pairs[0]) + _ratio(*(part * weights for part in pairs[1])) + sum(_ratio(*one) for one in rest)


def _ratio(exact: Floats, other: Floats) -> float:
    if not exact.size:
        return 0.0
    wide = exact.astype(np.float64)
    return float(((other - wide) ** 2).sum() / max((wide**2).sum(), 1e-12))


def _kept(inputs: Iterable[Floats], probes: list[Floats]) -> Iterator[Floats]:
    """Yield inputs and put the first PROBES aside."""
    stream = iter(inputs)
    for tensor in islice(stream, PROBES):
        probes.append(tensor)
        yield tensor
    yield from stream
