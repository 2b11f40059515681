// Calls of attention kernels with random data, and attention in double over what the cache holds.
#pragma once
#include "emulation/cuda_runtime.h"

#include "backend/host/rotation.h"
#include "ops.h"
#include "quant/format.h"
#include "random_values.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace attention_test {

using namespace el;
using namespace el::cuda;

enum class Kernel { kDecode, kClusters, kFlash, kAny };  // kAny: the one for all shapes

struct Case {
    Kernel kernel;
    uint32_t dim, group = 1, n_kv_heads = 1, dim_v = 0;  // dim_v 0: as dim
    Format k = Format::kF16, v = Format::kF16;
    std::vector<int32_t> before = {};    // rows of each sequence that earlier steps made
    std::vector<int32_t> sequence = {};  // of each token; -1: padding
    int window = 0;                      // 0: none
    float soft_cap = 0;
    bool sinks = false, tree = false, norms = false, own_rows = true;  // norms: of q and k
    bool v_norm = false, norm_weights = true, head_weights = false;    // head_weights: K and V have some for each head
    uint32_t rope_dims = 0;
    RopePairs pairs = RopePairs::kHalves;
    int multiprocessors = 8;
    bool long_context = false;  // the step is captured for such
    int32_t loud_row = -1;      // whose keys are much larger than the others; -1: none
    bool positive_values = false;
    float first_size = 1, last_size = 1;  // of the values of the first row and of those behind the last; others between

    uint32_t v_dim() const { return dim_v ? dim_v : dim; }
};

// CacheRows of a plane, where those that were never written are no numbers.
struct CacheRows {
    std::vector<uint4> data;
    Plane plane;

    CacheRows(Format format, uint32_t n_kv_heads, uint32_t dim, size_t pages) {
        const FormatInfo &info = format_info(format);
        const size_t row = (dim + info.values - 1) / info.values * info.bytes;
        data.assign(pages * kPageTokens * n_kv_heads * row / 16, {~0u, ~0u, ~0u, ~0u});
        plane = {bytes(), format, n_kv_heads, dim, row, false};
    }
    CacheRows(const CacheRows &other) : data(other.data), plane(other.plane) { plane.data = bytes(); }
    uint8_t *bytes() { return reinterpret_cast<uint8_t *>(data.data()); }
    const uint8_t *bytes() const { return reinterpret_cast<const uint8_t *>(data.data()); }
    std::vector<float> padded() const { return std::vector<float>(plane.row_bytes / info().bytes * info().values); }
    const FormatInfo &info() const { return format_info(plane.format); }
    void write(const std::vector<float> &values, int32_t slot, uint32_t head) {
        std::vector<float> x = padded();
        std::copy(values.begin(), values.end(), x.begin());
        if (plane.rotated) host::rotate(x.data(), plane.head_dim);
        std::vector<uint8_t> blocks(plane.row_bytes);
        info().encode(x.data(), x.size(), blocks.data());
        uint8_t *row = plane.row(slot, head);
        const FormatInfo &format = info();
        for (size_t i = 0; i < blocks.size(); ++i) row[place(format, i)] = blocks[i];
    }
    std::vector<float> read(int32_t slot, uint32_t head) const {
        std::vector<float> x = padded();
        std::vector<uint8_t> blocks(plane.row_bytes);
        const uint8_t *row = plane.row(slot, head);
        const FormatInfo &format = info();
        for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = row[place(format, i)];
        format.decode(blocks.data(), x.size(), x.data());
        return x;
    }
    // Where a row has byte i of its blocks: scales first; then, of each 32 other bytes, four of the first 16 and four
    // of the last in turn.
    size_t place(const FormatInfo &format, size_t i) const {
        if (format.values == 1) return i;
        const size_t n = plane.row_bytes / format.bytes, block = i / format.bytes, at = i % format.bytes;
        if (at < 2) return 2 * block + at;
        const size_t code = block * (format.bytes - 2) + at - 2, run = code / 32 * 32, in_run = code % 32;
        const bool whole = 2 * n + run + 32 <= plane.row_bytes;
        return 2 * n + run + (whole ? in_run % 16 / 4 * 8 + in_run / 16 * 4 + in_run % 4 : in_run);
    }
};

// One call, with all it points at.
struct Setup {
    static constexpr uint32_t kGroup = 1;  // of two cache groups

    const Case &c;
    std::mt19937 random{7};
    uint32_t n, n_heads;
    StepLimits limits;
    std::vector<int32_t> order, table, slot, begin, end, position, sequence;  // order: of pages in memory
    std::vector<uint64_t> ancestors;
    CacheRows k, v;  // as the kernels find and leave them
    std::vector<float> q, own_k, own_v, sinks, q_weight, k_weight, v_weight, frequencies, factors, q_out, out;

    explicit Setup(const Case &c_)
        : c(c_), n(uint32_t(c.sequence.size())), n_heads(c.group * c.n_kv_heads), limits(limits_of(c)),
          order(limits.max_pages * c.before.size()), k(c.k, c.n_kv_heads, c.dim, order.size()),
          v(c.v, c.n_kv_heads, c.v_dim(), order.size()) {
        std::iota(order.begin(), order.end(), 0);
        std::shuffle(order.begin(), order.end(), random);
        k.plane.rotated = c.k == Format::kQ4_0;
        fill_step();
        q = floats(n * n_heads * c.dim, 1.5f);
        own_k = floats(n * c.n_kv_heads * c.dim);
        own_v = values(n * c.n_kv_heads * c.v_dim(), c.last_size);
        sinks = floats(n_heads);
        q_weight = floats(n_heads * c.dim);
        k_weight = floats(c.n_kv_heads * c.dim);
        v_weight = floats(c.n_kv_heads * c.v_dim());
        for (uint32_t i = 0; i < c.rope_dims / 2; ++i) {
            frequencies.push_back(std::pow(10000.0f, -2.0f * float(i) / float(c.rope_dims)));
            factors.push_back(1.0f + float(i % 5));
        }
        q_out.resize(q.size());
        out.assign(n * n_heads * c.v_dim(), NAN);
        for (uint32_t s = 0; s < c.before.size(); ++s)
            for (int32_t row = first_row(s); row < c.before[s]; ++row)
                for (uint32_t h = 0; h < c.n_kv_heads; ++h) {
                    k.write(floats(c.dim, row == c.loud_row ? 30.0f : 1.0f), slot_of(s, row), h);
                    v.write(values(c.v_dim(), size_of_values(row, c.before[s])), slot_of(s, row), h);
                }
        if (!c.own_rows) write_own(k, v);
    }

    static StepLimits limits_of(const Case &c) {
        StepLimits l;
        l.max_tokens = uint32_t(c.sequence.size()) + 1;
        l.max_sequences = uint32_t(c.before.size());
        l.n_groups = 2;
        const int32_t most = *std::max_element(c.before.begin(), c.before.end());
        l.max_pages = (uint32_t(most) + l.max_tokens) / kPageTokens + 1;
        return l;
    }
    std::vector<float> floats(size_t count, float scale = 1) { return random_floats(random, count, scale); }
    std::vector<float> values(size_t count, float size) {
        std::vector<float> x = floats(count, size);
        if (c.positive_values)
            for (float &one : x) one = std::fabs(one);
        return x;
    }
    float size_of_values(int32_t row, int32_t rows) const {
        return c.first_size * std::pow(c.last_size / c.first_size, float(row) / float(rows));
    }
    // That was ever written. The kernel for all shapes passes over what is not seen, others take it for numbers.
    int32_t first_row(uint32_t s) const {
        return c.kernel == Kernel::kAny && c.window ? std::max(0, c.before[s] + 1 - c.window) : 0;
    }
    int32_t slot_of(uint32_t s, int32_t row) const {
        constexpr int32_t kPage = int32_t(kPageTokens);
        return order[s * limits.max_pages + uint32_t(row / kPage)] * kPage + row % kPage;
    }

    void fill_step() {
        const uint32_t per_group = limits.max_tokens;
        for (auto *array : {&slot, &begin, &end}) array->assign(2 * per_group, -1);
        position.assign(per_group, 0);
        sequence = c.sequence;
        sequence.push_back(-1);
        ancestors.assign(per_group, 0);
        // Pages that nobody sees are not known.
        table.assign(2 * order.size(), INT32_MAX / 64);
        std::vector<int32_t> rows = c.before, drafts(c.before.size());
        for (uint32_t t = 0; t < n; ++t) {
            const uint32_t at = kGroup * per_group + t;
            begin[at] = end[at] = 0;
            if (sequence[t] < 0) continue;
            const uint32_t s = uint32_t(sequence[t]);
            const int32_t row = rows[s]++;
            position[t] = row * 7 + 3;
            slot[at] = slot_of(s, row);
            begin[at] = c.window ? std::max(0, row + 1 - c.window) : 0;
            end[at] = row + 1;
            for (int32_t r = begin[at]; r <= row; ++r) {
                const uint32_t page = s * limits.max_pages + uint32_t(r) / kPageTokens;
                table[kGroup * order.size() + page] = order[page];
            }
            if (!c.tree) continue;
            ancestors[t] = uint64_t(1) << drafts[s] | (random() & ((uint64_t(1) << drafts[s]) - 1));
            ++drafts[s];
        }
    }
    Step step() {
        Step s;
        s.limits = limits;
        s.n_tokens = int32_t(n);
        s.position = position.data();
        s.ancestors = ancestors.data();
        s.sequence_of = sequence.data();
        s.block_table = table.data();
        s.slot = slot.data();
        s.visible_begin = begin.data();
        s.visible_end = end.data();
        return s;
    }
    HeadsCall call() {
        HeadsCall h;
        h.attention = {{0, n_heads, c.n_kv_heads, c.dim, c.v_dim(), 1 / std::sqrt(float(c.dim)), c.soft_cap},
                       k.plane,
                       v.plane,
                       q.data(),
                       c.sinks ? sinks.data() : nullptr,
                       out.data(),
                       int(n),
                       step(),
                       kGroup};
        h.q_out = q_out.data();
        if (!c.own_rows) return h;
        h.k = own_k.data();
        h.v = own_v.data();
        auto norm = [&](const std::vector<float> &weight, uint32_t stride) {
            return HeadNorm{true, 1e-5f, c.norm_weights ? weight.data() : nullptr, stride};
        };
        if (c.norms) h.q_norm = norm(q_weight, c.dim);
        if (c.norms) h.k_norm = norm(k_weight, c.head_weights ? c.dim : 0);
        if (c.v_norm) h.v_norm = norm(v_weight, c.head_weights ? c.dim : 0);
        h.q_rope = h.k_rope = {{c.pairs, n_heads, c.dim, c.rope_dims, 0, 1.1f, 0}, frequencies.data(), factors.data()};
        return h;
    }

    // ---- the same in double

    std::vector<double> normed(const float *x, uint32_t dim, const float *weight, bool norm) const {
        std::vector<double> y(x, x + dim);
        const double squares = std::inner_product(y.begin(), y.end(), y.begin(), 0.0);
        for (uint32_t i = 0; i < dim && norm; ++i)
            y[i] *= (c.norm_weights ? weight[i] : 1.0) / std::sqrt(squares / dim + 1e-5);
        return y;
    }
    std::vector<float> prepared(const float *x, const float *weight, uint32_t t) const {
        std::vector<double> y = normed(x, c.dim, weight, c.norms);
        const bool halves = c.pairs == RopePairs::kHalves;
        for (uint32_t i = 0; i < c.rope_dims / 2; ++i) {
            double &a = y[halves ? i : 2 * i], &b = y[halves ? i + c.rope_dims / 2 : 2 * i + 1];
            const double p = a, r = b, angle = position[t] * double(frequencies[i]) / factors[i];
            a = 1.1f * (p * std::cos(angle) - r * std::sin(angle));
            b = 1.1f * (p * std::sin(angle) + r * std::cos(angle));
        }
        return {y.begin(), y.end()};
    }
    void write_own(CacheRows &to_k, CacheRows &to_v) {
        for (uint32_t t = 0; t < n; ++t)
            for (uint32_t h = 0; h < c.n_kv_heads && sequence[t] >= 0; ++h) {
                const size_t head = size_t(t) * c.n_kv_heads + h;
                const uint32_t own = c.head_weights ? h : 0;
                const std::vector<double> values =
                    normed(&own_v[head * c.v_dim()], c.v_dim(), &v_weight[own * c.v_dim()], c.v_norm);
                const int32_t to = slot[kGroup * limits.max_tokens + t];
                to_k.write(c.own_rows ? prepared(&own_k[head * c.dim], &k_weight[own * c.dim], t) : floats(c.dim), to,
                           h);
                to_v.write({values.begin(), values.end()}, to, h);
            }
    }
    // By what the cache holds when it is asked for first.
    const std::vector<double> &expected(uint32_t t, uint32_t head) {
        std::vector<double> &kept = expected_[{t, head}];
        if (kept.empty()) kept = attention_of(t, head);
        return kept;
    }

  private:
    std::map<std::pair<uint32_t, uint32_t>, std::vector<double>> expected_;

    std::vector<double> attention_of(uint32_t t, uint32_t head) const {
        const size_t at = kGroup * limits.max_tokens + t;
        const float *from = &q[(size_t(t) * n_heads + head) * c.dim];
        std::vector<float> query =
            c.own_rows ? prepared(from, &q_weight[head * c.dim], t) : std::vector<float>(from, from + c.dim);
        if (k.plane.rotated) host::rotate(query.data(), c.dim);
        std::vector<double> sum(c.v_dim());
        double total = c.sinks ? std::exp(double(sinks[head])) : 0;
        for (int32_t row = begin[at]; row < end[at]; ++row) {
            if (!Step::sees(ancestors[t], row, end[at])) continue;
            const int32_t where = slot_of(uint32_t(sequence[t]), row);
            const std::vector<float> key = k.read(where, head / c.group), value = v.read(where, head / c.group);
            double score = std::inner_product(query.begin(), query.end(), key.begin(), 0.0) / std::sqrt(double(c.dim));
            if (c.soft_cap > 0) score = c.soft_cap * std::tanh(score / c.soft_cap);
            const double share = std::exp(score);
            total += share;
            for (uint32_t i = 0; i < c.v_dim(); ++i) sum[i] += share * value[i];
        }
        for (double &x : sum) x = total > 0 ? x / total : 0;
        return sum;
    }
};

}  // namespace attention_test
