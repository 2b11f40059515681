// Methods of list and dict.
#include "base/status.h"
#include "text/template_eval.h"
#include <algorithm>

namespace el {

namespace {

// --- list ---

std::vector<Value> &changeable(Call &call) {
    if (call.self.list().kind != ListKind::kList) fail_template(el::format("a {} cannot change", type_name(call.self)));
    call.renderer.note_changed(call.self);
    return call.self.list().items;
}

Value list_append(Call &call) {
    call.bind({"object"}, 1);
    call.renderer.meter.build(2 * sizeof(Value));
    changeable(call).push_back(call.args[0]);
    return Value::none();
}
Value list_extend(Call &call) {
    call.bind({"iterable"}, 1);
    std::vector<Value> more = call.renderer.iterate(call.args[0]);
    auto &items = changeable(call);
    items.insert(items.end(), more.begin(), more.end());
    return Value::none();
}
Value list_insert(Call &call) {
    call.bind({"index", "object"}, 2);
    auto &items = changeable(call);
    int64_t size = static_cast<int64_t>(items.size()), at = call.integer(0, 0);
    at = std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
    call.renderer.meter.step(items.size() / 4);
    call.renderer.meter.build(2 * sizeof(Value));
    items.insert(items.begin() + at, call.args[1]);
    return Value::none();
}
Value list_pop(Call &call) {
    call.bind({"index"});
    auto &items = changeable(call);
    int64_t size = static_cast<int64_t>(items.size()), at = call.integer(0, -1);
    if (at < 0) at += size;
    if (at < 0 || at >= size) fail_template(size ? "pop index out of range" : "pop from empty list");
    call.renderer.meter.step(items.size() / 4);
    Value value = items[static_cast<size_t>(at)];
    items.erase(items.begin() + at);
    return value;
}
Value list_reverse(Call &call) {
    call.bind({});
    auto &items = changeable(call);
    call.renderer.meter.step(items.size() / 4);
    std::reverse(items.begin(), items.end());
    return Value::none();
}
Value list_clear(Call &call) {
    call.bind({});
    changeable(call).clear();
    return Value::none();
}
Value list_remove(Call &call) {
    call.bind({"value"}, 1);
    auto &items = changeable(call);
    for (size_t i = 0; i < items.size(); ++i) {
        if (!values_equal(items[i], call.args[0], call.renderer.meter)) continue;
        items.erase(items.begin() + static_cast<std::ptrdiff_t>(i));
        return Value::none();
    }
    fail_template("list.remove: the value is not in the list");
}
Value list_index(Call &call) {
    call.bind({"value"}, 1);
    auto &items = call.self.list().items;
    for (size_t i = 0; i < items.size(); ++i)
        if (values_equal(items[i], call.args[0], call.renderer.meter)) return Value(i);
    fail_template("the value is not in the list");
}
Value list_count(Call &call) {
    call.bind({"value"}, 1);
    int64_t count = 0;
    for (const Value &item : call.self.list().items) count += values_equal(item, call.args[0], call.renderer.meter);
    return Value(count);
}
Value list_copy(Call &call) {
    call.bind({});
    return call.renderer.make_list(call.renderer.iterate(call.self));
}

// --- dict ---

Dict &changeable_dict(Call &call) {
    call.renderer.note_changed(call.self);
    call.renderer.meter.build(4 * sizeof(Value));
    return call.self.dict();
}
void check_key(const Value &key) {
    if (!is_hashable(key)) fail_template(el::format("unhashable type: '{}'", type_name(key)));
}

Value dict_get(Call &call) {
    call.bind({"key", "default"}, 1);
    check_key(call.args[0]);
    const Value *found = call.self.dict().find(call.args[0]);
    return found ? *found : call.has(1) ? call.args[1] : Value::none();
}

template <ListKind kind> Value dict_view(Call &call) {
    call.bind({});
    std::vector<Value> items;
    auto &entries = call.self.dict().entries();
    items.reserve(entries.size());
    call.renderer.meter.step(entries.size() / 4);
    for (auto &[key, value] : entries) {
        if (kind == ListKind::kDictItems)
            items.push_back(call.renderer.make_list({key, value}, ListKind::kTuple));
        else
            items.push_back(kind == ListKind::kDictKeys ? key : value);
    }
    return call.renderer.make_list(std::move(items), kind);
}

void copy_entries(Call &call, Dict &to, const Dict &from) {
    call.renderer.meter.build(from.size() * 4 * sizeof(Value));
    call.renderer.meter.step(from.size());
    for (auto &[key, value] : from.entries()) to.set(key, value);
}
Value dict_copy(Call &call) {
    call.bind({});
    auto copy = make_ref<Dict>();
    copy_entries(call, *copy, call.self.dict());
    return Value(copy);
}
Value dict_update(Call &call) {
    Dict &dict = changeable_dict(call);
    for (const Value &other : call.args) {
        if (!other.is_dict()) fail_template("update needs a dict");
        if (&other.dict() != &dict) copy_entries(call, dict, other.dict());
    }
    for (auto &[key, value] : call.named) dict.set(Value(key), value);
    return Value::none();
}
Value dict_setdefault(Call &call) {
    call.bind({"key", "default"}, 1);
    check_key(call.args[0]);
    if (const Value *found = call.self.dict().find(call.args[0])) return *found;
    Value value = call.has(1) ? call.args[1] : Value::none();
    changeable_dict(call).set(call.args[0], value);
    return value;
}
Value dict_pop(Call &call) {
    call.bind({"key", "default"}, 1);
    check_key(call.args[0]);
    const Value *found = call.self.dict().find(call.args[0]);
    if (!found && !call.has(1)) fail_template("pop: the key is not in the dict");
    if (!found) return call.args[1];
    Value value = *found;
    call.renderer.meter.step(call.self.dict().size());
    changeable_dict(call).remove(call.args[0]);
    return value;
}
Value dict_clear(Call &call) {
    call.bind({});
    changeable_dict(call).clear();
    return Value::none();
}

constexpr NamedFunction kListMethods[] = {
    {"append", list_append}, {"clear", list_clear},     {"copy", list_copy},     {"count", list_count},
    {"extend", list_extend}, {"index", list_index},     {"insert", list_insert}, {"pop", list_pop},
    {"remove", list_remove}, {"reverse", list_reverse},
};

constexpr NamedFunction kDictMethods[] = {
    {"clear", dict_clear},
    {"copy", dict_copy},
    {"get", dict_get},
    {"items", dict_view<ListKind::kDictItems>},
    {"keys", dict_view<ListKind::kDictKeys>},
    {"pop", dict_pop},
    {"setdefault", dict_setdefault},
    {"update", dict_update},
    {"values", dict_view<ListKind::kDictValues>},
};

}  // namespace

Function find_list_method(std::string_view name) { return find_function(kListMethods, name); }
Function find_dict_method(std::string_view name) { return find_function(kDictMethods, name); }

}  // namespace el
