#include "text/template_eval.h"

#include "base/status.h"
#include "text/template_lexer.h"
#include "text/template_text.h"
#include <algorithm>

namespace el {

void fail_template(std::string_view message) { fail(Status::kTemplateFailed, "{}", message); }

Tracked::Tracked(Renderer &renderer) : link_(&renderer.tracked_), next_(renderer.tracked_) {
    if (next_) next_->link_ = &next_;
    *link_ = this;
}

void Tracked::unlink() noexcept {
    if (!link_) return;
    *link_ = next_;
    if (next_) next_->link_ = link_;
    link_ = nullptr;
}

void Scope::set(std::string_view name, Value value) {
    for (auto &variable : variables_) {
        if (variable.first != name) continue;
        variable.second = std::move(value);
        return;
    }
    variables_.emplace_back(name, std::move(value));
}

const Value *Scope::find(std::string_view name) const {
    for (const Scope *scope = this; scope; scope = scope->outer_.get())
        for (auto &variable : scope->variables_)
            if (variable.first == name) return &variable.second;
    return nullptr;
}

Renderer::Level::Level(Renderer &renderer) : renderer_(renderer) {
    if (renderer_.depth_ >= renderer_.limits_.max_call_depth) Meter::fail_depth();
    renderer_.meter.step();
    ++renderer_.depth_;
}

static std::tm local_time() {
    std::time_t seconds = std::time(nullptr);
    std::tm result{};
    localtime_r(&seconds, &result);
    return result;
}

Renderer::Renderer(const TemplateTree &tree, const Value &variables, const RenderOptions &options)
    : meter(options.limits.max_steps, options.limits.max_memory_bytes), now(options.now ? *options.now : local_time()),
      tree_(tree), variables_(variables), limits_(options.limits) {}

Renderer::~Renderer() {
    scope_ = {};
    while (tracked_) {
        Ref<Tracked> object(tracked_);
        object->unlink();
        object->clear();
    }
    for (Value &value : changed_) {
        if (value.is_list()) value.list().items.clear();
        if (value.is_dict()) value.dict().clear();
    }
}

std::string Renderer::run() {
    std::string out;
    try {
        out_ = &out;
        scope_ = make_ref<Scope>(*this, Ref<Scope>());
        exec(tree_.body);
    } catch (const Error &error) {
        throw Error(error.status(), "template:{}: {}", template_place(tree_.source, offset_), error.what());
    }
    return out;
}

Value Renderer::make_string(std::string text, bool markup) {
    meter.build(text.size() + sizeof(String));
    return Value(make_ref<String>(std::move(text), markup));
}

Value Renderer::make_list(std::vector<Value> items, ListKind kind) {
    meter.build(items.size() * sizeof(Value) + sizeof(List));
    return Value(make_ref<List>(std::move(items), kind));
}

void Renderer::note_changed(const Value &container) {
    bool frozen = container.is_list() ? container.list().frozen : container.dict().frozen;
    if (frozen)
        fail_template(el::format("this {} was given to the template, which may not change it", type_name(container)));
    changed_.push_back(container);
    meter.build(sizeof(Value));
}

std::vector<Value> Renderer::iterate(const Value &value) {
    std::vector<Value> items;
    if (value.is_list()) {
        List &list = value.list();
        if (list.kind == ListKind::kGenerator)
            items.swap(list.items);
        else
            items = list.items;
    } else if (value.is_dict()) {
        for (auto &entry : value.dict().entries()) items.push_back(entry.first);
    } else if (value.is_string()) {
        const std::string &text = value.text();
        meter.build(text.size() * (sizeof(Value) + sizeof(String)));
        for (size_t at = 0; at < text.size();) {
            size_t start = at;
            next_code_point(text, at);
            items.push_back(Value(std::string_view(text).substr(start, at - start)));
        }
    } else if (auto *loop = value.as<Loop>()) {
        Value item;
        while (loop_advance(*loop)) items.push_back(loop->current);
    } else if (!value.is_undefined()) {
        fail_template(el::format("'{}' object is not iterable", type_name(value)));
    }
    meter.build(items.size() * sizeof(Value));
    meter.step(items.size() / 4);
    return items;
}

void Renderer::emit(std::string_view text) {
    if (text.size() > limits_.max_output_bytes - std::min<uint64_t>(out_->size(), limits_.max_output_bytes))
        fail(Status::kLimitExceeded, "the template writes more than {} bytes", limits_.max_output_bytes);
    out_->append(text);
}

// --- expressions ---

Value Renderer::eval(const Expression &e) {
    using Kind = ExpressionKind;
    Level level(*this);
    offset_ = e.offset;
    switch (e.kind) {
    case Kind::kConstant:
        return e.value;
    case Kind::kName:
        return eval_name(e);
    case Kind::kList:
        return make_list(eval_items(e));
    case Kind::kTuple:
        return make_list(eval_items(e), ListKind::kTuple);
    case Kind::kDict:
        return eval_dict(e);
    case Kind::kAttribute: {
        Value object = eval(*e.items[0]);
        offset_ = e.offset;
        return attribute(object, e.name);
    }
    case Kind::kSubscript: {
        Value object = eval(*e.items[0]);
        if (e.items[1]->kind == Kind::kSlice) return eval_slice(object, *e.items[1]);
        Value key = eval(*e.items[1]);
        offset_ = e.offset;
        return subscript(object, key);
    }
    case Kind::kSlice:
        fail_template("a slice belongs alone into a subscript");
    case Kind::kCall:
        return eval_call(e);
    case Kind::kFilter:
        return eval_filter(e);
    case Kind::kTest:
        return Value(eval_test(e));
    case Kind::kNot:
        return Value(!is_truthy(eval(*e.items[0])));
    case Kind::kNegative:
        return negate(eval(*e.items[0]));
    case Kind::kPositive:
        return apply_operator(Operator::kAdd, Value(0), eval(*e.items[0]), *this);
    case Kind::kBinary:
        return eval_binary(e);
    case Kind::kAnd:
    case Kind::kOr: {
        Value value;
        for (const Expression *item : e.items) {
            value = eval(*item);
            if (is_truthy(value) == (e.kind == Kind::kOr)) break;
        }
        return value;
    }
    case Kind::kCompare:
        return Value(eval_compare(e));
    case Kind::kConcat:
        return eval_concat(e);
    case Kind::kConditional:
        if (is_truthy(eval(*e.items[0]))) return eval(*e.items[1]);
        if (e.items[2]) return eval(*e.items[2]);
        return Value::undefined("the inline if has no else, and its condition is false");
    }
    return Value();
}

Value Renderer::eval_name(const Expression &e) {
    if (const Value *found = scope_->find(e.name)) return *found;
    if (const Value *found = variables_.is_dict() ? variables_.dict().find(std::string_view(e.name)) : nullptr)
        return *found;
    if (Function function = find_global(e.name)) {
        auto callable = make_ref<Callable>();
        callable->name = e.name;
        callable->function = function;
        return Value(callable);
    }
    return Value::undefined(el::format("'{}' is undefined", e.name));
}

std::vector<Value> Renderer::eval_items(const Expression &e) {
    std::vector<Value> items;
    items.reserve(e.items.size());
    for (const Expression *item : e.items) items.push_back(eval(*item));
    return items;
}

Value Renderer::eval_dict(const Expression &e) {
    auto dict = make_ref<Dict>();
    meter.build(e.items.size() * 4 * sizeof(Value));
    for (size_t i = 0; i + 1 < e.items.size(); i += 2) {
        Value key = eval(*e.items[i]);
        if (!is_hashable(key)) fail_template(el::format("unhashable type: '{}'", type_name(key)));
        dict->set(std::move(key), eval(*e.items[i + 1]));
    }
    return Value(dict);
}

Value Renderer::eval_slice(const Value &object, const Expression &slice) {
    Value parts[3];
    for (size_t i = 0; i < 3; ++i)
        if (slice.items[i]) parts[i] = eval(*slice.items[i]);
    offset_ = slice.offset;
    return slice_value(object, parts, *this);
}

void Renderer::eval_arguments(const Arguments &arguments, Call &call) {
    for (const Expression *item : arguments.positional) call.args.push_back(eval(*item));
    for (auto &[name, item] : arguments.named) call.named.emplace_back(name, eval(*item));
    if (arguments.star)
        for (Value &item : iterate(eval(*arguments.star))) call.args.push_back(std::move(item));
    if (!arguments.star_star) return;
    Value more = eval(*arguments.star_star);
    if (!more.is_dict()) fail_template("the argument after ** must be a mapping");
    for (auto &[key, value] : more.dict().entries()) {
        if (!key.is_string()) fail_template("keywords must be strings");
        call.named.emplace_back(key.text(), value);
    }
}

Value Renderer::eval_call(const Expression &e, const Value *caller) {
    Value callee = eval(*e.items[0]);
    Call arguments{*this, e.items[0]->name, Value()};
    eval_arguments(e.arguments, arguments);
    if (caller) arguments.named.emplace_back("caller", *caller);
    offset_ = e.offset;
    return call(callee, arguments);
}

Value Renderer::eval_filter(const Expression &e, const Value *subject) {
    Call arguments{*this, e.name, Value()};
    if (!e.items[0])
        arguments.self = *subject;
    else if (subject && e.items[0]->kind == ExpressionKind::kFilter)
        arguments.self = eval_filter(*e.items[0], subject);
    else
        arguments.self = eval(*e.items[0]);
    eval_arguments(e.arguments, arguments);
    offset_ = e.offset;
    return apply_filter(e.name, arguments);
}

bool Renderer::eval_test(const Expression &e) {
    Call arguments{*this, e.name, eval(*e.items[0])};
    eval_arguments(e.arguments, arguments);
    offset_ = e.offset;
    return apply_test(e.name, arguments);
}

Value Renderer::apply_filter(std::string_view name, Call &call) {
    Function function = find_filter(name);
    if (!function) fail_template(el::format("no filter is named '{}'", name));
    return function(call);
}

bool Renderer::apply_test(std::string_view name, Call &call) {
    Function function = find_test(name);
    if (!function) fail_template(el::format("no test is named '{}'", name));
    return is_truthy(function(call));
}

Value Renderer::eval_binary(const Expression &e) {
    Value left = eval(*e.items[0]);
    for (size_t i = 0; i < e.operators.size(); ++i) {
        Value right = eval(*e.items[i + 1]);
        offset_ = e.offset;
        left = apply_operator(e.operators[i], left, right, *this);
    }
    return left;
}

bool Renderer::eval_compare(const Expression &e) {
    Value left = eval(*e.items[0]);
    for (size_t i = 0; i < e.operators.size(); ++i) {
        Value right = eval(*e.items[i + 1]);
        offset_ = e.offset;
        if (!apply_comparison(e.operators[i], left, right, *this)) return false;
        left = std::move(right);
    }
    return true;
}

Value Renderer::eval_concat(const Expression &e) {
    std::string out;
    for (const Expression *item : e.items) append_text(out, eval(*item), meter);
    return make_string(std::move(out));
}

Value Renderer::attribute(const Value &object, std::string_view name) {
    Function method = nullptr;
    if (object.is_undefined()) fail_template(object.hint());
    if (auto *space = object.as<Namespace>()) {
        if (const Value *found = space->values->find(name)) return *found;
    } else if (auto *loop = object.as<Loop>()) {
        Value found;
        if (loop_attribute(*loop, name, found)) return found;
    } else if (auto *cycler = object.as<Cycler>()) {
        Value found;
        if (cycler_attribute(*cycler, name, found)) return found;
    } else if (auto *callable = object.as<Callable>()) {
        if (callable->macro && name == "name") return Value(callable->name);
    } else if (object.is_string()) {
        method = find_string_method(name);
    } else if (object.is_list()) {
        method = find_list_method(name);
        const List &list = object.list();  // the pairs of groupby have names
        if (list.kind == ListKind::kTuple && list.items.size() == 2 && (name == "grouper" || name == "list"))
            return list.items[name == "list"];
    } else if (object.is_dict()) {
        method = find_dict_method(name);
        const Value *found = method ? nullptr : object.dict().find(name);
        if (found) return *found;
    }
    if (!method) {
        std::string type = object.is_none() ? "None" : el::format("{} object", type_name(object));
        return Value::undefined(el::format("'{}' has no attribute '{}'", type, name));
    }
    auto bound = make_ref<Callable>();
    bound->name = name;
    bound->function = method;
    bound->self = object;
    return Value(bound);
}

Value Renderer::subscript(const Value &object, const Value &key) {
    if (object.is_undefined()) fail_template(object.hint());
    if (object.is_dict() && is_hashable(key)) {
        if (const Value *found = object.dict().find(key)) return *found;
    } else if (key.is_integer() && (object.is_list() || object.is_string())) {
        bool is_text = object.is_string();
        ListKind kind = is_text ? ListKind::kList : object.list().kind;
        if (kind <= ListKind::kRange) {
            if (is_text) meter.look(object.text().size());
            int64_t size =
                static_cast<int64_t>(is_text ? count_code_points(object.text()) : object.list().items.size());
            int64_t index = key.as_int() < 0 ? key.as_int() + size : key.as_int();
            if (index >= 0 && index < size) {
                if (!is_text) return object.list().items[static_cast<size_t>(index)];
                size_t begin = byte_offset(object.text(), static_cast<size_t>(index)), end = begin;
                next_code_point(object.text(), end);
                return make_string(object.text().substr(begin, end - begin), object.is_markup());
            }
        }
    }
    if (key.is_string()) {
        Value found = attribute(object, key.text());
        return found;
    }
    return Value::undefined(el::format("{} object has no element {}", type_name(object), text(key).substr(0, 100)));
}

}  // namespace el
