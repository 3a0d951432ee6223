"""Every text is translated, and what is translated keeps what programs put into it."""

from __future__ import annotations

import gettext
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

from .catalogues import FOLDERS, LANGUAGES, ROOT, Message, header, messages, po_file

CATALOGUES = [
    pytest.param(folder, language, id=f"{folder.relative_to(ROOT)}/{language}")
    for folder in FOLDERS
    for language in LANGUAGES
]
#: What a program replaces, and what a browser reads: these must come through a translation.
PARTS = re.compile(r"%\(\w+\)[sd]|%[sd%]|\{\w*\}|</?\w[^>]*>|&\w+;")
TOOLS = ("xgettext", "msgmerge", "msguniq", "msgattrib")


def translations_in(path: Path) -> gettext.GNUTranslations:
    with path.open("rb") as file:
        return gettext.GNUTranslations(file)


@pytest.mark.parametrize(("folder", "language"), CATALOGUES)
def test_nothing_is_left_out_or_guessed(folder: Path, language: str) -> None:
    found = messages(po_file(folder, language))
    assert found
    assert "fuzzy" not in po_file(folder, language).read_text()
    assert [each.text for each in found if not all(each.translations)] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_all_languages_have_the_same_texts(folder: Path) -> None:
    first, *others = (
        sorted((each.context or "", each.text) for each in messages(po_file(folder, language)))
        for language in LANGUAGES
    )
    assert others == [first]


@pytest.mark.parametrize(("folder", "language"), CATALOGUES)
def test_every_plural_form_is_there(folder: Path, language: str) -> None:
    told = re.search(r"nplurals=(\d)", header(po_file(folder, language)))
    assert told is not None
    forms = [len(each.translations) for each in messages(po_file(folder, language)) if each.plural]
    assert set(forms) <= {int(told[1])}


@pytest.mark.parametrize(("folder", "language"), CATALOGUES)
def test_the_compiled_catalogue_is_the_written_one(folder: Path, language: str) -> None:
    """`make messages` compiles; a .po that was edited without it is noticed here."""
    path = po_file(folder, language)
    compiled = path.with_suffix(".mo")
    count = int.from_bytes(compiled.read_bytes()[8:12], sys.byteorder)
    found = messages(path)
    assert count == len(found) + 1, "besides the messages there is the header"
    spoken = translations_in(compiled)
    for each in found:
        assert said(spoken, each) == set(each.translations), each.text


def said(spoken: gettext.GNUTranslations, message: Message) -> set[str]:
    """All that a compiled catalogue has for a message."""
    if message.plural is not None:
        assert message.context is None
        return {spoken.ngettext(message.text, message.plural, n) for n in (0, 1, 2, 5)}
    if message.context is not None:
        return {spoken.pgettext(message.context, message.text)}
    return {spoken.gettext(message.text)}


@pytest.mark.parametrize(("folder", "language"), CATALOGUES)
def test_placeholders_and_markup_come_through(folder: Path, language: str) -> None:
    for each in messages(po_file(folder, language)):
        wanted = Counter(PARTS.findall(each.plural or each.text))
        for translation in each.translations:
            assert Counter(PARTS.findall(translation)) == wanted, each.text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "theirs",
    ["django/conf/locale", "django/contrib/admin/locale", "rest_framework/locale"],
)
def test_what_others_say_too_is_said_in_their_words(theirs: str, language: str) -> None:
    """There is one catalogue in a process: whose word comes first is everybody's.

    A text that means another thing here has a context.
    """
    package, _slash, folder = theirs.partition("/")
    source = find_spec(package)
    assert source is not None
    assert source.origin is not None
    spoken = gettext.translation("django", Path(source.origin).parent / folder, [language])
    for each in messages(po_file(FOLDERS[0], language)):
        if not each.context and (word := spoken.gettext(each.text)) != each.text:
            assert each.translations == (word,)


def test_no_marked_text_is_missing(tmp_path: Path) -> None:
    """What `make messages` would find is what the catalogues have."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        pytest.skip(f"GNU gettext finds the marked texts, and is not here: {', '.join(absent)}.")
    for name in ("mashin_surfaces", "project", "templates", "locale"):
        unread = shutil.ignore_patterns("__pycache__", "static", "migrations")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=unread)
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    made = subprocess.run(
        [sys.executable, "-m", "django", "makemessages", "--all", "--no-obsolete"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    for folder in FOLDERS:
        for language in LANGUAGES:
            written = po_file(folder, language)
            collected = po_file(tmp_path / folder.relative_to(ROOT), language)
            kept = {each.key for each in messages(written)}
            found = {each.key for each in messages(collected)}
            assert found == kept, "call `make messages` and translate what is new"


# -- templates ------------------------------------------------------------------------------------

MARKED = re.compile(r"\{% blocktranslate.*?endblocktranslate %\}", re.DOTALL)
CLASSES = re.compile(r"\{% block bodyclass %\}.*?\{% endblock %\}")
CODE = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)
SPOKEN = {"aria-label", "title", "placeholder", "alt"}
#: Names, not words of a language.
NAMES = {"mashin", "task.*", "Authorization: Bearer msk__…"}


class _Words(HTMLParser):
    """What a browser would show or read out of a template's own text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_data(self, data: str) -> None:
        self.found |= {line.strip() for line in data.splitlines()}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {value for name, value in attrs if name in SPOKEN and value}


def templates() -> Iterator[Path]:
    yield from sorted((ROOT / "mashin_surfaces" / "templates").rglob("*.html"))
    yield from sorted((ROOT / "templates").rglob("*.html"))


@pytest.mark.parametrize("path", [pytest.param(each, id=str(each.name)) for each in templates()])
def test_a_template_has_no_words_that_are_not_marked(path: Path) -> None:
    parser = _Words()
    text = path.read_text()
    if path.name == "control_attributes.html":  # it stands within a tag
        text = f"<input {text}>"
    parser.feed(CODE.sub("", CLASSES.sub("", MARKED.sub("", text))))
    unmarked = {word for word in parser.found - NAMES if re.search(r"[A-Za-z]", word)}
    assert unmarked == set()
