"""B7: an exported student on this machine's processor: what it costs around the network, and beside `yolo predict`.

Usage: python scripts/bench/edge.py [--photos N] [--rounds N] [--json]

YOLOv8n as ``export.to_onnx`` writes it, static, at 640 and 320 pixels, through ONNX Runtime: one frame on all cores
where frames come one by one, a frame on each core where ``runtime.run`` follows a source. Weights are the warm start of
../shared/weights, photos those of ../shared/data/coco-photos; where these are absent, random weights and drawn scenes,
with which a network costs the same and finds other things.

- Frames -> boxes: decoded frames in memory through ``Model``, as the runtime calls it, against the bare ``session.run``
  on the same tensors.
- JPEG -> boxes: ``runtime.run`` on a folder, against ``yolo predict`` of ultralytics on the same ONNX file, the same
  photos, the same least score and NMS. How many of its boxes ours finds, too, stands beside it.
- Video: a file of 640 x 480, MPEG-4, written from the photos and panned over them; read, looked at and drawn upon by
  ``runtime.run``, which overlaps the three, and one after the other. Frames per second are for this machine as it is:
  its load stands in the heading.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import photos as drawn_photos
from rounds import Row, arguments, interleave, measured, publish, ratio, spread

SHARED = Path(__file__).resolve().parents[3] / "shared"
SIZES = (640, 320)
SCORE, IOU = 0.25, 0.7
VIDEO_WH = (640, 480)
FRAMES_PER_PHOTO = 4
SAME_IOU = 0.9

_WHY_OVERHEAD = "letterbox, colours to numbers and NMS run on one core while the others wait"
_WHY_PREDICT = (
    "both spend most of their time in the same network in ONNX Runtime; a photo on each core instead of one on all "
    "cores, decoding, letterbox and NMS are what there is to gain"
)
_SHOWN = {
    "network": "session.run alone",
    "frames": "frames -> boxes",
    "ours": "JPEG -> boxes",
    "predict": "yolo predict",
}
_WHY_SAME = "boxes at the least score fall on either side of it by a rounding"
_WHY_FPS = "reading, network and drawing share the cores, and the network alone takes most of a frame's time"


class Bench:
    """One input size."""

    def __init__(self, root: Path, weights: Path, photos: Sequence[Path], size: int) -> None:
        from ultralytics import YOLO

        from export.runtime import Model, OnnxSession, workers_for
        from export.to_onnx import ExportSettings, to_onnx

        path = root / f"yolov8n-{size}.onnx"
        card = to_onnx(weights, path, ExportSettings(imgsz=(size, size)), nms_iou=IOU)
        if set(card.thresholds.values()) != {SCORE}:
            raise SystemExit("the export has another least score than yolo predict")
        self.model = Model(OnnxSession(path))
        self._beside = Model(OnnxSession(path, threads=1))
        self.model.card = self._beside.card = replace(card, margin=0)  # the peer puts none around a photo
        self._workers = workers_for(self._beside.session, 1)
        self._size, self._folder = size, photos[0].parent
        self._frames = [cv2.imread(str(photo)) for photo in photos]
        self._tensors = [self.model.prepare(frame).tensor for frame in self._frames]
        self._yolo = YOLO(str(path), task="detect")

    def network(self) -> None:
        """Run the network alone."""
        for tensor in self._tensors:
            self.model.session.run(tensor)

    def frames(self) -> None:
        """Take decoded frames to boxes."""
        for frame in self._frames:
            canvas = self.model.prepare(frame)
            self.model.judge(self.model.session.run(canvas.tensor), canvas)

    def ours(self) -> dict[str, Any]:
        """Take JPEG files to boxes, and return (n, 5) by file: class and box."""
        from export.runtime import folder_source, run

        found: dict[str, Any] = {}

        def keep(result: Any) -> None:
            found[result.source] = _rows(result.objects.class_ids, result.objects.boxes_xyxy)

        run(self._beside, folder_source(self._folder), keep, workers=self._workers)
        return found

    def predict(self) -> dict[str, Any]:
        """Take JPEG files to boxes as the library does, and return the same."""
        results = self._yolo.predict(
            str(self._folder), imgsz=self._size, conf=SCORE, iou=IOU, device="cpu", stream=True, verbose=False
        )
        return {Path(one.path).name: _rows(one.boxes.cls.numpy(), one.boxes.xyxy.numpy()) for one in results}

    def overlapped(self, video: Path) -> int:
        """Read, look and draw at the same time, and return how many frames there were."""
        from export.runtime import run, video_source

        source = video_source(video)
        return run(self._beside, source, draw=lambda _result, _picture: None, workers=self._workers).seen

    def in_turn(self, video: Path) -> int:
        """Read, look and draw one after the other."""
        from export.runtime import drawn, video_source

        count = 0
        for _name, frame in video_source(video).frames:
            canvas = self.model.prepare(frame)
            objects, _sure = self.model.judge(self.model.session.run(canvas.tensor), canvas)
            drawn(frame, objects, self.model.card.names)
            count += 1
        return count


def bench(count: int, rounds: int) -> tuple[list[Row], list[str]]:
    """Return the rows, and what weights and photos they are of."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        weights, weights_are = student(root)
        photos, photos_are = _photos(root / "photos", count)
        for size in SIZES:
            one = Bench(root, weights, photos, size)
            same = _same(one.ours(), one.predict())  # warm-up, too
            one.frames()
            steps = {"network": one.network, "frames": one.frames, "ours": one.ours, "predict": one.predict}
            rows += _rows_of(size, count, interleave(steps, rounds), same)
        video = _video(root / "video.mp4", photos)
        frames = {one.overlapped(video), one.in_turn(video)}
        if len(frames) != 1:
            raise SystemExit(f"the two loops saw different numbers of frames: {sorted(frames)}")
        loops = {"overlapped": lambda: one.overlapped(video), "in turn": lambda: one.in_turn(video)}
        rows += _rows_of_video(size, frames.pop(), interleave(loops, rounds))
    return rows, [f"Weights: {weights_are}. Photos: {photos_are}."]


def _rows_of(size: int, count: int, times: dict[str, list[float]], same: float | None) -> list[Row]:
    overhead = [100 * (all_s / alone_s - 1) for all_s, alone_s in zip(times["frames"], times["network"], strict=True)]
    faster, goal = ratio(times, "predict", "ours"), "<= 10" if size == SIZES[0] else ""
    why = "no box was found" if same is None else _WHY_SAME
    return [
        measured(f"{size} px: frames -> boxes, % above session.run alone", spread(overhead), goal, "", _WHY_OVERHEAD),
        measured(f"{size} px: JPEG -> boxes, yolo predict ÷ ours", faster, ">= 1.5", "", _WHY_PREDICT),
        Row(f"{size} px: % of the boxes of both that the other has, too", same, None, ">= 99", "", why),
        *(
            measured(f"{size} px: ms per image, {name}", spread([1000 * each / count for each in times[step]]))
            for step, name in _SHOWN.items()
        ),
    ]


def _rows_of_video(size: int, frames: int, times: dict[str, list[float]]) -> list[Row]:
    fps = {name: spread([frames / each for each in some]) for name, some in times.items()}
    return [
        measured(f"{size} px: frames/s of a video, overlapped", fps["overlapped"], ">= 60", "", _WHY_FPS),
        measured(f"{size} px: frames/s of a video, one after the other", fps["in turn"]),
        measured(f"{size} px: video, one after the other ÷ overlapped", ratio(times, "in turn", "overlapped")),
    ]


def student(folder: Path) -> tuple[Path, str]:
    """Write a student.safetensors of YOLOv8n for 80 classes, and say what its weights are."""
    import torch

    from distill.yolo.weights import write_student
    from labeling.teachers.detectors.ultralytics import as_yolo, import_ultralytics

    published = SHARED / "weights" / "yolov8n-coco-fp16.safetensors"
    import_ultralytics()
    if published.exists():
        yolo = as_yolo(published)
        tensors, names, kind = yolo.model.state_dict(), list(yolo.names.values()), "of COCO, published"
    else:
        from ultralytics.nn.tasks import DetectionModel

        torch.manual_seed(0)
        tensors = DetectionModel("yolov8n.yaml", verbose=False).state_dict()
        names, kind = [f"class {number}" for number in range(80)], "random: no box is found"
    about = {"kind": "ultralytics", "yaml": "yolov8n", "task": "detect", "imgsz": "640", "licence": "AGPL-3.0"}
    path = folder / "student.safetensors"
    write_student(path, tensors, about | {"names": json.dumps(names)})
    return path, kind


def _photos(folder: Path, count: int) -> tuple[list[Path], str]:
    """Copy photos into a folder of their own, and say what they are."""
    real = sorted((SHARED / "data" / "coco-photos" / "images").glob("*.jpg"))[:count]
    chosen = real or [photo.path for photo in drawn_photos.scenes(count, VIDEO_WH)]
    if len(chosen) < count:
        raise SystemExit(f"--photos is {count}: there are {len(chosen)}")
    folder.mkdir()
    return [Path(shutil.copy(path, folder)) for path in chosen], "COCO" if real else "drawn scenes"


def _video(path: Path, photos: Sequence[Path]) -> Path:
    """Write a video that pans over each photo: frames that stand still would cost nothing to decode."""
    width, height = VIDEO_WH
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, VIDEO_WH)
    if not writer.isOpened():
        raise SystemExit("this OpenCV writes no MPEG-4 video")
    for photo in photos:
        larger = cv2.resize(cv2.imread(str(photo)), (width + 32, height + 24))
        for step in range(FRAMES_PER_PHOTO):
            writer.write(larger[3 * step : 3 * step + height, 4 * step : 4 * step + width])
    writer.release()
    return path


def _rows(class_ids: Any, boxes_xyxy: Any) -> Any:
    return np.concatenate((np.asarray(class_ids, dtype=np.float32)[:, None], boxes_xyxy), axis=1)


def _same(ours: dict[str, Any], theirs: dict[str, Any]) -> float | None:
    """Return the percentage of boxes that have a partner: its class, and an IoU of SAME_IOU; None without any box."""
    import torch
    from torchvision.ops import box_iou

    if ours.keys() != theirs.keys():
        raise SystemExit(f"the two ways saw different files: {sorted(ours.keys() ^ theirs.keys())[:3]}")
    paired = every = 0
    for name, mine in ours.items():
        his = theirs[name]
        near = box_iou(torch.from_numpy(mine[:, 1:]), torch.from_numpy(his[:, 1:])).numpy() >= SAME_IOU
        near &= mine[:, :1] == his[:, 0]
        paired += int(near.any(axis=1).sum() + near.any(axis=0).sum())
        every += len(mine) + len(his)
    return 100 * paired / every if every else None


def main() -> None:
    """Print the figures."""
    options = arguments(__doc__, photos=32).parse_args()
    rows, notes = bench(options.photos, options.rounds)
    publish("edge", rows, options, notes)


if __name__ == "__main__":
    main()
