// Slots of packed matrices: asked for, multiplied with a quantized input, summed.
#pragma once
#include "async_copy.cuh"
#include "fast_math.cuh"
#include "ops/quantized_input.cuh"
#include "packed.cuh"

#include <algorithm>

namespace el::cuda {

constexpr uint32_t kMostSlotBytes = 3584;  // rounded up
// A block keeps the sums of all its slots; what is too much for one round of blocks takes several.
constexpr size_t kMostSums = 32 << 10;

// Shared memory through which the slots of a block's warps come.
struct Ring {
    static constexpr uint32_t kMostStages = 4;
    uint32_t warps, n_stages = 2, slot_bytes;

    // `others`: bytes of shared memory that are taken already, of the `most` that a block may have; where more than two
    // stages take more than `enough`, two do.
    Ring(uint32_t most_warps, uint32_t slot_bytes_, size_t others, size_t most, size_t enough)
        : warps(most_warps), slot_bytes(slot_bytes_) {
        while (warps > 1 && bytes() + others > most) --warps;
        while (n_stages < kMostStages && bytes() / n_stages * (n_stages + 1) + others <= std::min(most, enough))
            ++n_stages;
    }
    size_t bytes() const { return size_t(warps) * n_stages * slot_bytes; }
};
using RingBarriers = uint64_t[Ring::kMostStages];

// Brings slots to a warp's part of the ring: by the copy engine, which one lane asks, or 16 bytes a lane at a time.
class SlotCopies {
  public:
    __device__ SlotCopies(uint8_t *ring, uint32_t n_stages, uint32_t stage_bytes, RingBarriers &barriers)
        : ring_(ring), end_(n_stages * stage_bytes), stage_bytes_(stage_bytes), barriers_(barriers) {
        if (kHasBulkCopies) {
            if (threadIdx.x % 32 < n_stages) init_arrivals(&barriers_[threadIdx.x % 32]);
            __syncwarp();
        }
    }
    // Once for each stage, then each time one is free: with what comes there, or without.
    __device__ void ask(uint32_t stage, const uint8_t *from, uint32_t bytes) const {
        if (kHasBulkCopies) {
            if (threadIdx.x % 32 == 0) copy_bulk(ring_ + stage * stage_bytes_, from, bytes, &barriers_[stage]);
            return;
        }
        const uint32_t at = threadIdx.x % 32 * 16;
        uint8_t *to = ring_ + stage * stage_bytes_ + at;
#pragma unroll
        for (uint32_t i = 0; i < kMostSlotBytes; i += 512)
            if (at + i < bytes) copy_async(to + i, from + at + i);
        close_copies();
    }
    __device__ void ask_nothing() const {
        if (!kHasBulkCopies) close_copies();
    }
    // The next slot is there.
    __device__ const uint8_t *wait() const {
        if (kHasBulkCopies) {
            wait_for_bulk(&barriers_[stage_], parity_);
        } else {
            wait_for_copies(int(end_ / stage_bytes_) - 1);
            __syncwarp();
        }
        return ring_ + stage_ * stage_bytes_;
    }
    // When all lanes have read it.
    __device__ uint32_t stage() const { return stage_; }
    __device__ void next() {
        if ((++stage_) * stage_bytes_ < end_) return;
        stage_ = 0;
        parity_ ^= 1;
    }

  private:
    uint8_t *ring_;
    uint32_t end_, stage_bytes_, stage_ = 0, parity_ = 0;
    RingBarriers &barriers_;
};

// The products of a group of row r with an input in the same order, those of each half together.
template <typename F> __device__ void multiply(const Unit<F> &unit, int r, const int x[8], int dot[2]) {
    dot[0] = dot[1] = 0;
    if constexpr (Unit<F>::kBits == 4 && !Unit<F>::kTable) {
        // The codes of the second half where they are: 16 times as large.
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            dot[0] = __dp4a(int(unit.nibbles[r][j] & 0x0f0f0f0f), x[j], dot[0]);
            dot[1] = dot4(unit.nibbles[r][j] & 0xf0f0f0f0, x[4 + j], dot[1]);
        }
        dot[1] >>= 4;
    } else {
        int codes[8];
        unit.codes(r, codes);
#pragma unroll
        for (int j = 0; j < 8; ++j) dot[j / 4] = __dp4a(codes[j], x[j], dot[j / 4]);
    }
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
        constexpr int kHalves = Scales<F>::kHalves;
        const int of_halves[2] = {kHalves == 1 ? s.sum[0] + s.sum[1] : s.sum[0], s.sum[1]};
#pragma unroll
        for (int r = 0; r < Unit<F>::kRows; ++r) {
            int dot[2];
            multiply(unit, r, x, dot);
            if constexpr (kHalves == 1) dot[0] += dot[1];
            const Affine a = unit.affine(r);
            float sum = 0;
#pragma unroll
            for (int h = 0; h < kHalves; ++h) {
                sum += a.scale[h] * float(dot[h]);
                if constexpr (Scales<F>::kOffset) sum += a.offset[h] * float(of_halves[h]);
            }
            sums[r * N + t] += scale * sum;
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
