"""Badges of runs and nodes: a colour, a sign and a word for each state (``runs/words.py``)."""

from __future__ import annotations

from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..runs.models import Node, Run
from ..runs.words import NODE_LOOKS, OUTCOME_LOOKS, RUN_LOOKS
from .markup import badge


def run_badge(run: Run) -> SafeString:
    return badge(RUN_LOOKS.get(run.status, "quiet"), run.get_status_display())


def outcome_badge(run: Run) -> SafeString:
    """Why it ends; a dash while that is not known."""
    if not run.outcome:
        return SafeString("–")
    return badge(OUTCOME_LOOKS.get(run.outcome, "bad"), run.get_outcome_display())


def node_badge(node: Node) -> SafeString:
    look, sign = NODE_LOOKS.get(node.status, ("quiet", "○"))
    return badge(look, format_html("{} {}", sign, node.get_status_display()))
