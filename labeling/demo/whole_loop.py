"""The whole loop on drawn photos, from words to a folder for an edge device: each step a verb as users type it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from ..core.errors import BackendError
from ..health import ROOT
from ..image_files import display
from ..project import Project
from ..studio import environment
from ..studio.secrets import TOKEN_VARIABLE, URL_VARIABLE
from .reviewer import review_in_store, review_in_studio, scene_files, truth
from .scenes import Scene, all_pairs, render_scene

PHOTOS = 200
CLASSES = ("forklift", "pallet", "box", "barrel", "cone", "ladder", "person")
RUN = "demo"
TRAINING = ("--epochs", "30", "--imgsz", "192", "--batch", "8")
"""From random weights in about three minutes on two cores."""

_FIRST_SEED = 90_000_000

Tell = Callable[[str], None]


@dataclass
class Step:
    """A step that was taken: what it was, and how long it took."""

    name: str
    seconds: float


@dataclass
class Loop:
    """The steps on one project.

    Attributes:
        root: folder of the project.
        tell: called with lines for people.
        steps: those that were taken.
        studio: whether a real Label Studio carried the review.
    """

    root: Path
    tell: Tell
    quiet: bool = False
    photos: int = PHOTOS
    training: Sequence[str] = TRAINING
    studio: bool = False
    steps: list[Step] = field(default_factory=list)

    def run(self) -> None:
        """Take every step; one that was taken before finds its work done. Raises BackendError where a verb fails."""
        scenes = [render_scene(_FIRST_SEED + number, pairs=all_pairs(unseen=True)) for number in range(self.photos)]
        self._take("draw photos", lambda: self._draw(scenes))
        photos, words = str(self.root / "photos"), ", ".join(CLASSES)
        self._take("words to labels", self._verb("label", photos, "--classes", words, "--detector", "bundled"))
        self._take("people correct", lambda: self._review(scenes))
        self._take("what the teacher was worth", self._verb("audit"))
        self._take("curate", self._verb("curate", "--no-app"))
        self._take("student", self._student)
        self._take("edge bundle", self._verb("export", RUN))
        self._take("benchmark", self._verb("bench", RUN))

    @property
    def bundle(self) -> Path:
        """Where the folder for the device lies in the end."""
        return self.root / "exports" / RUN

    def _take(self, name: str, step: Callable[[], None]) -> None:
        self.tell(f"\n{len(self.steps) + 1}. {name}")
        began = monotonic()
        step()
        self.steps.append(Step(name, monotonic() - began))

    def _draw(self, scenes: Sequence[Scene]) -> None:
        scene_files(scenes, self.root / "photos")
        self.tell(f"{len(scenes)} photos of a warehouse, whose exact truth is known: {display(self.root / 'photos')}")

    def _review(self, scenes: Sequence[Scene]) -> None:
        known = truth(scenes, CLASSES)
        if environment.program(ROOT) is None:
            project = Project.open(self.root)
            with project.lock(), project.open_store() as store:
                count = review_in_store(store, known)
            self.tell(
                f"no Label Studio here ({environment.INSTALL}): the truth of {count} photos is written as reviewed"
            )
            return
        self._verb("studio", "up")()
        try:
            self._verb("push")()
            count = review_in_studio(Project.open(self.root), known)
            self.tell(f"the truth of the drawings is submitted for {count} tasks, as a reviewer would")
            self._verb("pull")()
        finally:
            self._verb("studio", "down")()
        self.studio = True

    def _student(self) -> None:
        if not (self.root / "runs/train" / RUN).exists():
            self._verb("distill", "--name", RUN, "--model", "yolov8n", *self.training)()
        elif not (self.root / f"reports/student-{RUN}.html").exists():
            self._verb("train", "--resume", RUN)()
            self._verb("evaluate", RUN)()

    def _verb(self, *arguments: str) -> Callable[[], None]:
        """Return what runs a verb in a process of its own, as a user would."""

        def run() -> None:
            given = [*arguments, "--project", str(self.root)]
            self.tell(f"$ labelstill {shlex.join(given)}")
            command = [sys.executable, "-c", "import sys; from labeling.cli import main; sys.exit(main())", *given]
            # A server that the environment names is not the demo's.
            mine = {key: value for key, value in os.environ.items() if key not in (URL_VARIABLE, TOKEN_VARIABLE)}
            output = subprocess.DEVNULL if self.quiet else None
            code = subprocess.run(command, env=mine, stdout=output, check=False).returncode
            if code:
                raise BackendError(f"labelstill {arguments[0]} ended with {code}: its words stand above")

        return run
