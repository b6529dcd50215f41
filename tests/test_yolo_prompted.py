"""YOLO-World and YOLOE: prompts as embeddings and as pictures, measured against the library's own way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labeling.core.errors import BackendError, InputError
from labeling.core.ontology import parse_classes
from labeling.teachers.interfaces import RgbImage
from tests import zoo_yolo as zoo

pytestmark = pytest.mark.torch

ONTOLOGY = parse_classes("box: box | red box, cone, ladder")


def photo(height: int, width: int, seed: int = 0) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def world(path: Path, **options: Any) -> Any:
    from labeling.teachers.detectors.yolo_prompted import YoloWorldDetector

    return YoloWorldDetector(path, device="cpu", **options)


def yoloe(path: Path, **options: Any) -> Any:
    from labeling.teachers.detectors.yolo_prompted import YoloeDetector

    return YoloeDetector(path, device="cpu", **options)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("prompted")
    return {
        "world": zoo.save_prompted(folder / "world.safetensors"),
        "yoloe": zoo.save_prompted(folder / "yoloe.safetensors", "yoloe-11n-seg"),
        "embeddings": zoo.save_embeddings(folder / "prompts.safetensors"),
        "crops": zoo.save_exemplars(folder / "crops"),
    }


@pytest.mark.parametrize("name", ["yolov8n-worldv2", "yoloe-v8n"])
def test_boxes_are_those_of_the_library_asked_with_the_same_embeddings(
    name: str, tmp_path: Path, files: dict[str, Path]
) -> None:
    """Oracle: the library's own predict. Its classes are our prompts."""
    import torch

    path = zoo.save_prompted(tmp_path / "w.safetensors", name)
    detector = (world if "world" in name else yoloe)(path, embeddings=files["embeddings"])
    image = photo(96, 128)
    (detected,) = detector.detect([image], ONTOLOGY, 0.3)

    from ultralytics import YOLOE, YOLOWorld

    rows = np.stack([zoo.embedding(prompt) / np.linalg.norm(zoo.embedding(prompt)) for prompt in zoo.PROMPTS])
    embeddings = torch.from_numpy(rows)[None]
    library = (YOLOWorld if "world" in name else YOLOE)(f"{name}.yaml")
    library.model = zoo.prompted(name)
    if "world" in name:
        library.model.txt_feats = embeddings
        library.model.model[-1].nc = len(rows)
    else:
        library.model.set_classes(list(zoo.PROMPTS), embeddings)
    library.model.names, library.model.task = dict(enumerate(zoo.PROMPTS)), "detect"
    bgr = np.ascontiguousarray(image[..., ::-1])
    # By default the library lets boxes of different classes suppress each other; here that is left to the filters.
    options = {"agnostic_nms": False, "verbose": False, "device": "cpu", "save": False}
    (expected,) = library.predict(bgr, conf=0.3, iou=0.7, imgsz=96, **options)

    found = detected.detections
    assert len(found) == len(expected.boxes) > 10
    order, other = np.argsort(-found.confidence), np.argsort(-expected.boxes.conf.numpy())
    np.testing.assert_allclose(found.confidence[order], expected.boxes.conf.numpy()[other], atol=1e-4)
    np.testing.assert_allclose(found.xyxy[order], expected.boxes.xyxy.numpy()[other], atol=0.05)
    assert found.data["prompt"][order].tolist() == [zoo.PROMPTS[int(i)] for i in expected.boxes.cls.numpy()[other]]


@pytest.mark.parametrize("kind", ["world", "yoloe"])
def test_detections_keep_the_contract(kind: str, files: dict[str, Path]) -> None:
    detector = (world if kind == "world" else yoloe)(files[kind], embeddings=files["embeddings"])
    images = [photo(60, 90), photo(90, 60), photo(1, 1)]
    results = detector.detect(images, ONTOLOGY, 0.1)
    for image, detected in zip(images, results, strict=True):
        found = detected.detections
        assert 0 < len(found) <= 300
        assert found.xyxy.dtype == found.confidence.dtype == np.float32
        assert (found.xyxy <= [image.shape[1], image.shape[0]] * 2).all()
        assert set(zip(found.data["prompt"], found.class_id.tolist(), strict=True)) <= set(ONTOLOGY.prompts)
        assert found.data["feature"].shape == (len(found), 256)
        assert detected.image_feature.shape == (256,)
        (alone,) = detector.detect([image], ONTOLOGY, 0.1)
        np.testing.assert_allclose(alone.detections.confidence, found.confidence, atol=1e-4)
    assert detector.detect([], ONTOLOGY, 0.1) == []


def test_other_classes_are_asked_for_anew(files: dict[str, Path]) -> None:
    detector = world(files["world"], embeddings=files["embeddings"])
    for classes in ["ladder", "cone, ladder", "ladder"]:
        (detected,) = detector.detect([photo(60, 90)], parse_classes(classes), 0.01)
        assert set(detected.detections.data["prompt"]) <= set(classes.split(", "))
        assert len(detected.detections) > 0
    with pytest.raises(InputError, match=r"no vector for the prompt 'red bix' .* the nearest is 'red box'"):
        detector.detect([], parse_classes("red bix"), 0.3)


@pytest.mark.parametrize(
    ("name", "classes"), [("yolov8n-world", 80), ("yolov8n-worldv2", 3), ("yoloe-v8n", 3), ("yoloe-11n-seg", 80)]
)
def test_the_model_is_found_by_its_shapes(tmp_path: Path, name: str, classes: int) -> None:
    import torch

    model = zoo.prompted(name, classes)
    path = zoo.save(tmp_path / "w.safetensors", model, {})
    loaded = (world if "world" in name else yoloe)(path)._yolo.model
    assert all(torch.equal(loaded.state_dict()[key], tensor) for key, tensor in model.state_dict().items())


def test_checkpoints_of_another_kind_are_refused(tmp_path: Path, files: dict[str, Path]) -> None:
    import torch

    from labeling.teachers.detectors.ultralytics import UltralyticsDetector

    closed = zoo.save_closed(tmp_path / "closed.safetensors", ["a", "b"])
    with pytest.raises(BackendError, match=r"fit none of yoloe-v8s, .* yoloe-26n$"):
        yoloe(closed)
    with pytest.raises(BackendError, match=r"fit none of yolov8s-worldv2, "):
        world(files["yoloe"])
    with pytest.raises(BackendError, match=r"it reads prompts: use --detector yolo-world or yoloe"):
        UltralyticsDetector(files["world"], device="cpu")
    torch.save({"model": zoo.prompted("yolov8n-worldv2")}, tmp_path / "module.pt")
    with pytest.raises(BackendError, match="add --trust-weights"):
        world(tmp_path / "module.pt")
    with pytest.raises(BackendError, match="hold a WorldModel: expected a YOLOEModel of ultralytics"):
        yoloe(tmp_path / "module.pt", trust_weights=True)
    trusted = world(tmp_path / "module.pt", trust_weights=True, embeddings=files["embeddings"])
    assert len(trusted.detect([photo(32, 32)], ONTOLOGY, 0.1)[0].detections) > 0


@pytest.mark.parametrize("kind", ["world", "yoloe"])
def test_without_the_text_encoder_nothing_is_fetched_and_the_ways_out_are_named(
    kind: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from labeling.teachers.detectors import yolo_text

    detector = (world if kind == "world" else yoloe)(files[kind])
    encoder = "ViT-B-32.pt" if kind == "world" else "mobileclip_blt.ts"
    message = rf"text encoder .* --embeddings FILE, .* put the encoder at .*{encoder}"
    with pytest.raises(BackendError, match=message):
        detector.detect([], ONTOLOGY, 0.3)
    # With the package there, the library would download the file.
    monkeypatch.setattr(yolo_text, "find_spec", lambda _name: object())
    monkeypatch.setattr(type(detector._yolo.model), "get_text_pe", lambda *_: pytest.fail("asked the library"))
    with pytest.raises(BackendError, match=message) as caught:
        detector.detect([], ONTOLOGY, 0.3)
    assert "\n" not in str(caught.value)


def test_a_baked_in_vocabulary_is_refused(files: dict[str, Path]) -> None:
    detector = yoloe(files["yoloe"], embeddings=files["embeddings"])
    detector._yolo.model.model[-1].is_fused = True
    with pytest.raises(BackendError, match="vocabulary baked in"):
        detector.detect([], ONTOLOGY, 0.3)


def test_a_picture_is_embedded_as_the_library_does(tmp_path: Path, files: dict[str, Path]) -> None:
    """Oracle: YOLOEVPDetectPredictor on the same picture and box."""
    from labeling.teachers.detectors.yolo_prompted import _visual_embedding
    from labeling.teachers.exemplars import read_exemplar

    Image.fromarray(photo(70, 100)).save(tmp_path / "one.png")
    (tmp_path / "one.txt").write_text("20 10 80 60")
    detector = yoloe(files["yoloe"])
    ours = _visual_embedding(detector._yolo, read_exemplar(tmp_path / "one.png"), tmp_path)

    from ultralytics.models.yolo.yoloe import YOLOEVPSegPredictor

    predictor = YOLOEVPSegPredictor(overrides={"imgsz": 96, "device": "cpu", "verbose": False, "save": False})
    predictor.set_prompts({"bboxes": np.array([[20.0, 10, 80, 60]]), "cls": np.array([0])})
    predictor.setup_model(detector._yolo.model, verbose=False)
    theirs = predictor.get_vpe(str(tmp_path / "one.png"))
    np.testing.assert_allclose(ours.numpy(), theirs[0, 0].cpu().numpy(), atol=1e-4)
    assert float(ours.norm()) == pytest.approx(1, abs=1e-4)


def test_a_class_shown_by_pictures_is_the_mean_of_them(files: dict[str, Path]) -> None:
    from labeling.teachers.detectors.yolo_prompted import _visual_embedding
    from labeling.teachers.exemplars import read_exemplar

    detector = yoloe(files["yoloe"], exemplars=files["crops"])
    (detected,) = detector.detect([photo(96, 128)], ONTOLOGY, 0.05)
    embeddings = detector._yolo.model.pe
    assert embeddings.shape == (1, 3, 512)
    for row, name in enumerate(ONTOLOGY.names):
        pictures = sorted((files["crops"] / name).iterdir())
        parts = np.stack([_visual_embedding(detector._yolo, read_exemplar(file), file) for file in pictures])
        mean = parts.mean(axis=0)
        np.testing.assert_allclose(embeddings[0, row], mean / np.linalg.norm(mean), atol=1e-5)
    found = detected.detections
    assert len(found) > 0
    firsts = {(entry.prompts[0], class_id) for class_id, entry in enumerate(ONTOLOGY.classes)}
    assert set(zip(found.data["prompt"], found.class_id.tolist(), strict=True)) <= firsts


def test_pictures_that_cannot_serve_are_refused(tmp_path: Path, files: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="--embeddings and --exemplar both say"):
        yoloe(files["yoloe"], embeddings=files["embeddings"], exemplars=files["crops"])
    crops = zoo.save_exemplars(tmp_path / "crops", ["cone"], 1)
    with pytest.raises(InputError, match="no picture for the class 'box'"):
        yoloe(files["yoloe"], exemplars=crops).detect([], ONTOLOGY, 0.3)
    Image.fromarray(photo(400, 400)).save(crops / "cone" / "large.png")
    (crops / "cone" / "large.txt").write_text("41 41 43 43")
    with pytest.raises(InputError, match=r"large.png: its boxes are too small in the picture"):
        yoloe(files["yoloe"], exemplars=crops).detect([], parse_classes("cone"), 0.3)


def test_labels_from_pictures_end_to_end(tmp_path: Path, files: dict[str, Path]) -> None:
    from labeling.cli import main
    from labeling.core.store import Store
    from tests.fakes import draw_photos

    draw_photos(tmp_path / "photos", 2)
    arguments = [
        "label", str(tmp_path / "photos"), "--project", str(tmp_path / "project"),
        "--classes", "box: box | red box, cone, ladder", "--segmenter", "none", "--device", "cpu",
        "--detector", "yoloe", "--weights", str(files["yoloe"]), "--exemplar", str(files["crops"]),
    ]  # fmt: skip
    assert main(arguments) == 0
    with Store.open(tmp_path / "project" / "labels.db") as store:
        labels = [label for image in store.iter_images() for label in store.annotations_of(image.sha256 or "")]
    assert labels
    assert {label.provenance.prompt for label in labels} <= {"box", "cone", "ladder"}
