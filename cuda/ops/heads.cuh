// One head of one token by one warp: norm, rope, rotation, and its row of the cache.
#pragma once
#include "backend/host/rotation.h"
#include "ops/cache_row.cuh"
#include "ops/reduce.cuh"
#include "ops/tile.cuh"

namespace el::cuda {

// Cosine and sine of position * frequency / factor, times magnitude. Float32 alone would lose the angle of far
// positions, double is slow on most chips: the product is kept as a sum of two floats and whole turns are taken off it
// without rounding (Cody and Waite's reduction; the first difference is exact as 2 pi has 24 bits here). The error of
// the angle is below 1e-6 up to position 2^24. The quotient is a sum of two floats, too, so its first need not be the
// nearest.
__device__ inline float2 rope_turn(int32_t position, float frequency, float factor, float magnitude) {
    constexpr float kTurn = 6.28318548f, kTurnLow = -1.74845553e-7f;  // 2 pi
    const float p = float(position), inverse = reciprocal_fast(factor), f = frequency * inverse,
                rest = fmaf(-f, factor, frequency) * inverse;
    const float high = p * f, low = fmaf(p, f, -high) + p * rest;
    const float turns = rintf(high * 0.159154943f);
    const float angle = fmaf(-turns, kTurnLow, fmaf(-turns, kTurn, high)) + low;
    return {__cosf(angle) * magnitude, __sinf(angle) * magnitude};
}

// By all threads of a block.
__device__ inline void make_turns(const Rope &r, int32_t position, float2 *turns) {
    for (uint32_t i = threadIdx.x; i < r.args.dims / 2; i += blockDim.x)
        turns[i] = rope_turn(position, r.frequencies[i], r.factors ? r.factors[i] : 1.0f, r.args.magnitude);
}

// Of a head; NULL: none.
__device__ inline const float *weight_of(const HeadNorm &norm, uint32_t head) {
    return norm.weight ? norm.weight + size_t(head) * norm.stride : nullptr;
}

// Pairs of a head's values: those that rope turns together, the others by two.
class Pairs {
  public:
    // NULL: nothing is turned.
    __device__ explicit Pairs(const RopeArgs *rope)
        : half_(rope ? rope->dims / 2 : 0), apart_(rope && rope->pairs != RopePairs::kInterleaved ? half_ : 0) {}
    // Where the two of pair i are.
    __device__ uint32_t first(uint32_t i) const { return i < apart_ ? i : 2 * i; }
    __device__ uint32_t second(uint32_t i) const { return i < apart_ ? i + apart_ : 2 * i + 1; }
    __device__ float2 turn(uint32_t i, const float2 *turns) const { return i < half_ ? turns[i] : float2{1, 0}; }

  private:
    uint32_t half_, apart_;
};
__device__ inline float2 turned(float2 x, float2 turn) {
    return {x.x * turn.x - x.y * turn.y, x.x * turn.y + x.y * turn.x};
}

// A head, with pairs 32 j + lane in each lane.
template <int kDim> struct HeadPairs {
    static constexpr int kPairs = (kDim / 2 + 31) / 32;
    float2 x[kPairs];

    // From [kDim]; `otherwise` if NULL, and behind the end.
    __device__ void load(const float *from, const Pairs &pairs, float otherwise = 0) {
#pragma unroll
        for (int j = 0; j < kPairs; ++j) {
            x[j] = {otherwise, otherwise};
            if (from && pair(j) < kDim / 2) x[j] = {from[pairs.first(pair(j))], from[pairs.second(pair(j))]};
        }
    }
    // What the norm multiplies the values with, beside its weights. By all lanes of the warp.
    __device__ float norm_scale(const HeadNorm &norm) const {
        float squares = 0;
        for (const float2 &two : x) squares += two.x * two.x + two.y * two.y;
        return rsqrtf(warp_sum(squares) * (1.0f / float(kDim)) + norm.epsilon);
    }
    // put(place, value) takes each value.
    template <typename Put> __device__ void each(const Pairs &pairs, Put put) const {
#pragma unroll
        for (int j = 0; j < kPairs; ++j) {
            if (pair(j) >= kDim / 2) break;
            put(pairs.first(pair(j)), x[j].x);
            put(pairs.second(pair(j)), x[j].y);
        }
    }
    __device__ static uint32_t pair(int j) { return 32 * uint32_t(j) + threadIdx.x % 32; }
};

// What turns and weighs a head, fetched before its values are there.
template <int kDim> struct HeadFactors {
    HeadPairs<kDim> turn, weight;
    __device__ void load(const Pairs &pairs, const float2 *turns, const float *of_norm) {
#pragma unroll
        for (int j = 0; j < turn.kPairs; ++j) turn.x[j] = pairs.turn(turn.pair(j), turns);
        weight.load(of_norm, pairs, 1);
    }
};

// The order of the ops: norm, rope.
template <int kDim>
__device__ void prepare_head(HeadPairs<kDim> &head, const HeadNorm &norm, const HeadFactors<kDim> &factors) {
    const float scale = norm.exists ? head.norm_scale(norm) : 1.0f;
#pragma unroll
    for (int j = 0; j < head.kPairs; ++j) {
        const float2 weight = factors.weight.x[j];
        head.x[j] = turned({head.x[j].x * (scale * weight.x), head.x[j].y * (scale * weight.y)}, factors.turn.x[j]);
    }
}

// What rotation.cuh does with a block. Loops stay loops: a step runs this code once.
__device__ inline void rotate_by_warp(float *x, int n) {
    const int lane = int(threadIdx.x % 32);
#pragma unroll 1
    for (int i = lane; i < n; i += 32)
        if (host::rotation_flips(size_t(i))) x[i] = -x[i];
    __syncwarp();
    for (int begin = 0, size; begin < n; begin += size, x += size) {
        size = 1 << (31 - __clz(n - begin));
        const float scale = rsqrtf(float(size));
#pragma unroll 1
        for (int half = 1; half < size; half *= 2) {
            const float factor = 2 * half == size ? scale : 1.0f;
#pragma unroll 1
            for (int i = lane; i < size / 2; i += 32) {
                float *p = x + 2 * i - (i & (half - 1));
                const float a = p[0], b = p[half];
                p[0] = (a + b) * factor;
                p[half] = (a - b) * factor;
            }
            __syncwarp();
        }
    }
}

// A row of the cache from a head in shared memory, by a warp. `row` and `copy` take the same bytes; either may be NULL.
template <int kDim> __device__ void encode_row(Format format, const float *head, uint8_t *row, uint8_t *copy) {
    const int lane = int(threadIdx.x % 32);
    auto put = [&](int at, auto value) {
        if (row) *reinterpret_cast<decltype(value) *>(row + at) = value;
        if (copy) *reinterpret_cast<decltype(value) *>(copy + at) = value;
    };
    if (format == Format::kF16) {
        for (int i = 2 * lane; i < kDim; i += 64) put(2 * i, pack_halves(head[i], head[i + 1]));
        return;
    }
#pragma unroll 1
    for (int b = 0; b < (kDim + 31) / 32; ++b) {
        const float x = 32 * b + lane < kDim ? head[32 * b + lane] : 0.0f;
        with_quantized_format(format, [&](auto f) { encode_block(QuantizedRow<f()>(kDim), b, x, put); });
    }
}

// Calls visit(std::integral_constant<int, dim>()) where the kernels on tiles know heads of that size.
template <typename Visit> bool with_tile_dim(uint32_t dim, Visit visit) {
    bool known = false;
    auto one = [&](auto d) {
        if (dim != uint32_t(d())) return;
        known = true;
        visit(d);
    };
    one(std::integral_constant<int, 64>());
    one(std::integral_constant<int, 80>());
    one(std::integral_constant<int, 96>());
    one(std::integral_constant<int, 128>());
    one(std::integral_constant<int, 256>());
    return known;
}

}  // namespace el::cuda
