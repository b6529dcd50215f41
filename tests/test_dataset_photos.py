"""Copies for trainers: the pixels that were labelled, bit for bit, whatever the photo was; sources are only read."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from labeling.images import load
from tests.dataset_rooms import BOX, DatasetRoom
from tests.made_stores import Thing, photo

SIZE = (160, 120)
NAME = re.compile(r"[0-9a-f]{16}\.(jpg|png)")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[DatasetRoom]:
    made = DatasetRoom.of(tmp_path)
    yield made
    made.store.close()


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(5).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8))


def saved(kind: str) -> bytes:
    """Return a photo of 160 x 120 pixels once it is upright."""
    data, picture = io.BytesIO(), noise()
    exif = Image.Exif()
    exif[271] = "a camera"
    if kind in ("rotated", "mirrored"):
        exif[274] = 6 if kind == "rotated" else 4
        picture = picture.transpose(Image.Transpose.ROTATE_90) if kind == "rotated" else picture
        picture.save(data, "JPEG", exif=exif)
    elif kind in ("jpeg", "cut short"):
        picture.save(data, "JPEG", exif=exif)
    elif kind in ("L", "CMYK"):
        picture.convert(kind).save(data, "JPEG")
    elif kind == "sixteen bits":
        Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(data, "PNG")
    elif kind in ("P", "LA", "RGBA"):
        picture.putalpha(128)
        picture.convert(kind).save(data, "PNG")
    elif kind == "two pictures":
        picture.save(data, "MPO", save_all=True, append_images=[picture])
    else:
        picture.save(data, kind)
    return data.getvalue() + (b"\0\0" if kind == "cut short" else b"")


KINDS = (
    *("jpeg", "rotated", "mirrored", "cut short", "L", "CMYK", "two pictures"),
    *("PNG", "sixteen bits", "P", "LA", "RGBA", "WEBP", "BMP", "TIFF", "GIF"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trainer_sees_what_was_labelled(room: DatasetRoom, kind: str) -> None:
    path = room.photos / "photo.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(saved(kind))
    image = room.take(path, [Thing("red", BOX)])
    done = room.written([image])
    (copy,) = (done.path / "images" / "train").iterdir()
    assert NAME.fullmatch(copy.name)
    seen = cv2.cvtColor(np.asarray(cv2.imread(str(copy), cv2.IMREAD_UNCHANGED)), cv2.COLOR_BGR2RGB)
    meant = load(path, max_pixels=10**6).pixels
    assert meant.shape == (SIZE[1], SIZE[0], 3)
    assert np.array_equal(seen, meant) or (kind == "jpeg" and np.abs(seen.astype(int) - meant).max() <= 3)
    data = copy.read_bytes()
    assert b"a camera" not in data
    assert copy.suffix == ".png" or data.endswith(b"\xff\xd9")
    assert (copy.suffix == ".jpg") == (kind == "jpeg")
    assert path.read_bytes() == saved(kind)
    assert not os.path.samestat(path.stat(), copy.stat())


def test_an_upright_photo_keeps_its_compressed_pixels(room: DatasetRoom) -> None:
    path = room.photos / "photo.jpg"
    path.parent.mkdir(parents=True)
    noise().save(path, "JPEG")
    (copy,) = (room.written([room.take(path, [Thing("red", BOX)])]).path / "images" / "train").iterdir()
    assert copy.read_bytes() == path.read_bytes()


def test_nothing_of_the_names_of_photos_is_in_the_folder(room: DatasetRoom) -> None:
    names = [
        *("a b.png", "-rf.png", "$(touch x).png", "line\nbreak.png", "..%2e%2f.png", "images.png", "é.png", ".h.png"),
        *("'\"`;&|.png", "labels/images/labels/x.png", "x" * 200 + ".png", os.fsdecode(b"\xff\xfe.png")),
    ]
    images = [room.machine(name, [Thing("red", BOX)], seed=seed) for seed, name in enumerate(names)]
    done = room.written(images)
    written = sorted(path.name for path in (done.path / "images" / "train").iterdir())
    assert len(written) == len(names) == 12
    assert all(NAME.fullmatch(name) for name in written)
    assert written == sorted(f"{image[:16]}.png" for image in images)
    assert (done.path / "train.txt").read_text() == "".join(f"./images/train/{name}\n" for name in written)


def test_photos_that_are_gone_or_hold_another_picture_are_left_out_and_counted(room: DatasetRoom) -> None:
    images = [room.machine(f"{seed}.png", [Thing("red", BOX)], seed=seed) for seed in range(3)]
    before = room.written(images)
    (room.photos / "0.png").unlink()
    photo(room.photos / "1.png", seed=9)
    done = room.written(images)
    assert done.left_out == {"its photo is gone": 1, "its photo has changed since it was labelled": 1}
    assert done.images["train"] == 1
    assert done.hash != before.hash
    assert [path.name for path in (done.path / "images" / "train").iterdir()] == [f"{images[2][:16]}.png"]


def test_a_photo_that_changed_unseen_is_found_when_it_is_copied(room: DatasetRoom) -> None:
    images = [room.machine(f"{seed}.png", [Thing("red", BOX)], seed=seed) for seed in range(2)]
    path = room.photos / "0.png"
    stamp, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    done = room.written(images)
    assert done.left_out == {"its photo has changed since it was labelled": 1}
    assert done.hash == room.written(images[1:]).hash


def test_a_photo_that_was_only_touched_or_has_another_file_is_there(room: DatasetRoom) -> None:
    images = [room.machine(f"{seed}.png", [Thing("red", BOX)], seed=seed) for seed in range(2)]
    before = room.written(images)
    os.utime(room.photos / "0.png", (1, 1))
    assert room.written(images) == before


def test_bytes_of_the_manifest_are_those_of_the_files(room: DatasetRoom) -> None:
    import json

    image = room.machine("a.png", [Thing("red", BOX)])
    done = room.written([image])
    manifest = json.loads((done.path / "manifest.json").read_text())
    assert manifest["sources"] == {image: f"images/train/{image[:16]}.png"}
    files = {path.relative_to(done.path).as_posix(): path for path in done.path.rglob("*") if path.is_file()}
    assert files.pop("manifest.json")
    assert manifest["files"] == {
        name: [path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()] for name, path in files.items()
    }
