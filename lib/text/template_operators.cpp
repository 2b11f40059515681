// Python's operators on template values.
#include "base/status.h"
#include "text/template_eval.h"
#include "text/template_text.h"
#include <algorithm>
#include <cmath>

namespace el {

namespace {

const char *operator_text(Operator op) {
    static constexpr const char *kTexts[] = {
        "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};
    return kTexts[static_cast<int>(op)];
}

[[noreturn]] void fail_operands(Operator op, const Value &a, const Value &b) {
    fail_template(
        el::format("unsupported operand types for {}: '{}' and '{}'", operator_text(op), type_name(a), type_name(b)));
}

[[noreturn]] void fail_overflow() { fail_template("an integer result does not fit into 64 bits"); }
[[noreturn]] void fail_zero() { fail_template("division by zero"); }

int64_t floor_divide(int64_t a, int64_t b) {
    if (b == 0) fail_zero();
    if (b == -1) {
        int64_t result;
        if (__builtin_sub_overflow(int64_t{0}, a, &result)) fail_overflow();
        return result;
    }
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

int64_t floor_modulo(int64_t a, int64_t b) {
    if (b == 0) fail_zero();
    if (b == -1) return 0;
    int64_t rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

double float_modulo(double a, double b) {
    if (b == 0) fail_zero();
    double rest = std::fmod(a, b);
    if (rest == 0) return std::copysign(0.0, b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
}

double float_floor_divide(double a, double b) {
    double quotient = (a - float_modulo(a, b)) / b;
    if (quotient == 0) return std::copysign(0.0, a / b);
    double whole = std::floor(quotient);
    return quotient - whole > 0.5 ? whole + 1 : whole;
}

Value integer_power(int64_t base, int64_t exponent) {
    if (exponent < 0) {
        if (base == 0) fail_zero();
        return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
    }
    int64_t result = 1;
    while (exponent > 0) {
        if (exponent % 2 && __builtin_mul_overflow(result, base, &result)) fail_overflow();
        exponent /= 2;
        if (exponent && __builtin_mul_overflow(base, base, &base)) fail_overflow();
    }
    return Value(result);
}

Value integer_operator(Operator op, int64_t a, int64_t b) {
    int64_t result = 0;
    bool overflow = false;
    switch (op) {
    case Operator::kAdd:
        overflow = __builtin_add_overflow(a, b, &result);
        break;
    case Operator::kSubtract:
        overflow = __builtin_sub_overflow(a, b, &result);
        break;
    case Operator::kMultiply:
        overflow = __builtin_mul_overflow(a, b, &result);
        break;
    case Operator::kDivide:
        if (b == 0) fail_zero();
        return Value(static_cast<double>(a) / static_cast<double>(b));
    case Operator::kFloorDivide:
        return Value(floor_divide(a, b));
    case Operator::kModulo:
        return Value(floor_modulo(a, b));
    default:
        return integer_power(a, b);
    }
    if (overflow) fail_overflow();
    return Value(result);
}

Value float_operator(Operator op, double a, double b) {
    switch (op) {
    case Operator::kAdd:
        return Value(a + b);
    case Operator::kSubtract:
        return Value(a - b);
    case Operator::kMultiply:
        return Value(a * b);
    case Operator::kDivide:
        if (b == 0) fail_zero();
        return Value(a / b);
    case Operator::kFloorDivide:
        return Value(float_floor_divide(a, b));
    case Operator::kModulo:
        return Value(float_modulo(a, b));
    default:
        break;
    }
    if (a == 0 && b < 0) fail_zero();
    double result = std::pow(a, b);
    if (std::isnan(result) && !std::isnan(a) && !std::isnan(b))
        fail_template("a negative number to a fractional power");
    return Value(result);
}

Value repeat(const Value &sequence, int64_t count, Renderer &renderer) {
    size_t times = count > 0 ? static_cast<size_t>(count) : 0;
    size_t size = sequence.is_string() ? sequence.text().size() : sequence.list().items.size();
    size_t total = 0;
    if (__builtin_mul_overflow(size, times, &total) || total > (size_t{1} << 40)) renderer.meter.build(UINT64_MAX);
    renderer.meter.build(total * (sequence.is_string() ? 1 : sizeof(Value)));
    if (sequence.is_string()) {
        std::string text;
        text.reserve(total);
        if (size)
            for (size_t i = 0; i < times; ++i) text += sequence.text();
        return Value(make_ref<String>(std::move(text), sequence.is_markup()));
    }
    std::vector<Value> items;
    items.reserve(total);
    if (size)
        for (size_t i = 0; i < times; ++i)
            items.insert(items.end(), sequence.list().items.begin(), sequence.list().items.end());
    return Value(make_ref<List>(std::move(items), sequence.list().kind));
}

bool is_plain_list(const Value &value) { return value.is_list() && value.list().kind <= ListKind::kTuple; }

Value add_sequences(const Value &a, const Value &b, Renderer &renderer) {
    if (a.is_string() && b.is_string()) {
        bool markup = a.is_markup() || b.is_markup();  // what is not marked gets escaped
        renderer.meter.build(a.text().size() + b.text().size());
        auto part = [&](const Value &v) { return markup && !v.is_markup() ? escape_html(v.text()) : v.text(); };
        return Value(make_ref<String>(part(a) + part(b), markup));
    }
    if (is_plain_list(a) && is_plain_list(b) && a.list().kind == b.list().kind) {
        renderer.meter.build((a.list().items.size() + b.list().items.size()) * sizeof(Value));
        std::vector<Value> items = a.list().items;
        items.insert(items.end(), b.list().items.begin(), b.list().items.end());
        return Value(make_ref<List>(std::move(items), a.list().kind));
    }
    if (a.is_string()) fail_template(el::format("can only concatenate str (not \"{}\") to str", type_name(b)));
    if (is_plain_list(a))
        fail_template(el::format("can only concatenate {0} (not \"{1}\") to {0}", type_name(a), type_name(b)));
    fail_operands(Operator::kAdd, a, b);
}

}  // namespace

Value apply_operator(Operator op, const Value &a, const Value &b, Renderer &renderer) {
    if (a.is_undefined() || b.is_undefined()) {
        if (!(op == Operator::kModulo && a.is_string())) fail_template((a.is_undefined() ? a : b).hint());
    }
    if (a.is_integer() && b.is_integer()) return integer_operator(op, a.as_int(), b.as_int());
    if (a.is_number() && b.is_number()) return float_operator(op, a.as_float(), b.as_float());
    if (op == Operator::kAdd) return add_sequences(a, b, renderer);
    if (op == Operator::kMultiply) {
        if ((a.is_string() || is_plain_list(a)) && b.is_integer()) return repeat(a, b.as_int(), renderer);
        if ((b.is_string() || is_plain_list(b)) && a.is_integer()) return repeat(b, a.as_int(), renderer);
    }
    if (op == Operator::kModulo && a.is_string()) return renderer.make_string(format_percent(a.text(), b, renderer));
    fail_operands(op, a, b);
}

Value negate(const Value &value) {
    if (value.is_undefined()) fail_template(value.hint());
    if (value.is_integer()) return integer_operator(Operator::kSubtract, 0, value.as_int());
    if (!value.is_number()) fail_template(el::format("bad operand type for unary -: '{}'", type_name(value)));
    return Value(-value.as_float());
}

bool contains(const Value &container, const Value &item, Renderer &renderer) {
    if (container.is_string()) {
        if (item.is_undefined()) fail_template(item.hint());
        if (!item.is_string())
            fail_template(el::format("'in <string>' requires string as left operand, not {}", type_name(item)));
        renderer.meter.look(container.text().size());
        return find_text(container.text(), item.text()) != std::string::npos;
    }
    if (container.is_dict()) {
        if (!is_hashable(item)) fail_template(el::format("unhashable type: '{}'", type_name(item)));
        return container.dict().find(item) != nullptr;
    }
    if (container.is_undefined()) return false;
    if (!container.is_list()) fail_template(el::format("argument of type '{}' is not iterable", type_name(container)));
    auto is_item = [&](const Value &other) { return values_equal(other, item, renderer.meter); };
    if (container.list().kind == ListKind::kGenerator) {
        std::vector<Value> items = renderer.iterate(container);
        return std::any_of(items.begin(), items.end(), is_item);
    }
    return std::any_of(container.list().items.begin(), container.list().items.end(), is_item);
}

bool apply_comparison(Operator op, const Value &a, const Value &b, Renderer &renderer) {
    switch (op) {
    case Operator::kEqual:
        return values_equal(a, b, renderer.meter);
    case Operator::kNotEqual:
        return !values_equal(a, b, renderer.meter);
    case Operator::kIn:
        return contains(b, a, renderer);
    case Operator::kNotIn:
        return !contains(b, a, renderer);
    default:
        break;
    }
    int order = compare_values(a, b, renderer.meter);
    if (order == 2 && a.is_number()) return false;  // NaN
    switch (op) {
    case Operator::kLess:
        return order < 0;
    case Operator::kLessEqual:
        return order <= 0;
    case Operator::kGreater:
        return order > 0;
    default:
        return order >= 0;
    }
}

// --- slices ---

// Python's rule: missing bounds depend on the direction, negative ones count from the end, all are clamped.
static int64_t slice_bound(const Value &part, int64_t size, bool forward, bool is_stop) {
    if (part.is_undefined() || part.is_none()) return forward ? (is_stop ? size : 0) : (is_stop ? -1 : size - 1);
    if (!part.is_integer()) fail_template("slice indices must be integers or None");
    int64_t at = part.as_int();
    if (at < 0) at = at < -size ? -1 : at + size;
    if (forward) return std::clamp<int64_t>(at, 0, size);
    return std::clamp<int64_t>(at, -1, size - 1);
}

static int64_t slice_step(const Value &part) {
    if (part.is_undefined() || part.is_none()) return 1;
    if (!part.is_integer()) fail_template("slice indices must be integers or None");
    if (part.as_int() == 0) fail_template("slice step cannot be zero");
    return std::max<int64_t>(part.as_int(), -INT64_MAX);
}

static Value slice_text(const Value &object, int64_t start, int64_t stop, int64_t step, Renderer &renderer) {
    const std::string &text = object.text();
    if (step == 1) {
        size_t begin = byte_offset(text, static_cast<size_t>(start)), end = begin;
        for (int64_t i = start; i < stop; ++i) next_code_point(text, end);
        return renderer.make_string(text.substr(begin, end - begin), object.is_markup());
    }
    std::vector<size_t> offsets;  // of the code points
    renderer.meter.build(text.size() * sizeof(size_t));
    for (size_t at = 0; at < text.size(); next_code_point(text, at)) offsets.push_back(at);
    offsets.push_back(text.size());
    std::string out;
    for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
        size_t at = static_cast<size_t>(i);
        out.append(text, offsets[at], offsets[at + 1] - offsets[at]);
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    return renderer.make_string(std::move(out), object.is_markup());
}

Value slice_value(const Value &object, const Value parts[3], Renderer &renderer) {
    if (object.is_undefined()) fail_template(object.hint());
    bool sliceable = object.is_string() || (object.is_list() && object.list().kind <= ListKind::kRange);
    if (!sliceable) fail_template(el::format("a '{}' object cannot be sliced", type_name(object)));
    if (object.is_string()) renderer.meter.look(object.text().size());
    int64_t size =
        static_cast<int64_t>(object.is_string() ? count_code_points(object.text()) : object.list().items.size());
    int64_t step = slice_step(parts[2]);
    int64_t start = slice_bound(parts[0], size, step > 0, false), stop = slice_bound(parts[1], size, step > 0, true);
    if (step > 0 ? start >= stop : start <= stop) start = stop = 0;
    if (start == stop) step = 1;
    if (object.is_string()) return slice_text(object, start, stop, step, renderer);
    std::vector<Value> items;
    for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
        items.push_back(object.list().items[static_cast<size_t>(i)]);
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    renderer.meter.step(items.size() / 4);
    return renderer.make_list(std::move(items), object.list().kind);
}

}  // namespace el
