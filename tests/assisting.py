"""A project that the bundled teacher has labelled, and `labelstill assist` as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labeling.project import Project
from tests.paths import ROOT

_CODE = "import sys; from labeling.cli import main; sys.exit(main())"


def labelled(folder: Path, photos: int = 3) -> Project:
    """Draw photos and label them; takes some seconds, most of them to load the teacher."""
    from labeling.commands.label import perform
    from labeling.demo.photos import CLASSES, write_photos
    from labeling.job import LabelRequest

    write_photos(folder / "photos", photos)
    perform(LabelRequest((folder / "photos",), folder, CLASSES, detector="bundled"), quiet=True)
    return Project.open(folder)


class Assisting:
    """A running verb.

    Attributes:
        facts: what it printed once it was served.
        errors: what it has said on stderr, known once it has ended.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line or "error" in json.loads(line):
            raise AssertionError(f"it was not served: {line}{process.communicate()[1]}")
        self.facts: dict[str, Any] = json.loads(line)
        self.errors = ""

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self._process.send_signal(number)
        rest, errors = self._process.communicate(timeout=60)
        assert rest == ""
        self.errors = errors
        return self._process.returncode


@contextmanager
def assisting(project: Project, url: str, token: str) -> Iterator[Assisting]:
    """Serve the teacher of a project; the block may end it."""
    environment = {**os.environ, "LABEL_STUDIO_URL": url, "LABEL_STUDIO_API_KEY": token}
    command = [sys.executable, "-c", _CODE, "assist", "--project", str(project.root), "--port", "0", "--json"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Assisting(process)
        finally:
            process.terminate()
