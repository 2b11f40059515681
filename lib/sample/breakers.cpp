#include "sample/breakers.h"
#include "base/status.h"
#include <algorithm>
#include <string>

namespace el {
namespace {

// The tokens of a text that follows other text: without the space that some vocabularies put first. Empty where there
// are none for that.
std::vector<int32_t> tokens_within(const Vocabulary &vocabulary, std::string_view text) {
    std::vector<int32_t> tokens;
    vocabulary.tokenize(text, {}, tokens);
    std::string said;
    for (int32_t token : tokens) said += vocabulary.token_bytes(token);
    if (said == text) return tokens;
    if (tokens.empty() || said.substr(0, 1) != " " || std::string_view(said).substr(1) != text) return {};
    std::string_view first = vocabulary.token_bytes(tokens[0]).substr(1);
    if (first.empty()) {
        tokens.erase(tokens.begin());
    } else {
        tokens[0] = vocabulary.find(first);
        if (tokens[0] < 0) return {};
    }
    return tokens;
}

void add_sequences(const Vocabulary &vocabulary, std::string_view text, std::vector<std::vector<int32_t>> &out) {
    std::vector<std::vector<int32_t>> rests;  // [i]: the tokens of text from byte i
    for (size_t i = 0; i < text.size(); ++i) rests.push_back(tokens_within(vocabulary, text.substr(i)));
    if (rests[0].size() > 1) out.push_back(rests[0]);
    for (int32_t token = 0; token < vocabulary.size(); ++token) {
        std::string_view bytes = vocabulary.token_bytes(token);
        if (bytes.find(text) != bytes.npos) {
            out.push_back({token});
            continue;
        }
        for (size_t i = 1; i < text.size() && i <= bytes.size(); ++i) {
            if (rests[i].empty() || bytes.substr(bytes.size() - i) != text.substr(0, i)) continue;
            out.push_back({token});
            out.back().insert(out.back().end(), rests[i].begin(), rests[i].end());
        }
    }
}

}  // namespace

std::span<const std::string_view> usual_breakers() noexcept {
    static constexpr std::string_view kUsual[] = {"\n", ":", "\"", "*"};
    return kUsual;
}

std::vector<std::vector<int32_t>> breaker_sequences(const Vocabulary &vocabulary,
                                                    std::span<const std::string_view> texts) {
    if (texts.size() > kMaxBreakerTexts)
        fail(Status::kLimitExceeded, "dry_breakers are {} texts; at most {}", texts.size(), kMaxBreakerTexts);
    std::vector<std::vector<int32_t>> sequences;
    for (std::string_view text : texts) {
        if (text.empty()) fail(Status::kInvalidArgument, "dry_breakers: one of the texts is empty");
        if (text.size() > kMaxBreakerBytes)
            fail(Status::kLimitExceeded, "dry_breakers: a text of {} bytes; at most {}", text.size(), kMaxBreakerBytes);
        add_sequences(vocabulary, text, sequences);
    }
    std::sort(sequences.begin(), sequences.end());
    sequences.erase(std::unique(sequences.begin(), sequences.end()), sequences.end());
    return sequences;
}

}  // namespace el
