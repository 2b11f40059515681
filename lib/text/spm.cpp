#include "text/spm.h"
#include "base/status.h"
#include <cmath>
#include <unordered_map>

namespace el {
namespace {

constexpr const char *kScoresKey = "tokenizer.ggml.scores";
constexpr size_t kMaxTextBytes = INT32_MAX;

// Orders as the scores do, the other way around: a float's bits, without its sign, order as its absolute value.
uint32_t rank_of(float score) {
    score += 0.0f;  // -0 is 0
    uint32_t bits;
    std::memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

}  // namespace

// Where unused tokens were joined, by token id: bytes of their left part. They take part in merging, but are replaced
// by their parts in the end.
struct SpmModel::Splits {
    std::unordered_map<int32_t, uint32_t> left_bytes;
};

SpmModel::SpmModel(const ModelInput &input) : bytes_(input.bytes), chars_(input) {
    auto scores = input.metadata.get_floats(kScoresKey);  // as many as tokens: TokenTable has looked
    if (!scores) fail(Status::kVocabularyInvalid, "{}: {} is missing", input.metadata.source(), kScoresKey);
    ranks_.reserve(scores->size());
    for (size_t i = 0; i < scores->size(); ++i) {
        float score = (*scores)[i];
        if (std::isnan(score)) {
            fail(Status::kVocabularyInvalid, "{}: {}[{}] is not a number", input.metadata.source(), kScoresKey, i);
        }
        ranks_.push_back(rank_of(score));
        TokenKind kind = input.table.kinds[i];
        if (kind == TokenKind::kUnused && unused_.empty()) unused_.resize(scores->size());
        if (kind == TokenKind::kUnused) unused_[i] = true;
        if (kind != TokenKind::kControl)
            max_token_bytes_ = std::max(max_token_bytes_, bytes_[static_cast<int32_t>(i)].size());
    }
    add_space_prefix_ = input.metadata.get_bool("tokenizer.ggml.add_space_prefix").value_or(true);
    remove_extra_spaces_ = input.metadata.get_bool("tokenizer.ggml.remove_extra_whitespaces").value_or(false);
}

// The text as it is merged. Spaces are written as such in `bytes_`, so what files write for them becomes one, too.
std::string SpmModel::normalize(std::string_view text) const {
    std::string out;
    char_level_decode(text, out);
    if (remove_extra_spaces_) {
        size_t kept = 0;
        for (char c : out) {
            if (c != ' ' || (kept > 0 && out[kept - 1] != ' ')) out[kept++] = c;
        }
        if (kept > 0 && out[kept - 1] == ' ') --kept;
        out.resize(kept);
    }
    if (add_space_prefix_ && !out.empty()) out.insert(out.begin(), ' ');
    return out;
}

void SpmModel::encode(std::string_view raw, std::vector<int32_t> &out) const {
    if (raw.size() >= kMaxTextBytes) {
        fail(Status::kLimitExceeded, "the text to tokenize has {} bytes; at most {} are possible", raw.size(),
             kMaxTextBytes - 1);
    }
    std::string text = normalize(raw);
    Splits splits;
    auto rule = [&](const Unit &left, const Unit &right, std::string_view joined) {
        int32_t id = joined.size() <= max_token_bytes_ ? bytes_.find(joined) : -1;
        if (id < 0) return Merge{};
        if (!unused_.empty() && unused_[static_cast<size_t>(id)]) splits.left_bytes[id] = right.begin - left.begin;
        return Merge{ranks_[static_cast<size_t>(id)], id};
    };
    chars_.encode(text, rule, [&](std::string_view unit, int32_t id) {
        if (id >= 0 && !splits.left_bytes.empty())
            append_parts(unit, splits, out);
        else
            chars_.append(unit, id, out);
    });
}

// Appends the token `text`; where that is unused, its parts, and their parts.
void SpmModel::append_parts(std::string_view text, const Splits &splits, std::vector<int32_t> &out) const {
    std::vector<std::string_view> parts{text};
    while (!parts.empty()) {
        std::string_view part = parts.back();
        parts.pop_back();
        int32_t id = bytes_.find(part);
        auto split = splits.left_bytes.find(id);
        if (id < 0 || split == splits.left_bytes.end()) {
            chars_.append(part, id, out);
            continue;
        }
        parts.push_back(part.substr(split->second));
        parts.push_back(part.substr(0, split->second));
    }
}

}  // namespace el
