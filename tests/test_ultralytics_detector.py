"""The ultralytics adapter: state dicts, fixed vocabularies, RGB, and no way out of the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labeling.core.errors import BackendError, InputError
from labeling.core.ontology import parse_classes
from labeling.teachers.interfaces import RgbImage
from tests import paths

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

NAMES = ["forklift", "traffic light", "pallet"]


def build(scale: str = "n", family: str = "v8/yolov8.yaml", classes: int = 3) -> Any:
    """Return a random detector of ultralytics that is unsure (0.5) about every box instead of silent."""
    import torch

    from labeling.teachers.detectors.ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils import ROOT, YAML

    torch.manual_seed(0)
    description = YAML.load(ROOT / "cfg" / "models" / family)
    model = DetectionModel(description | {"scale": scale, "nc": classes}, verbose=False)
    with torch.no_grad():
        for branch in model.model[-1].cv3:
            branch[-1].bias.zero_()
    return model.eval()


def save(path: Path, model: Any, metadata: dict[str, str] | None = None) -> Path:
    from safetensors.torch import save_file

    save_file({k: v.contiguous().clone() for k, v in model.state_dict().items()}, path, metadata)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("yolo") / "three.safetensors", build(), {"names": json.dumps(NAMES)})


def photo(height: int, width: int, seed: int = 0) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def load(path: Path, **options: Any) -> Any:
    from labeling.teachers.detectors.ultralytics import UltralyticsDetector

    return UltralyticsDetector(path, device="cpu", **options)


def test_detections_keep_the_contract(weights: Path) -> None:
    detector = load(weights)
    images = [photo(60, 90), photo(90, 60), photo(1, 1), photo(4, 900)]
    results = detector.detect(images, parse_classes("light: Traffic  Light, forklift"), 0.01)
    assert len(results) == 4
    for image, detected in zip(images, results, strict=True):
        found = detected.detections
        assert 0 < len(found) <= 300
        assert found.xyxy.dtype == found.confidence.dtype == np.float32
        assert (found.xyxy >= 0).all()
        assert (found.xyxy <= [image.shape[1], image.shape[0]] * 2).all()
        assert set(zip(found.class_id.tolist(), found.data["prompt"], strict=True)) <= {
            (0, "Traffic Light"),
            (1, "forklift"),
        }
        assert found.data["feature"].dtype == np.float16
        assert found.data["feature"].shape == (len(found), 256)
        assert detected.image_feature.shape == (256,)
    assert detector.detect([], parse_classes("pallet"), 0.3) == []
    (nothing,) = detector.detect([photo(60, 90)], parse_classes("pallet"), 1.0)
    assert len(nothing.detections) == 0
    assert nothing.detections.data["prompt"].shape == (0,)


def test_a_batch_gives_what_single_images_give(weights: Path) -> None:
    detector, ontology = load(weights), parse_classes("forklift, pallet")
    images = [photo(60, 90, 1), photo(90, 60, 2), photo(120, 180, 3), photo(60, 90, 4)]
    for image, together in zip(images, detector.detect(images, ontology, 0.01), strict=True):
        (alone,) = detector.detect([image], ontology, 0.01)
        np.testing.assert_allclose(alone.detections.confidence, together.detections.confidence, atol=1e-4)


def test_a_prompt_outside_the_vocabulary_is_refused_with_the_nearest(weights: Path) -> None:
    detector = load(weights)
    with pytest.raises(InputError, match=r"prompt 'fork lifter' is not among the 3 .* the nearest is 'forklift'"):
        detector.detect([], parse_classes("fork lifter"), 0.3)
    with pytest.raises(InputError, match="both ask for 'traffic light'"):
        detector.detect([], parse_classes("traffic light, trafficlight"), 0.3)


@pytest.mark.parametrize(
    ("scale", "family"), [("n", "v8/yolov8.yaml"), ("s", "v8/yolov8.yaml"), ("n", "11/yolo11.yaml")]
)
def test_family_and_scale_are_found_by_the_shapes(tmp_path: Path, scale: str, family: str) -> None:
    import torch

    model = build(scale, family)
    path = save(tmp_path / "w.safetensors", model, {"names": json.dumps(dict(enumerate(NAMES)))})
    loaded = load(path)._model
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)


def test_a_state_dict_that_fits_no_model_is_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    state = build().state_dict()
    del state["model.0.bn.bias"]
    save_file({k: v.contiguous().clone() for k, v in state.items()}, tmp_path / "w.safetensors")
    with pytest.raises(BackendError, match=r"fit none of yolov8n, .* yolo11x"):
        load(tmp_path / "w.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(BackendError, match="are no YOLO detector"):
        load(tmp_path / "w.safetensors")


def test_class_names_come_from_the_file_where_the_weights_have_none(tmp_path: Path, weights: Path) -> None:
    bare, listed = save(tmp_path / "bare.safetensors", build()), tmp_path / "names.txt"
    with pytest.raises(BackendError, match="no names for their 3 classes: give them with --class-names FILE"):
        load(bare)
    listed.write_text("forklift\ntraffic light\n\npallet\n")
    assert load(bare, class_names=listed)._names == tuple(NAMES)
    for name, content in [("n.yaml", "names:\n  0: a\n  1: b\n  2: c\n"), ("n.json", '["a", "b", "c"]')]:
        (tmp_path / name).write_text(content)
        assert load(bare, class_names=tmp_path / name)._names == ("a", "b", "c")
    with pytest.raises(InputError, match="contradicts the class names inside"):
        load(weights, class_names=tmp_path / "n.json")
    listed.write_text("only one\n")
    with pytest.raises(InputError, match=r"has 1 class names, .* has 3 classes"):
        load(bare, class_names=listed)
    with pytest.raises(InputError, match="no such file"):
        load(bare, class_names=tmp_path / "absent.txt")


def test_a_head_of_80_classes_without_names_is_coco(tmp_path: Path) -> None:
    names = load(save(tmp_path / "w.safetensors", build(classes=80)))._names
    assert len(names) == 80
    assert (names[0], names[79]) == ("person", "toothbrush")


def test_plain_tensors_in_a_pt_file_are_loaded_and_modules_only_where_trusted(tmp_path: Path) -> None:
    import torch

    model, listed = build(), tmp_path / "names.txt"
    listed.write_text("\n".join(NAMES))
    torch.save({"model": model.state_dict()}, tmp_path / "tensors.pt")
    plain = load(tmp_path / "tensors.pt", class_names=listed)
    model.names = dict(enumerate(NAMES))
    torch.save({"model": model.half()}, tmp_path / "module.pt")
    with pytest.raises(BackendError, match=r"a pickled Python module, .* add --trust-weights"):
        load(tmp_path / "module.pt")
    trusted = load(tmp_path / "module.pt", trust_weights=True)
    assert trusted._names == tuple(NAMES)
    images, ontology = [photo(60, 90)], parse_classes("pallet, forklift")
    (one,), (other,) = plain.detect(images, ontology, 0.01), trusted.detect(images, ontology, 0.01)
    np.testing.assert_allclose(one.detections.confidence[:20], other.detections.confidence[:20], atol=1e-2)
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "other.pt")
    with pytest.raises(BackendError, match="hold a Linear: expected a detection model"):
        load(tmp_path / "other.pt", trust_weights=True)


def test_an_open_vocabulary_checkpoint_reads_the_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    build()
    from ultralytics.nn.tasks import WorldModel
    from ultralytics.utils import ROOT, YAML

    description = YAML.load(ROOT / "cfg/models/v8/yolov8-worldv2.yaml")
    torch.save({"model": WorldModel(description | {"scale": "n"}, nc=80, verbose=False)}, tmp_path / "world.pt")
    detector = load(tmp_path / "world.pt", trust_weights=True)
    ontology = parse_classes("crate: wooden crate | box, person")
    with pytest.raises(BackendError, match=r"text encoder .* could not be loaded") as caught:
        detector.detect([], ontology, 0.3)
    assert "\n" not in str(caught.value)
    # With its text encoder (replaced by random embeddings) the model has one output per prompt.
    asked: list[list[str]] = []

    def embed(_self: Any, text: list[str], **_options: Any) -> Any:
        asked.append(text)
        return torch.randn(1, len(text), 512)

    monkeypatch.setattr(WorldModel, "get_text_pe", embed)
    (detected,) = detector.detect([photo(60, 90)], ontology, 0.0)
    assert asked == [["wooden crate", "box", "person"]]
    assert len(detected.detections) > 0
    assert set(zip(detected.detections.class_id.tolist(), detected.detections.data["prompt"], strict=True)) <= {
        (0, "wooden crate"),
        (0, "box"),
        (1, "person"),
    }


def test_a_trusted_yoloe_reads_the_prompts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from tests.zoo_yolo import prompted

    torch.save({"model": prompted("yoloe-v8n")}, tmp_path / "yoloe.pt")
    detector = load(tmp_path / "yoloe.pt", trust_weights=True)
    monkeypatch.setattr(
        type(detector._model), "get_text_pe", lambda _self, text: torch.eye(512)[None, : len(text)], raising=True
    )
    (detected,) = detector.detect([photo(60, 90)], parse_classes("crate: wooden crate | box, person"), 0.01)
    found = detected.detections
    assert set(found.data["prompt"]) <= {"wooden crate", "box", "person"}
    # Its prompts travel beside the feature maps and are none of them.
    assert found.data["feature"].shape == (len(found), 256)
    assert detected.image_feature.shape == (256,)


def test_the_library_changes_nothing_outside_itself(tmp_path: Path, weights: Path) -> None:
    """In a fresh process with an empty home: no file in it, no socket, no subprocess, images open as before."""
    script = (
        "import os, socket, subprocess, sys, pathlib, cv2, PIL.Image, numpy as np\n"
        "import supervision, torchvision  # torch itself asks ldconfig where its libraries are\n"
        "def refuse(*a, **k): raise SystemExit('way out')\n"
        "socket.socket.connect = subprocess.Popen.__init__ = refuse\n"
        "opened, threads = PIL.Image.open, cv2.getNumThreads()\n"
        "from labeling.teachers.detectors.ultralytics import UltralyticsDetector\n"
        "from labeling.core.ontology import parse_classes\n"
        "d = UltralyticsDetector(pathlib.Path(sys.argv[1]), device='cpu')\n"
        "assert d.detect([np.zeros((40, 40, 3), np.uint8)], parse_classes('pallet'), 0.01)\n"
        "assert PIL.Image.open is opened and cv2.getNumThreads() == threads\n"
        "assert 'OMP_NUM_THREADS' not in os.environ\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "OMP_"))}
    environment |= {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "PYTHONPATH": str(paths.ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(weights)], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.realdata
def test_persons_on_real_photos_and_the_same_boxes_as_the_library_itself(tmp_path: Path) -> None:
    """Oracle: ultralytics' own predict on BGR arrays. Swapped channels give other boxes."""
    from PIL import Image

    weights = paths.shared("weights", "yolov8n-coco-fp16.safetensors")
    labels = json.loads(paths.shared("data", "coco-photos", "instances.json").read_text())
    person = next(c["id"] for c in labels["categories"] if c["name"] == "person")
    large = {a["image_id"] for a in labels["annotations"] if a["category_id"] == person and a["area"] > 20_000}
    names = [Path(image["file_name"]).name for image in labels["images"] if image["id"] in large]
    photos = paths.shared("data", "coco-photos", "images")
    images = [np.asarray(Image.open(photos / name).convert("RGB")) for name in names]
    images = [image for image in images if (image[..., 0] != image[..., 2]).any()][:5]
    assert len(images) == 5
    detector = load(weights)
    results = detector.detect(images, parse_classes("person"), 0.25)

    from ultralytics import YOLO

    library = YOLO("yolov8n.yaml")
    library.model.load_state_dict(detector._model.state_dict())
    swapped_differs = 0
    for image, detected in zip(images, results, strict=True):
        assert len(detected.detections) > 0
        (expected,) = library.predict(
            np.ascontiguousarray(image[..., ::-1]),
            conf=0.25,
            iou=0.7,
            classes=[0],
            verbose=False,
            device="cpu",
            project=str(tmp_path),
        )
        boxes = expected.boxes.xyxy.cpu().numpy()
        assert len(boxes) == len(detected.detections)
        np.testing.assert_allclose(sorted(detected.detections.xyxy.tolist()), sorted(boxes.tolist()), atol=0.5)
        (swapped,) = detector.detect([np.ascontiguousarray(image[..., ::-1])], parse_classes("person"), 0.25)
        swapped_differs += len(swapped.detections) != len(boxes) or not np.allclose(
            swapped.detections.confidence, detected.detections.confidence, atol=1e-3
        )
    assert swapped_differs >= 3  # so the comparison above would have seen swapped channels
