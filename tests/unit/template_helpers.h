// Rendering templates with some variables, and what becomes of bad ones.
#pragma once
#include "base/status.h"
#include "text/json.h"
#include "text/template.h"
#include <doctest/doctest.h>
#include <string>

namespace el {

inline constexpr const char *kVariables =
    R"({"name": "Ada", "n": 5, "f": 2.5, "nothing": null, "words": ["pear", "Fig", "apple"],
        "user": {"name": "Bo", "items": "own", "age": 7, "tags": ["x", "y"]},
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " hi "},
                     {"role": "assistant", "content": null}],
        "text": "naïve ß 日本"})";

inline std::string render(std::string_view source, const TemplateLimits &limits = {}) {
    RenderOptions options{parse_iso_time("2025-07-26T12:00:00"), limits};
    return Template::parse(source, limits).render(parse_json(kVariables), options);
}

inline void check(std::string_view source, std::string_view expected) {
    CAPTURE(source);
    try {
        CHECK(render(source) == expected);
    } catch (const Error &error) {
        FAIL_CHECK(error.what());
    }
}

// The status and message of what `run` throws.
template <typename Run> std::string failure(Status expected, Run run) {
    try {
        run();
    } catch (const Error &error) {
        CHECK(static_cast<int>(error.status()) == static_cast<int>(expected));
        return error.what();
    }
    return "nothing failed";
}

inline void check_failure(std::string_view source, std::string_view message) {
    CAPTURE(source);
    CHECK(failure(Status::kTemplateFailed, [&] { render(source); }) == message);
}

inline void check_limit(std::string_view source, const TemplateLimits &limits, std::string_view part) {
    CAPTURE(source.substr(0, 200));
    std::string message = failure(Status::kLimitExceeded, [&] { render(source, limits); });
    CAPTURE(message);
    CHECK(message.find(part) != std::string::npos);
}

}  // namespace el
