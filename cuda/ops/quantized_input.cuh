// The input of integer products: 8 bits and a scale for each group of 32 columns, in slots as those of packed matrices.
#pragma once
#include "fast_math.cuh"
#include "launch.h"
#include "ops/reduce.cuh"
#include "packed.h"

namespace el::cuda {

constexpr uint32_t kMatvecWarps = 12, kMostWarps = 20;  // of a block: that multiply; at most

// For each slot: 16 bytes of each group's first half, of its second half, and GroupScale of each group.
struct alignas(8) GroupScale {
    float scale;
    int16_t sum[2];  // of the halves' integers
};
// The last bits of a float near it are an integer.
constexpr float kMagic = 12582912.0f;  // 3 * 2^22
constexpr uint32_t kMagicBits = 0x4b400000;
// A scale has 18 bits, so that its product with a number of 6 bits is exact. (That with kMagic overflows where
// values of the input exceed 3e33.)
__device__ inline float rounded_scale(float x) {
    return x == x ? __uint_as_float((__float_as_uint(x) + 32) & ~63u) : x;
}
constexpr uint32_t kInputSlotBytes = kSlotCols + kSlotLanes * sizeof(GroupScale);

// Of more than kApart and up to kTogether tokens together, for matrix units: chunks of 8 groups. First the integers: of
// two groups at a time, [token][4 lanes] 16 bytes, where lane c has words c and c + 4 (four integers each) of one
// group, then of the other. Then [2 groups][2 tokens] four floats each, by group, then by token: scales, and behind
// them sums of the values.
constexpr uint32_t kApart = 4, kTogether = 8, kChunkGroups = 8, kChunkCols = kChunkGroups * kGroup;
constexpr uint32_t kChunkScalesAt = kTogether * kChunkCols, kChunkFloats = kTogether * kChunkGroups * sizeof(float),
                   kChunkSumsAt = kChunkScalesAt + kChunkFloats, kInputChunkBytes = kChunkSumsAt + kChunkFloats;
constexpr uint32_t input_chunks(uint32_t cols) { return (cols + kChunkCols - 1) / kChunkCols; }

// Eight integers of a row from column i on, a quarter of a group; `scale` and `sums`, of its halves, are the group's.
struct Quantized {
    uint32_t i, bytes[2];
    float scale;
    int sums[2];
};
__device__ inline void write(const Quantized &q, uint8_t *row) {
    const uint32_t lane = q.i % kSlotCols / kGroup, half = q.i % kGroup / 16;
    uint8_t *slot = row + q.i / kSlotCols * kInputSlotBytes;
    *reinterpret_cast<uint2 *>(slot + half * (kSlotCols / 2) + lane * 16 + q.i % 16) = {q.bytes[0], q.bytes[1]};
    if (q.i % kGroup == 0)
        reinterpret_cast<GroupScale *>(slot + kSlotCols)[lane] = {q.scale, {int16_t(q.sums[0]), int16_t(q.sums[1])}};
}
__device__ inline uint32_t end_of(const uint8_t *, uint32_t cols) { return cols; }

struct TokenOfChunks {
    uint8_t *chunks;
    uint32_t token;
};
__device__ inline void write(const Quantized &q, const TokenOfChunks &to) {
    const uint32_t group = q.i / kGroup % kChunkGroups, word = q.i % kGroup / 4, t = to.token;
    uint8_t *chunk = to.chunks + q.i / kChunkCols * kInputChunkBytes;
    for (uint32_t j = 0; j < 2; ++j)
        *reinterpret_cast<uint32_t *>(chunk + group / 2 * (kTogether * 64) + (4 * t + word % 4 + j) * 16 +
                                      group % 2 * 8 + word / 4 * 4) = q.bytes[j];
    if (q.i % kGroup) return;
    float *at = reinterpret_cast<float *>(chunk + kChunkScalesAt) + (group / 2 * 4 + t / 2) * 4 + group % 2 * 2 + t % 2;
    at[0] = q.scale;
    at[kChunkFloats / sizeof(float)] = q.scale * float(q.sums[0] + q.sums[1]);
}

// The last chunk is filled with zeros.
__device__ inline uint32_t end_of(const TokenOfChunks &, uint32_t cols) { return input_chunks(cols) * kChunkCols; }

// Eight values from memory, as far as they exist.
struct alignas(16) Eight {
    float v[8];
    Eight() = default;
    __device__ Eight(const float *from, uint32_t i, uint32_t n, float otherwise) {
#pragma unroll
        for (float &one : v) one = otherwise;
        if (!from || i >= n) return;
        *reinterpret_cast<float4 *>(v) = *reinterpret_cast<const float4 *>(from + i);
        *reinterpret_cast<float4 *>(v + 4) = *reinterpret_cast<const float4 *>(from + i + 4);
    }
};

// Quantizes eight values of a row, a quarter of a group; the other quarters are those of the next three lanes. Returns
// the sum of their squares before `factors`. A group with a NaN gets the scale NaN.
template <typename Out>
__device__ float quantize_eight(Eight values, const Eight &factors, uint32_t i, uint32_t n, Out out) {
    float(&v)[8] = values.v;
    float squares = 0;
    float most = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        squares += v[j] * v[j];
        v[j] *= factors.v[j];
        most = max_or_nan(most, fabsf(v[j]));
    }
    most = max_or_nan(most, __shfl_xor_sync(~0u, most, 1));
    most = max_or_nan(most, __shfl_xor_sync(~0u, most, 2));
    const float inverse = most > 0 ? __fdividef(127.0f, most) : 0.0f;
    uint32_t bytes[2];
    int sum = 0;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
        uint32_t q[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) q[k] = __float_as_uint(fmaf(v[4 * j + k], inverse, kMagic));
        bytes[j] = __byte_perm(__byte_perm(q[0], q[1], 0x0040), __byte_perm(q[2], q[3], 0x0040), 0x5410);
        sum = __dp4a(int(bytes[j]), 0x01010101, sum);
    }
    sum += __shfl_xor_sync(~0u, sum, 1);
    const int other = __shfl_xor_sync(~0u, sum, 2);
    if (i >= end_of(out, n)) return 0;
    write({i, {bytes[0], bytes[1]}, rounded_scale(most * (1.0f / 127.0f)), {sum, other}}, out);
    return squares;
}

// By the threads of a block, eight values each at a time. What a row needs from far memory is asked for early: the
// first weights before x is there, then several values. Loops stay loops, as this runs once in a kernel.
class RowQuantizer {
  public:
    __device__ RowQuantizer(const float *weight, uint32_t n) : weight_(weight), n_(n) {
#pragma unroll
        for (uint32_t k = 0; k < kWeights; ++k) weights_[k] = Eight(weight, place(k), n, 1.0f);
    }

    // Returns this thread's part of the sum of the squares of x [n].
    template <typename Out> __device__ float run(const float *x, Out out) {
        float squares = 0;
        if (weight_) {
            Eight values[3];
            load(values, x);
#pragma unroll 1
            for (uint32_t turn = 0; exists(turn); ++turn) {
                squares += quantize_eight(values[0], weights_[0], place(turn), n_, out);
                shift(values, x, turn);
                shift(weights_, weight_, turn);
            }
        } else {
            Eight values[5];
            load(values, x);
#pragma unroll 1
            for (uint32_t turn = 0; exists(turn); ++turn) {
                squares += quantize_eight(values[0], Eight(nullptr, 0, 0, 1.0f), place(turn), n_, out);
                shift(values, x, turn);
            }
        }
        return squares;
    }

  private:
    static constexpr uint32_t kWeights = 2;
    static __device__ uint32_t place(uint32_t turn) { return 8 * (blockDim.x * turn + threadIdx.x); }
    __device__ bool exists(uint32_t turn) const { return 8 * blockDim.x * turn < n_; }
    template <uint32_t N> __device__ void load(Eight (&of)[N], const float *from) const {
#pragma unroll
        for (uint32_t k = 0; k < N; ++k) of[k] = Eight(from, place(k), n_, 0.0f);
    }
    // The next one first; one more is asked for.
    template <uint32_t N> __device__ void shift(Eight (&of)[N], const float *from, uint32_t turn) const {
#pragma unroll
        for (uint32_t k = 1; k < N; ++k) of[k - 1] = of[k];
        if (exists(turn + N)) of[N - 1] = Eight(from, place(turn + N), n_, 0.0f);
    }

    const float *weight_;
    uint32_t n_;
    Eight weights_[kWeights];
};

// One sum of squares of each warp of a block, zeros where there are none.
constexpr int kSquares = kMostWarps / 4;
__device__ inline float norm_factor(const float4 (&squares)[kSquares], float inverse_cols, float epsilon) {
    float sum = 0;
#pragma unroll
    for (const float4 &four : squares) sum += (four.x + four.y) + (four.z + four.w);
    return rsqrtf(sum * inverse_cols + epsilon);
}

// A quantized row in global memory ends with the factor that its values still want.
constexpr uint32_t kFactorBytes = 16;
constexpr size_t quantized_row_bytes(uint32_t cols) {
    return size_t(PackedShape::slots(cols)) * kInputSlotBytes + kFactorBytes;
}
__device__ inline float factor_of(const uint8_t *rows, uint32_t row_bytes, uint32_t row) {
    return *reinterpret_cast<const float *>(rows + size_t(row + 1) * row_bytes - kFactorBytes);
}

// The factors of kTogether tokens lie behind their chunks.
__host__ __device__ inline float *factors_behind(uint8_t *chunks, uint32_t cols) {
    return reinterpret_cast<float *>(chunks + size_t(input_chunks(cols)) * kInputChunkBytes);
}

struct QuantizeCall {
    const float *x;  // [n, cols]
    uint32_t cols;
    int n;
    bool norm;            // RMS, of whole rows
    const float *weight;  // of the norm, [cols]; NULL: none
    float epsilon;
    uint8_t *out;           // [n, quantized_row_bytes]
    bool together = false;  // in chunks, which take no more bytes than kTogether rows
};
void quantize_rows(const QuantizeCall &call, bool early, cudaStream_t stream);

}  // namespace el::cuda
