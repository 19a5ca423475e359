"""Chat templates made from a seed over the forms that public ones use, with what transformers makes of them.

    pip install jinja2==3.1.6 transformers                         # transformers may be missing, and torch is not needed
    python tests/golden/template_forms.py                          # writes template_forms.jsonl beside this script
    python tests/golden/template_forms.py --check                  # compares, exit 1 on a difference
    python tests/golden/template_forms.py --count 5000 --seed 7 --out forms.jsonl

A line is one rendering: the template, what it reads, the text (null where it is refused) and the assistant mask as places
of letters. Where transformers can be imported its own render_jinja_template makes them, else a copy of its environment; the
script says which. The rows of FORMS are fixed and come first.
TRAINER_FORMS=forms.jsonl cargo test -p model renderings_of_a_file -- --ignored     # compares a file of any length
The clock is fixed: 1772323200 seconds after 1970, which is 1 March 2026; it knows no zone, as that of transformers.
"""
import argparse, copy, json, pathlib, random, re, sys, warnings
from datetime import datetime

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

try:
    from transformers.utils import chat_template_utils as theirs
except ImportError:
    theirs = None

NOW = datetime(2026, 3, 1)


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


if theirs:
    theirs.datetime = Clock
# Python's own, about templates that take an item of a constant.
warnings.simplefilter("ignore", SyntaxWarning)

# What every template can read beside messages, tools (none) and documents (none).
DATA = {
    "name": "it's \"Ann\"", "text": "  Hello, <b>World</b> & co.\n\nline two\tend  ", "empty": "", "uni": "é日本😀ß",
    "n": 7, "neg": -7, "f": 2.5, "big": 1e20, "tiny": 0.00001, "one": 1.0, "yes": True, "no": False, "nil": None,
    "xs": [3, 1, 2], "ys": ["b", "A", "c", "a"], "zs": [], "nest": [[1, [2, 3]], ["x", None, True, 1.5]],
    "d": {"b": 1, "a": {"k": [1, "two"]}, "Z": None}, "dd": {},
    "rows": [{"role": "user", "content": "q", "n": 2}, {"role": "tool", "content": None, "n": 1}, {"role": "User", "content": "r"}],
    "calls": [{"function": {"name": "get", "arguments": {"city": "Köln", "n": [1, 2.0, None]}}, "id": "c1"}],
    "quotes": ["it's", "say \"x\"", "both ' and \"", "tab\t\\", "\u200b", "é", ""], "floats": [0.1, 1e-7, 123456.789, 1e16, 3.0, -2.5],
    "schema": {"type": "function", "function": {"name": "find", "description": "Finds\na thing", "parameters": {"type": "object", "properties": {"q": {"type": "string", "enum": ["a", "b"]}, "k": {"type": ["integer", "null"], "default": 3}}, "required": ["q"]}}},
    "wide": 9007199254740993,
}


class Tracker(Extension):
    """transformers' AssistantTracker."""
    tags = {"generation"}

    def __init__(self, environment):
        super().__init__(environment)
        environment.extend(tracker=self)
        self.blocks, self.spans = None, None

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_support"), [], [], body).set_lineno(line)

    @jinja2.pass_eval_context
    def _support(self, context, caller):
        text = caller()
        start = len("".join(self.blocks))
        self.spans.append([start, start + len(text)])
        return text


class Dict:
    """transformers' TemplateDict."""

    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args, **kwargs):
        return dict.fromkeys(*args, **kwargs)


class Namespace(jinja2.utils.Namespace):
    """transformers' TemplateNamespace."""

    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        names = dict(*args, **kwargs)
        for name in names:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, names)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Tracker, loopcontrols])
    env.filters["tojson"] = tojson
    env.globals.update(raise_exception=raise_exception, strftime_now=NOW.strftime, dict=Dict(), namespace=Namespace)
    return env


def by_copy(source, messages, prompt, data):
    env = environment()
    blocks, spans = [], []
    env.tracker.blocks, env.tracker.spans = blocks, spans
    for block in env.from_string(source).generate(messages=messages, tools=None, documents=None, add_generation_prompt=prompt, **data):
        blocks.append(block)
    return "".join(blocks), spans


def by_transformers(source, messages, prompt, data):
    texts, spans = theirs.render_jinja_template([messages], chat_template=source, return_assistant_tokens_mask=True, add_generation_prompt=prompt, **data)
    return texts[0], [list(span) for span in spans[0]]


def rendered(source, messages, prompt):
    """Text and spans; none where the template is refused or writes an address of its memory."""
    # A template may append to a list, which must not reach the next one.
    data = copy.deepcopy(DATA)
    try:
        text, spans = (by_transformers if theirs else by_copy)(source, messages, prompt, data)
    except Exception as error:  # any: Python's own errors leave a template too
        return None, [], type(error).__name__
    if re.search(r"(object|method|function) .*at 0x|at 0x[0-9a-f]{6,}", text):
        return None, [], "an address"
    return text, spans, None


# Each of these is one form; {{ … }} alone unless it is a statement.
FORMS = r"""
none is iterable|nothing is iterable|'' is iterable|5 is iterable|xs is iterable|d is iterable|xs|map('string') is iterable
none is sequence|nothing is sequence|'' is sequence|xs is sequence|d is sequence|range(3) is sequence|xs|map('string') is sequence|d.keys() is sequence
nothing is mapping|d is mapping|xs is mapping|namespace(a=1) is mapping|d.items() is mapping
nothing is callable|name.upper is callable|d is callable|5 is callable
1 is number|true is number|1.0 is number|'1' is number|none is number
1 is integer|true is integer|1.0 is integer|1.0 is float|true is float
true is boolean|1 is boolean|none is boolean|1 is true|true is true|0 is false|false is false
none is none|nothing is none|nothing is undefined|nothing is defined|none is defined
'a' is string|1 is string|none is string|nothing is string|'a'|safe is string|'a'|safe is escaped
1 is sameas(true)|none is sameas none|true is sameas(true)|xs is sameas(xs)|5 is sameas 5
3 is odd|4 is even|9 is divisibleby 3|3.0 is odd|'a' is in ['a']|2 is in xs|'b' is in d
1 is eq 1|1 is eq(true)|1 is ne 2|2 is gt 1|2 is greaterthan(1)|1 is lessthan 2|1 is le 1|1 is ge 2|'a' is lower|'A1' is upper
'upper' is filter|'tojson' is filter|'nope' is filter|'iterable' is test|'x' is test
[1, 'a', none, true, 1.0, 'it\'s', "say \"x\"", "both ' and \""]|[[], {}, ()]|(1,)|(1, 2)|((1, 2), [3])|{'a': (1, 'b')}
d|nest|calls|rows|dd|zs|uni|[uni]|[text]|['\x7f\u200b\n\t\\\r\x00']|[nothing, none]
1.0|2.50|1e15|1e16|1e20|1.5e300|1e-4|1e-5|0.1 + 0.2|big|tiny|one|-0.0|1e400|-1e400
true|True|none|None|false|nothing|yes|nil|[yes, nil]
1 + true|true + true|1 + 1.0|'a' + 'b'|xs + [4]|(1,) + (2,)|[1] + (2,)|'a' + 1|nothing + 'a'|none + 1|d + d
7 // 2|-7 // 2|7 // -2|7.5 // 2|-7.5 // 2|7 % 3|-7 % 3|7 % -3|7.5 % 2|-7.5 % 2|1 // 0|1 % 0|1 / 0|7 / 2|6 / 2|4 // 2.0
2 ** 10|2 ** -1|2 ** 0.5|-2 ** 2|2 ** 3 ** 2|10 ** 20|0 ** 0|2.0 ** 3
-n|-f|-xs[0]|-d.b|-loop_|-n|abs|-yes|-'a'|3 - -2|n - 1 - 1|2 - 3 * 4
'ab' * 3|3 * 'ab'|'ab' * -1|[1, 2] * 2|(1,) * 2|'a' * true|'a' * 1.5
n ~ name ~ nil ~ nothing ~ xs ~ f|1 ~ 2|'a' ~ 1 + 2|'a' ~ (1 + 2)
'%s' % 5|'%s-%s' % (1, 'b')|'%d' % 3.7|'%03d|%+d|%5.1f|%-5s|%x' % (7, 7, 2.25, 'ab', 255)|'%(a)s' % {'a': 1}|'%s' % [1]|'%s %s' % 1|'%d' % 'a'|'100%%' % ()|'%r' % 'a\'b'|'%c' % 'x'|'%e' % 12345.678
'%s=%d'|format('a', 3)|'%(x)s'|format(x=1)|'{}-{}'.format(1, 'a')|'{0}{1}{0}'.format('a', 'b')|'{x}'.format(x=2)|'{:>5}|{:<5}|{:^5}'.format('a', 'b', 'c')|'{:05.2f}'.format(f)
1 == 1.0|1 == true|'1' == 1|none == false|nothing == nothing|nothing == none|nothing == ''|[1] == [1.0]|[1] == (1,)|d == d|range(2) == [0, 1]|{'a': 1} == {'a': 1.0}
1 < 2|'a' < 'b'|'a' < 1|none < 1|[1, 2] < [1, 3]|(1, 2) < (1,)|true < 2|nothing < 1|1 < 2 < 3|3 > 2 > 2|1 <= 1.0|'B' < 'a'
'a' in 'abc'|1 in 'abc'|nothing in 'abc'|'a' in d|'k' in d.a|none in [none]|1 in xs|1.0 in xs|1 in nothing|1 in none|1 not in xs|[1] in [[1]]|'' in ''|2 in range(3)|'b' in d.keys()|1 in d.values()
nothing.x|nothing['x']|nothing[0]|nothing()|none.x|none['x']|5.x|n.x is defined|xs.x is defined|'a'.x is defined|d.x.y|d['x']['y'] is defined
d.b|d['b']|d['x']|d.items|d.items is defined|d['items'] is defined|d.get('b')|d.get('x')|d.get('x', 5)|d.get('Z', 5)|d.keys()|d.values()|d.items()|d.keys()|list|d.items()|list|d.copy()
xs[0]|xs[-1]|xs[5]|xs[-5] is defined|xs['a']|xs[1.5] is defined|xs[true]|'abc'[0]|'abc'[-1]|'abc'[7]|uni[1]|xs[1:]|xs[::-1]|xs[-2:]|xs[:1]|xs[5:]|xs[::2]|uni[::-1]|uni[1:-1]|'abcdef'[1:5:2]|'abcdef'[::-2]|(1, 2, 3)[1:]|range(9)[2:8:2]|range(9)[::-1]|xs[nil:]|xs['a':]|nil[1:]|nothing[1:]|d[1:] is defined|xs[::0]
'a' if yes|'a' if no|'a' if no else 'b'|('a' if no) is defined|1 and 2|0 or 'x'|'' or none|not ''|not zs|nothing and 1|yes and no or 3
range(3)|range(1, 7, 2)|range(3)|list|range(5, 0, -2)|list|range(0)|length|range('a')|range(1, 2, 0)
name|upper|name|lower|name|title|'it\'s a-b (cd'|title|name|capitalize|uni|upper|uni|length|text|trim|'xxaxx'|trim('x')|5|upper|none|upper|nothing|upper|[1]|upper
name.upper()|text.strip()|'xyaxy'.strip('yx')|text.lstrip()|text.rstrip()|'a,b,,c'.split(',')|' a  b '.split()|'a b c'.split(' ', 1)|'a b c'.rsplit(' ', 1)|'a b c'.split(maxsplit=1)|'a,b'.split(sep=',')|'a'.split('')|text.splitlines()|'a\nb\n'.splitlines(true)|'abc'.startswith('a')|'abc'.startswith(('x', 'a'))|'abc'.endswith('c')|'abc'.startswith('b', 1)|'aXbX'.replace('X', '-')|'aXbX'.replace('X', '-', 1)|'aab'.count('a')|'aab'.find('b')|'aab'.find('z')|'aab'.rfind('a')|'aab'.index('b')|'aab'.index('z')|'a-b-c'.partition('-')|'a-b-c'.rpartition('-')|'abc'.removeprefix('ab')|'abc'.removesuffix('bc')
'ab'.center(7, '*')|'ab'.ljust(4) ~ '|'|'ab'.rjust(4)|'-5'.zfill(4)|'aB'.swapcase()|'hello world'.title()|'hELLO'.capitalize()|'12'.isdigit()|'a1'.isalnum()|'ab'.isalpha()|' '.isspace()|'ab'.islower()|'AB'.isupper()|'Ab'.istitle()|'a\tb'.expandtabs(4)|'ß'.casefold()|', '.join(ys)|', '.join([1])|''.join(d)|'-'.join('abc')
xs.append(4)|xs.pop()|xs.index(1)|xs.count(1)|xs.copy()|xs.sort()|d.update({'a': 1})|d.pop('b')|xs.append is defined|d.pop is defined|d.nope()|'a'.nope()|(1, 2).count(1)
xs|first|xs|last|zs|first is defined|zs|last is defined|'abc'|first|d|first|d|last|nothing|first|none|first|xs|map('string')|last|5|first
xs|length|d|length|name|length|nothing|length|none|length|5|length|xs|map('string')|length|d.keys()|length|xs|count
ys|sort|ys|sort(reverse=true)|ys|sort(case_sensitive=true)|xs|sort|rows|sort(attribute='role')|map(attribute='role')|list|rows|sort(attribute='role,n')|length|[1, 'a']|sort|[none, 1]|sort|nothing|sort|[true, 0, 2]|sort|[[2], [1, 5]]|sort|nest|sort
ys|unique|list|['a', 'A', 'b']|unique|list|['a', 'A']|unique(case_sensitive=true)|list|rows|unique(attribute='role')|map(attribute='role')|list|[1, 1.0, 2]|unique|list|[[1]]|unique|list
xs|min|xs|max|ys|min|ys|max|zs|min is defined|rows|selectattr('n')|max(attribute='n')|xs|sum|zs|sum|[1.5, 1]|sum|ys|sum|rows|selectattr('n')|sum(attribute='n')|[[1], [2]]|sum(start=[])
xs|join|xs|join(', ')|ys|join('')|[1, none, nothing]|join('-')|rows|join('+', attribute='role')|nothing|join(',')|none|join(',')|'abc'|join('.')|d|join(',')|xs|join(d=' ')|xs|join(1)
xs|map('string')|list|ys|map('upper')|join|rows|map(attribute='role')|list|rows|map(attribute='n', default=0)|list|rows|map(attribute='n')|list|nest|map('first')|list|nest|map(attribute=1)|list|calls|map(attribute='function.name')|list|none|map('upper')|list|xs|map('nope')|list|ys|map('replace', 'a', 'z')|list|xs|map()|list|rows|map('tojson')|join('|')
rows|selectattr('n')|list|length|rows|selectattr('role', 'equalto', 'user')|list|length|rows|selectattr('n', 'defined')|map(attribute='role')|list|rows|rejectattr('n', 'defined')|list|length|rows|rejectattr('content')|list|length|xs|select('odd')|list|xs|reject('odd')|list|xs|select|list|[0, 1, '', none]|reject|list|xs|select('gt', 1)|list|xs|select('in', [1])|list|ys|select('equalto', 'A')|first|xs|select('nope')|list|rows|selectattr('role', 'in', ['tool'])|list|length|'yes' if rows|selectattr('role', 'equalto', 'nobody') else 'no'
rows|groupby('role')|list|length|rows|groupby('role', case_sensitive=true)|map('first')|list|rows|groupby('role')|map(attribute='grouper')|list|rows|groupby('n', default=0)|map(attribute=0)|list
d|dictsort|{'b': 1, 'A': 2}|dictsort|{'b': 1, 'A': 2}|dictsort(true)|{'b': 1, 'A': 2}|dictsort(by='value')|{'b': 1, 'A': 2}|dictsort(reverse=true)|{'b': 1, 'A': 2}|dictsort(false, 'value')|xs|dictsort|nothing|dictsort|{'a': none, 'b': 1}|dictsort(by='value')
d|items|list|nothing|items|list|xs|items|list|d|list|'abc'|list|none|list|nothing|list|5|list|xs|reverse|list|'abc'|reverse|d|reverse|list|xs|batch(2)|list|xs|batch(2, 'x')|list|xs|slice(2)|list|xs|slice(2, 'x')|list|range(7)|slice(3)|map('list')|list
name|default('x')|nothing|default('x')|none|default('x')|none|default('x', true)|''|default('x', true)|''|default('x', boolean=true)|nothing|default|nothing|d(5)|no|default(1, true)|d.x|default({})
'3'|int|'3.9'|int|'x'|int|'x'|int(5)|3.9|int|-3.9|int|none|int|true|int|' 42 '|int|'1_000'|int|'ff'|int(base=16)|'0x1A'|int(0, 16)|nothing|int|[1]|int|'1e3'|int|'-5'|int|'3'|float|'x'|float|none|float|'1e5'|float|3|float|'inf'|float|nothing|float
2.5|round|3.5|round|2.567|round(2)|-2.5|round|7|round|1234|round(-2)|1250|round(-2)|25.5|round(-1)|2.1|round(0, 'ceil')|2.9|round(method='floor')|2.675|round(2)|'a'|round|-5|abs|-5.5|abs|true|abs|'a'|abs
'a\nb\n\nc'|indent|'a\nb'|indent(2)|'a\nb'|indent(2, true)|'a\n\nb'|indent(2, blank=true)|'a\nb'|indent('> ')|''|indent|'a\nb'|indent(width=3, first=true)
'a b c'|replace(' ', '-')|'aaa'|replace('a', 'b', 2)|5|replace(5, 6)|none|replace('N', 'x')|'aXbX'|replace('X', '')
'<a>'|e|'<a>&"\''|escape|'<a>'|safe|('<'|safe) + '<'|'<' + ('>'|safe)|('<'|safe) ~ '<'|('a'|safe).upper() + '<'|('<a'|safe)[1:] + '<'|('%s'|safe) % '<'|('<'|safe).join(['>', 'a'])|['<'|safe]|('a<'|safe)|trim + '&'|('<'|safe)|string + '<'|('<'|safe)|replace('<', '>') + '<'|'x'|e|length|('a'|safe).replace('a', '<')|('a,b'|safe).split(',')|'<'|forceescape
'foo bar baz'|truncate(7)|'foo bar baz qux'|truncate(9, true)|'foo bar baz qux'|truncate(9, end='~', leeway=0)|'foo bar'|wordcount|'ab'|center(6) ~ '|'|d|attr('b') is defined|name|attr('upper') is defined|5|string + 'a'|none|string|[1, 'a']|string|nothing|string|length
d|tojson|uni|tojson|uni|tojson(ensure_ascii=true)|'<>&\'"\\/\x7f\u2028\n\t\b\f\r\x01'|tojson|'\x7fé'|tojson(true)|d|tojson(indent=2)|d|tojson(indent=0)|d|tojson(sort_keys=true)|{'b': 1, 'a': 2}|tojson(sort_keys=true)|d|tojson(separators=(',', ':'))|d|tojson(indent=1, separators=(', ', ' : '))|big|tojson|tiny|tojson|one|tojson|none|tojson|nothing|tojson|(1, 2)|tojson|range(2)|tojson|{1: 2, none: 3}|tojson|[[], {}]|tojson(indent=2)|calls|tojson|d|tojson(false, 2)|10 ** 20|tojson|d.keys()|tojson|'\t'|tojson(indent='x')|[1]|tojson(indent='--')|namespace(a=1)|tojson|(name|safe)|tojson
namespace(a=1, b='x')|namespace(a=1).a|namespace(a=1).b is defined|namespace({'a': 2}).a|dict(a=1, b=2)|dict({'a': 1}, b=2)|dict()|strftime_now('%Y-%m-%d')|strftime_now('%d %b %Y')|strftime_now is defined|raise_exception is defined|raise_exception('no')|raise_exception
'a' 'b'|'a\/b'|'\d'|'\x41\u00e9\101'|"tab\tend"|'\v\a'|'\U0001F600'|0x1F|1_000|0b11|1.5e3|.5
name|nope|name is nope|'a' if true else name|nope|none|upper|lower|title|(1, 2)|first|[1, 2,]|{'a': 1,}|not none is none|not 1 == 2|1 + 2 * 3 ~ 4|(1, 2) == (1, 2)|1 if 2 else 3 if 4 else 5|xs|length > 2 and d|length == 3|- 3 | abs|2 - -3|not not 1
1 < 2 < 1 < nothing.x|n == 7 == nothing.x|1 == 2 == nothing.x|1 < 2 == 2 < 3|xs|length == 3 == n - 4|'a' in ['a'] in [[1]]|1 not in xs in [true]|(1 < 2) < 3 < 4|1 < (2 if 3 > 2 > nothing.x else 3) < 4|2 > 1 > 0 > nothing.x
[('a b'|safe)|title]|[('a'|safe)|first]|[('a'|safe)|last]|[('abc def ghi'|safe)|truncate(5, end='<', leeway=0)]|['abc def'|truncate(4, end='<'|safe, leeway=0)]|[('ab'|safe)[0]]|[('ab'|safe)|list]|[('a'|safe)|capitalize]
'ß'.capitalize()|'ßa'|capitalize|'ß'|title|'ß'.title()|'ﬁn ǆ'.title()|'ß'|upper
d.real|f.is_integer|nothing is defined is true|name is string is true|1 is eq(1) is true|n is not none is not none
namespace(_a=1)|namespace(a_=1)|dict([['a', 1], ('b', 2)])|dict(xs)|dict({'a': 1}, {'b': 2})|dict(d|items)|namespace([['a', 1]]).a|dict(nothing)|dict(['ab', 'cd'], e=5)
strftime_now('%Z|%z|%e|%-e|%H:%M')|('a' if no).x|wide + 1|wide * wide|-wide // 2|quotes|floats|schema|schema|tojson|schema|tojson(indent=4)
"""
STATEMENTS = [
    # Names that a block sets later are its own from its first line on.
    "{% for x in [1] %}[{{ name }}]{% endfor %}{% set name = 'x' %}{{ name }}", "{% for x in [1] %}[{{ name }}]{% endfor %}{% if true %}{% set name = 'x' %}{% endif %}{{ name }}",
    "{% macro m() %}[{{ name }}]{% endmacro %}{{ m() }}{% set name = 'x' %}{{ m() }}", "{% for x in [1, 2] %}{% for y in [1] %}[{{ name }}]{% endfor %}{% set name = 'x' %}{% endfor %}{{ name }}",
    "{% for x in [1, 2] %}[{{ name }}]{% set name = 'x' %}[{{ name }}]{% endfor %}[{{ name }}]", "{% set t %}[{{ name }}]{% endset %}{{ t }}{% set name = 'x' %}", "{% set name %}<{{ name }}>{% endset %}{{ name }}", "{{ name }}{% set name %}<{{ name }}>{% endset %}{{ name }}",
    "{% if no %}{% set name = 'x' %}{% else %}{{ name }}{% endif %}[{{ name }}]", "{% macro m(a=name) %}{% set name = 'i' %}[{{ name }}{{ a }}]{% endmacro %}{{ m() }}[{{ name }}]", "{% macro m(a=name) %}{{ a }}{% endmacro %}{{ m() }}{% set name = 1 %}{{ m() }}",
    "{% for x in xs if name %}{{ x }}{% endfor %}{% set name = 1 %}", "{% for x in [] %}{% else %}{% set q = 1 %}{{ q }}{% endfor %}{{ q is defined }}", "{% for x in xs %}{% for y in [] %}{% else %}{{ loop.index }}{% if x == 1 %}{% break %}{% endif %}{% endfor %}{% endfor %}",
    "{% with name = 1, b = name %}{{ name }}{{ b }}{% endwith %}", "{% with %}{{ name }}{% set name = 1 %}{{ name }}{% endwith %}{{ name }}", "{% with ns = namespace(a=1), q = 2 %}{{ ns.a }}{{ q }}{% endwith %}",
    # Arguments of macros: what is given and undefined is given.
    "{% macro m(a, b='d') %}{{ a }}-{{ b }};{% endmacro %}{{ m(1, nothing) }}{{ m(1) }}{{ m(b=d.x, a=2) }}{{ m(nothing) }}{{ m(b=none) }}", "{% macro m(a, b=a, c=b ~ 'c') %}{{ a }}-{{ b }}-{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(c=3) }}",
    "{% macro m(a=1) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(nothing) }}{% macro w() %}{{ caller() }}{{ caller(d.x) }}{% endmacro %}{% call(v='V') w() %}[{{ v }}]{% endcall %}",
    "{% macro m(a) %}{{ a }}{{ loop.index }}{% endmacro %}{% for x in xs %}{{ m(x) }}{% endfor %}", "{% for x in xs %}{% macro m(a) %}{{ a }}{{ loop.index }}{{ x }}{% endmacro %}{{ m(x) }}{% endfor %}",
    "{% for x in xs %}{% set q = x %}{% macro m() %}{{ q }}{% endmacro %}{{ m() }}{% set q = 9 %}{{ m() }}{% endfor %}", "{% set ns = namespace() %}{% set ns._a = 1 %}",
    # Marks where text is caught: transformers' own are kept where they are right.
    "{% macro m(x) %}{% generation %}{{ x }}{% endgeneration %}{% endmacro %}a{{ m('b') }}c{{ m('d') }}", "{% generation %}a{% generation %}b{% endgeneration %}c{% endgeneration %}d{% generation %}{% endgeneration %}",
    "x{% filter upper %}{% generation %}1{% endgeneration %}{% endfilter %}",

    "{{ 'a\\\nb' }}",
    "{% for x in xs %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.length }}{{ loop.depth }}{{ x }};{% endfor %}",
    "{% for x in xs %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}",
    "{% for x in rows %}{{ loop.previtem.role if loop.previtem is defined }}-{{ loop.nextitem.role if not loop.last }};{% endfor %}",
    "{% for x in rows %}{{ loop.previtem.role }}{% endfor %}",
    "{% for x in xs %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{% endfor %}",
    "{% for x in xs|map('string') %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}{{ x }}{% endfor %}",
    "{% set g = xs|map('string') %}{{ g|first }}{{ g|list }}{{ g|list }}{{ 'true' if g }}",
    "{% set g = xs|select %}{% for x in g %}{{ x }}{% endfor %}|{% for x in g %}{{ x }}{% else %}gone{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for k, v in d|items %}{{ k }}{{ loop.last }}{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'héy' %}{{ c }}.{% endfor %}",
    "{% for k, v in d|dictsort %}{{ k }}:{{ v }};{% endfor %}{% for a, b in [[1, 2], (3, 4)] %}{{ a + b }}{% endfor %}",
    "{% for (a, b), c in [[[1, 2], 3]] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for x in none %}{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for x in nothing %}a{% else %}b{% endfor %}", "{% for a, b in [1] %}{% endfor %}",
    "{% for x in range(6) if x is odd %}{{ loop.index }}{{ x }}{{ loop.last }}{% else %}none{% endfor %}",
    "{% for x in range(9) %}{% if x == 2 %}{% continue %}{% endif %}{% if x > 4 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in xs %}{% for y in xs %}{{ loop.depth }}{{ x * y }}{% if y == 1 %}{% break %}{% endif %}{% endfor %};{% endfor %}",
    "{% for x in nest recursive %}[{{ loop(x) if x is iterable and x is not string else x }}@{{ loop.depth }}]{% endfor %}",
    "{% set x = 1 %}{% for i in xs %}{% set x = x + i %}{{ x }}{% endfor %}={{ x }}",
    "{% set ns = namespace(t=0) %}{% for i in xs %}{% set ns.t = ns.t + i %}{% endfor %}{{ ns.t }}{{ ns }}",
    "{% if true %}{% set y = 5 %}{% endif %}{{ y }}{% if false %}{% set z = 1 %}{% endif %}{{ z is defined }}",
    "{% set x %}a{% set inner = 1 %}b{{ n }}{% endset %}{{ x|upper }}{{ inner is defined }}",
    "{% set x | upper %}ab{% endset %}{{ x }}{% filter upper %}a{% set q = 1 %}{{ name }}{% endfilter %}{{ q is defined }}",
    "{% filter replace('a', 'b') %}banana{% endfilter %}{% filter trim | title %}  ab cd {% endfilter %}|{% filter indent(2) %}a\nb{% endfilter %}",
    "{% macro m(a, b='x', c=n) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2, 3) }}{{ m(b=1, a=2) }}{{ m() }}{{ m(*[1, 2]) }}{{ m(**{'a': 5}) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m }}|{{ m.name }}",
    "{% macro m() %}{{ later }}{% endmacro %}{% set later = 'L' %}{{ m() }}{% macro a(k) %}{{ b(k) }}{% endmacro %}{% macro b(k) %}<{{ k }}>{% endmacro %}{{ a(3) }}",
    "{% macro r(k) %}{{ k }}{% if k > 0 %}{{ r(k - 1) }}{% endif %}{% endmacro %}{{ r(3) }}{{ r(1)|length }}{{ 'x' ~ r(0) }}",
    "{% macro w() %}<{{ caller('in') }}|{{ caller is defined }}>{% endmacro %}{% call(v) w() %}{{ v }}{{ n }}{% endcall %}",
    "{% macro w(t) %}{{ t }}{{ caller() }}{% endmacro %}{% for x in xs %}{% call w(x) %}{{ x }}{{ loop.last }}{% endcall %}{% endfor %}",
    "{% macro m(x) %}{% set x = x ~ '!' %}{{ x }}{% for i in xs %}{% if i == 2 %}{{ i }}{% endif %}{% endfor %}{% endmacro %}{% for i in ys %}{{ m(i) }}{% endfor %}{{ x is defined }}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% set c = 2 %}{% endwith %}{{ c is defined }}{{ a is defined }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, [2] %}{{ t }}{% set (c, d2) = xs[:2] %}{{ c }}{{ d2 }}{% set u = [1], 2 %}{{ u }}{% set v = (1) %}{{ v }}",
    "{% set ns = namespace() %}{% set ns.a %}x{{ n }}{% endset %}{{ ns.a }}{{ ns.b is defined }}{% set ns.c = [1] + [2] %}{{ ns.c }}",
    "{% set d.x = 1 %}", "{% set ns = namespace(a=1) %}{{ ns['a'] }}{{ ns.zz }}|{{ 'a' in ns }}",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  {%- if true -%}\n  b\n  {%- endif %}\n c", "{# one #}\nx {# two #}\n  {# three #}  y\n", "  {%+ if true %}\n  a{% endif +%}\n b",
    "{{ 'a' }}\n{{- ' b ' -}}\n\n c\n\n", "{% raw %}\n{{ x }}{% y %}\n{% endraw %}\nz", "  {% raw -%}\n a {%- endraw %}  b", "x{% set a = 1 %}\n\n\n{{ a }}\n\n", "a\r\nb\r{{ 'c\r\nd' }}\r\n",
    "{% if xs|length > 2 and not zs %}y{% elif 0 %}e{% else %}n{% endif %}{% if nothing %}1{% elif nil %}2{% else %}3{% endif %}",
    "{% if name|nope %}{% endif %}", "{% if false %}{{ name|nope }}{% endif %}ok", "{% if false %}{% for x in xs %}{{ x|nope }}{% endfor %}{% endif %}", "{% for x in [] %}{{ x|from_json }}{% endfor %}", "{{ (name|nope) if false else 'ok' }}",
    "{% do xs.append(1) %}", "{% include 'x' %}", "{% import 'x' as y %}", "{% unknown %}", "{% if %}", "{{ }}", "{{ 1 2 }}", "{% endfor %}", "{% for x in xs %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{% set j = joiner('-') %}{% for x in xs %}{{ j() }}{{ x }}{% endfor %}",
    "{% set x = 'a' %}{% set x = x ~ 'b' %}{{ x }}{% set f = name.upper %}{{ f() }}{% set g = d.get %}{{ g('b') }}{{ g('q', 3) }}",
    "{% for m in messages %}{{ m.role.upper() }}: {{ m['content']|trim }}{{ '' if loop.last else '\\n' }}{% endfor %}{{ messages|length }}{{ messages[-1].role }}{{ tools }}{{ documents is none }}",
    "{% for m in messages[::-1] %}{{ loop.index0 }}{{ m.role }}{% endfor %}{{ messages[1:]|map(attribute='role')|join(',') }}{{ 'tool_calls' in messages[0] }}{{ messages[0].tool_calls is defined }}{{ messages[0].get('name', 'none') }}",
    "{% generation %}{% set s = 1 %}a{{ n }}{% endgeneration %}{{ s is defined }}{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<e>\n{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "{% block a %}x{{ n }}{% endblock %}{% autoescape false %}<{{ '<' }}{% endautoescape %}",
]
CONVERSATIONS = [
    [("user", "Is é a vowel?"), ("assistant", "Yes.")],
    [("system", " Be brief. "), ("user", "1 + 1?"), ("assistant", "2"), ("user", "2 + 2?"), ("assistant", "<think>\nhm\n</think>\n\n 4 ")],
    [("user", "<b> & 'c' \"d\"\n\nx"), ("assistant", "a\nb"), ("tool", "{\"k\": 1}"), ("assistant", "")],
    [("system", "s"), ("user", "u")],
]


def forms():
    """One template for each form of each row of FORMS, and the STATEMENTS."""
    for row in FORMS.strip("\n").split("\n"):
        yield from pieces(row)
    yield from STATEMENTS


def pieces(row):
    """Splits a row at each `|` whose left side is whole and whose right side is no filter call of it."""
    depth, quote, start, at = 0, None, 0, 0
    while at < len(row):
        letter = row[at]
        if quote:
            if letter == "\\":
                at += 1
            elif letter == quote:
                quote = None
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "|" and depth == 0:
            word = re.match(r"\s*(\w+)", row[at + 1:])
            is_filter = word and (word[1] in jinja2.filters.FILTERS or word[1] in ("tojson", "nope")) and word[1] != "d"
            is_filter = is_filter or re.match(r"d\(5\)", row[at + 1:])
            if not is_filter:
                yield "{{ " + row[start:at] + " }}"
                start = at + 1
        at += 1
    yield "{{ " + row[start:] + " }}"


TESTS = ("string", "defined", "none", "mapping", "iterable", "sequence", "boolean", "false", "undefined", "true", "number", "integer", "float", "callable", "odd", "even", "lower", "upper", "escaped")


class Maker:
    """Makes templates of many statements: the weights are those of public templates.

    Most expressions are made for a kind of value, so that few fail; one in six is made without looking at kinds.
    """

    KINDS = ("text", "number", "truth", "seq", "map", "turns")
    GIVEN = {
        "text": ("name", "text", "empty", "uni", "messages[0].content", "messages[-1]['role']", "rows[0].role"),
        "number": ("n", "neg", "f", "big", "tiny", "one", "wide", "xs[0]", "floats[1]", "messages|length"),
        "truth": ("yes", "no", "add_generation_prompt", "nil is none", "tools"),
        "seq": ("xs", "ys", "zs", "nest", "quotes", "floats", "d.a.k"),
        "map": ("d", "dd", "rows[0]", "calls[0].function", "schema", "schema.function", "messages[0]"),
        "turns": ("messages", "rows", "messages[1:]", "calls"),
    }
    LITERALS = {
        "text": ("'lit'", "''", "'a,b'", "\"it's\"", "'\\n'", "'é'", "'<b>'", "'%s'", "' x '"),
        "number": ("0", "1", "3", "-1", "2.5", "1e3", "10 ** 5"),
        "truth": ("true", "false", "True"),
        "seq": ("[1, 'b']", "(1, 2)", "[]", "[none, true, 1.0]", "['x', 'y', 'x']", "range(4)", "(3,)"),
        "map": ("{'k': n}", "{}", "{'b': 1, 'a': [1, {'z': none}]}", "dict(a=1, b=name)"),
        "turns": ("[{'role': 'user', 'content': 'lit'}]", "[{'role': name, 'n': 1}, {'role': 'b'}]"),
    }

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names = {kind: [] for kind in self.KINDS}
        self.depth, self.macros, self.loops, self.spaces, self.callers = 0, [], 0, [], 0

    def pick(self, *options):
        return self.random.choice(options)

    def chance(self, share):
        return self.random.random() < share

    # Values.

    def atom(self, kind):
        r = self.random.random()
        if r < 0.3 and self.names[kind]:
            return self.pick(*self.names[kind])
        if r < 0.45 and self.loops:
            if kind == "number":
                return self.pick("loop.index", "loop.index0", "loop.revindex", "loop.length", "loop.depth")
            if kind == "truth":
                return self.pick("loop.first", "loop.last", "loop.previtem is defined", "loop.nextitem is defined")
        if r < 0.5 and self.spaces and kind in ("number", "text"):
            return self.pick(*self.spaces) + (".t" if kind == "number" else ".last")
        return self.pick(*(self.GIVEN[kind] if r < 0.85 else self.LITERALS[kind]))

    def any(self, depth=0):
        r = self.random.random()
        if r < 0.06:
            return self.pick("none", "nothing", "nil", "d.x", "messages[0].nope", "documents")
        if r < 0.16:
            return self.loose(depth)
        return self.made(self.pick(*self.KINDS), depth)

    def made(self, kind, depth=0):
        if depth > 3 or self.chance(0.25):
            return self.atom(kind)
        if self.chance(0.08):
            return f"({self.made(kind, depth + 1)} if {self.made('truth', depth + 1)} else {self.made(kind, depth + 1)})"
        if self.chance(0.03):
            return f"({self.pick('nothing', 'none', 'd.x', self.made(kind, depth + 1))}|default({self.made(kind, depth + 1)}{self.pick('', ', true', ', boolean=true')}))"
        return getattr(self, "made_" + kind)(depth + 1)

    def made_text(self, depth):
        text, number, seq, any_ = (lambda: self.made("text", depth)), (lambda: self.made("number", depth)), (lambda: self.made("seq", depth)), (lambda: self.any(depth))
        small = lambda: self.pick("0", "1", "-1", "2", "-2", "5", "")
        forms = [
            lambda: f"{text()} + {text()}", lambda: f"({any_()} ~ {any_()})", lambda: f"({text()}){self.pick('[' + small() + ':' + small() + ']', '[::-1]', '[' + small() + ':' + small() + ':2]', '[:-1]')}",
            lambda: f"({text()})|{self.pick('trim', 'upper', 'lower', 'title', 'capitalize', 'string', 'safe', 'e', 'reverse', 'trim(chars=' + chr(39) + 'ab ' + chr(39) + ')', 'indent', 'indent(2, true)', 'indent(width=3, blank=true)')}",
            lambda: f"({text()})|replace({text()}, {text()}{self.pick('', '', ', 1')})", lambda: f"({any_()})|{self.pick('string', 'tojson', 'tojson(indent=2)', 'tojson(ensure_ascii=true)', 'tojson(sort_keys=true)', 'tojson(indent=1, separators=(' + chr(39) + ',' + chr(39) + ', ' + chr(39) + ':' + chr(39) + '))', 'tojson(separators=(' + chr(39) + ',' + chr(39) + ', ' + chr(39) + ': ' + chr(39) + '))')}",
            lambda: f"({seq()})|join({self.pick('', text())})", lambda: f"({self.made('turns', depth)})|map(attribute='{self.pick('role', 'content', 'n')}')|join({self.pick('', text())})", lambda: f"({self.made('turns', depth)})|join('/', attribute='role')",
            lambda: f"({text()}).{self.pick('strip()', 'upper()', 'lower()', 'title()', 'capitalize()', 'swapcase()', 'lstrip()', 'rstrip()', 'casefold()')}", lambda: f"({text()}).{self.pick('strip', 'lstrip', 'rstrip', 'removeprefix', 'removesuffix')}({text()})",
            lambda: f"({text()}).replace({text()}, {text()}{self.pick('', ', 1')})", lambda: f"({text()}).split({self.pick('', text(), text() + ', 1')})[{self.pick('0', '-1')}]", lambda: f"({text()}).{self.pick('ljust', 'rjust', 'center')}({self.pick('4', '9', '2, ' + chr(39) + '*' + chr(39))})",
            lambda: f"({text()}).join({seq()}|map('string'))", lambda: f"'%s-%s' % ({any_()}, {any_()})", lambda: f"'{self.pick('%s', '%r', '%5s|', '%-6s|', '%.2s')}' % ({any_()},)", lambda: f"'{self.pick('%d', '%03d', '%+d', '%5.1f', '%.2f', '%e', '%x', '% d')}' % {number()}",
            lambda: f"'%(a)s:%(b)s' % {{'a': {any_()}, 'b': {any_()}}}", lambda: f"'{self.pick('{}', '{0}', '{:>6}', '{!r}', '{}')}{self.pick('', '-')}'.format({text()})", lambda: f"'{{a}}|{{b}}'.format(a={text()}, b={number()})", lambda: f"({text()}) * {self.pick('2', '0', '-1', 'true')}",
            lambda: f"'%s=%s'|format({any_()}, {any_()})", lambda: f"({seq()})|map('string')|{self.pick('first', 'join', 'list|last', 'list|string')}", lambda: f"({text()})|{self.pick('truncate(6)', 'truncate(9, true)', 'truncate(8, end=' + chr(39) + '~' + chr(39) + ', leeway=0)', 'center(9)', 'wordcount|string', 'first', 'last', 'forceescape')}",
            lambda: f"({text()})|list|join('.')", lambda: f"strftime_now('{self.pick('%Y-%m-%d', '%d %b %Y', '%B %d, %Y', '%H:%M', '%A', '%-d.%-m.')}')", lambda: f"({text()}) {self.pick('and', 'or')} ({text()})",
        ]
        if self.macros:
            forms += [lambda: self.macro_call(depth)] * 3
        return self.pick(*forms)()

    def made_number(self, depth):
        number, text = (lambda: self.made("number", depth)), (lambda: self.made("text", depth))
        return self.pick(
            lambda: f"({number()} {self.pick('+', '-', '*', '+', '-')} {number()})", lambda: f"({number()} {self.pick('%', '//', '/')} {self.pick('2', '3', '-2', '0.5', 'n', number())})", lambda: f"{self.pick('n', 'f', 'neg', '2')} ** {self.pick('2', '0', '3', '-1')}", lambda: f"-{self.pick('n', 'f', 'd.b', 'xs[0]', 'xs[-1]', 'messages|length')}",
            lambda: f"({self.pick(text(), self.made('seq', depth), self.made('map', depth), self.made('turns', depth))})|{self.pick('length', 'count')}", lambda: f"({text()})|int", lambda: f"({text()})|{self.pick('int(7)', 'float', 'float(1.5)', 'int(default=-1)')}", lambda: f"({number()})|{self.pick('int', 'float', 'abs', 'round', 'round(1)', 'round(2)', 'round(1, ' + chr(39) + 'floor' + chr(39) + ')', 'round(-1)')}",
            lambda: f"({self.pick('xs', 'floats', '[3, n, 1.5]', 'range(5)')})|{self.pick('sum', 'min', 'max', 'first', 'last')}", lambda: f"({text()}).{self.pick('count', 'find', 'rfind')}({text()})", lambda: f"({self.made('turns', depth)})|{self.pick('selectattr', 'rejectattr')}('n', 'defined')|sum(attribute='n')",
            lambda: f"{number()} + {self.made('truth', depth)}", lambda: f"(loop.index0 + 1) * {number()}" if self.loops else "1", lambda: f"{{'k': {number()}}}.k", lambda: f"[{number()}, {number()}][{self.pick('0', '-1')}]",
        )()

    def made_truth(self, depth):
        number, text, any_, truth = (lambda: self.made("number", depth)), (lambda: self.made("text", depth)), (lambda: self.any(depth)), (lambda: self.made("truth", depth))
        order = lambda: self.pick("<", ">", "<=", ">=")
        return self.pick(
            lambda: f"{any_()} == {any_()}", lambda: f"{any_()} != {any_()}", lambda: f"{number()} {order()} {number()}", lambda: f"{text()} {order()} {text()}", lambda: f"{text()} {self.pick('in', 'not in')} {text()}", lambda: f"{any_()} {self.pick('in', 'not in')} {self.pick(self.made('seq', depth), self.made('turns', depth))}",
            lambda: f"{text()} {self.pick('in', 'not in')} {self.made('map', depth)}", lambda: f"({truth()} {self.pick('and', 'or')} {truth()})", lambda: f"({any_()} {self.pick('and', 'or')} {any_()})", lambda: f"not {truth()}", lambda: f"not ({any_()})",
            lambda: f"{any_()} is {self.pick('', 'not ')}{self.pick(*TESTS)}", lambda: f"({any_()}) is {self.pick('', 'not ')}{self.pick(*TESTS)}", lambda: f"{number()} is {self.pick('', 'not ')}divisibleby {self.pick('2', '3', 'n')}", lambda: f"{any_()} is {self.pick('eq', 'ne', 'equalto', 'sameas')} {self.pick('none', 'true', '1', chr(39) + 'user' + chr(39), 'n')}",
            lambda: f"{number()} is {self.pick('lt', 'gt', 'le', 'ge', 'greaterthan', 'lessthan')}({number()})", lambda: f"{any_()} is in {self.pick('xs', 'ys', '[1, none]', 'd')}", lambda: f"{number()} {order()} {number()} {order()} {number()}", lambda: f"{any_()} {self.pick('==', '!=')} {any_()} {self.pick('==', '!=', 'in')} {self.made('seq', depth)}",
            lambda: f"{number()} {order()} {self.pick('n', '3')} == {number()} {order()} {self.pick('nothing', number())}", lambda: f"({text()}).{self.pick('startswith', 'endswith')}({self.pick(text(), '(' + chr(39) + '<' + chr(39) + ', ' + text() + ')')})", lambda: f"({text()}).{self.pick('isdigit', 'isalpha', 'isspace', 'isupper', 'islower', 'isalnum', 'istitle')}()",
            lambda: f"({self.made('turns', depth)})|{self.pick('selectattr', 'rejectattr')}('role', 'equalto', {text()})|list|length > {self.pick('0', '1')}", lambda: f"'{self.pick('upper', 'tojson', 'nope')}' is filter",
        )()

    def made_seq(self, depth):
        seq, text, any_, number = (lambda: self.made("seq", depth)), (lambda: self.made("text", depth)), (lambda: self.any(depth)), (lambda: self.made("number", depth))
        place = lambda: self.pick("", "", "1", "-1", "2", "-2", "0", "n", "-9", "nil")
        return self.pick(
            lambda: f"[{any_()}, {any_()}]", lambda: f"({any_()}, {any_()})", lambda: f"[{any_()}]", lambda: f"{self.pick('xs', 'ys', '[1]', '[n, name]')} + {self.pick('zs', 'ys', '[' + any_() + ']')}", lambda: f"({seq()})[{place()}:{place()}{self.pick('', '', ':2', ':-1', ':-2', ':', ':1')}]", lambda: f"({seq()})|list",
            lambda: f"({seq()})|{self.pick('reverse|list', 'unique|list', 'batch(2)|list', 'slice(2)|list', 'map(' + chr(39) + 'string' + chr(39) + ')|list', 'select|list', 'reject(' + chr(39) + 'none' + chr(39) + ')|list', 'select(' + chr(39) + 'string' + chr(39) + ')|list', 'reject(' + chr(39) + 'number' + chr(39) + ')|list')}",
            lambda: f"({self.pick('xs', 'floats', 'ys', 'quotes', 'nest')})|sort{self.pick('', '(reverse=true)', '(case_sensitive=true)', '(true)')}", lambda: f"({self.pick('xs', 'floats', 'range(7)')})|{self.pick('select', 'reject')}({self.pick(chr(39) + 'gt' + chr(39) + ', 1', chr(39) + 'odd' + chr(39), chr(39) + 'in' + chr(39) + ', [1, 2]', chr(39) + 'divisibleby' + chr(39) + ', 2', chr(39) + 'eq' + chr(39) + ', 3')})|list",
            lambda: f"({self.made('map', depth)})|{self.pick('items|list', 'list', 'dictsort', 'dictsort(true)', 'dictsort(reverse=true)', 'dictsort(by=' + chr(39) + 'key' + chr(39) + ')')}", lambda: f"({self.made('map', depth)}).{self.pick('items', 'keys', 'values')}(){self.pick('', '|list', '|list')}", lambda: f"({text()}).{self.pick('split()', 'split(' + text() + ')', 'splitlines()', 'rsplit(' + chr(39) + ' ' + chr(39) + ', 1)', 'partition(' + chr(39) + ',' + chr(39) + ')', 'rpartition(' + chr(39) + 'o' + chr(39) + ')', 'split(' + chr(39) + '</think>' + chr(39) + ')')}",
            lambda: f"({self.made('turns', depth)})|map(attribute='{self.pick('role', 'content', 'n', 'function.name')}'{self.pick('', '', ', default=' + any_())})|list", lambda: f"({self.made('turns', depth)})|map('{self.pick('length', 'tojson', 'string', 'list', 'items', 'first')}')|map('string')|list" , lambda: f"({seq()})|map('default', {any_()})|list", lambda: f"range({self.pick('3', 'n', '1, 5', '5, 1, -2', '0')}){self.pick('', '|list')}", lambda: f"({text()})|list", lambda: f"({seq()}) * 2",
            lambda: f"({self.made('turns', depth)})|groupby('{self.pick('role', 'n')}'{self.pick('', ', default=0')})|map({self.pick(chr(39) + 'first' + chr(39), 'attribute=' + chr(39) + 'grouper' + chr(39), 'attribute=0', chr(39) + 'last' + chr(39))})|list", lambda: f"({self.made('turns', depth)})|unique(attribute='role')|map(attribute='role')|list", lambda: f"ys|map('{self.pick('upper', 'replace', 'title', 'trim', 'indent')}'{self.pick('', ', ' + text() + ', ' + text())})|list",
        )()

    def made_map(self, depth):
        any_, text = (lambda: self.any(depth)), (lambda: self.made("text", depth))
        return self.pick(
            lambda: f"{{'k': {any_()}, 'l': {any_()}}}", lambda: f"{{{text()}: {any_()}}}", lambda: f"dict(a={any_()}, b={any_()})", lambda: f"dict({self.made('map', depth)}, z={any_()})", lambda: f"dict({self.made('map', depth)}|items)", lambda: f"({self.made('turns', depth)})[{self.pick('0', '-1')}]", lambda: f"({self.made('turns', depth)})|{self.pick('first', 'last')}",
            lambda: f"d.get('{self.pick('a', 'x')}', {self.made('map', depth)})", lambda: f"({self.made('turns', depth)})|selectattr('role'{self.pick('', ', ' + chr(39) + 'string' + chr(39))})|first", lambda: "loop.previtem" if self.loops else "d.a", lambda: f"({self.made('map', depth)}).copy()",
        )()

    def made_turns(self, depth):
        turns = lambda: self.made("turns", depth)
        return self.pick(
            lambda: f"({turns()})[{self.pick('1:', ':-1', '::-1', '-2:', ':1', '::2', '-1:', '1::2')}]", lambda: f"({turns()})|{self.pick('selectattr', 'rejectattr')}('role', '{self.pick('equalto', 'eq', '==', 'ne', 'in')}', {self.pick(chr(39) + 'user' + chr(39), '[' + chr(39) + 'user' + chr(39) + ']', self.made('text', depth))})|list", lambda: f"({turns()})|{self.pick('selectattr', 'rejectattr')}('{self.pick('n', 'content', 'role')}'{self.pick('', ', ' + chr(39) + 'defined' + chr(39), ', ' + chr(39) + 'none' + chr(39), ', ' + chr(39) + 'string' + chr(39))})|list",
            lambda: f"({turns()})|{self.pick('sort(attribute=' + chr(39) + 'role' + chr(39) + ')', 'reverse|list', 'list', 'sort(attribute=' + chr(39) + 'role' + chr(39) + ', reverse=true)')}", lambda: f"({turns()}) + ({turns()})", lambda: f"[{self.made('map', depth)}, {self.made('map', depth)}]",
        )()

    def macro_call(self, depth):
        name, args = self.pick(*self.macros)
        given = [self.any(depth + 1) for _ in args[: self.random.randint(0, len(args))]]
        named = [f"{arg}={self.any(depth + 1)}" for arg in args[len(given) :] if self.chance(0.4)]
        return f"{name}({', '.join(given + named)})"

    def loose(self, depth):
        """Without looking at kinds."""
        if depth > 2 or self.chance(0.25):
            return self.pick(*DATA, "nothing", "none", "'lit'", "3", "messages", "loop.index" if self.loops else "n")
        a = b = lambda: self.loose(depth + 1)
        return self.pick(
            lambda: f"{a()} {self.pick('==', '!=', '<', '>', '>=', '<=', 'in', 'not in', '+', '~')} {b()}", lambda: f"({a()} {self.pick('-', '*', '%', '//', '/')} {b()})", lambda: f"({a()} {self.pick('and', 'or')} {b()})", lambda: f"not {a()}", lambda: f"({a()} if {b()} else {a()})", lambda: f"({a()} if {b()})",
            lambda: f"{a()} is {self.pick('', 'not ')}{self.pick(*TESTS)}", lambda: f"({a()}){self.pick('[0]', '[-1]', '[1:]', '[:-1]', '[::-1]', '[::2]', '[1:3]', '.role', '.content')}", lambda: f"({a()})|{self.filter()}", lambda: f"({a()})|{self.filter()}|{self.filter()}", lambda: f"({a()}).{self.method()}", lambda: f"[{a()}, {b()}]", lambda: f"({a()}, {b()})",
            lambda: f"{a()} {self.pick('==', '<', 'in', '!=')} {b()} {self.pick('==', '>', 'in', 'not in')} {a()}",
        )()

    def filter(self):
        return self.pick(
            "tojson", "tojson", "tojson(indent=2)", "tojson(ensure_ascii=true)", "length", "length", "trim", "trim", "string", "default('x')", "default('y', true)", "join(',')", "join",
            "items|list", "safe", "map('string')|list", "map(attribute='role')|join(' ')", "list", "selectattr('role', 'equalto', 'user')|list", "selectattr('n', 'defined')|list", "upper", "dictsort",
            "lower", "replace('a', 'b')", "int", "capitalize", "title", "min", "max", "indent", "reject('none')|list", "rejectattr('n', 'defined')|list", "unique|list", "sort", "first", "last", "abs", "round", "float", "reverse|list", "sum", "e", "count", "batch(2)|list")

    def method(self):
        return self.pick("split('a')", "split()", "split('\\n')[0]", "split(',')[-1]", "items()", "strip()", "strip('\\n')", "get('role')", "get('k', 'none')", "endswith('.')", "lstrip()", "rstrip('\\n')",
            "startswith('<')", "replace('a', '')", "append(1)", "pop()", "capitalize()", "upper()", "keys()|list", "values()|list", "find('a')", "title()", "lower()", "format(1)")

    # Statements.

    def name(self, kind):
        name = self.pick("a", "b", "c", "content", "text2", "found", "name", "rows", "n")
        for known in self.names.values():
            if name in known:
                known.remove(name)
        self.names[kind].append(name)
        return name

    def tag(self, body):
        left, right = self.pick("", "", "-", "-", "+" if self.chance(0.2) else ""), self.pick("", "", "-", "", "+" if self.chance(0.1) else "")
        return "{%" + left + " " + body + " " + right + "%}"

    def write(self, body):
        return "{{" + self.pick("", "-") + " " + body + " " + self.pick("", "-") + "}}"

    def text(self):
        return self.pick("\n", " ", "\n    ", "<s>", "text\n", "  \n\n", "", "\n\n  x ", "é\n", "\t", "}}\n" if self.chance(0.1) else "")

    def block(self, size):
        return "".join(self.statement() for _ in range(self.random.randint(1, size)))

    def inner(self, make):
        """A block with a scope of its own."""
        known = {kind: list(names) for kind, names in self.names.items()}
        out = make()
        self.names = known
        return out

    def statement(self):
        self.depth += 1
        try:
            r = self.random.random()
            if self.depth > 4 or r < 0.3:
                return self.write(self.any()) + self.text()
            if r < 0.42:
                kind = self.pick(*self.KINDS)
                value = self.made(kind)
                return self.tag(f"set {self.name(kind)} = {value}") + self.text()
            if r < 0.58:
                out = self.tag(f"if {self.made('truth') if self.chance(0.7) else self.any()}") + self.text() + self.block(3)
                if self.chance(0.3):
                    out += self.tag(f"elif {self.made('truth')}") + self.block(2)
                if self.chance(0.5):
                    out += self.tag("else") + self.text() + self.block(2)
                return out + self.tag("endif") + self.text()
            if r < 0.77:
                return self.loop()
            if r < 0.80:
                body = self.inner(lambda: self.block(2))
                return self.tag(f"set {self.name('text')}{self.pick('', '', ' | upper', ' | trim | title')}") + body + self.tag("endset")
            if r < 0.82:
                return self.tag(f"filter {self.pick('upper', 'trim', 'indent(2)', 'replace(' + chr(39) + 'a' + chr(39) + ', ' + chr(39) + 'b' + chr(39) + ')', 'trim | title', 'length', 'e', 'tojson')}") + self.inner(lambda: self.block(2)) + self.tag("endfilter")
            if r < 0.86 and self.depth < 3:
                return self.macro()
            if r < 0.885 and self.callers:
                arg = self.pick("", "(v)", "(v, w=" + self.any(2) + ")")
                return self.tag(f"call{arg} call{self.callers}({self.pick('', self.any(2))})") + self.inner(lambda: self.write("v" if arg else "n") + self.block(2)) + self.tag("endcall")
            if r < 0.91:
                self.spaces.append(space := self.pick("ns", "state"))
                made = "{%- set " + space + " = namespace(t=" + self.made("number", 2) + ", last=" + self.made("text", 2) + ") %}"
                turns = "{% for m in messages %}" + self.tag(f"if {self.pick('loop.first', 'm.role == ' + chr(39) + 'user' + chr(39), 'not loop.last')}") + "{% set " + space + ".t = " + space + ".t + loop.index %}{% set " + space + ".last = m.role ~ loop.previtem.role|default('') if loop.previtem is defined else m.role %}{% endif %}{% endfor %}"
                return made + turns + self.write(space + ".t") + self.write(space + ".last")
            if r < 0.925:
                return self.tag(f"with a = {self.any(2)}, b = {self.any(2)}") + self.inner(lambda: self.write("a") + self.block(2)) + self.tag("endwith")
            if r < 0.94:
                return self.tag(f"set {self.pick('a, b', '(a, b)')} = {self.any(2)}, {self.any(2)}") + self.write("a") + self.write("b")
            if r < 0.95:
                return "{% raw %}" + self.pick("{{ x }}", "\n{% y %}\n", " {# z #}") + self.pick("{% endraw %}", "{%- endraw -%}") + self.text()
            if r < 0.965 and self.spaces:
                space = self.pick(*self.spaces)
                return self.tag(f"set {space}.{self.pick('t', 'last', 'other')} = {self.made(self.pick('number', 'text'))}")
            return "{#" + self.pick("", "-") + " note " + self.pick("", "-") + "#}" + self.text()
        finally:
            self.depth -= 1

    def loop(self):
        over, targets, kinds = self.pick(
            (self.made("turns", 1), "m", ["map"]), (self.made("turns", 2), "m", ["map"]), ("messages", "m", ["map"]), (self.made("seq", 1), "x", ["text"]), (self.made("map", 1) + "|items", "k, v", ["text", "text"]), (f"({self.made('map', 1)}).items()", "k, v", ["text", "text"]),
            (f"({self.made('map', 1)})|dictsort", "k, v", ["text", "text"]), (self.made("text", 2), "c", ["text"]), (f"range({self.pick('3', 'n', '1, 4')})", "i", ["number"]), (self.pick("d", "nothing", "zs", "xs|map('string')", "messages|groupby('role')"), "x", ["text"]),
        )
        condition = f" if {self.pick(targets.split(', ')[0] + ' is ' + self.pick(*TESTS), self.made('truth', 2))}" if self.chance(0.15) else ""

        def body():
            for target, kind in zip(targets.split(", "), kinds):
                self.names[kind].append(target)
            self.loops += 1
            out = self.write(self.pick("loop.index", "loop.last", "loop.previtem", "loop.nextitem", targets.split(", ")[0], "loop.cycle('a', 'b')", "loop.changed(n)", "m.content")) + self.block(3)
            if self.chance(0.2):
                out += self.tag(f"if {self.made('truth')}") + self.tag(self.pick("break", "continue")) + self.tag("endif") + self.text()
            self.loops -= 1
            return out

        out = self.tag(f"for {targets} in {over}{condition}") + self.text() + self.inner(body)
        if self.chance(0.15):
            out += self.tag("else") + self.inner(lambda: self.block(2))
        return out + self.tag("endfor") + self.text()

    def macro(self):
        args = ["arg", "other", "third"][: self.random.randint(0, 3)]
        first = self.random.randint(0, len(args))
        given = [arg if at < first else f"{arg}={self.pick(self.any(2), args[0] if at else '3')}" for at, arg in enumerate(args)]
        loops, self.loops = self.loops, 0
        if self.chance(0.3):
            self.callers += 1
            name = f"call{self.callers}"
            body = self.inner(lambda: self.text() + self.write(self.pick("caller()", "caller(1)", "caller(arg)")) + self.block(2))
            out = self.tag(f"macro {name}(arg={self.any(2)})") + body + self.tag("endmacro")
        else:
            name = f"mac{len(self.macros)}"
            body = self.inner(lambda: self.text() + "".join(self.write(arg) for arg in args) + self.block(2))
            out = self.tag(f"macro {name}({', '.join(given)})") + body + self.tag("endmacro")
            self.macros.append((name, args))
        self.loops = loops
        return out

    def template(self):
        out = self.block(3)
        if self.chance(0.6):
            end = self.pick("<e>", "<e>\n", "", "</s>")
            body = self.pick("{{ m.content }}" + end, "{{- m.content | trim }}" + end, "{% set t = m.content %}{{ t }}" + end + "\n", "{%- if m.content %}{{ m.content }}{% endif %}" + end, "{{ m.content }}{% if loop.last %}{% generation %}" + end + "{% endgeneration %}{% endif %}", "{% set t %}{{ m.content }}{% endset %}{{ t | trim }}" + end)
            mark = self.pick("", "-")
            marked = "{%" + mark + " generation " + self.pick("", "-") + "%}" + body + "{%" + mark + " endgeneration %}"
            if self.chance(0.15):
                lead = self.pick("", "", "<lead>")
                out += "{% macro turn(m, end='') %}" + lead + "{% generation %}{{ m.content }}{{ end }}{% endgeneration %}{% endmacro %}"
                marked = self.pick("{{ turn(m) }}", "{{ turn(m, end='</s>') }}", "{% set t %}" + marked + "{% endset %}{{ t }}", "{% filter trim %}" + marked + "{% endfilter %}")
            out += "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<a>' }}" + marked + "{% else %}<{{ m.role }}>{{ m.content }}{{ '\\n' }}{% endif %}{% endfor %}"
        return out + "{% if add_generation_prompt %}<a>{% endif %}"


def cases(count, seed):
    made, seen = 0, 0
    for source in forms():
        yield case(source, 1, False)
        made += 1
    while made < count:
        maker = Maker(seed * 1_000_003 + seen)
        seen += 1
        source, conversation, prompt = maker.template(), maker.random.randrange(len(CONVERSATIONS)), maker.random.random() < 0.3
        one = case(source, conversation, prompt)
        # Jinja2 slices a constant that has no places only where it is written alone; nobody writes that.
        if re.search(r"(\((none|true|3|-1|2\.5)|\})\)\[[^\]]*:", source):
            continue
        # What fails at its first expression says little: of those one in ten is kept.
        if one["text"] is None and maker.random.random() > 0.1:
            continue
        yield one
        made += 1


def case(source, conversation, prompt):
    messages = [{"role": role, "content": content} for role, content in CONVERSATIONS[conversation]]
    text, spans, error = rendered(source, messages, prompt)
    return {"template": source, "conversation": conversation, "prompt": prompt, "text": text, "spans": spans, "error": error}


def main():
    parser = argparse.ArgumentParser()
    here = pathlib.Path(__file__)
    parser.add_argument("--count", type=int, default=0, help="lines in all; without it the fixed forms and 40 made ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, default=here.with_suffix(".jsonl"))
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    count = args.count or len(list(forms())) + 40
    lines = list(cases(count, args.seed))
    head = {"fixed": len(list(forms())), "data": DATA, "conversations": [[{"role": role, "content": content} for role, content in one] for one in CONVERSATIONS]}
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [head, *lines])
    if args.check:
        sys.exit(0 if args.out.read_text() == text else f"{args.out} differs")
    args.out.write_text(text)
    refused = sum(line["text"] is None for line in lines)
    made_by = f"transformers {sys.modules['transformers'].__version__}" if theirs else "a copy of transformers' environment"
    print(f"made by {made_by}, jinja2 {jinja2.__version__}")
    print(f"{len(lines)} lines, {refused} of them refused by Jinja2, {sum(bool(line['spans']) for line in lines)} with marks")


if __name__ == "__main__":
    main()
