"""Decoding and picking: what every kind of file gives, and which frames are worth a label."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.video.files import VideoRejected, folder_name, is_stream, shown_address
from labeling.video.frames import open_file
from labeling.video.picking import Picker, differs
from labeling.video.taking import MEMORY_FILE, Film, Pace, remembered_film, take_file
from tests.made_videos import encode, moving, noisy, sound_only, still, turned, with_box, with_sound

PIXELS = 10**8


def verdicts(path: Path, pace: Pace | None = None) -> Counter[str]:
    picker = Picker(pace or Pace())
    with open_file(path, max_pixels=PIXELS) as decoder:
        return Counter(picker.look(frame.grey(), frame.seconds) for frame in decoder.frames())


def take(path: Path, root: Path, pace: Pace | None = None) -> Film:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    film = take_file(path, sha256, root, pace or Pace(), max_pixels=PIXELS, stop=Event())
    assert film is not None
    return film


def test_noise_and_compression_alone_take_one_frame(tmp_path: Path) -> None:
    room = still()
    seen = encode(tmp_path / "n.mp4", [noisy(room, 15, seed) for seed in range(40)])
    pressed = encode(tmp_path / "p.mp4", [noisy(room, 8, seed) for seed in range(40)], options={"crf": "42"})
    assert verdicts(seen) == verdicts(pressed) == {"taken": 1, "alike": 39}


def test_an_object_that_moves_before_a_still_camera_is_taken_as_often_as_it_is_allowed(tmp_path: Path) -> None:
    room = still()
    clip = encode(tmp_path / "m.mp4", [with_box(room, 5 * number, 100, 30) for number in range(40)])
    found = verdicts(clip)
    assert found["taken"] >= 7  # 4 s at 2 per second
    assert found["taken"] <= 8


def test_an_object_that_comes_and_goes_is_taken_with_and_without(tmp_path: Path) -> None:
    room = still()
    clip = [with_box(room, 150, 100, 24) if 15 <= number < 30 else room for number in range(45)]
    assert verdicts(encode(tmp_path / "m.mp4", clip))["taken"] == 3


def test_every_cut_is_taken_and_counted(tmp_path: Path) -> None:
    clip = encode(tmp_path / "c.mp4", [still(seed=number // 15) for number in range(60)])
    assert verdicts(clip) == {"taken": 4, "alike": 56}
    film = take(clip, tmp_path / "frames")
    assert [frame.scene for frame in film.taken] == [0, 1, 2, 3]
    assert [frame.number for frame in film.taken] == [0, 15, 30, 45]


@pytest.mark.parametrize(("gain", "offset"), [(1.3, 0), (0.75, 0), (1.0, 35), (1.0, -35), (0.9, 20)])
def test_brightness_alone_is_no_change(gain: float, offset: float) -> None:
    picture = still((64, 48), seed=1)[..., 0].astype(np.float64)
    assert not differs(picture.astype(np.uint8), np.clip(gain * picture + offset, 0, 255).astype(np.uint8))


def test_black_and_white_and_structure_out_of_nothing_are_changes() -> None:
    black, white = np.zeros((48, 64), np.uint8), np.full((48, 64), 255, np.uint8)
    picture = np.random.default_rng(0).integers(0, 255, (48, 64), dtype=np.uint8)
    assert differs(black, white)
    assert differs(black, picture)
    assert differs(picture, white)
    assert not differs(black, black)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.floats(0.5, 5),
    st.floats(0.5, 4),
    st.floats(0.02, 0.5),
)
@settings(max_examples=60, deadline=None)
def test_taken_frames_keep_both_bounds(shots: list[int], every: float, per_second: float, step: float) -> None:
    looks = [np.random.default_rng(number).integers(0, 255, (48, 64), dtype=np.uint8) for number in range(4)]
    picker = Picker(Pace(every, per_second))
    times = [number * step for number in range(len(shots))]
    taken = [time for time, shot in zip(times, shots, strict=True) if picker.look(looks[shot], time) == "taken"]
    gaps = np.diff([*taken])
    assert taken[0] == 0
    assert (gaps >= 1 / per_second - 2e-3).all()
    # A gap ends with the first frame at which both bounds allow it.
    assert (np.diff([*taken, times[-1]]) <= max(every, 1 / per_second) + step + 2e-3).all()


def test_a_still_video_gives_a_frame_every_so_many_seconds(tmp_path: Path) -> None:
    clip = encode(tmp_path / "s.mp4", [still()] * 61)
    assert verdicts(clip, Pace(every=2.0))["taken"] == 4  # 0, 2, 4 and 6 s
    assert verdicts(clip, Pace(every=10.0))["taken"] == 1


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        ("mp4", "libx264", "yuv420p"), ("mkv", "libx264", "yuv444p"), ("mov", "libx264", "yuv420p10le"),
        ("avi", "mpeg4", "yuv420p"), ("webm", "libvpx-vp9", "yuv420p"), ("mkv", "ffv1", "gray16le"),
        ("mkv", "ffv1", "yuva420p"), ("flv", "libx264", "yuv420p"), ("m2ts", "libx264", "yuv420p"),
    ],
)  # fmt: skip
def test_every_container_and_pixel_format_gives_the_picture(
    tmp_path: Path, suffix: str, codec: str, pix_fmt: str
) -> None:
    picture = with_box(still((96, 80)), 8, 8, 40, (230, 230, 230))
    clip = encode(tmp_path / f"x.{suffix}", [picture] * 5, codec=codec, pix_fmt=pix_fmt, fps=25)
    with open_file(clip, max_pixels=PIXELS) as decoder:
        frames = [(frame.number, frame.seconds, frame.rgb()) for frame in decoder.frames()]
    assert [number for number, _, _ in frames] == [0, 1, 2, 3, 4]
    assert [seconds for _, seconds, _ in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=2e-3)
    for _, _, rgb in frames:
        assert rgb.shape == (80, 96, 3)
        assert rgb.dtype == np.uint8
        assert np.abs(rgb[12:44, 12:44].astype(int) - 230).mean() < 6


def test_a_video_from_a_turned_phone_is_upright(tmp_path: Path) -> None:
    picture = with_box(np.full((64, 128, 3), 255, np.uint8), 0, 0, 24)
    clip = turned(encode(tmp_path / "t.mp4", [picture] * 2, pix_fmt="yuv444p"))
    with open_file(clip, max_pixels=PIXELS) as decoder:
        rgb = next(decoder.frames()).rgb()
    assert rgb.shape == (128, 64, 3)
    assert np.allclose(rgb[8, -8], (255, 0, 0), atol=12)  # top left goes to top right when turned clockwise
    assert np.allclose(rgb[8, 8], 255, atol=12)


def test_time_is_time_where_the_frame_rate_varies(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.2, 3.0, 3.05, 9.0]
    clip = encode(tmp_path / "v.mkv", [still(seed=number) for number in range(6)], times=times)
    with open_file(clip, max_pixels=PIXELS) as decoder:
        assert [frame.seconds for frame in decoder.frames()] == pytest.approx(times, abs=2e-3)


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    film = take(encode(tmp_path / "one.mp4", [still()]), tmp_path / "frames")
    assert (film.frames, len(film.taken), film.problem) == (1, 1, None)


def rejection(path: Path, max_pixels: int = PIXELS) -> str:
    with pytest.raises(VideoRejected) as caught, open_file(path, max_pixels=max_pixels) as decoder:
        list(decoder.frames())
    assert "\n" not in str(caught.value)
    return caught.value.reason


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    clip = encode(tmp_path / "m.mp4", moving(10))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello " * 500)
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:2000])  # the index at its end is missing
    for name in ("empty.mp4", "text.mp4", "gone.mp4"):
        assert rejection(tmp_path / name) == "unreadable"
    assert rejection(tmp_path / "cut.mp4") in ("unreadable", "no_video_stream")
    assert rejection(sound_only(tmp_path / "sound.mp4")) == "no_video_stream"
    assert rejection(clip, max_pixels=1000) == "too_large"


def test_a_playlist_in_the_clothes_of_a_video_opens_nothing(tmp_path: Path) -> None:
    clip = encode(tmp_path / "secret.m2ts", moving(10))
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{clip}\n#EXT-X-ENDLIST\n")
    (tmp_path / "cat.mp4").write_text(f"ffconcat version 1.0\nfile {clip.name}\n")
    assert rejection(tmp_path / "list.mp4") == rejection(tmp_path / "cat.mp4") == "unreadable"


def test_a_video_that_was_cut_gives_what_it_has_and_a_reason(tmp_path: Path) -> None:
    clip = encode(tmp_path / "m.mkv", [noisy(picture, 5, n) for n, picture in enumerate(moving(60, step=2))])
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    film = take(clip, tmp_path / "frames")
    assert 0 < film.frames < 60
    assert film.taken
    assert film.problem is not None
    assert film.problem[0] == "truncated"


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "mpeg4"), ("mkv", "ffv1"), ("flv", "libx264")])
def test_a_file_that_was_cut_anywhere_before_its_last_tenth_has_a_reason(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    whole = encode(tmp_path / f"m.{suffix}", [noisy(one, 4, n) for n, one in enumerate(moving(30))], codec=codec)
    assert take(whole, tmp_path / "frames").problem is None
    cut = tmp_path / f"cut.{suffix}"
    for tenths in range(3, 9):
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * tenths // 10])
        film = take(cut, tmp_path / "frames")
        assert film.frames == 30 or (film.problem and film.problem[0] in ("truncated", "damaged")), tenths


@pytest.mark.parametrize("sound_s", [3.0, 0.5])
def test_sound_that_goes_on_longer_or_ends_sooner_is_no_cut(tmp_path: Path, sound_s: float) -> None:
    film = take(with_sound(tmp_path / "s.mkv", moving(10), sound_s), tmp_path / "frames")
    assert (film.frames, film.problem) == (10, None)


def test_a_file_with_sound_that_was_cut_has_a_reason(tmp_path: Path) -> None:
    clip = with_sound(tmp_path / "c.mkv", [noisy(one, 8, n) for n, one in enumerate(moving(40))], 4.0)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    cut = take(clip, tmp_path / "frames").problem
    assert cut is not None
    assert cut[0] == "truncated"


def test_a_last_frame_that_is_shown_as_long_as_others_is_no_cut(tmp_path: Path) -> None:
    clip = encode(tmp_path / "v.mkv", [still(seed=n) for n in range(4)], times=[0.0, 3.0, 3.1, 6.0])
    assert take(clip, tmp_path / "frames").problem is None


def test_damage_in_the_middle_costs_those_frames_and_has_a_reason(tmp_path: Path) -> None:
    clip = encode(tmp_path / "m.mp4", moving(60, step=2), options={"g": "5", "crf": "10", "threads": "1"})
    data = bytearray(clip.read_bytes())
    third = len(data) // 3
    data[third : third + 400] = np.random.default_rng(0).integers(0, 255, 400, dtype=np.uint8).tobytes()
    clip.write_bytes(data)
    film = take(clip, tmp_path / "frames")
    assert 20 < film.frames <= 60
    assert film.problem is not None
    assert film.problem[0] == "damaged"


def test_frames_lie_in_a_folder_of_the_video_and_are_remembered(tmp_path: Path) -> None:
    clip = encode(tmp_path / "my clip.mp4", moving(30))
    film = take(clip, tmp_path / "frames")
    sha256 = hashlib.sha256(clip.read_bytes()).hexdigest()
    assert film.folder == tmp_path / "frames" / f"my_clip-{sha256[:8]}"
    for frame in film.taken:
        data = (film.folder / f"{frame.number:06d}.jpg").read_bytes()
        assert hashlib.sha256(data).hexdigest() == frame.sha256
    assert film.frames == len(film.taken) + film.alike + film.too_soon == 30
    known = remembered_film(clip, sha256, tmp_path / "frames", Pace())
    assert known is not None
    assert known.taken == film.taken
    assert not known.fresh
    assert remembered_film(clip, sha256, tmp_path / "frames", Pace(every=3)) is None


def test_a_take_that_was_cut_off_is_finished_with_the_same_frames(tmp_path: Path) -> None:
    clip = encode(tmp_path / "m.mp4", moving(30))
    whole = take(clip, tmp_path / "whole")
    folder = take(clip, tmp_path / "cut").folder
    (folder / MEMORY_FILE).unlink()
    last = f"{whole.taken[-1].number:06d}"
    (folder / f"{last}.jpg").rename(folder / f"{last}.part")  # killed while it was written
    again = take(clip, tmp_path / "cut")
    assert again.taken == whole.taken
    assert not list(folder.glob("*.part"))


def test_a_frame_that_somebody_removed_is_taken_again(tmp_path: Path) -> None:
    clip = encode(tmp_path / "m.mp4", moving(20))
    film = take(clip, tmp_path / "frames")
    (film.folder / "000000.jpg").unlink()
    assert remembered_film(clip, film.video, tmp_path / "frames", Pace()) is None
    assert take(clip, tmp_path / "frames").taken == film.taken


def test_frames_of_another_pace_stay(tmp_path: Path) -> None:
    clip = encode(tmp_path / "m.mp4", moving(30))
    many = take(clip, tmp_path / "frames", Pace(per_second=5))
    few = take(clip, tmp_path / "frames", Pace(per_second=1))
    assert {frame.number for frame in many.taken} <= {frame.number for frame in few.taken}
    assert json.loads((few.folder / MEMORY_FILE).read_text())["pace"] == {"every": 10.0, "per_second": 1}


def test_a_stop_ends_without_a_memory(tmp_path: Path) -> None:
    clip = encode(tmp_path / "m.mp4", moving(10))
    stop = Event()
    stop.set()
    assert take_file(clip, "0" * 64, tmp_path / "frames", Pace(), max_pixels=PIXELS, stop=stop) is None


def test_streams_are_told_from_files() -> None:
    assert all(map(is_stream, ("rtsp://a/b", "RTSP://a", "http://h/v.mp4", "https://h", "/dev/video0")))
    assert not any(map(is_stream, ("clip.mp4", "/dev/videos/a.mp4", "rtsp", "ftp://h", "dir/http://x")))


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://user:s3cret@cam:554/live?token=s3cret#s3cret", "https://s3cret@cam/v.mp4",
        "http://u:s3cret@[::1]:80/a", "rtsp://u:s3cret@x@cam/",
    ],
)  # fmt: skip
def test_an_address_is_shown_without_secrets(address: str) -> None:
    assert "s3cret" not in shown_address(address)


@given(st.text(min_size=1, max_size=80))
def test_a_folder_name_is_one_plain_name(stem: str) -> None:
    name = folder_name(stem, "ab" * 32)
    assert name.endswith("-abababab")
    assert "/" not in name
    assert not name.startswith((".", "-"))
    assert 0 < len(name) < 80
