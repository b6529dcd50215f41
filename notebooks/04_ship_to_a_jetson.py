# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: jupytext,kernelspec,-all
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Ship to a Jetson
#
# From a student to a folder that a device runs, and from the device's logs back to new labels. What needs a Jetson is
# named; everything else runs here, offline, in a few minutes.
#
# The student comes from drawn photos and a short training: it finds little. On your project leave the second cell out
# and name your run.

# %%
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from IPython.display import Image, display

from labeling.cli import main
from labeling.demo.reviewer import review_in_store, scene_files, truth
from labeling.demo.scenes import all_pairs, render_scene
from labeling.project import Project

PROJECT, RUN = Path("ship"), "first"


def labelstill(*arguments: str, code: int = 0) -> None:
    """Run one verb, as in a terminal, and stop here if it ends with another code."""
    assert main(list(arguments)) == code, arguments[0]


def on_device(*arguments: str) -> None:
    """Run a program of the bundle in a process of its own, as on the device."""
    subprocess.run([sys.executable, *arguments], check=True, cwd=BUNDLE)


# %% [markdown]
# ## A student
#
# Which one? `budget` predicts frames per second from counted work and published figures, before anything is trained.

# %%
labelstill("budget", "yolov8n", "yolov8s", "--device", "orin-nano-super")

# %%
CLASSES = ("forklift", "ladder", "barrel")
scenes = [render_scene(97_000_000 + number, pairs=all_pairs(unseen=True)) for number in range(140)]
scene_files(scenes, Path("photos"))
labelstill("label", "photos", "--project", str(PROJECT), "--classes", ", ".join(CLASSES), "--detector", "bundled")
with Project.open(PROJECT).open_store() as store:
    print(review_in_store(store, truth(scenes, CLASSES)), "photos reviewed")
labelstill("split", "--project", str(PROJECT))
labelstill(
    "train", "--project", str(PROJECT), "--name", RUN, "--epochs", "24", "--imgsz", "160", "--batch", "8",
)  # fmt: skip
labelstill("evaluate", RUN, "--val", "--project", str(PROJECT))

# %% [markdown]
# ## Export
#
# ONNX in FP32 and FP16, each compared with the student on images of val, measured, and packed with golden outputs, the
# programs of the device and a hash of every file. `--int8` adds an INT8 model where it loses little.

# %%
labelstill("export", RUN, "--project", str(PROJECT))
BUNDLE = PROJECT.absolute() / "exports" / RUN
manifest = json.loads((BUNDLE / "manifest.json").read_text())
print(json.dumps({key: manifest[key] for key in ("precision", "models", "accuracy", "second_look")}, indent=1))

# %% [markdown]
# ## On the device
#
# Copy the folder. `./build.sh` builds the TensorRT engine with the device's own TensorRT, compares it with the golden
# outputs and measures it against 60 FPS. Here there is no TensorRT, so the same programs run on ONNX Runtime.

# %%
on_device("runtime.py", "check")
labelstill("bench", str(BUNDLE), "--calls", "60")

# %% [markdown]
# A folder, a video, a camera: `runtime.py folder|video|camera`. The logs hold numbers, no pictures unless you ask.

# %%
writer = cv2.VideoWriter("drive.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 30, (480, 360))
for number in range(300):
    picture = render_scene(98_000_000 + number // 10, pairs=all_pairs(unseen=True)).picture
    writer.write(np.ascontiguousarray(picture[..., ::-1]))
writer.release()
here = Path.cwd()
on_device("runtime.py", "video", str(here / "drive.mp4"), "--out", str(here / "seen"), "--log", str(here / "logs"))
display(Image(filename=str(sorted(Path("seen").glob("*.jpg"))[0])))

# %% [markdown]
# ## Back home
#
# `monitor` compares the logs with how the world was before: light, sharpness, what is seen and how surely. It alarms at
# a rate that you state, and opens frames that the device kept as new images of the project.

# %%
print(next(Path("logs").glob("*.jsonl")).read_text().splitlines()[1][:200])
labelstill("monitor", "logs", "--project", str(PROJECT))
