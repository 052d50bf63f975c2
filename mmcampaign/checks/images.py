"""Pictures: many people never see them, and some programs load none from plain http."""

import re
from collections.abc import Iterator
from typing import Any

from mmcampaign.checks import limits
from mmcampaign.checks.email import Page, Spot
from mmcampaign.findings import Part, Severity


def described(page: Page) -> Iterator[Spot]:
    """WCAG 2.2, 1.1.1. An empty alt says that the picture is decoration."""
    for image in page.root.iter("img"):
        if "alt" not in image.attrib:
            yield _warn(
                "image-without-alt",
                "A picture has no alternative text; with pictures off, and to a screen reader, it says nothing.",
                'write alt="…", or alt="" for decoration',
                image,
            )


def sized(page: Page) -> Iterator[Spot]:
    for image in page.root.iter("img"):
        if not all(_length(image, side) for side in ("width", "height")):
            yield _warn(
                "image-without-size",
                "A picture has no width and height, so the page jumps when it loads, and Outlook may show it too big.",
                'write width="…" height="…" in pixels',
                image,
            )


def loadable(page: Page) -> Iterator[Spot]:
    for image in page.root.iter("img"):
        address = (image.get("src") or "").strip()
        if not address.lower().startswith("https://"):
            yield _warn(
                "image-not-https",
                f"A picture is {'empty' if not address else 'not loaded over https'}, so many programs show none.",
                "put it on a web server and write its https:// address",
                image,
            )


def more_than_words(page: Page) -> Iterator[Spot]:
    """An email that is mostly picture says nothing with pictures off, and looks like spam."""
    images = [image for image in page.root.iter("img") if (_length(image, "width") or 0) > 1]
    area = sum((_length(image, "width") or 0) * (_length(image, "height") or 0) for image in images)
    if area > len(page.words) * limits.PIXELS_PER_LETTER:
        yield _warn(
            "more-image-than-text",
            "The pictures take more room than the words.",
            "say the message in words",
            max(images, key=lambda image: (_length(image, "width") or 0) * (_length(image, "height") or 0)),
        )


def _length(image: Any, side: str) -> float | None:
    """Pixels; a percentage or ``auto`` counts as given for the width only where a number stands beside it."""
    said = image.get(side) or ""
    if not re.fullmatch(r"\s*[\d.]+(px)?\s*", said):
        styled = re.search(rf"(?<![\w-]){side}\s*:\s*([\d.]+)px", image.get("style") or "")
        said = styled[1] if styled else ""
    number = re.match(r"\s*(\d+(\.\d+)?)", said)
    return float(number[1]) if number else None


def _warn(code: str, message: str, mend: str, image: Any) -> Spot:
    return Spot(severity=Severity.WARN, code=code, message=message, mend=mend, part=Part.HTML, element=image)


RULES = (described, sized, loadable, more_than_words)
