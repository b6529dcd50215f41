"""Which files are pictures: by name, by their first bytes, and which Pillow class reads each format."""

from __future__ import annotations

import importlib
import struct
from typing import TYPE_CHECKING

from .core.errors import MissingExtraError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

HEAD_BYTES = 64
"""How many first bytes `sniff` wants to see."""

SUPPORTED = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC, JPEG 2000, PPM"

_SUFFIXES = {
    "JPEG": ".jpg .jpeg .jpe .jfif .mpo",
    "PNG": ".png .apng",
    "WEBP": ".webp",
    "TIFF": ".tif .tiff",
    "BMP": ".bmp .dib",
    "GIF": ".gif",
    "AVIF": ".avif",
    "HEIF": ".heic .heif .hif",
    "JPEG2000": ".jp2 .j2k .jpx .jpf .j2c",
    "PPM": ".ppm .pgm .pbm .pnm",
}
FORMAT_OF_SUFFIX = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}

# Camera raw files begin like a TIFF whose first picture is a thumbnail, so they must not reach the TIFF reader.
_RAW_SUFFIXES = ".dng .nef .nrw .cr2 .cr3 .crw .arw .sr2 .srf .raf .orf .rw2 .pef .srw .x3f .3fr .iiq"
_OTHER_SUFFIXES = ".svg .psd .xcf .eps .ico .tga .exr .jxl"
UNREADABLE_SUFFIXES = frozenset(f"{_RAW_SUFFIXES} {_OTHER_SUFFIXES}".split())
"""Names of pictures that this project does not read: reported, not passed over."""

_READERS = {
    "JPEG": "PIL.JpegImagePlugin:JpegImageFile",
    "PNG": "PIL.PngImagePlugin:PngImageFile",
    "WEBP": "PIL.WebPImagePlugin:WebPImageFile",
    "TIFF": "PIL.TiffImagePlugin:TiffImageFile",
    "BMP": "PIL.BmpImagePlugin:BmpImageFile",
    "GIF": "PIL.GifImagePlugin:GifImageFile",
    "AVIF": "PIL.AvifImagePlugin:AvifImageFile",
    "HEIF": "pillow_heif:HeifImageFile",
    "JPEG2000": "PIL.Jpeg2KImagePlugin:Jpeg2KImageFile",
    "PPM": "PIL.PpmImagePlugin:PpmImageFile",
}

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)


def suffix_of(name: str) -> str:
    """Return the lower-case suffix of a file name with its dot, or ""; ".jpg" alone counts as a suffix."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot >= 0 else ""


def sniff(head: bytes) -> str | None:
    """Return the format that the first `HEAD_BYTES` bytes of a file belong to, or None for no known picture."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        length = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, length - 3, 4))}
        # AVIF first: both families share the general brands mif1 and msf1.
        return "AVIF" if brands & _AVIF_BRANDS else "HEIF" if brands & _HEIF_BRANDS else None
    # Two letters are a weak sign: text may begin with BM or P6, so more of the header has to fit.
    if head[:2] == b"BM" and len(head) >= 18 and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if head[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6") and head[2:3] in (b" ", b"\n", b"\r", b"\t"):
        return "PPM" if head[3:4].isdigit() or head[3:4] == b"#" else None
    return None


def reader(image_format: str) -> type[ImageFile]:
    """Return the Pillow class that reads a format.

    The class is called directly and not through `Image.open`: other libraries replace that function, it may start
    external programs for formats that nobody asked for, and its pixel limit is a global that threads would fight over.

    Raises:
        MissingExtraError: HEIC without pillow-heif.
    """
    module, name = _READERS[image_format].split(":")
    try:
        found: type[ImageFile] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MissingExtraError("pillow-heif", "heif") from error
    return found


def ends_early(data: bytes, image_format: str) -> bool:
    """Tell whether a file that could not be decoded is shorter than its own header says."""
    if image_format == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if image_format == "TIFF":
        return len(data) < _tiff_directory_end(data)
    if image_format in ("AVIF", "HEIF"):
        return len(data) < _boxes_end(data)
    if image_format == "JPEG2000":
        return not data.endswith(b"\xff\xd9")
    return False


def _boxes_end(data: bytes) -> int:
    """Return where the last top-level box of an ISO media file says that it ends, in bytes."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:
            return len(data) if size == 0 else at
        at += size
    return at if at > len(data) or at == len(data) else at + 8


def _tiff_directory_end(data: bytes) -> int:
    """Return where the first directory of a TIFF says that it ends, in bytes."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    at_format, count_format, entry_bytes, next_bytes = ("Q", "Q", 20, 8) if big else ("L", "H", 12, 4)
    try:
        (at,) = struct.unpack_from(order + at_format, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + count_format, data, at)
    except (struct.error, OverflowError):
        return len(data) + 1
    return int(at + struct.calcsize(order + count_format) + count * entry_bytes + next_bytes)
