// The template interpreter. Expected texts are what Python's jinja2 makes of the same templates, with trim_blocks and
// lstrip_blocks.
#include "base/status.h"
#include "text/chat.h"
#include "text/json.h"
#include "text/template.h"
#include <doctest/doctest.h>
#include <string>

using namespace el;

namespace {

constexpr const char *kVariables =
    R"({"name": "Ada", "n": 5, "f": 2.5, "nothing": null, "words": ["pear", "Fig", "apple"],
        "user": {"name": "Bo", "items": "own", "age": 7, "tags": ["x", "y"]},
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " hi "},
                     {"role": "assistant", "content": null}],
        "text": "naïve ß 日本"})";

std::string render(std::string_view source, const TemplateLimits &limits = {}) {
    RenderOptions options{parse_iso_time("2025-07-26T12:00:00"), limits};
    return Template::parse(source, limits).render(parse_json(kVariables), options);
}

void check(std::string_view source, std::string_view expected) {
    CAPTURE(source);
    try {
        CHECK(render(source) == expected);
    } catch (const Error &error) {
        FAIL_CHECK(error.what());
    }
}

// The status and message of what `run` throws.
template <typename Run> std::string failure(Status expected, Run run) {
    try {
        run();
    } catch (const Error &error) {
        CHECK(static_cast<int>(error.status()) == static_cast<int>(expected));
        return error.what();
    }
    return "nothing failed";
}

void check_failure(std::string_view source, std::string_view message) {
    CAPTURE(source);
    CHECK(failure(Status::kTemplateFailed, [&] { render(source); }) == message);
}

void check_limit(std::string_view source, const TemplateLimits &limits, std::string_view part) {
    CAPTURE(source.substr(0, 200));
    std::string message = failure(Status::kLimitExceeded, [&] { render(source, limits); });
    CAPTURE(message);
    CHECK(message.find(part) != std::string::npos);
}

}  // namespace

TEST_CASE("operators follow Python") {
    check("{{ 1 + 2 * 3 - 4 // 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }}",
          "6 -4 2 3.5 64 4");
    check("{{ 7.5 % -2 }} {{ 1e16 }} {{ 0.1 + 0.2 }} {{ 1e-5 }} {{ 100000.0 }} {{ 3 * 1.0 }} {{ -0.0 }}",
          "-0.5 1e+16 0.30000000000000004 1e-05 100000.0 3.0 -0.0");
    check("{{ 'a' + 'b' ~ 1 ~ none ~ true }} {{ 'ab' * 2 }} {{ [1] * 2 + [3] }} {{ (1,) + (2,) }}",
          "ab1NoneTrue abab [1, 1, 3] (1, 2)");
    check("{{ 1 < 2 < 3 }} {{ 3 > 2 > 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ '1' == 1 }} {{ [1, 2] < [1, 3] }} {{ (1,) "
          "== [1] }}",
          "True False True True False True False");
    check("{{ 'a' in 'cat' }} {{ 'x' not in words }} {{ 'age' in user }} {{ 5 in [1, 5.0] }}", "True True True True");
    check("{{ not n }} {{ n and 'yes' or 'no' }} {{ nothing or 'else' }} {{ 0 and x.y }} {{ not not words }}",
          "False yes else 0 True");
    check("{{ 'big' if n > 3 else 'small' }}{{ 'lost' if false }} {{ 1 if 0 else 2 if 0 else 3 }}", "big 3");
    check("{{ 0x1F + 0b11 + 0o7 + 1_000 }} {{ '\\x41\\u00e9\\n\\q\\'' }}", "1041 Aé\n\\q'");
}

TEST_CASE("values print as in Python") {
    check("{{ [1, 'it\\'s', \"q\\\"'\", none, true, 2.0, ('a',), {'k': []}] }}",
          "[1, \"it's\", 'q\"\\'', None, True, 2.0, ('a',), {'k': []}]");
    check("{{ user }} {{ user.items() }} {{ {1: 2}.keys() }} {{ range(3) }} {{ '\\t\\\\é\\x00' | list }}",
          "{'name': 'Bo', 'items': 'own', 'age': 7, 'tags': ['x', 'y']} dict_items([('name', 'Bo'), ('items', 'own'), "
          "('age', 7), ('tags', ['x', 'y'])]) dict_keys([1]) range(0, 3) ['\\t', '\\\\', 'é', '\\x00']");
    check("[{{ undefined_name }}] [{{ user.none }}] [{{ words[9] }}] {{ [missing] }}", "[] [] [] [Undefined]");
}

TEST_CASE("attributes, items and slices") {
    check("{{ user.name }} {{ user['items'] }} {{ user.items() | list | length }} {{ words[-1] }} {{ words.0 }} {{ "
          "messages[0]['role'] }}",
          "Bo own 4 apple pear system");
    check("{{ words[1:] }} {{ words[::-1] }} {{ text[-2:] }} {{ text[2] }} {{ name[::2] }} {{ name[5:] }}| {{ "
          "words[-9:9] }} {{ 'abcdef'[4:1:-2] }}",
          "['Fig', 'apple'] ['apple', 'Fig', 'pear'] 日本 ï Aa | ['pear', 'Fig', 'apple'] ec");
    check("{{ nothing.x is defined }} {{ user.tags[1] }} {{ user.get('zip', 'none') }} {{ user.get('zip') }}",
          "False y none None");
}

TEST_CASE("string methods") {
    check("{{ ' x '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'aXbXc'.split('X', 1) }}|{{ ' a  b '.split() }}|{{ "
          "'a-b-c'.rsplit('-', 1) }}|{{ 'a,b'.partition(',') }}",
          "x|a|['a', 'bXc']|['a', 'b']|['a-b', 'c']|('a', ',', 'b')");
    check("{{ text.upper() }} {{ 'hello world'.title() }} {{ 'HELLO'.capitalize() }} {{ 'Ab'.swapcase() }} {{ "
          "'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('bc') }}",
          "NAÏVE SS 日本 Hello World Hello aB True True");
    check("{{ 'banana'.replace('a', 'o', 2) }} {{ 'banana'.find('n', 3) }} {{ 'banana'.rfind('n') }} {{ "
          "'banana'.count('an') }} {{ '-'.join(words) }} {{ '7'.zfill(3) }} {{ 'x'.center(4, '.') }}",
          "bonona 4 4 2 pear-Fig-apple 007 .x..");
    check("{{ 'one\\ntwo\\r\\n'.splitlines() }} {{ 'prefix-x'.removeprefix('prefix-') }} {{ '12'.isdigit() }} {{ "
          "'ab1'.isalpha() }}",
          "['one', 'two'] x True False");
    check("{{ '{} {1} {k:>5} {0[0]}'.format(words, k=1) if false else '{0} {1} {k:>5} {0[0]} {2:.2f} {3:05d} "
          "{4!r}'.format(words, 'b', f, n, 'q', k=1) }}",
          "['pear', 'Fig', 'apple'] b     1 pear 2.50 00005 'q'");
    check("{{ '%s is %d, %.2f, %05d, %x, %r, %%' % (name, n, f, n, 255, 'q') }} {{ '%(name)s!' % user }} {{ '%-4s|' % "
          "'a' }}",
          "Ada is 5, 2.50, 00005, ff, 'q', % Bo! a   |");
}

TEST_CASE("filters") {
    check("{{ words | sort }} {{ words | sort(reverse=true, case_sensitive=true) }} {{ words | join(', ') | upper }} "
          "{{ words | map('length') | list }} {{ words | first ~ words | last }}",
          "['apple', 'Fig', 'pear'] ['pear', 'apple', 'Fig'] PEAR, FIG, APPLE [4, 3, 5] pearapple");
    check("{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | map('trim') | list }} {{ "
          "messages | rejectattr('content') | list | length }} {{ [1, 2, 3, 4] | select('odd') | list }} {{ [0, 1] | "
          "reject | list }}",
          "['hi'] 1 [1, 3] [0]");
    check("{{ user | dictsort }} {{ [3, 1, 3] | unique | list }} {{ [1, 2, 3] | sum }} {{ [1, 5, 2] | max }} {{ words "
          "| min }} {{ [1, 2, 3] | batch(2, 0) | list }} {{ [1, 2, 3] | slice(2) | list }}",
          "[('age', 7), ('items', 'own'), ('name', 'Bo'), ('tags', ['x', 'y'])] [3, 1] 6 5 apple [[1, 2], [3, 0]] [[1, "
          "2], [3]]");
    check("{% for role, group in messages | groupby('role') %}{{ role }}:{{ group | length }} {% endfor %}{{ '1.9' | "
          "int }} {{ 'x' | int(-1) }} {{ 'ff' | int(base=16) }} {{ '2.5' | float }} {{ 2.5 | round }} {{ 2.675 | "
          "round(2) }} {{ 7.1 | round(0, 'ceil') }} {{ -3 | abs }}",
          "assistant:1 system:1 user:1 1 -1 255 2.5 2.0 2.67 8.0 3");
    check(
        "{{ missing | default('d') }} {{ '' | default('d') }}|{{ '' | default('d', true) }} {{ nothing | d('x') }} {{ "
        "'a b' | replace(' ', '_') }} {{ 'abc' | reverse }} {{ [1, 2] | reverse | list }} {{ 5 | string | length }}",
        "d |d None a_b cba [2, 1] 1");
    check("{{ 'one\\n\\ntwo' | indent(2) }}|{{ 'a\\nb' | indent('> ', first=true) }}|{{ 'the quick fox' | title }} {{ "
          "'a longer text here' | truncate(9) }} {{ 'two words' | wordcount }} {{ '<&>' | escape }} {{ 'a b/ü' | "
          "urlencode }}",
          "one\n\n  two|> a\n> b|The Quick Fox a... 2 &lt;&amp;&gt; a%20b/%C3%BC");
    check("{{ '<b>' | safe + '<i>' }} {{ user | items | list | length }} {{ '%s-%s' | format(1, 2) }} {{ 1500 | "
          "filesizeformat }} {{ user | attr('name') is defined }}",
          "<b>&lt;i&gt; 4 1-2 1.5 kB False");
}

TEST_CASE("tojson") {
    check("{{ user | tojson }} {{ [1, 2.0, none, true, 'é\"\\n\\x01/'] | tojson }} {{ {} | tojson }} {{ 'é😀' | "
          "tojson(ensure_ascii=true) }}",
          "{\"name\": \"Bo\", \"items\": \"own\", \"age\": 7, \"tags\": [\"x\", \"y\"]} [1, 2.0, null, true, "
          "\"é\\\"\\n\\u0001/\"] {} \"\\u00e9\\ud83d\\ude00\"");
    check("{{ {'b': [1, {}], 'a': []} | tojson(indent=2) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true, "
          "separators=(',', ':')) }}",
          "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": []\n} {\"a\":2,\"b\":1}");
}

TEST_CASE("tests") {
    check("{{ n is integer }} {{ f is float }} {{ n is number }} {{ true is integer }} {{ name is string }} {{ words "
          "is sequence }} {{ user is mapping }} {{ user is iterable }} {{ nothing is none }} {{ missing is undefined "
          "}} {{ missing is not defined }}",
          "True True True False True True True True True True True");
    check("{{ 4 is even }} {{ 4 is odd }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is in [1] }} {{ 'a' "
          "is eq 'a' }} {{ 3 is gt(2) }} {{ false is false }} {{ 'AB' is upper }} {{ 'trim' is filter }} {{ range is "
          "callable }} {{ true is boolean }} {{ n is sameas n }}",
          "True False True False True True True True True True True True True");
}

TEST_CASE("loops") {
    check("{% for w in words %}{{ loop.index }}/{{ loop.length }} {{ loop.revindex0 }} {{ w }}{{ ', ' if not loop.last "
          "}}{% if loop.first %}!{% endif %}{% endfor %}",
          "1/3 2 pear, !2/3 1 Fig, 3/3 0 apple");
    check("{% for k, v in user.items() if k != 'tags' %}{{ loop.index0 }}{{ k }}={{ v }};{% else %}none{% endfor %}{% "
          "for x in [] %}{% else %}empty{% endfor %}{% for x in missing %}{% endfor %}",
          "0name=Bo;1items=own;2age=7;empty");
    check("{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i "
          "}}{% endfor %}",
          "0134");
    check("{% for i in [1, [2, [3]]] recursive %}{{ loop(i) if i is iterable else i }}@{{ loop.depth }} {% endfor %}",
          "1@1 2@2 3@3 @2 @1 ");
    check("{% for i in [1, 1, 2] %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }}{{ loop.changed(i) }}{{ "
          "loop.cycle('a', 'b') }} {% endfor %}",
          "<1>1Truea 1<1>2Falseb 1<2>Truea ");
    check("{% set ns = namespace(stop=false) %}{% for i in range(5) if not ns.stop %}{{ i }}{% if i == 2 %}{% set "
          "ns.stop = true %}{% endif %}{% endfor %}",
          "012");
    check("{% for (a, b), c in [((1, 2), 3)] %}{{ a + b + c }}{% endfor %}{% for c in 'né' %}{{ c }}.{% endfor %}",
          "6n.é.");
}

TEST_CASE("variables") {
    check("{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + 10 %}{{ x }} {% endfor %}{{ x }}{% if true %}{% "
          "set x = 2 %}{% endif %}{{ x }}",
          "111 111 12");
    check("{% set a, b = 1, 'two' %}{{ a }}{{ b }}{% set ns = namespace(n=0, l=[]) %}{% for i in range(3) %}{% set "
          "ns.n = ns.n + i %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.n }}{{ ns.l }}",
          "1two3[0, 1, 2]");
    check("{% set block %} inner {{ n }} {% endset %}[{{ block }}]{% set up | trim | upper %} abc {% endset %}[{{ up "
          "}}]{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}{% filter upper %}x{{ name }}{% "
          "endfilter %}",
          "[ inner 5 ][ABC]3FalseXADA");
}

TEST_CASE("macros") {
    check("{% macro m(a, b=2, c='x' ~ b) %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m(b=5, a=4) "
          "}}{{ m() }}{{ m.name }}",
          "12x2;123;45x5;2x2;m");
    check("{% macro all() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ all(1, 2, k=3) }}", "(1, 2){'k': 3}");
    check("{% macro wrap(tag) %}<{{ tag }}>{{ caller(1) }}</{{ tag }}>{% endmacro %}{% call(x) wrap('b') %}in{{ x }}{{ "
          "n }}{% endcall %}",
          "<b>in15</b>");
    check("{% macro tree(v) %}{% if v is iterable and v is not string %}[{% for i in v %}{{ tree(i) }}{% endfor %}]{% "
          "else %}{{ v }}{% endif %}{% endmacro %}{{ tree([1, [2, ['x']]]) }}",
          "[1[2[x]]]");
    check(
        "{% macro f() %}{{ later }}{% endmacro %}{% set later = 'set' %}{{ f() }}{% set j = joiner(', ') %}{% for i in "
        "'ab' %}{{ j() }}{{ i }}{% endfor %}{% set c = cycler('x', 'y') %}{{ c.next() }}{{ c.next() }}{{ c.current }}",
        "seta, bxyx");
}

TEST_CASE("white space") {
    check("a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc");
    check("a  {%- if true -%}  b  {%- endif -%}  c", "abc");
    check("  {%+ if true %}x{% endif +%}\ny", "  x\ny");
    check("<{{- ' v ' -}} \n > {{ 1 }}\n\n", "< v > 1\n");
    check("a {# gone #} b\n{# line #}\nc{#- both -#} d\n  {#+ keep +#}\n", "a  b\ncd\n  ");
    check("{% raw %}{{ not }} {% this %}{% endraw %}\n{%- raw -%}  x  {%- endraw %}|\n", "{{ not }} {% this %}x|");
    check("{{ {'a': {'b': 1}}['a']['b'] }}{{ '}}' }}{% set x = '%}' %}{{ x }}", "1}}%}");
    check("{% generation %}answer{% endgeneration %}{% block b %} {{ n }}{% endblock %}\r\nend\r", "answer 5end");
}

TEST_CASE("time") {
    check("{{ strftime_now('%d %b %Y, %B %-d, %A, %H:%M:%S, %j %y %I %p %F') }}",
          "26 Jul 2025, July 26, Saturday, 12:00:00, 207 25 12 PM 2025-07-26");
}
TEST_CASE("lists and dicts of the template can change, given ones cannot") {
    check("{% set l = [1] %}{% set _ = l.append(2) %}{% set _ = l.insert(0, 0) %}{{ l }}{{ l.pop(0) }}{{ l.pop() }}{{ "
          "l }}",
          "[0, 1, 2]02[1]");
    check("{% set d = {'a': 1} %}{% set _ = d.update(b=2) %}{{ d.pop('a') }}{{ d.setdefault('c', 3) }}{{ d }}",
          "13{'b': 2, 'c': 3}");
    check_failure("{{ words.append(1) }}",
                  "template:1:16: this list was given to the template, which may not change it");
    check_failure("{{ user.update(a=1) }}",
                  "template:1:15: this dict was given to the template, which may not change it");
    // Nothing is left behind by what holds itself: the sanitizers look at these.
    check("{% set l = [] %}{% set _ = l.append(l) %}{% set ns = namespace() %}{% set ns.me = ns %}{{ l | length }}",
          "1");
    check("{% set ns = namespace() %}{% macro m() %}{{ ns }}{% endmacro %}{% set ns.m = m %}"
          "{% for x in [1] %}{% set ns.loop = loop %}{% endfor %}{{ ns.loop.index }}",
          "1");
    check_limit("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", {}, "too deeply");
    check_limit("{% set l = [] %}{% set _ = l.append(l) %}{{ l | tojson }}", {}, "too deeply");
}

TEST_CASE("a value nested a hundred thousand deep is freed without recursion") {
    check("{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l | "
          "length }}",
          "1");
}

TEST_CASE("syntax errors say line and column") {
    check_failure("a\n {% if %}", "template:2:8: expected an expression, got '%}'");
    check_failure("{{ 1 + }}", "template:1:8: unexpected '}}'");
    check_failure("{{ 'abc }}", "template:1:4: this string is not closed");
    check_failure("x {{ name", "template:1:3: this '{{' is not closed");
    check_failure("x {# name", "template:1:3: this comment is not closed with '#}'");
    check_failure("{% raw %}x", "template:1:1: this raw section is not closed with '{% endraw %}'");
    check_failure("{% for x in words %}\n{{ x }}",
                  "template:2:8: the template ends, but 'else' or 'endfor' is missing");
    check_failure("{% if n %}{% endfor %}",
                  "template:1:14: unknown tag 'endfor', 'elif' or 'else' or 'endif' was looked for");
    check_failure("{% what %}", "template:1:4: unknown tag 'what'");
    check_failure("{% include 'x' %}", "template:1:4: 'include' is not supported: a template is one file");
    check_failure("{% break %}", "template:1:4: 'break' and 'continue' belong into a for loop");
    check_failure("{{ (1] }}", "template:1:6: unexpected ']', expected ')'");
    check_failure("é {{ 1 ? 2 }}", "template:1:8: unexpected character '?'");
    check_failure("{% set 1 = 2 %}", "template:1:8: expected a name, got '1'");
    check_failure("{% macro m(a=1, b) %}{% endmacro %}",
                  "template:1:18: a parameter without default after one with a default");
    check_failure("{{ 99999999999999999999 }}", "template:1:4: the number does not fit into 64 bits");
    check_failure("{{ '\\xZ1' }}", "template:1:5: this escape needs 2 hexadecimal digits");
    check_failure("\xFF", "template:1:1: the template is not valid UTF-8");
}

TEST_CASE("errors while rendering say line and column") {
    check_failure("{{ raise_exception('No ' ~ name) }}", "template:1:19: No Ada");
    check_failure("\n {{ missing.x }}", "template:2:12: 'missing' is undefined");
    check_failure("{{ user.a.b }}", "template:1:10: 'dict object' has no attribute 'a'");
    check_failure("{{ nothing.a.b }}", "template:1:13: 'None' has no attribute 'a'");
    check_failure("{{ 'a' + 1 }}", "template:1:8: can only concatenate str (not \"int\") to str");
    check_failure("{{ 1 + 'a' }}", "template:1:6: unsupported operand types for +: 'int' and 'str'");
    check_failure("{{ 1 // 0 }}", "template:1:6: division by zero");
    check_failure("{{ 9223372036854775807 + 1 }}", "template:1:24: an integer result does not fit into 64 bits");
    check_failure("{{ n < 'a' }}", "template:1:4: 'int' and 'str' cannot be ordered");
    check_failure("{{ n | nope }}", "template:1:8: no filter is named 'nope'");
    check_failure("{{ n is nope }}", "template:1:6: no test is named 'nope'");
    check_failure("{{ n() }}", "template:1:5: 'int' object is not callable");
    check_failure("{% for x in n %}{% endfor %}", "template:1:4: 'int' object is not iterable");
    check_failure("{% for a, b in [(1,)] %}{% endfor %}",
                  "template:1:8: not enough values to unpack (expected 2, got 1)");
    check_failure("{% set user.x = 1 %}", "template:1:8: only a namespace takes attributes");
    check_failure("{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
                  "template:1:35: macro 'm' takes not more than 1 argument(s)");
    check_failure("{% macro m(a) %}{% endmacro %}{{ m(b=2) }}",
                  "template:1:35: macro 'm' takes no keyword argument 'b'");
    check_failure("{{ missing | tojson }}", "template:1:14: Object of type Undefined is not JSON serializable");
    check_failure("{{ {[1]: 2} }}", "template:1:6: unhashable type: 'list'");
    check_failure("{{ '%d' % 'x' }}", "template:1:9: %d format: a number is required, not str");
    check_failure("{{ words | join(sep=1) }}", "template:1:12: join has no argument 'sep'");
    check_failure("{{ name[::0] }}", "template:1:9: slice step cannot be zero");
    // A long text of the template's own is cut, not dropped.
    std::string message = failure(Status::kTemplateFailed, [] { render("{{ raise_exception('x' * 5000) }}"); });
    CHECK(message.size() == Error::kTextBytes - 1);
}

TEST_CASE("work is bounded") {
    TemplateLimits limits;
    limits.max_steps = 10'000;
    check_limit("{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}", limits,
                "too many steps");
    limits = {};
    limits.max_output_bytes = 100;
    check_limit("{% for i in range(11) %}0123456789{% endfor %}", limits, "more than 100 bytes");
    limits = {};
    limits.max_memory_bytes = 1 << 20;
    check_limit("{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
                limits, "too much");
    check_limit("{{ 'x' * 9223372036854775807 }}", limits, "too much");
    check_limit("{{ 'ab' * 9223372036854775807 }}", limits, "too much");
    check_limit("{{ ('a' * 1000).replace('a', 'b' * 10000) }}", limits, "too much");
    check_limit("{{ 'x'.center(999999999) }}", limits, "too much");
    check_limit(
        "{% set ns = namespace(l=[1]) %}{% for i in range(50) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
        limits, "too m");
    check_limit("{{ range(1000000000) }}", {}, "more than 100000 items");
    check_limit("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", {}, "too deeply");
    check_limit("{% macro m(f) %}{{ f(f) }}{% endmacro %}{{ m(m) }}", {}, "too deeply");
}

TEST_CASE("deep source is refused while it is read") {
    auto nested = [](std::string open, std::string close, int count) {
        std::string text = "{{ ";
        for (int i = 0; i < count; ++i) text += open;
        text += "1";
        for (int i = 0; i < count; ++i) text += close;
        return text + " }}";
    };
    for (auto &[open, close] : {std::pair("(", ")"), std::pair("[", "]"), std::pair("not ", ""), std::pair("-", ""),
                                std::pair("{1: ", "}"), std::pair("1 if 1 else ", ""), std::pair("range(", ")"),
                                std::pair("", ".a"), std::pair("", "|e"), std::pair("", "[0]"), std::pair("", "()")})
        check_limit(nested(open, close, 50'000), {}, "levels deep");
    std::string blocks;
    for (int i = 0; i < 50'000; ++i) blocks += "{% if 1 %}";
    check_limit(blocks, {}, "levels deep");
    std::string chain = "{% if 0 %}";
    for (int i = 0; i < 5'000; ++i) chain += "{% elif 0 %}";
    check(chain + "{% else %}end{% endif %}", "end");
    check("{{ 1" + nested("", " + 1", 5'000).substr(4), "5001");
}

TEST_CASE("json comes in whole or not at all") {
    CHECK(render("{{ n }}") == "5");
    auto message = [](std::string_view json) {
        return failure(Status::kInvalidText, [&] { parse_json(json, "the file"); });
    };
    CHECK(message("").find("the file cannot be read as JSON at byte 1") == 0);
    CHECK(message("[1, 2").find("the file cannot be read as JSON at byte 6") == 0);
    CHECK(message("{\"a\": 1} x").find("at byte 10") != std::string::npos);
    CHECK(message("[\"\xFF\"]").find("at byte 3") != std::string::npos);
    CHECK(failure(Status::kLimitExceeded, [&] { parse_json(std::string(100'000, '['), "the file"); }) ==
          "the file nests more than 150 levels of JSON");
    Meter meter(1000, 1000);
    std::string out;
    append_json(out, parse_json(R"({"z": 1, "a": [true, null, -9223372036854775808, 1.5e300], "z": 2})"), {}, meter);
    CHECK(out == R"({"z": 2, "a": [true, null, -9223372036854775808, 1.5e+300]})");
    std::string many = "{";
    for (int i = 0; i < 1000; ++i) many += "\"k" + std::to_string(i % 500) + "\": " + std::to_string(i) + ", ";
    Value large = parse_json(many + "\"end\": 0}");
    CHECK(large.dict().size() == 501);
    CHECK(large.dict().find("k499")->as_int() == 999);
}

TEST_CASE("iso times") {
    CHECK(parse_iso_time("2025-07-26T12:30:15")->tm_sec == 15);
    CHECK(parse_iso_time("2025-07-26")->tm_wday == 6);
    for (const char *bad : {"", "2025", "2025-13-01", "2025-02-30", "2025-07-26T25:00", "2025-07-26x", "26.7.2025"})
        CHECK_FALSE(parse_iso_time(bad));
}

TEST_CASE("the else of a loop runs unless a turn went to its end") {
    check("{% for i in [1] %}{% continue %}{% else %}E{% endfor %}", "E");
    check("{% for i in [1, 2] %}{{ i }}{% if i == 2 %}{% break %}{% endif %}{% else %}E{% endfor %}", "12");
    check("{% for i in [1] %}{{ i }}{% break %}{% else %}E{% endfor %}", "1E");
    check("{% for o in [1, 2] %}{% for i in [] %}{% else %}{% continue %}{% endfor %}x{% endfor %}|", "|");
}

TEST_CASE("letters of all scripts change case") {
    check("{{ 'ΟΔΟΣ ΣΑΣ'|lower }} {{ 'İ'|lower }}", "οδος σας i̇");
    check("{{ 'ὀδός ა ƀ ａ ꭰ ǆ straße'|upper }}", "ὈΔΌΣ Ა Ƀ Ａ Ꭰ Ǆ STRASSE");
    check("{{ 'ǆ ა 𐐨'.title() }}", "ǅ ა 𐐀");
    check("{{ 'ΑΣ-βΣ'|title }} {{ 'ǆΣ'|capitalize }}", "Ασ-Βσ ǅς");
}

TEST_CASE("filters for HTML, wrapped text and large numbers") {
    check(
        R"t({{ {'class': 'a b', 'n': none, 'x': '<"1">', 'u': missing}|xmlattr }}|{{ {'a': 1}|xmlattr(false) }}|{{ {}|xmlattr }})t",
        R"t( class="a b" x="&lt;&#34;1&#34;&gt;"|a="1"|)t");
    check(R"t({{ '<p>a  <!-- <b> -->&lt;b&gt; &amp; &#65;&#x42; &nosuch</p>\n c'|striptags }})t",
          R"t(a <b> & AB &nosuch c)t");
    check(R"t({{ 'A well-known robot--see here--speaks, e-mails'|wordwrap(12) }})t",
          R"t(A well-known
robot--see
here--
speaks,
e-mails)t");
    check(
        R"t({{ 'extraordinarily-long words\n\nnext'|wordwrap(8) }}|{{ 'extraordinarily long'|wordwrap(8, false, '/') }}|{{ 'a-bc-de fg'|wordwrap(5, true, '/', false) }})t",
        R"t(extraord
inarily-
long
words

next|extraordinarily/long|a-bc-/de fg)t");
    check(
        R"t({{ 'see (http://x.org/a_(b)), www.y.com or me@z.de.'|urlize }})t",
        R"t(see (<a href="http://x.org/a_(b)" rel="noopener">http://x.org/a_(b)</a>), <a href="https://www.y.com" rel="noopener">www.y.com</a> or <a href="mailto:me@z.de">me@z.de</a>.)t");
    check(
        R"t({{ 'https://example.org/long <a.com> tel:12'|urlize(12, true, '_blank', 'x', ['tel:']) }})t",
        R"t(<a href="https://example.org/long" rel="nofollow noopener x" target="_blank">https://exam...</a> &lt;a.com&gt; <a href="tel:12" rel="nofollow noopener x" target="_blank">tel:12</a>)t");
    check(R"t({{ -1250|round(-2) }} {{ 1350|round(-2) }} {{ 15|round(-1) }} {{ 9223372036854775807|round(-2) }})t",
          R"t(-1200 1400 20 9223372036854775800)t");
    check("{{ words|random }} {{ []|random is defined }}", "pear False");  // always the first
    for (const char *source : {"{{ '99999999999999999999'|int }}", "{{ 1e20|int }}", "{{ 9223372036854775807 + 1 }}",
                               "{{ 2 ** 64 }}", "{{ 9223372036854775808 }}", "{{ 9223372036854775807|round(-19) }}"}) {
        CAPTURE(source);
        CHECK(failure(Status::kTemplateFailed, [&] { render(source); }).find("fit into 64 bits") != std::string::npos);
    }
    for (const char *json : {"[18446744073709551615]", "[-99999999999999999999]"})
        CHECK(failure(Status::kInvalidText, [&] { parse_json(json, "x"); }).find("fit into 64 bits") !=
              std::string::npos);
    CHECK(failure(Status::kTemplateFailed, [&] { render("{{ {'a b': 1}|xmlattr }}"); }).find("attribute") !=
          std::string::npos);
    CHECK(failure(Status::kTemplateFailed, [&] { render("{{ 'a'|urlize(extra_schemes=['!']) }}"); }).find("scheme") !=
          std::string::npos);
}

TEST_CASE("chat messages") {
    ChatContext context;
    context.bos_token = "<s>";
    std::string said;
    context.log = {[](void *user, int, const char *text) { *static_cast<std::string *>(user) = text; }, &said};
    Value messages = parse_json(R"([{"role": "system", "content": "Be brief."},
                                    {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "you"}]}])");
    Template chat =
        Template::parse("{{ bos_token }}{% for m in messages %}[{{ m.role }}]{% endfor %}{{ tools is none }}{{ x }}"
                        "{% if add_generation_prompt %}>{% endif %}");
    CHECK(render_chat(&chat, messages, Value(), context) == "<s>[system][user]True>");
    CHECK(render_chat(&chat, messages, parse_json(R"({"x": 1, "tools": [], "add_generation_prompt": false})"),
                      context) == "<s>[system][user]False1");
    CHECK(said.empty());
    CHECK(render_chat(nullptr, messages, Value(), context) == "System: Be brief.\n\nUser: Hi \nyou\n\nAssistant:");
    CHECK(said == "the model has no chat template: the messages are written as plain lines");
    std::string all_said;
    context.log = {[](void *user, int, const char *text) { *static_cast<std::string *>(user) += text; }, &all_said};
    render_chat(nullptr, messages, parse_json(R"({"tools": [{}], "documents": []})"), context);
    CHECK(all_said.find("so the tools are left out of the prompt") != std::string::npos);
    CHECK(all_said.find("documents") == std::string::npos);
    context.add_bos = true;
    CHECK(render_chat(nullptr, messages, Value(), context).find("<s>System: Be brief.") == 0);
    context.add_bos = false;
    context.has_chatml_tokens = true;
    CHECK(render_chat(nullptr, messages, Value(), context) ==
          "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi \nyou<|im_end|>\n<|im_start|>assistant\n");

    auto message = [&](const char *json) {
        return failure(Status::kInvalidText, [&] { render_chat(nullptr, parse_json(json), Value(), context); });
    };
    CHECK(message("{}") == "the messages are not an array");
    CHECK(message("[1]") == "messages[0] is not an object");
    CHECK(message(R"([{"role": "user"}, {"content": "x"}])") ==
          "messages[1] needs a \"role\" that is a string, such as \"user\"");
    CHECK(message(R"([{"role": "user", "content": 1}])") ==
          "messages[0].content is neither a string nor an array of parts");
    CHECK(message(R"([{"role": "user", "content": [1]}])") == "messages[0].content[0] is not an object");
    CHECK(message(R"([{"role": "user", "content": [{"type": "text"}]}])") ==
          "messages[0].content[0] has the type \"text\" and needs a \"text\" that is a string");
    CHECK(message(R"([{"role": "user", "content": [{"type": "image"}]}])").find("part of the type \"image\"") !=
          std::string::npos);
}

TEST_CASE("chat messages of parts, for templates that take parts and for those that do not") {
    Value messages = parse_json(R"([{"role": "system", "content": "S"}, {"role": "user", "name": "N", "content":
                                    [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])");
    auto rendered = [&](const char *source, const Value &given) {
        Template chat = Template::parse(source);
        return render_chat(&chat, given, Value(), ChatContext());
    };
    // As a list is added to a string, or as a list is printed.
    CHECK(rendered("{% for m in messages %}{{ '<' + m['content'] + m.get('name', '') + '>' }}{% endfor %}", messages) ==
          "<S><a\nbN>");
    CHECK(rendered("{% for m in messages %}<{{ m.content }}>{% endfor %}", messages) == "<S><a\nb>");
    CHECK(rendered("{% for m in messages %}<{{ m.content|tojson }}>{% endfor %}", messages) ==
          R"(<"S"><[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]>)");
    const char *both = "{% for m in messages %}<{% if m.content is string %}{{ m.content }}{% else %}"
                       "{% for p in m.content %}{{ p.text or p.type }},{% endfor %}{% endif %}>{% endfor %}";
    CHECK(rendered(both, messages) == "<S><a,b,>");
    CHECK(rendered("{{ messages[0].content[0].text }}", parse_json(R"([{"role": "user", "content":
        [{"type": "text", "text": "only parts"}]}])")) == "only parts");
    Value image = parse_json(R"([{"role": "user", "content": [{"type": "image"}]}])");
    CHECK(rendered(both, image) == "<image,>");
    CHECK(failure(Status::kInvalidText, [&] {
              rendered("{% for m in messages %}{{ m.content + '' }}{% endfor %}", image);
          }) == "messages[0].content has a part of the type \"image\", but the chat template takes only text");
    // What fails either way says so itself.
    CHECK(failure(Status::kTemplateFailed, [&] { rendered("{{ raise_exception('no') }}", messages); }).find("no") !=
          std::string::npos);
}
