// Times as templates show them and as options name them.
#include "text/template_eval.h"
#include <algorithm>
#include <charconv>

namespace el {

// In English whatever the locale. '-' after the percent sign drops leading zeros.
std::string format_time(std::string_view format, const std::tm &time) {
    static constexpr const char *kDays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                            "Thursday", "Friday", "Saturday"};
    static constexpr const char *kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                                              "July",    "August",   "September", "October", "November", "December"};
    std::string_view day = kDays[std::clamp(time.tm_wday, 0, 6)], month = kMonths[std::clamp(time.tm_mon, 0, 11)];
    int year = std::clamp(time.tm_year, -1900, 8099) + 1900, hour12 = (time.tm_hour + 11) % 12 + 1;
    std::string out;
    for (size_t at = 0; at < format.size(); ++at) {
        if (format[at] != '%' || at + 1 == format.size()) {
            out += format[at];
            continue;
        }
        bool bare = format[at + 1] == '-' && at + 2 < format.size();
        at += bare ? 2 : 1;
        auto number = [&](int value, int width, char fill = '0') {
            std::string digits = std::to_string(value);
            if (!bare && digits.size() < static_cast<size_t>(width))
                out.append(static_cast<size_t>(width) - digits.size(), fill);
            out += digits;
        };
        auto nested = [&](std::string_view part) { out += format_time(part, time); };
        switch (format[at]) {
        case 'a':
            out += day.substr(0, 3);
            break;
        case 'A':
            out += day;
            break;
        case 'b':
        case 'h':
            out += month.substr(0, 3);
            break;
        case 'B':
            out += month;
            break;
        case 'c':
            nested("%a %b %e %H:%M:%S %Y");
            break;
        case 'd':
            number(time.tm_mday, 2);
            break;
        case 'D':
        case 'x':
            nested("%m/%d/%y");
            break;
        case 'e':
            number(time.tm_mday, 2, ' ');
            break;
        case 'f':
            number(0, 6);
            break;
        case 'F':
            nested("%Y-%m-%d");
            break;
        case 'H':
            number(time.tm_hour, 2);
            break;
        case 'I':
            number(hour12, 2);
            break;
        case 'j':
            number(time.tm_yday + 1, 3);
            break;
        case 'm':
            number(time.tm_mon + 1, 2);
            break;
        case 'M':
            number(time.tm_min, 2);
            break;
        case 'n':
            out += '\n';
            break;
        case 'p':
            out += time.tm_hour < 12 ? "AM" : "PM";
            break;
        case 'r':
            nested("%I:%M:%S %p");
            break;
        case 'R':
            nested("%H:%M");
            break;
        case 'S':
            number(time.tm_sec, 2);
            break;
        case 't':
            out += '\t';
            break;
        case 'T':
        case 'X':
            nested("%H:%M:%S");
            break;
        case 'u':
            number((time.tm_wday + 6) % 7 + 1, 1);
            break;
        case 'U':
            number((time.tm_yday + 7 - time.tm_wday) / 7, 2);
            break;
        case 'w':
            number(time.tm_wday, 1);
            break;
        case 'W':
            number((time.tm_yday + 7 - (time.tm_wday + 6) % 7) / 7, 2);
            break;
        case 'y':
            number(year % 100, 2);
            break;
        case 'Y':
            number(year, 4);
            break;
        case 'z':
        case 'Z':
            break;  // the time has no zone
        case '%':
            out += '%';
            break;
        default:
            (out += '%') += format[at];
        }
    }
    return out;
}

std::optional<std::tm> parse_iso_time(std::string_view text) {
    // The fields one after the other with what stands before each; minutes and seconds may be missing.
    static constexpr char kBefore[] = {0, '-', '-', 'T', ':', ':'};
    static constexpr int kSmallest[] = {1, 1, 1, 0, 0, 0}, kLargest[] = {9999, 12, 31, 23, 59, 60};
    int fields[6] = {0, 0, 0, 0, 0, 0};
    size_t at = 0, count = 0;
    for (; count < 6 && at < text.size(); ++count) {
        if (count && text[at] != kBefore[count] && !(count == 3 && text[at] == ' ')) break;
        at += count > 0;
        size_t digits = count ? 2 : 4;
        std::string_view part = text.substr(at, digits);
        auto end = std::from_chars(part.data(), part.data() + part.size(), fields[count]);
        if (part.size() != digits || end.ec != std::errc() || end.ptr != part.data() + digits) return {};
        if (fields[count] < kSmallest[count] || fields[count] > kLargest[count]) return {};
        at += digits;
    }
    if (count < 3 || (at < text.size() && text.substr(at) != "Z")) return {};
    std::tm time{};
    time.tm_year = fields[0] - 1900;
    time.tm_mon = fields[1] - 1;
    time.tm_mday = fields[2];
    time.tm_hour = fields[3];
    time.tm_min = fields[4];
    time.tm_sec = fields[5];
    std::tm check = time;
    timegm(&check);  // the day of the week and of the year
    if (check.tm_mon != time.tm_mon) return {};
    time.tm_wday = check.tm_wday;
    time.tm_yday = check.tm_yday;
    return time;
}

}  // namespace el
