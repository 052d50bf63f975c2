"""Small templates in a temporary folder, and people to merge them for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lxml import html as lxml_html

from mmcampaign.context import MergeContext
from mmcampaign.merge import Merged, Merger, Template
from mmcampaign.shapes import Filler

LINK = "https://mail.example.edu/u/AbC-_1.x=?&~"
SHARED = {
    "program": {"title": "Sustainable Energy & Co", "courses": [{"title": "One", "done": True}, {"title": "Two"}]},
    "trigger": {"title": "Climate <Science>", "upgrade_deadline": "2027-01-20"},
    "next": None,
    "number": 3,
}
ANN = {
    "learner.name": "Ann Lee",
    "learner.first_name": "Ann",
    "learner.country": "AU",
    "unsubscribe_url": LINK,
    "item.email": "ann@example.org",
}


def write(folder: Path, name: str = "mail", **files: str) -> Path:
    """A template folder; file names with ``_`` for the dot."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for file, content in ({"subject_txt": "Hello", "body_html": "<p>Hello</p>", "body_txt": "Hello"} | files).items():
        (folder / name / file.replace("_", ".")).write_text(content, "utf-8")
    return folder


def load(folder: Path, **files: str) -> Template:
    return Merger(write(folder, **files)).load("mail")


def merge_one(folder: Path, personal: Mapping[str, str] = ANN, **files: str) -> Merged:
    return load(folder, **files).merge(MergeContext.of(SHARED), personal)


def filled(merged: Merged) -> tuple[str, str, str]:
    filler = Filler(merged.shape)
    return filler.subject(merged.values), filler.html(merged.values), filler.text(merged.values)


def substitutions(filler: Filler, values: Mapping[str, str]) -> dict[str, str]:
    """What each token stands for in the message of one person."""
    columns = filler.columns({field: [value] for field, value in values.items()})
    return {token: words for token, (words,) in zip(filler.tokens, columns, strict=True)}


def tree(html: str) -> Any:
    """The parsed page as nested tuples: tags, attributes, texts, comments."""

    def node(element: Any) -> Any:
        attributes = tuple(sorted(element.attrib.items())) if isinstance(element.tag, str) else ()
        return str(element.tag), attributes, element.text or "", [node(child) for child in element], element.tail or ""

    return node(lxml_html.document_fromstring(html))
