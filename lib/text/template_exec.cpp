// The statements of a template: loops, assignments, macros.
#include "base/status.h"
#include "text/template_eval.h"
#include <algorithm>

namespace el {

Renderer::Flow Renderer::exec(const Block &block) {
    for (const Statement *statement : block)
        if (Flow flow = exec(*statement); flow != Flow::kNext) return flow;
    return Flow::kNext;
}

Renderer::Flow Renderer::exec(const Statement &s) {
    Level level(*this);
    offset_ = s.offset;
    switch (s.kind) {
    case StatementKind::kText:
        emit(s.text);
        break;
    case StatementKind::kPrint: {
        Value value = eval(*s.value);
        if (value.is_string())
            emit(value.text());
        else if (!value.is_undefined())
            emit(text(value));
        break;
    }
    case StatementKind::kIf:
        return exec_if(s);
    case StatementKind::kFor:
        return exec_for(s, eval(*s.value), scope_, 0);
    case StatementKind::kSet:
        assign(s.target, eval(*s.value));
        break;
    case StatementKind::kMacro:
        scope_->set(s.text, make_macro(s, s.text));
        break;
    case StatementKind::kCall:
        exec_call(s);
        break;
    case StatementKind::kSetBlock:
    case StatementKind::kFilter: {
        Flow flow = Flow::kNext;
        exec_set_block(s, flow);
        return flow;
    }
    case StatementKind::kWith:
    case StatementKind::kScope: {
        auto scope = make_ref<Scope>(*this, scope_);
        for (auto &parameter : s.parameters) scope->set(parameter.name, eval(*parameter.value));
        InScope in(*this, std::move(scope));
        return exec(s.body);
    }
    case StatementKind::kBreak:
        return Flow::kBreak;
    case StatementKind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kNext;
}

// A chain of elif is a loop here, as it may be long.
Renderer::Flow Renderer::exec_if(const Statement &first) {
    const Statement *s = &first;
    for (;;) {
        if (is_truthy(eval(*s->value))) return exec(s->body);
        if (s->otherwise.size() != 1 || s->otherwise[0]->kind != StatementKind::kIf) return exec(s->otherwise);
        s = s->otherwise[0];
    }
}

void Renderer::exec_set_block(const Statement &s, Flow &flow) {
    Value result;
    {
        Capture capture(*this);
        InScope in(*this, make_ref<Scope>(*this, scope_));
        flow = exec(s.body);
        result = make_string(std::move(capture.text));
    }
    if (flow != Flow::kNext) return;  // the loop around is left or goes on: the text is dropped
    if (s.value) result = eval_filter(*s.value, &result);
    if (s.kind == StatementKind::kSetBlock)
        assign(s.target, result);
    else
        emit(text(result));
}

void Renderer::assign(const Target &target, const Value &value) {
    if (target.is_tuple) {
        offset_ = target.offset;
        std::vector<Value> items = iterate(value);
        size_t wanted = target.targets.size();
        if (items.size() > wanted) fail_template(el::format("too many values to unpack (expected {})", wanted));
        if (items.size() < wanted)
            fail_template(el::format("not enough values to unpack (expected {}, got {})", wanted, items.size()));
        for (size_t i = 0; i < wanted; ++i) assign(target.targets[i], items[i]);
    } else if (!target.attribute.empty()) {
        offset_ = target.offset;
        const Value *found = scope_->find(target.name);
        auto *space = found ? found->as<Namespace>() : nullptr;
        if (!space) fail_template("only a namespace takes attributes");
        meter.build(4 * sizeof(Value));
        space->values->set(Value(target.attribute), value);
    } else {
        scope_->set(target.name, value);
    }
}

// --- loops ---

Renderer::Flow Renderer::exec_for(const Statement &s, const Value &iterable, Ref<Scope> outer, int64_t depth0) {
    auto loop = make_ref<Loop>(*this, s, outer);
    offset_ = s.offset;
    loop->items = iterate(iterable);
    loop->depth0 = depth0;
    loop->filtered = s.test == nullptr;
    bool any = false;  // turn that went to its end: to Jinja, one that broke off or continued does not keep `else` away
    while (loop_advance(*loop)) {
        meter.step();
        InScope in(*this, make_ref<Scope>(*this, outer));
        scope_->set("loop", Value(loop));
        assign(s.target, loop->current);
        Flow flow = exec(s.body);
        any = any || flow == Flow::kNext;
        if (flow == Flow::kBreak) break;
    }
    if (any) return Flow::kNext;
    InScope in(*this, make_ref<Scope>(*this, outer));
    return exec(s.otherwise);
}

// The next item that passes the loop's filter.
bool Renderer::loop_fetch(Loop &loop, Value &item) {
    while (loop.next_item < loop.items.size()) {
        item = loop.items[loop.next_item++];
        if (loop.filtered) return true;
        InScope in(*this, make_ref<Scope>(*this, loop.outer));
        assign(loop.statement.target, item);
        if (is_truthy(eval(*loop.statement.test))) return true;
    }
    return false;
}

bool Renderer::loop_peek(Loop &loop) {
    if (!loop.has_after) loop.has_after = loop_fetch(loop, loop.after);
    return loop.has_after;
}

bool Renderer::loop_advance(Loop &loop) {
    Value item;
    if (loop.has_after)
        item = std::move(loop.after);
    else if (!loop_fetch(loop, item))
        return false;
    loop.has_after = false;
    ++loop.index0;
    loop.before = std::move(loop.current);
    loop.current = std::move(item);
    return true;
}

int64_t Renderer::loop_length(Loop &loop) {
    if (loop.length >= 0) return loop.length;
    std::vector<Value> rest;
    Value item;
    while (loop_fetch(loop, item)) rest.push_back(std::move(item));
    loop.length = loop.index0 + 1 + loop.has_after + static_cast<int64_t>(rest.size());
    loop.items = std::move(rest);
    loop.next_item = 0;
    loop.filtered = true;
    return loop.length;
}

static Value loop_cycle(Call &call) {
    if (call.args.empty()) fail_template("loop.cycle needs items");
    return call.args[static_cast<size_t>(call.self.as<Loop>()->index0) % call.args.size()];
}

static Value loop_changed(Call &call) {
    auto *loop = call.self.as<Loop>();
    Value seen = call.renderer.make_list(call.args, ListKind::kTuple);
    if (values_equal(loop->changed, seen, call.renderer.meter)) return Value(false);
    loop->changed = seen;
    return Value(true);
}

bool Renderer::loop_attribute(Loop &loop, std::string_view name, Value &out) {
    if (name == "index")
        out = Value(loop.index0 + 1);
    else if (name == "index0")
        out = Value(loop.index0);
    else if (name == "first")
        out = Value(loop.index0 == 0);
    else if (name == "last")
        out = Value(!loop_peek(loop));
    else if (name == "length")
        out = Value(loop_length(loop));
    else if (name == "revindex")
        out = Value(loop_length(loop) - loop.index0);
    else if (name == "revindex0")
        out = Value(loop_length(loop) - loop.index0 - 1);
    else if (name == "depth")
        out = Value(loop.depth0 + 1);
    else if (name == "depth0")
        out = Value(loop.depth0);
    else if (name == "previtem")
        out = loop.index0 > 0 ? loop.before : Value::undefined("there is no previous item");
    else if (name == "nextitem")
        out = loop_peek(loop) ? loop.after : Value::undefined("there is no next item");
    else if (name == "cycle" || name == "changed") {
        auto method = make_ref<Callable>();
        method->name = name;
        method->function = name == "cycle" ? loop_cycle : loop_changed;
        Ref<Loop> self(&loop);
        method->self = Value(self);
        out = Value(method);
    } else {
        return false;
    }
    return true;
}

// --- macros and calls ---

Value Renderer::make_macro(const Statement &s, std::string_view name) {
    auto macro = make_ref<Callable>();
    macro->name = name;
    macro->macro = &s;
    macro->closure = scope_;
    meter.build(sizeof(Callable));
    return Value(macro);
}

void Renderer::exec_call(const Statement &s) {
    Value caller = make_macro(s, "caller");
    emit(text(eval_call(*s.value, &caller)));
}

Value Renderer::call(const Value &callee, Call &call) {
    if (callee.is_undefined()) fail_template(callee.hint());
    if (auto *loop = callee.as<Loop>()) {
        if (!loop->statement.recursive) fail_template("only a loop marked 'recursive' can be called");
        call.bind({"iterable"}, 1);
        Level level(*this);
        Capture capture(*this);
        exec_for(loop->statement, call.args[0], loop->outer, loop->depth0 + 1);
        return make_string(std::move(capture.text));
    }
    auto *callable = callee.as<Callable>();
    if (!callable) fail_template(el::format("'{}' object is not callable", type_name(callee)));
    Value keep = callee;  // the call may overwrite the variable that holds it
    if (callable->macro) return call_macro(*callable, call);
    call.name = callable->name;
    call.self = callable->self;
    return callable->function(call);
}

// Whether the macro has a parameter of that name; `at` is its index.
static bool find_parameter(const Statement &macro, std::string_view name, size_t &at) {
    for (at = 0; at < macro.parameters.size(); ++at)
        if (macro.parameters[at].name == name) return true;
    return false;
}

Value Renderer::call_macro(const Callable &macro, Call &call) {
    const Statement &s = *macro.macro;
    size_t count = s.parameters.size();
    std::vector<Value> values(count), more;
    std::vector<bool> given(count, false);
    for (size_t i = 0; i < call.args.size(); ++i) {
        if (i < count) {
            values[i] = call.args[i];
            given[i] = true;
        } else {
            more.push_back(call.args[i]);
        }
    }
    if (!more.empty() && !s.uses_varargs)
        fail_template(el::format("macro '{}' takes not more than {} argument(s)", macro.name, count));
    auto others = make_ref<Dict>();
    Value caller = Value::undefined("no caller is defined");
    for (auto &[name, value] : call.named) {
        size_t at;
        if (find_parameter(s, name, at)) {
            if (given[at]) fail_template(el::format("macro '{}' got two values for '{}'", macro.name, name));
            values[at] = value;
            given[at] = true;
        } else if (name == "caller" && s.uses_caller) {
            caller = value;
        } else if (s.uses_kwargs) {
            others->set(Value(name), value);
        } else {
            fail_template(el::format("macro '{}' takes no keyword argument '{}'", macro.name, name));
        }
    }
    auto scope = make_ref<Scope>(*this, macro.closure);
    if (s.uses_caller) scope->set("caller", caller);
    if (s.uses_varargs) scope->set("varargs", make_list(std::move(more), ListKind::kTuple));
    if (s.uses_kwargs) scope->set("kwargs", Value(others));
    Capture capture(*this);
    InScope in(*this, std::move(scope));
    for (size_t i = 0; i < count; ++i) {
        const Parameter &parameter = s.parameters[i];
        if (!given[i])
            values[i] = parameter.value
                            ? eval(*parameter.value)
                            : Value::undefined(el::format("parameter '{}' was not provided", parameter.name));
        scope_->set(parameter.name, std::move(values[i]));
    }
    exec(s.body);
    return make_string(std::move(capture.text));
}

void Call::bind(std::initializer_list<std::string_view> names, size_t required) {
    if (args.size() > names.size())
        fail_template(el::format("{} takes at most {} argument(s), {} given", name, names.size(), args.size()));
    size_t positional = args.size();
    args.resize(names.size());
    given.assign(names.size(), false);
    std::fill_n(given.begin(), positional, true);
    for (auto &[key, value] : named) {
        size_t at = static_cast<size_t>(std::find(names.begin(), names.end(), key) - names.begin());
        if (at == names.size()) fail_template(el::format("{} has no argument '{}'", name, key));
        if (given[at]) fail_template(el::format("{} got two values for '{}'", name, key));
        args[at] = value;
        given[at] = true;
    }
    for (size_t i = 0; i < required; ++i)
        if (!given[i]) fail_template(el::format("{} needs the argument '{}'", name, names.begin()[i]));
}

int64_t Call::integer(size_t i, int64_t otherwise) const {
    if (!has(i)) return otherwise;
    if (!args[i].is_integer()) fail_template(el::format("{} needs an int, not '{}'", name, type_name(args[i])));
    return args[i].as_int();
}

const std::string &Call::string(size_t i) const {
    if (!args[i].is_string()) fail_template(el::format("{} needs a str, not '{}'", name, type_name(args[i])));
    return args[i].text();
}

}  // namespace el
