// Times as templates show them and as options name them.
#include "text/template_eval.h"
#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

namespace el {

// The number of the week by ISO 8601, whose first has the year's first Thursday, and the year that it is of.
static std::pair<int, int> iso_week(const std::tm &time, int year) {
    auto weeks_of = [](int y) {
        auto ends_on = [](int of) { return (of + of / 4 - of / 100 + of / 400) % 7; };  // the last of December
        return ends_on(y) == 4 || ends_on(y - 1) == 3 ? 53 : 52;
    };
    const int week = (time.tm_yday + 10 - (time.tm_wday + 6) % 7) / 7;
    if (week < 1) return {weeks_of(year - 1), year - 1};
    if (week > weeks_of(year)) return {1, year + 1};
    return {week, year};
}

// In English whatever the locale. Flags after the percent sign are those of glibc: '-' drops what fills a number up,
// '_' fills with spaces and '0' with zeros, '^' makes capitals.
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
        const size_t flags = at + 1, conversion = std::min(format.find_first_not_of("-_0^", flags), format.size() - 1);
        char flag = 0;
        bool capitals = false;
        for (at = flags; at < conversion; ++at) format[at] == '^' ? void(capitals = true) : void(flag = format[at]);
        auto number = [&](int64_t value, int width, char fill = '0') {
            std::string digits = std::to_string(value);
            if (flag == '_' || flag == '0') fill = flag == '_' ? ' ' : '0';
            if (flag != '-' && digits.size() < static_cast<size_t>(width))
                out.append(static_cast<size_t>(width) - digits.size(), fill);
            out += digits;
        };
        auto word = [&](std::string_view letters) {
            for (char c : letters) out += capitals && c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
        };
        auto nested = [&](std::string_view part) { word(format_time(part, time)); };
        switch (format[at]) {
        case 'a':
            word(day.substr(0, 3));
            break;
        case 'A':
            word(day);
            break;
        case 'b':
        case 'h':
            word(month.substr(0, 3));
            break;
        case 'B':
            word(month);
            break;
        case 'C':
            number(year / 100, 2);
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
        case 'g':
            number(iso_week(time, year).second % 100, 2);
            break;
        case 'G':
            number(iso_week(time, year).second, 4);
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
        case 'k':
            number(time.tm_hour, 2, ' ');
            break;
        case 'l':
            number(hour12, 2, ' ');
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
        case 'P':
            out += time.tm_hour < 12 ? "am" : "pm";
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
        case 'V':
            number(iso_week(time, year).first, 2);
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
            out += format.substr(flags - 1, at - flags + 2);
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
