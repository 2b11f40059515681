#include "cache/cache.h"

#include <algorithm>

namespace el {

namespace {
uint32_t pages_for(uint32_t rows) { return (rows + kPageTokens - 1) / kPageTokens; }
}  // namespace

uint32_t Cache::n_free() const {
    uint32_t n = limits_.max_pages;
    for (const PagePool &pool : pools_) n = std::min(n, pool.n_free());
    return n;
}

uint32_t Cache::room(uint32_t sequence) const {
    const Sequence &s = sequences_[sequence];
    uint32_t pages = std::min(limits_.max_pages, s.n_pages + n_free());
    return pages * kPageTokens - s.length;
}

bool Cache::reserve(uint32_t sequence, uint32_t length) {
    Sequence &s = sequences_[sequence];
    const uint32_t wanted = pages_for(length);
    if (wanted > limits_.max_pages || (wanted > s.n_pages && wanted - s.n_pages > n_free())) return false;
    for (; s.n_pages < wanted; ++s.n_pages)
        for (uint32_t g = 0; g < pools_.size(); ++g) table(g, sequence)[s.n_pages] = pools_[g].take();
    return true;
}

void Cache::commit(uint32_t sequence, uint32_t length, int32_t next_position) {
    Sequence &s = sequences_[sequence];
    s.state = state_after(sequence);
    s.length = length;
    s.next_position = next_position;
}

void Cache::truncate(uint32_t sequence, uint32_t length, int32_t next_position) {
    Sequence &s = sequences_[sequence];
    for (uint32_t kept = pages_for(length); s.n_pages > kept;) {
        --s.n_pages;
        for (uint32_t g = 0; g < pools_.size(); ++g) pools_[g].give(table(g, sequence)[s.n_pages]);
    }
    s.length = length;
    s.next_position = next_position;
    if (length == 0) s.state = -1;
}

}  // namespace el
