// Full pages by the tokens that led to them, so that a later prompt with the same beginning finds them: a tree whose
// nodes are pages of kPageTokens tokens, with a hash table over (parent, tokens).
#pragma once
#include "cache/page_pool.h"
#include "program/op.h"

#include <cstdint>
#include <span>
#include <vector>

namespace el {

class PrefixIndex {
  public:
    static constexpr int32_t kRoot = -1, kNone = -2;

    template <typename Memory> PrefixIndex(uint32_t capacity, uint32_t n_groups, Memory &memory)
        : capacity_(capacity), n_groups_(n_groups), nodes_(memory.template take<Node>(capacity)),
          pages_(memory.template take<int32_t>(size_t(capacity) * n_groups)),
          buckets_(memory.template take<int32_t>(capacity)) {
        if (nodes_) clear();
    }

    int32_t find(int32_t parent, const int32_t *tokens) const;  // kNone if there is none
    int32_t page(int32_t node, uint32_t group) const { return pages_[size_t(node) * n_groups_ + group]; }  // -1: gone
    void touch(int32_t node) { nodes_[node].stamp = ++clock_; }

    // Adds a node; the pages get one more user. kNone when there is no room, which evict() makes.
    int32_t insert(int32_t parent, const int32_t *tokens, std::span<const int32_t> pages, std::vector<PagePool> &pools);

    // A page of a windowed group that the node has lost.
    void restore_page(int32_t node, uint32_t group, int32_t page, std::vector<PagePool> &pools) {
        pages_[size_t(node) * n_groups_ + group] = page;
        pools[group].keep(page);
    }

    // Lets go of a page that it keeps.
    void give_up(uint32_t group, int32_t page, std::vector<PagePool> &pools) {
        pages_[size_t(node_of(group, page)) * n_groups_ + group] = -1;
        pools[group].let_go(page);
    }

    // Gives back the idle page of the group that has not been used for the longest time. With `keep_node` only this
    // page, otherwise the node and all its pages. False when there is none.
    bool evict(uint32_t group, bool keep_node, std::vector<PagePool> &pools);
    // Makes room for a node: the leaf that has not been used for the longest time goes, but not the one touched last.
    bool evict_any(std::vector<PagePool> &pools);

  private:
    struct Node {
        int32_t parent, next;  // next: in its bucket, or among the free ones
        uint32_t n_children;
        bool used;
        uint64_t stamp;
        int32_t tokens[kPageTokens];
    };
    void clear();
    size_t bucket(int32_t parent, const int32_t *tokens) const;
    bool idle(int32_t node, uint32_t group, const std::vector<PagePool> &pools) const {
        const int32_t p = page(node, group);
        return p >= 0 && pools[group].idle(p);
    }
    int32_t node_of(uint32_t group, int32_t page) const;  // that keeps the page
    void drop(int32_t node, std::vector<PagePool> &pools);

    uint32_t capacity_, n_groups_;
    Node *nodes_;       // [capacity]
    int32_t *pages_;    // [capacity, n_groups]
    int32_t *buckets_;  // [capacity] first node, kNone: empty
    int32_t free_ = kNone;
    uint64_t clock_ = 0;
};

}  // namespace el
