//! Templates that ask for gigabytes, hours or a stack without end: each is refused or done within bounds, which are
//! measured by an allocator that counts what a thread holds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::tests::{chat, render};
use super::*;

/// The most that a rendering may hold; the promise is half a gigabyte.
const MOST_BYTES: i64 = 400 << 20;
/// The longest that one may take, on a machine that has other work.
const LONGEST: Duration = Duration::from_secs(4);

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

fn count(bytes: i64) {
    // A thread that ends has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[expect(unsafe_code, reason = "an allocator that counts and hands on")]
// SAFETY: every call goes to the allocator of the system as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the conditions of the caller are those of the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may exist while it moves.
        count(signed(size));
        count(-signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Renders on a small stack, as threads have, and holds the bounds.
fn bounded(source: &str) -> Result<String, Refused> {
    let shown: String = source.chars().take(160).collect();
    let run = || {
        let start = Instant::now();
        PEAK.set(HELD.get());
        let before = HELD.get();
        let result = chat(source).and_then(|template| render(&template, &[("user", "hello"), ("assistant", "b é")]));
        let (peak, took) = (PEAK.get() - before, start.elapsed());
        assert!(peak < MOST_BYTES, "{shown}: held {} MB, {:?}", peak >> 20, result.map(|text| text.len()));
        assert!(took < LONGEST, "{shown}: took {took:?}, {:?}", result.map(|text| text.len()));
        if std::env::var_os("TRAINER_SHOW").is_some() {
            eprintln!(
                "{:>5} ms {:>4} MB  {shown}  {}",
                took.as_millis(),
                peak >> 20,
                match &result {
                    Ok(text) => format!("{} bytes", text.len()),
                    Err(refused) => refused.what.clone(),
                }
            );
        }
        result
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(2 << 20).spawn_scoped(scope, run).unwrap().join().unwrap()
    })
}

/// Must be refused by a limit.
const REFUSED: &[&str] = &[
    // Texts that grow in one step.
    "{{ 'a' * 10**8 }}",
    "{{ 10**8 * 'a' }}",
    "{{ 'a' * 10**30 }}",
    "{% for i in range(1000) %}{{ 'a' * 10**8 }}{% endfor %}",
    "{% for i in range(1000) %}{{ 'a' * 10**7 }}{% endfor %}",
    "{% set n = namespace(s='aaaaaaaa') %}{% for i in range(40) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s='aaaaaaaa') %}{% for i in range(40) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s='a') %}{% for i in range(40) %}{% set n.s = n.s ~ n.s ~ n.s ~ n.s %}{% endfor %}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ '%.1000000000f' | format(1.5) }}",
    "{{ '%-01000000000d' | format(1) }}",
    "{{ '%(a)1000000000d' | format({'a': 1}) }}",
    "{{ '%(a%b)1000000000d' | format({'a%b': 1}) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:x>1000000000}'.format(1) }}",
    "{{ '{:.1000000000f}'.format(1.5) }}",
    "{{ '{a:é^1000000000}'.format(a=1) }}",
    "{{ ('%s' * 10000) | format('a' * 10**6) }}",
    "{{ ('{0}' * 100000).format('a' * 10**6) }}",
    "{{ 'a\\nb' | indent(10**12) }}",
    "{{ ('\\n' * 10**6) | indent(5000) }}",
    "{{ 'a' | indent(width=10**12, first=true) }}",
    "{{ ('a' * 10**6) | replace('a', 'b' * 10**6) }}",
    "{{ ('a' * 10**6) | replace('', 'b' * 10**6) }}",
    "{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}",
    "{{ ('a' * 10**6).replace('', 'b' * 10**6) }}",
    "{{ range(100000) | join('b' * 10**7) }}",
    "{{ ('b' * 10**7).join(range(100000)) }}",
    "{{ ('a' * 10**6) | join('b' * 10**6) }}",
    "{{ ('b' * 10**5).join('a' * 10**6) }}",
    "{{ ('a' * 10**8).split('a') | length }}",
    "{{ ('a ' * 10**7).split() | length }}",
    "{{ ('a\\n' * 10**7).splitlines() | length }}",
    "{{ ('a' * 10**7).split('a') | length }}",
    "{{ ('a' * 3 * 10**7) | list | length }}",
    "{{ ('a' * 3 * 10**7) | batch(1) | list | length }}",
    "{{ ('a' * 3 * 10**7) | reverse | list | length }}",
    "{{ ('a' * 3 * 10**7) | map('upper') | list | length }}",
    "{{ ('a' * 3 * 10**7) | select | list | length }}",
    "{{ ('a' * 3 * 10**7) | unique | list | length }}",
    "{{ ('a' * 3 * 10**7) | sort | length }}",
    "{{ ('<' * 3 * 10**7) | escape }}",
    "{{ [1] | batch(10**12, 0) | list | length }}",
    "{{ [1] | batch(10**12) | list | length }}",
    "{{ [1] | slice(10**10) | list | length }}",
    "{{ [1] | slice(10**10, 'x') | list | length }}",
    "{{ messages | tojson(indent=10**12) }}",
    "{{ [[messages]] | tojson(indent=9223372036854775807) }}",
    "{{ messages | tojson(separators=['x' * 10**8, 'y' * 10**8]) }}",
    "{{ range(100000) | list | tojson(separators=['x' * 10**6, 'y']) }}",
    "{{ ('\\u0001' * 3 * 10**7) | tojson }}",
    "{{ [('\\u0001' * 2 * 10**7)] | tojson(ensure_ascii=true) }}",
    "{{ [('\\u0001' * 2 * 10**7)] | string }}",
    "{{ [('\\u0001' * 2 * 10**7)] | pprint }}",
    // Lists that grow.
    "{{ ([1] * 10**9) | list | length }}",
    "{{ ([1] * 10**12) | join(',') }}",
    "{{ [1] * 10**30 }}",
    "{% set n = namespace(s=[1,2,3]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s | length }}",
    "{% set n = namespace(s=[1,2,3]) %}{% for i in range(40) %}{% set n.s = n.s + n.s %}{% endfor %}{% for x in n.s %}{% endfor %}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = (n.s, n.s) %}{% endfor %}{{ n.s }}",
    "{{ ('a ' * 10**7).rsplit() | length }}",
    "{{ 'a' | center(10**9) }}",
    "{{ 'a'.rjust(10**12, 'b') }}",
    "{{ ('a\\t' * 10**6).expandtabs(5000) }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ ('%s' * 10000) % ('a' * 10**6) }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s == n.s }}",
    "{% set n = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% set n.t = [n.t, n.t] %}{% endfor %}{{ n.s == n.t }}",
    "{% set n = namespace(s={}) %}{% for i in range(60) %}{% set n.s = {'a': n.s, 'b': n.s} %}{% endfor %}{{ n.s | tojson }}",
    "{% set n = namespace(s={}) %}{% for i in range(60) %}{% set n.s = dict(a=n.s, b=n.s) %}{% endfor %}{{ n.s | length }}",
    "{% set n = namespace(s=[]) %}{% for i in range(100) %}{% set n.s = [n.s] %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s=[]) %}{% for i in range(100000) %}{% set n.s = [n.s] %}{% endfor %}",
    "{% set n = namespace(s={}) %}{% for i in range(100000) %}{% set n.s = {'a': n.s} %}{% endfor %}",
    "{% set n = namespace(s=[]) %}{% for i in range(100000) %}{% set n.s = [n.s] | list %}{% endfor %}",
    "{% set n = namespace(s=[]) %}{% for i in range(100000) %}{% set n.s = n.s | batch(1) | list %}{% set n.s = [n.s] %}{% endfor %}",
    "{% set n = namespace(s=[]) %}{% for i in range(100000) %}{% set n.s = n.s + ['a' * 1000] %}{% endfor %}{{ n.s | length }}",
    "{% set n = namespace(s=[]) %}{% for i in range(100000) %}{% set n.s = n.s + ['a' * 10**6 ~ i] %}{% endfor %}{{ n.s | length }}",
    "{{ range(10**6) | list | length }}",
    "{{ range(0, 10**18, 1) | length }}",
    "{{ range(-9223372036854775807, 9223372036854775807) | length }}",
    "{% macro m(a) %}{% endmacro %}{{ m(*range(100000)) }}",
    "{% macro m(a) %}{% endmacro %}{{ m(*('a' * 3 * 10**7)) }}",
    // Texts that are held.
    "{% set a = 'a' * 3 * 10**7 %}{% set b = a ~ 1 %}{% set c = a ~ 2 %}{% set d = a ~ 3 %}{% set e = a ~ 4 %}{% set f = a ~ 5 %}{% set g = a ~ 6 %}{% set h = a ~ 7 %}{% set i = a ~ 8 %}{% set j = a ~ 9 %}{{ 'x' * 33000000 }}",
    "{% for a in range(10) %}{% set x = 'a' * 3 * 10**7 %}{{ x }}{% endfor %}",
    "{% set x %}{% for a in range(100000) %}{{ 'a' * 10**5 }}{% endfor %}{% endset %}",
    "{% filter upper %}{% for a in range(100000) %}{{ 'a' * 10**5 }}{% endfor %}{% endfilter %}",
    "{% macro m() %}{% for a in range(100000) %}{{ 'a' * 10**5 }}{% endfor %}{% endmacro %}{% set x = m() %}",
    "{% macro m() %}{{ caller() * 1000 }}{% endmacro %}{% call m() %}{% for i in range(1000) %}{{ 'a' * 1000 }}{% endfor %}{% endcall %}",
    // Loops.
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) if false %}{% endfor %}{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{% continue %}{% endfor %}{% endfor %}",
    "{% for i in 'a' * 3 * 10**7 %}{% endfor %}",
    "{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(30) }}",
    "{% set s = 'a' * 10**7 %}{% for i in range(100000) %}{% for c in s %}{% break %}{% endfor %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% set t = 'a' * 10**7 %}{% for i in range(100000) %}{% set x = {s: 1, t: 2} %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% set m = {s: 1} %}{% for i in range(100000) %}{% set x = m['a' * 10**6] %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% set m = {s: 1} %}{% for i in range(100000) %}{% set x = m.get(s) %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% set m = {s: 1} %}{% for i in range(100000) %}{% if s in m %}{% endif %}{% endfor %}",
    "{% macro m() %}{% endmacro %}{% set l = range(4000) | list %}{% for i in range(100000) %}{% if loop.changed(*l) %}{% endif %}{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{{ 1e308 }}{% endfor %}{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{{ 2**126 }}{{ none }}{{ [] }}{% endfor %}{% endfor %}",
    "{% for i in [1, 2] recursive %}{{ loop([1, 2]) if loop.depth < 60 }}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% if -1 in l %}x{% endif %}{% endfor %}x",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% if l == l + [] %}{% endif %}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% if l < l + [1] %}{% endif %}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% if l is eq(l + []) %}{% endif %}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% if -1 is in l %}{% endif %}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l | sort %}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l | unique | list %}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l | max %}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l | sum %}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l[::2] %}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l.count(-1) %}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% if loop.changed(l + []) %}{% endif %}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l | select('odd') | list %}{% endfor %}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l | map('string') | list %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% for i in range(100000) %}{% if 'b' in s %}{% endif %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% for i in range(100000) %}{% set x = s[10**6] %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% for i in range(100000) %}{% set x = s[-1] %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% for i in range(100000) %}{% set x = s[::-1] %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% for i in range(100000) %}{% set x = s | length %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% for i in range(100000) %}{% set x = s.upper() %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% for i in range(100000) %}{% set x = s.find('b') %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% for i in range(100000) %}{% set x = s is lower %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% for i in range(100000) %}{% set x = s.startswith(s) %}{% endfor %}",
    "{% set s = 'a' * 10**7 %}{% for i in range(100000) %}{% if s == s ~ '' %}{% endif %}{% endfor %}",
    "{% set s = 'a' * 10**6 %}{{ (s ~ 'b').strip('c' * 10**6) }}{{ (s ~ 'b').strip('bc' * 10**6) }}{{ s | trim('b' * 10**6 ~ 'a') }}",
    "{% set s = ('a' * 10**7,) %}{% for i in range(100000) %}{% set x = {s: 1} %}{% endfor %}",
    "{{ range(100000) | map(attribute='a.' * 10**5 ~ 'a', default=1) | list | length }}",
    "{% for i in range(100000) %}{% macro m() %}{{ i }}{% endmacro %}{% endfor %}{% for i in range(100000) %}{{ m() }}{% endfor %}",
    "{% macro d() %}{% macro e() %}{% endmacro %}{% endmacro %}{% for i in range(100000) %}{{ d() }}{% macro f() %}{% endmacro %}{% endfor %}",
];

/// May be done or refused in any way, within the bounds.
const ANY: &[&str] = &[
    "{{ range(100000) | list | sort(attribute='a.' * 10**5 ~ 'a') }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(100000) %}{% set n.s = n.s.copy %}{% set n.s = [n.s] %}{% endfor %}",
    "{% set n = namespace(s=1) %}{% for i in range(1000) %}{% set n.s = cycler(n.s) %}{% endfor %}{{ n.s.next() }}",
    "{% set n = namespace() %}{{ n }}{{ n == n }}{{ {n: 1} }}{{ n.x is callable }}{{ [n.x.y] }}",
    "{{ '%.9999f%9999s' % (1e308, 1) }}{{ '%(a)s' % 1 }}{{ '%' % 1 }}{{ '%c' % -1 }}{{ '%d' % 1e300 }}",
    "{{ 1e308 | round(400) }}{{ 1e308 | round(-400) }}{{ 1 | round(-10**30) }}{{ 5 | round(10**30, 'ceil') }}",
    "{{ messages | map('upper') | batch(0) | list | length }}{{ [[1, 'a'], [1, 2]] | sort }}",
    "{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l | last %}{% endfor %}",
    "{% set n = namespace(m=none) %}{% for i in range(100000) %}{% with p = n.m %}{% macro h() %}{{ p }}{% endmacro %}{% set n.m = h %}{% endwith %}{% endfor %}{{ n.m }}",
    "{% macro f(g, n) %}{% macro h() %}{{ g }}{{ n }}{% endmacro %}{{ f(h, n - 1) if n > 0 else h() }}{% endmacro %}{{ f(none, 1000) }}",
    "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
    "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% block a %}{{ self.a() }}{% endblock %}",
    "{% include 'template' %}",
    "{% extends 'template' %}",
    "{% import 'template' as x %}{{ x }}",
    "{% from 'template' import x %}{{ x }}",
    "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
    "{% set n = namespace() %}{% set n.n = [n] %}{{ n }}",
    "{% set n = namespace() %}{% set n.n = {'a': n} %}{{ n | tojson }}",
    "{% set n = namespace() %}{% set m = namespace(n=n) %}{% set n.m = m %}{{ n == m }}",
    "{% set n = namespace(l=[]) %}{% set n.l = n.l + [n] %}{{ n.l | sort }}",
    "{% set n = namespace() %}{% set n.x, n.y = n, [n] %}{{ {n: n} }}",
    "{% set n = namespace() %}{% set n.x %}{{ n }}{% endset %}{{ n.x }}{{ n }}",
    "{% macro m() %}{{ m }}{% endmacro %}{% set n = namespace(m=m) %}{{ n }}{{ n | tojson }}{{ n == n }}{{ m }}",
    "{% for i in [1, 2] %}{% set n = namespace(l=loop) %}{{ n }}{{ n.l }}{% endfor %}",
    "{% for i in [1, 2] %}{{ loop }}{{ [loop] }}{{ loop | tojson }}{{ loop == loop }}{% endfor %}",
    "{% for i in [1, 2] %}{{ loop.cycle() }}{% endfor %}",
    "{% for i in [1, 2] %}{{ loop.cycle(*[]) }}{% endfor %}",
    "{% for i in [1, 2] %}{% with %}{% continue %}{% endwith %}{% endfor %}",
    "{% for i in [1, 2] %}{% block a %}{% break %}{% endblock %}{% endfor %}{{ 1 }}",
    "{{ 'aaa'.count('') }}",
    "{{ ''.count('') }}",
    "{{ debug() }}",
    "{{ range }}{{ namespace }}{{ [range] == [dict] }}",
    "{{ messages | tojson(indent=-1) }}",
    "{{ messages | tojson(indent='x') }}",
    "{{ messages | tojson(separators='ab') }}{{ messages | tojson(separators=1) }}",
    "{{ 2 ** 10**9 }}",
    "{{ 2 ** 126 * 2 ** 126 }}",
    "{{ -(-170141183460469231731687303715884105728) }}",
    "{{ 1 // 0 }}",
    "{{ 1 % 0 }}",
    "{{ 1 / 0 }}",
    "{{ (1 / 0) | int }}{{ (0.0 / 0.0) | round(10**9) }}",
    "{{ 1.5 | round(2147483647) }}{{ 1.5 | round(-2147483648) }}",
    "{{ 'abc'[::-1] }}{{ 'abc'[5:-9:-2] }}{{ [1,2,3][-9223372036854775808::-9223372036854775808] }}",
    "{{ 'abc'[9223372036854775807] }}{{ 'abc'[-9223372036854775808] }}",
    "{{ [1, 'a', none, 2.5, [1], {'a': 1}] | sort }}",
    "{{ [0.0 / 0.0, 1, 'a', 0.0 / 0.0, [0.0 / 0.0]] | sort | unique | list }}",
    "{{ messages | groupby('role') | tojson }}{{ messages | groupby('role') | string }}",
    "{{ messages | groupby('role', default=messages) | list | string }}",
    "{{ 'a' | map('map', 'map', 'map', 'map') | list }}",
    "{{ messages | map('nothing') | list }}{{ messages | select('nothing') | list }}",
    "{{ 'x' | __set('a', 1) }}{{ 1 | __list(2) }}{{ 1 | __compare('?=i', 2, 3) }}",
    "{{ 10**12 | __steps }}",
    "{{ 10**12 | __defines }}",
    "{{ -1 | __steps }}",
    "{{ messages | __map }}{{ 1 | __slice(1, 2) }}{{ 1 | __item(none) }}",
    "{% autoescape true %}{{ '<' }}{% endautoescape %}",
    "{% autoescape false %}{{ '<' }}{% endautoescape %}",
    "{{ '%' | format(1) }}{{ '%%%' | format }}{{ '{' .format(1) }}",
    "{{ '{a[0].b.c}'.format(a=messages) }}",
    "{{ '%c' | format(99999999999) }}{{ '{:c}'.format(-1) }}",
    "{{ 'a'.format(*'aaaa', **{'a': 1}) }}",
    "{{ caller() }}{{ super() }}{{ loop() }}{{ self.a() }}{{ ()() }}{{ 'a'() }}",
    "{{ messages[0]['content']['x']['y'] }}",
    "{% set a = 1 %}{% set a.b = 2 %}",
    "{% set a.b.c.d = 2 %}",
    "{% set messages.x = 2 %}",
    "{% do messages.append(1) %}",
    "{% do range(3) %}{% do namespace(a=1) %}",
    "{% for a, b in ['ab', [1, 2], 3] %}{{ a }}{% endfor %}",
    "{% for a, b in [range(100000)] %}{{ a }}{% endfor %}",
    "{% set a, b = 'a' * 10**7 %}",
    "{% if messages | selectattr('role', 'equalto', 'user') | list | length %}{{ 'x' * 31 * 10**6 }}{% endif %}",
    "{% raw %}{{ 'a' * 10**9 }}{% endraw %}",
    "{% raw %}",
    "{% generation %}",
    "{#",
    "{{",
    "{{ '",
    "{{ 1 if 1 if 1 if 1 }}",
    "\u{0}\u{7f}\u{202e}{{ '\\u202e' | tojson }}",
];

/// Texts of one kind, repeated.
fn deep() -> Vec<(String, String)> {
    let chain = |name: &str, head: &str, part: &str, tail: &str| {
        [300, 3_000, 30_000, 100_000]
            .map(|times| (format!("{name} {times}"), format!("{head}{}{tail}", part.repeat(times))))
    };
    [
        chain("not", "{{ ", "not ", "1 }}"),
        chain("minus", "{{ ", "-", "1 }}"),
        chain("filters", "{{ 1", " | string", " }}"),
        chain("plus", "{{ 1", " + 1", " }}"),
        chain("names plus", "{{ a", " + a", " }}"),
        chain("tilde", "{{ 1", " ~ 1", " }}"),
        chain("minus chain", "{{ 1", " - 1", " }}"),
        chain("times", "{{ 1", " * 1", " }}"),
        chain("powers", "{{ 1", " ** 1", " }}"),
        chain("and", "{{ a", " and a", " }}"),
        chain("or", "{{ 0", " or 0", " }}"),
        chain("equal", "{{ 1", " == 1", " }}"),
        chain("in", "{{ 1", " in [1]", " }}"),
        chain("is", "{{ 1", " is defined", " }}"),
        chain("attributes", "{{ messages", ".a", " }}"),
        chain("items", "{{ messages", "[0]", " }}"),
        chain("slices", "{{ messages", "[:]", " }}"),
        chain("conditionals", "{{ ", "1 if 0 else ", "2 }}"),
        chain("conditions", "{{ 1", " if 1", " }}"),
        chain("calls", "{{ messages", "()", " }}"),
        chain("parentheses", "{{ ", "(", "1"),
        chain("lists", "{{ ", "[", "1"),
        chain("maps", "{{ ", "{1:", "1"),
        chain("tuples", "{% set ", "(", "a"),
        chain("long list", "{{ [1", ", 1", "] }}"),
        chain("long list of names", "{{ [a", ", a", "] }}"),
        chain("long map", "{{ {1: 1", ", 1: 1", "} }}"),
        chain("arguments", "{{ range(1", ", 1", ") }}"),
        chain("texts", "{{ 'a'", " 'a'", " }}"),
        chain("ifs", "", "{% if a %}", "x"),
        chain("closed ifs", "", "{% if a %}x{% endif %}", ""),
        chain("elifs", "{% if a %}", "{% elif a %}", "{% endif %}"),
        chain("loops", "", "{% for a in [1] %}", "x"),
        chain("withs", "", "{% with a = 1 %}", "x"),
        chain("sets", "", "{% set a %}", "x"),
        chain("filter blocks", "", "{% filter upper %}", "x"),
        chain("macros", "", "{% macro a() %}", "x"),
        chain("call blocks", "", "{% call a() %}", "x"),
        chain("assigned", "", "{% set a = 1 %}", ""),
        chain("names", "{% set a", ", n.a", " = 1 %}"),
        chain("filter chain", "{% filter upper", " | upper", " %}x{% endfilter %}"),
        chain("comments", "", "{# #}", ""),
        chain("braces", "", "{", ""),
        chain("raws", "", "{% raw %}", ""),
        chain("quotes", "{{ ", "'", ""),
        chain("spaces", "{{ ", " ", "1 }}"),
        chain("lines", "", "\n", "{{ 1 }}"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn what_asks_for_too_much_is_refused_by_a_limit_that_it_names() {
    assert!(REFUSED.len() > 90);
    for source in REFUSED {
        let refused = bounded(source).map(|text| text.len()).expect_err(source);
        assert!(refused.met_a_limit(), "{source}: {refused}");
        assert!(refused.to_string().contains("hint: the fault is in the template"), "{refused}");
    }
}

#[test]
fn what_is_strange_ends_within_bounds() {
    for source in ANY {
        let _ = bounded(source);
    }
}

#[test]
fn what_is_deep_or_long_ends_within_bounds_on_a_small_stack() {
    for (name, source) in deep() {
        match bounded(&source) {
            Ok(_) => {}
            Err(refused) => assert!(!refused.what.contains("breaks the engine"), "{name}: {refused}"),
        }
    }
}

#[test]
fn nested_as_deep_as_it_may_be_works_on_a_small_stack() {
    for source in [
        format!("{{{{ {}1 }}}}", "not ".repeat(390)),
        format!("{{% macro m(n) %}}{{{{ m(n - 1) if n > 0 }}}}{{% endmacro %}}{{{{ m({}) }}}}", 30),
        "{% set n = namespace(s=[1]) %}{% for i in range(62) %}{% set n.s = [n.s] %}{% endfor %}{{ n.s }}{{ n.s | tojson }}{{ n.s == [n.s] }}{{ n.s | sort }}{{ {(1, n.a): 1} }}".to_owned(),
    ] {
        bounded(&source).unwrap();
    }
}

const EXPRESSIONS: &[&str] = &[
    "messages",
    "m",
    "m.content",
    "m['role']",
    "n",
    "n.s",
    "loop",
    "loop.index",
    "1",
    "-1",
    "10**9",
    "2.5",
    "'a'",
    "'é\\n'",
    "none",
    "[n.s, n.s]",
    "{'a': n.s}",
    "range(100)",
    "undefined_name",
    "namespace(s='a')",
    "dict(a=1)",
    "f(m)",
    "caller()",
    "n.s * 1000",
    "(n.s ~ n.s)",
    "(n.s + n.s)",
    "messages[::-1]",
    "messages[1:]",
    "n.s[-1]",
];

const OPERATORS: &[&str] = &[
    " + ",
    " ~ ",
    " * ",
    " - ",
    " / ",
    " // ",
    " % ",
    " ** ",
    " == ",
    " != ",
    " < ",
    " >= ",
    " in ",
    " not in ",
    " and ",
    " or ",
    " if ",
    " | default(",
    " | join(",
    " | replace('a', ",
    " | batch(",
    " | slice(",
    " | indent(",
    " | sort(attribute=",
    " | map('upper', ",
    " | chain(",
    " | zip(",
    " | format(",
    ".split(",
    ".replace('', ",
    ".join(",
    ".format(",
    " | tojson(indent=",
    " | select('in', ",
    " | groupby(",
    "[",
    " is eq(",
];

/// Pieces of templates, good and bad.
fn pieces() -> impl Strategy<Value = String> {
    let expression = proptest::sample::select(EXPRESSIONS);
    let operator = proptest::sample::select(OPERATORS);
    let joined = (expression.clone(), operator, expression.clone()).prop_map(|(left, operator, right)| {
        let close = if operator.ends_with('[') {
            "]"
        } else if operator.contains('(') {
            ")"
        } else {
            ""
        };
        format!("{left}{operator}{right}{close}")
    });
    let value = prop_oneof![expression.prop_map(str::to_owned), joined];
    (value, 0..14_u8).prop_map(|(value, form)| match form {
        0 => format!("{{{{ {value} }}}}"),
        1 => format!("{{% set n.s = {value} %}}"),
        2 => format!("{{% for m in {value} %}}"),
        3 => "{% endfor %}".to_owned(),
        4 => format!("{{% if {value} %}}"),
        5 => "{% endif %}".to_owned(),
        6 => format!("{{%- set m = {value} -%}}"),
        7 => format!("{{% set n.s %}}{{{{ {value} }}}}{{% endset %}}"),
        8 => format!("{{% macro f(m) %}}{{{{ {value} }}}}{{% endmacro %}}"),
        9 => format!("{{% for m in range(1000) %}}{{% set n.s = {value} %}}{{% endfor %}}"),
        10 => format!("{{% call f({value}) %}}x{{% endcall %}}"),
        11 => format!("{{% filter upper %}}{{{{ {value} }}}}{{% endfilter %}}"),
        12 => format!("{{% for m in messages recursive %}}{{{{ loop({value}) }}}}{{% endfor %}}"),
        _ => format!("text {value}\n"),
    })
}

/// Templates of known models, cut and mixed.
fn mutated() -> impl Strategy<Value = String> {
    let known: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/golden/chat_templates.json")).unwrap_or_default();
    let known: Vec<String> = known["templates"]
        .as_object()
        .map(|all| all.values().filter_map(|one| one.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    assert!(known.len() > 3);
    let cut = |text: &str, at: usize| text.chars().skip(at % 4000).take(400).collect::<String>();
    (proptest::sample::select(known.clone()), proptest::sample::select(known), any::<(usize, usize, u8)>(), pieces())
        .prop_map(move |(one, other, (at, from, times), piece)| {
            let at = at % (one.chars().count() + 1);
            let head: String = one.chars().take(at).collect();
            let tail: String = one.chars().skip(at + usize::from(times % 8)).collect();
            match times % 3 {
                0 => format!("{head}{piece}{tail}"),
                1 => format!("{head}{}{tail}", cut(&other, from)),
                _ => format!("{head}{}{tail}", cut(&one, from).repeat(usize::from(times) / 16 + 1)),
            }
        })
}

fn cases() -> impl Strategy<Value = String> {
    let made = proptest::collection::vec(pieces(), 1..12)
        .prop_map(|pieces| format!("{{% set n = namespace(s='ab') %}}{}", pieces.concat()));
    prop_oneof![made, mutated()]
}

#[test]
fn no_mix_of_known_parts_leaves_the_bounds() {
    let long = ground::mutate::asked();
    let end = Instant::now() + long.unwrap_or(Duration::from_secs(3));
    // The same mixes each time, unless it runs long.
    let mut runner = if long.is_some() {
        proptest::test_runner::TestRunner::default()
    } else {
        proptest::test_runner::TestRunner::deterministic()
    };
    let strategy = cases();
    let mut done = 0_u32;
    while Instant::now() < end {
        let source = strategy.new_tree(&mut runner).unwrap().current();
        let _ = bounded(&source);
        done += 1;
    }
    assert!(done > 50, "{done}");
}
