"""Camera and time of a photo from its EXIF block, of which nothing is believed that cannot be true."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image

from labeling.image_formats import reader
from labeling.images import LoadedImage, read

_MOST_LETTERS = 60
_FIRST_YEAR = 1995
"""EXIF is no older; earlier years are those of clocks that were never set."""

_TIME = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d)[ T](\d\d):(\d\d):(\d\d)", re.ASCII)
# The plain DateTime is left out: it says when the file was last changed.
_TIMES = (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized)


def camera_and_time(paths: Sequence[Path], loaded: LoadedImage) -> tuple[str | None, str | None]:
    """Return make and model of the camera, and when the photo was taken; None for what is missing or absurd.

    Args:
        paths: files that may hold the image; the first that still does is asked.
        loaded: the image, decoded.
    """
    for path in paths:
        try:
            data = read(path, loaded.pixels.size)
            if hashlib.sha256(data).hexdigest() != loaded.sha256:
                continue
            exif = _exif(data, loaded.format)
            return camera(exif.get(ExifTags.Base.Make), exif.get(ExifTags.Base.Model)), _taken_at(exif)
        except Exception:  # damaged blocks make Pillow raise whatever it happens to trip over
            continue
    return None, None


def camera(make: object, model: object) -> str | None:
    """Return make and model in one line of printable text; the make once where the model repeats it."""
    maker, name = _text(make), _text(model)
    if name.lower().startswith(maker.lower()):
        maker = ""
    return f"{maker} {name}".strip()[:_MOST_LETTERS].rstrip() or None


def moment(value: object, now: datetime | None = None) -> str | None:
    """Return an EXIF time as ISO 8601 without a zone; None where it is no date, or none on which photos were taken.

    Args:
        value: as the file has it, "YYYY:MM:DD HH:MM:SS" by the standard.
        now: later photos than one day after it are refused; the clock by default.
    """
    match = _TIME.match(_text(value))
    if match is None:
        return None
    try:
        taken = datetime(*(int(part) for part in match.groups()))  # type: ignore[arg-type]
    except ValueError:
        return None
    latest = (now or datetime.now()) + timedelta(days=1)
    return taken.isoformat(timespec="seconds") if taken.year >= _FIRST_YEAR and taken <= latest else None


def _exif(data: bytes, image_format: str) -> Image.Exif:
    picture = reader(image_format)(BytesIO(data))
    if image_format == "PNG" and "exif" not in picture.info:
        return Image.Exif()  # Pillow would decode all pixels to look behind them
    return picture.getexif()


def _taken_at(exif: Image.Exif) -> str | None:
    block = exif.get_ifd(ExifTags.IFD.Exif)
    return next((found for found in (moment(block.get(tag)) for tag in _TIMES) if found), None)


def _text(value: object) -> str:
    """Return the printable part of a text before its first NUL, in one line."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    kept = "".join(letter if letter.isprintable() else " " for letter in value[:1000].split("\0")[0])
    return " ".join(kept.split())
