"""Chat templates made from a seed over the forms that public ones use, with what Jinja2 makes of them.

    pip install jinja2==3.1.6
    python tests/golden/template_forms.py                          # writes template_forms.jsonl beside this script
    python tests/golden/template_forms.py --check                  # compares, exit 1 on a difference
    python tests/golden/template_forms.py --count 5000 --seed 7 --out forms.jsonl

A line is one rendering: the template, what it reads, the text (null where Jinja2 refuses it) and the assistant mask as
places of letters. The environment is that of transformers, repeated here; where transformers is installed its own is used
(apply_chat_template has the same text, which the script then checks). The rows of FORMS are fixed and come first.
TRAINER_FORMS=forms.jsonl cargo test -p model renderings_of_a_file -- --ignored     # compares a file of any length
The clock is fixed: 1772323200 seconds after 1970, which is 1 March 2026 in UTC.
"""
import argparse, copy, json, pathlib, random, re, sys
from datetime import datetime, timezone

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.fromtimestamp(1772323200, timezone.utc)

# What every template can read beside messages, tools (none) and documents (none).
DATA = {
    "name": "it's \"Ann\"", "text": "  Hello, <b>World</b> & co.\n\nline two\tend  ", "empty": "", "uni": "é日本😀ß",
    "n": 7, "neg": -7, "f": 2.5, "big": 1e20, "tiny": 0.00001, "one": 1.0, "yes": True, "no": False, "nil": None,
    "xs": [3, 1, 2], "ys": ["b", "A", "c", "a"], "zs": [], "nest": [[1, [2, 3]], ["x", None, True, 1.5]],
    "d": {"b": 1, "a": {"k": [1, "two"]}, "Z": None}, "dd": {},
    "rows": [{"role": "user", "content": "q", "n": 2}, {"role": "tool", "content": None, "n": 1}, {"role": "User", "content": "r"}],
    "calls": [{"function": {"name": "get", "arguments": {"city": "Köln", "n": [1, 2.0, None]}}, "id": "c1"}],
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


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Tracker, loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: NOW.strftime(form)
    return env


def rendered(source, messages, prompt):
    """Text and spans; none where Jinja2 refuses the template or writes an address of its memory."""
    # A template may append to a list, which must not reach the next one.
    data = copy.deepcopy(DATA)
    try:
        env = environment()
        blocks, spans = [], []
        env.tracker.blocks, env.tracker.spans = blocks, spans
        template = env.from_string(source)
        for block in template.generate(messages=messages, tools=None, documents=None, add_generation_prompt=prompt, **data):
            blocks.append(block)
        text = "".join(blocks)
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
"""
STATEMENTS = [
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


class Maker:
    """Makes templates of many statements: the weights are those of public templates."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names, self.depth, self.macros, self.loops = [], 0, [], 0

    def pick(self, *options):
        return self.random.choice(options)

    def atom(self):
        r = self.random.random()
        if r < 0.25 and self.names:
            return self.pick(*self.names)
        if r < 0.4 and self.loops:
            return self.pick("loop.index", "loop.index0", "loop.last", "loop.first", "m.content", "m.role", "m")
        return self.pick(*DATA, "messages[0].content", "messages[-1]['role']", "messages", "nothing", "'lit'", "3", "-1", "2.5", "[1, 'b']", "(1, 2)", "{'k': n}", "none", "true", "add_generation_prompt", "tools")

    def expr(self, depth=0):
        if depth > 2 or self.random.random() < 0.25:
            return self.atom()
        a, b = (lambda: self.expr(depth + 1)), (lambda: self.expr(depth + 1))
        forms = [
            lambda: f"{a()} == {b()}", lambda: f"{a()} {self.pick('!=', '<', '>', '>=', '<=')} {b()}", lambda: f"{a()} {self.pick('in', 'not in')} {b()}",
            lambda: f"{a()} + {b()}", lambda: f"{a()} ~ {b()}", lambda: f"({a()} {self.pick('-', '*', '%', '//', '/')} {b()})",
            lambda: f"({a()} {self.pick('and', 'or')} {b()})", lambda: f"not {a()}", lambda: f"({a()} if {b()} else {self.expr(depth + 1)})",
            lambda: f"({a()} if {b()})", lambda: f"{a()} is {self.pick('', 'not ')}{self.pick('string', 'defined', 'none', 'mapping', 'iterable', 'sequence', 'boolean', 'false', 'undefined', 'true', 'number')}",
            lambda: f"({a()}){self.pick('[0]', '[-1]', '[1:]', '[:-1]', '[::-1]', '[::2]', '[1:3]', '.role', '.content')}",
            lambda: f"({a()})|{self.filter()}", lambda: f"({a()})|{self.filter()}|{self.filter()}", lambda: f"({a()}).{self.method()}",
            lambda: f"[{a()}, {b()}]", lambda: f"({a()}, {b()})", lambda: f"{{'k': {a()}, 'l': {b()}}}", lambda: f"range({self.pick('3', 'n', '1, 5', '5, 1, -2')})|list",
        ]
        if self.macros:
            forms.append(lambda: f"{self.pick(*self.macros)}({a()})")
        return self.pick(*forms)()

    def filter(self):
        return self.pick(
            "tojson", "tojson", "tojson(indent=2)", "tojson(ensure_ascii=true)", "length", "length", "trim", "trim", "string", "default('x')", "default('y', true)", "join(',')", "join",
            "items|list", "safe", "map('string')|list", "map(attribute='role')|join(' ')", "list", "selectattr('role', 'equalto', 'user')|list", "selectattr('n', 'defined')|list", "upper", "dictsort",
            "lower", "replace('a', 'b')", "int", "capitalize", "title", "min", "max", "indent", "reject('none')|list", "rejectattr('n', 'defined')|list", "unique|list", "sort", "first", "last", "abs", "round", "float", "reverse|list", "sum", "e", "count", "batch(2)|list")

    def method(self):
        return self.pick("split('a')", "split()", "split('\\n')[0]", "split(',')[-1]", "items()", "strip()", "strip('\\n')", "get('role')", "get('k', 'none')", "endswith('.')", "lstrip()", "rstrip('\\n')",
            "startswith('<')", "replace('a', '')", "append(1)", "pop()", "capitalize()", "upper()", "keys()|list", "values()|list", "find('a')", "title()", "lower()", "format(1)")

    def name(self):
        name = self.pick("a", "b", "c", "content", "text2", "found")
        self.names.append(name)
        return name

    def tag(self, body):
        left, right = self.pick("", "", "-", "-", "+" if self.random.random() < 0.2 else ""), self.pick("", "", "-")
        return "{%" + left + " " + body + " " + right + "%}"

    def write(self, body):
        return "{{" + self.pick("", "-") + " " + body + " " + self.pick("", "-") + "}}"

    def text(self):
        return self.pick("\n", " ", "\n    ", "<s>", "text\n", "  \n\n", "", "\n\n  x ", "é\n")

    def block(self, size):
        return "".join(self.statement() for _ in range(self.random.randint(1, size)))

    def statement(self):
        self.depth += 1
        try:
            r = self.random.random()
            if self.depth > 4 or r < 0.3:
                return self.write(self.expr()) + self.text()
            known = len(self.names)
            if r < 0.42:
                value = self.expr()
                return self.tag(f"set {self.name()} = {value}") + self.text()
            if r < 0.62:
                out = self.tag(f"if {self.expr()}") + self.text() + self.block(3)
                if self.random.random() < 0.3:
                    out += self.tag(f"elif {self.expr()}") + self.block(2)
                if self.random.random() < 0.5:
                    out += self.tag("else") + self.text() + self.block(2)
                return out + self.tag("endif") + self.text()
            if r < 0.8:
                over = self.pick("messages", "messages", "messages", "messages[1:]", "messages[::-1]", "rows", "xs", "ys", "d", "nothing", "calls", "messages if m.role != 'system'")
                self.loops += 1
                body = self.block(3)
                if self.random.random() < 0.15:
                    body += self.tag(f"if {self.expr()}") + self.tag(self.pick("break", "continue")) + self.tag("endif")
                self.loops -= 1
                self.names = self.names[:known]
                return self.tag(f"for m in {over}") + self.text() + body + self.tag("endfor") + self.text()
            if r < 0.84:
                body = self.block(2)
                self.names = self.names[:known]
                return self.tag(f"set {self.name()}") + body + self.tag("endset")
            if r < 0.88 and self.depth == 1:
                name = f"mac{len(self.macros)}"
                body = self.block(2)
                self.names = self.names[:known]
                self.macros.append(name)
                return self.tag(f"macro {name}(arg{self.pick('', ', other=3')})") + self.text() + self.write("arg") + body + self.tag("endmacro")
            if r < 0.95 and not self.names:
                return "{%- set ns = namespace(t=0, last='') %}" + "{% for m in messages %}{% set ns.t = ns.t + loop.index %}{% set ns.last = m.role %}{% endfor %}" + self.write("ns.t") + self.write("ns.last")
            return "{#" + self.pick("", "-") + " note " + self.pick("", "-") + "#}" + self.text()
        finally:
            self.depth -= 1

    def template(self):
        out = self.block(3)
        if self.random.random() < 0.6:
            end = self.pick("<e>", "<e>\n", "", "</s>")
            body = self.pick("{{ m.content }}" + end, "{{- m.content | trim }}" + end, "{% set t = m.content %}{{ t }}" + end + "\n", "{%- if m.content %}{{ m.content }}{% endif %}" + end)
            mark = self.pick("", "-")
            out += "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<a>' }}{%" + mark + " generation %}" + body + "{%" + mark + " endgeneration %}{% else %}<{{ m.role }}>{{ m.content }}{{ '\\n' }}{% endif %}{% endfor %}"
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


def against_transformers(lines):
    """Where transformers is installed its own function has to give the same texts."""
    try:
        from transformers.utils.chat_template_utils import render_jinja_template
    except ImportError:
        print("transformers is not installed: its environment is repeated", file=sys.stderr)
        return
    for line in lines:
        if line["text"] is None or "strftime_now" in line["template"]:
            continue
        messages = [{"role": role, "content": content} for role, content in CONVERSATIONS[line["conversation"]]]
        marked = "generation %}" in line["template"]
        texts, spans = render_jinja_template([messages], chat_template=line["template"], return_assistant_tokens_mask=marked, add_generation_prompt=line["prompt"], **copy.deepcopy(DATA))
        found = [texts[0], [list(span) for span in spans[0]] if marked else []]
        if found != [line["text"], line["spans"]]:
            sys.exit(f"transformers differs: {line} {found}")


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
    against_transformers(lines)
    head = {"data": DATA, "conversations": [[{"role": role, "content": content} for role, content in one] for one in CONVERSATIONS]}
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [head, *lines])
    if args.check:
        sys.exit(0 if args.out.read_text() == text else f"{args.out} differs")
    args.out.write_text(text)
    refused = sum(line["text"] is None for line in lines)
    print(f"{len(lines)} lines, {refused} of them refused by Jinja2, {sum(bool(line['spans']) for line in lines)} with marks")


if __name__ == "__main__":
    main()
