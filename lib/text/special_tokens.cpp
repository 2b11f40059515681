#include "text/special_tokens.h"
#include <algorithm>

namespace el {

SpecialTokens::SpecialTokens(const TokenBytes &bytes, std::vector<int32_t> ids) {
    items_.reserve(ids.size());
    for (int32_t id : ids) {
        if (!bytes[id].empty()) items_.push_back({bytes[id], id});
    }
    std::sort(items_.begin(), items_.end(), [](const Item &a, const Item &b) { return a.text < b.text; });
    for (const Item &item : items_) ++first_[static_cast<uint8_t>(item.text[0]) + 1u];
    for (size_t b = 0; b < 256; ++b) first_[b + 1] += first_[b];
}

SpecialTokens::Match SpecialTokens::longest_at(std::string_view text, size_t at) const {
    auto byte = static_cast<uint8_t>(text[at]);
    size_t low = first_[byte], high = first_[byte + 1u];  // the items that agree with the text so far
    Match best;
    for (size_t depth = 1; low < high && depth <= kMaxBytes; ++depth) {
        while (low < high && items_[low].text.size() == depth) {  // the shortest sorts first
            best = {at, at + depth, items_[low].id};
            ++low;
        }
        if (at + depth == text.size()) break;
        auto next = static_cast<uint8_t>(text[at + depth]);
        auto key = [depth](const Item &item) { return static_cast<uint8_t>(item.text[depth]); };
        auto begin = items_.begin() + static_cast<ptrdiff_t>(low), end = items_.begin() + static_cast<ptrdiff_t>(high);
        begin = std::partition_point(begin, end, [&](const Item &item) { return key(item) < next; });
        end = std::partition_point(begin, end, [&](const Item &item) { return key(item) == next; });
        low = static_cast<size_t>(begin - items_.begin()), high = static_cast<size_t>(end - items_.begin());
    }
    return best;
}

SpecialTokens::Match SpecialTokens::next(std::string_view text, size_t from) const {
    for (size_t at = items_.empty() ? text.size() : from; at < text.size(); ++at) {
        auto byte = static_cast<uint8_t>(text[at]);
        if (first_[byte] == first_[byte + 1u]) continue;
        if (Match match = longest_at(text, at); match.id >= 0) return match;
    }
    return {text.size(), text.size(), -1};
}

int32_t SpecialTokens::find(std::string_view text) const {
    auto at = std::lower_bound(items_.begin(), items_.end(), text,
                               [](const Item &item, std::string_view t) { return item.text < t; });
    return at != items_.end() && at->text == text ? at->id : -1;
}

size_t SpecialTokens::n_overlong() const {
    return static_cast<size_t>(
        std::count_if(items_.begin(), items_.end(), [](const Item &item) { return item.text.size() > kMaxBytes; }));
}

}  // namespace el
