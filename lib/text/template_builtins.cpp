// The tests of templates ("is defined") and their global functions.
#include "base/status.h"
#include "text/template_eval.h"
#include "text/template_text.h"
#include <algorithm>

namespace el {

namespace {

// --- tests ---

template <ValueType type> Value is_type(Call &call) {
    call.bind({});
    return Value(call.self.is(type));
}
Value is_defined(Call &call) {
    call.bind({});
    return Value(!call.self.is_undefined());
}
Value is_integer(Call &call) {
    call.bind({});
    return Value(call.self.is(ValueType::kInt));
}
Value is_number(Call &call) {
    call.bind({});
    return Value(call.self.is_number());
}
template <bool wanted> Value is_bool(Call &call) {
    call.bind({});
    return Value(call.self.is_bool() && is_truthy(call.self) == wanted);
}
Value is_sequence(Call &call) {
    call.bind({});
    const Value &self = call.self;
    return Value(self.is_string() || self.is_dict() || self.is_undefined() ||
                 (self.is_list() && self.list().kind <= ListKind::kRange));
}
Value is_iterable(Call &call) {
    call.bind({});
    const Value &self = call.self;
    return Value(self.is_string() || self.is_dict() || self.is_undefined() || self.is_list() || self.as<Loop>());
}
Value is_callable(Call &call) {
    call.bind({});
    return Value(call.self.is_undefined() || call.self.as<Callable>() || call.self.as<Loop>());
}
Value is_escaped(Call &call) {
    call.bind({});
    return Value(call.self.is_markup());
}
template <bool upper> Value is_case(Call &call) {
    call.bind({});
    Call inner{call.renderer, call.name, call.renderer.make_string(call.renderer.text(call.self))};
    return find_string_method(upper ? "isupper" : "islower")(inner);
}
Value is_same(Call &call) {
    call.bind({"other"}, 1);
    const Value &a = call.self, &b = call.args[0];
    if (a.type() != b.type()) return Value(false);
    if (a.is_number() || a.is_string() || a.is_none()) return Value(values_equal(a, b, call.renderer.meter));
    return Value(a.object() == b.object());
}
template <int divisor, int rest> Value divides(Call &call) {
    Value by(divisor);
    if (divisor == 0) {
        call.bind({"num"}, 1);
        by = call.args[0];
    }
    Value left = apply_operator(Operator::kModulo, call.self, by, call.renderer);
    return Value(values_equal(left, Value(rest), call.renderer.meter));
}
template <Operator op> Value compares(Call &call) {
    call.bind({"other"}, 1);
    return Value(apply_comparison(op, call.self, call.args[0], call.renderer));
}
Value is_in(Call &call) {
    call.bind({"seq"}, 1);
    return Value(contains(call.args[0], call.self, call.renderer));
}
template <Function (*find)(std::string_view)> Value is_named(Call &call) {
    call.bind({});
    return Value(call.self.is_string() && find(call.self.text()) != nullptr);
}

constexpr NamedFunction kTests[] = {
    {"!=", compares<Operator::kNotEqual>},
    {"<", compares<Operator::kLess>},
    {"<=", compares<Operator::kLessEqual>},
    {"==", compares<Operator::kEqual>},
    {">", compares<Operator::kGreater>},
    {">=", compares<Operator::kGreaterEqual>},
    {"boolean", is_type<ValueType::kBool>},
    {"callable", is_callable},
    {"defined", is_defined},
    {"divisibleby", divides<0, 0>},
    {"eq", compares<Operator::kEqual>},
    {"equalto", compares<Operator::kEqual>},
    {"escaped", is_escaped},
    {"even", divides<2, 0>},
    {"false", is_bool<false>},
    {"filter", is_named<find_filter>},
    {"float", is_type<ValueType::kFloat>},
    {"ge", compares<Operator::kGreaterEqual>},
    {"greaterthan", compares<Operator::kGreater>},
    {"gt", compares<Operator::kGreater>},
    {"in", is_in},
    {"integer", is_integer},
    {"iterable", is_iterable},
    {"le", compares<Operator::kLessEqual>},
    {"lessthan", compares<Operator::kLess>},
    {"lower", is_case<false>},
    {"lt", compares<Operator::kLess>},
    {"mapping", is_type<ValueType::kDict>},
    {"ne", compares<Operator::kNotEqual>},
    {"none", is_type<ValueType::kNone>},
    {"number", is_number},
    {"odd", divides<2, 1>},
    {"sameas", is_same},
    {"sequence", is_sequence},
    {"string", is_type<ValueType::kString>},
    {"test", is_named<find_test>},
    {"true", is_bool<true>},
    {"undefined", is_type<ValueType::kUndefined>},
    {"upper", is_case<true>},
};

// --- global functions ---

Value range(Call &call) {
    call.bind({"start", "stop", "step"}, 1);
    int64_t start = call.has(1) ? call.integer(0, 0) : 0, stop = call.has(1) ? call.integer(1, 0) : call.integer(0, 0);
    int64_t step = call.integer(2, 1);
    if (step == 0) fail_template("range: the step must not be zero");
    constexpr size_t kLongest = 100'000;
    std::vector<Value> items;
    for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
        if (items.size() >= kLongest) fail(Status::kLimitExceeded, "a range has more than {} items", kLongest);
        items.push_back(Value(i));
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    call.renderer.meter.step(items.size() / 4);
    return call.renderer.make_list(std::move(items), ListKind::kRange);
}

// What dict() and namespace() are given: a mapping or pairs, and keywords.
void fill(Call &call, Dict &dict) {
    if (call.args.size() > 1) fail_template(el::format("{} takes at most one argument", call.name));
    if (!call.args.empty() && call.args[0].is_dict()) {
        for (auto &[key, value] : call.args[0].dict().entries()) dict.set(key, value);
    } else if (!call.args.empty()) {
        for (const Value &item : call.renderer.iterate(call.args[0])) {
            std::vector<Value> pair = call.renderer.iterate(item);
            if (pair.size() != 2) fail_template(el::format("{} needs pairs of key and value", call.name));
            if (!is_hashable(pair[0])) fail_template(el::format("unhashable type: '{}'", type_name(pair[0])));
            dict.set(pair[0], pair[1]);
        }
    }
    for (auto &[name, value] : call.named) dict.set(Value(name), value);
    call.renderer.meter.build((dict.size() + 1) * 4 * sizeof(Value));
    call.renderer.meter.step(dict.size());
}
Value make_dict(Call &call) {
    auto dict = make_ref<Dict>();
    fill(call, *dict);
    return Value(dict);
}
Value make_namespace(Call &call) {
    auto space = make_ref<Namespace>(call.renderer);
    fill(call, *space->values);
    return Value(space);
}

Value raise_exception(Call &call) {
    call.bind({"message"}, 1);
    fail_template(call.renderer.text(call.args[0]));
}

Value strftime_now(Call &call) {
    call.bind({"format"}, 1);
    const std::string &format = call.string(0);
    call.renderer.meter.build(format.size() * 16);
    return call.renderer.make_string(format_time(format, call.renderer.now));
}

// The first call gives "", later ones the separator.
Value joined(Call &call) {
    call.bind({});
    Dict &state = call.self.dict();
    const Value *used = state.find(std::string_view("used"));
    if (!used) state.set(Value("used"), Value(true));
    return used ? *state.find(std::string_view("separator")) : Value("");
}
Value make_joiner(Call &call) {
    call.bind({"sep"});
    auto state = make_ref<Dict>();
    state->set(Value("separator"), call.has(0) ? call.args[0] : Value(", "));
    auto joiner = make_ref<Callable>();
    joiner->name = "joiner";
    joiner->function = joined;
    joiner->self = Value(state);
    return Value(joiner);
}

Value cycler_next(Call &call) {
    call.bind({});
    auto &cycler = *call.self.as<Cycler>();
    size_t at = std::exchange(cycler.at, (cycler.at + 1) % cycler.items.size());
    return cycler.items[at];
}
Value cycler_reset(Call &call) {
    call.bind({});
    call.self.as<Cycler>()->at = 0;
    return Value::none();
}
Value make_cycler(Call &call) {
    if (call.args.empty()) fail_template("cycler needs items");
    return Value(make_ref<Cycler>(std::move(call.args)));
}

constexpr NamedFunction kGlobals[] = {
    {"cycler", make_cycler},
    {"dict", make_dict},
    {"joiner", make_joiner},
    {"namespace", make_namespace},
    {"raise_exception", raise_exception},
    {"range", range},
    {"strftime_now", strftime_now},
};

}  // namespace

bool cycler_attribute(Cycler &cycler, std::string_view name, Value &out) {
    if (name == "current") {
        out = cycler.items[cycler.at];
        return true;
    }
    if (name != "next" && name != "reset") return false;
    auto method = make_ref<Callable>();
    method->name = name;
    method->function = name == "next" ? cycler_next : cycler_reset;
    method->self = Value(Ref<Cycler>(&cycler));
    out = Value(method);
    return true;
}

Function find_test(std::string_view name) { return find_function(kTests, name); }
Function find_global(std::string_view name) { return find_function(kGlobals, name); }

}  // namespace el
