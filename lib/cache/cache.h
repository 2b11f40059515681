// Who owns which page: block tables and lengths of every sequence, per cache group. Bytes are the backend's business.
#pragma once
#include "base/arena.h"
#include "program/op.h"

#include <algorithm>
#include <cstdint>
#include <span>

namespace el {

// A group's free pages, as a stack.
class PagePool {
  public:
    template <typename Memory> PagePool(uint32_t n_pages, Memory &memory)
        : free_(memory.template take<int32_t>(n_pages)), n_free_(n_pages) {
        if (free_)
            for (uint32_t i = 0; i < n_pages; ++i) free_[i] = static_cast<int32_t>(n_pages - 1 - i);
    }
    uint32_t n_free() const { return n_free_; }
    int32_t take() { return free_[--n_free_]; }  // there must be one
    void give(int32_t page) { free_[n_free_++] = page; }

  private:
    int32_t *free_;  // [n_pages]
    uint32_t n_free_;
};

struct CacheLimits {
    uint32_t max_sequences = 1;
    uint32_t max_pages = 0;             // of one sequence in one group
    std::span<const uint32_t> n_pages;  // of each group's pool
};

class Cache {
  public:
    template <typename Memory> Cache(std::span<const CacheGroup> groups, const CacheLimits &limits, Memory &memory);

    uint32_t max_tokens() const { return limits_.max_pages * kPageTokens; }  // of one sequence
    uint32_t length(uint32_t sequence) const { return sequences_[sequence].length; }
    int32_t next_position(uint32_t sequence) const { return sequences_[sequence].next_position; }

    // Tokens that the sequence can still take, given the pages that are free now.
    uint32_t room(uint32_t sequence) const;
    // Makes sure that rows [0, length) have pages. False, and nothing has changed, when there are not enough.
    bool reserve(uint32_t sequence, uint32_t length);
    // What a step has written counts from now on.
    void commit(uint32_t sequence, uint32_t length, int32_t next_position);
    // Forgets all rows from `length` on; their pages are free again. Recurrent state can only be forgotten whole:
    // `length` is 0 where there is any.
    void truncate(uint32_t sequence, uint32_t length, int32_t next_position);

    const int32_t *pages(uint32_t group, uint32_t sequence) const {
        return tables_ + (size_t(group) * limits_.max_sequences + sequence) * limits_.max_pages;
    }
    int32_t slot(uint32_t group, uint32_t sequence, uint32_t row) const {
        return pages(group, sequence)[row / kPageTokens] * int32_t(kPageTokens) + int32_t(row % kPageTokens);
    }

    // Slots of recurrent state: a step reads one and writes the other, so that a step that fails leaves the state too.
    static constexpr uint32_t kStateSlots = 2;                                            // per sequence
    int32_t state_before(uint32_t sequence) const { return sequences_[sequence].state; }  // -1: zeros
    int32_t state_after(uint32_t sequence) const {
        const int32_t first = static_cast<int32_t>(sequence * kStateSlots);
        return sequences_[sequence].state == first ? first + 1 : first;
    }

  private:
    struct Sequence {
        uint32_t length = 0;        // committed rows
        int32_t next_position = 0;  // that an appended token gets
        uint32_t n_pages = 0;       // in each group's table
        int32_t state = -1;         // slot of the committed recurrent state; -1: none yet
    };
    int32_t *table(uint32_t group, uint32_t sequence) { return const_cast<int32_t *>(pages(group, sequence)); }
    uint32_t n_free() const;

    CacheLimits limits_;
    std::vector<PagePool> pools_;  // per group
    Sequence *sequences_;          // [max_sequences]
    int32_t *tables_;              // [n_groups, max_sequences, max_pages]
};

template <typename Memory> Cache::Cache(std::span<const CacheGroup> groups, const CacheLimits &limits, Memory &memory)
    : limits_(limits) {
    pools_.reserve(groups.size());
    for (size_t g = 0; g < groups.size(); ++g) pools_.emplace_back(limits.n_pages[g], memory);
    sequences_ = memory.template take<Sequence>(limits.max_sequences);
    if (sequences_) std::fill_n(sequences_, limits.max_sequences, Sequence{});
    tables_ = memory.template take<int32_t>(groups.size() * limits.max_sequences * limits.max_pages);
}

}  // namespace el
