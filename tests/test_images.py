"""The gate: each file of the corpus ends as it must, upright and 8-bit, decoded once and never changed."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, TiffImagePlugin

from labeling.core.errors import InputError
from labeling.images import ImageRejected, LoadedImage, decode, load
from tests.badimages import Case, bomb, cases, encoded, exif, heic, marked, png, stored, tiff, write_corpus
from tests.paths import ROOT
from tests.privileges import bound_by_file_modes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # it remarks on damaged metadata

LIMIT = 100_000_000
FILES = [case for case in cases() if case.verdict not in ("skipped", "unsupported_format")]
VALID = [case for case in FILES if case.verdict == "ok"]


def decoded(data: bytes, **options: Any) -> LoadedImage:
    return decode(data, **{"max_pixels": LIMIT, **options})


def rejection(data: bytes, **options: Any) -> ImageRejected:
    with pytest.raises(ImageRejected) as caught:
        decoded(data, **options)
    return caught.value


def verdict(case: Case) -> tuple[str, tuple[str, ...]]:
    try:
        loaded = decoded(case.data, suffix=Path(case.name).suffix.lower())
    except ImageRejected as rejected:
        return rejected.reason, ()
    return "ok", loaded.notes


def difference(first: np.ndarray, second: np.ndarray) -> int:
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second.astype(int)).max())


# --- the corpus


def test_corpus_is_large_enough_to_mean_something() -> None:
    assert len(FILES) >= 80
    assert len({case.name for case in FILES}) == len(FILES)
    assert sum(case.verdict != "ok" for case in FILES) >= 30


@pytest.mark.parametrize("case", FILES, ids=lambda case: ascii(case.name)[:60])
def test_each_file_ends_as_the_corpus_says(case: Case) -> None:
    assert verdict(case) == (case.verdict, case.notes)
    if case.verdict != "ok":
        rejected = rejection(case.data)
        assert rejected.sha256 == hashlib.sha256(case.data).hexdigest()
        assert rejected.detail
        assert "\n" not in str(rejected)
        return
    loaded = decoded(case.data)
    assert loaded.sha256 == hashlib.sha256(case.data).hexdigest()
    assert loaded.pixels.dtype == np.uint8
    assert loaded.pixels.shape[2:] == (3,)
    assert loaded.pixels.flags.c_contiguous
    assert loaded.pixels.flags.writeable
    if case.mean_rgb is not None:
        assert loaded.pixels.reshape(-1, 3).mean(axis=0) == pytest.approx(case.mean_rgb, abs=3)


def test_threads_reach_the_same_verdicts() -> None:
    expected = [verdict(case) for case in FILES]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(verdict, FILES * 3)) == expected * 3


def test_sources_are_never_changed(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    write_corpus(folder)

    def state() -> dict[str, tuple[str, int, int]]:
        files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        return {
            str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns, path.stat().st_mode)
            for path in files
        }

    before = state()
    for path in before:
        for accept in (False, True):
            with suppress(ImageRejected):
                load(Path(path), max_pixels=LIMIT, accept_truncated=accept)
    assert len(before) >= 100
    assert state() == before


# --- orientation

LOSSY_LIMIT = 12  # grey levels, inside flat areas


def oriented(image_format: str, orientation: int) -> bytes:
    pixels = np.ascontiguousarray(stored(marked(), orientation))
    options: dict[str, Any] = {
        "JPEG": {"quality": 95, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    }.get(image_format, {})
    if image_format == "TIFF":
        return encoded(pixels, "TIFF", tiffinfo={274: orientation})
    return encoded(pixels, image_format, exif=exif(orientation), **options)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_all_eight_orientations_come_out_upright(image_format: str) -> None:
    seen = 0
    for orientation in range(1, 9):
        loaded = decoded(oriented(image_format, orientation))
        assert difference(loaded.pixels, marked()) <= LOSSY_LIMIT, (image_format, orientation)
        assert loaded.notes == (() if orientation == 1 else ("orientation_applied",))
        seen += 1
    assert seen == 8


def test_orientation_agrees_with_opencv_on_jpeg() -> None:
    for orientation in range(1, 9):
        data = oriented("JPEG", orientation)
        other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert difference(decoded(data).pixels, other) <= 2


def test_orientation_holds_for_sixteen_bits_and_palettes_and_alpha() -> None:
    grey = np.asarray(Image.fromarray(marked()).convert("L"))
    for orientation in range(1, 9):
        turned = np.ascontiguousarray(stored(grey, orientation))
        wide = Image.fromarray(turned.astype(np.uint16) * 257)
        for data in (
            encoded(wide, "PNG", exif=exif(orientation)),
            encoded(wide, "TIFF", tiffinfo={274: orientation}),
            encoded(Image.fromarray(turned).convert("LA"), "PNG", exif=exif(orientation)),
            encoded(Image.fromarray(turned).convert("P"), "PNG", exif=exif(orientation)),
        ):
            assert difference(decoded(data).pixels[:, :, 0], grey) == 0


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientation_outside_the_standard_is_ignored(value: int) -> None:
    assert decoded(encoded(marked(), "PNG", exif=exif(value))).notes == ()


# --- pixels


def test_sixteen_bit_ramp_is_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256 * 16).astype(np.uint16).reshape(16, 256)
    for image_format in ("PNG", "TIFF"):
        grey = decoded(encoded(Image.fromarray(ramp), image_format)).pixels[:, :, 0]
        assert np.array_equal(grey, ramp >> 8)


def test_background_shows_through_and_hidden_colours_do_not() -> None:
    hidden = np.zeros((20, 20, 4), np.uint8)
    hidden[:, :, 0] = 200
    data = encoded(hidden, "PNG")
    assert np.unique(decoded(data).pixels).tolist() == [255]
    assert np.unique(decoded(data, background="black").pixels).tolist() == [0]
    assert decoded(data, background="#102030").pixels[5, 5].tolist() == [16, 32, 48]


def test_background_that_is_no_colour_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"images\.background .*: expected a colour .* got 'whit'") as caught:
        decoded(encoded(marked(), "PNG"), background="whit")
    assert not isinstance(caught.value, ImageRejected)


def test_second_frame_has_no_influence() -> None:
    first = Image.fromarray(marked())
    frames = [Image.new("RGB", first.size, colour) for colour in ("black", "white")]
    for image_format in ("GIF", "PNG", "TIFF"):
        data = encoded(first, image_format, save_all=True, append_images=frames, disposal=2)
        assert difference(decoded(data).pixels, marked()) == 0


@pytest.mark.parametrize("rubbish", [b"!" + b"\xff" * 30, b",\0\0", b"!"])
def test_gif_with_rubbish_after_its_first_frame_is_taken(rubbish: bytes) -> None:
    data = encoded(Image.fromarray(marked()), "GIF")
    assert difference(decoded(data[:-1] + rubbish).pixels, marked()) == 0


# --- heic


def test_heic_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic(Image.fromarray(marked((64, 64))))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    rejected = rejection(data)
    assert rejected.reason == "needs_pillow_heif"
    assert '".[heif]"' in rejected.detail


def test_heic_is_decoded_and_upright() -> None:
    pytest.importorskip("pillow_heif")
    upright = marked((64, 48))
    for orientation in range(1, 9):
        turned = Image.fromarray(np.ascontiguousarray(stored(upright, orientation)))
        pixels = decoded(heic(turned, exif=exif(orientation).tobytes())).pixels
        for y, x in ((3, 3), (3, -4), (-4, -4), (-4, 3)):
            assert difference(pixels[y, x], upright[y, x]) <= LOSSY_LIMIT


# --- cut files


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    rng = np.random.default_rng(1)
    return cv2.resize(rng.integers(0, 255, (15, 20, 3), dtype=np.uint8), (160, 120))


def test_jpeg_without_its_last_two_bytes_loses_nothing_when_accepted(photo: np.ndarray) -> None:
    for options in ({}, {"progressive": True}):
        data = encoded(photo, "JPEG", **options)
        assert rejection(data[:-2]).reason == "truncated"
        accepted = decoded(data[:-2], accept_truncated=True)
        assert accepted.notes == ("truncated",)
        assert difference(accepted.pixels, decoded(data).pixels) == 0


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "BMP", "GIF", "PPM"])
def test_accepted_cut_file_keeps_what_came_before_the_cut(image_format: str, photo: np.ndarray) -> None:
    data = encoded(photo, image_format)
    whole, cut = decoded(data).pixels, data[: int(len(data) * 0.8)]
    assert "images.accept_truncated" in rejection(cut).detail
    accepted = decoded(cut, accept_truncated=True)
    assert accepted.notes == ("truncated",)
    rows = slice(72, None) if image_format == "BMP" else slice(None, 48)  # BMP is stored from the bottom up
    assert difference(accepted.pixels[rows], whole[rows]) == 0
    assert difference(accepted.pixels, whole) > 0


def test_damage_is_not_accepted_as_if_it_were_a_cut() -> None:
    (case,) = (case for case in FILES if case.name == "broken/damaged.png")
    assert rejection(case.data, accept_truncated=True).reason == "unreadable"


def test_cut_files_that_hold_no_rows_stay_rejected() -> None:
    for name in ("cut.webp", "cut.avif", "cut.tif", "cut_in_header.jpg"):
        (case,) = (case for case in FILES if case.name == f"broken/{name}")
        rejected = rejection(case.data, accept_truncated=True)
        assert rejected.reason == "truncated"
        assert ("accept_truncated" in rejected.detail) == name.endswith(".jpg")


def test_accepting_cut_files_in_one_thread_does_not_let_them_through_in_another(photo: np.ndarray) -> None:
    cut = encoded(photo, "PNG")[:-900]
    stop = threading.Event()

    def accept() -> int:
        n = 0
        while not stop.is_set():
            n += decoded(cut, accept_truncated=True).notes == ("truncated",)
        return n

    with ThreadPoolExecutor(2) as threads:
        accepting = [threads.submit(accept) for _ in range(2)]
        try:
            reasons = {rejection(cut).reason for _ in range(200)}
        finally:
            stop.set()
    assert reasons == {"truncated"}
    assert all(future.result() > 0 for future in accepting)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


# --- sizes


def test_pixel_limit_is_exact() -> None:
    data = encoded(marked((40, 30)), "PNG")
    assert decoded(data, max_pixels=1200).pixels.shape == (30, 40, 3)
    rejected = rejection(data, max_pixels=1199)
    assert rejected.reason == "too_large"
    assert "40x30" in rejected.detail
    assert "1199" in rejected.detail


def test_limit_of_the_project_counts_and_not_the_one_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # as if all pictures here had 89 million pixels
    pictures = [case for case in VALID if case.mean_rgb is not None and "moving" not in case.name]
    assert len(pictures) >= 30
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for case in pictures:
            assert verdict(case) == ("ok", case.notes), case.name
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_large_tiff_comes_out_right_past_the_limit_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # now Pillow would refuse and not only warn
    for orientation in (1, 6):
        for compression in (None, "tiff_lzw"):
            pixels = np.ascontiguousarray(stored(marked(), orientation))
            data = encoded(pixels, "TIFF", tiffinfo={274: orientation}, compression=compression)
            assert difference(decoded(data).pixels, marked()) == 0


def test_bombs_cost_no_memory(tmp_path: Path) -> None:
    assert len(bomb()) < 25_000
    bombs = [case for case in FILES if case.verdict == "too_large"]
    assert len(bombs) >= 6
    for number, case in enumerate(bombs):
        (tmp_path / f"{number}{Path(case.name).suffix}").write_bytes(case.data)
    code = """
import resource, sys
from pathlib import Path
from labeling.images import ImageRejected, load
from labeling.image_formats import reader
for name in ("PNG", "BMP", "TIFF", "GIF", "WEBP"):
    reader(name)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        load(path, max_pixels=100_000_000)
    except ImageRejected as rejected:
        print(rejected.reason)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=limited,
        capture_output=True,
        text=True,
        check=True,
    )
    *reasons, growth_mb = done.stdout.split()
    assert reasons == ["too_large"] * len(bombs)
    assert int(growth_mb) < 20


def test_file_far_larger_than_its_pixels_may_be_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    with path.open("wb") as file:
        file.write(tiff((20, 20), 8, bytes(400)))
        file.truncate(2**40)
    with pytest.raises(ImageRejected, match="too_large: 1099511627776 bytes"):
        load(path, max_pixels=LIMIT)


# --- reading


def test_load_reads_hashes_and_compares_the_name(tmp_path: Path) -> None:
    path = tmp_path / "x.JPG"
    path.write_bytes(encoded(marked(), "PNG"))
    loaded = load(path, max_pixels=LIMIT)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (loaded.format, loaded.notes) == ("PNG", ("format_mismatch",))


@pytest.mark.timeout(20)
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for path, reason in (
        (tmp_path / "pipe.jpg", "not_a_regular_file"),
        (tmp_path / "folder.jpg", "not_a_regular_file"),
        (Path("/dev/zero"), "not_a_regular_file"),
        (tmp_path / "loop.jpg", "unreadable"),
        (tmp_path / "gone.jpg", "missing"),
        (tmp_path / ("x" * 300), "unreadable"),
    ):
        with pytest.raises(ImageRejected) as caught:
            load(path, max_pixels=LIMIT)
        assert (caught.value.reason, caught.value.sha256) == (reason, None)


def test_file_without_permission_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(marked(), "PNG"))
    path.chmod(0)
    with bound_by_file_modes(), pytest.raises(ImageRejected, match=r"^permission: "):
        load(path, max_pixels=LIMIT)


def test_nothing_stays_open(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    write_corpus(folder)
    before = len(os.listdir("/proc/self/fd"))
    for path in folder.rglob("*"):
        with suppress(ImageRejected):
            load(path, max_pixels=LIMIT)
    assert len(os.listdir("/proc/self/fd")) == before


def test_every_file_is_decoded_exactly_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decodes: list[str] = []
    plain, with_libtiff = ImageFile.ImageFile.load, TiffImagePlugin.TiffImageFile._load_libtiff

    def counted(self: ImageFile.ImageFile) -> Any:
        if self.tile:  # Pillow calls load() often; tiles are what is left to decode
            decodes.append(str(self.format))
        return plain(self)

    def counted_with_libtiff(self: TiffImagePlugin.TiffImageFile) -> Any:
        decodes.append("TIFF")
        return with_libtiff(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "_load_libtiff", counted_with_libtiff)
    pictures = [case for case in VALID if not case.name.endswith(".heic")]  # decoded by another library
    assert len(pictures) >= 60
    for case in pictures:
        decodes.clear()
        image_format = decoded(case.data).format
        assert decodes == [image_format], case.name


# --- hostile bytes

SEEDS = sorted({case.data for case in VALID if len(case.data) < 6000}, key=len)
HEADS = sorted({case.data[:16] for case in VALID})
FUZZ = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def survives(data: bytes) -> None:
    for accept in (False, True):
        try:
            pixels = decode(data, max_pixels=250_000, accept_truncated=accept).pixels
        except ImageRejected as rejected:
            complete = rejected.reason and rejected.detail and rejected.sha256
        else:
            complete = pixels.shape[2] == 3 and 100 <= pixels.shape[0] * pixels.shape[1] <= 250_000
        assert complete


@FUZZ
@given(st.binary(max_size=300), st.sampled_from([b"", *HEADS]))
def test_random_bytes_are_decoded_or_rejected(body: bytes, head: bytes) -> None:
    survives(head + body)


@FUZZ
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=6)), min_size=1, max_size=8),
    st.integers(0, 2**16),
)
def test_changed_files_are_decoded_or_rejected(seed: bytes, edits: list[tuple[int, bytes]], cut: int) -> None:
    data = bytearray(seed)
    for at, new in edits:
        at %= len(data)
        data[at : at + len(new)] = new
    survives(bytes(data))
    survives(bytes(data[: cut % len(data)]))


@FUZZ
@given(st.integers(0, 2**31), st.integers(0, 2**31), st.sampled_from([1, 8, 16]), st.sampled_from([0, 2, 3, 4, 6]))
def test_png_headers_that_lie_are_rejected(width: int, height: int, depth: int, colour: int) -> None:
    survives(png((width, height), depth, colour, bytes(64)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "L", "1"])
def test_a_picture_that_is_converted_band_by_band_is_the_one_converted_at_once(mode: str) -> None:
    """Three bands; only the last one lets the background through."""
    random = np.random.default_rng(0)
    values = random.integers(0, 256, (700, 300, 4), dtype=np.uint8)
    values[:650, :, 3] = 255
    rgba = Image.fromarray(values)
    picture = rgba.convert("RGB").convert(mode) if mode in ("P", "CMYK", "L", "1") else rgba.convert(mode)
    buffer = BytesIO()
    suffix = "TIFF" if mode == "CMYK" else "PNG"
    picture.save(buffer, suffix, **({"transparency": picture.getpixel((299, 699))} if mode == "P" else {}))
    with Image.open(BytesIO(buffer.getvalue())) as stored:
        whole = stored.convert("RGBA")
    expected = Image.new("RGB", whole.size, "#102030")
    expected.paste(whole, mask=whole)
    loaded = decode(buffer.getvalue(), max_pixels=10**6, background="#102030")
    assert (loaded.pixels == np.asarray(expected)).all()
    assert ("alpha_composited" in loaded.notes) == (mode in ("RGBA", "LA", "P"))
