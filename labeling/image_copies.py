"""Copies of images for other programs: upright 8-bit RGB that every reader shows alike, without personal metadata."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from .image_formats import HEAD_BYTES, reader, sniff
from .images import decode, read

_JPEG_QUALITY = 95
_LOSSY = ("JPEG", "WEBP", "AVIF", "HEIF")
# With one of these chunks a PNG may look different elsewhere, or say more than its pixels.
_PNG_EXTRAS = (b"eXIf", b"tRNS", b"acTL", b"tEXt", b"zTXt", b"iTXt")
_START_OF_SCAN = 0xDA
_METADATA = (0xE1, 0xED)  # EXIF and XMP; IPTC


@dataclass(frozen=True, slots=True)
class ImageCopy:
    """The bytes of a file to write.

    Attributes:
        data: a JPEG or PNG, upright 8-bit RGB, with no EXIF, XMP or IPTC in it.
        suffix: ".jpg" or ".png".
        sha256: hash of the source's bytes, to compare with the image whose labels go with the copy.
    """

    data: bytes
    suffix: str
    sha256: str


def normalised_copy(
    path: Path, *, max_pixels: int, background: str = "white", accept_truncated: bool = False
) -> ImageCopy:
    """Return a copy of an image that passed the gate; arguments and errors are those of `labeling.images.load`.

    The source's own bytes where they are upright 8-bit RGB JPEG or PNG without metadata; a JPEG that only has to lose
    its metadata keeps its compressed pixels. Everything else is encoded anew: JPEG at quality 95 where the source
    was lossy, PNG otherwise.
    """
    data = read(path, max_pixels)
    image_format = sniff(data[:HEAD_BYTES])
    plain = _plain_jpeg(data) if image_format == "JPEG" else data if _is_plain_png(data) else None
    if plain is not None:
        return ImageCopy(plain, ".jpg" if image_format == "JPEG" else ".png", hashlib.sha256(data).hexdigest())
    loaded = decode(data, max_pixels=max_pixels, background=background, accept_truncated=accept_truncated)
    encoded = BytesIO()
    picture = Image.fromarray(loaded.pixels)
    if loaded.format in _LOSSY:
        picture.save(encoded, "JPEG", quality=_JPEG_QUALITY)
        return ImageCopy(encoded.getvalue(), ".jpg", loaded.sha256)
    picture.save(encoded, "PNG")
    return ImageCopy(encoded.getvalue(), ".png", loaded.sha256)


def _is_plain_png(data: bytes) -> bool:
    is_rgb8 = data[24:26] == b"\x08\x02"  # bit depth and colour type, always at this place
    return is_rgb8 and data.endswith(b"IEND\xaeB`\x82") and not any(extra in data for extra in _PNG_EXTRAS)


def _plain_jpeg(data: bytes) -> bytes | None:
    """Return a complete, upright RGB JPEG without its metadata, or None where the pixels have to be encoded anew."""
    if not data.endswith(b"\xff\xd9"):
        return None
    try:
        picture = reader("JPEG")(BytesIO(data))
        if picture.mode != "RGB" or picture.getexif().get(274, 1) != 1:
            return None
    except Exception:  # whatever is odd in the header is for the gate to judge
        return None
    kept, at = [data[:2]], 2
    while data[at] == 0xFF and data[at + 1] != _START_OF_SCAN:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 4 : at + 8] == b"MPF\0":
            return None  # more pictures follow behind this one, with metadata of their own
        if data[at + 1] not in _METADATA:
            kept.append(data[at:end])
        at = end
        if at + 1 >= len(data):
            return None
    return b"".join([*kept, data[at:]]) if data[at] == 0xFF else None
