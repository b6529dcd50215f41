"""What the documents say is true: README's commands and Python run as printed, and files, flags and links exist."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from PIL import Image

from export import runtime
from labeling.cli import VERBS, main
from labeling.commands.convert import Format
from labeling.demo.photos import write_photos
from tests.paths import ROOT
from tests.studio_servers import need_label_studio

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "DESIGN.md", "CHANGELOG.md", "labeling/demo/teacher/README.md")
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
COMMAND = ".venv/bin/labelstill"
PHOTOS = 8


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of README.md.

    Attributes:
        kind: console, python or text.
        body: what stands between the fences.
        skipped: why it is not run, from the comment above it; None where it is run.
        flags: what its `label` commands are run with in addition, from the comment above it.
        on_server: it starts a Label Studio, so the comment above it says.
    """

    kind: str
    body: str
    skipped: str | None
    flags: tuple[str, ...]
    on_server: bool

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command line of a console block."""
        lines = [line.removeprefix("$ ") for line in self.body.splitlines() if line.startswith("$ ")]
        return [shlex.split(line, comments=True) for line in lines]


def blocks() -> Iterator[Block]:
    mark = r"(?:<!-- (?P<mark>not run|run on a server|run with (?P<flags>[^:]+)): (?P<why>[^>]+) -->\n)?"
    for found in re.finditer(mark + r"```(?P<kind>\w*)\n(?P<body>.*?)^```$", README, re.DOTALL | re.MULTILINE):
        skipped = found["why"] if found["mark"] == "not run" else None
        on_server = found["mark"] == "run on a server"
        yield Block(found["kind"], found["body"], skipped, tuple(shlex.split(found["flags"] or "")), on_server)


BLOCKS = tuple(blocks())
CONSOLE = tuple(block for block in BLOCKS if block.kind in ("console", "bash"))


def labelstill(folder: Path, arguments: list[str]) -> CompletedProcess[str]:
    """Run the command in a folder, as a newcomer would."""
    code = "import sys; from labeling.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True)


def text_of_all() -> str:
    return "\n".join((ROOT / name).read_text() for name in DOCUMENTS)


def test_every_block_is_of_a_known_kind_and_what_is_not_run_says_why() -> None:
    assert README.count("```") == 2 * len(BLOCKS)
    assert [block.kind for block in BLOCKS if block.kind not in ("console", "bash", "python", "text")] == []
    assert len(re.findall(r"<!-- (?:not run|run with|run on)", README)) == sum(
        block.skipped is not None or block.flags != () or block.on_server for block in BLOCKS
    )
    for block in CONSOLE:
        assert len(block.commands) == len(block.body.splitlines())
    run = [words for block in CONSOLE if block.skipped is None for words in block.commands]
    skipped = [words for block in CONSOLE if block.skipped is not None for words in block.commands]
    assert {words[0] for words in run} == {COMMAND}
    # The make targets, whose commands are run elsewhere, and the way through the app, which a browser test goes.
    assert [words[1] for words in skipped] == [
        "demo", "test", "label", "label", "next", "feasibility", "calibrate", "accept", "curate", "curate", "push",
        "distill", "split", "train", "evaluate", "label", "export", "bench", "-r", "monitor",
    ]  # fmt: skip
    assert len(run) == 18
    assert [len(block.commands) for block in CONSOLE if block.on_server] == [5]
    assert [len(block.commands) for block in CONSOLE if block.flags] == [2]
    assert sum(block.kind == "python" for block in BLOCKS) == 1


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what README.md writes in capitals: photos, and labels that somebody has made before."""
    folder = tmp_path_factory.mktemp("newcomer")
    write_photos(folder / "PHOTOS", PHOTOS)
    names = sorted(path.name for path in (folder / "PHOTOS").iterdir())
    images = [{"id": n, "file_name": name, "width": 640, "height": 480} for n, name in enumerate(names)]
    objects = [{"id": n, "image_id": n, "category_id": 3, "bbox": [10, 20, 100, 50]} for n in range(PHOTOS)]
    labels = {"images": images, "annotations": objects, "categories": [{"id": 3, "name": "shelf"}]}
    (folder / "LABELS.json").write_text(json.dumps(labels))
    return folder


@pytest.fixture(scope="module")
def answers(newcomer: Path) -> list[tuple[list[str], CompletedProcess[str]]]:
    """Every command of README.md that needs no server, in order, in one folder, with its answer."""
    done = []
    for block in (block for block in CONSOLE if not block.on_server):
        for words in block.commands if block.skipped is None else []:
            more = block.flags if words[1] == "label" else ()
            done.append(([*words[1:], *more], labelstill(newcomer, [*words[1:], *more])))
    return done


@pytest.mark.torch
def test_every_command_of_the_readme_runs(answers: list[tuple[list[str], CompletedProcess[str]]]) -> None:
    assert {words[0] for words, _ in answers} == {
        "label",
        "teachers",
        "status",
        "report",
        "convert",
        "doctor",
        "curate",
        "next",
        "budget",
    }
    failed = [(shlex.join(words), answer.stderr) for words, answer in answers if answer.returncode != 0]
    assert failed == []
    assert len(answers) == 13


@pytest.mark.torch
def test_what_the_commands_name_as_next_runs_too(
    newcomer: Path, answers: list[tuple[list[str], CompletedProcess[str]]]
) -> None:
    said = [line for _, answer in answers for line in answer.stdout.splitlines()]
    following = [shlex.split(found[1]) for line in said if (found := re.match(r"^(?:next)? +(labelstill .+)$", line))]
    assert len(following) >= 3
    assert {"label", "report", "convert"} <= {words[1] for words in following}
    # The preview says how to label everything, which is what README.md types next.
    assert set(following[0]) == {"labelstill", *answers[1][0]}
    failed = {}
    for words in following:
        answer = labelstill(newcomer, words[1:])
        if answer.returncode != 0:
            failed[shlex.join(words)] = answer.stderr
    assert failed == {}


@pytest.mark.torch
@pytest.mark.server
def test_the_way_to_people_and_back_runs_as_printed(
    newcomer: Path, answers: list[tuple[list[str], CompletedProcess[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    need_label_studio()
    assert answers
    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (block,) = (block for block in CONSOLE if block.on_server)
    said = {}
    try:
        for words in block.commands:
            answer = labelstill(newcomer, words[1:])
            assert answer.returncode == 0, (words, answer.stderr)
            said[words[1]] = answer.stdout
    finally:
        labelstill(newcomer, ["studio", "down", "--project", "warehouse"])
    assert f"{PHOTOS} new, 0 changed" in said["push"]
    assert "0 reviewed" in said["pull"]
    assert set(said) == {"studio", "push", "pull", "audit"}


@pytest.mark.torch
def test_the_demo_prints_what_the_readme_shows_and_its_next_commands_run(newcomer: Path, tmp_path: Path) -> None:
    (tmp_path / "PHOTOS").symlink_to(newcomer / "PHOTOS")
    answer = labelstill(tmp_path, ["demo"])
    assert answer.returncode == 0, answer.stderr
    (shown,) = [block.body for block in BLOCKS if block.kind == "text" and "where it lies" in block.body]
    assert shape(answer.stdout.replace(f"{tmp_path}/", "")) == shape(shown)
    following = [
        shlex.split(line.partition("   (")[0])
        for line in answer.stdout.splitlines()
        if line.strip().startswith(COMMAND)
    ]
    assert len(following) == 2
    for words in following:
        teacher = [] if "--detector" in words else ["--detector", "bundled"]  # the default one has to be fetched
        answer = labelstill(tmp_path, [*words[1:], *teacher])
        assert answer.returncode == 0, answer.stderr


def shape(text: str) -> str:
    """Return printed text without its numbers and the width of its columns."""
    return re.sub(" +", " ", re.sub(r"\d+(?:\.\d+)?", "N", text)).strip()


@pytest.mark.torch
def test_the_python_of_the_readme_runs(newcomer: Path, tmp_path: Path) -> None:
    (code,) = [block.body for block in BLOCKS if block.kind == "python"]
    assert len(code.splitlines()) <= 12
    (tmp_path / "PHOTOS").symlink_to(newcomer / "PHOTOS")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == PHOTOS
    assert len(list(tmp_path.glob("*-labelled.png"))) == PHOTOS


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_in_the_readme_and_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"`labelstill {verb}`" in README
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: labelstill {verb}")
    assert "--project" in text or verb == "budget"  # which asks what could be trained, before there is anything
    assert "--json" in text


def test_every_flag_that_is_named_exists(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in VERBS:
        main([verb, "--help"])
    with pytest.raises(SystemExit):
        runtime.main(["camera", "--help"])
    known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    notebooks = "".join(path.read_text() for path in sorted((ROOT / "notebooks").glob("*.py")))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README + notebooks))
    assert len(named) >= 15
    assert named - known == set()


def test_every_format_and_extra_is_named() -> None:
    assert [form for form in Format if f"`{form.value}`" not in README] == []
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert len(extras) >= 7
    assert [extra for extra in extras if extra != "all" and f"`{extra}`" not in README] == []


def test_every_verb_that_is_named_exists() -> None:
    named = re.findall(r"(?:`|bin/)labelstill ([a-z]+)", text_of_all())
    assert len(named) >= len(VERBS)
    assert set(named) <= set(VERBS)


def test_every_make_target_that_is_named_exists() -> None:
    named = re.findall(r"(?:`|\$ )make ((?:[a-z-]+ ?)+)", text_of_all())
    words = {word for group in named for word in group.split()}
    assert {"demo", "test", "setup"} <= words <= TARGETS
    assert {"setup", "demo", "test", "test-fast", "test-slow", "check", "bench"} <= TARGETS


def test_make_demo_runs_the_command_whose_output_is_shown() -> None:
    recipe = re.search(r"^demo: setup\n((?:\t.+\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    assert recipe[1] == "\t$(BIN)/labelstill demo\n"


def test_every_script_and_link_that_is_named_exists() -> None:
    scripts = set(re.findall(r"scripts/[\w/]+\.py", text_of_all()))
    assert len(scripts) >= 3
    assert [path for path in scripts if not (ROOT / path).is_file()] == []
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert len(links) >= 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_pictures_are_small_and_the_first_is_of_the_demo() -> None:
    path, *figures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert len(figures) == 2
    assert max((ROOT / name).stat().st_size for name in (path, *figures)) <= 200 * 1024
    with Image.open(ROOT / path) as picture:
        assert picture.size == (640 + 12 + 640, 480)


def test_ci_runs_the_same_targets_as_people_and_forbids_skips() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    assert "make check test test-slow" in ci
    assert "LABELSTILL_REQUIRE_ALL=1" in ci


def test_nothing_is_left_to_fill_in() -> None:
    assert re.findall(r"@@|TODO|TBD|FIXME", text_of_all()) == []
