"""Is the gain that `labelstill calibrate` reports the gain that one gets? Held-out figures against all other images.

    .venv/bin/python scripts/trust/measure_calibration.py [--work DIR] [--shared ../shared] [--draws 5] [--json]

Two sets whose truth is known: drawn scenes with the bundled teacher, with further prompts to try, and real photos with
YOLOv8n. A gold set is drawn several times. Each time the settings are chosen on it, the gain is reported with its
interval as users see it, and then measured on all images outside the gold set.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from labeling.core.records import Annotation, Provenance
from labeling.core.store import Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.demo.scenes import all_pairs, render_scene
from labeling.project import Project
from labeling.teachers.backends import TeacherSpec
from labeling.trust.aliases import prompt_options
from labeling.trust.calibrate import today, with_prompts
from labeling.trust.calibration import calibrated
from labeling.trust.calibration_claims import Aim
from labeling.trust.calibration_search import Prompts, Search
from labeling.trust.gold import GOLD, GoldImage, read_gold
from labeling.trust.gold_draw import draw_gold
from labeling.trust.gold_groups import groups_of
from labeling.trust.opinions import Opinion, ask

REPOSITORY = Path(__file__).resolve().parents[2]
FIRST_SEED = 80_000_000
NAMES = ("forklift", "pallet", "box", "barrel", "cone", "ladder", "person")
ALIASES = "pallet: skid, box: carton, barrel: drum, person: worker"

Labels = dict[str, list[tuple[str, tuple[float, float, float, float]]]]


@dataclass(frozen=True, slots=True)
class Draw:
    """One gold set: what was reported, and what came true on the images outside it, both as a share of today's loss."""

    gold: int
    reported: float
    low: float
    high: float
    shown: bool
    true: float
    true_low: float
    true_high: float
    passes: int
    agree: bool


def measure(
    project: Project, store: Store, spec: TeacherSpec, aliases: str | None, gold: int, draws: int, aim: Aim
) -> list[Draw]:
    """Draw gold sets, calibrate on each, and measure the rest."""
    ontology = project.ontology
    everyone = read_gold(store, ontology).images
    place = {one.sha256: one for one in everyone}

    @cache
    def one_pass(prompts: Prompts, per_pass: int | None) -> dict[str, Opinion]:
        asked, teacher = with_prompts(ontology, prompts), replace(spec, prompts_per_pass=per_pass)
        return {one.sha256: one for one in ask(project, store, teacher, asked, list(place))}

    options = prompt_options(ontology, aliases)
    settings = today(project, spec, ontology)
    per_pass = (None, 1) if spec.detector == "bundled" else ()

    def search(images: Sequence[GoldImage]) -> Search:
        def answers(prompts: Prompts, value: int | None) -> list[Opinion]:
            found = one_pass(prompts, value)
            return [found[one.sha256] for one in images]

        groups = groups_of(store, [one.sha256 for one in images])
        return Search(images, settings, options, per_pass, aim, answers, groups)

    found = []
    for seed in range(draws):
        drawn = set(draw_gold(store, gold, seed=seed).images)
        DecisionLedger(store).change(removed=[Decided(sha256, GOLD) for sha256 in drawn])
        chosen = calibrated(search([one for one in everyone if one.sha256 in drawn]))
        rest = search([one for one in everyone if one.sha256 not in drawn])
        rows = np.arange(len(rest.gold))
        before = rest.counts(settings, rows)
        true, true_low, true_high = (
            float(value) / rest.loss(before) for value in rest.gain(before, rest.counts(chosen.chosen, rows))
        )
        loss, reported = chosen.loss, 1 - chosen.loss.calibrated / chosen.loss.today
        low, high = -loss.high / loss.today, -loss.low / loss.today
        # Both are estimates: they agree where they differ by no more than both intervals together allow.
        agree = bool(abs(reported - true) <= np.hypot((high - low) / 2, (true_high - true_low) / 2))
        found.append(
            Draw(chosen.images, reported, low, high, chosen.gain_shown, true, true_low, true_high, chosen.passes, agree)
        )
    return found


def demo(work: Path, scenes: int) -> tuple[Project, TeacherSpec]:
    """Draw scenes, label them with the bundled teacher, and give them their exact labels."""
    photos = work / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    truth: Labels = {}
    for number in range(scenes):
        scene = render_scene(FIRST_SEED + number, pairs=all_pairs(unseen=True))
        (photos / f"scene-{number:03d}.jpg").write_bytes(scene.jpeg)
        things = [(thing.noun, thing.box_xyxy) for thing in scene.things if thing.noun in NAMES]
        truth[hashlib.sha256(scene.jpeg).hexdigest()] = things
    labelled(work / "project", photos, NAMES, "--detector", "bundled", "--segmenter", "none")
    return reviewed(work / "project", truth), TeacherSpec(detector="bundled", segmenter="none", device="cpu")


def photos(work: Path, shared: Path) -> tuple[Project, TeacherSpec]:
    """Label real photos with YOLOv8n, and give them the labels of people."""
    folder, weights = shared / "data/coco-photos", shared / "weights/yolov8n-coco-fp16.safetensors"
    said = json.loads((folder / "instances.json").read_text())
    names = {one["id"]: one["name"] for one in said["categories"]}
    files = {
        one["id"]: hashlib.sha256((folder / "images" / one["file_name"]).read_bytes()).hexdigest()
        for one in said["images"]
    }
    truth: Labels = {sha256: [] for sha256 in files.values()}
    for one in said["annotations"]:
        x, y, width, height = one["bbox"]
        truth[files[one["image_id"]]].append((names[one["category_id"]], (x, y, x + width, y + height)))
    labelled(
        work / "project", folder / "images", tuple(names.values()),
        "--detector", "ultralytics", "--weights", str(weights), "--segmenter", "none",
    )  # fmt: skip
    spec = TeacherSpec(detector="ultralytics", weights=str(weights), segmenter="none", device="cpu")
    return reviewed(work / "project", truth), spec


def labelled(project: Path, photos: Path, names: Sequence[str], *flags: str) -> None:
    """Label photos through the command line, so that the images are known and have features."""
    project.parent.mkdir(parents=True, exist_ok=True)
    classes = project.parent / "classes.json"
    classes.write_text(json.dumps({"classes": [{"name": name} for name in names]}))
    command = [str(Path(sys.executable).with_name("labelstill")), "label", str(photos)]
    command += ["--project", str(project), "--ontology", str(classes), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"labelstill label ended with {done.returncode}: {done.stderr.strip()}")


def reviewed(root: Path, truth: Labels) -> Project:
    """Write the truth as what people said about every image."""
    project = Project.open(root)
    with project.open_store() as store:
        for sha256, things in truth.items():
            labels = [
                Annotation(
                    hashlib.sha256(f"{sha256} {number}".encode()).hexdigest()[:32],
                    sha256, name, box, Provenance("human", annotator="truth"),
                )
                for number, (name, box) in enumerate(things)
            ]  # fmt: skip
            store.set_reviewed(sha256, labels, "reviewed" if labels else "reviewed-empty")
    return project


def main() -> None:
    """Print a row per gold set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs/calibration")
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared", help="has data/ and weights/")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--scenes", type=int, default=110)
    parser.add_argument("--sets", nargs="+", choices=["demo", "photos"], default=["demo", "photos"])
    parser.add_argument("--miss-cost", type=float, default=1)
    parser.add_argument("--false-alarm-cost", type=float, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, list[Draw]] = {}
    for name in options.sets:
        work, is_demo = options.work / name, name == "demo"
        project, spec = demo(work, options.scenes) if is_demo else photos(work, options.shared)
        with project.open_store() as store:
            aliases, gold = (ALIASES, 60) if is_demo else (None, 60)
            aim = Aim(options.miss_cost, options.false_alarm_cost)
            found[name] = measure(project, store, spec, aliases, gold, options.draws, aim)
    if options.json:
        print(json.dumps({name: [asdict(one) for one in rows] for name, rows in found.items()}, indent=1))
        return
    costs = f"a miss costs {options.miss_cost:g}, a false alarm {options.false_alarm_cost:g}"
    print(f"share of today's loss that calibrating saves; {costs}\n")
    print("| set | gold | reported, held out [95 %] | shown | true, on the rest | passes |\n|---|---|---|---|---|---|")
    for name, rows in found.items():
        for one in rows:
            interval = f"{one.reported:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
            true = f"{one.true:+.3f} [{one.true_low:+.3f}, {one.true_high:+.3f}]"
            print(f"| {name} | {one.gold} | {interval} | {one.shown} | {true} | {one.passes} |")
        mean = statistics.mean(one.reported for one in rows), statistics.mean(one.true for one in rows)
        agree = sum(one.agree for one in rows)
        print(
            f"| {name}, mean | | {mean[0]:+.3f}, agrees with the truth in {agree} of {len(rows)} | | {mean[1]:+.3f} | |"
        )


if __name__ == "__main__":
    main()
