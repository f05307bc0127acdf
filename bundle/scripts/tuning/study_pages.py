"""Interactive pages about a study, and one that holds them all; they ask nothing of a network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna.visualization as views
import pandas as pd
from optuna.importance import get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial
from plotly import graph_objects
from plotly.offline import get_plotlyjs

from scripts.report.rendering import render
from scripts.tuning.objectives import Objective
from scripts.tuning.search_space import SearchSpace
from scripts.tuning.trial_table import list_finished
from scripts.whole_files import write_text

LIBRARY = "plotly.min.js"
FEWEST = 2  # finished trials, below which nothing can be compared
TOP = 3


@dataclass(frozen=True)
class Page:
    """A figure with a page of its own.

    Attributes:
        name: of its file, without suffix.
        title: of it.
        explanation: what it shows.
        height_px: of the figure.
    """

    name: str
    title: str
    explanation: str
    height_px: int = 520


TIMELINE = Page("timeline", "Timeline", "When each trial ran, and how it ended.")
HISTORY = Page("history", "History", "Each finished trial, and the best so far.")
IMPORTANCES = Page(
    "importances",
    "Importances",
    "How much each parameter tells good trials from the others. Few trials make them guesses.",
)
SLICE = Page("slice", "Slices", "The objective against each parameter, all others as they were.")
CONTOUR = Page("contour", "Contours of all", "The objective over each pair of parameters.", 1600)
CONTOUR_TOP = Page(
    "contour_top",
    "Contours of the most important",
    "The objective over pairs of the three parameters with the largest importances.",
    900,
)
PARALLEL = Page("parallel", "Parallel coordinates", "One line a finished trial.")
STEPS = Page("steps", "Validations", "Each trial over its epochs; short lines were pruned.")
FRONT = Page("front", "Pareto front", "Trials that no other beats in all objectives.", 640)


def write_pages(study: Study, space: SearchSpace, folder: Path, table: pd.DataFrame) -> Path:
    """Write `index.html` and a page for each figure.

    Args:
        study: what is shown.
        space: that it searches.
        folder: for the pages.
        table: of all trials, from `make_table`.

    Returns:
        The index.
    """
    shown: list[Page] = []
    for page, figure in draw_figures(study, space):
        figure.update_layout(title=None, margin={"t": 40}, template="plotly_white")
        html = figure.to_html(
            include_plotlyjs=LIBRARY, default_height=f"{page.height_px}px", div_id=page.name
        )
        write_text(folder / f"{page.name}.html", add_heading(html, page))
        shown.append(page)
    write_text(folder / LIBRARY, get_plotlyjs())
    index = folder / "index.html"
    write_text(index, render("study.html.j2", describe_study(study, space, table, shown)))
    return index


def draw_figures(study: Study, space: SearchSpace) -> list[tuple[Page, graph_objects.Figure]]:
    """All figures that the study has trials for."""
    with warnings.catch_warnings():  # Optuna cannot know that the targets are turned as it wants
        warnings.simplefilter("ignore", UserWarning)
        return [(page, draw()) for page, draw in list_figures(study, space)]


def add_heading(html: str, page: Page) -> str:
    """Give Plotly's page a title and an icon: without one browsers ask a server for it."""
    head = (
        f'<head><title>{page.title}</title><link rel="icon" href="data:,">'
        '<meta name="viewport" content="width=device-width"><style>body { margin: 0 }</style>'
    )
    return html.replace("<html>", '<html lang="en">', 1).replace("<head>", head, 1)


Drawing = tuple[Page, Callable[[], graph_objects.Figure]]


def list_figures(study: Study, space: SearchSpace) -> list[Drawing]:
    """Figures that the study has trials for; of several objectives each has its own."""
    drawings: list[Drawing] = [(TIMELINE, lambda: views.plot_timeline(study))]
    if len(list_finished(study)) < FEWEST:
        return drawings
    if len(space.objectives) > 1:
        names = [objective.name for objective in space.objectives]
        if len(names) <= TOP:
            front = (FRONT, lambda: views.plot_pareto_front(study, target_names=names))
            drawings.insert(0, front)
        for number, objective in enumerate(space.objectives):
            drawings += _list_of_one(study, objective, number)
        return drawings
    steps: Drawing = (STEPS, lambda: views.plot_intermediate_values(study))
    return [*_list_of_one(study, space.objectives[0], None), steps, *drawings]


def _list_of_one(study: Study, objective: Objective, number: int | None) -> list[Drawing]:
    """Figures of one objective; `number` is its place among several."""
    target = None if number is None else partial(read_value, number=number)
    options: dict[str, Any] = {"target": target, "target_name": objective.name}
    # Optuna finds what makes a target low.
    sign = 1.0 if objective.direction == "minimize" else -1.0
    low = None if number is None else partial(read_value, number=number, sign=sign)
    make: list[tuple[Page, Callable[..., graph_objects.Figure], dict[str, Any]]] = [
        (HISTORY, views.plot_optimization_history, options),
        (PARALLEL, views.plot_parallel_coordinate, options),
        (SLICE, views.plot_slice, options),
    ]
    ranked = rank_parameters(study, low)
    if ranked:
        make.insert(1, (IMPORTANCES, views.plot_param_importances, options | {"target": low}))
    if len(ranked) > 1:
        make.append((CONTOUR_TOP, views.plot_contour, options | {"params": ranked[:TOP]}))
        make.append((CONTOUR, views.plot_contour, options))
    return [
        (_name(page, objective, number), partial(draw, study, **given))
        for page, draw, given in make
    ]


def read_value(trial: FrozenTrial, *, number: int, sign: float = 1.0) -> float:
    """One of several objectives."""
    return sign * float(trial.values[number])


def _name(page: Page, objective: Objective, number: int | None) -> Page:
    if number is None:
        return page
    title = f"{page.title}: {objective.name}"
    return Page(f"{page.name}_{objective.name}", title, page.explanation, page.height_px)


def rank_parameters(study: Study, target: Callable[[Any], float] | None) -> list[str]:
    """Parameters by their importance; none where the trials do not tell."""
    try:
        return list(get_param_importances(study, target=target))
    except (ValueError, RuntimeError):  # all values equal, or no parameter in all trials
        return []


def describe_study(
    study: Study, space: SearchSpace, table: pd.DataFrame, pages: Sequence[Page]
) -> dict[str, Any]:
    """What the index says."""
    counts = table["state"].value_counts()
    names = [parameter.name for parameter in space.parameters]
    objectives = [objective.name for objective in space.objectives]
    finished = table[table["state"] == "finished"]
    best = finished.sort_values(
        objectives[0], ascending=space.objectives[0].direction == "minimize"
    )
    return {
        "study": study.study_name,
        "objectives": [f"{o.name} ({o.direction})" for o in space.objectives],
        "counts": {str(state): int(count) for state, count in counts.items()},
        "columns": ["trial", *objectives, *names],
        "best": [
            [format_cell(row[column]) for column in ("trial", *objectives, *names)]
            for _, row in best.head(10).iterrows()
        ],
        "failures": [
            (int(row["trial"]), str(row["reason"]))
            for _, row in table[table["state"] == "failed"].iterrows()
        ],
        "fewest": FEWEST if len(finished) < FEWEST else 0,
        "pages": pages,
    }


def format_cell(value: Any) -> str:
    """A number in four digits, a word as it is, nothing where a parameter did not matter."""
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return str(value)
