#include "text/bpe.h"
#include "base/status.h"
#include "base/utf8.h"
#include <algorithm>

namespace el {
namespace {

constexpr const char *kMergesKey = "tokenizer.ggml.merges";

}  // namespace

BpeModel::BpeModel(const ModelInput &input, const PreTokenizerRow &row)
    : bytes_(input.bytes), row_(row), pre_tokenizer_(row) {
    if (row.characters) chars_ = std::make_unique<CharUnits>(input);
    size_t missing = 0;
    for (size_t b = 0; b < byte_tokens_.size(); ++b) {
        char byte = static_cast<char>(b);
        byte_tokens_[b] = bytes_.find({&byte, 1});
        missing += byte_tokens_[b] < 0;
    }
    if (missing > 0) input.log(LogLevel::kDebug, "{}: {} of 256 bytes have no token", input.metadata.source(), missing);
    read_merges(input);
}

// A line of the list of merges. They are looked up in blocks, as waiting for memory is what takes long: first that of a
// whole block is asked for.
struct BpeModel::Line {
    static constexpr size_t kBlock = 32;
    std::string_view left, right;
    uint64_t left_hash, right_hash;
    int32_t left_id, right_id, merged_id;
};

void BpeModel::read_merges(const ModelInput &input) {
    const Metadata &metadata = input.metadata;
    const TextIndex &index = input.table.index;
    auto lines = metadata.get_strings(kMergesKey);
    if (!lines) fail(Status::kVocabularyInvalid, "{}: {} is missing", metadata.source(), kMergesKey);
    if (lines->size() >= kNoMerge) {
        fail(Status::kVocabularyInvalid, "{}: {} has {} elements, too many", metadata.source(), kMergesKey,
             lines->size());
    }
    auto count = static_cast<uint32_t>(lines->size());
    merges_ = MergeTable(count);
    auto next = lines->begin();
    Line block[Line::kBlock];
    int32_t last = 0;  // merged id
    for (uint32_t first = 0; first < count; first += Line::kBlock) {
        uint32_t n = std::min<uint32_t>(Line::kBlock, count - first);
        for (uint32_t i = 0; i < n; ++i, ++next) {
            std::string_view line = *next;
            size_t space = line.find(' ', 1);  // a token may itself begin with one
            if (space == std::string_view::npos || space + 1 == line.size()) {
                fail(Status::kVocabularyInvalid, "{}: {}[{}] is not two tokens with a space between", metadata.source(),
                     kMergesKey, first + i);
            }
            std::string_view left = line.substr(0, space), right = line.substr(space + 1);
            block[i] = {left, right, index.hash(left), index.hash(right), -1, -1, -1};
            index.prefetch(block[i].left_hash);
            index.prefetch(block[i].right_hash);
        }
        for (uint32_t i = 0; i < n; ++i) {
            find_tokens(input, first + i, last, block[i]);
            last = block[i].merged_id;
            merges_.prefetch(block[i].left_id, block[i].right_id);
        }
        for (uint32_t i = 0; i < n; ++i) {
            merges_.insert(block[i].left_id, block[i].right_id, {first + i, block[i].merged_id});
        }
    }
}

// Most lists are in the order of the tokens that they make, so `last`, which the line before has made, is near.
void BpeModel::find_tokens(const ModelInput &input, uint32_t number, int32_t last, Line &line) const {
    const TokenTable &table = input.table;
    auto text_of = [&](int32_t id) { return table.texts[static_cast<size_t>(id)]; };
    line.left_id = table.index.find(line.left, line.left_hash, text_of);
    line.right_id = table.index.find(line.right, line.right_hash, text_of);
    auto is_joined = [&](int32_t id) {
        std::string_view text = text_of(id);
        return text.size() == line.left.size() + line.right.size() && text.substr(0, line.left.size()) == line.left &&
               text.substr(line.left.size()) == line.right;
    };
    if (is_joined(last))
        line.merged_id = last;
    else if (last + 1 < table.size() && is_joined(last + 1))
        line.merged_id = last + 1;
    else
        line.merged_id = table.find(std::string(line.left).append(line.right));
    if (line.left_id < 0 || line.right_id < 0 || line.merged_id < 0) {
        fail(Status::kVocabularyInvalid, "{}: {}[{}]: its {} is not a token", input.metadata.source(), kMergesKey,
             number,
             line.left_id < 0    ? "left part"
             : line.right_id < 0 ? "right part"
                                 : "result");
    }
    // Differs only where control or user-defined tokens, whose text is literal, are mixed with others.
    std::string_view whole = bytes_[line.merged_id], head = bytes_[line.left_id], tail = bytes_[line.right_id];
    if (whole.size() != head.size() + tail.size() || whole.substr(0, head.size()) != head ||
        whole.substr(head.size()) != tail) {
        fail(Status::kVocabularyInvalid, "{}: {}[{}]: its result stands for other bytes than its parts",
             input.metadata.source(), kMergesKey, number);
    }
}

void BpeModel::encode(std::string_view text, std::vector<int32_t> &out) const {
    if (text.size() > PreTokenizer::kMaxTextBytes) {
        fail(Status::kLimitExceeded, "the text to tokenize has {} bytes; at most {} are possible", text.size(),
             PreTokenizer::kMaxTextBytes);
    }
    std::string spaced;  // for units of characters, what files write for a space becomes one in the text, too
    if (chars_) {
        char_level_decode(text, spaced);
        text = spaced;
    }
    std::vector<uint32_t> ends;
    pre_tokenizer_.split(text, ends);
    Merger merger;
    size_t start = 0;
    for (uint32_t end : ends) {
        std::string_view piece = text.substr(start, end - start);
        // Line breaks are tokens of their own in vocabularies of characters, however they would merge.
        bool whole = row_.ignore_merges || (chars_ && piece[0] == '\n');
        if (int32_t id = whole ? bytes_.find(piece) : -1; id >= 0)
            out.push_back(id);
        else if (chars_)
            encode_characters(piece, out);
        else
            encode_bytes(piece, merger, out);
        start = end;
    }
}

void BpeModel::encode_bytes(std::string_view piece, Merger &merger, std::vector<int32_t> &out) const {
    merger.units.clear();
    for (size_t i = 0; i < piece.size(); ++i) {
        merger.units.push_back({byte_tokens_[static_cast<uint8_t>(piece[i])], static_cast<uint32_t>(i)});
    }
    merger.run(static_cast<uint32_t>(piece.size()),
               [this](const Unit &left, const Unit &right, uint32_t) { return merges_.find(left.id, right.id); });
    for (const Unit &unit : merger.units) {
        if (unit.id >= 0) out.push_back(unit.id);
    }
}

void BpeModel::encode_characters(std::string_view piece, std::vector<int32_t> &out) const {
    chars_->encode(
        piece,
        [this](const Unit &left, const Unit &right, std::string_view) { return merges_.find(left.id, right.id); },
        [&](std::string_view text, int32_t id) { chars_->append(text, id, out); });
}

}  // namespace el
