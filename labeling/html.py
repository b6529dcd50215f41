"""HTML pages in one file: no script, nothing fetched, every value escaped; all look alike."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def page(template: Path, **values: object) -> str:
    """Return a page as valid UTF-8 text.

    Templates import the style sheet and the drawing of photos from look.html.j2.

    Args:
        template: a Jinja2 file.
        values: what it shows.
    """
    folders = (template.parent, Path(__file__).parent)
    environment = Environment(loader=FileSystemLoader(folders), autoescape=True, undefined=StrictUndefined)
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["csp_hash"] = lambda css: (
        "sha256-" + base64.b64encode(hashlib.sha256(str(css).encode()).digest()).decode("ascii")
    )
    text = environment.get_template(template.name).render(**values)
    # A folder's own name may be no valid text.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
