#include "cache/cache.h"

#include <algorithm>
#include <utility>

namespace el {
namespace {

uint32_t pages_for(uint32_t rows) { return (rows + kPageTokens - 1) / kPageTokens; }
uint32_t whole_pages(uint32_t rows) { return rows / kPageTokens * kPageTokens; }

}  // namespace

uint32_t pages_per_sequence(const CacheGroup &group, const CacheLimits &limits) {
    // With sinks the first page's keys are kept twice.
    const uint32_t all = pages_for(limits.max_rows) + (limits.eviction == Eviction::kSinks);
    if (!group.window) return all;
    const uint64_t rows = uint64_t(group.window) + kWindowSlack + limits.max_step_rows + kPageTokens;
    return rows < limits.max_rows ? std::min(all, pages_for(static_cast<uint32_t>(rows))) : all;
}

// ---- pages

uint32_t Cache::n_available(uint32_t group) const { return pools_[group].n_free() + pools_[group].n_idle(); }

int32_t Cache::take(uint32_t group) {
    // A node without its page in a full group is of no use; one without that of a windowed group may be.
    if (pools_[group].n_free() == 0 && (groups_[group].window || !index_->evict(group, false, pools_)))
        index_->evict(group, true, pools_);
    return pools_[group].take();
}

void Cache::drop_page(uint32_t group, uint32_t sequence, uint32_t index) {
    Table &t = table(group, sequence);
    int32_t *pages = entries(group, sequence);
    pools_[group].release(pages[index]);
    std::copy(pages + index + 1, pages + t.n, pages + index);
    --t.n;
}

void Cache::drop_front(uint32_t group, uint32_t sequence, uint32_t first) {
    Table &t = table(group, sequence);
    while (t.first < first && t.n > 0) {
        drop_page(group, sequence, 0);
        t.first += kPageTokens;
    }
    if (t.first > 0 && t.spare >= 0) pools_[group].release(std::exchange(t.spare, -1));  // the first page is gone
}

// What only the index shares costs no page: it keeps the old one as long as others are available, or gives it up.
bool Cache::shared(uint32_t group, int32_t page) const {
    return pools_[group].users(page) > 1u + pools_[group].kept(page);
}

// The page at `index` of the table is nobody else's afterwards; there must be one available if it is shared().
void Cache::own(uint32_t group, uint32_t sequence, uint32_t index, CacheEdits &edits) {
    int32_t &page = entries(group, sequence)[index];
    if (pools_[group].users(page) == 1) return;
    if (n_available(group) == 0) return index_->give_up(group, page, pools_);
    const int32_t copy = take(group);
    edits.copies[edits.n_copies++] = {group, page, copy};
    pools_[group].release(page);
    page = copy;
}

// ---- steps

// The first row that the group has to keep for what may come next.
uint32_t Cache::kept_from(uint32_t group, uint32_t sequence) const {
    const uint32_t first = first_row(group, sequence), window = groups_[group].window;
    if (!window) return first;
    const Sequence &s = sequences_[sequence];
    const uint32_t visible = first_visible(group, sequence, s.next_position, s.length);
    return std::max(first, whole_pages(visible - std::min(visible, kWindowSlack)));
}

// Pages that n more rows take.
uint32_t Cache::pages_needed(uint32_t group, uint32_t sequence, uint32_t n) const {
    const Table &t = table(group, sequence);
    const uint32_t length = sequences_[sequence].length, wanted = pages_for(length + n - t.first);
    const bool copied = length % kPageTokens && length > t.first &&
                        shared(group, pages(group, sequence)[(length - t.first) / kPageTokens]);
    return (wanted > t.n ? wanted - t.n : 0) + copied;
}

uint32_t Cache::room(uint32_t sequence) const {
    const uint32_t length = sequences_[sequence].length;
    uint32_t room = limits_.max_rows - length;
    for (uint32_t g = 0; g < n_groups(); ++g) {
        if (groups_[g].window) continue;  // as many pages come free as are taken
        const Table &t = table(g, sequence);
        uint32_t pages = t.n + n_available(g);
        if (length % kPageTokens && shared(g, this->pages(g, sequence)[length / kPageTokens])) --pages;
        room = std::min(room, std::max(pages * kPageTokens, length) - length);
    }
    return room;
}

bool Cache::reserve(uint32_t sequence, uint32_t n, CacheEdits &edits) {
    edits = {copies_, 0, false, 0};
    const uint32_t length = sequences_[sequence].length;
    if (n > limits_.max_rows - length) return false;
    for (uint32_t g = 0; g < n_groups(); ++g) {
        drop_front(g, sequence, kept_from(g, sequence));  // what no later token can see
        const uint32_t needed = pages_needed(g, sequence, n);
        if (needed > n_available(g)) return false;
        if (pages_for(length + n - first_row(g, sequence)) > max_pages_) return false;
    }
    for (uint32_t g = 0; g < n_groups(); ++g) {
        Table &t = table(g, sequence);
        if (length % kPageTokens && length > t.first) own(g, sequence, (length - t.first) / kPageTokens, edits);
        while (t.n < pages_for(length + n - t.first)) entries(g, sequence)[t.n++] = take(g);
    }
    return true;
}

void Cache::commit(uint32_t sequence, uint32_t n, int32_t next_position, bool keep) {
    Sequence &s = sequences_[sequence];
    s.former_rows = s.state >= 0 ? int64_t(s.length) : -1;
    s.state = state_after(sequence);
    const bool page_done = (s.length + n) / kPageTokens > s.length / kPageTokens;
    s.length += n;
    s.next_position = next_position;
    if (page_done && keep) index_pages(sequence);
}

uint32_t Cache::row_at(uint32_t sequence, int32_t position) const {
    const int32_t *rows = rows_of(positions_, sequence);
    return static_cast<uint32_t>(std::lower_bound(rows, rows + sequences_[sequence].length, position) - rows);
}

uint32_t Cache::first_visible(uint32_t group, uint32_t sequence, int32_t position, uint32_t n_rows) const {
    const uint32_t window = groups_[group].window, first = first_row(group, sequence);
    if (!window || uint32_t(position) < window) return first;
    const int32_t *rows = rows_of(positions_, sequence), oldest = position - int32_t(window) + 1;
    const int32_t *found = std::lower_bound(rows + std::min(first, n_rows), rows + n_rows, oldest);
    return static_cast<uint32_t>(found - rows);
}

// ---- going back

bool Cache::can_truncate(uint32_t sequence, uint32_t row) const {
    if (row == 0 || row >= sequences_[sequence].length) return true;
    const int32_t next = position(sequence, row);
    if (limits_.eviction == Eviction::kSinks && sequences_[sequence].evicted && row < kPageTokens) return false;
    for (uint32_t g = 0; g < n_groups(); ++g) {
        const uint32_t window = groups_[g].window, first = first_row(g, sequence);
        if (window && first > 0 && (first >= row || position(sequence, first) > next - int32_t(window) + 1))
            return false;
    }
    return true;
}

void Cache::truncate(uint32_t sequence, uint32_t row) {
    Sequence &s = sequences_[sequence];
    for (uint32_t g = 0; g < n_groups(); ++g) {
        Table &t = table(g, sequence);
        const uint32_t keep = row > t.first ? pages_for(row - t.first) : 0;
        while (t.n > keep) pools_[g].release(entries(g, sequence)[--t.n]);
        if (row > 0) continue;
        if (t.spare >= 0) pools_[g].release(t.spare);
        t = {};
    }
    if (row == 0) {
        s = {};
        return;
    }
    if (row < s.length) s.next_position = position(sequence, row);
    s.length = std::min(s.length, row);
}

void Cache::return_to_former_state(uint32_t sequence) {
    Sequence &s = sequences_[sequence];
    const uint32_t rows = static_cast<uint32_t>(s.former_rows);
    s.state = state_after(sequence);
    s.former_rows = -1;
    truncate(sequence, rows);
}

// ---- giving up pages

bool Cache::evict(uint32_t sequence, CacheEdits &edits) {
    edits = {copies_, 0, false, 0};
    Sequence &s = sequences_[sequence];
    const bool sinks = limits_.eviction == Eviction::kSinks;
    const uint32_t begin = sinks ? kPageTokens : 0;
    if (limits_.eviction == Eviction::kNone || s.length < begin + kPageTokens) return false;
    for (uint32_t g = 0; g < n_groups(); ++g) {
        drop_front(g, sequence, kept_from(g, sequence));
        const Table &t = table(g, sequence);
        if (sinks && t.first == 0 && t.spare < 0 && n_available(g) < 1) return false;
    }
    for (uint32_t g = 0; g < n_groups(); ++g) {
        Table &t = table(g, sequence);
        if (t.first >= begin + kPageTokens)
            t.first -= kPageTokens;
        else
            drop_page(g, sequence, (begin - t.first) / kPageTokens);
    }
    s.plain = false;
    // By so much have sinks moved, so that it is no more than their positions are. A window may be shifted back for
    // ever.
    s.evicted = (sinks ? s.evicted : 0) + static_cast<int32_t>(kPageTokens);
    for (int32_t *rows : {rows_of(positions_, sequence), rows_of(tokens_, sequence)})
        std::copy(rows + begin + kPageTokens, rows + s.length, rows + begin);
    s.length -= kPageTokens;
    s.former_rows = s.former_rows < begin + kPageTokens ? -1 : s.former_rows - kPageTokens;
    if (sinks) turn_sinks(sequence, edits);
    return true;
}

// The sinks move along with the rows behind them; their keys turn anew each time from what was written first, so that
// no error adds up.
void Cache::turn_sinks(uint32_t sequence, CacheEdits &edits) {
    for (uint32_t g = 0; g < n_groups(); ++g) {
        Table &t = table(g, sequence);
        if (groups_[g].window && t.first > 0) continue;  // long out of sight
        int32_t &page = entries(g, sequence)[0];
        if (t.spare < 0) {
            t.spare = page;
            page = take(g);
        } else if (pools_[g].users(page) > 1) {  // the page that has just been given up makes room
            pools_[g].release(page);
            page = take(g);
        }
        edits.copies[edits.n_copies++] = {g, t.spare, page};
    }
    edits.turn_sinks = true;
    edits.turn = sequences_[sequence].evicted;
    for (uint32_t row = 0; row < kPageTokens; ++row)
        rows_of(positions_, sequence)[row] += static_cast<int32_t>(kPageTokens);
}

// ---- sharing

void Cache::fork(uint32_t from, uint32_t to) {
    sequences_[to] = sequences_[from];
    sequences_[to].former_rows = -1;
    for (uint32_t g = 0; g < n_groups(); ++g) {
        Table &t = table(g, to) = table(g, from);
        t.n = std::min(t.n, pages_for(sequences_[from].length - t.first));  // a failed step may have left more
        std::copy_n(pages(g, from), t.n, entries(g, to));
        for (uint32_t i = 0; i < t.n; ++i) pools_[g].share(pages(g, to)[i]);
        if (t.spare >= 0) pools_[g].share(t.spare);
    }
    for (int32_t *all : {positions_, tokens_})
        std::copy_n(rows_of(all, from), sequences_[from].length, rows_of(all, to));
    if (sequences_[from].state >= 0)
        sequences_[to].state = static_cast<int32_t>(to * kStateSlots);  // the caller copies it
}

void Cache::index_pages(uint32_t sequence) {
    const Sequence &s = sequences_[sequence];
    if (!index_ || !s.plain) return;
    PrefixIndex &index = *index_;
    const int32_t *tokens = rows_of(tokens_, sequence);
    int32_t parent = PrefixIndex::kRoot;
    for (uint32_t row = 0; row + kPageTokens <= s.length; row += kPageTokens) {
        auto page_of = [&](uint32_t g) {
            const uint32_t first = first_row(g, sequence);
            return row < first ? -1 : pages(g, sequence)[(row - first) / kPageTokens];
        };
        int32_t node = index.find(parent, tokens + row);
        if (node < 0) {
            for (uint32_t g = 0; g < n_groups(); ++g) node_pages_[g] = page_of(g);
            node = index.insert(parent, tokens + row, node_pages_, pools_);
        } else {
            index.touch(node);
            for (uint32_t g = 0; g < n_groups(); ++g)
                if (index.page(node, g) < 0 && page_of(g) >= 0) index.restore_page(node, g, page_of(g), pools_);
        }
        if (node < 0 && index.evict_any(pools_)) node = index.insert(parent, tokens + row, node_pages_, pools_);
        if (node < 0) return;
        parent = node;
    }
}

// How many pages of the tokens the index has, with what windows need; path_ holds their nodes.
uint32_t Cache::matching_pages(std::span<const int32_t> tokens) {
    const PrefixIndex &index = *index_;
    uint32_t n = 0;
    const uint32_t most = std::min<size_t>(tokens.size() - 1, limits_.max_rows) / kPageTokens;
    for (int32_t node = PrefixIndex::kRoot; n < most; ++n) {
        node = index.find(node, tokens.data() + size_t(n) * kPageTokens);
        if (node < 0) break;
        path_[n] = node;
    }
    auto complete = [&](uint32_t g) {  // the pages that the next token sees
        const uint32_t window = groups_[g].window, rows = n * kPageTokens;
        for (uint32_t i = window && rows >= window ? (rows - window + 1) / kPageTokens : 0; i < n; ++i)
            if (index.page(path_[i], g) < 0) return false;
        return true;
    };
    auto all_complete = [&] {
        for (uint32_t g = 0; g < n_groups(); ++g)
            if (!complete(g)) return false;
        return true;
    };
    while (n > 0 && !all_complete()) --n;
    return n;
}

uint32_t Cache::adopt(uint32_t sequence, std::span<const int32_t> tokens) {
    Sequence &s = sequences_[sequence];
    if (!index_ || s.length > 0 || tokens.empty()) return 0;
    truncate(sequence, 0);  // a failed step may have left pages
    const uint32_t n = matching_pages(tokens), rows = n * kPageTokens;
    for (uint32_t g = 0; g < n_groups(); ++g) {
        Table &t = table(g, sequence);
        const uint32_t window = groups_[g].window;
        t.first = window && rows >= window ? whole_pages(rows - window + 1) : 0;
        for (uint32_t i = t.first / kPageTokens; i < n; ++i) {
            const int32_t page = index_->page(path_[i], g);
            pools_[g].share(page);
            entries(g, sequence)[t.n++] = page;
        }
    }
    for (uint32_t i = n; i-- > 0;) index_->touch(path_[i]);  // parents are younger: leaves go first
    for (uint32_t row = 0; row < rows; ++row) set_row(sequence, row, tokens[row], static_cast<int32_t>(row));
    s.length = rows;
    s.next_position = static_cast<int32_t>(rows);
    return rows;
}

// ---- gaps

bool Cache::whole(uint32_t sequence) const {
    for (uint32_t g = 0; g < n_groups(); ++g)
        if (first_row(g, sequence) > 0) return false;
    return sequences_[sequence].evicted == 0;
}

bool Cache::make_private(uint32_t sequence, uint32_t row, CacheEdits &edits) {
    edits = {copies_, 0, false, 0};
    auto first_page = [&](uint32_t g) {
        return (std::max(row, first_row(g, sequence)) - first_row(g, sequence)) / kPageTokens;
    };
    for (uint32_t g = 0; g < n_groups(); ++g) {
        uint32_t copied = 0;
        for (uint32_t i = first_page(g); i < table(g, sequence).n; ++i) copied += shared(g, pages(g, sequence)[i]);
        if (copied > n_available(g)) return false;
    }
    for (uint32_t g = 0; g < n_groups(); ++g)
        for (uint32_t i = first_page(g); i < table(g, sequence).n; ++i) own(g, sequence, i, edits);
    return true;
}

void Cache::close_gap(uint32_t sequence, uint32_t begin, uint32_t end) {
    Sequence &s = sequences_[sequence];
    const int32_t next = s.next_position;
    for (int32_t *rows : {rows_of(positions_, sequence), rows_of(tokens_, sequence)})
        std::copy(rows + end, rows + s.length, rows + begin);
    s.plain = false;
    truncate(sequence, s.length - (end - begin));
    s.next_position = next;
}

void Cache::shift(uint32_t sequence, uint32_t begin, uint32_t end, int32_t delta) {
    Sequence &s = sequences_[sequence];
    for (uint32_t row = begin; row < end; ++row) rows_of(positions_, sequence)[row] += delta;
    if (end == s.length) s.next_position += delta;
    s.plain = false;
}

// ---- saving and restoring

SavedSequence Cache::saved(uint32_t sequence) const {
    const Sequence &s = sequences_[sequence];
    return {s.length, s.next_position, s.evicted, s.plain, s.state >= 0};
}

SavedGroup Cache::saved_group(uint32_t group, uint32_t sequence) const {
    const uint32_t first = std::min(kept_from(group, sequence), whole_pages(length(sequence)));
    return {first, table(group, sequence).spare >= 0 && first == 0};
}

bool Cache::can_restore(const SavedSequence &saved, std::span<const SavedGroup> groups,
                        const int32_t *positions) const {
    const bool turned = limits_.eviction == Eviction::kSinks && saved.evicted > 0;
    if (saved.n_rows > limits_.max_rows || saved.evicted < 0 || saved.evicted % int32_t(kPageTokens) != 0 ||
        saved.next_position < 0 || (turned && (saved.n_rows < kPageTokens || positions[0] < saved.evicted)))
        return false;
    int32_t last = -1;
    for (uint32_t row = 0; row < saved.n_rows; ++row) {
        if (positions[row] <= last || (saved.plain && positions[row] != int32_t(row))) return false;
        last = positions[row];
    }
    if (saved.next_position <= last || (saved.plain && (saved.evicted || saved.next_position != last + 1)))
        return false;
    for (uint32_t g = 0; g < n_groups(); ++g) {
        const uint32_t first = groups[g].first_row;
        if (first % kPageTokens || first > saved.n_rows || (first > 0 && !groups_[g].window) ||
            pages_for(saved.n_rows - first) > pages_per_sequence(groups_[g], limits_) ||
            groups[g].spare != (turned && first == 0))
            return false;
    }
    return true;
}

bool Cache::restore(uint32_t sequence, const SavedSequence &saved, std::span<const SavedGroup> groups) {
    truncate(sequence, 0);
    auto pages = [&](uint32_t g) { return pages_for(saved.n_rows - groups[g].first_row); };
    for (uint32_t g = 0; g < n_groups(); ++g)
        if (pages(g) + groups[g].spare > n_available(g)) return false;
    for (uint32_t g = 0; g < n_groups(); ++g) {
        Table &t = table(g, sequence);
        t.first = groups[g].first_row;
        while (t.n < pages(g)) entries(g, sequence)[t.n++] = take(g);
        if (groups[g].spare) t.spare = take(g);
    }
    Sequence &s = sequences_[sequence];
    s.length = saved.n_rows;
    s.next_position = saved.next_position;
    s.evicted = saved.evicted;
    s.plain = saved.plain;
    if (saved.state) s.state = static_cast<int32_t>(sequence * kStateSlots);
    return true;
}

}  // namespace el
