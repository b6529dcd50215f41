"""Label real photos through the command line and compare with the labels of people: AP by two evaluators.

    .venv/bin/python scripts/measure_real_photos.py [--shared ../shared] [--json]

Photos, human labels and the detector's weights lie in the shared folder beside the repository. Both evaluators see
the file that `labelstill convert --to coco` writes; images are matched by file name, classes by name.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
LOW_SCORE = 0.01
"""AP wants the tail of unsure boxes; people do not, so the default is higher."""

FLOOR_AP50 = 0.50
EQUAL_WITHIN = 1e-3


def measure(shared: Path, work: Path, score: float | None) -> dict[str, Any]:
    """Label the photos, export them and evaluate the export.

    Args:
        shared: folder with ``data/coco-photos`` and ``weights``.
        work: empty folder for the project and the export.
        score: detector score below which boxes are dropped; None for the detector's default.

    Returns:
        ``images`` and ``boxes`` that were evaluated, and ``pycocotools`` and ``faster-coco-eval``, each with ``AP50``
        and ``AP50-95`` of the boxes.
    """
    truth = shared / "data/coco-photos/instances.json"
    names = [category["name"] for category in json.loads(truth.read_text())["categories"]]
    work.mkdir(parents=True, exist_ok=True)
    ontology = work / "classes.json"
    ontology.write_text(json.dumps({"classes": [{"name": name} for name in names]}))
    project, out = work / "project", work / "coco"
    labelstill(
        "label", str(truth.parent / "images"), "--project", str(project), "--ontology", str(ontology),
        "--detector", "ultralytics", "--weights", str(shared / "weights/yolov8n-coco-fp16.safetensors"),
        "--segmenter", "none", *([] if score is None else ["--score", str(score)]),
    )  # fmt: skip
    labelstill("convert", "--project", str(project), "--to", "coco", "--out", str(out))
    return evaluate(truth, out / "annotations.json")


def labelstill(*arguments: str) -> None:
    """Run one verb of the command that is installed beside this Python."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("labelstill")), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"labelstill {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")


def evaluate(truth: Path, labels: Path) -> dict[str, Any]:
    """Compare the boxes of a COCO file that has scores with the boxes of people, by both evaluators."""
    import faster_coco_eval
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    boxes = results(json.loads(truth.read_text()), json.loads(labels.read_text()))
    figures: dict[str, Any] = {}
    for evaluator, load, compare in (
        ("pycocotools", COCO, COCOeval),
        ("faster-coco-eval", faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
    ):
        with contextlib.redirect_stdout(io.StringIO()):
            people = load(str(truth))
            run = compare(people, people.loadRes(boxes), "bbox")
            run.evaluate()
            run.accumulate()
            run.summarize()
        figures[evaluator] = {"AP50": float(run.stats[1]), "AP50-95": float(run.stats[0])}
    return {"images": len(people.getImgIds()), "boxes": len(boxes)} | figures


def results(truth: dict[str, Any], labels: dict[str, Any]) -> list[dict[str, Any]]:
    """Return our boxes with the ids of the human labels: images by file name, classes by name."""
    image_ids = {image["file_name"]: image["id"] for image in truth["images"]}
    category_ids = {category["name"]: category["id"] for category in truth["categories"]}
    names = {image["id"]: image["file_name"] for image in labels["images"]}
    classes = {category["id"]: category["name"] for category in labels["categories"]}
    if set(names.values()) != set(image_ids):
        raise SystemExit(f"{len(set(names.values()) ^ set(image_ids))} file names are in one of the two files only")
    return [
        {
            "image_id": image_ids[names[annotation["image_id"]]],
            "category_id": category_ids[classes[annotation["category_id"]]],
            "bbox": annotation["bbox"],
            "score": annotation["score"],
        }
        for annotation in labels["annotations"]
    ]


def main() -> int:
    """Print the figures at both scores; 3 when the floor is missed or the evaluators differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared", help="has data/ and weights/")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        figures = {
            "low": measure(options.shared, Path(work) / "low", LOW_SCORE),
            "default": measure(options.shared, Path(work) / "default", None),
        }
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for title, key in ((f"--score {LOW_SCORE}", "low"), ("default score", "default")):
            print(f"{title}: {figures[key]['images']} photos, {figures[key]['boxes']} boxes")
            for evaluator in ("pycocotools", "faster-coco-eval"):
                values = figures[key][evaluator]
                print(f"  {evaluator:<17} AP50 {values['AP50']:.4f}   AP50-95 {values['AP50-95']:.4f}")
        print(f"floor: AP50 {FLOOR_AP50} at --score {LOW_SCORE}")
    reached = figures["low"]["pycocotools"]["AP50"] >= FLOOR_AP50
    return 0 if reached and all(agree(figure) for figure in figures.values()) else 3


def agree(figure: dict[str, Any]) -> bool:
    """Tell whether both evaluators say the same to within ``EQUAL_WITHIN``."""
    one, other = figure["pycocotools"], figure["faster-coco-eval"]
    return all(abs(one[name] - other[name]) <= EQUAL_WITHIN for name in one)


if __name__ == "__main__":
    raise SystemExit(main())
