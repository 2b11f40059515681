// JSON from outside to values, and values to JSON as Python's json.dumps writes it.
#pragma once
#include "text/value.h"
#include <string>
#include <string_view>

namespace el {

// Keeps the order of keys; of equal keys the last value counts. Integers beyond 64 bits become floats. `what` names the
// text in messages ("the messages"). Throws kInvalidText with the byte offset, also for invalid UTF-8 and for more than
// kMaxValueDepth levels. The values are frozen: a template may read but not change them.
Value parse_json(std::string_view text, std::string_view what = "the JSON text");

struct JsonStyle {
    bool lines = false;  // each item on a line of its own, behind `indent` for each level
    std::string indent;
    std::string item_separator = ", ";
    std::string key_separator = ": ";
    bool ascii = false;  // \uXXXX for everything else
    bool sort_keys = false;
};

// Throws kTemplateFailed for values that JSON cannot hold (undefined ones, functions, generators).
void append_json(std::string &out, const Value &value, const JsonStyle &style, Meter &meter);

}  // namespace el
