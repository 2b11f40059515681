// Pair merging, which all kinds of vocabularies share: of all neighbours that may become one token those of the lowest
// rank do, the leftmost first, until none may.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace el {

constexpr uint32_t kNoMerge = UINT32_MAX;

struct Unit {
    int32_t id;      // -1: not a token
    uint32_t begin;  // in the piece; it ends where the next one begins
};

struct Merge {
    uint32_t rank = kNoMerge;  // kNoMerge: the two stay apart
    int32_t id = -1;           // the token that the two become
};

// The memory of merging, reused from piece to piece. A Rule says what two neighbours become:
// `Merge operator()(const Unit &left, const Unit &right, uint32_t right_end)`.
class Merger {
  public:
    std::vector<Unit> units;  // of the piece; merging replaces them

    template <typename Rule> void run(uint32_t piece_end, const Rule &rule) {
        if (units.size() < 2) return;
        if (units.size() <= kShort)
            run_short(piece_end, rule);
        else
            run_long(piece_end, rule);
    }

  private:
    static constexpr size_t kShort = 32;  // units; up to here a scan for the best pair beats a heap
    struct Link {
        int32_t previous, next;  // -1: none; kGone in `next`: merged into its left neighbour
    };
    static constexpr int32_t kGone = -2;
    struct Candidate {
        uint32_t rank;
        int32_t left;
        uint32_t end;  // of the right one; where it ends elsewhere now, one of the two has grown
        int32_t id;
        bool operator<(const Candidate &other) const {  // of a max-heap
            return rank != other.rank ? rank > other.rank : left > other.left;
        }
    };

    template <typename Rule> void run_short(uint32_t piece_end, const Rule &rule) {
        Merge merges[kShort];  // merges[i]: what units[i] and units[i + 1] become
        size_t n = units.size();
        auto look_up = [&](size_t i) {
            merges[i] = rule(units[i], units[i + 1], i + 2 < n ? units[i + 2].begin : piece_end);
        };
        for (size_t i = 0; i + 1 < n; ++i) look_up(i);
        while (n > 1) {
            size_t best = 0;
            for (size_t i = 1; i + 1 < n; ++i) best = merges[i].rank < merges[best].rank ? i : best;
            if (merges[best].rank == kNoMerge) break;
            units[best].id = merges[best].id;
            --n;
            for (size_t i = best + 1; i < n; ++i) {
                units[i] = units[i + 1];
                merges[i] = merges[i + 1];
            }
            if (best > 0) look_up(best - 1);
            if (best + 1 < n) look_up(best);
        }
        units.resize(n);
    }

    // A list of units and a heap of the pairs that can merge: n log n for n units.
    template <typename Rule> void run_long(uint32_t piece_end, const Rule &rule) {
        auto n = static_cast<int32_t>(units.size());
        links_.resize(units.size());
        heap_.clear();
        auto unit = [&](int32_t i) -> Unit & { return units[static_cast<size_t>(i)]; };
        auto link = [&](int32_t i) -> Link & { return links_[static_cast<size_t>(i)]; };
        auto end_of = [&](int32_t i) { return link(i).next < 0 ? piece_end : unit(link(i).next).begin; };
        auto add = [&](int32_t left) {
            int32_t right = link(left).next;
            uint32_t end = end_of(right);
            Merge merge = rule(unit(left), unit(right), end);
            if (merge.rank != kNoMerge) heap_.push_back({merge.rank, left, end, merge.id});
            return merge.rank != kNoMerge;
        };
        for (int32_t i = 0; i < n; ++i) link(i) = {i - 1, i + 1 < n ? i + 1 : -1};
        for (int32_t i = 0; i + 1 < n; ++i) add(i);
        std::make_heap(heap_.begin(), heap_.end());
        while (!heap_.empty()) {
            std::pop_heap(heap_.begin(), heap_.end());
            Candidate c = heap_.back();
            heap_.pop_back();
            int32_t right = link(c.left).next;
            if (right < 0 || end_of(right) != c.end) continue;
            unit(c.left).id = c.id;
            link(c.left).next = link(right).next;
            link(right).next = kGone;
            if (link(c.left).next >= 0) link(link(c.left).next).previous = c.left;
            if (link(c.left).previous >= 0 && add(link(c.left).previous)) std::push_heap(heap_.begin(), heap_.end());
            if (link(c.left).next >= 0 && add(c.left)) std::push_heap(heap_.begin(), heap_.end());
        }
        size_t kept = 0;
        for (int32_t i = 0; i >= 0; i = link(i).next) units[kept++] = unit(i);
        units.resize(kept);
    }

    std::vector<Link> links_;
    std::vector<Candidate> heap_;
};

}  // namespace el
