// How the step path says what went wrong: a status and a sentence of fixed size, without allocation or exception.
#pragma once
#include "base/status.h"

#include <cstring>

namespace el {

struct Report {
    Status status = Status::kOk;
    char text[Error::kTextBytes] = "";

    template <typename... Args>
    Status set(Status new_status, fmt::format_string<Args...> format, Args &&...args) noexcept {
        status = new_status;
        format_into(text, sizeof text, format, fmt::make_format_args(args...));
        return status;
    }
};

}  // namespace el
