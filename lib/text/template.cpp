#include "text/template.h"

#include "text/template_eval.h"
#include <charconv>

namespace el {

Template Template::parse(std::string_view source, const TemplateLimits &limits) {
    auto tree = std::make_shared<TemplateTree>();
    parse_template(*tree, source, limits.max_parse_depth);
    Template result;
    result.tree_ = std::move(tree);
    return result;
}

std::string Template::render(const Value &variables, const RenderOptions &options) const {
    if (!tree_) return {};
    return Renderer(*tree_, variables, options).run();
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
