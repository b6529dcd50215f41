"""The table of backends: which weights, which scores, and a fingerprint that needs no torch."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from labeling.core.errors import BackendError, InputError, LabelstillError, MissingExtraError
from labeling.core.ontology import Ontology, OntologyClass
from labeling.teachers import backends, hub
from labeling.teachers.backends import DETECTORS, SEGMENTERS, TeacherSpec
from labeling.teachers.licences import accept
from tests import paths


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_folder(path: Path, content: str = "weights") -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_text(content)
    (path / "README.md").write_text("not part of the model")
    return path


@pytest.fixture
def spec(tmp_path: Path) -> TeacherSpec:
    return TeacherSpec(
        detector="grounding-dino",
        weights=str(model_folder(tmp_path / "detector")),
        segmenter_weights=str(model_folder(tmp_path / "segmenter")),
    )


def test_the_names_of_the_command_line_are_there() -> None:
    assert list(DETECTORS) == [
        "bundled", "grounding-dino", "mm-grounding-dino", "groundingdino-py", "owlv2", "omdet-turbo", "sam3",
        "yolo-world", "yoloe", "ultralytics", "student",
    ]  # fmt: skip
    assert list(SEGMENTERS) == ["bundled", "sam2", "sam2-native", "edgetam", "mobile-sam"]
    assert TeacherSpec().detector == "grounding-dino"


@pytest.mark.parametrize(
    ("detector", "asked", "segmenter"),
    [
        ("bundled", None, "bundled"),
        ("grounding-dino", None, "sam2"),
        ("ultralytics", None, "sam2"),
        ("student", None, "none"),
        ("bundled", "none", "none"),
        ("ultralytics", "bundled", "bundled"),
    ],
)
def test_the_segmenter_follows_the_detector_unless_named(detector: str, asked: str | None, segmenter: str) -> None:
    assert backends.segmenter_backend(TeacherSpec(detector=detector, segmenter=asked))[0] == segmenter


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown detector 'yolo', did you mean 'yoloe'\?"):
        backends.detector_backend(TeacherSpec(detector="yolo"))
    with pytest.raises(InputError, match=r"unknown segmenter 'sam', did you mean 'sam2'\?"):
        backends.segmenter_backend(TeacherSpec(segmenter="sam"))


def test_a_score_on_the_command_line_beats_the_class_and_the_class_beats_the_default() -> None:
    ontology = Ontology((OntologyClass("a", ("a",), threshold=0.0), OntologyClass("b", ("b",))))
    default = DETECTORS["grounding-dino"].default_score
    assert backends.effective_scores(TeacherSpec(), ontology) == (0.0, default)
    assert backends.effective_scores(TeacherSpec(score=0.01), ontology) == (0.01, 0.01)
    with pytest.raises(InputError, match=r"score is 1\.5: expected a number from 0 to 1"):
        backends.effective_scores(TeacherSpec(score=1.5), ontology)


def test_the_fingerprint_changes_with_everything_that_changes_the_answers(spec: TeacherSpec, tmp_path: Path) -> None:
    first = backends.teacher_fingerprint(spec, sha256)
    assert backends.teacher_fingerprint(spec, sha256) == first
    assert len(first) == 16
    names = tmp_path / "names.txt"
    names.write_text("a\n")
    seen = {first}
    for change in (
        lambda: None,
        lambda: (tmp_path / "detector/model.safetensors").write_text("other"),
        lambda: (tmp_path / "detector/config.json").write_text('{"a": 1}'),
        lambda: (tmp_path / "segmenter/model.safetensors").write_text("other"),
    ):
        change()
        seen.add(backends.teacher_fingerprint(spec, sha256))
    plain = TeacherSpec("ultralytics", weights=str(tmp_path / "detector/model.safetensors"), segmenter="none")
    seen.add(backends.teacher_fingerprint(plain, sha256))
    named = TeacherSpec(plain.detector, plain.weights, class_names=names, segmenter="none")
    seen.add(backends.teacher_fingerprint(named, sha256))
    assert len(seen) == 6
    (tmp_path / "detector/README.md").write_text("another text")
    assert backends.teacher_fingerprint(spec, sha256) in seen


def test_the_fingerprint_does_not_depend_on_where_the_weights_lie(spec: TeacherSpec, tmp_path: Path) -> None:
    moved = TeacherSpec(
        detector="grounding-dino",
        weights=str(model_folder(tmp_path / "elsewhere" / "copy")),
        segmenter_weights=spec.segmenter_weights,
    )
    assert backends.teacher_fingerprint(moved, sha256) == backends.teacher_fingerprint(spec, sha256)


def test_hidden_files_among_exemplars_are_no_part_of_the_fingerprint(spec: TeacherSpec, tmp_path: Path) -> None:
    crops = tmp_path / "crops"
    (crops / "box").mkdir(parents=True)
    (crops / "box" / "a.png").write_text("picture")
    shown = TeacherSpec("yoloe", str(tmp_path / "detector"), exemplars=crops, segmenter="none")
    first = backends.teacher_fingerprint(shown, sha256)
    (crops / ".DS_Store").write_text("x")
    (crops / ".cache").mkdir()
    (crops / ".cache" / "b.png").write_text("x")
    assert backends.teacher_fingerprint(shown, sha256) == first
    (crops / "box" / "b.png").write_text("another")
    assert backends.teacher_fingerprint(shown, sha256) != first


@pytest.mark.parametrize("detector", ["grounding-dino", "groundingdino-py"])
def test_what_lies_beside_an_original_checkpoint_is_part_of_its_fingerprint(detector: str, tmp_path: Path) -> None:
    (tmp_path / "swint.pth").write_text("weights")
    spec = TeacherSpec(detector, str(tmp_path / "swint.pth"), segmenter="none")
    seen = [backends.teacher_fingerprint(spec, sha256)]
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        for content in ("{}", '{"size": 1}'):
            (tmp_path / name).write_text(content)
            seen.append(backends.teacher_fingerprint(spec, sha256))
    assert len(set(seen)) == 9
    (tmp_path / "README.md").write_text("not part of the model")
    (tmp_path / "other.pth").write_text("other weights")
    assert backends.teacher_fingerprint(spec, sha256) == seen[-1]
    # A weight file may be renamed, and a checkpoint of another kind does not read a tokenizer.
    (tmp_path / "swint.pth").rename(tmp_path / "renamed.pth")
    renamed = TeacherSpec(detector, str(tmp_path / "renamed.pth"), segmenter="none")
    assert backends.teacher_fingerprint(renamed, sha256) == seen[-1]
    yolo = TeacherSpec("ultralytics", str(tmp_path / "renamed.pth"), segmenter="none")
    assert backends.detector_weights(yolo).files == (tmp_path / "renamed.pth",)


def test_a_fingerprint_needs_no_heavy_library(spec: TeacherSpec) -> None:
    script = (
        "import sys\nfrom labeling.teachers import backends\n"
        "spec = backends.TeacherSpec(weights=sys.argv[1], segmenter_weights=sys.argv[2])\n"
        "backends.teacher_fingerprint(spec, str)\n"
        "print([name for name in ('torch', 'transformers', 'supervision', 'huggingface_hub') if name in sys.modules])\n"
    )
    arguments = [sys.executable, "-c", script, str(spec.weights), str(spec.segmenter_weights)]
    done = subprocess.run(arguments, cwd=paths.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_hub_id_is_found_in_the_cache_and_its_absence_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BackendError) as caught:
        backends.detector_weights(TeacherSpec())
    assert str(caught.value).count("hf download IDEA-Research/grounding-dino-tiny") == 1
    assert "\n" not in str(caught.value)
    repository = tmp_path / "hub" / "models--IDEA-Research--grounding-dino-tiny"
    snapshot = model_folder(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    ref = backends.detector_weights(TeacherSpec())
    assert ref.path == snapshot
    assert ref.name == "IDEA-Research/grounding-dino-tiny"
    assert [file.name for file in ref.files] == ["config.json", "model.safetensors"]
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(BackendError, match="are not on this machine"):
        backends.detector_weights(TeacherSpec())


@pytest.mark.parametrize(
    ("settings", "cache"),
    [
        ({}, ".cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "{home}/x"}, "x/huggingface/hub"),
        ({"HF_HOME": "~/h", "XDG_CACHE_HOME": "{home}/x"}, "h/hub"),
        ({"HF_HUB_CACHE": "~/c", "HF_HOME": "{home}/h"}, "c"),
    ],
)
def test_the_cache_is_where_the_hub_puts_it(
    settings: dict[str, str], cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in settings.items():
        monkeypatch.setenv(name, value.format(home=tmp_path))
    repository = tmp_path / cache / "models--a--b"
    snapshot = model_folder(repository / "snapshots" / "1")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1")
    assert hub.cached_snapshot("a/b") == snapshot
    (snapshot / "model.safetensors").unlink()
    assert hub.cached_snapshot("a/b") is None
    assert hub.cached_snapshot("a/b", needs=("vocab.txt", "config.json")) == snapshot


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("no/such/folder/here", "do not exist: expected a file, a folder or a hub id"),
        ("./absent.safetensors", "do not exist"),
        ("weights/absent.pt", "do not exist"),
        ("/absent", "do not exist"),
        ("empty", "expected a folder with config.json"),
    ],
)
def test_weights_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackendError, match=message):
        backends.detector_weights(TeacherSpec(weights=weights))


def test_what_a_detector_needs_or_cannot_use_is_said(spec: TeacherSpec, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ultralytics has no weights of its own: name them with --weights FILE"):
        backends.detector_weights(TeacherSpec(detector="ultralytics"))
    with pytest.raises(InputError, match="--class-names is for detectors with a fixed vocabulary"):
        backends.build_detector(TeacherSpec(weights=spec.weights, class_names=tmp_path / "names.txt"))


def test_names_for_provenance_are_short(spec: TeacherSpec) -> None:
    assert backends.model_name(spec) == "grounding-dino/detector + sam2/segmenter"
    assert backends.model_name(TeacherSpec(weights=spec.weights, segmenter="none")) == "grounding-dino/detector"


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize("detector", list(DETECTORS))
def test_every_backend_refuses_weights_of_another_kind(
    detector: str, kind: str, spec: TeacherSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    if DETECTORS[detector].accept is not None:
        accept(detector)
    wrong = Path(str(spec.weights)) if kind == "folder" else Path(str(spec.weights)) / "config.json"
    with pytest.raises(BackendError) as caught:
        backends.build_detector(TeacherSpec(detector=detector, weights=str(wrong)))
    assert "\n" not in str(caught.value)
    assert wrong.name in str(caught.value)


@pytest.mark.torch
@pytest.mark.parametrize("segmenter", list(SEGMENTERS))
def test_every_segmenter_refuses_weights_of_another_kind(segmenter: str, spec: TeacherSpec) -> None:
    with pytest.raises(BackendError):
        backends.build_segmenter(TeacherSpec(segmenter=segmenter, segmenter_weights=spec.weights))


@pytest.mark.torch
def test_a_missing_library_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_text("")
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(MissingExtraError, match=r'ultralytics is not installed; .* ".\[student\]"') as caught:
        backends.build_detector(TeacherSpec(detector="ultralytics", weights=str(weights)))
    assert isinstance(caught.value, LabelstillError)
