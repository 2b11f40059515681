// Messages to the caller. There is no global logger: whoever may have something to say is handed a Log.
#pragma once
#include "base/format.h"

namespace el {

enum class LogLevel : int { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };

struct Log {
    void (*function)(void *user, int level, const char *text) = nullptr;
    void *user = nullptr;
    LogLevel least = LogLevel::kDebug;  // what is below it is not sent

    template <typename... Args>
    void operator()(LogLevel level, fmt::format_string<Args...> format, Args &&...args) const {
        if (!function || level < least) return;
        char text[512];
        format_into(text, sizeof text, format, fmt::make_format_args(args...));
        function(user, static_cast<int>(level), text);
    }
};

}  // namespace el
