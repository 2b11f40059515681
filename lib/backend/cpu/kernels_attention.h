// Attention over the pages of one kv head, written once over the vectors of a simd_*.h that is included before.
// The softmax is computed page by page with a running maximum (Milakov and Gimelshein, "Online normalizer calculation
// for softmax", 2018; Dao et al., "FlashAttention", 2022).
#pragma once
#include "backend/cpu/kernels_cached.h"

namespace el::cpu {
namespace {

constexpr float kNothing = -__builtin_inff();

// c[R][2 vectors] = a[R][k] * b[k][2 vectors] (+ c * keep[R], where keep is not NULL)
struct Product {
    const float *a, *b, *keep;
    float *c;
    size_t a_stride, b_stride, c_stride;
    uint32_t k;
};
template <int R> void product_rows(const Product &p, size_t column) {
    F acc[R][2];
    for (int r = 0; r < R; r++) {
        for (int v = 0; v < 2; v++) {
            const float *c = p.c + static_cast<size_t>(r) * p.c_stride + column + v * kLanes;
            acc[r][v] = p.keep ? mul(load(c), set(p.keep[r])) : zero();
        }
    }
    const float *b = p.b + column;
    for (uint32_t k = 0; k < p.k; k++, b += p.b_stride) {
        F b0 = load(b), b1 = load(b + kLanes);
        for (int r = 0; r < R; r++) {
            F a = set(p.a[static_cast<size_t>(r) * p.a_stride + k]);
            acc[r][0] = fma(a, b0, acc[r][0]);
            acc[r][1] = fma(a, b1, acc[r][1]);
        }
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < 2; v++) store(p.c + static_cast<size_t>(r) * p.c_stride + column + v * kLanes, acc[r][v]);
}

// For all of `rows` rows and `columns` columns, a multiple of 32.
void product(Product p, uint32_t rows, uint32_t columns) {
    constexpr uint32_t kRows = 4;
    for (uint32_t r = 0; r < rows; r += kRows) {
        for (size_t column = 0; column < columns; column += 2 * kLanes) {
            switch (rows - r) {
            case 1:
                product_rows<1>(p, column);
                break;
            case 2:
                product_rows<2>(p, column);
                break;
            case 3:
                product_rows<3>(p, column);
                break;
            default:
                product_rows<4>(p, column);
            }
        }
        p.a += kRows * p.a_stride;
        p.c += kRows * p.c_stride;
        if (p.keep) p.keep += kRows;
    }
}

// in [32][dims] -> out [dims][32]
void transpose_page(const float *in, uint32_t dims, float *out) {
    for (uint32_t d = 0; d < dims; d += kLanes) {
        for (uint32_t key = 0; key < kPage; key += kLanes) {
            F block[kLanes];
            for (uint32_t i = 0; i < kLanes; i++) block[i] = load(in + static_cast<size_t>(key + i) * dims + d);
            transpose(block);
            for (uint32_t i = 0; i < kLanes; i++) store(out + static_cast<size_t>(d + i) * kPage + key, block[i]);
        }
    }
}

class AttentionBlock {
  public:
    explicit AttentionBlock(const AttentionCall &call)
        : c(call), rows(call.n_tokens * call.n_heads), k_dims(round_up(call.dim_k, 32)),
          v_dims(round_up(call.dim_v, 32)) {
        float *next = call.scratch;
        auto take = [&](size_t n) { return next += n, next - n; };
        k_page = take(kPage * static_cast<size_t>(k_dims));
        k_transposed = take(kPage * static_cast<size_t>(k_dims));
        v_page = take(kPage * static_cast<size_t>(v_dims));
        q = take(rows * static_cast<size_t>(k_dims));
        o = take(rows * static_cast<size_t>(v_dims));
        scores = take(rows * static_cast<size_t>(kPage));
        maximum = take(rows);
        total = take(rows);
        keep = take(rows);
    }

    void run() {
        start();
        int32_t begin = c.end, end = c.begin;
        for (uint32_t t = 0; t < c.n_tokens; t++) {
            begin = c.visible_begin[t] < begin ? c.visible_begin[t] : begin;
            end = c.visible_end[t] > end ? c.visible_end[t] : end;
        }
        begin = begin < c.begin ? c.begin : begin;
        end = end > c.end ? c.end : end;
        for (int32_t page = begin / int32_t(kPage); page * int32_t(kPage) < end; page++) one_page(page, begin, end);
        finish();
    }

  private:
    void start() {
        for (uint32_t r = 0; r < rows; r++) {
            const float *from = c.q + r / c.n_heads * c.q_stride + static_cast<size_t>(r % c.n_heads) * c.dim_k;
            float *to = q + static_cast<size_t>(r) * k_dims;
            for (uint32_t i = 0; i < c.dim_k; i++) to[i] = from[i] * c.scale;
            if (c.rotate) c.rotate(to, c.dim_k);
            for (uint32_t i = c.dim_k; i < k_dims; i++) to[i] = 0;
            for (uint32_t i = 0; i < v_dims; i++) o[static_cast<size_t>(r) * v_dims + i] = 0;
            maximum[r] = c.sinks ? c.sinks[r % c.n_heads] : kNothing;
            total[r] = maximum[r] == kNothing ? 0 : 1;
            for (uint32_t i = 0; i < kPage; i++) scores[static_cast<size_t>(r) * kPage + i] = 0;
        }
    }

    void one_page(int32_t page, int32_t begin, int32_t end) {
        // Rows outside may never have been written: whatever they hold must not be read, as 0 * NaN is NaN.
        const int32_t origin = page * int32_t(kPage);
        const uint32_t first = begin > origin ? static_cast<uint32_t>(begin - origin) : 0;
        const uint32_t last = end - origin < int32_t(kPage) ? static_cast<uint32_t>(end - origin) : kPage;
        const uint8_t *k = c.k + static_cast<size_t>(c.pages[page]) * c.k_page_bytes;
        const uint8_t *v = c.v + static_cast<size_t>(c.pages[page]) * c.v_page_bytes;
        const CachedRows keys{k + first * c.k_row_bytes, c.k_row_bytes, last - first, k_dims};
        const CachedRows values{v + first * c.v_row_bytes, c.v_row_bytes, last - first, v_dims};
        if (few()) {
            few_rows(keys, values, first, origin);
            return;
        }
        with_type(c.k_type, [&](auto type) {
            for (uint32_t i = 0; i < kPage; i++)
                load_row<type.value>(k + i * c.k_row_bytes, i >= first && i < last ? c.dim_k : 0, k_dims,
                                     k_page + static_cast<size_t>(i) * k_dims);
        });
        with_type(c.v_type, [&](auto type) {
            for (uint32_t i = 0; i < last - first; i++)
                load_row<type.value>(values.data + i * c.v_row_bytes, c.dim_v, v_dims,
                                     v_page + static_cast<size_t>(i) * v_dims);
        });
        transpose_page(k_page, k_dims, k_transposed);
        product({q, k_transposed, nullptr, scores, k_dims, kPage, kPage, k_dims}, rows, kPage);
        for (uint32_t r = 0; r < rows; r++) soften(r, origin);
        product({scores + first, v_page, keep, o, kPage, v_dims, v_dims, last - first}, rows, v_dims);
    }

    // Too few rows for a page of floats to be worth its while, and no row of the cache ends within 32 values.
    bool few() const {
        return rows <= kFewRows && (has_blocks(c.k_type) || c.dim_k == k_dims) &&
               (has_blocks(c.v_type) || c.dim_v == v_dims);
    }

    void few_rows(const CachedRows &keys, const CachedRows &values, uint32_t first, int32_t origin) {
        for (uint32_t r = 0; r < rows; r += kRegisterRows) {
            with_few(rows - r < kRegisterRows ? rows - r : kRegisterRows, [&](auto n) {
                float *some = scores + static_cast<size_t>(r) * kPage;
                with_type(c.k_type, [&](auto type) {
                    few_scores<type.value, n.value>(keys, q + static_cast<size_t>(r) * k_dims, some + first);
                });
                for (uint32_t i = 0; i < n.value; i++) soften(r + i, origin);
                with_type(c.v_type, [&](auto type) {
                    few_sums<type.value, n.value>(values, some + first, keep + r, o + static_cast<size_t>(r) * v_dims);
                });
            });
        }
    }

    // Scores of a row to shares, relative to the running maximum; keep: what former shares are multiplied by.
    void soften(uint32_t r, int32_t origin) {
        float *s = scores + static_cast<size_t>(r) * kPage;
        const uint32_t t = r / c.n_heads;
        const int32_t from = c.visible_begin[t] > c.begin ? c.visible_begin[t] : c.begin;
        const int32_t to = c.visible_end[t] < c.end ? c.visible_end[t] : c.end;
        const uint64_t ancestors = c.ancestors[t];
        const int32_t drafts =
            ancestors ? c.visible_end[t] - 64 + __builtin_clzll(ancestors) : to;  // rows from here on
        const bool partial = from > origin || to < origin + int32_t(kPage) || drafts < origin + int32_t(kPage);
        auto hide = [&](float value) {
            for (int32_t i = 0, row = origin; i < int32_t(kPage); i++, row++)
                if (row < from || row >= to || (row >= drafts && !(ancestors >> (row - drafts) & 1))) s[i] = value;
        };
        if (c.soft_cap > 0)
            for (uint32_t i = 0; i < kPage; i += kLanes) store(s + i, cap_of(load(s + i), set(c.soft_cap)));
        if (partial) hide(kNothing);
        F high = load(s), all = high;  // a maximum may lose a NaN, a sum does not
        for (uint32_t i = kLanes; i < kPage; i += kLanes) {
            high = max(high, load(s + i));
            all = add(all, load(s + i));
        }
        const float page_maximum = largest(high), before = maximum[r];
        if (page_maximum == kNothing && !__builtin_isnan(sum(all))) {
            for (uint32_t i = 0; i < kPage; i++) s[i] = 0;
            keep[r] = 1;
            return;
        }
        const float now = page_maximum > before ? page_maximum : before;
        F part = zero();
        for (uint32_t i = 0; i < kPage; i += kLanes) {
            F x = load(s + i);
            F e = exp(sub(x, set(now)));
            store(s + i, e);
            part = add(part, e);
        }
        if (partial) hide(0);  // exp() never returns 0
        keep[r] = before == kNothing ? 0 : __builtin_expf(before - now);
        total[r] = total[r] * keep[r] + sum(part);
        maximum[r] = now;
    }

    void finish() {
        for (uint32_t r = 0; r < rows; r++) {
            float *to = c.out + r / c.n_heads * c.out_stride + static_cast<size_t>(r % c.n_heads) * c.dim_v;
            const float *from = o + static_cast<size_t>(r) * v_dims;
            float scale = total[r] != 0 ? 1.0f / total[r] : 0.0f;
            if (c.max_sum) {
                c.max_sum[2 * r] = maximum[r];
                c.max_sum[2 * r + 1] = total[r];
                scale = 1;
            }
            for (uint32_t i = 0; i < c.dim_v; i++) to[i] = from[i] * scale;
        }
    }

    const AttentionCall &c;
    const uint32_t rows, k_dims, v_dims;
    float *k_page, *k_transposed, *v_page;  // [32, k_dims], [k_dims, 32], [32, v_dims]
    float *q, *o, *scores;                  // [rows, k_dims], [rows, v_dims], [rows, 32]
    float *maximum, *total, *keep;          // [rows]
};

void attention(const AttentionCall &call) { AttentionBlock(call).run(); }

}  // namespace
}  // namespace el::cpu
