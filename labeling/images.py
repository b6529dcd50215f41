"""The gate: the bytes of one file become upright RGB pixels, decoded exactly once, or a named reason why not."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageColor

from .core.errors import InputError, MissingExtraError
from .image_formats import FORMAT_OF_SUFFIX, HEAD_BYTES, SUPPORTED, ends_early, reader, sniff, suffix_of

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

Pixels = npt.NDArray[np.uint8]

MIN_SIDE_PX = 10
"""Shorter pictures are refused: trainers drop them silently."""

# Bytes per pixel of the largest layout that is read, 16-bit RGBA; a file that is far larger is not read into memory.
_MAX_BYTES_PER_PIXEL = 8
_MIN_BYTES_LIMIT = 64 * 2**20

_END_OF_JPEG = b"\xff\xd9"
# Of these, Pillow keeps the rows that were decoded before the data ended.
_KEEPS_FIRST_ROWS = ("PNG", "BMP", "GIF", "PPM")
_BAND_PX = 65536


class ImageRejected(InputError):
    """One file is no usable image.

    Attributes:
        reason: short and stable: ``empty_file``, ``missing``, ``not_a_regular_file``, ``needs_pillow_heif``,
            ``permission``, ``too_large``, ``too_small``, ``truncated``, ``unreadable``, ``unsupported_dtype``.
        detail: what was found and what to do, for people.
        sha256: hash of the bytes, or None where they could not be read.
    """

    def __init__(self, reason: str, detail: str, sha256: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.sha256 = sha256


@dataclass(frozen=True, slots=True, eq=False)
class LoadedImage:
    """A decoded image.

    Attributes:
        sha256: hash of the bytes of the file.
        pixels: (height, width, 3) uint8, RGB, upright, contiguous, writable.
        format: what the bytes are, in Pillow's words, such as "JPEG".
        notes: what was done or is odd: ``alpha_composited``, ``format_mismatch``, ``multiframe`` (the first frame was
            taken), ``orientation_applied``, ``sixteen_bit`` (scaled to 8 bits), ``truncated`` (accepted on request).
    """

    sha256: str
    pixels: Pixels
    format: str
    notes: tuple[str, ...] = ()


def load(path: Path, *, max_pixels: int, background: str = "white", accept_truncated: bool = False) -> LoadedImage:
    """Read a file once, hash it and decode it. The file is never written; safe in several threads.

    Args:
        path: the file; its suffix is compared with the content, and the content is believed.
        max_pixels: largest width x height, judged from the header before anything is decoded.
        background: what lies under transparent pixels, a colour name or "#rrggbb".
        accept_truncated: decode what there is of a cut JPEG, PNG, BMP, GIF or PPM and note it.

    Raises:
        ImageRejected: the file cannot be read or is no usable image.
        InputError: the background is no colour.
    """
    return decode(
        read(path, max_pixels),
        suffix=suffix_of(path.name),
        max_pixels=max_pixels,
        background=background,
        accept_truncated=accept_truncated,
    )


def read(path: Path, max_pixels: int) -> bytes:
    """Return the bytes of a regular file; a pipe in its place does not block. Raises ImageRejected."""
    limit = max(max_pixels * _MAX_BYTES_PER_PIXEL, _MIN_BYTES_LIMIT)
    try:
        with open(path, "rb", buffering=0, opener=_open_without_waiting) as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise ImageRejected("not_a_regular_file", "expected a file, found a folder, pipe, socket or device")
            if info.st_size > limit:
                raise ImageRejected("too_large", f"{info.st_size} bytes; at most {limit} for {max_pixels} pixels")
            return file.read()
    except FileNotFoundError as error:
        raise ImageRejected("missing", "the file is gone; run again if it was moved") from error
    except PermissionError as error:
        raise ImageRejected("permission", "the file may not be read; check its permissions") from error
    except OSError as error:
        reason = "not_a_regular_file" if error.errno in (errno.ENXIO, errno.EISDIR) else "unreadable"
        raise ImageRejected(reason, error.strerror or str(error)) from error


def header_pixels(path: Path) -> int:
    """Return width x height as the header of a file says, for a few reads of the disk; 0 where it says nothing."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            image_format = sniff(file.read(HEAD_BYTES))
            file.seek(0)
            width, height = reader(image_format)(file).size if image_format else (0, 0)
    except Exception:  # whatever is wrong with the file, decoding it will say so
        return 0
    return width * height


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def decode(
    data: bytes, *, suffix: str = "", max_pixels: int, background: str = "white", accept_truncated: bool = False
) -> LoadedImage:
    """Decode the bytes of a file; see `load`. ``suffix`` is lower case with its dot, or "" to compare nothing."""
    colour = _colour(background)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        image_format = _format(data)
        try:
            pixels, notes = _decode(data, image_format, max_pixels, colour, accept_truncated)
        except Image.DecompressionBombError as error:
            raise ImageRejected("too_large", f"more pixels than Pillow decodes: {error}") from error
        except MemoryError as error:
            raise ImageRejected("too_large", "the picture does not fit into memory") from error
        except ImageRejected:
            raise
        except Exception as error:  # decoders that meet damaged bytes raise whatever they happen to trip over
            raise _broken(error, data, image_format) from error
    except ImageRejected as rejected:
        rejected.sha256 = sha256
        raise
    if FORMAT_OF_SUFFIX.get(suffix, image_format) != image_format:
        notes.append("format_mismatch")
    return LoadedImage(sha256, pixels, image_format, tuple(sorted(notes)))


def _colour(background: str) -> tuple[int, int, int]:
    try:
        red, green, blue = ImageColor.getrgb(background)[:3]
    except ValueError as error:
        raise InputError(
            f"images.background in project.yaml: expected a colour such as 'white' or '#rrggbb', got {background!r}"
        ) from error
    return red, green, blue


def _format(data: bytes) -> str:
    if not data:
        raise ImageRejected("empty_file", "the file has 0 bytes")
    image_format = sniff(data[:HEAD_BYTES])
    if image_format is None:
        found = "text (HTML, SVG or the like)" if data.lstrip()[:1] == b"<" else f"bytes {data[:8].hex(' ')}"
        raise ImageRejected("unreadable", f"the content is no known image but {found}; expected {SUPPORTED}")
    return image_format


def _broken(error: Exception, data: bytes, image_format: str) -> ImageRejected:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    cut = any(sign in text.lower() for sign in ("truncated", "end of file")) or ends_early(data, image_format)
    if cut:
        advice = "copy it again from where it came"
        if image_format in ("JPEG", *_KEEPS_FIRST_ROWS):
            advice += ", or set images.accept_truncated to use what there is"
        return ImageRejected("truncated", f"the {image_format} ends early ({text}); {advice}")
    return ImageRejected("unreadable", f"the {image_format} is damaged: {text}")


def _decode(
    data: bytes, image_format: str, max_pixels: int, background: tuple[int, int, int], accept_truncated: bool
) -> tuple[Pixels, list[str]]:
    picture = _open(data, image_format, max_pixels)
    notes = ["multiframe"] if _is_multiframe(picture) else []
    # Pillow turns a TIFF by itself while it loads; what there was to turn is only known before.
    turned = image_format == "TIFF" and _orientation(picture) != 1
    try:
        picture.load()
    except Exception as error:
        rejected = _broken(error, data, image_format)
        if not accept_truncated or rejected.reason != "truncated":
            raise
        picture = _salvage(picture, data, image_format, rejected)
        notes.append("truncated")
    orientation = _orientation(picture)
    pixels = _rgb(picture, image_format, background, notes)
    if turned or orientation != 1:
        notes.append("orientation_applied")
    return _upright(pixels, orientation), notes


def _open(data: bytes, image_format: str, max_pixels: int) -> ImageFile:
    """Read the header only, and judge the size."""
    try:
        picture = reader(image_format)(BytesIO(data))
    except MissingExtraError as error:
        raise ImageRejected("needs_pillow_heif", str(error)) from error
    width, height = picture.size
    if width * height > max_pixels:
        raise ImageRejected(
            "too_large", f"{width}x{height} pixels; at most {max_pixels} (images.max_pixels in project.yaml)"
        )
    if min(width, height) < MIN_SIDE_PX:
        raise ImageRejected("too_small", f"{width}x{height} pixels; at least {MIN_SIDE_PX} on each side")
    if image_format == "TIFF" and Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        # Its loader would apply Pillow's own global limit when it allocates; ours is the one that was asked for.
        picture.im = Image.new(picture.mode, picture._tile_size).im  # type: ignore[attr-defined]
    return picture


def _is_multiframe(picture: ImageFile) -> bool:
    try:
        return bool(getattr(picture, "is_animated", False))
    except Exception:  # GIF looks for a second frame here; rubbish after the first one is no reason to refuse it
        return False


def _salvage(picture: ImageFile, data: bytes, image_format: str, rejected: ImageRejected) -> ImageFile:
    """Return what can be had of a cut file, without Pillow's global switch, which other threads would see."""
    if image_format == "JPEG":
        picture = reader(image_format)(BytesIO(data + _END_OF_JPEG))
        picture.load()
        return picture
    if image_format not in _KEEPS_FIRST_ROWS or picture._im is None:
        raise rejected
    picture.tile = []  # what is in memory counts as loaded
    return picture


def _orientation(picture: ImageFile) -> int:
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # viewers ignore a damaged EXIF block, so the pixels are shown as they are stored
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _rgb(picture: ImageFile, image_format: str, background: tuple[int, int, int], notes: list[str]) -> Pixels:
    """Return (height, width, 3) uint8 as stored, and add to the notes."""
    mode = picture.mode
    if mode.startswith("I;16") or (mode == "I" and image_format == "PPM"):
        notes.append("sixteen_bit")
        return _from_sixteen_bit(picture, image_format)
    if mode in ("I", "F", "LAB"):
        kind = {"I": "32-bit integer", "F": "floating point", "LAB": "CIELAB"}[mode]
        raise ImageRejected("unsupported_dtype", f"{kind} pixels have no fixed range; export it as 8- or 16-bit RGB")
    pixels, composited = _array(picture, background)
    notes += ["alpha_composited"] * composited
    return pixels


def _from_sixteen_bit(picture: ImageFile, image_format: str) -> Pixels:
    values = np.asarray(picture)
    bits, inverted = 16, False
    if image_format == "TIFF":
        tags = picture.tag_v2  # type: ignore[attr-defined]
        bits = tags.get(ExifTags.Base.BitsPerSample, (16,))[0]
        inverted = tags.get(ExifTags.Base.PhotometricInterpretation) == 0
    grey = (values >> (bits - 8)).astype(np.uint8)
    return np.repeat((255 - grey if inverted else grey)[:, :, np.newaxis], 3, axis=2)


def _array(picture: Image.Image, background: tuple[int, int, int]) -> tuple[Pixels, bool]:
    """Copy band by band, so that no second picture is in memory; also say whether the background shows through."""
    width, height = picture.size
    rows = max(1, _BAND_PX // width)
    pixels = np.empty((height, width, 3), np.uint8)
    transparent, composited = picture.has_transparency_data, False
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        band = picture.crop((0, top, width, bottom))
        if transparent:
            band = band.convert("RGBA")
            if band.getchannel("A").getextrema()[0] != 255:
                canvas = Image.new("RGB", band.size, background)
                canvas.paste(band, mask=band)
                band, composited = canvas, True
        pixels[top:bottom] = np.asarray(band if band.mode == "RGB" else band.convert("RGB"))
    return pixels, composited


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn stored pixels as EXIF tag 274 says; OpenCV's copies are several times faster than numpy's here."""
    if orientation == 1:
        return pixels
    import cv2

    if orientation >= 5:
        pixels = cv2.transpose(pixels)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return pixels if flip is None else cv2.flip(pixels, flip)
