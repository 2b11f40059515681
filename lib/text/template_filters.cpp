// The filters that work on sequences: ordering, choosing, mapping.
#include "base/status.h"
#include "text/template_eval.h"
#include "text/template_text.h"
#include <algorithm>
#include <charconv>

namespace el {

namespace {

Value generator(Call &call, std::vector<Value> items) {
    return call.renderer.make_list(std::move(items), ListKind::kGenerator);
}

// --- attributes of items ---

// "user.name", "0" or a number; `otherwise` stands for what is undefined on the way.
Value get_attribute(Renderer &renderer, Value item, const Value &path, const Value *otherwise = nullptr) {
    auto step = [&](const Value &key) {
        item = renderer.subscript(item, key);
        if (otherwise && item.is_undefined()) item = *otherwise;
    };
    if (!path.is_string()) {
        step(path);
        return item;
    }
    std::string_view rest = path.text();
    for (;;) {
        size_t dot = std::min(rest.find('.'), rest.size());
        std::string_view part = rest.substr(0, dot);
        int64_t index = 0;
        auto end = std::from_chars(part.data(), part.data() + part.size(), index);
        bool number = !part.empty() && is_digit(static_cast<uint8_t>(part[0])) && end.ec == std::errc() &&
                      end.ptr == part.data() + part.size();
        step(number ? Value(index) : Value(part));
        if (dot == rest.size()) return item;
        rest.remove_prefix(dot + 1);
    }
}

// What items are ordered or grouped by: themselves, an attribute, or several attributes with commas between them.
class Key {
  public:
    Key(Call &call, const Value *attribute, bool case_sensitive) : call_(call), case_sensitive_(case_sensitive) {
        if (!attribute || attribute->is_none() || attribute->is_undefined()) return;
        if (!attribute->is_string()) {
            paths_.push_back(*attribute);
            return;
        }
        std::string_view text = attribute->text();
        for (size_t comma; (comma = text.find(',')) != std::string_view::npos; text.remove_prefix(comma + 1))
            paths_.push_back(Value(text.substr(0, comma)));
        paths_.push_back(Value(text));
    }

    Value of(const Value &item, const Value *otherwise = nullptr) const {
        if (paths_.empty()) return fold(item);
        std::vector<Value> keys;
        for (const Value &path : paths_) {
            keys.push_back(fold(get_attribute(call_.renderer, item, path, otherwise)));
        }
        return keys.size() == 1 ? keys[0] : call_.renderer.make_list(std::move(keys), ListKind::kTuple);
    }

  private:
    Value fold(const Value &value) const {
        if (case_sensitive_ || !value.is_string()) return value;
        return call_.renderer.make_string(lower_text(value.text()));
    }
    Call &call_;
    bool case_sensitive_;
    std::vector<Value> paths_;
};

using Keyed = std::pair<Value, Value>;  // key, item

// With `equal_first` keys that are equal need no order, such as several None.
void sort_keyed(Call &call, std::vector<Keyed> &keyed, bool reverse, bool equal_first) {
    std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed &a, const Keyed &b) {
        if (equal_first && values_equal(a.first, b.first, call.renderer.meter)) return false;
        int order = compare_values(a.first, b.first, call.renderer.meter);
        if (order == 2 && a.first.is_number()) return false;
        return reverse ? order > 0 : order < 0;
    });
}

Value sort(Call &call) {
    call.bind({"reverse", "case_sensitive", "attribute"});
    Key key(call, call.has(2) ? &call.args[2] : nullptr, call.flag(1, false));
    std::vector<Keyed> keyed;
    for (Value &item : call.renderer.iterate(call.self)) keyed.emplace_back(key.of(item), item);
    sort_keyed(call, keyed, call.flag(0, false), true);
    std::vector<Value> items;
    for (Keyed &entry : keyed) items.push_back(std::move(entry.second));
    return call.renderer.make_list(std::move(items));
}

Value dictsort(Call &call) {
    call.bind({"case_sensitive", "by", "reverse"});
    std::string by = call.string(1, "key");
    if (by != "key" && by != "value") fail_template("dictsort: 'by' is \"key\" or \"value\"");
    if (call.self.is_undefined()) fail_template(call.self.hint());
    if (!call.self.is_dict()) fail_template("dictsort needs a dict");
    Key key(call, nullptr, call.flag(0, false));
    std::vector<Keyed> keyed;
    for (auto &[name, value] : call.self.dict().entries())
        keyed.emplace_back(key.of(by == "key" ? name : value),
                           call.renderer.make_list({name, value}, ListKind::kTuple));
    sort_keyed(call, keyed, call.flag(2, false), false);
    std::vector<Value> items;
    for (Keyed &entry : keyed) items.push_back(std::move(entry.second));
    return call.renderer.make_list(std::move(items));
}

Value groupby(Call &call) {
    call.bind({"attribute", "default", "case_sensitive"}, 1);
    Key key(call, &call.args[0], call.flag(2, false)), exact(call, &call.args[0], true);
    const Value *otherwise = call.has(1) && !call.args[1].is_none() ? &call.args[1] : nullptr;
    std::vector<Keyed> keyed;
    for (Value &item : call.renderer.iterate(call.self)) keyed.emplace_back(key.of(item, otherwise), item);
    sort_keyed(call, keyed, false, false);
    std::vector<Value> groups, items;
    for (size_t i = 0; i < keyed.size(); ++i) {
        items.push_back(keyed[i].second);
        if (i + 1 < keyed.size() && values_equal(keyed[i].first, keyed[i + 1].first, call.renderer.meter)) continue;
        Value name = exact.of(items[0], otherwise);
        groups.push_back(
            call.renderer.make_list({name, call.renderer.make_list(std::exchange(items, {}))}, ListKind::kTuple));
    }
    return call.renderer.make_list(std::move(groups));
}

Value unique(Call &call) {
    call.bind({"case_sensitive", "attribute"});
    Key key(call, call.has(1) ? &call.args[1] : nullptr, call.flag(0, false));
    Dict seen;
    std::vector<Value> items;
    for (Value &item : call.renderer.iterate(call.self)) {
        Value id = key.of(item);
        if (!is_hashable(id)) fail_template(el::format("unhashable type: '{}'", type_name(id)));
        if (seen.find(id)) continue;
        seen.set(id, Value(true));
        items.push_back(std::move(item));
    }
    return generator(call, std::move(items));
}

template <int wanted> Value extreme(Call &call) {
    call.bind({"case_sensitive", "attribute"});
    Key key(call, call.has(1) ? &call.args[1] : nullptr, call.flag(0, false));
    std::vector<Value> items = call.renderer.iterate(call.self);
    if (items.empty()) return Value::undefined("the sequence is empty");
    Value best = items[0], best_key = key.of(items[0]);
    for (size_t i = 1; i < items.size(); ++i) {
        Value next = key.of(items[i]);
        int order = compare_values(next, best_key, call.renderer.meter);
        if ((order == 2 && next.is_number()) || order * wanted <= 0) continue;
        best = items[i];
        best_key = std::move(next);
    }
    return best;
}

// --- map, select ---

// A filter or test that was given by name, with its arguments, to apply to each item.
class Applied {
  public:
    Applied(Call &call, size_t first) : call_(call) {
        if (first >= call.args.size()) return;
        if (!call.args[first].is_string()) fail_template("the name of a filter or test must be a str");
        name_ = call.args[first].text();
        args_.assign(call.args.begin() + static_cast<std::ptrdiff_t>(first) + 1, call.args.end());
    }
    bool test(const Value &item) {
        if (name_.empty()) return is_truthy(item);
        Call inner{call_.renderer, name_, item, args_, call_.named};
        return call_.renderer.apply_test(name_, inner);
    }
    Value filter(const Value &item) {
        Call inner{call_.renderer, name_, item, args_, call_.named};
        return call_.renderer.apply_filter(name_, inner);
    }

  private:
    Call &call_;
    std::string name_;
    std::vector<Value> args_;
};

// What map and the select filters go over: they take whatever is false for empty.
std::vector<Value> items_or_none(Call &call) {
    return is_truthy(call.self) ? call.renderer.iterate(call.self) : std::vector<Value>();
}

Value map(Call &call) {
    std::vector<Value> items = items_or_none(call);
    if (!call.args.empty()) {
        Applied filter(call, 0);
        for (Value &item : items) item = filter.filter(item);
        return generator(call, std::move(items));
    }
    call.bind({"attribute", "default"}, 1);
    for (Value &item : items)
        item = get_attribute(call.renderer, item, call.args[0], call.has(1) ? &call.args[1] : nullptr);
    return generator(call, std::move(items));
}

template <bool wanted, bool of_attribute> Value select(Call &call) {
    if (of_attribute && call.args.empty()) fail_template(el::format("{} needs the name of an attribute", call.name));
    Applied test(call, of_attribute ? 1 : 0);
    std::vector<Value> items;
    for (Value &item : items_or_none(call)) {
        call.renderer.meter.step();
        if (test.test(of_attribute ? get_attribute(call.renderer, item, call.args[0]) : item) == wanted)
            items.push_back(std::move(item));
    }
    return generator(call, std::move(items));
}

// --- sequences ---

Value join(Call &call) {
    call.bind({"d", "attribute"});
    std::string separator = call.has(0) ? call.renderer.text(call.args[0]) : "", out;
    bool first = true;
    for (Value &item : call.renderer.iterate(call.self)) {
        call.renderer.meter.build(separator.size());
        if (!std::exchange(first, false)) out += separator;
        bool by_attribute = call.has(1) && !call.args[1].is_none();
        append_text(out, by_attribute ? get_attribute(call.renderer, item, call.args[1]) : item, call.renderer.meter);
    }
    return call.renderer.make_string(std::move(out));
}

Value list(Call &call) {
    call.bind({});
    return call.renderer.make_list(call.renderer.iterate(call.self));
}

template <bool last> Value first_or_last(Call &call) {
    call.bind({});
    if (call.self.is_list() && call.self.list().kind != ListKind::kGenerator) {  // without a copy
        auto &items = call.self.list().items;
        if (!items.empty()) return last ? items.back() : items.front();
    }
    std::vector<Value> items = call.renderer.iterate(call.self);
    if (items.empty()) return Value::undefined(el::format("there is no {} item, the sequence is empty", call.name));
    return last ? items.back() : items.front();
}

// A prompt depends on its variables alone, so always the first.
Value random(Call &call) {
    call.bind({});
    if (call.self.is_dict()) fail_template("random needs a sequence");
    std::vector<Value> items = call.renderer.iterate(call.self);
    return items.empty() ? Value::undefined("there is no random item, the sequence is empty") : items.front();
}

Value reverse(Call &call) {
    call.bind({});
    std::vector<Value> items = call.renderer.iterate(call.self);
    std::reverse(items.begin(), items.end());
    if (!call.self.is_string()) return generator(call, std::move(items));
    std::string out;
    for (const Value &item : items) out += item.text();
    return call.renderer.make_string(std::move(out), call.self.is_markup());
}

Value items(Call &call) {
    call.bind({});
    if (call.self.is_undefined()) return generator(call, {});
    if (!call.self.is_dict()) fail_template("items needs a mapping");
    std::vector<Value> pairs;
    for (auto &[key, value] : call.self.dict().entries())
        pairs.push_back(call.renderer.make_list({key, value}, ListKind::kTuple));
    return generator(call, std::move(pairs));
}

Value batch(Call &call) {
    call.bind({"linecount", "fill_with"}, 1);
    int64_t size = call.integer(0, 1);
    if (size < 1) fail_template("batch needs a positive number");
    std::vector<Value> batches, row;
    for (Value &item : call.renderer.iterate(call.self)) {
        row.push_back(std::move(item));
        if (static_cast<int64_t>(row.size()) == size)
            batches.push_back(call.renderer.make_list(std::exchange(row, {})));
    }
    if (!row.empty()) {
        if (call.has(1) && !call.args[1].is_none()) {
            call.renderer.meter.build(static_cast<uint64_t>(size) * sizeof(Value));
            row.resize(static_cast<size_t>(size), call.args[1]);
        }
        batches.push_back(call.renderer.make_list(std::move(row)));
    }
    return generator(call, std::move(batches));
}

Value slice(Call &call) {
    call.bind({"slices", "fill_with"}, 1);
    int64_t count = call.integer(0, 1);
    if (count < 1 || count > 1'000'000) fail_template("slice needs a positive number");
    std::vector<Value> items = call.renderer.iterate(call.self), slices;
    size_t slots = static_cast<size_t>(count), each = items.size() / slots, longer = items.size() % slots;
    for (size_t i = 0, at = 0; i < slots; ++i) {
        size_t size = each + (i < longer);
        std::vector<Value> part(items.begin() + static_cast<std::ptrdiff_t>(at),
                                items.begin() + static_cast<std::ptrdiff_t>(at + size));
        if (call.has(1) && !call.args[1].is_none() && i >= longer) part.push_back(call.args[1]);
        slices.push_back(call.renderer.make_list(std::move(part)));
        at += size;
    }
    return generator(call, std::move(slices));
}

Value sum(Call &call) {
    call.bind({"attribute", "start"});
    Value total = call.has(1) ? call.args[1] : Value(0);
    bool by_attribute = call.has(0) && !call.args[0].is_none();
    for (Value &item : call.renderer.iterate(call.self))
        total = apply_operator(Operator::kAdd, total,
                               by_attribute ? get_attribute(call.renderer, item, call.args[0]) : item, call.renderer);
    return total;
}

constexpr NamedFunction kSequenceFilters[] = {
    {"batch", batch},
    {"dictsort", dictsort},
    {"first", first_or_last<false>},
    {"groupby", groupby},
    {"items", items},
    {"join", join},
    {"last", first_or_last<true>},
    {"list", list},
    {"map", map},
    {"max", extreme<1>},
    {"min", extreme<-1>},
    {"random", random},
    {"reject", select<false, false>},
    {"rejectattr", select<false, true>},
    {"reverse", reverse},
    {"select", select<true, false>},
    {"selectattr", select<true, true>},
    {"slice", slice},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
};

}  // namespace

Function find_filter(std::string_view name) {
    if (Function found = find_function(kSequenceFilters, name)) return found;
    if (Function found = find_value_filter(name)) return found;
    return find_markup_filter(name);
}

}  // namespace el
