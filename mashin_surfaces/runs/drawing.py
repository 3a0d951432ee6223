"""What the scripts of a run's page (``graph.js``, ``run.js``) are given, in the admin or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.utils.translation import gettext as _

from .models import Node, Run
from .states import OVER
from .words import NODE_LOOKS

#: Nodes that are drawn: beyond, nobody reads a picture, and a browser takes seconds for it.
MOST_DRAWN: Final = 300


def drawing(
    run: Run, offset: int, nodes: Sequence[Mapping[str, Any]], stream: str | None
) -> dict[str, Any] | None:
    """None when there is too much to draw.

    ``nodes``: ``{"id", "title", "kind", "needs", "status"}`` as they were at ``offset`` of the log.
    ``stream``: the path of the run's socket, None where the reader can't have it.
    """
    if len(nodes) > MOST_DRAWN:
        return None
    return {
        "nodes": nodes,
        "stream": stream,
        "offset": offset,
        "is_over": run.status in OVER,
        "states": _states(),
        "words": {
            "graph": _("The graph of the run"),
            "needs": _("needs"),
            "live": _("Live"),
            "lost": _("The connection is lost; trying again"),
            "gone": _("Not live: looked at anew every few seconds"),
        },
    }


def _states() -> dict[str, dict[str, str]]:
    """What the graph says of a node, by its status on the wire."""
    return {
        status.value: {"look": NODE_LOOKS[status][0], "sign": NODE_LOOKS[status][1], "word": word}
        for status, word in ((each, str(each.label)) for each in Node.Status)
    }
