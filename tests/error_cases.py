"""Every way to make the command line fail: what is done first, and what is typed then."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from labeling.cli import main
from tests.fakes import draw, poison

#: Locks, servers and variables that a case holds; whoever runs it lets go of them.
HELD = ExitStack()


@dataclass(frozen=True, slots=True)
class Case:
    """One way to fail: what is done first, and what is typed; ``%`` stands for the case's own folder."""

    about: str
    typed: str
    before: Callable[[Path], object] | None = None
    unprivileged: bool = False


def config(text: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        (folder / "p").mkdir()
        (folder / "p" / "project.yaml").write_text(text, encoding="utf-8")

    return write


def file(name: str, content: str | bytes) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def labelled(folder: Path) -> None:
    """Make a project with labels of the classes a and b."""
    typed = f"label %/photos --project %/p --classes 'a: red box, b: blue box' {DRAWN}"
    assert main(split(typed, folder)) == 0


def both(*steps: Callable[[Path], object]) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        for step in steps:
            step(folder)

    return write


def damaged(folder: Path) -> None:
    labelled(folder)
    (folder / "p" / "labels.db").write_bytes(b"no database, " * 1000)


def foreign(folder: Path) -> None:
    config("name: p\nclasses: [a]\n")(folder)
    with sqlite3.connect(folder / "p" / "labels.db") as db:
        db.execute("CREATE TABLE notes (text)")


def newer(folder: Path) -> None:
    labelled(folder)
    with sqlite3.connect(folder / "p" / "labels.db") as db:
        db.execute("PRAGMA user_version = 999")


def locked(folder: Path) -> None:
    labelled(folder)
    draw(folder / "photos" / "new.png", [])
    HELD.enter_context(FileLock(folder / "p" / ".labelstill.lock"))


def sealed(name: str) -> Callable[[Path], object]:
    def close(folder: Path) -> None:
        path = folder / name
        path.mkdir(exist_ok=True)
        path.chmod(0o500)

    return close


DRAWN = "--detector drawn --weights %/drawn --segmenter drawn --segmenter-weights %/drawn"
LABEL = f"label %/photos --project %/p {DRAWN}"
A = "--classes 'a: red box'"


def yaml(about: str, text: str) -> Case:
    return Case(f"project.yaml: {about}", "status --project %/p", config(text))


def words(about: str, name: str, text: str | bytes) -> Case:
    return Case(f"ontology file: {about}", f"init --project %/p --ontology %/{name}", file(name, text))


USAGE = [
    Case("a verb with a slip", "lable photos"),
    Case("a verb that is none", "segment photos"),
    Case("an option before the verb", "--project p label"),
    Case("no photos", "label"),
    Case("a flag with a slip", "label photos --clases a"),
    Case("a flag without its value", "label photos --classes"),
    Case("a flag of another verb", "status --classes a"),
    Case("too many words", "status project"),
    Case("a number that is none", "label photos --score high"),
    Case("a whole number that is none", "label photos --limit 2.5"),
    Case("a format that is none", "convert --to csv --out o"),
    Case("labels of nobody", "convert --to coco --out o --labels mine"),
]
REQUEST = [
    Case("nothing to look for", LABEL),
    Case("classes twice", f"{LABEL} {A} --ontology %/o.yaml"),
    Case("empty classes", f"{LABEL} --classes ''"),
    Case("an empty class", f"{LABEL} --classes 'a, , b'"),
    Case("a class without a prompt", f"{LABEL} --classes 'a:'"),
    Case("an empty prompt", f"{LABEL} --classes 'a: x | | y'"),
    Case("a class twice", f"{LABEL} --classes 'Box, box'"),
    Case("a prompt of two classes", f"{LABEL} --classes 'a: red box, b: Red  box'"),
    Case("a control character", f"{LABEL} --classes 'a\x07b'"),
    Case("a score out of range", f"{LABEL} {A} --score 1.5"),
    Case("a batch of nothing", f"{LABEL} {A} --batch 0"),
    Case("a batch that is no number", f"{LABEL} {A} --batch many"),
    Case("a limit of nothing", f"{LABEL} {A} --limit 0"),
    Case("a preview of nothing", f"{LABEL} {A} --preview 0"),
    Case("a preview of too much", f"{LABEL} {A} --preview 1000"),
    Case("a preview with a limit", f"{LABEL} {A} --preview 5 --limit 5"),
    Case("an unknown detector", f"label %/photos --project %/p {A} --detector grounding-dinosaur"),
    Case("an unknown segmenter", f"label %/photos --project %/p {A} --segmenter sam3"),
    Case(
        "class names for a detector that reads prompts",
        f"label %/photos --project %/p {A} --detector bundled --class-names %/drawn",
    ),
    Case("a device that is none", "label %/photos --project %/p --classes forklift --detector bundled --device gpu"),
]
FILES = [
    Case("no such folder", f"label %/nowhere --project %/p {A} {DRAWN}"),
    Case("an empty folder", f"label %/empty --project %/p {A} {DRAWN}", lambda folder: (folder / "empty").mkdir()),
    Case("a folder without images", f"label %/notes --project %/p {A} {DRAWN}", file("notes/a.txt", "x")),
    Case("a file that is no image", f"label %/drawn --project %/p {A} {DRAWN}"),
    Case("pictures of a format that is not read", f"label %/raw --project %/p {A} {DRAWN}", file("raw/a.nef", "x")),
    Case(
        "the folder of the project alone",
        f"label %/p --project %/p {A} {DRAWN}",
        lambda folder: draw(folder / "p/reports/a.png", []),
    ),
    Case("not one image can be used", f"label %/bad --project %/p {A} {DRAWN}", file("bad/a.jpg", "")),
    Case(
        "the detector fails on every image",
        f"label %/bad --project %/p {A} {DRAWN}",
        lambda folder: poison(folder / "bad" / "a.png"),
    ),
    Case("no such ontology", f"{LABEL} --ontology %/nowhere.yaml"),
    Case("a folder for an ontology", f"{LABEL} --ontology %/photos"),
    Case("a pipe for an ontology", f"{LABEL} --ontology %/pipe", lambda folder: os.mkfifo(folder / "pipe")),
    Case("no such class names", f"{LABEL} {A} --class-names %/nowhere.txt"),
    Case("a pipe for class names", f"{LABEL} {A} --class-names %/pipe", lambda folder: os.mkfifo(folder / "pipe")),
    Case(
        "a folder that may not be searched",
        f"label %/closed --project %/p {A} {DRAWN}",
        lambda folder: (folder / "closed").mkdir(0o000),
        unprivileged=True,
    ),
    Case(
        "an ontology that may not be read",
        f"{LABEL} --ontology %/o.yaml",
        lambda folder: (file("o.yaml", "x")(folder), (folder / "o.yaml").chmod(0)),
        unprivileged=True,
    ),
    Case(
        "a project folder that may not be written",
        f"{LABEL.replace('%/p ', '%/closed/p ')} {A}",
        sealed("closed"),
        unprivileged=True,
    ),
    Case("a project below a file", f"{LABEL.replace('%/p ', '%/drawn/p ')} {A}"),
]
WEIGHTS = [
    Case("no such weights", f"label %/photos --project %/p {A} --detector ultralytics --weights %/no.pt"),
    Case("no weights named", f"label %/photos --project %/p {A} --detector ultralytics"),
    Case("default weights that are not here", f"label %/photos --project %/p {A}"),
    Case("a hub id that is not here", f"label %/photos --project %/p {A} --weights nobody/nothing"),
    Case(
        "a pipe for weights",
        f"label %/photos --project %/p {A} --weights %/pipe",
        lambda folder: os.mkfifo(folder / "pipe"),
    ),
    Case(
        "an empty folder of weights",
        f"label %/photos --project %/p {A} --weights %/w",
        lambda folder: (folder / "w").mkdir(),
    ),
    Case(
        "weights without a configuration",
        f"label %/photos --project %/p {A} --segmenter none --weights %/w",
        file("w/a.safetensors", "x"),
    ),
    Case(
        "a configuration that is none",
        f"label %/photos --project %/p {A} --segmenter none --weights %/w",
        file("w/config.json", "{}"),
    ),
    Case(
        "weights of another architecture",
        f"label %/photos --project %/p {A} --segmenter none --weights %/w",
        file("w/config.json", '{"model_type": "bert"}'),
    ),
    Case(
        "pickled weights in a folder",
        f"label %/photos --project %/p {A} --segmenter none --weights %/w",
        file("w/config.json", '{"model_type": "grounding-dino"}'),
    ),
    Case(
        "a file that is no checkpoint",
        f"label %/photos --project %/p {A} --detector ultralytics --segmenter none --weights %/a.pt",
        file("a.pt", "x"),
    ),
    Case(
        "a broken safetensors file",
        f"label %/photos --project %/p {A} --detector ultralytics --segmenter none --weights %/a.safetensors",
        file("a.safetensors", "x"),
    ),
    Case(
        "weights with another suffix",
        f"label %/photos --project %/p {A} --detector ultralytics --segmenter none --weights %/a.onnx",
        file("a.onnx", "x"),
    ),
]
CONFIG = [
    yaml("a key with a slip", "nmae: x\n"),
    yaml("a key with a slip, deeper", "name: x\nteacher:\n  detektor: y\n"),
    yaml("an unknown key", "name: x\nzzz: 1\n"),
    yaml("no name", "teacher: {}\n"),
    yaml("a number for a text", "name: 5\n"),
    yaml("a text for a number", "name: x\nteacher:\n  score: '0.3'\n"),
    yaml("a number out of range", "name: x\nteacher:\n  score: 1.5\n"),
    yaml("a batch that is none", "name: x\nteacher:\n  batch: many\n"),
    yaml("a text for a list", "name: x\nclasses: a\n"),
    yaml("a class twice", "name: x\nclasses:\n- a\n- b\n- A\n"),
    yaml("several mistakes", "nmae: x\nfilters:\n  nms_iuo: 0.5\n  min_area_px: -1\n"),
    yaml("not YAML", "name: x\n  y: 1\n"),
    yaml("a key twice", "name: x\nname: y\n"),
    yaml("a list", "- x\n"),
    yaml("a tag", "name: !!python/object/apply:os.system [id]\n"),
    yaml("an anchor", "name: &n x\n"),
    Case(
        "project.yaml: an unknown detector",
        f"label %/photos --project %/p {A}",
        config("name: x\nteacher: {detector: dino}\n"),
    ),
    Case(
        "project.yaml: a background that is no colour", f"{LABEL} {A}", config("name: x\nimages: {background: blanc}\n")
    ),
    Case("project.yaml: no classes yet", "report --project %/p", config("name: x\n")),
    Case("project.yaml: no text", "status --project %/p", file("p/project.yaml", b"name: \xff\n")),
    words("a slip", "o.yaml", "classes:\n- name: a\n  prompt: [x]\n"),
    words("no list", "o.yaml", "forklift: a\n"),
    words("empty", "o.yaml", ""),
    words("an empty list", "o.yaml", "classes: []\n"),
    words("a class twice", "o.yaml", "classes:\n- a\n- a\n"),
    words("no JSON", "o.json", '{"a": 1,}'),
    words("a key twice in JSON", "o.json", '{"a": "x", "a": "y"}'),
    words("no text", "o.yaml", b"classes: [\xff]\n"),
    words("too large", "o.yaml", b"#" * 1_000_001),
]
PROJECT = [
    Case("status of no project", "status --project %/empty"),
    Case("report on no project", "report --project %/empty"),
    Case("convert of no project", "convert --project %/empty --to coco --out %/out"),
    Case("report before labels", "report --project %/p", config("name: x\nclasses: [a]\n")),
    Case("convert before labels", "convert --project %/p --to coco --out %/out", config("name: x\nclasses: [a]\n")),
    Case("a project twice", "init --project %/p", config("name: x\n")),
    Case(
        "labels without project.yaml",
        "status --project %/p",
        both(labelled, lambda folder: (folder / "p/project.yaml").unlink()),
    ),
    Case(
        "a class that labels know is gone",
        LABEL,
        both(labelled, lambda folder: (folder / "p/project.yaml").write_text("name: p\nclasses: [b]\n")),
    ),
    Case("labels.db that is damaged", "status --project %/p", damaged),
    Case("labels.db of another program", "status --project %/p", foreign),
    Case("labels.db of a newer version", "status --project %/p", newer),
    Case("another process is writing", LABEL, locked),
    Case("a report into a folder", "report --project %/p --out %/photos", labelled),
    Case("a report that is no page", "report --project %/p --out %/r.pdf", labelled),
    Case("a report below a file", "report --project %/p --out %/drawn/r.html", labelled),
    Case("an export into a folder in use", "convert --project %/p --to coco --out %/photos", labelled),
]
CURATION = [
    Case("curate: no project", "curate --project %/empty"),
    Case("curate: nothing is labelled", "curate --no-app --project %/p", config("name: x\nclasses: [a]\n")),
    Case("curate: the app and the page", "curate --no-app --apply --project %/p", labelled),
    Case("curate: an unknown model", "curate --no-app --embeddings %/photos --project %/p", labelled),
    Case("next: no project", "next --project %/empty"),
    Case("next: of nothing", "next --project %/p", config("name: x\nclasses: [a]\n")),
    Case("next: none", "next 0 --project %/p", labelled),
    Case("next: a list into a folder", "next --project %/p --out %/photos", labelled),
]
GENERAL = [*USAGE, *REQUEST, *FILES, *WEIGHTS, *CONFIG, *PROJECT, *CURATION]


def split(typed: str, folder: Path) -> list[str]:
    """Return the words of a command in the case's own folder."""
    return [word.replace("%", str(folder)) for word in shlex.split(typed)]
