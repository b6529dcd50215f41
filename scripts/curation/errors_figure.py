"""The figure of the measurement: how many planted errors have been seen after how much of the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from errors_curves import ALL, BUDGETS, Found, mean

from distill.curation.doubts import KINDS

_STYLES = {
    "oracle": {"color": "0.55", "linestyle": ":"},
    "labelstill": {"color": "tab:blue", "linestyle": "-"},
    "labelstill + mistakenness": {"color": "tab:green", "linestyle": "-"},
    "FiftyOne mistakenness": {"color": "tab:orange", "linestyle": "-"},
    "random": {"color": "0.55", "linestyle": "--"},
}


def draw(results: Mapping[str, Mapping[str, Sequence[Found]]], path: Path, budget: float, floor: float) -> None:
    """Write one picture; its format is that of the suffix.

    Args:
        results: by set and by method, one entry per planting.
        path: file to write.
        budget: share of the list that the bars are read at.
        floor: share of the errors that has to be found there.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "labelstill"  # the same figures give the same file
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(results), figsize=(6 * len(results), 8), squeeze=False, layout="constrained")
    for column, (name, methods) in enumerate(results.items()):
        _curves(axes[0][column], name, methods, budget, floor)
        _bars(axes[1][column], methods, budget, floor)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _curves(axis: Any, name: str, methods: Mapping[str, Sequence[Found]], budget: float, floor: float) -> None:
    for method, some in methods.items():
        style, curve = _STYLES.get(method, {}), mean(some)[ALL]
        axis.plot(100 * BUDGETS, 100 * curve, label=method, **style)
        each = 100 * np.array([one.curves[ALL] for one in some])
        axis.fill_between(100 * BUDGETS, each.min(axis=0), each.max(axis=0), color=style.get("color"), alpha=0.15, lw=0)
    axis.axvline(100 * budget, color="0.8", lw=1, zorder=0)
    axis.plot([100 * budget], [100 * floor], marker="_", markersize=16, color="tab:red", label="floor")
    some = next(iter(methods.values()))
    axis.set(
        title=f"{name}: {some[0].counts[ALL]} planted errors, {len(some)} seeds", xlim=(0, 100), ylim=(0, 101),
        xlabel="looked at, % of boxes and candidates, best first", ylabel="planted errors seen, %",
    )  # fmt: skip
    axis.legend(loc="lower right", frameon=False)


def _bars(axis: Any, methods: Mapping[str, Sequence[Found]], budget: float, floor: float) -> None:
    kinds, width = [*KINDS, ALL], 0.8 / len(methods)
    for number, (method, some) in enumerate(methods.items()):
        at = [100 * mean(some)[kind][round(budget * 100) - 1] for kind in kinds]
        axis.bar(np.arange(len(kinds)) + number * width, at, width, color=_STYLES.get(method, {}).get("color"),
                 hatch="//" if method == "random" else None, label=method)  # fmt: skip
    axis.axhline(100 * floor, color="tab:red", lw=1)
    axis.set(ylim=(0, 101), ylabel=f"seen in the first {budget:.0%}, %")
    axis.set_xticks(np.arange(len(kinds)) + 0.4 - width / 2, kinds)
