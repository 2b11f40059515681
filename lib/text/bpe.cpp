#include "text/bpe.h"
#include "base/status.h"
#include "base/utf8.h"
#include <algorithm>

namespace el {
namespace {

constexpr const char *kMergesKey = "tokenizer.ggml.merges";
constexpr size_t kShortPiece = 32;  // bytes; up to here a scan for the best pair beats a heap

const PreTokenizerRow &choose_pre_tokenizer(const Metadata &metadata, const Log &log) {
    constexpr const char *key = "tokenizer.ggml.pre";
    auto name = metadata.get_string(key);
    const PreTokenizerRow *row = name ? find_pre_tokenizer(*name) : nullptr;
    if (row) return *row;
    const PreTokenizerRow &fallback = default_pre_tokenizer();
    if (name) {
        log(LogLevel::kWarning,
            "{}: {} is '{}', which is not known; '{}' is used, so tokens may differ from the model's",
            metadata.source(), key, utf8_excerpt(*name), fallback.name);
    } else {
        log(LogLevel::kWarning, "{}: {} is missing; '{}' is used, so tokens may differ from the model's",
            metadata.source(), key, fallback.name);
    }
    return fallback;
}

}  // namespace

// Memory of one call, reused from piece to piece.
struct BpeModel::Scratch {
    struct Symbol {
        int32_t id;              // -1: a byte without token, or merged into its left neighbour
        int32_t previous, next;  // -1: none
    };
    struct Candidate {
        uint32_t rank;
        int32_t left;                                   // symbol
        const MergeTable::Merge *merge;                 // stale unless the symbols there still are this pair
        bool operator<(const Candidate &other) const {  // of a max-heap: the lowest rank, then the leftmost
            return rank != other.rank ? rank > other.rank : left > other.left;
        }
    };
    std::vector<uint32_t> ends;
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
};

BpeModel::BpeModel(const Metadata &metadata, const TokenTable &table, const TokenBytes &bytes, const Log &log)
    : bytes_(bytes), row_(choose_pre_tokenizer(metadata, log)), pre_tokenizer_(row_) {
    size_t missing = 0;
    for (size_t b = 0; b < byte_tokens_.size(); ++b) {
        char byte = static_cast<char>(b);
        byte_tokens_[b] = bytes.find({&byte, 1});
        missing += byte_tokens_[b] < 0;
    }
    if (missing > 0) log(LogLevel::kDebug, "{}: {} of 256 bytes have no token", metadata.source(), missing);
    read_merges(metadata, table);
}

void BpeModel::read_merges(const Metadata &metadata, const TokenTable &table) {
    auto lines = metadata.get_strings(kMergesKey);
    if (!lines) fail(Status::kVocabularyInvalid, "{}: {} is missing", metadata.source(), kMergesKey);
    if (lines->size() >= MergeTable::kNone) {
        fail(Status::kVocabularyInvalid, "{}: {} has {} elements, too many", metadata.source(), kMergesKey,
             lines->size());
    }
    merges_ = MergeTable(static_cast<size_t>(lines->size()));
    uint32_t rank = 0;
    std::string joined;
    for (std::string_view line : *lines) {
        size_t space = line.find(' ', 1);  // a token may itself begin with one
        if (space == std::string_view::npos || space + 1 == line.size()) {
            fail(Status::kVocabularyInvalid, "{}: {}[{}] is not two tokens with a space between", metadata.source(),
                 kMergesKey, rank);
        }
        std::string_view left_text = line.substr(0, space), right_text = line.substr(space + 1);
        joined.assign(left_text).append(right_text);
        int32_t left = table.find(left_text), right = table.find(right_text), merged = table.find(joined);
        if (left < 0 || right < 0 || merged < 0) {
            fail(Status::kVocabularyInvalid, "{}: {}[{}]: its {} is not a token", metadata.source(), kMergesKey, rank,
                 left < 0    ? "left part"
                 : right < 0 ? "right part"
                             : "result");
        }
        // Differs only where control or user-defined tokens, whose text is literal, are mixed with byte-level ones.
        std::string_view whole = bytes_[merged], head = bytes_[left], tail = bytes_[right];
        if (whole.size() != head.size() + tail.size() || whole.substr(0, head.size()) != head ||
            whole.substr(head.size()) != tail) {
            fail(Status::kVocabularyInvalid, "{}: {}[{}]: its result stands for other bytes than its parts",
                 metadata.source(), kMergesKey, rank);
        }
        merges_.insert(left, right, rank++, merged);
    }
}

void BpeModel::encode(std::string_view text, std::vector<int32_t> &out) const {
    if (text.size() > PreTokenizer::kMaxTextBytes) {
        fail(Status::kLimitExceeded, "the text to tokenize has {} bytes; at most {} are possible", text.size(),
             PreTokenizer::kMaxTextBytes);
    }
    Scratch scratch;
    pre_tokenizer_.split(text, scratch.ends);
    size_t start = 0;
    for (uint32_t end : scratch.ends) {
        encode_piece(text.substr(start, end - start), scratch, out);
        start = end;
    }
}

void BpeModel::encode_piece(std::string_view piece, Scratch &scratch, std::vector<int32_t> &out) const {
    if (int32_t id; row_.ignore_merges && (id = bytes_.find(piece)) >= 0) return out.push_back(id);
    if (piece.size() <= kShortPiece) return merge_short(piece, out);
    merge_long(piece, scratch, out);
}

void BpeModel::merge_short(std::string_view piece, std::vector<int32_t> &out) const {
    int32_t ids[kShortPiece];
    const MergeTable::Merge *pairs[kShortPiece];  // pairs[i]: what ids[i] and ids[i + 1] become
    uint32_t ranks[kShortPiece];
    size_t n = piece.size();
    for (size_t i = 0; i < n; ++i) ids[i] = byte_tokens_[static_cast<uint8_t>(piece[i])];
    auto look_up = [&](size_t i) {
        pairs[i] = &merges_.find(ids[i], ids[i + 1]);
        ranks[i] = pairs[i]->rank;
    };
    for (size_t i = 0; i + 1 < n; ++i) look_up(i);
    pairs[n - 1] = nullptr;
    ranks[n - 1] = MergeTable::kNone;
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; ++i) best = ranks[i] < ranks[best] ? i : best;
        if (ranks[best] == MergeTable::kNone) break;
        ids[best] = pairs[best]->merged;
        --n;
        for (size_t i = best + 1; i < n; ++i) {
            ids[i] = ids[i + 1];
            pairs[i] = pairs[i + 1];
            ranks[i] = ranks[i + 1];
        }
        if (best > 0) look_up(best - 1);
        if (best + 1 < n) look_up(best);
    }
    for (size_t i = 0; i < n; ++i) {
        if (ids[i] >= 0) out.push_back(ids[i]);
    }
}

// A list of symbols and a heap of the pairs that can merge: n log n for a piece of n bytes.
void BpeModel::merge_long(std::string_view piece, Scratch &scratch, std::vector<int32_t> &out) const {
    auto n = static_cast<int32_t>(piece.size());
    auto &symbols = scratch.symbols;
    auto &heap = scratch.heap;
    symbols.resize(piece.size());
    heap.clear();
    auto symbol = [&](int32_t i) -> Scratch::Symbol & { return symbols[static_cast<size_t>(i)]; };
    auto candidate = [&](int32_t left) {
        const MergeTable::Merge &merge = merges_.find(symbol(left).id, symbol(symbol(left).next).id);
        return Scratch::Candidate{merge.rank, left, &merge};
    };
    auto push = [&](int32_t left) {
        if (Scratch::Candidate c = candidate(left); c.rank != MergeTable::kNone) {
            heap.push_back(c);
            std::push_heap(heap.begin(), heap.end());
        }
    };
    for (int32_t i = 0; i < n; ++i) {
        symbol(i) = {byte_tokens_[static_cast<uint8_t>(piece[static_cast<size_t>(i)])], i - 1, i + 1 < n ? i + 1 : -1};
    }
    for (int32_t i = 0; i + 1 < n; ++i) {
        if (Scratch::Candidate c = candidate(i); c.rank != MergeTable::kNone) heap.push_back(c);
    }
    std::make_heap(heap.begin(), heap.end());
    while (!heap.empty()) {
        std::pop_heap(heap.begin(), heap.end());
        Scratch::Candidate c = heap.back();
        heap.pop_back();
        Scratch::Symbol &left = symbol(c.left);
        if (left.id < 0 || left.next < 0) continue;
        Scratch::Symbol &right = symbol(left.next);
        if (MergeTable::pair_of(left.id, right.id) != c.merge->pair) continue;
        left.id = c.merge->merged;
        left.next = right.next;
        right.id = -1;
        if (left.next >= 0) symbol(left.next).previous = c.left;
        if (left.previous >= 0) push(left.previous);
        if (left.next >= 0) push(c.left);
    }
    for (int32_t i = 0; i >= 0; i = symbol(i).next) {
        if (symbol(i).id >= 0) out.push_back(symbol(i).id);
    }
}

}  // namespace el
