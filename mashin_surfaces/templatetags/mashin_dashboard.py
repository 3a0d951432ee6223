"""``{% mashin_dashboard %}``: the dashboard (``admin/dashboard.py``) in a template of an admin."""

from __future__ import annotations

from typing import Any

from django import template

from ..admin.dashboard import dashboard_of

register = template.Library()


@register.inclusion_tag("admin/mashin_surfaces/dashboard.html", takes_context=True)
def mashin_dashboard(context: dict[str, Any]) -> dict[str, Any]:
    """For the page's reader; nothing for those who may see nothing of it."""
    request = context["request"]
    return {"dashboard": dashboard_of(request, request.current_app)}
