#include "cache/prefix_index.h"

#include <algorithm>
#include <cstring>

namespace el {

void PrefixIndex::clear() {
    std::fill_n(buckets_, capacity_, kNone);
    for (uint32_t i = 0; i < capacity_; ++i) {
        nodes_[i].used = false;
        nodes_[i].next = i + 1 < capacity_ ? static_cast<int32_t>(i + 1) : kNone;
    }
    free_ = capacity_ ? 0 : kNone;
}

// FNV-1a over the words (Fowler, Noll, Vo).
size_t PrefixIndex::bucket(int32_t parent, const int32_t *tokens) const {
    uint64_t hash = 14695981039346656037u;
    auto mix = [&](int32_t word) { hash = (hash ^ static_cast<uint32_t>(word)) * 1099511628211u; };
    mix(parent);
    for (uint32_t i = 0; i < kPageTokens; ++i) mix(tokens[i]);
    return (hash ^ hash >> 32) % capacity_;
}

int32_t PrefixIndex::find(int32_t parent, const int32_t *tokens) const {
    if (capacity_ == 0) return kNone;
    int32_t node = buckets_[bucket(parent, tokens)];
    while (node >= 0 &&
           (nodes_[node].parent != parent || std::memcmp(nodes_[node].tokens, tokens, sizeof(Node::tokens)) != 0))
        node = nodes_[node].next;
    return node;
}

int32_t PrefixIndex::insert(int32_t parent, const int32_t *tokens, std::span<const int32_t> pages,
                            std::vector<PagePool> &pools) {
    if (free_ == kNone) return kNone;
    const int32_t id = free_;
    Node &node = nodes_[id];
    free_ = node.next;
    int32_t &first = buckets_[bucket(parent, tokens)];
    node.parent = parent;
    node.next = first;
    node.n_children = 0;
    node.used = true;
    std::copy_n(tokens, kPageTokens, node.tokens);
    first = id;
    if (parent >= 0) ++nodes_[parent].n_children;
    for (uint32_t g = 0; g < n_groups_; ++g) {
        pages_[size_t(id) * n_groups_ + g] = pages[g];
        if (pages[g] >= 0) pools[g].keep(pages[g]);
    }
    touch(id);
    return id;
}

void PrefixIndex::drop(int32_t id, std::vector<PagePool> &pools) {
    Node &node = nodes_[id];
    int32_t *link = &buckets_[bucket(node.parent, node.tokens)];
    while (*link != id) link = &nodes_[*link].next;
    *link = node.next;
    if (node.parent >= 0) --nodes_[node.parent].n_children;
    for (uint32_t g = 0; g < n_groups_; ++g)
        if (page(id, g) >= 0) pools[g].let_go(page(id, g));
    node.used = false;
    node.next = free_;
    free_ = id;
}

int32_t PrefixIndex::node_of(uint32_t group, int32_t wanted) const {
    int32_t i = 0;
    while (!nodes_[i].used || page(i, group) != wanted) ++i;
    return i;
}

bool PrefixIndex::evict(uint32_t group, bool keep_node, std::vector<PagePool> &pools) {
    int32_t oldest = kNone;
    for (int32_t i = 0; i < static_cast<int32_t>(capacity_); ++i) {
        if (!nodes_[i].used || !idle(i, group, pools) || (!keep_node && nodes_[i].n_children)) continue;
        if (oldest == kNone || nodes_[i].stamp < nodes_[oldest].stamp) oldest = i;
    }
    if (oldest == kNone) return false;
    if (!keep_node) {
        drop(oldest, pools);
        return true;
    }
    pools[group].let_go(page(oldest, group));
    pages_[size_t(oldest) * n_groups_ + group] = -1;
    return true;
}

bool PrefixIndex::evict_any(std::vector<PagePool> &pools) {
    int32_t oldest = kNone;
    for (int32_t i = 0; i < static_cast<int32_t>(capacity_); ++i) {
        if (!nodes_[i].used || nodes_[i].n_children || nodes_[i].stamp == clock_) continue;
        if (oldest == kNone || nodes_[i].stamp < nodes_[oldest].stamp) oldest = i;
    }
    if (oldest == kNone) return false;
    drop(oldest, pools);
    return true;
}

}  // namespace el
