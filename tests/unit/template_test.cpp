// The template interpreter. Expected texts are what Python's jinja2 makes of the same templates, with trim_blocks and
// lstrip_blocks.
#include "template_helpers.h"

using namespace el;

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

TEST_CASE("white space goes from the ends of texts, and no half of a character") {
    // The last bytes of these are those of U+0085 and U+00A0 in Latin-1.
    check(
        "{{ 'Voilà' | trim }}|{{ 'их'.strip() }}|{{ '全Å'.rstrip() }}|{{ '全 Р'.rsplit() }}|{{ 'Voilà'.rstrip('à') }}",
        "Voilà|их|全Å|['全', 'Р']|Voil");
    check(
        "{{ '\u3000\u00a0à\u00a0\u2028\u3000' | trim }}|{{ 'à\u2003'.rstrip() }}|{{ '\u1680x\u00a0y\u1680'.rsplit() }}",
        "à|à|['x', 'y']");
    check("Voilà{%- if true %}х{% endif %} {{ 1 }}\u00a0{{- 2 }}", "Voilàх 12");
}

TEST_CASE("numbers that floats do not hold") {
    check("{{ 1e400 }} {{ -1e400 }} {{ 1e-400 }} {{ '-1e400' | float }} {{ 1e-310 > 0 }}", "inf -inf 0.0 -inf True");
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
    check("{{ {'b': [1]} | tojson(indent='\\t') }} {{ [] | tojson(indent='--') }} {{ '\x7f' | "
          "tojson(ensure_ascii=true) }}",
          "{\n\t\"b\": [\n\t\t1\n\t]\n} [] \"\\u007f\"");
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
    check("{{ strftime_now('%P %k %l %C %G-W%V %g %_m %^a %^B %-I %0e %! %-') }}",
          "pm 12 12 20 2025-W30 25  7 SAT JULY 12 26 %! %-");
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
