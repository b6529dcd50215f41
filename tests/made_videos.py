"""Small videos with exact content, encoded with PyAV.

`python -m tests.made_videos label …` is the labelstill command with one more detector, `snapped`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from labeling import cli
from labeling.core.ontology import Ontology
from labeling.teachers import backends
from labeling.teachers.interfaces import Detected, RgbImage
from tests.fakes import DrawnDetector

Picture = npt.NDArray[np.uint8]


def encode(
    path: Path,
    pictures: Iterable[Picture],
    *,
    fps: int = 10,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video; ``times`` in seconds make its frame rate vary."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.pix_fmt = pix_fmt
        stream.options = options or ({"crf": "18", "threads": "1"} if codec.startswith("libx26") else {})
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(pictures):
            if not number:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = round((times[number] if times else number / fps) * 1000)
            frame.time_base = Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def sound_only(path: Path) -> Path:
    """Write a file with a second of silence and no picture."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    return path


def with_sound(path: Path, pictures: Sequence[Picture], seconds: float) -> Path:
    """Write a video of 10 frames a second beside so many seconds of silence."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18", "threads": "1"}
        sound: Any = container.add_stream("pcm_s16le", rate=8000)
        sound.layout = "mono"
        for number in range(max(len(pictures), round(seconds * 10))):
            if number < len(pictures):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pictures[number], format="rgb24")))
            if number < seconds * 10:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
                silence.rate, silence.pts = 8000, number * 800
                container.mux(sound.encode(silence))
        container.mux([*stream.encode(), *sound.encode()])
    return path


def turned(path: Path) -> Path:
    """Write into the header of an MP4 that it is to be shown turned clockwise by a quarter.

    The matrix of QuickTime: x' = a x + c y, y' = b x + d y with a = d = 0, b = 1, c = -1.
    """
    data = bytearray(path.read_bytes())
    one, minus = (0x10000).to_bytes(4, "big"), (-0x10000).to_bytes(4, "big", signed=True)
    zero, unit = bytes(4), (0x40000000).to_bytes(4, "big")
    plain = one + zero * 3 + one + zero * 3 + unit
    at = data.index(plain, data.index(b"tkhd"))
    data[at : at + len(plain)] = zero + one + zero + minus + zero * 4 + unit
    path.write_bytes(data)
    return path


def still(size_wh: tuple[int, int] = (320, 240), seed: int = 0) -> Picture:
    """Return a picture with coarse structure, as a room has."""
    random = np.random.default_rng(seed)
    width, height = size_wh
    tiles = random.integers(60, 200, (height // 40 + 1, width // 40 + 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.kron(tiles, np.ones((40, 40, 1), np.uint8))[:height, :width])


def with_box(picture: Picture, x: int, y: int, side: int = 40, colour: tuple[int, int, int] = (255, 0, 0)) -> Picture:
    """Return the picture with a square on it."""
    changed = picture.copy()
    changed[y : y + side, x : x + side] = colour
    return changed


def noisy(picture: Picture, level: float, seed: int) -> Picture:
    """Return the picture as a sensor with this much noise (grey levels, one standard deviation) sees it."""
    noise = np.random.default_rng(seed).normal(0, level, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


class SnappedDetector(DrawnDetector):
    """Finds pure colours after lossy compression: every channel is full or nothing, and thin seams do not count."""

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        return super().detect([_snapped(image) for image in images], ontology, floor)


def load_snapped(weights: Path, device: str) -> SnappedDetector:
    return SnappedDetector()


def register_snapped() -> None:
    """Add `snapped` to the table of detectors."""
    row = backends.Backend("tests.made_videos:load_snapped", "dev", None, "none", default_score=0.5)
    cast(dict[str, backends.Backend], backends.DETECTORS)["snapped"] = row


def unregister_snapped() -> None:
    cast(dict[str, backends.Backend], backends.DETECTORS).pop("snapped")


def _snapped(image: RgbImage) -> RgbImage:
    import cv2

    pure = np.where(image > 127, np.uint8(255), np.uint8(0))
    opened = cv2.morphologyEx(pure, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    return cast(RgbImage, cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)))


def moving(count: int, size_wh: tuple[int, int] = (192, 128), step: float = 4.0) -> list[Picture]:
    """Return frames with a red square that goes right and a blue one that goes left on white."""
    frames = []
    for number in range(count):
        picture = np.full((size_wh[1], size_wh[0], 3), 255, np.uint8)
        red, blue = round(8 + step * number), round(size_wh[0] - 40 - step * number)
        frames.append(with_box(with_box(picture, red, 16, 32), blue, 80, 32, (0, 0, 255)))
    return frames


if __name__ == "__main__":
    register_snapped()
    sys.exit(cli.main())
