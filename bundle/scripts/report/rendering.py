"""Pages from templates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.evaluation.statistics import SMALLEST_FOR_INTERVAL

INTERVALS = (  # in words, wherever a table has some
    f"95 % bootstrap intervals over subjects (of fewer than {SMALLEST_FOR_INTERVAL} subjects their "
    "range)"
)
TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, context: Mapping[str, Any]) -> str:
    """Fill a template, which escapes whatever stands in the context."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["intervals"] = INTERVALS
    return environment.get_template(template).render(context)
