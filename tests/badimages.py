"""The corpus of bad and odd image files, made from nothing, each with the verdict that the gate must reach.

`python tests/badimages.py FOLDER` writes it out.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import struct
import sys
import zlib
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
SIZE_WH = (48, 32)
HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None


@dataclass(frozen=True, slots=True)
class Case:
    """One file.

    Attributes:
        name: path below the folder.
        data: its bytes.
        verdict: "ok", "skipped" for what is no image, or the reason of the rejection.
        notes: notes of an accepted file.
        mean_rgb: mean colour of an accepted file, within 3 grey levels; None to compare nothing.
    """

    name: str
    data: bytes
    verdict: str = "ok"
    notes: tuple[str, ...] = ()
    mean_rgb: tuple[float, float, float] | None = None


def marked(size_wh: tuple[int, int] = SIZE_WH) -> Pixels:
    """Return (h, w, 3) uint8: grey, with a red, a green, a blue and a yellow 8x8 corner, clockwise from top left."""
    width, height = size_wh
    pixels = np.full((height, width, 3), 96, np.uint8)
    pixels[:8, :8] = (255, 0, 0)
    pixels[:8, -8:] = (0, 255, 0)
    pixels[-8:, -8:] = (0, 0, 255)
    pixels[-8:, :8] = (255, 255, 0)
    return pixels


def stored(upright: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Return the array that has to be stored so that EXIF orientation 1 to 8 shows ``upright``.

    Straight from the text of the standard: where the 0th row and the 0th column of the stored data are seen.
    """
    row_side, column_side = {
        1: "TL", 2: "TR", 3: "BR", 4: "BL", 5: "LT", 6: "RT", 7: "RB", 8: "LB",
    }[orientation]  # fmt: skip
    height, width = upright.shape[:2]
    rows, columns = (height, width) if row_side in "TB" else (width, height)
    result = np.empty((rows, columns, *upright.shape[2:]), upright.dtype)
    for row in range(rows):
        for column in range(columns):
            seen = {row_side: row, column_side: column}
            y = seen["T"] if "T" in seen else height - 1 - seen["B"]
            x = seen["L"] if "L" in seen else width - 1 - seen["R"]
            result[row, column] = upright[y, x]
    return result


def exif(orientation: int) -> Image.Exif:
    """Return an EXIF block with an orientation and a name that must not leak into copies."""
    block = Image.Exif()
    block[274] = orientation
    block[315] = "SECRET AUTHOR"
    return block


def encoded(picture: Image.Image | Pixels, image_format: str, **options: Any) -> bytes:
    """Return the bytes of a picture in a format of Pillow."""
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture)
    out = BytesIO()
    picture.save(out, image_format, **options)
    return out.getvalue()


def heic(picture: Image.Image, **options: Any) -> bytes:
    """Return a HEIC file; only its header where pillow-heif is not installed."""
    if not HAS_HEIF:
        return struct.pack(">L4s4sL4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic")
    import pillow_heif

    out = BytesIO()
    pillow_heif.from_pillow(picture).save(out, quality=90, **options)
    return out.getvalue()


def png(size_wh: tuple[int, int], depth: int, colour_type: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of raw scan lines (each with its filter byte), which Pillow itself does not write for 16-bit RGB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))

    header = struct.pack(">LLBBBBB", *size_wh, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in chunks)


def tiff(size_wh: tuple[int, int], bits: int, body: bytes, *, photometric: int = 1, kind: int = 1) -> bytes:
    """Return a little-endian TIFF of one uncompressed channel; ``kind`` is tag 339: 1 unsigned, 2 signed, 3 float."""
    tags = [
        (256, 4, size_wh[0]), (257, 4, size_wh[1]), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 4, size_wh[1]), (279, 4, len(body)), (339, 3, kind),
    ]  # fmt: skip
    body += b"\0" * (len(body) % 2)
    directory = b"".join(struct.pack("<HHLL", tag, field, 1, value) for tag, field, value in tags)
    return struct.pack("<2sHL", b"II", 42, 8 + len(body)) + body + struct.pack("<H", len(tags)) + directory + b"\0" * 4


@cache
def bomb(side: int = 14000) -> bytes:
    """Return about 24 KB that decode to ``side`` x ``side`` black pixels."""
    row = b"\0" * (1 + (side + 7) // 8)
    return png((side, side), 1, 0, row * side)


def cases() -> list[Case]:
    """Return every file of the corpus that is plain bytes."""
    return [*_broken(), *_kinds_of_pixels(), *_frames_and_sizes(), *_names()]


def _broken() -> list[Case]:
    rng = np.random.default_rng(7)
    photo = np.clip(marked((160, 120)) + rng.normal(0, 25, (120, 160, 3)), 0, 255).astype(np.uint8)
    jpeg, progressive = encoded(photo, "JPEG"), encoded(photo, "JPEG", progressive=True)
    whole = encoded(photo, "PNG")
    damaged = bytearray(whole)
    damaged[len(whole) // 2 : len(whole) // 2 + 40] = bytes(40)

    def cut(data: bytes, share: float = 0.8) -> bytes:
        return data[: int(len(data) * share)]

    return [
        Case("broken/zero.jpg", b"", "empty_file"),
        Case("broken/one_byte.png", b"\x89", "unreadable"),
        Case("broken/page.jpg", b"<!DOCTYPE html><html><body>404</body></html>", "unreadable"),
        Case("broken/drawing.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unreadable"),
        Case("broken/noise.webp", rng.bytes(4000), "unreadable"),
        Case("broken/magic_only.gif", b"GIF89a", "unreadable"),
        Case("broken/cut.jpg", cut(jpeg), "truncated"),
        Case("broken/cut_progressive.jpg", cut(progressive), "truncated"),
        Case("broken/cut_in_header.jpg", jpeg[:109], "truncated"),
        Case("broken/without_end_marker.jpg", jpeg[:-2], "truncated"),
        Case("broken/cut.png", cut(whole), "truncated"),
        Case("broken/cut.webp", cut(encoded(photo, "WEBP")), "truncated"),
        Case("broken/cut.gif", cut(encoded(photo, "GIF")), "truncated"),
        Case("broken/cut.bmp", cut(encoded(photo, "BMP")), "truncated"),
        Case("broken/cut.ppm", cut(encoded(photo, "PPM")), "truncated"),
        Case("broken/cut.tif", cut(encoded(photo, "TIFF")), "truncated"),
        Case("broken/cut_lzw.tif", cut(encoded(photo, "TIFF", compression="tiff_lzw")), "truncated"),
        Case("broken/cut.jp2", cut(encoded(photo, "JPEG2000")), "truncated"),
        Case("broken/cut.avif", cut(encoded(photo, "AVIF")), "truncated"),
        Case("broken/damaged.png", bytes(damaged), "unreadable"),
        Case("broken/trailing_bytes.jpg", encoded(marked(), "JPEG") + b"rubbish" * 50, mean_rgb=_mean(marked())),
        Case("broken/rubbish_for_exif.jpg", encoded(marked(), "JPEG", exif=b"Exif\0\0rubbish, and more of it")),
        Case("broken/rubbish_for_exif.png", encoded(marked(), "PNG", exif=b"rubbish, and more of it")),
        Case("broken/damaged_exif.jpg", encoded(marked(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xff" * 9)),
    ]


def _kinds_of_pixels() -> list[Case]:
    pixels = marked()
    picture, mean = Image.fromarray(pixels), _mean(pixels)
    grey = np.asarray(picture.convert("L"))
    grey_mean = _mean(np.repeat(grey[:, :, None], 3, axis=2))
    wide = grey.astype(np.uint16) * 257
    wide_rgb = pixels.astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide_rgb)
    half = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    half[:, :24, 3] = 0
    on_white = pixels.copy()
    on_white[:, :24] = 255
    clear = half.copy()
    clear[:, :, 3] = 0
    white = (255.0, 255.0, 255.0)
    palette = picture.quantize(8)
    clear_index = int(np.asarray(palette)[16, 24])
    palette_on_white = pixels.copy()
    palette_on_white[(pixels == 96).all(axis=2)] = 255
    grey_alpha = Image.merge("LA", [picture.convert("L"), Image.fromarray(half[:, :, 3])])
    grey_on_white = np.where(half[:, :, 3:] == 0, 255, grey[:, :, None]).repeat(3, axis=2).astype(np.uint8)
    packed12 = _twelve_bits(grey.astype(np.uint16) * 16)
    bilevel = Image.fromarray(grey > 128)
    bilevel_mean = _mean(np.asarray(bilevel.convert("RGB")))
    white_is_zero = tiff(SIZE_WH, 16, (65535 - wide).tobytes(), photometric=0)
    sixteen, composited = ("sixteen_bit",), ("alpha_composited",)
    keyed, keyed_mean = encoded(picture, "PNG", transparency=(96, 96, 96)), _mean(palette_on_white)
    return [
        Case("kinds/cmyk.jpg", encoded(picture.convert("CMYK"), "JPEG", quality=95), mean_rgb=mean),
        Case("kinds/cmyk.tif", encoded(picture.convert("CMYK"), "TIFF"), mean_rgb=mean),
        Case("kinds/grey.jpg", encoded(picture.convert("L"), "JPEG", quality=95), mean_rgb=grey_mean),
        Case("kinds/grey16.png", encoded(Image.fromarray(wide), "PNG"), "ok", sixteen, grey_mean),
        Case("kinds/grey16.tif", encoded(Image.fromarray(wide), "TIFF"), "ok", sixteen, grey_mean),
        Case("kinds/big_endian16.tif", encoded(Image.fromarray(wide.astype(">u2")), "TIFF"), "ok", sixteen, grey_mean),
        Case("kinds/white_is_zero16.tif", white_is_zero, "ok", sixteen, grey_mean),
        Case("kinds/grey12.tif", tiff(SIZE_WH, 12, packed12), "ok", sixteen, grey_mean),
        Case("kinds/grey16.jp2", encoded(Image.fromarray(wide), "JPEG2000"), "ok", sixteen, grey_mean),
        Case("kinds/grey16.pgm", b"P5 48 32 65535\n" + wide.astype(">u2").tobytes(), "ok", sixteen, grey_mean),
        Case("kinds/grey10.pgm", b"P5 48 32 1023\n" + (wide >> 6).astype(">u2").tobytes(), "ok", sixteen, grey_mean),
        Case("kinds/rgb16.png", png(SIZE_WH, 16, 2, rows), mean_rgb=mean),
        Case("kinds/rgb16.tif", cv2.imencode(".tiff", wide_rgb[:, :, ::-1])[1].tobytes(), mean_rgb=mean),
        Case("kinds/float.tif", encoded(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"), "unsupported_dtype"),
        Case("kinds/int32.tif", encoded(Image.fromarray(grey.astype(np.int32)), "TIFF"), "unsupported_dtype"),
        Case("kinds/signed16.tif", tiff(SIZE_WH, 16, grey.astype("<i2").tobytes(), kind=2), "unsupported_dtype"),
        Case("kinds/lab.tif", encoded(Image.frombytes("LAB", SIZE_WH, pixels.tobytes()), "TIFF"), "unsupported_dtype"),
        Case("kinds/palette.png", encoded(palette, "PNG"), mean_rgb=mean),
        Case("kinds/clear_index.png", encoded(palette, "PNG", transparency=clear_index), "ok", composited, keyed_mean),
        Case("kinds/rgb_clear_key.png", keyed, "ok", composited, keyed_mean),
        Case("kinds/half_clear.png", encoded(half, "PNG"), "ok", composited, _mean(on_white)),
        Case("kinds/half_clear.webp", encoded(half, "WEBP", lossless=True), "ok", composited, _mean(on_white)),
        Case("kinds/half_clear.tif", encoded(half, "TIFF"), "ok", composited, _mean(on_white)),
        Case("kinds/all_clear.png", encoded(clear, "PNG"), "ok", composited, white),
        Case("kinds/opaque_rgba.png", encoded(picture.convert("RGBA"), "PNG"), mean_rgb=mean),
        Case("kinds/grey_alpha.png", encoded(grey_alpha, "PNG"), "ok", composited, _mean(grey_on_white)),
        Case("kinds/bilevel.png", encoded(bilevel, "PNG"), mean_rgb=bilevel_mean),
        Case("kinds/bilevel_fax.tif", encoded(bilevel, "TIFF", compression="group4"), mean_rgb=bilevel_mean),
        Case("kinds/plain.bmp", encoded(picture, "BMP"), mean_rgb=mean),
        Case("kinds/plain.jp2", encoded(picture, "JPEG2000"), mean_rgb=mean),
        Case("kinds/plain.pbm", encoded(bilevel, "PPM"), mean_rgb=bilevel_mean),
        Case("kinds/plain.avif", encoded(picture, "AVIF", quality=95, subsampling="4:4:4"), mean_rgb=mean),
        Case("kinds/phone.heic", heic(Image.fromarray(marked((64, 64)))), "ok" if HAS_HEIF else "needs_pillow_heif"),
        Case("kinds/png_inside.jpg", encoded(picture, "PNG"), "ok", ("format_mismatch",), mean),
        Case("kinds/jpeg_inside.png", encoded(picture, "JPEG", quality=95), "ok", ("format_mismatch",), mean),
        Case("kinds/sideways.jpg", encoded(picture, "JPEG", exif=exif(6)), "ok", ("orientation_applied",), mean),
        Case("kinds/sideways.tif", encoded(picture, "TIFF", tiffinfo={274: 6}), "ok", ("orientation_applied",), mean),
    ]  # fmt: skip


def _frames_and_sizes() -> list[Case]:
    first, second = Image.fromarray(marked()), Image.new("RGB", SIZE_WH, "black")
    mean, several = _mean(marked()), ("multiframe",)
    more: dict[str, Any] = {"save_all": True, "append_images": [second]}
    return [
        Case("frames/moving.gif", encoded(first, "GIF", **more), "ok", several, mean),
        Case("frames/still.gif", encoded(first, "GIF"), mean_rgb=mean),
        Case("frames/moving.webp", encoded(first, "WEBP", lossless=True, **more), "ok", several, mean),
        Case("frames/moving.png", encoded(first, "PNG", **more), "ok", several, mean),
        Case("frames/moving.avif", encoded(first, "AVIF", quality=95, **more), "ok", several),
        Case("frames/pages.tif", encoded(first, "TIFF", **more), "ok", several, mean),
        Case("frames/phone_with_second_picture.jpg", encoded(first, "MPO", quality=95, **more), mean_rgb=mean),
        Case("sizes/bomb.png", bomb(), "too_large"),
        Case("sizes/liar.png", png((60000, 60000), 8, 2, b""), "too_large"),
        Case("sizes/liar.bmp", _resized_bmp(60000, 60000), "too_large"),
        Case("sizes/liar.tif", tiff((60000, 60000), 8, b"\0" * 64), "too_large"),
        Case("sizes/liar.gif", b"GIF89a\x60\xea\x60\xea\x00\x00\x00,\0\0\0\0\x60\xea\x60\xea\0\x08", "too_large"),
        Case("sizes/liar.webp", b"RIFF\x1a\0\0\0WEBPVP8X\x0a" + bytes(7) + b"\xff\x3f\0" * 2 + bytes(4), "too_large"),
        Case("sizes/sliver.png", encoded(marked((100, 9)), "PNG"), "too_small"),
        Case("sizes/one_pixel.png", encoded(Image.new("RGB", (1, 1)), "PNG"), "too_small"),
        Case("sizes/smallest.png", encoded(marked((10, 10)), "PNG"), mean_rgb=_mean(marked((10, 10)))),
    ]  # fmt: skip


def _names() -> list[Case]:
    picture, other = encoded(marked(), "PNG"), encoded(marked((40, 40)), "PNG")
    text = b"just words, and BM or P6 in front of them prove nothing"
    return [
        *(Case(f"names/{name}", picture) for name in ODD_NAMES),
        Case("names/folder.jpg/inside.png", picture),
        Case("names/a/1.jpg", encoded(marked(), "JPEG")),
        Case("names/b/1.jpg", encoded(marked((40, 40)), "JPEG")),
        Case("names/b/1.png", other),
        Case("names/twice.png", other),
        Case("names/UPPER.JPG", encoded(marked(), "JPEG")),
        Case("names/without_suffix", encoded(marked(), "JPEG")),
        Case("names/picture.bin", encoded(marked(), "BMP")),
        Case("names/notes.txt", text, "skipped"),
        Case("names/bmw", b"BMW is a car, and this is text about it", "skipped"),
        Case("names/p6", b"P6 is a thing that Netpbm wrote", "skipped"),
        Case("names/clip.mp4", b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(40), "skipped"),
        Case("names/._photo.jpg", b"\0\5\x16\7\0\2\0\0Mac OS X        ", "skipped"),
        Case("names/empty", b"", "skipped"),
        Case("names/camera.NEF", encoded(marked((160, 120)), "TIFF"), "unsupported_format"),
        Case("names/logo.svg", b"<svg/>", "unsupported_format"),
    ]


ODD_NAMES = (
    "with space & plus+#%20?.png",
    "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}.png",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE}.png",
    "cafe\N{COMBINING ACUTE ACCENT}.png",
    os.fsdecode(b"not-utf8-\xff\xfe.png"),
    "x" * 251 + ".png",
    "line\nbreak\x1b[2J.png",
    "-rf.png",
    "[red]tag'\"`$(x).png",
    ".png",
)


def write_corpus(folder: Path) -> dict[str, str]:
    """Write the whole corpus, with pipes, sockets and links, and return the verdict of each entry by its name."""
    verdicts = {}
    for case in cases():
        path = folder / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.data)
        verdicts[case.name] = case.verdict
    odd, outside = folder / "odd", folder.with_name(folder.name + "-outside")
    odd.mkdir()
    outside.mkdir()
    picture = encoded(marked(), "PNG")
    (outside / "far.png").write_bytes(picture)
    (outside / "far.txt").write_bytes(b"text")
    os.mkfifo(odd / "pipe.jpg")
    os.mkfifo(odd / "pipe")
    _socket(odd / "socket.png")
    for name, target, verdict in (
        ("inside.png", "../names/twice.png", "ok"),
        ("outside.png", outside / "far.png", "link_outside"),
        ("outside.txt", outside / "far.txt", "skipped"),
        ("outside", outside, "link_outside"),
        ("to_folder_inside", "../names", "skipped"),
        ("loop", ".", "link_loop"),
        ("itself.png", "itself.png", "link_loop"),
        ("broken.png", "nowhere.png", "broken_link"),
        ("unmounted", "/nowhere/photos", "broken_link"),
        ("broken.txt", "nowhere.txt", "skipped"),
        ("to_pipe.png", "pipe", "not_a_regular_file"),
    ):
        (odd / name).symlink_to(target)
        verdicts[f"odd/{name}"] = verdict
    verdicts |= {
        "odd/pipe.jpg": "not_a_regular_file", "odd/pipe": "skipped", "odd/socket.png": "not_a_regular_file",
    }  # fmt: skip
    return verdicts


def _socket(path: Path) -> None:
    # The address of a socket is at most 108 bytes long, so it is bound through the number of its open folder.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _mean(pixels: npt.NDArray[Any]) -> tuple[float, float, float]:
    red, green, blue = pixels.reshape(-1, 3).mean(axis=0)
    return float(red), float(green), float(blue)


def _resized_bmp(width: int, height: int) -> bytes:
    data = bytearray(encoded(marked(), "BMP"))
    data[18:26] = struct.pack("<LL", width, height)
    return bytes(data)


def _twelve_bits(values: npt.NDArray[np.uint16]) -> bytes:
    """Return two values in three bytes, most significant bits first; the width is even."""
    pairs = values.reshape(-1, 2).astype(np.uint32)
    joined = (pairs[:, 0] << 12) | pairs[:, 1]
    return np.stack([joined >> 16, (joined >> 8) & 255, joined & 255], axis=1).astype(np.uint8).tobytes()


if __name__ == "__main__":
    write_corpus(Path(sys.argv[1]).absolute())
