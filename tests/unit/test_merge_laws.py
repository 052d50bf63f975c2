"""The law of merging: whatever a template does, and whoever it is for, the email is that of a plain render, inlined.

Templates are put together from everything that Jinja offers for looking at a value; learners try to break out of the
page, of a header, of a token. The long run is ``make soak``.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from mmcampaign.context import MergeContext
from mmcampaign.errors import TemplateError
from mmcampaign.merge import Merged
from mmcampaign.merge.environment import long_date
from mmcampaign.merge.page import InliningError, inline, with_safe_conditionals
from mmcampaign.shapes import Filler, clean, one_line, without_tokens
from tests.unit.merge_builders import LINK, SHARED, filled, load, substitutions, tree

FIELDS = ("learner.first_name", "learner.name", "learner.country", "item.email")
NAMES = [
    *("Ann", "Bob", "ann", "AU", "", "Ann Lee", "Mary Jane Watson-Parker", "a@b.example", "42", "-7", "3.5"),
    *("O'Neil <b>&amp;</b>", 'Zoë "Z"', "欧阳娜娜", "👩‍🎓 Ann", "ΑΣ", "straße", "İi", "Z\xa0", "a\u3000b"),
    *("{{7*7}}", "{% if x %}", "</style>", "</title>", '"><script>alert(1)</script>', "--><b>", "]]>{{ x }}", "-"),
    *("a\r\nBcc: x@y.z", "%0d%0aBcc: x", "a\x00b", "\u202etxt.exe", "\u2067Ann", "\u200b", "x  y", " lead", "&copy"),
    *("Zq7hlearner0name7qZ", "Zq!7tlearner0email7qZ", "Zq 7titem0email7qZ", "7qZ", "www.example.org", "http://a.b/c"),
    *("javascript:alert(1)", "x onclick=alert(1)", "a;b", "50%", "{0}", "%s", "<!--", "!", "amp;", "lt"),
]
people = st.lists(st.one_of(st.sampled_from(NAMES), st.text(max_size=12)), min_size=4, max_size=4)


def several(words: str) -> list[str]:
    return words.split("  ")


# The second lists hold what often fails, or gives what cannot be followed. Left out is what Jinja itself does not
# print the same way twice: `random`, and a method that is not called (its address in memory).
FILTERS = several(
    "upper  lower  title  capitalize  trim  string  e  length  list | join(', ')  int  reverse  striptags  urlencode  "
    "default('friend')  default('friend', true)  d('<b>', true)  replace('n', 'm')  replace(' ', '')  "
    "replace('!', '')  replace('a', '<i>')  replace('A', learner.country)  truncate(5)  truncate(6, true, '…')  "
    "center(9)  wordcount  wordwrap(4)  indent(2)  safe  forceescape  urlize  tojson  escape | upper  "
    "upper | e  pprint  join('.')  "
    "list | sort | join  replace(' ', ' <br> ')  float  string | length"
)
FAILING_FILTERS = several(
    "first  last  batch(2) | list  unique | list | join  map('upper') | join  select('in', 'aeiou') | list | length  "
    "abs  round  xmlattr  filesizeformat  format('x')  dictsort"
)
METHODS = several(
    "upper()  split('@')[0]  split(' ')[:1]  startswith('A')  replace('n', 'm')  find('n')  strip('A')  title()  "
    "count('n')  zfill(5)  ljust(6)  partition(' ')[2]  isalpha()  split(' ') | length  casefold()"
)
FAILING_METHODS = several("split()[0]  split(' ')[1]  encode('utf-8')  join(['a', 'b'])  nothing")
AROUND = [
    "'Dear ' ~ {e}",
    "{e} ~ ', '",
    "' ' ~ {e} if {e}",
    "{e} ~ ' ' ~ {f}",
    "{e} ~ ('<b>' | safe)",
    "'Dear ' + {e}",
    "{e} + ' '",
    "{e} * 2",
    "'%s!' % {e}",
    "'%-9s|' % {e}",
    "'%s' | format({e})",
    "'Dear {{}}'.format({e})",
    "'abc' | replace('b', {e})",
    "[{e}, {f}] | join(', ')",
    "[{e}, {f}] | sort | first",
    "[{e}]",
    "[{e}, 1][0]",
    "{{'a': {e}}}.a",
    "dict(a={e})['a']",
    "{{'Ann': 'A', 'AU': 'Oz'}}[{e}] | default('none')",
    "{{'Ann': 'A'}}.get({e}, {f})",
    "{e}[0]",
    "{e}[:3]",
    "{e}[-2:]",
    "{e}[1:5:2]",
    "({e} | length) - 3",
    "10 // ({e} | length)",
    "-({e} | length)",
    "({e} | length) ** 2 % 5",
    "{e} or 'friend'",
    "{e} and {f}",
    "{e} == {f}",
    "namespace(a={e}).a",
    "range({e} | length) | list",
    "say({e})",
    "say({e}) | upper",
    "say({e}) ~ {f}",
    "{f} ~ say({e})",
    "say({e}) | length",
    "learner | length",
    "learner.items() | list | length",
    "number ~ {e}",
    "({e}, {f})[1]",
    "{e} if {c} else {f}",
    "{e} if {c} else '<i>'",
]
CONDITIONS = [
    "{e}",
    "not {e}",
    "{e} == 'Ann'",
    "'Ann' == {e}",
    "{e} != {f}",
    "{e} < 'M'",
    "{e} >= {f}",
    "'a' in {e}",
    "{e} in ['Ann', 'Bob', 'AU']",
    "{e} not in 'Anne'",
    "{e} | length > 3",
    "1 < {e} | length < 5",
    "{e} is string",
    "{e} is defined",
    "{e} is none",
    "{e} is eq('Ann')",
    "{e} is upper",
    "{e} is number",
    "{e} is in ['Ann']",
    "({e} | length) is odd",
    "{e} | int",
    "[{e}] == ['Ann']",
    "({e}, 1) == ('Ann', 1)",
    "{e} == {e} | upper",
    "{e}.startswith('A')",
    "say({e}) == 'Ann'",
    "next is none and {e}",
    "number == 3 or {e}",
]
STATEMENTS = [
    "words ",
    "{{{{ {e} }}}}",
    "Dear {{{{ {e} }}}}, well done. ",
    "{{{{ {e} }}}} {{{{ {f} }}}}",
    "{{{{ {e} }}}}{{{{ {f} }}}}",
    "&{{{{ {e} }}}}",
    "{{% if {c} %}}{b}{{% else %}}{b2}{{% endif %}}",
    "{{% if {c} %}}{b}{{% elif {e} %}}{b2}{{% endif %}}",
    "{{% for course in program.courses %}}{{{{ course.title ~ {e} }}}}{{{{ ', ' if not loop.last }}}}{{% endfor %}}",
    "{{% for course in program.courses if {c} %}}{{{{ loop.index }}}}{b}{{% else %}}none{{% endfor %}}",
    "{{% for n in [{e}, {f}] %}}{{{{ n }}}};{{% endfor %}}",
    "{{% for n, m in [({e}, 1)] %}}{{{{ n }}}}{{{{ m }}}}{{% endfor %}}",
    "{{% for n, m in [({e} ~ 'ab')[:2]] %}}{{{{ n }}}}{{% endfor %}}",
    "{{% for word in {e}.split(' ') %}}{{{{ word | title }}}}+{{% endfor %}}",
    "{{% for letter in {e} %}}{{{{ letter }}}}.{{% endfor %}}",
    "{{% for key, value in learner.items() %}}{{{{ key }}}}={{{{ value }}}};{{% endfor %}}",
    "{{% for k, v in {{'a': {e}}} | dictsort %}}{{{{ k }}}}{{{{ v }}}}{{% endfor %}}",
    "{{% set x = {e} %}}{{% if x == 'Ann' %}}{{{{ x }}}}!{{% endif %}}{b}",
    "{{% set x, y = {e}, {f} %}}{{{{ y }}}}{{{{ x }}}}",
    "{{% set x, y = ({e} ~ 'ab')[:2] %}}{{{{ y }}}}{{{{ x }}}}",
    "{{% set unused = {e} %}}{b}",
    "{{% set x %}}Hi {b}!{{% endset %}}{{{{ x }}}}{{{{ x | length }}}}",
    "{{% set x %}}{{{{ {e} }}}}{{% endset %}}{{{{ x[:2] }}}}{{{{ 'yes' if x else 'no' }}}}{{{{ x ~ {f} }}}}",
    "{{% set x %}}{{{{ {e} }}}}{{% endset %}}{{% for l in x %}}{{{{ l }}}}/{{% endfor %}}",
    "{{% set x | upper %}}Hi {b}!{{% endset %}}{{{{ x }}}}",
    "{{% filter upper %}}Dear {{{{ {e} }}}}{{% endfilter %}}",
    "{{% filter replace('n', 'm') %}}{b}{{% endfilter %}}",
    "{{% with n = {e} %}}{{{{ n | default('x') }}}}{{% endwith %}}",
    "{{% call box({e}) %}}{b}{{% endcall %}}",
    "{{% set ns = namespace(n=0) %}}{{% for l in {e} %}}{{% set ns.n = ns.n + 1 %}}{{% endfor %}}{{{{ ns.n }}}}",
    "{{% autoescape false %}}{{{{ {e} }}}}{{% endautoescape %}}",
    "{{% autoescape true %}}{{{{ {e} }}}}{{% endautoescape %}}",
    "line\n\n\n  {{{{ {e} }}}}  \n\n\nline {b}\n",
]
FRAMES = [
    "<p>{}</p>",
    "<table><tr><td> {} </td></tr></table>",
    "<ul>{}</ul>",
    '<p title="{}">x</p>',
    "<p title={}>x</p>",
    '<img alt="{}" src="a.png">',
    '<p class="{}">x</p>',
    '<p style="color: {}">x</p>',
    "<style>.a {{ color: red }} .{} {{ color: blue }}</style><p class='a Ann'>x</p>",
    "<script>var x = '{}'</script>",
    "<p>x<!-- {} --></p>",
    "<p>x<!--{}--></p>",
    "<p>x<!--[if mso]><b>{}</b><![endif]--></p>",
    "<![if !mso]><b>{}</b><![endif]>",
    '<a href="https://example.org/?q={}">x</a>',
    '<a href="mailto:{}">x</a>',
    '<a href="{}">x</a>',
    "<a href={}>x</a>",
    "<style>a[href^=A] {{ color: red }}</style><a href='{}'>x</a>",
    "<style>a[x-data-detectors] {{ color: red }}</style><a href='x?{}' title='{}'>x</a>",
    '<a href="{{{{ unsubscribe_url }}}}">{}</a>',
    "<title>{}</title><style>p {{ margin: 0 }}</style><p>y</p>",
]
MACROS = (
    "{% macro say(n) %}{{ n }}{% endmacro %}"
    "{% macro box(n) %}[{{ n | default('x', true) }}: {{ caller() }}]{% endmacro %}"
)


@st.composite
def expressions(draw: Any, depth: int = 2) -> str:
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return str(draw(st.sampled_from(FIELDS)))
    inner = f"({draw(expressions(depth - 1))})"
    kind, failing = draw(st.integers(0, 3)), draw(st.integers(0, 40)) == 0
    if kind <= 1:
        return f"{inner} | {draw(st.sampled_from(FAILING_FILTERS if failing else FILTERS))}"
    if kind == 2:
        return f"({inner} | string).{draw(st.sampled_from(FAILING_METHODS if failing else METHODS))}"
    around = str(draw(st.sampled_from(AROUND)))
    return around.format(e=inner, f=f"({draw(expressions(0))})", c=draw(conditions(0)))


@st.composite
def conditions(draw: Any, depth: int = 1) -> str:
    inner, other = draw(expressions(depth)), draw(expressions(0))
    condition = str(draw(st.sampled_from(CONDITIONS))).format(e=f"({inner})", f=f"({other})")
    joint = draw(st.sampled_from(["", "", " and ", " or "]))
    return f"{condition}{joint}{draw(conditions(0))}" if joint and depth else condition


@st.composite
def statements(draw: Any, depth: int = 2) -> str:
    inner = [draw(statements(depth - 1)) if depth else "{{ learner.name }}" for _ in range(2)]
    return str(draw(st.sampled_from(STATEMENTS))).format(
        e=f"({draw(expressions())})", f=f"({draw(expressions(1))})", c=draw(conditions()), b=inner[0], b2=inner[1]
    )


@st.composite
def templates(draw: Any) -> dict[str, str]:
    frame = str(draw(st.sampled_from(FRAMES if draw(st.booleans()) else FRAMES[:3])))
    frame = frame.format(*[draw(statements())] * 2)
    return {
        "subject_txt": f"{MACROS}Mail: {draw(statements(1))}",
        "body_html": f"{MACROS}<html><head></head><body>{frame}<p>{draw(statements(1))}</p></body></html>",
        "body_txt": f"{MACROS}[{draw(statements())}]",
    }


def with_words(value: object) -> object:
    """What is printed; an object that would say its address in memory is an error."""
    if not isinstance(value, str) and re.search(r" at 0x[0-9a-f]+>", str(value)):
        raise jinja2.TemplateRuntimeError("an object without words")
    return value


def plain(files: Mapping[str, str], personal: Mapping[str, str]) -> tuple[str, str, str] | None:
    """The email by Jinja and inlining alone; none where that fails."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        autoescape=lambda name: name is not None and name.endswith("html"),
        finalize=with_words,
    )
    environment.filters["long_date"] = long_date
    environment.loader = jinja2.DictLoader({name.replace("_", "."): text for name, text in files.items()})
    values: dict[str, Any] = {**SHARED, "learner": {}, "item": {}}
    for name, value in personal.items():
        group, _, leaf = name.rpartition(".")
        (values[group] if group else values)[leaf] = clean(value)
    try:
        subject, html, text = (environment.get_template(each.replace("_", ".")).render(values) for each in files)
        html = inline(with_safe_conditionals(without_tokens(html)))
    except (jinja2.TemplateError, InliningError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None
    text = re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)).strip("\n") + "\n"
    return one_line(without_tokens(subject)), html, without_tokens(text)


def require_law(folder: Path, files: Mapping[str, str], learners: list[list[str]]) -> None:
    template = load(folder, **files)
    for values in [*learners, learners[0]]:
        personal = {**dict(zip(FIELDS, values, strict=True)), "unsubscribe_url": LINK}
        expected = plain(files, personal)
        if expected is None:
            event("fails")
            with pytest.raises(TemplateError):
                template.merge(MergeContext.of(SHARED), personal)
            continue
        merged = template.merge(MergeContext.of(SHARED), personal)
        event("shared" if merged.shared else "alone")
        require_same(merged, expected)
        require_substitutions(merged)


def _anywhere(text: str) -> str:
    """An iterator that a template joins to a text (``~``) says where in memory it stands."""
    return re.sub(r" at 0x[0-9a-f]+", " at 0x0", text)


def require_same(merged: Merged, expected: tuple[str, str, str]) -> None:
    subject, html, text = map(_anywhere, map(without_tokens, filled(merged)))
    assert subject == _anywhere(expected[0])
    assert tree(html) == tree(_anywhere(expected[1]))
    assert text == _anywhere(expected[2])
    assert len(subject.splitlines()) == 1


def require_substitutions(merged: Merged) -> None:
    """What SendGrid does: it replaces each token by its words."""
    filler, html = Filler(merged.shape), merged.shape.html
    for token, words in substitutions(filler, merged.values).items():
        html = html.replace(token, words)
    assert html == filler.html(merged.values)


laws = given(templates(), st.lists(people, min_size=3, max_size=3))
quietly: Any = {
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    "deadline": None,
}


@settings(max_examples=80, **quietly)
@laws
def test_the_email_is_that_of_a_plain_render(tmp_path: Path, files: dict[str, str], learners: list[list[str]]) -> None:
    require_law(tmp_path, files, learners)


@pytest.mark.soak
@settings(max_examples=2_000, **quietly)
@laws
def test_the_email_is_that_of_a_plain_render_many_times(
    tmp_path: Path, files: dict[str, str], learners: list[list[str]]
) -> None:
    require_law(tmp_path, files, learners)
