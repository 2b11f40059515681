// Slots of packed matrices: asked for, multiplied with a quantized input, summed.
#pragma once
#include "async_copy.cuh"
#include "ops/quantized_input.cuh"
#include "packed.cuh"

namespace el::cuda {

constexpr uint32_t kMostSlotBytes = 3584;  // rounded up
// A block keeps the sums of all its slots; what is too much for one round of blocks takes several.
constexpr size_t kMostSums = 32 << 10;

// Shared memory through which the slots of a block's warps come.
struct Ring {
    uint32_t warps = kMostWarps, n_stages = 2, slot_bytes;

    // `others`: bytes of shared memory that are taken already, of the `most` that a block may have.
    Ring(uint32_t slot_bytes_, size_t others, size_t most) : slot_bytes(slot_bytes_) {
        // Two blocks share a multiprocessor where one follows the other; more bytes under way than that gain nothing.
        constexpr size_t kEnough = 80 << 10, kMostStages = 4;
        while (warps > 1 && bytes() + others > most) --warps;
        while (n_stages < kMostStages && bytes() / n_stages * (n_stages + 1) <= kEnough &&
               bytes() / n_stages * (n_stages + 1) + others <= most)
            ++n_stages;
    }
    size_t bytes() const { return size_t(warps) * n_stages * slot_bytes; }
};

// By a warp.
__device__ inline void copy_slot(uint8_t *to, const uint8_t *from, uint32_t bytes) {
    const uint32_t at = threadIdx.x % 32 * 16;
#pragma unroll
    for (uint32_t i = 0; i < kMostSlotBytes; i += 512)
        if (at + i < bytes) copy_async(to + at + i, from + at + i);
}

// Adds to sums [row][token] what one slot gives; there is memory for N tokens, however many there are. `release` is
// called when the slot has been read.
template <typename F, int N, typename Release> __device__ void multiply(const uint8_t *slot, uint32_t lanes,
                                                                        const uint8_t *input, uint32_t row_bytes,
                                                                        float sums[4 * N], Release release) {
    const uint32_t lane = threadIdx.x % 32;
    Unit<F> unit;
    unit.load(slot, lanes, min(lane, lanes - 1));
    release();
#pragma unroll
    for (int t = 0; t < N; ++t) {
        const uint8_t *row = input + size_t(t) * row_bytes;
        int x[8];
        *reinterpret_cast<int4 *>(x) = *reinterpret_cast<const int4 *>(row + lane * 16);
        *reinterpret_cast<int4 *>(x + 4) = *reinterpret_cast<const int4 *>(row + kSlotCols / 2 + lane * 16);
        const GroupScale s = reinterpret_cast<const GroupScale *>(row + kSlotCols)[lane];
        const float scale = lane < lanes ? s.scale : 0.0f;
        const float sum[2] = {scale * float(s.sum[0]), scale * float(s.sum[1])};
#pragma unroll
        for (int r = 0; r < Unit<F>::kRows; ++r) {
            int codes[8], dot[2] = {};
            unit.codes(r, codes);
#pragma unroll
            for (int j = 0; j < 8; ++j) dot[j / 4] = __dp4a(codes[j], x[j], dot[j / 4]);
            const Affine a = unit.affine(r);
            float &to = sums[r * N + t];
            if constexpr (Scales<F>::kHalves == 1) {
                to += a.scale[0] * (scale * float(dot[0] + dot[1]));
                if constexpr (Scales<F>::kOffset) to += a.offset[0] * (sum[0] + sum[1]);
            } else {
#pragma unroll
                for (int h = 0; h < 2; ++h) {
                    to += a.scale[h] * (scale * float(dot[h]));
                    if constexpr (Scales<F>::kOffset) to += a.offset[h] * sum[h];
                }
            }
        }
    }
}

// Sums of M values over the lanes of a warp; lane l gets value l % M. Each round halves the values and joins two lanes.
template <int M, int Step = 1> __device__ float reduce(float v[M]) {
    if constexpr (M > 1) {
        const bool odd = threadIdx.x & Step;
#pragma unroll
        for (int i = 0; i < M / 2; ++i) {
            const float keep = odd ? v[2 * i + 1] : v[2 * i], send = odd ? v[2 * i] : v[2 * i + 1];
            v[i] = keep + __shfl_xor_sync(~0u, send, Step);
        }
        return reduce<M / 2, 2 * Step>(v);
    } else {
#pragma unroll
        for (int step = Step; step < 32; step *= 2) v[0] += __shfl_xor_sync(~0u, v[0], step);
        return v[0];
    }
}

}  // namespace el::cuda
