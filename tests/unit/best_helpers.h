// The best tokens of a row, by sorting: what a device is to hand over.
#pragma once
#include "base/best_tokens.h"
#include "sample/softmax.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace el {

struct BestOfRow {
    std::vector<int32_t> ids;
    std::vector<float> logits;
    BestTokens tokens;

    BestOfRow(const float *row, size_t n_vocab, size_t n) {
        auto usable = [row](int32_t id) { return usable_logit(row[id]); };
        ids.resize(n_vocab);
        std::iota(ids.begin(), ids.end(), 0);
        std::erase_if(ids, [&](int32_t id) { return usable(id) == kMinusInfinity; });
        std::sort(ids.begin(), ids.end(),
                  [&](int32_t a, int32_t b) { return usable(a) != usable(b) ? usable(a) > usable(b) : a < b; });
        for (int32_t id : ids) tokens.sum += std::exp(double(usable(id)) - usable(ids[0]));
        tokens.all = ids.size() <= n;
        if (!tokens.all) ids.resize(n);
        for (int32_t id : ids) logits.push_back(usable(id));
        tokens.ids = ids.data();
        tokens.logits = logits.data();
        tokens.n = ids.size();
    }
    BestOfRow(const BestOfRow &) = delete;
};

}  // namespace el
