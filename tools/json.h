// JSON that commands print.
#pragma once
#include "output.h"

#include <nlohmann/json.hpp>

namespace tool {

using Json = nlohmann::ordered_json;

// Text that is no UTF-8 is repaired with U+FFFD.
inline std::string json_text(const Json &json, int indent = -1) {
    return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

inline void put_json(const Json &json) { put(json_text(json, 2) + "\n"); }

}  // namespace tool
