// Chat templates: the part of Jinja that they use, with Python's semantics. Templates come with models and are not
// trusted: nothing they do reaches outside of the values given to them, and every kind of work is bounded.
#pragma once
#include "text/value.h"
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace el {

struct TemplateLimits {
    uint64_t max_steps = 20'000'000;  // evaluated nodes, and bytes looked at by the cache line
    uint64_t max_output_bytes = uint64_t{64} << 20;
    uint64_t max_memory_bytes = uint64_t{1} << 30;  // of everything built while rendering, freed or not
    uint32_t max_parse_depth = 200;                 // of nested tags and expressions
    uint32_t max_call_depth = 800;                  // of nested evaluation; each level takes below 2 KB of stack
};

struct RenderOptions {
    std::optional<std::tm> now;  // what strftime_now shows; the local time if not given
    TemplateLimits limits;
};

struct TemplateTree;

// Immutable, so that threads may share one.
class Template {
  public:
    // Throws kTemplateFailed, naming line and column, or kLimitExceeded.
    static Template parse(std::string_view source, const TemplateLimits &limits = {});

    // `variables` is a dict with string keys. Throws kTemplateFailed with line and column (the text of the template's
    // own raise_exception is part of the message) or kLimitExceeded.
    std::string render(const Value &variables, const RenderOptions &options = {}) const;

  private:
    std::shared_ptr<const TemplateTree> tree_;
};

// "2025-07-26T12:00:00", or a part of it down to the date; nothing if it is no such time.
std::optional<std::tm> parse_iso_time(std::string_view text);

}  // namespace el
