// The input of integer products: 8 bits and a scale for each group of 32 columns, in slots as those of packed matrices.
#pragma once
#include "launch.h"
#include "ops/reduce.cuh"
#include "packed.h"

namespace el::cuda {

constexpr int kMostWarps = 12, kMostThreads = 32 * kMostWarps;

// For each slot: 16 bytes of each group's first half, of its second half, and GroupScale of each group.
struct GroupScale {
    float scale;
    int16_t sum[2];  // of the halves' integers
};
constexpr uint32_t kInputSlotBytes = kSlotCols + kSlotLanes * sizeof(GroupScale);

// Eight values from memory, as far as they exist.
struct Eight {
    float v[8];
    __device__ Eight(const float *from, uint32_t i, uint32_t n, float otherwise) {
#pragma unroll
        for (float &one : v) one = otherwise;
        if (!from || i >= n) return;
        *reinterpret_cast<float4 *>(v) = *reinterpret_cast<const float4 *>(from + i);
        *reinterpret_cast<float4 *>(v + 4) = *reinterpret_cast<const float4 *>(from + i + 4);
    }
};

// The first of a row that a thread takes; weights may be read before x is there.
__device__ inline Eight first_weights(const float *weight, uint32_t n) {
    return Eight(weight, 8 * threadIdx.x, n, 1.0f);
}

// Quantizes eight values of a row, a quarter of a group; the other quarters are those of the next three lanes. Returns
// the sum of their squares before `factors`. A group with a NaN gets the scale NaN.
__device__ inline float quantize_eight(Eight values, const Eight &factors, uint32_t i, uint32_t n, uint8_t *out) {
    float(&v)[8] = values.v;
    float squares = 0;
    uint32_t largest = 0;  // as bits, among which NaN is the largest
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        squares += v[j] * v[j];
        v[j] *= factors.v[j];
        largest = max(largest, __float_as_uint(fabsf(v[j])));
    }
    largest = max(largest, __shfl_xor_sync(~0u, largest, 1));
    largest = max(largest, __shfl_xor_sync(~0u, largest, 2));
    const float most = __uint_as_float(largest), inverse = most > 0 ? 127.0f / most : 0.0f;
    uint32_t bytes[2] = {};
    int sum = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        const int q = __float2int_rn(v[j] * inverse);
        sum += q;
        bytes[j / 4] |= uint32_t(q & 255) << 8 * (j % 4);
    }
    sum += __shfl_xor_sync(~0u, sum, 1);
    const int other = __shfl_xor_sync(~0u, sum, 2);
    if (i >= n) return 0;
    const uint32_t lane = i % kSlotCols / kGroup, half = i % kGroup / 16;
    uint8_t *slot = out + i / kSlotCols * kInputSlotBytes;
    *reinterpret_cast<uint2 *>(slot + half * (kSlotCols / 2) + lane * 16 + i % 16) = {bytes[0], bytes[1]};
    if (i % kGroup == 0)
        reinterpret_cast<GroupScale *>(slot + kSlotCols)[lane] = {most / 127.0f, {int16_t(sum), int16_t(other)}};
    return squares;
}

// Quantizes a row of n floats by all threads of the block, and returns this thread's part of the sum of their squares.
// What a row needs from far memory is asked for at once.
__device__ inline float quantize_row(const float *x, const float *weight, const Eight &weights, uint32_t n,
                                     uint8_t *out) {
    constexpr int kTurns = 4;
    float squares = 0;
    const uint32_t turn = 8 * blockDim.x;
    for (uint32_t begin = 0; begin < n; begin += kTurns * turn) {
        auto place = [&](int k) { return begin + uint32_t(k) * turn + 8 * threadIdx.x; };
        const Eight values[kTurns] = {
            {x, place(0), n, 0.0f}, {x, place(1), n, 0.0f}, {x, place(2), n, 0.0f}, {x, place(3), n, 0.0f}};
#pragma unroll
        for (int k = 0; k < kTurns; ++k) {
            if (begin + uint32_t(k) * turn >= n) break;
            const bool first = begin == 0 && k == 0;
            squares += quantize_eight(values[k], first ? weights : Eight(weight, place(k), n, 1.0f), place(k), n, out);
        }
    }
    return squares;
}

__device__ inline float norm_factor(const float *squares_of_warps, uint32_t n, float epsilon) {
    float sum = 0;
    for (unsigned w = 0; w < blockDim.x / 32; ++w) sum += squares_of_warps[w];
    return rsqrtf(sum / float(n) + epsilon);
}

// A quantized row in global memory ends with the factor that its values still want.
constexpr uint32_t kFactorBytes = 16;
constexpr size_t quantized_row_bytes(uint32_t cols) {
    return size_t(PackedShape::slots(cols)) * kInputSlotBytes + kFactorBytes;
}
__device__ inline float factor_of(const uint8_t *rows, uint32_t row_bytes, uint32_t row) {
    return *reinterpret_cast<const float *>(rows + size_t(row + 1) * row_bytes - kFactorBytes);
}

struct QuantizeCall {
    const float *x;  // [n, cols]
    uint32_t cols;
    int n;
    bool norm;            // RMS, of whole rows
    const float *weight;  // of the norm, [cols]; NULL: none
    float epsilon;
    uint8_t *out;  // [n, quantized_row_bytes]
};
void quantize_rows(const QuantizeCall &call, bool early, cudaStream_t stream);

}  // namespace el::cuda
