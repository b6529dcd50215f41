"""`labelstill label` with videos and streams: frames become photos like any other, and their tracks stay whole."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill.split import read_split
from labeling.cli import main
from labeling.core.records import Annotation, Provenance
from labeling.core.store import Store
from labeling.video.ledger import FrameLedger
from tests import fakes
from tests.made_videos import encode, moving, sound_only
from tests.video_commands import ROOT, command, label, open_store

pytestmark = pytest.mark.usefixtures("snapped_backend")


def test_frames_of_a_video_are_labelled_beside_photos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: Path
) -> None:
    fakes.draw(clip.parent / "photo.png", [("red", (10, 10, 40, 40))])
    before = hashlib.sha256(clip.read_bytes()).hexdigest()
    told = label(tmp_path, capsys, clip.parent)
    assert hashlib.sha256(clip.read_bytes()).hexdigest() == before
    (film,) = told["videos"]
    assert film["frames"] == 24 == film["taken"] + film["near_identical"] + film["too_soon"]
    assert told["labelled"] == film["taken"] + 1
    assert told["objects"] == {"crimson": film["taken"] + 1, "sea": film["taken"]}
    assert told["quarantined"] == []
    assert told["tracks"] == 2
    with open_store(tmp_path) as store:
        video = store.rows("SELECT DISTINCT video FROM frames")
        assert video == [(before,)]
        frames = FrameLedger(store).frames(before)
        assert [frame.seconds for frame in frames] == pytest.approx([n / 10 for n in (0, 5, 10, 15, 20)], abs=0.002)
        tracks = FrameLedger(store).tracks(before)
        assert [len(seen) for seen in tracks.values()] == [5, 5]
        classes = {
            name
            for (name,) in store.rows(
                "SELECT class_name FROM annotations a JOIN tracks t ON t.annotation_id = a.id WHERE t.track = 0"
            )
        }
        assert len(classes) == 1


def test_boxes_of_frames_lie_where_they_were_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: Path
) -> None:
    label(tmp_path, capsys, clip)
    with open_store(tmp_path) as store:
        sql = (
            "SELECT f.number, a.x0, a.y0, a.x1, a.y1 FROM annotations a JOIN frames f USING (sha256) "
            "WHERE a.class_name = 'crimson'"
        )
        rows = store.rows(sql)
    assert len(rows) == 5
    for number, *box in rows:
        x = 8 + 4 * number
        assert box == pytest.approx([x, 16, x + 32, 48], abs=2)


def test_a_second_run_reads_and_decodes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = label(tmp_path, capsys, clip)
    with open_store(tmp_path) as store:
        tracks = store.rows("SELECT * FROM tracks")
    monkeypatch.setitem(sys.modules, "av", None)  # importing it fails
    monkeypatch.setattr("labeling.video.footage._has_av", lambda: True)
    second = label(tmp_path, capsys, clip)
    assert second["labelled"] == 0
    assert second["unchanged"] == first["labelled"]
    assert second["videos"] == first["videos"]
    assert second["tracks"] == first["tracks"]
    with open_store(tmp_path) as store:
        assert store.rows("SELECT * FROM tracks") == tracks


def test_a_changed_video_gets_a_folder_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: Path
) -> None:
    first = label(tmp_path, capsys, clip)
    encode(clip, moving(12, (208, 128)), pix_fmt="yuv444p")
    second = label(tmp_path, capsys, clip)
    assert first["videos"][0]["folder"] != second["videos"][0]["folder"]
    assert second["labelled"] == second["videos"][0]["taken"] == 3


def test_the_text_says_what_was_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: Path) -> None:
    assert main(command(tmp_path, clip)[:-1]) == 0
    said = capsys.readouterr()
    assert "24 frames: 5 taken, " in said.out
    assert "skipped as near-identical" in said.out
    assert "tracks       2 objects" in said.out
    assert "reading " in said.err


def test_broken_videos_are_quarantined_and_end_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: Path
) -> None:
    (clip.parent / "empty.mp4").touch()
    (clip.parent / "text.mkv").write_text("hello " * 100)
    sound_only(clip.parent / "sound.mp4")
    (clip.parent / "._clip.mp4").write_bytes(b"\x00\x05\x16\x07" + bytes(100))
    told = label(tmp_path, capsys, clip.parent, code=2)
    reasons = {Path(one["path"]).name: one["reason"].partition(":")[0] for one in told["quarantined"]}
    assert reasons == {"empty.mp4": "unreadable", "text.mkv": "unreadable", "sound.mp4": "no_video_stream"}
    assert told["labelled"] == 5
    assert label(tmp_path, capsys, clip.parent, code=2)["quarantined"] == told["quarantined"]
    main(["status", "--project", str(tmp_path / "project"), "--json"])
    assert len(json.loads(capsys.readouterr().out)["quarantined"]) == 3
    # Mended, it is in no list of what is refused.
    encode(clip.parent / "empty.mp4", moving(5))
    for name in ("text.mkv", "sound.mp4"):
        (clip.parent / name).unlink()
    assert label(tmp_path, capsys, clip.parent / "empty.mp4", clip.parent)["quarantined"] == []
    with open_store(tmp_path) as store:
        assert store.rows("SELECT * FROM files WHERE status = 'quarantined'") == []


def test_nothing_but_a_broken_video_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.mp4").touch()
    assert main(command(tmp_path, tmp_path / "empty.mp4")) == 1
    said = capsys.readouterr().err
    assert "empty.mp4: unreadable" in said
    assert said.count("\n") == 1 or "reading" in said


@pytest.mark.parametrize(
    ("flags", "said"), [(["--every", "0"], "--every"), (["--fps", "nan"], "--fps"), (["--seconds", "-1"], "--seconds")]
)
def test_numbers_out_of_range_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: Path, flags: list[str], said: str
) -> None:
    assert main([*command(tmp_path, clip), *flags]) == 1
    assert f"error: {said} is" in capsys.readouterr().err
    assert not (tmp_path / "project").exists()


def test_without_pyav_a_named_video_is_an_error_and_one_in_a_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("labeling.video.footage._has_av", lambda: False)
    assert main(command(tmp_path, clip)) == 1
    assert "extra 'video'" in capsys.readouterr().err
    fakes.draw(clip.parent / "photo.png", [("red", (10, 10, 40, 40))])
    told = label(tmp_path, capsys, clip.parent, code=2)
    assert told["labelled"] == 1
    assert [one["reason"].partition(":")[0] for one in told["quarantined"]] == ["needs_av"]


def test_a_review_leaves_tracks_as_they_are_and_relabelling_replaces_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: Path
) -> None:
    label(tmp_path, capsys, clip)
    with open_store(tmp_path) as store:
        groups = FrameLedger(store).groups()
        _review_all(store)
    label(tmp_path, capsys, clip)
    with open_store(tmp_path) as store:
        assert FrameLedger(store).groups() == groups
        # Each label that people left as it was names the label of the track.
        ids = {one for (one,) in store.rows("SELECT annotation_id FROM tracks")}
        assert {one for (one,) in store.rows("SELECT parent_id FROM annotations WHERE source = 'human'")} == ids
    told = label(tmp_path, capsys, clip, "--score", "0.2", classes="crimson: red box, sea: blue box, leaf: green box")
    assert told["tracks"] == 2
    with open_store(tmp_path) as store:
        assert FrameLedger(store).groups() == groups
        assert len(store.rows("SELECT * FROM tracks")) == 10


def test_a_second_file_with_the_same_video_is_counted_and_not_decoded_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: Path
) -> None:
    (clip.parent / "again.mp4").write_bytes(clip.read_bytes())
    for _ in range(2):
        told = label(tmp_path, capsys, clip.parent)
        assert (len(told["videos"]), told["video_copies"]) == (1, 1)
    assert len(list((tmp_path / "project" / "frames").iterdir())) == 1


def test_a_preview_says_that_it_leaves_videos_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: Path
) -> None:
    fakes.draw(clip.parent / "photo.png", [("red", (10, 10, 40, 40))])
    assert label(tmp_path, capsys, clip.parent, "--preview", "1")["videos_left_out"] == 1
    assert main([*command(tmp_path, clip.parent, "--preview", "1")[:-1]]) == 0
    assert "left out     1 videos and streams" in capsys.readouterr().out


def test_a_split_never_cuts_a_track(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "films"
    for number in range(6):
        frames = [
            frame[:, :, ::-1] if number % 2 else frame for frame in moving(16, (192 + 16 * number, 128), 5 + number)
        ]
        encode(folder / f"clip-{number}.mp4", frames, pix_fmt="yuv444p")
    label(tmp_path, capsys, folder)
    assert main(["split", "--project", str(tmp_path / "project"), "--unreviewed"]) == 0
    with open_store(tmp_path) as store:
        split = read_split(store)
        groups = FrameLedger(store).groups()
        assert len(groups) == 12
        for group in groups:
            assert len({split.parts[image] for image in group}) == 1


def test_a_kill_while_frames_are_taken_is_made_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = encode(tmp_path / "long.mp4", moving(60, (480, 360), 4), fps=10, pix_fmt="yuv444p")
    arguments = [*command(tmp_path, clip), "--fps", "10"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.made_videos", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    frames = tmp_path / "project" / "frames"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline and len(list(frames.glob("*/*.jpg"))) < 3:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert frames.is_dir()
    capsys.readouterr()
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    (film,) = told["videos"]
    assert told["labelled"] == film["taken"] == len(list(frames.glob("*/*.jpg")))
    other = tmp_path / "other"
    assert main([*arguments, "--project", str(other)]) == 0
    names = {path.name: path.read_bytes() for path in frames.glob("*/*.jpg")}
    assert {path.name: path.read_bytes() for path in other.glob("frames/*/*.jpg")} == names


def _review_all(store: Store) -> None:
    """Let people say of every image that the machine is right."""
    for (sha256,) in store.rows("SELECT sha256 FROM images"):
        said = [
            Annotation(
                hashlib.md5(one.id.encode()).hexdigest(), sha256, one.class_name, one.box_xyxy,
                Provenance("human", annotator="ann", parent_id=one.id),
            )
            for one in store.annotations_of(sha256)
        ]  # fmt: skip
        store.set_reviewed(sha256, said, "reviewed")
