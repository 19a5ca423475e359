//! Templates as models have them: what they write does not change by the bounds, and large conversations pass.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use super::*;

/// A template with what chat templates have.
pub(super) fn chat(source: &str) -> Result<Template, Refused> {
    Ok(Template::new(source, Dialect::Chat)?
        .with_filter("tojson", to_json)
        .with_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        }))
}

pub(super) fn render(template: &Template, turns: &[(&str, &str)]) -> Result<String, Refused> {
    let input = Input {
        items: turns.len() as u64,
        bytes: turns.iter().map(|(role, content)| (role.len() + content.len()) as u64).sum(),
    };
    template.render(input, || {
        let turn = |(role, content): &(&str, &str)| {
            map(vec![(Value::from("role"), Value::from(*role)), (Value::from("content"), Value::from(*content))])
        };
        let messages = list(turns.iter().map(turn).collect::<Result<_, _>>()?)?;
        Ok(vec![
            (Value::from("messages"), messages),
            (Value::from("add_generation_prompt"), Value::from(false)),
            (Value::from("number"), Value::from(3)),
        ])
    })
}

fn written(source: &str) -> String {
    render(&chat(source).unwrap(), &[("user", "hello"), ("assistant", "b é")]).unwrap()
}

#[test]
fn operators_do_what_python_does() {
    for (source, expected) in [
        (
            "{{ 1 + number }} {{ 1 + 2.5 }} {{ true + 1 }} {{ 'a' + 'b' + 'c' }} {{ [1] + [2] + [] }}",
            "4 3.5 2 abc [1, 2]",
        ),
        ("{{ number ~ 'a' ~ none ~ [1] ~ nothing ~ 2.0 }}", "3aNone[1]2.0"),
        (
            "{{ 'ab' * number }}{{ 2 * 'x' }}{{ 'x' * -1 }} {{ [1] * 2 }} {{ number * 2 }} {{ number * 1.5 }}",
            "abababxx [1, 1] 6 4.5",
        ),
        ("{{ number - 5 }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 5 }} {{ 7 / 2 }} {{ -number }}", "-2 3 3 32 3.5 -3"),
        (
            "{{ 1 < number < 5 }} {{ 1 < number > 5 }} {{ 1 == 1 != 2 }} {{ number in [1, 2, 3] in [true] }}",
            "True False True False",
        ),
        (
            "{{ number == 3 }} {{ [1, [2]] == [1, [2]] }} {{ 'a' < 'b' }} {{ {'a': 1} == {'a': 1.0} }}",
            "True True True True",
        ),
        (
            "{{ 'b' in 'abc' }} {{ 'x' not in 'abc' }} {{ 'role' in messages[0] }} {{ 4 in range(5) }} {{ 1 in nothing }}",
            "True True True True False",
        ),
        (
            "{{ 'abcdef'[1:-1] }} {{ 'aéc'[::-1] }} {{ [1, 2, 3, 4][-2:] }} {{ messages[1:][0].role }}",
            "bcde céa [3, 4] assistant",
        ),
        (
            "{{ 'abc'[-1] }} {{ [1, 2][-1] }} {{ messages[-1]['role'] }} {{ {'a': 1}['a'] }} {{ [1][5] is defined }}",
            "c 2 assistant 1 False",
        ),
        (
            "{{ {'a': 1, 'b': [2, 'x']} }} {{ [] }} {{ {} }} {{ [number] }} {{ {'k': number} }}",
            "{'a': 1, 'b': [2, 'x']} [] {} [3] {'k': 3}",
        ),
        (
            "{{ {'a': 1, 'b': 2, 'a': 3} }} {{ dict(a=1, b=number) }} {{ dict({'a': 1}, a=2) }}",
            "{'a': 3, 'b': 2} {'a': 1, 'b': 3} {'a': 2}",
        ),
        (
            "{{ range(3) | list }} {{ range(1, 8, 3) | list }} {{ range(3, 0, -1) | list }} {{ range(0) | length }}",
            "[0, 1, 2] [1, 4, 7] [3, 2, 1] 0",
        ),
    ] {
        assert_eq!(written(source), expected, "{source}");
    }
}

#[test]
fn statements_keep_their_meaning() {
    for (source, expected) in [
        ("{% set n = namespace(a=1) %}{% for m in messages %}{% set n.a = n.a + 1 %}{% endfor %}{{ n.a }}", "3"),
        (
            "{% set n = namespace(a=1, b=2) %}{% set n.a, n.b = n.b, n.a %}{{ n.a }}{{ n.b }}{{ n }}",
            "21<Namespace {'a': 2, 'b': 1}>",
        ),
        ("{% set n = namespace() %}{% set n.a %}x{{ number }}{% endset %}{{ n.a }}{{ n.b is defined }}", "x3False"),
        ("{% set a, (b, c) = 1, (2, 3) %}{{ a }}{{ b }}{{ c }}", "123"),
        (
            "{% for a in range(6) if a is odd %}{{ loop.index }}{{ a }}{{ ',' if not loop.last }}{% else %}none{% endfor %}",
            "11,23,35",
        ),
        ("{% for a in [] %}x{% else %}none{% endfor %}{% for a in nothing %}{% else %}!{% endfor %}", "none!"),
        (
            "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}{% for k in {'a': 1} %}{{ k }}{{ loop.last }}{% endfor %}",
            "a1b2aTrue",
        ),
        (
            "{% for a in range(9) %}{% if a == 2 %}{% continue %}{% endif %}{% if a > 3 %}{% break %}{% endif %}{{ a }}{% endfor %}",
            "013",
        ),
        (
            "{% for m in messages %}{{ loop.previtem.role if loop.previtem }}{{ loop.cycle('a', 'b') }}{{ loop.changed(m.role) }}{% endfor %}",
            "aTrueuserbTrue",
        ),
        (
            "{% macro m(a, b='x' ~ number) %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, b=2) }}{{ m(*[5, 6]) }}{{ m(**{'a': 7}) }}",
            "[1x3][12][56][7x3]",
        ),
        ("{% macro m() %}<{{ caller('z') }}>{% endmacro %}{% call(a) m() %}{{ a }}{{ number }}{% endcall %}", "<z3>"),
        ("{% for a in [[1, [2]], [3]] recursive %}{{ loop(a) if a is iterable else a }}{% endfor %}", "123"),
        ("{% filter upper %}a{{ number }}{% endfilter %}{% set x | upper %}b{% endset %}{{ x }}", "A3B"),
        (
            "{% with a = 1, b = number %}{{ a }}{{ b }}{% endwith %}{% block c %}d{% endblock %}{% autoescape false %}<{% endautoescape %}",
            "13d<",
        ),
        (
            "{{ 'a' if number == 3 else 'b' }}{{ 'a' if nothing }}{{ nothing or 'c' }}{{ number and 'd' }}{{ not number }}",
            "acdFalse",
        ),
        ("a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"),
    ] {
        assert_eq!(written(source), expected, "{source}");
    }
}

#[test]
fn filters_tests_and_methods_keep_their_meaning() {
    for (source, expected) in [
        (
            "{{ messages | map(attribute='role') | join(',') }} {{ ['a'] | map('upper') | list }}",
            "user,assistant ['A']",
        ),
        (
            "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | rejectattr('role', '==', 'user') | map(attribute='content') | first }}",
            "1b é",
        ),
        ("{{ [none, true, 1.0, 1, (1, true), (1.0, 1), 2.5] | unique | list }}", "[None, True, (1, True), 2.5]"),
        // What stands behind the first item is never looked at.
        (
            "{{ [1, nothing] | map('abs') | first }}{{ [messages[0], nothing] | selectattr('role') | first == messages[0] }}",
            "1True",
        ),
        (
            "{{ [1, 0, 2] | select | list }} {{ [1, 2, 3] | reject('odd') | list }} {{ messages | selectattr('x') | list }}",
            "[1, 2] [2] []",
        ),
        (
            "{% for role, all in messages | groupby('role') %}{{ role }}{{ all | length }}{% endfor %}{{ (messages | groupby('role'))[0].grouper }}",
            "assistant1user1assistant",
        ),
        (
            "{{ [3, 1, 2] | sort }} {{ messages | sort(attribute='content') | map(attribute='content') | list }} {{ {'b': 1, 'a': 2} | dictsort }}",
            "[1, 2, 3] ['b é', 'hello'] [('a', 2), ('b', 1)]",
        ),
        (
            "{{ ' a ' | trim }}{{ 'xax'.strip('x') }}{{ 'a-b'.split('-')[1] }}{{ 'a b' | upper | replace('A', 'c') }}{{ 'ab'.replace('a', '') }}",
            "aabc Bb",
        ),
        (
            "{{ [1, 2, 3] | batch(2) | list }} {{ [1, 2, 3] | slice(2) | list }} {{ 'ab' | list }} {{ [1, 2] | last }}",
            "[[1, 2], [3]] [[1, 2], [3]] ['a', 'b'] 2",
        ),
        (
            "{{ [('a b' | safe) | title] }}{{ [('a' | safe) | first] }}{{ ('a b c' | safe) | truncate(3, end='<', leeway=0) }}",
            "['A B']['a']a&lt;",
        ),
        (
            "{{ dict([['a', 1], ('b', 2)], c=3) }}{{ namespace([['a', 1]]).a }}{{ 'ßa'.capitalize() }}",
            "{'a': 1, 'b': 2, 'c': 3}1Ssa",
        ),
        (
            "{{ 'a\nb' | indent(2) }}|{{ '%s-%03d' | format('a', 7) }}|{{ '{}-{:>3}'.format('a', 7) }}|{{ ','.join(['a', 'b']) }}",
            "a\n  b|a-007|a-  7|a,b",
        ),
        (
            "{{ messages[0].get('x', 'd') }}{{ messages[0].get('role') }}{{ messages[0].keys() | list }}{{ 'aXa'.count('a') }}",
            "duser['role', 'content']2",
        ),
        (
            "{{ nothing | default('x') }}{{ '' | default('y', true) }}{{ 'é' | length }}{{ 'abc'.startswith('a') }}{{ 3 is eq(3) }}",
            "xy1TrueTrue",
        ),
        (
            "{{ messages[0] | tojson }}{{ [1, {'a': 'é'}] | tojson(ensure_ascii=true) }}",
            "{\"role\": \"user\", \"content\": \"hello\"}[1, {\"a\": \"\\u00e9\"}]",
        ),
        (
            "{{ [1, 2] | sum }}{{ [1, 5] | max }}{{ 2.6 | round }}{{ '7' | int + 1 }}{{ [1, 1] | unique | list }}{{ 'ab' | reverse }}",
            "353.08[1]ba",
        ),
    ] {
        assert_eq!(written(source), expected, "{source}");
    }
}

#[test]
fn a_chain_of_comparisons_ends_at_the_first_that_does_not_hold() {
    for (source, expected) in [
        ("{{ 1 < 2 < 1 < nothing.x }} {{ 1 == 2 == nothing.x }} {{ 1 < 2 == 2 < 3 }}", "False False True"),
        ("{{ 1 < (2 if 3 > 2 > 5 > nothing.x else 3) < 4 }} {{ 1 not in [1] in [[1]] }}", "True False"),
        ("{% set c = cycler(1, 2) %}{{ 0 < c.next() < 2 }}{{ c.next() }} {{ (1 < 2 < 3) < 2 < 3 }}", "True2 True"),
    ] {
        assert_eq!(written(source), expected, "{source}");
    }
    let long = format!("{{{{ 1{} }}}}", " < 2 > 1".repeat(2000));
    assert_eq!(written(&long), "True");
}

#[test]
fn an_argument_that_is_undefined_is_given_and_a_default_sees_those_before_it() {
    for (source, expected) in [
        (
            "{% macro m(a, b='d') %}{{ a }}-{{ b }};{% endmacro %}{{ m(1, nothing) }}{{ m(1) }}{{ m(b=messages.x, a=2) }}",
            "1-;1-d;2-;",
        ),
        ("{% macro m(a, b=a, c=b ~ 'c') %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}", "111c;113;"),
        (
            "{% macro w() %}{{ caller() }}{{ caller(nothing) }}{% endmacro %}{% call(v='V') w() %}[{{ v }}]{% endcall %}",
            "[V][]",
        ),
        ("{% macro m(a=1) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(nothing) }}", "TrueFalse"),
    ] {
        assert_eq!(written(source), expected, "{source}");
    }
}

#[test]
fn a_name_that_a_block_sets_later_is_its_own_before() {
    for (source, expected) in [
        ("{% for x in [1] %}[{{ number }}]{% endfor %}{% set number = 'x' %}{{ number }}", "[]x"),
        ("{% for x in [1] %}[{{ number }}]{% endfor %}{% if true %}{% set number = 'x' %}{% endif %}", "[3]"),
        ("{% macro m() %}[{{ number }}]{% endmacro %}{{ m() }}{% set number = 'x' %}{{ m() }}", "[][x]"),
        ("{% for x in [1, 2] %}[{{ number }}]{% set number = 'x' %}{% endfor %}{{ number }}", "[3][3]3"),
        ("{% set number %}<{{ number }}>{% endset %}{{ number }}", "<>"),
        ("{{ number }}{% set number %}<{{ number }}>{% endset %}{{ number }}", "3<3>"),
        ("{% for x in [] %}{% else %}{% set q = 1 %}{{ q }}{% endfor %}{{ q is defined }}", "1False"),
        // Else is run unless a turn comes to its end.
        (
            "{% for x in [1] %}{% continue %}{% else %}e{% endfor %}{% for x in [1, 2] %}{% if x == 2 %}{% break %}{% endif %}{% else %}f{% endfor %}",
            "e",
        ),
        (
            "{% for y in [1, 2] %}{% for x in [1] %}{% if y == 2 %}{% break %}{% endif %}{% else %}{{ y }}{% endfor %}{% endfor %}",
            "2",
        ),
        ("{% with number = 1, b = number %}{{ number }}{{ b }}{% endwith %}", "13"),
    ] {
        assert_eq!(written(source), expected, "{source}");
    }
}

#[test]
fn marks_stand_where_transformers_puts_them_or_are_refused() {
    let marked = |source: &str| {
        let source =
            source.replace("endgeneration", "endfilter").replace("generation", &format!("filter {GENERATION}"));
        Template::new(&source, Dialect::Chat)?.render_marked(Input::default(), || Ok(Vec::new()))
    };
    for (source, text, places) in [
        ("a{% generation %}b{% endgeneration %}{% generation %}c{% endgeneration %}", "abc", &[(1, 2), (2, 3)][..]),
        ("{% generation %}a{% generation %}b{% endgeneration %}c{% endgeneration %}d", "abcd", &[(0, 3)]),
        ("{% macro m(x) %}{% generation %}{{ x }}{% endgeneration %}{% endmacro %}a{{ m('b') }}c", "abc", &[(1, 2)]),
        ("a{% set t %} {% generation %}b{% endgeneration %}{% endset %}{{ 1 if t == ' b' }}", "a1", &[]),
    ] {
        match marked(source) {
            Ok((found, spans)) => {
                let spans: Vec<(usize, usize)> = spans.iter().map(|span| (span.start, span.end)).collect();
                assert_eq!((found.as_str(), spans.as_slice()), (text, places), "{source}");
            }
            Err(refused) => {
                assert!(places.is_empty() && refused.to_string().contains("not here"), "{source}: {refused}")
            }
        }
    }
}

#[test]
fn faults_of_a_template_are_told_with_their_line_and_no_hint_of_a_limit() {
    for (source, words) in [
        ("a\n{{ raise_exception('no system turn') }}", "no system turn (line 2 of the template)"),
        ("{{ 'a' + 1 }}", "tried to use + operator on unsupported types str and int"),
        ("{{ nothing.x }}", "undefined value"),
        ("{{ 1 | nothing }}", "no filter named \"nothing\" (line 1 of the template)"),
        ("{{ 1 is nothing }}", "no test named \"nothing\""),
        ("{{ 1 | nothing if true }}", "unknown filter"),
        ("{% do messages.append(1) %}", "Encountered unknown tag 'do'"),
        ("{% set x = messages.append(1) %}", "access to attribute \"append\" of \"list\" object is unsafe"),
        ("{{ 'a' | urlize }}", "this filter of Jinja2 is not here"),
        ("{{ messages | map('upper') }}", "put `| list`"),
        ("{{ 'a'.upper }}", "it writes the method upper"),
        ("{% for m in none %}{% endfor %}", "none is not iterable"),
        ("{% for m in [1] %}{% with a = 1 %}{% break %}{% endwith %}{% endfor %}", "break inside a block of a loop"),
        ("{{ number is defined is true }}", "tests cannot be chained with `is` (line 1 of the template)"),
        ("{{ number is defined in [1, 2] }}", "`in` stands where Jinja2 reads a name"),
        ("{{ 1 == not [1, 2] }}", "`not` stands where Jinja2 reads a name"),
        ("{{ {[1]: 2} }}", "a list is no key of a map"),
        ("{% filter length %}a{% endfilter %}", "a filter block writes texts"),
        ("{{ number.real }}", "real of a value of the type int is not here"),
        ("{{ namespace(_a=1) }}", "it begins with _"),
        ("{{ dict({}, {}) }}", "too many arguments"),
        ("{% macro m() %}{{ varargs }}{% endmacro %}", "varargs, the other arguments of a macro, are not here"),
        ("{% include 'other' %}", "a template has no other files"),
        ("{% set n = namespace() %}\n\n{% set n.n = n %}", "a namespace cannot be held"),
    ] {
        let refused = chat(source).and_then(|template| render(&template, &[])).unwrap_err();
        assert!(refused.to_string().contains(words) && !refused.met_a_limit(), "{source}: {refused}");
        assert!(!refused.to_string().contains("hint"), "{refused}");
    }
    let refused = chat("a\n{% if %}").unwrap_err();
    assert!(refused.to_string().contains("syntax error") && refused.to_string().contains("line 2"), "{refused}");
}

#[test]
fn prompts_are_strict_and_say_what_they_read() {
    let prompt = Template::new("{% set a = 1 %}{{ a }}{{ text }}{{ other if false }}", Dialect::Prompt).unwrap();
    assert_eq!(prompt.reads(), ["other", "text"]);
    let text = prompt.render(Input::default(), || Ok(vec![(Value::from("text"), Value::from("<b>"))])).unwrap();
    assert_eq!(text, "1<b>");
    let refused = prompt.render(Input::default(), || Ok(Vec::new())).unwrap_err();
    assert!(refused.to_string().contains("undefined value"), "{refused}");
}

#[test]
fn a_chat_template_says_what_it_reads_from_outside() {
    for (source, reads) in [
        // Read before it is set: the default of a variable.
        ("{% if a is not defined %}{% set a = 1 %}{% endif %}{{ a }}", &["a"][..]),
        ("{% set a = a if a is defined else 1 %}{{ a }}", &["a"]),
        ("{% set a = 1 %}{{ a }}{% set b %}{{ c }}{% endset %}{{ b }}", &["c"]),
        // What one branch sets, the other does not.
        ("{% if c %}{% set a = 1 %}{% endif %}{{ a }}", &["a", "c"]),
        ("{% if c %}{% set a = 1 %}{% else %}{{ a }}{% endif %}", &["a", "c"]),
        // What a loop, a macro or a block calls its own is somebody else's outside.
        ("{% for a in b if a %}{{ a }}{{ loop.index }}{% else %}{{ c }}{% endfor %}", &["b", "c"]),
        ("{% for a in b %}{% set d = a %}{% endfor %}{{ a }}{{ d }}", &["a", "b", "d"]),
        ("{% macro f(a, d=e) %}{{ a }}{{ d }}{{ g }}{% endmacro %}{{ f(1) }}{{ a }}", &["a", "e", "g"]),
        ("{% with a = b %}{{ a }}{% endwith %}{{ a }}", &["a", "b"]),
        // Functions are no variables; what they are given is.
        (
            "{% set ns = namespace(a=b) %}{% set ns.c = 1 %}{{ ns.a }}{{ raise_exception(d) if range(e) }}",
            &["b", "d", "e"],
        ),
        ("{{ a.b.c(d)[e] | join(f) }}{{ 'text' ~ a }}", &["a", "d", "e", "f"]),
    ] {
        assert_eq!(chat(source).unwrap().reads(), reads, "{source}");
    }
}

#[test]
fn thousands_of_turns_and_megabytes_of_documents_pass() {
    let document = "A sentence of a document, with words. ".repeat(30_000);
    let mut turns = vec![("system", "be brief"), ("user", document.as_str())];
    for _ in 0..2500 {
        turns.extend([("assistant", "an answer that says something"), ("user", "and then?")]);
    }
    for source in [
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}",
        "{%- set loop_messages = messages[1:] %}{% for message in loop_messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles') }}{% endif %}{%- set content = message.content | trim %}{% if loop.last or loop.index0 == loop_messages | length - 1 %}!{% endif %}[{{ content }}]{% endfor %}",
        "{%- set ns = namespace(last=-1, found=false) %}{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}{%- if not ns.found and message.role == 'user' and not ('<tool_response>' in message.content) %}{% set ns.found = true %}{% set ns.last = index %}{% endif %}{% endfor %}{% for message in messages %}{% set content = message.content.split('</think>')[-1].lstrip('\n') %}{{ content if loop.index0 > ns.last else content | upper }}{{ messages[loop.index0 - 1].role }}{{ messages | tojson if false }}{% endfor %}",
        "{% macro turn(m) %}{% set text %}{{ m.role | upper }}: {{ m.content }}{% endset %}{{ text | trim }}{% endmacro %}{% for message in messages %}{{ turn(message) }}{% endfor %}",
        "{% for message in messages %}{% if loop.index < 30 and messages | selectattr('role', 'equalto', 'system') | list | length == 1 %}{{ message | tojson }}{% endif %}{% endfor %}",
    ] {
        let template = chat(source).unwrap();
        let start = Instant::now();
        let text = render(&template, &turns).unwrap();
        assert!(text.len() > 100, "{source}");
        assert!(start.elapsed() < Duration::from_secs(3), "{source}: {:?}", start.elapsed());
    }
}

#[test]
fn a_template_is_cheap_to_render() {
    let source = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let template = chat(source).unwrap();
    let start = Instant::now();
    for _ in 0..10_000 {
        render(&template, &[("user", "hello"), ("assistant", "b é")]).unwrap();
    }
    // Some 10 µs; what is caught is a thread or a copy of everything for each.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
