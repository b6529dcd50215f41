"""`labelstill label` with streams: recorded for a while, without secrets, ended in good order."""

from __future__ import annotations

import functools
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling.cli import main
from tests import fakes
from tests.made_videos import encode, moving
from tests.video_commands import ROOT, command, label, open_store

pytestmark = pytest.mark.usefixtures("snapped_backend")

SECRET = "s3cretword"


@pytest.fixture
def server(tmp_path: Path, clip: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(clip.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"//{SECRET}:{SECRET}@127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


def test_a_stream_is_recorded_and_its_secrets_are_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], server: str
) -> None:
    address = f"http:{server}/clip.mp4?token={SECRET}"
    told = label(tmp_path, capfd, address)
    assert told["labelled"] == told["videos"][0]["taken"] == 5
    assert label(tmp_path, capfd, address, "--limit", "2")["videos"][0]["taken"] == 2
    assert main([*command(tmp_path, address.replace("clip", "gone"), "--seconds", "3")]) == 1
    said = capfd.readouterr()
    assert "gone.mp4 does not answer" in said.err
    assert SECRET not in said.err + said.out + json.dumps(told)
    for path in (tmp_path / "project").rglob("*"):
        assert SECRET not in path.name
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    with open_store(tmp_path) as store:
        videos = {video for (video,) in store.rows("SELECT video FROM frames")}
    assert len(videos) == 2  # what a stream shows now is another video than before


def test_a_dead_stream_beside_photos_is_listed_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.draw(tmp_path / "photos" / "photo.png", [("red", (10, 10, 40, 40))])
    told = label(tmp_path, capsys, f"rtsp://u:{SECRET}@127.0.0.1:9/live", tmp_path / "photos", code=2)
    assert told["labelled"] == 1
    assert [one["path"] for one in told["quarantined"]] == ["rtsp://127.0.0.1:9/live"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_ends_a_stream_in_good_order(tmp_path: Path, clip: Path) -> None:
    """The server gives the video at the pace of a trickle; what was taken before the signal is kept."""
    data = encode(tmp_path / "slow.flv", moving(150, step=0.5), options={"g": "5", "threads": "1"}).read_bytes()

    class Trickle(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                for start in range(0, len(data), 1000):
                    self.wfile.write(data[start : start + 1000])
                    time.sleep(0.15)
            except OSError:
                pass

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Trickle) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        arguments = command(tmp_path, f"http://127.0.0.1:{httpd.server_address[1]}/slow.flv")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.made_videos", *arguments], cwd=ROOT, stdout=subprocess.PIPE
        )
        frames = tmp_path / "project" / "frames"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(list(frames.glob("*/*.jpg"))) < 2:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        httpd.shutdown()
    assert process.returncode == 130
    told = json.loads(output.splitlines()[0])
    assert told["stopped"]
    assert told["videos"][0]["taken"] >= 2
    assert told["videos"][0]["frames"] < 150
