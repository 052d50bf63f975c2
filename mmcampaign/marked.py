"""Use case: a template rendered once more with marks in it, to tell where a finding comes from."""

from collections.abc import Mapping

from mmcampaign.checks.places import Marks, Places
from mmcampaign.context import MergeContext
from mmcampaign.errors import TemplateError
from mmcampaign.merge import HTML, TEXT, Template
from mmcampaign.merge.plain import PlainTemplate


class MarkedTemplate:
    """The marked twin of a template as it was read. What it renders is read, never sent."""

    def __init__(self, template: Template) -> None:
        self._files, self._marks = template.files, Marks()
        marked = {path: self._marks.mark(path, content) for path, content in template.files.items()}
        self._twin = PlainTemplate(marked, _bodies(template))

    def places(self, context: MergeContext, personal: Mapping[str, str]) -> Places:
        """The places of one email. A template that looks at its own words may not bear marks: it has files only."""
        try:
            html, text = self._twin.render(context, personal)
        except TemplateError:
            html = text = ""
        return Places(files=self._files, html=html, text=text, marks=self._marks)


def _bodies(template: Template) -> tuple[str, str]:
    """The names of the HTML and the text file: ours, or the predecessor's one pair NAME.html, NAME.txt."""
    ours = f"{template.name}/{HTML}", f"{template.name}/{TEXT}"
    if ours[0] in template.files:
        return ours
    stems = (path.removesuffix(".html") for path in template.files if path.startswith(f"{template.name}/"))
    return next(((f"{stem}.html", f"{stem}.txt") for stem in stems if f"{stem}.txt" in template.files), ours)
