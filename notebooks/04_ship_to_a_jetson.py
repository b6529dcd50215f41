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
    done = subprocess.run([sys.executable, *arguments], check=True, cwd=BUNDLE, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="")


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
# A folder, a video, a camera: `runtime.py folder|video|camera`. The logs hold numbers, no pictures unless you ask. Two
# videos: a day as usual, and one on which somebody has switched off half of the lamps.


# %%
def film(path: str, frames: int, light: float, seed: int) -> None:
    """Write a video of drawn scenes in random order."""
    lot = np.random.default_rng(seed)
    pictures = [render_scene(seed * 1000 + number, pairs=all_pairs(unseen=True)).picture for number in range(200)]
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), 30, (480, 360))
    for number in lot.integers(0, len(pictures), frames):
        bright = light * lot.uniform(0.9, 1.1)
        writer.write(cv2.convertScaleAbs(pictures[number][..., ::-1], alpha=bright))
    writer.release()


film("usual.mp4", 1500, light=1.0, seed=98_000)
film("dark.mp4", 500, light=0.5, seed=99_000)
here = Path.cwd()
on_device("runtime.py", "video", str(here / "usual.mp4"), "--json", "--log", str(here / "logs/usual"))
on_device(
    "runtime.py", "video", str(here / "dark.mp4"), "--json", "--log", str(here / "logs/dark"),
    "--out", str(here / "seen"), "--keep-frames", "doubt",
)  # fmt: skip
display(Image(filename=str(sorted(Path("seen").glob("*.jpg"))[0])))

# %% [markdown]
# ## Back home
#
# `monitor` learns what is usual from the first stretch of logs, then compares light, sharpness, what is seen and how
# surely. It alarms at a rate that you state, and ends with 3 when it does. `--open N` makes frames that the device kept
# new images of the project.

# %%
print(next(Path("logs/usual").glob("*.jsonl")).read_text().splitlines()[1][:200])
labelstill("monitor", "logs/usual", "--window", "250", "--project", str(PROJECT))
labelstill("monitor", "logs/dark", "--window", "250", "--open", "4", "--project", str(PROJECT), code=3)

# %%
labelstill("status", "--project", str(PROJECT))
