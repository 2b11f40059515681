// A value of a chat template: Python's None, bool, int, float, str, list, tuple, dict and what templates add to them.
// Values share their objects by reference counting, so copying one is cheap and never fails.
#pragma once
#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace el {

enum class ValueType : uint8_t { kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kDict, kObject };

// What a list is to Python: they differ in printing, equality, truth and in what may be asked of them.
enum class ListKind : uint8_t { kList, kTuple, kRange, kDictKeys, kDictValues, kDictItems, kGenerator };

// Base of everything that is shared. A chain of a million nested lists is freed without recursion.
class Object {
  public:
    virtual ~Object() = default;
    void retain() noexcept { count_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept;

  private:
    std::atomic<uint32_t> count_{0};
    Object *next_dying_ = nullptr;
};

template <typename T> class Ref {
  public:
    Ref() = default;
    explicit Ref(T *object) noexcept : object_(object) {
        if (object_) object_->retain();
    }
    Ref(const Ref &other) noexcept : Ref(other.object_) {}
    Ref(Ref &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Ref &operator=(Ref other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }
    ~Ref() {
        if (object_) object_->release();
    }
    T *get() const { return object_; }
    T *operator->() const { return object_; }
    T &operator*() const { return *object_; }
    explicit operator bool() const { return object_ != nullptr; }

  private:
    T *object_ = nullptr;
};

template <typename T, typename... Args> Ref<T> make_ref(Args &&...args) {
    return Ref<T>(new T(std::forward<Args>(args)...));
}

class String;
class List;
class Dict;

class Value {
  public:
    Value() = default;  // undefined
    Value(bool value) : type_(ValueType::kBool), int_(value) {}
    Value(int64_t value) : type_(ValueType::kInt), int_(value) {}
    Value(int value) : Value(int64_t{value}) {}
    Value(size_t value) : Value(static_cast<int64_t>(value)) {}
    Value(double value) : type_(ValueType::kFloat), float_(value) {}
    Value(std::string text);
    Value(std::string_view text) : Value(std::string(text)) {}
    Value(const char *text) : Value(std::string(text)) {}
    template <typename T> Value(Ref<T> object) : Value(T::kType, object.get()) {}
    static Value none() {
        Value value;
        value.type_ = ValueType::kNone;
        return value;
    }
    // An undefined value; `hint` is the sentence an error says when it is used.
    static Value undefined(std::string hint);

    Value(const Value &other) noexcept : type_(other.type_) {
        copy_payload(other);
        if (has_object()) object_->retain();
    }
    Value(Value &&other) noexcept : type_(other.type_) {
        copy_payload(other);
        other.type_ = ValueType::kNone;
    }
    Value &operator=(Value other) noexcept {
        std::swap(type_, other.type_);
        std::swap(bits_, other.bits_);
        return *this;
    }
    ~Value() {
        if (has_object()) object_->release();
    }

    ValueType type() const { return type_; }
    bool is(ValueType type) const { return type_ == type; }
    bool is_undefined() const { return type_ == ValueType::kUndefined; }
    bool is_none() const { return type_ == ValueType::kNone; }
    bool is_string() const { return type_ == ValueType::kString; }
    bool is_list() const { return type_ == ValueType::kList; }
    bool is_dict() const { return type_ == ValueType::kDict; }
    bool is_bool() const { return type_ == ValueType::kBool; }
    bool is_integer() const {
        return type_ == ValueType::kInt || type_ == ValueType::kBool;
    }  // bool is an int in Python
    bool is_number() const { return is_integer() || type_ == ValueType::kFloat; }

    int64_t as_int() const { return int_; }  // of an int or bool
    double as_float() const { return type_ == ValueType::kFloat ? float_ : static_cast<double>(int_); }
    const std::string &text() const;  // of a string
    bool is_markup() const;           // a string that the `safe` filter or an escape has marked
    List &list() const;
    Dict &dict() const;
    Object *object() const { return has_object() ? object_ : nullptr; }
    template <typename T> T *as() const { return type_ == ValueType::kObject ? dynamic_cast<T *>(object_) : nullptr; }
    std::string_view hint() const;  // of an undefined value

  private:
    Value(ValueType type, Object *object) : type_(type), object_(object) { object_->retain(); }
    bool has_object() const { return type_ >= ValueType::kString || (is_undefined() && object_); }
    void copy_payload(const Value &other) noexcept { bits_ = other.bits_; }

    ValueType type_ = ValueType::kUndefined;
    union {
        uint64_t bits_ = 0;
        int64_t int_;
        double float_;
        Object *object_;
    };
};
static_assert(sizeof(Object *) <= sizeof(uint64_t));

class String : public Object {
  public:
    static constexpr ValueType kType = ValueType::kString;
    explicit String(std::string value, bool is_markup = false) : text(std::move(value)), markup(is_markup) {}
    const std::string text;  // UTF-8
    const bool markup;
};

class List : public Object {
  public:
    static constexpr ValueType kType = ValueType::kList;
    explicit List(std::vector<Value> values = {}, ListKind list_kind = ListKind::kList)
        : items(std::move(values)), kind(list_kind) {}
    std::vector<Value> items;
    ListKind kind;
    bool frozen = false;  // came from outside the template, which may not change it
};

// A dict in insertion order. Small ones are searched, larger ones have an index whose cost does not depend on luck.
class Dict : public Object {
  public:
    static constexpr ValueType kType = ValueType::kDict;
    using Entry = std::pair<Value, Value>;
    const std::vector<Entry> &entries() const { return entries_; }
    size_t size() const { return entries_.size(); }
    const Value *find(const Value &key) const;
    const Value *find(std::string_view key) const;
    const Value *find(const char *key) const { return find(std::string_view(key)); }
    void set(Value key, Value value);  // keeps the place of a key that is there
    bool remove(const Value &key);
    void clear();
    bool frozen = false;

  private:
    struct Less {
        bool operator()(const Value &a, const Value &b) const;
    };
    static constexpr size_t kIndexFrom = 12;
    size_t position(const Value &key) const;
    void build_index();
    std::vector<Entry> entries_;
    std::map<Value, size_t, Less> index_;  // empty below kIndexFrom entries
};

// What untrusted work may still use. Steps count evaluations and, by the cache line, bytes looked at; bytes count
// everything a template builds, freed or not.
class Meter {
  public:
    Meter(uint64_t steps, uint64_t bytes) : steps_left_(steps), bytes_left_(bytes) {}
    void step(uint64_t count = 1) {
        if (count > steps_left_) fail_steps();
        steps_left_ -= count;
    }
    void look(size_t bytes) { step(1 + bytes / 64); }
    void build(uint64_t bytes) {
        if (bytes > bytes_left_) fail_bytes();
        bytes_left_ -= bytes;
    }
    [[noreturn]] static void fail_depth();

  private:
    [[noreturn]] static void fail_steps();
    [[noreturn]] static void fail_bytes();
    uint64_t steps_left_, bytes_left_;
};

constexpr int kMaxValueDepth = 150;  // of nested values that are compared, printed or read from JSON

// Python's view of a value. Errors are kTemplateFailed without a place, and kLimitExceeded.
bool is_truthy(const Value &value);
bool values_equal(const Value &a, const Value &b, Meter &meter, int depth = 0);
int compare_values(const Value &a, const Value &b, Meter &meter, int depth = 0);  // <0, 0, >0
const char *type_name(const Value &value);                                        // "str", "NoneType" ...
bool is_hashable(const Value &value);
std::string float_text(double value);                                                 // repr(float)
void append_text(std::string &out, const Value &value, Meter &meter);                 // str(value)
void append_repr(std::string &out, const Value &value, Meter &meter, int depth = 0);  // repr(value)

}  // namespace el
