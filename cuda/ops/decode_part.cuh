// A warp's share of the attention of one token: 16 rows at a time for up to 8 query heads of one KV head, scores^T =
// K q^T and out^T = V^T p^T on matrix units, so that no lane is idle for want of tokens. The order of values within a
// row is free for a sum over them, so lanes hold pieces of 16 bytes as they lie in memory. What a quantized cache has
// is in decode_quantized.cuh.
//
// Lane 4 g + c holds rows g and g + 8 of K; rows 2c, 2c + 1, 2c + 8, 2c + 9 of V; scores of rows g and g + 8 for heads
// 2c and 2c + 1; results of these heads.
#pragma once
#include "ops/tile.cuh"

namespace el::cuda {

constexpr int kUnitRows = 16;  // of a step of a warp
constexpr int kPartHeads = 8;  // of a warp: more heads of a KV head go to other blocks

// Lane's numbers.
__device__ inline int lane_g() { return int(threadIdx.x % 32 / 4); }
__device__ inline int lane_c() { return int(threadIdx.x % 4); }

// Which chunks of 8 values a lane has: c, c + 4, ... of a key, g, g + 8, ... of a value row.
template <int kDim> struct Keys {
    static constexpr int kRows = 2, kSteps = (kDim + 31) / 32, kChunks = kDim / 8;
    uint4 data[kRows][kSteps];
    __device__ static int row(int i) { return lane_g() + 8 * i; }
    __device__ static int chunk(int j) { return lane_c() + 4 * j; }
};
template <int kDim> struct Values {
    static constexpr int kRows = 4, kSteps = (kDim + 63) / 64, kChunks = kDim / 8;
    uint4 data[kRows][kSteps];
    __device__ static int row(int i) { return 2 * lane_c() + i % 2 + i / 2 * 8; }
    __device__ static int chunk(int j) { return lane_g() + 8 * j; }
};

// get(row, chunk) makes 8 values; a row ends within the last step.
template <typename Rows, typename Get> __device__ void fill(Rows &rows, Get get) {
#pragma unroll
    for (int i = 0; i < Rows::kRows; ++i)
#pragma unroll
        for (int j = 0; j < Rows::kSteps; ++j) {
            const int chunk = Rows::chunk(j);
            rows.data[i][j] = chunk < Rows::kChunks ? get(Rows::row(i), chunk) : uint4{};
        }
}

// Only `n` rows exist. What never was written may be infinite.
template <typename Rows> __device__ void cut(Rows &rows, int n) {
#pragma unroll
    for (int i = 0; i < Rows::kRows; ++i)
#pragma unroll
        for (int j = 0; j < Rows::kSteps; ++j)
            if (Rows::row(i) >= n) rows.data[i][j] = {};
}
template <typename Rows, typename Get> __device__ void replace(Rows &rows, int row, Get get) {
#pragma unroll
    for (int i = 0; i < Rows::kRows; ++i)
#pragma unroll
        for (int j = 0; j < Rows::kSteps; ++j)
            if (Rows::row(i) == row && Rows::chunk(j) < Rows::kChunks) rows.data[i][j] = get(Rows::chunk(j));
}

// Shares are 2^kMostShare at most: large, as small ones of float16 would not be exact.
constexpr float kMostShare = 14;

// Of the two heads of a lane: a share is 2^(score - base), and total what they add up to.
struct Totals {
    float base[2] = {kNoScore, kNoScore}, total[2] = {};

    // Turns scores into shares, of 2^most at most. True if a base had to be raised: what was added up before counts
    // `keep` times. So that this is rare, it is raised by more than it has to be.
    template <int kUnits> __device__ bool soften(float (&score)[kUnits][4], float (&keep)[2], float most = kMostShare) {
        constexpr float kMore = 4;
        float now[2];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            now[h] = fmaxf(score[0][h], score[0][h + 2]);
#pragma unroll
            for (int u = 1; u < kUnits; ++u) now[h] = fmaxf(now[h], fmaxf(score[u][h], score[u][h + 2]));
        }
        const bool raised = __any_sync(~0u, now[0] > base[0] + most || now[1] > base[1] + most);
        if (raised)
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                for (int i = 4; i < 32; i *= 2) now[h] = fmaxf(now[h], __shfl_xor_sync(~0u, now[h], i));
                now[h] = now[h] > base[h] + most ? now[h] - most + kMore : base[h];
                keep[h] = exp2_fast(base[h] - now[h]);
                base[h] = now[h];
                total[h] *= keep[h];
            }
#pragma unroll
        for (int h = 0; h < 2; ++h)
            for (auto &unit : score)
                for (int i = h; i < 4; i += 2) total[h] += unit[i] = exp2_fast(unit[i] - base[h]);
        return raised;
    }
    // state: base and total of each head
    __device__ void put(float2 *state) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            for (int i = 4; i < 32; i *= 2) total[h] += __shfl_xor_sync(~0u, total[h], i);
            if (lane_g() == 0) state[2 * lane_c() + h] = {base[h], total[h]};
        }
    }
};

// Of rows of float16.
template <int kDim> struct Part {
    using K = Keys<kDim>;
    using V = Values<kDim>;
    static constexpr int kKeySteps = K::kSteps, kValueSteps = V::kSteps;
    static constexpr bool kHoldsQueries = kDim <= 64;  // in registers
    uint4 q[kHoldsQueries ? kKeySteps : 1];
    float out[kValueSteps][4][4] = {};  // of V::chunk(j): dims 2 w, head 2c and the next; then dim 2 w + 1
    Totals totals;

    // queries: [kPartHeads][stride] float16, where they stay
    __device__ Part(const uint8_t *queries, int stride_bytes) : my_queries_(queries + lane_g() * stride_bytes) {
#pragma unroll
        for (int j = 0; j < kKeySteps && kHoldsQueries; ++j) q[j] = read_query(j);
    }

    // Of kUnits units; several at once, as each is a chain of operations that wait for each other.
    template <int kUnits> __device__ void scores(const K *k, float (&sum)[kUnits][4]) const {
        float other[kUnits][4] = {};  // a second chain of products, where there are registers for it
        for (auto &unit : sum)
            for (float &s : unit) s = 0;
#pragma unroll
        for (int j = 0; j < kKeySteps; ++j) {
            const uint4 x = kHoldsQueries ? q[j] : read_query(j);
#pragma unroll
            for (int u = 0; u < kUnits; ++u) {
                const uint4 a = k[u].data[0][j], b = k[u].data[1][j];
                multiply_add(sum[u], {a.x, b.x, a.y, b.y}, x.x, x.y);
                multiply_add(kHoldsQueries ? other[u] : sum[u], {a.z, b.z, a.w, b.w}, x.z, x.w);
            }
        }
#pragma unroll
        for (int u = 0; u < kUnits && kHoldsQueries; ++u)
            for (int i = 0; i < 4; ++i) sum[u][i] += other[u][i];
    }

    template <int kUnits> __device__ void soften(float (&score)[kUnits][4]) {
        float keep[2];
        if (!totals.soften(score, keep)) return;
        for (auto &step : out)
            for (auto &o : step)
                for (int i = 0; i < 4; ++i) o[i] *= keep[i % 2];
    }

    __device__ void add(const V &v, const float (&share)[4]) {
        const uint32_t p0 = transpose(pack_halves(share[0], share[1])), p1 = transpose(pack_halves(share[2], share[3]));
#pragma unroll
        for (int j = 0; j < kValueSteps; ++j) {
            const uint4 &a = v.data[0][j], &b = v.data[1][j], &c = v.data[2][j], &d = v.data[3][j];
            add_pair(out[j][0], a.x, b.x, c.x, d.x, p0, p1);
            add_pair(out[j][1], a.y, b.y, c.y, d.y, p0, p1);
            add_pair(out[j][2], a.z, b.z, c.z, d.z, p0, p1);
            add_pair(out[j][3], a.w, b.w, c.w, d.w, p0, p1);
        }
    }

    // result: [kPartHeads][stride], state: of each head
    __device__ void put(float *result, int stride, float2 *state) {
#pragma unroll
        for (int h = 0; h < 2; ++h)
            for (int j = 0; j < kValueSteps; ++j) {
                float4 *to = reinterpret_cast<float4 *>(result + (2 * lane_c() + h) * stride + 8 * V::chunk(j));
                if (V::chunk(j) >= V::kChunks) continue;
                to[0] = {out[j][0][h], out[j][0][h + 2], out[j][1][h], out[j][1][h + 2]};
                to[1] = {out[j][2][h], out[j][2][h + 2], out[j][3][h], out[j][3][h + 2]};
            }
        totals.put(state);
    }

  private:
    const uint8_t *my_queries_;

    __device__ uint4 read_query(int j) const {
        const int chunk = K::chunk(j);
        return chunk < K::kChunks ? *reinterpret_cast<const uint4 *>(my_queries_ + 16 * chunk) : uint4{};
    }

    // Two dims of four rows: pairs of rows are what a product takes.
    __device__ static void add_pair(float (&o)[4], uint32_t r0, uint32_t r1, uint32_t r8, uint32_t r9, uint32_t p0,
                                    uint32_t p1) {
        multiply_add(o,
                     {__byte_perm(r0, r1, 0x5410), __byte_perm(r0, r1, 0x7632), __byte_perm(r8, r9, 0x5410),
                      __byte_perm(r8, r9, 0x7632)},
                     p0, p1);
    }
};

}  // namespace el::cuda
