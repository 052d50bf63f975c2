"""Files rendered by Jinja alone, with nothing traced and nothing inlined: for looking at, not for sending."""

from collections.abc import Mapping, Sequence

import jinja2

from mmcampaign.context import MergeContext
from mmcampaign.errors import TemplateError
from mmcampaign.merge.environment import Environment, merge_values
from mmcampaign.merge.page import with_safe_conditionals

_ERRORS = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class PlainTemplate:
    """Sources by name, of which the files ``names`` are rendered."""

    def __init__(self, sources: Mapping[str, str], names: Sequence[str]) -> None:
        self._environment, self._names = Environment(sources), names

    def render(self, context: MergeContext, personal: Mapping[str, str]) -> list[str]:
        """The files in order. Raises TemplateError where one cannot be rendered with these values."""
        values = merge_values(context.values, personal)
        try:
            return [with_safe_conditionals(self._environment.get_template(name).render(values)) for name in self._names]
        except _ERRORS as error:
            raise TemplateError(f"the files cannot be rendered ({type(error).__name__})") from None
