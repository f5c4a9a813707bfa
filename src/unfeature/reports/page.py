"""One self-contained HTML file: no script, no outside request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from unfeature.artifacts import Attacks, Evaluation, Preview, StepRecord
from unfeature.reports import plots
from unfeature.reports.attacks import lines_of
from unfeature.reports.content import content
from unfeature.reports.pictures import Pictures, pairs


def render_html(
    evaluation: Evaluation,
    preview: Preview | None,
    log: Sequence[StepRecord],
    pictures: Pictures,
    facts: Mapping[str, object],
    attacks: Attacks | None = None,
) -> str:
    """The whole report as one HTML page; the same input gives the same bytes.

    `facts` may hold `command`, `feedback` {positives, negatives, source}, `choice` (how the edit was chosen) and
    anything else worth printing.
    """
    edited, moved, untouched, small = pairs(pictures)
    relearnt = lines_of(attacks, "relearning")
    folder, words = files("unfeature.reports"), content(evaluation, preview, log, facts, attacks)
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = page.from_string(folder.joinpath("page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        style=Markup(folder.joinpath("page.css").read_text(encoding="utf-8")),  # noqa: S704
        content=words,
        edited=edited,
        moved=moved,
        untouched=untouched,
        small=small,
        distribution=Markup(plots.distribution_svg(evaluation)),  # noqa: S704
        choice=Markup(plots.choice_svg(facts.get("choice"))),  # noqa: S704
        heat=Markup(plots.heat_svg(words.collateral.heat if words.collateral else None)),  # noqa: S704
        losses=Markup(plots.losses_svg(log)),  # noqa: S704
        distance=Markup(plots.distance_svg(log)),  # noqa: S704
        searched=Markup(plots.spent_svg("searched", lines_of(attacks, "latent-search", "search, latents"))),  # noqa: S704
        relearnt=Markup(plots.spent_svg("relearnt", relearnt)),  # noqa: S704
        relearnt_from=next(iter(relearnt.values())).name if relearnt else "",
        ratio=Markup(plots.ratio_svg(log, evaluation.wanted_ratio)),  # noqa: S704
    )
