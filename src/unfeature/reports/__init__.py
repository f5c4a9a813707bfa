"""An evaluation as a report: one HTML file, or Markdown, and one plain verdict."""

from unfeature.reports.markdown import render_markdown
from unfeature.reports.page import render_html
from unfeature.reports.pictures import Pictures
from unfeature.reports.verdicts import Verdict, verdict

__all__ = ["Pictures", "Verdict", "render_html", "render_markdown", "verdict"]
