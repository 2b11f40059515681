// Which rows a sequence has, and on which pages they lie: lengths, positions, block tables, sharing, windows, eviction.
// Bytes are the backend's business: what has to be done to them is told as CacheEdits, to be carried out before the
// next call.
#pragma once
#include "base/arena.h"
#include "cache/prefix_index.h"
#include "program/op.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace el {

// What becomes of a sequence that has reached its number of rows.
enum class Eviction : uint8_t {
    kNone,    // it is full
    kWindow,  // the oldest page goes
    kSinks,   // the oldest page but the first goes (Xiao et al. 2023, "Efficient Streaming Language Models with
              // Attention Sinks"); the first one's keys are turned so that they keep their distance to the others
};

struct CacheLimits {
    uint32_t max_sequences = 1;
    uint32_t max_rows = 0;       // of a sequence; a multiple of kPageTokens
    uint32_t max_step_rows = 1;  // that one step appends to a sequence
    Eviction eviction = Eviction::kNone;
    bool reuse_prefixes = false;  // full pages of tokens are kept for later prompts that begin with them
};

// Pages that a sequence can have at a time, and that a pool needs for all sequences.
uint32_t pages_per_sequence(const CacheGroup &group, const CacheLimits &limits);

// A windowed group keeps so many rows more than its window, for a sequence to go back by.
constexpr uint32_t kWindowSlack = 64;

struct CacheEdits {
    struct Copy {
        uint32_t group;
        int32_t from, to;  // pages
    };
    Copy *copies = nullptr;
    uint32_t n_copies = 0;
    bool turn_sinks = false;  // then keys of the sink pages, just copied, turn by so many positions
    int32_t turn = 0;
};

// What a saved sequence is, beside its tokens, positions, rows and state.
struct SavedSequence {
    uint32_t n_rows = 0;
    int32_t next_position = 0;
    int32_t evicted = 0;  // rows that the policy `sinks` gave up; not 0 if another one did
    bool plain = true;    // rows are the tokens from position 0 on, computed in their order
    bool state = false;   // there is one
};
struct SavedGroup {
    uint32_t first_row = 0;  // rows before it are not needed any more
    bool spare = false;      // the first page's keys as they were written are saved, too
};

class Cache {
  public:
    static constexpr uint32_t kStateSlots = 2;  // of recurrent state, per sequence

    // `n_pages`: of each group's pool; at least pages_per_sequence() each. `groups` outlive the cache.
    template <typename Memory> Cache(std::span<const CacheGroup> groups, const CacheLimits &limits,
                                     std::span<const uint32_t> n_pages, Memory &memory);

    uint32_t length(uint32_t sequence) const { return sequences_[sequence].length; }
    int32_t next_position(uint32_t sequence) const { return sequences_[sequence].next_position; }
    int32_t position(uint32_t sequence, uint32_t row) const { return rows_of(positions_, sequence)[row]; }
    int32_t token(uint32_t sequence, uint32_t row) const { return rows_of(tokens_, sequence)[row]; }
    const int32_t *positions(uint32_t sequence) const { return rows_of(positions_, sequence); }  // [length]
    const int32_t *tokens(uint32_t sequence) const { return rows_of(tokens_, sequence); }        // [length]
    // The first row at or after a position; length() if there is none.
    uint32_t row_at(uint32_t sequence, int32_t position) const;

    // ---- a step: reserve, set_row for each new row, and when the step has succeeded commit

    // Rows that can be appended, page by page, as things are now.
    uint32_t room(uint32_t sequence) const;
    // Makes room for n rows, which no other sequence shares. False when there is none; the rows are as they were.
    bool reserve(uint32_t sequence, uint32_t n, CacheEdits &edits);
    void set_row(uint32_t sequence, uint32_t row, int32_t token, int32_t position) {
        rows_of(tokens_, sequence)[row] = token;
        rows_of(positions_, sequence)[row] = position;
    }
    // `keep`: the rows may serve later prompts (not those of a tree of drafts).
    void commit(uint32_t sequence, uint32_t n, int32_t next_position, bool keep = true);

    // ---- between steps

    // Rows from `row` on can be forgotten: no window needs what is gone already, and sinks that have moved stay whole.
    bool can_truncate(uint32_t sequence, uint32_t row) const;
    void truncate(uint32_t sequence, uint32_t row);
    // Drops the oldest page that the policy gives up.
    bool evict(uint32_t sequence, CacheEdits &edits);
    // `to`, which is empty, gets all rows of `from`, on the same pages.
    void fork(uint32_t from, uint32_t to);
    // An empty sequence gets the pages of earlier tokens with the same beginning; at most n - 1 rows. Returns how many.
    uint32_t adopt(uint32_t sequence, std::span<const int32_t> tokens);
    // No windowed group has dropped rows of the sequence: rows in the middle can go and move.
    bool whole(uint32_t sequence) const;
    // Rows from `row` on lie on pages of their own afterwards. False when there are no pages.
    bool make_private(uint32_t sequence, uint32_t row, CacheEdits &edits);
    // Forgets rows [begin, end) of a sequence whose later rows the caller has moved there.
    void close_gap(uint32_t sequence, uint32_t begin, uint32_t end);
    // Adds to the positions of rows [begin, end).
    void shift(uint32_t sequence, uint32_t begin, uint32_t end, int32_t delta);

    // ---- saving and restoring

    SavedSequence saved(uint32_t sequence) const;
    SavedGroup saved_group(uint32_t group, uint32_t sequence) const;
    // The page with the first page's keys as they were written; -1: none.
    int32_t spare_page(uint32_t group, uint32_t sequence) const { return table(group, sequence).spare; }
    // What saved() and the like say of another cache of the same groups is possible here. `positions`: [n_rows]
    bool can_restore(const SavedSequence &saved, std::span<const SavedGroup> groups, const int32_t *positions) const;
    // The sequence gets rows and a slot of state without content; their tokens and positions are set by set_row. False
    // when there are no pages: it is empty then.
    bool restore(uint32_t sequence, const SavedSequence &saved, std::span<const SavedGroup> groups);

    // ---- where rows lie

    // The first row that the group still has, a multiple of kPageTokens.
    uint32_t first_row(uint32_t group, uint32_t sequence) const { return table(group, sequence).first; }
    const int32_t *pages(uint32_t group, uint32_t sequence) const {  // from first_row() on
        return tables_ + (size_t(group) * limits_.max_sequences + sequence) * max_pages_;
    }
    uint32_t max_pages() const { return max_pages_; }
    uint32_t n_pages(uint32_t group, uint32_t sequence) const { return table(group, sequence).n; }
    int32_t slot(uint32_t group, uint32_t sequence, uint32_t row) const {
        const uint32_t at = row - first_row(group, sequence);
        return pages(group, sequence)[at / kPageTokens] * int32_t(kPageTokens) + int32_t(at % kPageTokens);
    }
    // The first row of the group that a token at `position` sees, among `n_rows` rows.
    uint32_t first_visible(uint32_t group, uint32_t sequence, int32_t position, uint32_t n_rows) const;

    // Slots of recurrent state: a step reads one and writes the other, so that a step that fails leaves the state too.
    int32_t state_before(uint32_t sequence) const { return sequences_[sequence].state; }  // -1: zeros
    int32_t state_after(uint32_t sequence) const {
        const int32_t first = static_cast<int32_t>(sequence * kStateSlots);
        return sequences_[sequence].state == first ? first + 1 : first;
    }
    // The state before the last step is there still, for a sequence of so many rows; -1: it is not.
    int64_t rows_of_former_state(uint32_t sequence) const { return sequences_[sequence].former_rows; }
    void return_to_former_state(uint32_t sequence);
    // A step is going to write where the former state lies.
    void forget_former_state(uint32_t sequence) { sequences_[sequence].former_rows = -1; }

    // Pages of a group that could be taken now.
    uint32_t n_available(uint32_t group) const;

  private:
    struct Sequence {
        uint32_t length = 0;        // committed rows
        int32_t next_position = 0;  // that an appended token gets
        int32_t evicted = 0;        // as SavedSequence's
        bool plain = true;          // rows are the tokens from position 0 on, computed in their order
        int32_t state = -1;         // slot of the committed recurrent state; -1: none yet
        int64_t former_rows = -1;   // rows when the other slot was the state
    };
    struct Table {
        uint32_t first = 0;  // row
        uint32_t n = 0;      // pages
        int32_t spare = -1;  // page with the first page's keys as they were written (sinks)
    };

    template <typename T> T *rows_of(T *all, uint32_t sequence) const {
        return all + size_t(sequence) * limits_.max_rows;
    }
    Table &table(uint32_t group, uint32_t sequence) const {
        return table_info_[size_t(group) * limits_.max_sequences + sequence];
    }
    int32_t *entries(uint32_t group, uint32_t sequence) { return const_cast<int32_t *>(pages(group, sequence)); }
    uint32_t n_groups() const { return static_cast<uint32_t>(groups_.size()); }

    uint32_t kept_from(uint32_t group, uint32_t sequence) const;
    uint32_t pages_needed(uint32_t group, uint32_t sequence, uint32_t n) const;
    bool shared(uint32_t group, int32_t page) const;  // with another sequence
    int32_t take(uint32_t group);                     // there must be one available
    void drop_front(uint32_t group, uint32_t sequence, uint32_t first);
    void drop_page(uint32_t group, uint32_t sequence, uint32_t index);
    void own(uint32_t group, uint32_t sequence, uint32_t index, CacheEdits &edits);
    void turn_sinks(uint32_t sequence, CacheEdits &edits);
    void index_pages(uint32_t sequence);
    uint32_t matching_pages(std::span<const int32_t> tokens);

    std::span<const CacheGroup> groups_;
    CacheLimits limits_;
    uint32_t max_pages_ = 0;
    std::vector<PagePool> pools_;  // per group
    std::optional<PrefixIndex> index_;
    Sequence *sequences_;              // [max_sequences]
    Table *table_info_;                // [n_groups, max_sequences]
    int32_t *tables_;                  // [n_groups, max_sequences, max_pages]
    int32_t *positions_, *tokens_;     // [max_sequences, max_rows]
    int32_t *path_;                    // [max_rows / kPageTokens] nodes of a prefix
    std::vector<int32_t> node_pages_;  // [n_groups]
    CacheEdits::Copy *copies_;         // room for those of one call
};

template <typename Memory> Cache::Cache(std::span<const CacheGroup> groups, const CacheLimits &limits,
                                        std::span<const uint32_t> n_pages, Memory &memory)
    : groups_(groups), limits_(limits), node_pages_(groups.size()) {
    pools_.reserve(groups.size());
    for (size_t g = 0; g < groups.size(); ++g) {
        pools_.emplace_back(n_pages[g], memory);
        max_pages_ = std::max(max_pages_, pages_per_sequence(groups[g], limits));
    }
    if (limits.reuse_prefixes && !groups.empty())
        index_.emplace(*std::max_element(n_pages.begin(), n_pages.end()), static_cast<uint32_t>(groups.size()), memory);
    const size_t tables = groups.size() * limits.max_sequences, rows = size_t(limits.max_sequences) * limits.max_rows;
    sequences_ = memory.template take<Sequence>(limits.max_sequences);
    table_info_ = memory.template take<Table>(tables);
    tables_ = memory.template take<int32_t>(tables * max_pages_);
    positions_ = memory.template take<int32_t>(rows);
    tokens_ = memory.template take<int32_t>(rows);
    path_ = memory.template take<int32_t>(limits.max_rows / kPageTokens + 1);
    copies_ = memory.template take<CacheEdits::Copy>(groups.size() * (size_t(max_pages_) + 2));
    if (sequences_) {
        std::fill_n(sequences_, limits.max_sequences, Sequence{});
        std::fill_n(table_info_, tables, Table{});
    }
}

}  // namespace el
