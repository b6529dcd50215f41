"""The page of the verdict: what to do per class, the work that is left, and what everything costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..html import page
from ..pictures import class_colour
from . import feasibility_words as words
from .costs import Costs
from .verdicts import Feasibility, Wanted


def render(project: str, teacher: str, found: Feasibility, costs: Costs, wanted: Wanted, remarks: Sequence[str]) -> str:
    """Return the page as one HTML text that needs no network."""
    most = max(way.cost for way in costs.ways) or 1.0
    unit = costs.prices.currency
    cells = dict(words.rows(found))
    return page(
        Path(__file__).with_name("feasibility.html.j2"),
        project=project,
        teacher=teacher,
        headline=words.headline(found),
        images=found.images,
        rests_on=remarks[0] if remarks else "",
        remarks=remarks[1:],
        rules=[f"{rule[:1].upper()}{rule[1:]}." for rule in words.RULES],
        columns=[column.capitalize() for column in words.COLUMNS],
        classes=[
            {
                "name": one.name,
                "colour": class_colour(place),
                "verdict": one.verdict,
                "short": words.SHORT[one.verdict],
                "cells": cells[one.name],
                "sentence": words.sentence(one, wanted),
            }
            for place, one in enumerate(found.classes)
        ],
        work=[line[:1].upper() + line[1:] for line in words.work_lines(found, wanted)],
        volume=wanted.images,
        ways=[
            {
                "name": way.name,
                "width": round(100 * way.cost / most, 1),
                "cost": words.money(way.cost, unit),
                "hours": f"{way.hours:,.0f}",
            }
            for way in costs.ways
        ],
        student=[line[:1].upper() + line[1:] for line in words.cost_lines(costs)[len(costs.ways) :]],
        prices=words.price_rows(costs.prices),
        currency=unit,
    )
