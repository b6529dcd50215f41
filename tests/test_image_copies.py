"""Copies for other programs: the same picture in every reader, nothing personal in it, no needless new encoding."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from labeling.image_copies import ImageCopy, normalised_copy
from labeling.images import ImageRejected, decode
from tests.badimages import cases, encoded, exif, marked, stored

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # it remarks on damaged metadata

LIMIT = 1_000_000
CopyOf = Callable[..., ImageCopy]


@pytest.fixture
def copy_of(tmp_path: Path) -> CopyOf:
    def make(data: bytes, accept_truncated: bool = False) -> ImageCopy:
        path = tmp_path / "source"
        path.write_bytes(data)
        return normalised_copy(path, max_pixels=LIMIT, accept_truncated=accept_truncated)

    return make


def raw(data: bytes) -> np.ndarray:
    """Return the stored pixels as RGB, as a reader sees them that knows nothing of orientation."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_plain_file_keeps_its_bytes(copy_of: CopyOf, image_format: str) -> None:
    options = {"JPEG": {"quality": 71}, "PNG": {"compress_level": 1}}[image_format]  # as no new encoding would be
    data = encoded(marked(), image_format, **options)
    copy = copy_of(data)
    assert copy.data == data
    assert copy.suffix == {"JPEG": ".jpg", "PNG": ".png"}[image_format]
    assert copy.sha256 == hashlib.sha256(data).hexdigest()


def test_upright_jpeg_loses_its_metadata_and_keeps_its_pixels(copy_of: CopyOf) -> None:
    data = encoded(marked(), "JPEG", exif=exif(1), xmp=b"<x>SECRET PLACE</x>")
    copy = copy_of(data)
    assert b"SECRET AUTHOR" in data
    assert b"SECRET" not in copy.data
    assert np.array_equal(raw(copy.data), raw(data))
    assert copy.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_turned_picture_is_stored_upright_without_a_tag(copy_of: CopyOf, image_format: str) -> None:
    for orientation in range(2, 9):
        pixels = np.ascontiguousarray(stored(marked(), orientation))
        options = {"tiffinfo": {274: orientation}} if image_format == "TIFF" else {"exif": exif(orientation)}
        copy = copy_of(encoded(pixels, image_format, **options))
        opened = Image.open(BytesIO(copy.data))
        assert dict(opened.getexif()) == {}
        assert b"SECRET" not in copy.data
        assert raw(copy.data).shape == (32, 48, 3)
        for y, x in ((3, 3), (3, -4), (-4, -4), (-4, 3)):
            assert np.abs(raw(copy.data)[y, x].astype(int) - marked()[y, x]).max() <= 40


def test_second_picture_of_a_phone_does_not_travel_along(copy_of: CopyOf) -> None:
    first, second = Image.fromarray(marked()), Image.new("RGB", (48, 32))
    data = encoded(first, "MPO", save_all=True, append_images=[second], exif=exif(1))
    copy = copy_of(data)
    assert copy.data.count(b"\xff\xd8\xff") == 1
    assert b"MPF" not in copy.data


def test_every_valid_file_becomes_upright_eight_bit_rgb(copy_of: CopyOf) -> None:
    valid = [case for case in cases() if case.verdict == "ok"]
    assert len(valid) >= 60
    for case in valid:
        copy = copy_of(case.data)
        wanted = decode(case.data, max_pixels=LIMIT).pixels
        opened = Image.open(BytesIO(copy.data))
        assert (opened.format, opened.mode) == ({".jpg": "JPEG", ".png": "PNG"}[copy.suffix], "RGB"), case.name
        assert getattr(opened, "n_frames", 1) == 1
        assert raw(copy.data).shape == wanted.shape
        assert raw(copy.data).mean(axis=(0, 1)) == pytest.approx(wanted.mean(axis=(0, 1)), abs=3), case.name
        if copy.suffix == ".png":
            assert np.array_equal(raw(copy.data), wanted), case.name


def test_cut_file_is_copied_only_where_that_was_asked_for(copy_of: CopyOf) -> None:
    for image_format in ("JPEG", "PNG"):
        cut = encoded(marked((160, 120)), image_format)[:-40]
        with pytest.raises(ImageRejected, match="truncated"):
            copy_of(cut)
        copy = copy_of(cut, accept_truncated=True)
        Image.open(BytesIO(copy.data)).load()
        assert np.array_equal(raw(copy.data)[:8, :8], marked()[:8, :8]) or image_format == "JPEG"
