"""API keys in the admin: issued, shown once, revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST

from ..identity.api_keys import issue, revoke
from ..identity.models import ApiKey
from ..identity.subjects import allowed_to
from .markup import SCRIPT, badge
from .records import RecordAdmin
from .searching import begins_with, found_by

if TYPE_CHECKING:
    BaseForm = forms.ModelForm[ApiKey]
else:
    BaseForm = forms.ModelForm

_LOOKS: Final = {"live": "good", "expired": "warn", "revoked": "bad"}


class ScopesField(forms.CharField):
    """Scopes as text, separated by commas, spaces or lines; a sorted list inside."""

    widget = forms.Textarea

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        return sorted(set(text.replace(",", " ").split()))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return sorted(initial or []) != sorted(set((data or "").replace(",", " ").split()))


class ApiKeyForm(BaseForm):
    """Judges by the rules of ``identity``, which it asks. ``user`` is who fills it in."""

    user: Any = None

    scopes = ScopesField(
        label=gettext_lazy("Scopes"),
        required=False,
        widget=forms.Textarea({"rows": 4, "class": "mashin-scopes", "spellcheck": "false"}),
        help_text=gettext_lazy(
            "One a line, or separated by commas: machines:run:greeter, machines:run, reports:*. "
            "A key without scopes opens nothing."
        ),
    )

    class Meta:
        model = ApiKey
        fields = ("name", "owner", "scopes", "expires_at")

    def clean_scopes(self) -> list[str]:
        scopes: list[str] = self.cleaned_data["scopes"]
        held = allowed_to(self.user)
        before = self.instance.scopes if self.instance.pk else []
        # Nobody makes a key that opens more than they may open themselves.
        beyond = [scope for scope in scopes if scope not in before and not held.covers(scope)]
        if beyond:
            raise ValidationError(
                _("You can't give what you don't hold: %s.") % ", ".join(beyond), code="beyond"
            )
        return scopes

    def clean_owner(self) -> Any:
        owner = self.cleaned_data["owner"]
        if owner is not None and owner != self.user and not self.user.is_superuser:
            raise ValidationError(
                _("Only a superuser can issue a key in somebody else's name."), code="owner"
            )
        return owner

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if "expires_at" in self.changed_data and expires_at and expires_at <= timezone.now():
            raise ValidationError(_("This moment is over: choose one to come."), code="over")
        return expires_at

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors and "name" in cleaned:
            owner = cleaned.get("owner") if "owner" in self.fields else self.instance.owner
            try:
                # Issued and taken back: whoever issues keys knows what can be one.
                with transaction.atomic():
                    issue(cleaned["name"], cleaned.get("scopes", ()), owner=owner)
                    transaction.set_rollback(True)
            except ValueError as error:
                self.add_error("name", str(error))
        return cleaned


class StateFilter(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return [
            ("live", pgettext("key", "Live")),
            ("expired", _("Expired")),
            ("revoked", _("Revoked")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        is_over = Q(expires_at__lte=timezone.now())
        match self.value():
            case "live":
                return queryset.filter(~is_over | Q(expires_at=None), revoked_at=None)
            case "expired":
                return queryset.filter(is_over, revoked_at=None)
            case "revoked":
                return queryset.exclude(revoked_at=None)
        return queryset


class ApiKeyAdmin(RecordAdmin[ApiKey]):
    form = ApiKeyForm
    change_form_template = "admin/mashin_surfaces/apikey/change_form.html"
    list_display = (
        "name", "state", "owner", "scope_list", "expires_at", "last_used_at",
    )  # fmt: skip
    list_filter = (StateFilter,)
    list_select_related = ("owner",)
    search_fields = ("name", "id")
    search_help_text = gettext_lazy("The beginning of a name, or of an id.")
    sortable_by = ("name",)
    raw_id_fields = ("owner",)
    actions = ("revoke_keys",)

    class Media:
        js = (SCRIPT,)

    # -- the list -------------------------------------------------------------------------------

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ApiKey], search_term: str
    ) -> tuple[QuerySet[ApiKey], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        id = term.removeprefix("msk_")[:16]
        keys = ApiKey.objects
        found = found_by(keys.filter(begins_with("name", term)), keys.filter(begins_with("id", id)))
        return queryset.filter(found), False

    @admin.display(description=gettext_lazy("key"))
    def key_id(self, key: ApiKey) -> str:
        return f"msk_{key.pk}_…"

    @admin.display(description=gettext_lazy("state"))
    def state(self, key: ApiKey) -> SafeString:
        name = state_of(key)
        titles = {"live": pgettext("key", "live"), "expired": _("expired"), "revoked": _("revoked")}
        return badge(_LOOKS[name], titles[name])

    @admin.display(description=gettext_lazy("scopes"))
    def scope_list(self, key: ApiKey) -> str:
        return ", ".join(map(str, key.scopes)) or "–"

    @admin.action(description=gettext_lazy("Revoke selected keys"), permissions=["change"])
    def revoke_keys(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        live = [key for key in keys if key.revoked_at is None]
        with transaction.atomic():
            for key in live:
                revoke(key)
                self.log_change(request, key, [{"changed": {"fields": ["revoked_at"]}}])
        text = ngettext("%d key was revoked.", "%d keys were revoked.", len(live))
        self.message_user(request, text % len(live), messages.SUCCESS)

    # -- the page -------------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        if obj is None:
            return ((None, {"fields": ("name", "owner", "scopes", "expires_at")}),)
        facts = ("key_id", "state", "owner", "created_at", "last_used_at", "revoked_at")
        return (
            (None, {"fields": ("name", "scopes", "expires_at")}),
            (_("The key"), {"fields": facts}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        facts = ("key_id", "state", "created_at", "last_used_at", "revoked_at")
        return facts if obj is None else (*facts, "owner")

    def get_autocomplete_fields(self, request: HttpRequest) -> Any:
        """Owners are found by typing, where the site has users to be searched."""
        users = self.admin_site._registry.get(get_user_model())
        can_search = (
            users is not None
            and users.get_search_fields(request)
            and users.has_view_permission(request)
        )
        return ("owner",) if can_search else ()

    def get_form(
        self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"user": request.user})

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: ApiKey | None = None,
    ) -> HttpResponse:
        if add:  # the next page shows the key, and nothing else does
            context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        context["may_revoke"] = (
            obj is not None and obj.revoked_at is None and self.has_change_permission(request, obj)
        )
        return super().render_change_form(request, context, add, change, form_url, obj)

    # -- saving ---------------------------------------------------------------------------------

    @sensitive_variables("text")
    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=[name for name in form.changed_data if name in form.fields])
            return
        key, text = issue(obj.name, obj.scopes, owner=cast(Any, obj.owner))
        # To the minute that was asked for; it is a new key, there is nobody to be told.
        ApiKey.objects.filter(pk=key.pk).update(expires_at=obj.expires_at)
        obj.pk = key.pk
        obj._state.adding = False
        obj.refresh_from_db()
        _keep(request, text)

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The key's text, in this answer and nowhere else: in no session, cookie or log."""
        title, text = _("A new API key"), _take(request)
        response = self.page_below(request, "apikey/issued.html", title, key=obj, text=text)
        add_never_cache_headers(response)
        return response

    def get_urls(self) -> list[Any]:
        revoke_view = self.admin_site.admin_view(require_POST(self.revoke_view))
        name = "mashin_surfaces_apikey_revoke"
        return [path("<path:object_id>/revoke/", revoke_view, name=name), *super().get_urls()]

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Revoke one key, whatever else its page would say is wrong with it."""
        key = self.get_object(request, object_id)
        if key is None:
            raise Http404(_("There is no such key."))
        if not self.has_change_permission(request, key):
            raise PermissionDenied
        with transaction.atomic():
            if key.revoked_at is None:
                revoke(key)
                self.log_change(request, key, [{"changed": {"fields": ["revoked_at"]}}])
        self.message_user(
            request, _("The key %s is revoked: it is good for nothing now.") % key, messages.SUCCESS
        )
        change = "admin:mashin_surfaces_apikey_change"
        return HttpResponseRedirect(
            reverse(change, args=(key.pk,), current_app=self.admin_site.name)
        )


def state_of(key: ApiKey) -> str:
    """``live``, ``expired`` or ``revoked``."""
    if key.revoked_at is not None:
        return "revoked"
    return "live" if key.is_live else "expired"


def _keep(request: HttpRequest, text: str) -> None:
    """Put the key's text with the request, which ends with the answer."""
    cast(Any, request).mashin_issued_key = text


def _take(request: HttpRequest) -> str:
    text: str = request.__dict__.pop("mashin_issued_key")
    return text
