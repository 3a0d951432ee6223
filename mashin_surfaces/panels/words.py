"""What people read of panels, in the admin and on pages."""

from __future__ import annotations

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from .definition import Cron, Interval, OnChange, OnEvent, PanelTool


def fires(tool: PanelTool) -> str:
    """When it runs: "by hand", "every 5 s" …"""
    match tool.definition.trigger:
        case Interval(ms=ms):
            return _("every %s s") % number_format(f"{ms / 1000:g}")
        case Cron(expression=expression):
            return _("cron %s") % expression
        case OnEvent(pattern=pattern):
            return _("on %s") % pattern
        case OnChange(path=path):
            return _("when %s changes") % path
        case _:
            return _("by hand")
