"""Frames of a video or a stream, decoded with PyAV: upright RGB, each with its number and its time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ..core.errors import MissingExtraError
from .files import VideoRejected
from .picking import SMALL_WH, Grey

#: Demuxers of the files in VIDEO_SUFFIXES. Others, such as playlists, would open further files or addresses.
_FILE_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg"
_FILE_OPTIONS = {"format_whitelist": _FILE_FORMATS, "protocol_whitelist": "file"}
_STREAM_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto"
_OPEN_S, _READ_S = 10.0, 10.0
_MOST_DAMAGED = 100
"""Packets in a row that cannot be decoded: then nothing more is expected."""
_LAST_S = 1.0
"""A last frame may be shown so long, or twice as long as any before it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame.

    Attributes:
        number: from 0, as decoded.
        seconds: since the first frame.
    """

    number: int
    seconds: float
    _picture: Any

    def grey(self) -> Grey:
        """Return the whole frame as (48, 64) uint8, not turned."""
        width, height = SMALL_WH
        small = self._picture.reformat(width=width, height=height, format="gray", interpolation="AREA")
        return cast(Grey, np.ascontiguousarray(small.to_ndarray(format="gray")))

    def rgb(self) -> npt.NDArray[np.uint8]:
        """Return (height, width, 3) uint8, upright, as the rotation in the file says."""
        quarters = round(self._picture.rotation / 90) % 4
        return cast(
            npt.NDArray[np.uint8], np.ascontiguousarray(np.rot90(self._picture.to_ndarray(format="rgb24"), quarters))
        )


class Decoder:
    """Frames of one open container.

    Attributes:
        damaged: packets so far that could not be decoded.
        cut: whether the file ended before its last frame; known after the last one.
    """

    def __init__(self, container: Any, name: str, max_pixels: int, *, live: bool) -> None:
        self._container, self._name, self._live = container, name, live
        if not container.streams.video:
            raise VideoRejected("no_video_stream", "there is sound or data in it, but no picture")
        self._stream = container.streams.video[0]
        self._stream.thread_type = "AUTO"
        width, height = self._stream.codec_context.width, self._stream.codec_context.height
        if width * height > max_pixels:
            raise VideoRejected("too_large", f"{width}x{height} pixels; at most {max_pixels} (images.max_pixels)")
        if 0 < min(width, height) < 10:
            raise VideoRejected("too_small", f"{width}x{height} pixels; at least 10 on each side")
        self.damaged = 0
        self.cut = False
        self._heard = 0.0

    def frames(self) -> Iterator[Frame]:
        """Yield every frame that can be decoded.

        Raises:
            VideoRejected: a stream broke off; frames before it were yielded.
        """
        number, began, last, gap = 0, None, 0.0, 0.0
        for picture in self._pictures():
            if getattr(picture, "is_corrupt", False):
                self.damaged += 1
                continue
            time = picture.time
            if time is not None and math.isfinite(time):
                began = time if began is None else began
                gap = max(gap, time - began - last)
                last = max(last, time - began)
            yield Frame(number, last, picture)
            number += 1
        self.cut = self._ends_early(number, last, gap)

    def _pictures(self) -> Iterator[Any]:
        import av

        in_a_row = 0
        packets = self._container.demux(self._stream) if self._live else self._container.demux()
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.EOFError):
                return
            except av.error.FFmpegError as error:
                if self._live:
                    raise _lost(self._name, error) from None
                self.damaged += 1
                return
            if packet.stream is not self._stream:
                self._hear(packet)
                continue
            try:
                pictures = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self.damaged += 1
                in_a_row += 1
                if in_a_row > _MOST_DAMAGED:
                    return
                continue
            in_a_row = 0 if pictures else in_a_row
            yield from pictures

    def _hear(self, packet: Any) -> None:
        """Note how far the sound, or whatever there is beside the picture, goes."""
        if packet.pts is not None and packet.time_base:
            self._heard = max(
                self._heard, float(packet.pts * packet.time_base) - (self._container.start_time or 0) / 1e6
            )

    def _ends_early(self, number: int, last: float, gap: float) -> bool:
        """Compare the last frame with the length that the header tells, all in seconds."""
        stream, length = self._stream, 0.0
        if self._live or not number or 0 < stream.frames <= number:
            return False
        if stream.duration and stream.time_base:
            length = float(stream.duration * stream.time_base)
        elif self._container.duration:  # sound may go on longer than the picture
            length, last = self._container.duration / 1e6, max(last, self._heard)
        if stream.frames and stream.average_rate:  # FFmpeg makes the duration of a cut AVI fit the size of the file
            length = max(length, float(stream.frames / stream.average_rate))
        return length - last > max(2 * gap, min(_LAST_S, 0.1 * length))


@contextmanager
def open_file(path: Path, *, max_pixels: int) -> Iterator[Decoder]:
    """Open a video file for reading; nothing but this file is opened.

    Raises:
        VideoRejected: it is no video that can be used. MissingExtraError: PyAV is not installed.
    """
    av = _av()
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "rb"))
            container = stack.enter_context(av.open(file, options=_FILE_OPTIONS))
        except FileNotFoundError:
            raise VideoRejected("unreadable", "the file is gone; run again if it was moved") from None
        except PermissionError:
            raise VideoRejected("permission", "the file may not be read; check its permissions") from None
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise VideoRejected("unreadable", f"no video that can be decoded ({_said(error)}); copy it again") from None
        yield Decoder(container, path.name, max_pixels, live=False)


@contextmanager
def open_stream(address: str, shown: str, *, max_pixels: int) -> Iterator[Decoder]:
    """Open a stream or camera; whoever does not answer within 10 seconds is given up.

    Args:
        address: with its credentials.
        shown: without them; messages show nothing else.
        max_pixels: of one frame.

    Raises:
        VideoRejected: it does not answer or cannot be decoded. MissingExtraError: PyAV is not installed.
    """
    av = _av()
    camera = address.startswith("/dev/")
    options = {} if camera else {"protocol_whitelist": _STREAM_PROTOCOLS}
    if address.lower().startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    try:
        container = av.open(
            address, format="video4linux2" if camera else None, options=options, timeout=(_OPEN_S, _READ_S)
        )
    except (OSError, ValueError, av.error.FFmpegError) as error:
        raise _lost(shown, error) from None
    with container:
        yield Decoder(container, shown, max_pixels, live=True)


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("av", "video") from error
    av.logging.set_level(None)  # its log names addresses with their credentials
    return av


def _lost(shown: str, error: Exception) -> VideoRejected:
    return VideoRejected("unreachable", f"{shown} does not answer or broke off ({_said(error)})")


def _said(error: Exception) -> str:
    """Return the cause alone: the text of the error may hold an address with its credentials."""
    return str(getattr(error, "strerror", None) or type(error).__name__)
