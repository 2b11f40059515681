// Templates that are wrong, too large or too deep, and values that hold themselves.
#include "template_helpers.h"

using namespace el;

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
