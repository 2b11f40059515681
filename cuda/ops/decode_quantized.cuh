// What decode_part.cuh does, on rows of a quantized cache, Q8_0 or Q4_0, in shared memory as the cache has them
// (quantized_row.cuh). No value is decoded. An integer n that is the bits of a float16 number is n 2^-24, which
// matrix units take as it is; what the formats take from each integer (n - 8, n - 128) is taken from sums of products.
// Those of keys' blocks are made apart, each times its scale; those of values take shares that were multiplied by the
// scale.
//
// Lane 4 g + c has the same rows and results as in decode_part.cuh; of each block of a key the values from 4c and 16 +
// 4c on, four each, and of each of its four value rows those from 2g and 16 + 2g on, two each.
#pragma once
#include "ops/decode_part.cuh"

namespace el::cuda {

// Bytes 0 and 2 of a word, then 1 and 3, as integers that are float16's bits: of Q4_0 their low halves, and their high
// halves, which count 16 times; of Q8_0 those of one word, and of another.
template <Format kFormat> struct Codes {
    static constexpr bool kBytes = kFormat == Format::kQ8_0;
    // What is taken from each integer; the same of low and high ones as bits, negative.
    static constexpr float kMiddle = kBytes ? 128 : 8;
    static constexpr uint32_t kLowOffset = kBytes ? 0x80808080 : 0x80088008, kHighOffset = 0x80808080;
    static constexpr float kHighScale = kBytes ? 1.0f : 0.0625f, kUnit = 16777216.0f;
    uint32_t low[2], high[2];

    __device__ Codes(uint32_t x, uint32_t other) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            if constexpr (kBytes) {  // -128 becomes 0
                low[i] = (x >> 8 * i & 0x00ff00ff) ^ 0x00800080;
                high[i] = (other >> 8 * i & 0x00ff00ff) ^ 0x00800080;
            } else {
                low[i] = x >> 8 * i & 0x000f000f;
                high[i] = x >> 8 * i & 0x00f000f0;
            }
        }
    }
};

template <int kDim> struct QuantizedPart {
    template <Format kFormat> __device__ static constexpr QuantizedRow<kFormat> layout() {
        return QuantizedRow<kFormat>(kDim);
    }
    static constexpr int kBlocks = (kDim + kBlockValues - 1) / kBlockValues;
    template <Format kFormat> static constexpr int kRowBytes = kBlocks *QuantizedRow<kFormat>::kBlockBytes;
    uint32_t q[kBlocks][2][2];      // of bytes 0 and 2, 1 and 3 of a word; low and high
    float key_offset[kBlocks][4];   // of the scores of a lane
    float out[kBlocks][2][4] = {};  // dim 2g and one more: heads 2c and 2c + 1; the same of dim 16 + 2g
    float weight[4] = {};           // of block g: what shares times its scales add up to; then twice 0
    // Of value rows; for larger ones shares would be too large.
    float most_scale = 1, most_share = kMostShare;
    Totals totals;

    // queries: [kPartHeads][stride] float16
    __device__ QuantizedPart(Format keys, const uint8_t *queries, int stride_bytes) {
        with_quantized_format(keys, [&](auto format) { read_queries<format()>(queries + lane_g() * stride_bytes); });
    }

    // rows: 16, at a multiple of 16
    template <Format kFormat> __device__ void scores(const uint8_t *rows, float (&sum)[4]) const {
        using C = Codes<kFormat>;
        const uint8_t *row[2];
        Scales scale[2];
        for (int i = 0; i < 2; ++i) {
            row[i] = rows + (lane_g() + 8 * i) * kRowBytes<kFormat>;
            scale[i] = scales<kFormat>(row[i]);
        }
        for (float &s : sum) s = 0;
        auto add_block = [&](int b, const C &x, const C &y) {
            float sums[4];
            multiply_add(sums, key_offset[b], {x.low[0], y.low[0], x.high[0], y.high[0]}, q[b][0][0], q[b][0][1]);
            multiply_add(sums, {x.low[1], y.low[1], x.high[1], y.high[1]}, q[b][1][0], q[b][1][1]);
            for (int i = 0; i < 4; ++i) sum[i] = fmaf(scale[i / 2].of(b), sums[i], sum[i]);
        };
        each_words<kFormat>([&](int b, int i, bool pair) {
            uint2 x[2];
            for (int r = 0; r < 2; ++r) x[r] = words<kFormat>(row[r], i, lane_c(), pair);
            if constexpr (C::kBytes) {
                add_block(b, {x[0].x, x[0].y}, {x[1].x, x[1].y});
            } else {
                add_block(b, {x[0].x, 0}, {x[1].x, 0});
                if (pair) add_block(b + 1, {x[0].y, 0}, {x[1].y, 0});
            }
        });
        for (float &s : sum) s *= C::kUnit;
    }

    template <int kUnits> __device__ void soften(float (&score)[kUnits][4]) {
        float keep[2];
        if (totals.soften(score, keep, most_share)) multiply(keep);
    }

    // kParts of 16 rows each
    template <Format kFormat, int kParts> __device__ void add(const uint8_t *rows, float (&share)[kParts][4]) {
        using C = Codes<kFormat>;
        // Scales of block g, which others get from here.
        const uint8_t *first = rows + 2 * lane_c() * kRowBytes<kFormat>,
                      *mine = first + layout<kFormat>().scale_at(lane_g() % kBlocks);
        uint32_t d[kParts][2];
        __half2 highest = __float2half2_rn(0);
#pragma unroll
        for (int u = 0; u < kParts; ++u)
            for (int i = 0; i < 2; ++i) {
                const uint8_t *at = mine + (16 * u + 8 * i) * kRowBytes<kFormat>;
                d[u][i] = half_of_row(at) | half_of_row(at + kRowBytes<kFormat>) << 16;
                highest = __hmax2(highest, __habs2(*reinterpret_cast<const __half2 *>(&d[u][i])));
            }
        if (__any_sync(~0u, !__hble2(highest, __float2half2_rn(most_scale)))) make_room(highest, share);
#pragma unroll
        for (int u = 0; u < kParts; ++u) {
            const uint32_t p[2] = {transpose(pack_halves(share[u][0], share[u][1])),
                                   transpose(pack_halves(share[u][2], share[u][3]))};
            auto add_block = [&](int b, const C &x, const C &y) {
                uint32_t scaled[2];
                for (int i = 0; i < 2; ++i) scaled[i] = product(p[i], __shfl_sync(~0u, d[u][i], 4 * b + lane_c()));
#pragma unroll
                for (int i = 0; i < 2; ++i)
                    multiply_add(out[b][i], {x.low[i], x.high[i], y.low[i], y.high[i]}, scaled[0], scaled[1]);
            };
            each_words<kFormat>([&](int b, int i, bool pair) {
                const uint8_t *row = first + 16 * u * kRowBytes<kFormat>;
                const uint2 x = pairs<kFormat>(row, i, pair), y = pairs<kFormat>(row + 8 * kRowBytes<kFormat>, i, pair);
                if constexpr (C::kBytes) {
                    add_block(b, {x.x, x.y}, {y.x, y.y});
                } else {
                    add_block(b, {x.x, 0}, {y.x, 0});
                    if (pair) add_block(b + 1, {x.y, 0}, {y.y, 0});
                }
            });
            multiply_add(weight, {d[u][0], 0, d[u][1], 0}, p[0], p[1]);
        }
    }

    // result: [kPartHeads][stride], state: of each head
    __device__ void put(Format format_of_values, float *result, int stride, float2 *state) {
        with_quantized_format(format_of_values, [&](auto format) {
            using C = Codes<format()>;
#pragma unroll
            for (int b = 0; b < kBlocks; ++b)
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int dim = 32 * b + i / 2 * 16;
                    if (dim >= kDim) continue;
                    const float scale = i < 2 ? C::kUnit : C::kUnit * C::kHighScale,
                                offset = -C::kMiddle * __shfl_sync(~0u, weight[i % 2], 4 * b + lane_c());
                    *reinterpret_cast<float2 *>(result + (2 * lane_c() + i % 2) * stride + dim + 2 * lane_g()) = {
                        fmaf(scale, out[b][0][i], offset), fmaf(scale, out[b][1][i], offset)};
                }
        });
        totals.put(state);
    }

  private:
    // Of the blocks of a row.
    struct Scales {
        uint32_t pair[(kBlocks + 1) / 2];
        __device__ float of(int b) const {
            const __half2 two = *reinterpret_cast<const __half2 *>(&pair[b / 2]);
            return __half2float(b % 2 ? two.y : two.x);
        }
    };
    __device__ static uint32_t half_of_row(const uint8_t *at) { return *reinterpret_cast<const uint16_t *>(at); }
    template <Format kFormat> __device__ static Scales scales(const uint8_t *row) {
        Scales s;
#pragma unroll
        for (int i = 0; i < kBlocks / 2; i += 2) {
            const uint2 two = two_words<kRowBytes<kFormat>>(row + 4 * i, i + 1 < kBlocks / 2);
            s.pair[i] = two.x;
            if (i + 1 < kBlocks / 2) s.pair[i + 1] = two.y;
        }
        if (kBlocks % 2) s.pair[kBlocks / 2] = half_of_row(row + 4 * (kBlocks / 2));
        return s;
    }
    // Calls visit(block, i, pair) for a row's words 8 i to 8 i + 7, those of Q4_0's blocks `block` and, if `pair`, the
    // next.
    template <Format kFormat, typename Visit> __device__ static void each_words(Visit visit) {
        constexpr int kStep = Codes<kFormat>::kBytes ? 1 : 2;
#pragma unroll
        for (int b = 0; b < kBlocks; b += kStep) visit(b, b / kStep, layout<kFormat>().is_pair(b / kStep));
    }
    // Words 8 i + j and 8 i + 4 + j.
    template <Format kFormat> __device__ static uint2 words(const uint8_t *row, int i, int j, bool pair) {
        return two_words<kRowBytes<kFormat>>(row + layout<kFormat>().words_at(i, j), pair);
    }
    // Of each of them this lane's two bytes of a row and of the next.
    template <Format kFormat> __device__ static uint2 pairs(const uint8_t *row, int i, bool pair) {
        const uint2 x = words<kFormat>(row, i, lane_g() / 2, pair),
                    y = words<kFormat>(row + kRowBytes<kFormat>, i, lane_g() / 2, pair);
        const uint32_t mine = lane_g() % 2 ? 0x7632 : 0x5410;
        return {__byte_perm(x.x, y.x, mine), __byte_perm(x.y, y.y, mine)};
    }
    template <int kAlignment> __device__ static uint2 two_words(const uint8_t *at, bool both) {
        if (both) return two_words_of_row<kAlignment>(at);
        return {word_of_row<kAlignment>(at), 0};
    }
    // Of two float16 numbers each.
    __device__ static uint32_t product(uint32_t a, uint32_t b) {
        const __half2 x = __hmul2(*reinterpret_cast<const __half2 *>(&a), *reinterpret_cast<const __half2 *>(&b));
        return *reinterpret_cast<const uint32_t *>(&x);
    }

    // Makes shares smaller, where scales are so large that products would be infinite.
    template <int kParts> __device__ void make_room(__half2 highest, float (&share)[kParts][4]) {
        float high = fmaxf(__half2float(highest.x), __half2float(highest.y));
        for (int i = 1; i < 32; i *= 2) high = fmaxf(high, __shfl_xor_sync(~0u, high, i));
        high = fminf(high, 65504);  // not for infinite ones, with which other dims would be lost
        float keep = 1;
        for (; most_scale < high; most_scale *= 2) {
            keep *= 0.5f;
            most_share -= 1;
            for (float &base : totals.base) base += 1;
        }
        for (float &total : totals.total) total *= keep;
        for (auto &part : share)
            for (float &s : part) s *= keep;
        const float both[2] = {keep, keep};
        multiply(both);
    }
    // What was added up.
    __device__ void multiply(const float (&keep)[2]) {
        for (int b = 0; b < kBlocks; ++b)
            for (int i = 0; i < 4; ++i) {
                out[b][0][i] *= keep[i % 2];
                out[b][1][i] *= keep[i % 2];
            }
        for (int i = 0; i < 2; ++i) weight[i] *= keep[i];
    }

    template <Format kFormat> __device__ void read_queries(const uint8_t *mine) {
        using C = Codes<kFormat>;
#pragma unroll
        for (int b = 0; b < kBlocks; ++b) {
            for (int high = 0; high < 2; ++high) {
                uint2 x = {};
                if (32 * b + 16 * high < kDim)
                    x = *reinterpret_cast<const uint2 *>(mine + 2 * (32 * b + 16 * high + 4 * lane_c()));
                for (int i = 0; i < 2; ++i) {
                    uint32_t &to = q[b][i][high];
                    to = __byte_perm(x.x, x.y, i ? 0x7632 : 0x5410);
                    if (high && C::kHighScale != 1) to = product(to, pack_halves(C::kHighScale, C::kHighScale));
                }
            }
            for (float &offset : key_offset[b]) offset = 0;
            for (int i = 0; i < 2; ++i)
                multiply_add(key_offset[b], {C::kLowOffset, C::kLowOffset, C::kHighOffset, C::kHighOffset}, q[b][i][0],
                             q[b][i][1]);
        }
    }
};

}  // namespace el::cuda
