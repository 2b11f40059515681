// Runs the tree of a template.
#pragma once
#include "text/template.h"
#include "text/template_parser.h"
#include "text/value.h"
#include <initializer_list>

namespace el {

class Renderer;

// An object that may be part of a cycle. All of one rendering are in a list and emptied at its end.
class Tracked : public Object {
  public:
    static constexpr ValueType kType = ValueType::kObject;
    explicit Tracked(Renderer &renderer);
    ~Tracked() override { unlink(); }
    virtual void clear() noexcept = 0;
    void unlink() noexcept;

  private:
    friend class Renderer;
    Tracked **link_ = nullptr;  // what points here
    Tracked *next_ = nullptr;
};

class Scope : public Tracked {
  public:
    Scope(Renderer &renderer, Ref<Scope> outer) : Tracked(renderer), outer_(std::move(outer)) {}
    void clear() noexcept override {
        variables_.clear();
        outer_ = {};
    }
    void set(std::string_view name, Value value);  // the name must outlive the scope
    const Value *find(std::string_view name) const;

  private:
    std::vector<std::pair<std::string_view, Value>> variables_;
    Ref<Scope> outer_;
};

class Namespace : public Tracked {
  public:
    explicit Namespace(Renderer &renderer) : Tracked(renderer), values(make_ref<Dict>()) {}
    void clear() noexcept override { values->clear(); }
    Ref<Dict> values;
};

// The `loop` of a for statement. A filter is asked as late as possible: it may look at what the body has set.
class Loop : public Tracked {
  public:
    Loop(Renderer &renderer, const Statement &for_statement, Ref<Scope> outer_scope)
        : Tracked(renderer), statement(for_statement), outer(std::move(outer_scope)) {}
    void clear() noexcept override {
        items.clear();
        outer = {};
        before = current = after = changed = Value();
    }
    const Statement &statement;
    Ref<Scope> outer;
    std::vector<Value> items;
    size_t next_item = 0;
    bool filtered = false;  // the rest of `items` has passed the filter
    bool has_after = false;
    Value before, current, after, changed;
    int64_t index0 = -1, length = -1, depth0 = 0;
};

// What cycler() makes: next() walks around its items.
class Cycler : public Object {
  public:
    static constexpr ValueType kType = ValueType::kObject;
    explicit Cycler(std::vector<Value> values) : items(std::move(values)) {}
    const std::vector<Value> items;  // not empty
    size_t at = 0;
};
bool cycler_attribute(Cycler &cycler, std::string_view name, Value &out);

// A call of anything: arguments by position and by name.
struct Call {
    Renderer &renderer;
    std::string_view name;  // of the function, for messages
    Value self;             // of a method, or the subject of a filter or test
    std::vector<Value> args = {};
    std::vector<std::pair<std::string, Value>> named = {};
    std::vector<bool> given = {};  // after bind

    // Sorts all arguments into `args` by these names, the first `required` of which must be given.
    void bind(std::initializer_list<std::string_view> names, size_t required = 0);
    bool has(size_t i) const { return given[i]; }
    int64_t integer(size_t i, int64_t otherwise) const;
    bool flag(size_t i, bool otherwise) const { return has(i) ? is_truthy(args[i]) : otherwise; }
    const std::string &string(size_t i) const;
    std::string string(size_t i, std::string_view otherwise) const {
        return has(i) ? string(i) : std::string(otherwise);
    }
};

using Function = Value (*)(Call &);
struct NamedFunction {
    std::string_view name;
    Function function;
};

template <size_t n> Function find_function(const NamedFunction (&table)[n], std::string_view name) {
    for (const NamedFunction &entry : table)
        if (entry.name == name) return entry.function;
    return nullptr;
}

// A function, a bound method, a macro or the caller of a call block.
class Callable : public Object {
  public:
    static constexpr ValueType kType = ValueType::kObject;
    std::string name;
    Function function = nullptr;
    Value self;
    const Statement *macro = nullptr;
    Ref<Scope> closure;
    Value state;  // of a joiner
};

// What the tables hold; NULL for an unknown name.
Function find_filter(std::string_view name);
Function find_value_filter(std::string_view name);   // a part of these
Function find_markup_filter(std::string_view name);  // another one
Function find_test(std::string_view name);
Function find_global(std::string_view name);
Function find_string_method(std::string_view name);
Function find_list_method(std::string_view name);
Function find_dict_method(std::string_view name);

[[noreturn]] void fail_template(std::string_view message);  // kTemplateFailed; the renderer adds the place

class Renderer {
  public:
    Renderer(const TemplateTree &tree, const Value &variables, const RenderOptions &options);
    ~Renderer();
    std::string run();

    // For filters, tests and methods.
    Meter meter;
    const std::tm now;
    Value call(const Value &callee, Call &call);
    Value attribute(const Value &object, std::string_view name);
    Value subscript(const Value &object, const Value &key);
    Value apply_filter(std::string_view name, Call &call);
    bool apply_test(std::string_view name, Call &call);
    std::vector<Value> iterate(const Value &value);  // copies; empties a generator
    std::string text(const Value &value) {
        std::string out;
        append_text(out, value, meter);
        return out;
    }
    Value make_string(std::string text, bool markup = false);
    Value make_list(std::vector<Value> items, ListKind kind = ListKind::kList);
    void note_changed(const Value &container);  // a list or dict that the template changes

  private:
    friend class Tracked;
    enum class Flow { kNext, kBreak, kContinue };
    // Counts the nesting of evaluation.
    class Level {
      public:
        explicit Level(Renderer &renderer);
        ~Level() { --renderer_.depth_; }

      private:
        Renderer &renderer_;
    };
    // Sends output into a string while it lives.
    class Capture {
      public:
        explicit Capture(Renderer &renderer) : renderer_(renderer), outer_(std::exchange(renderer.out_, &text)) {}
        ~Capture() { renderer_.out_ = outer_; }
        std::string text;

      private:
        Renderer &renderer_;
        std::string *outer_;
    };
    // Makes a scope the current one while it lives.
    class InScope {
      public:
        InScope(Renderer &renderer, Ref<Scope> scope)
            : renderer_(renderer), outer_(std::exchange(renderer.scope_, std::move(scope))) {}
        ~InScope() { renderer_.scope_ = std::move(outer_); }

      private:
        Renderer &renderer_;
        Ref<Scope> outer_;
    };

    Value eval(const Expression &e);
    Value eval_name(const Expression &e);
    Value eval_dict(const Expression &e);
    Value eval_slice(const Value &object, const Expression &slice);
    Value eval_call(const Expression &e, const Value *caller = nullptr);
    Value eval_filter(const Expression &e, const Value *subject = nullptr);
    bool eval_test(const Expression &e);
    Value eval_binary(const Expression &e);
    bool eval_compare(const Expression &e);
    Value eval_concat(const Expression &e);
    std::vector<Value> eval_items(const Expression &e);
    void eval_arguments(const Arguments &arguments, Call &call);

    Flow exec(const Block &block);
    Flow exec(const Statement &s);
    Flow exec_if(const Statement &s);
    Flow exec_for(const Statement &s, const Value &iterable, Ref<Scope> outer, int64_t depth0);
    void exec_set_block(const Statement &s, Flow &flow);
    void exec_call(const Statement &s);
    void assign(const Target &target, const Value &value);
    void emit(std::string_view text);

    Value make_macro(const Statement &s, std::string_view name);
    Value call_macro(const Callable &macro, Call &call);
    bool loop_attribute(Loop &loop, std::string_view name, Value &out);
    bool loop_fetch(Loop &loop, Value &item);
    bool loop_peek(Loop &loop);
    bool loop_advance(Loop &loop);
    int64_t loop_length(Loop &loop);

    const TemplateTree &tree_;
    const Value &variables_;
    const TemplateLimits limits_;
    Tracked *tracked_ = nullptr;
    std::vector<Value> changed_;
    Ref<Scope> scope_;
    std::string *out_ = nullptr;
    uint32_t offset_ = 0;  // of what runs, for messages
    uint32_t depth_ = 0;
};

// Python's operators; results are charged to the meter.
Value apply_operator(Operator op, const Value &a, const Value &b, Renderer &renderer);
bool apply_comparison(Operator op, const Value &a, const Value &b, Renderer &renderer);
bool contains(const Value &container, const Value &item, Renderer &renderer);
Value negate(const Value &value);
Value slice_value(const Value &object, const Value parts[3], Renderer &renderer);  // undefined or None parts are absent

// "%s %d" % values, and str.format with its format specifications.
std::string format_percent(std::string_view format, const Value &values, Renderer &renderer);
std::string format_braces(std::string_view format, const Call &call, Renderer &renderer);
std::string format_time(std::string_view format, const std::tm &time);
std::string escape_html(std::string_view text);

}  // namespace el
