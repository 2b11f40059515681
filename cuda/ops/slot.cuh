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
    // By all threads of a block.
    __device__ SlotCopies(uint8_t *ring, uint32_t n_stages, uint32_t stage_bytes, RingBarriers &barriers)
        : ring_(ring), end_(n_stages * stage_bytes), stage_bytes_(stage_bytes), barriers_(hold_shared(&barriers[0])) {
        init_arrivals(barriers_, n_stages);
    }
    // Of what comes to a stage: once for each, then, `again`, when this lane has read it; all lanes do, and meet.
    __device__ void ask(uint32_t stage, const uint8_t *from, uint32_t bytes, bool again) const {
        if (again) release_to_copies();
        if (kHasBulkCopies) {
            if (is_elected()) copy_bulk(ring_ + stage * stage_bytes_, from, bytes, &barriers_[stage], L2::kEvictFirst);
            return;
        }
        const uint32_t at = threadIdx.x % 32 * 16;
        uint8_t *to = ring_ + stage * stage_bytes_ + at;
#pragma unroll
        for (uint32_t i = 0; i < kMostSlotBytes; i += 512)
            if (at + i < bytes) copy_async(to + i, from + at + i);
        close_copies();
    }
    // Instead, where nothing more comes.
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
    __device__ uint32_t stage() const { return stage_; }
    __device__ void next() {
        if ((++stage_) * stage_bytes_ < end_) return;
        stage_ = 0;
        parity_ ^= 1;
    }

  private:
    uint8_t *ring_;
    uint32_t end_, stage_bytes_, stage_ = 0, parity_ = 0;
    uint64_t *barriers_;
};

// A lane's group of the input. Sums of products are kept as floats of kMagic and more: their last bits are the integer.
template <typename F> struct GroupInput {
    static constexpr bool kNibbles = Unit<F>::kBits == 4 && !kHasTable<F>;
    // What a sum begins with: kMagic, of the codes' second half a 16th of that.
    static constexpr float kBegin = kNibbles ? kMagic + kMagic / 16 : kMagic;

    int x[8];
    float scale, scaled_sum, scaled_begin;
    int begin[2], sum[2];  // of the halves: what sums of products begin with; of the integers

    __device__ GroupInput(const uint8_t *row, uint32_t lane, bool exists) {
        *reinterpret_cast<int4 *>(x) = *reinterpret_cast<const int4 *>(row + lane * 16);
        *reinterpret_cast<int4 *>(x + 4) = *reinterpret_cast<const int4 *>(row + kSlotCols / 2 + lane * 16);
        const auto own = reinterpret_cast<const uint2 *>(row + kSlotCols)[lane];  // a GroupScale, at once
        const int sums[2] = {int16_t(own.y), int16_t(own.y >> 16)};
        scale = exists ? __uint_as_float(own.x) : 0.0f;
        if constexpr (Scales<F>::kHalves == 2) {
            for (int h = 0; h < 2; ++h) begin[h] = -Scales<F>::kMiddle * sums[h];
            for (int h = 0; h < 2; ++h) sum[h] = sums[h];
        } else {
            const int both = sums[0] + sums[1];
            begin[0] = int(kMagicBits) - Scales<F>::kMiddle * both;
            scaled_sum = scale * float(both);
            scaled_begin = scale * kBegin;  // exact: GroupScale's scale has no more bits than that allows
        }
    }
};

// The products of a group of row r with a group of the input, added to `sum`.
template <typename F> __device__ float add_row(const Unit<F> &unit, int r, const GroupInput<F> &in, float sum) {
    using S = Scales<F>;
    if constexpr (GroupInput<F>::kNibbles && S::kHalves == 1) {
        // The codes of the second half where they are: 16 times as large.
        int low = in.begin[0], high = int(kMagicBits);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            low = __dp4a(int(unit.nibbles[r][j] & 0x0f0f0f0f), in.x[j], low);
            high = dot4(unit.nibbles[r][j] & 0xf0f0f0f0, in.x[4 + j], high);
        }
        const float both = fmaf(__uint_as_float(uint32_t(high)), 0.0625f, __uint_as_float(uint32_t(low)));
        sum = fmaf(unit.scale(r), fmaf(both, in.scale, -in.scaled_begin), sum);
    } else {
        int codes[8];
        unit.codes(r, codes);
        int dot[2] = {in.begin[0], in.begin[1]};
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            int &d = dot[S::kHalves == 2 ? j / 4 : 0];
            d = __dp4a(codes[j], in.x[j], d);
        }
        if constexpr (S::kHalves == 2) {
            sum = fmaf(in.scale * unit.super_scale(r), float(unit.of_half(r, 0) * dot[0] + unit.of_half(r, 1) * dot[1]),
                       sum);
            if constexpr (S::kMins)
                sum = fmaf(in.scale * unit.super_offset(r),
                           float(unit.min_of_half(r, 0) * in.sum[0] + unit.min_of_half(r, 1) * in.sum[1]), sum);
        } else {
            sum = fmaf(unit.scale(r), fmaf(__uint_as_float(uint32_t(dot[0])), in.scale, -in.scaled_begin), sum);
        }
    }
    if constexpr (S::kHalves == 1 && S::kMins) sum = fmaf(unit.offset(r), in.scaled_sum, sum);
    return sum;
}

// This lane's groups of a slot.
template <typename F> __device__ Unit<F> read_slot(const uint8_t *slot, uint32_t lanes) {
    const uint32_t lane = threadIdx.x % 32;
    Unit<F> unit;
    unit.high += threadIdx.y;  // 0, which the compiler does not know: it stays in a register
    if (lanes == kSlotLanes)   // places that are known
        unit.load(slot, kSlotLanes, lane);
    else
        unit.load(slot, lanes, min(lane, lanes - 1));
    return unit;
}

// Adds to sums [row][token] what a lane's groups give with the inputs of N tokens; `input`: where this slot of them
// begins, row_bytes from token to token.
template <typename F, int N> __device__ void add_products(const Unit<F> &unit, uint32_t lanes, const uint8_t *input,
                                                          uint32_t row_bytes, float sums[4 * N]) {
    const uint32_t lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < N; ++t) {
        const GroupInput<F> in(input + size_t(t) * row_bytes, lane, lane < lanes);
#pragma unroll
        for (int r = 0; r < Unit<F>::kRows; ++r) sums[r * N + t] = add_row(unit, r, in, sums[r * N + t]);
    }
}

// The same from a slot in shared memory; there is memory for N tokens, however many there are. `release` is called when
// the slot has been read.
template <typename F, int N, typename Release> __device__ void multiply(const uint8_t *slot, uint32_t lanes,
                                                                        const uint8_t *input, uint32_t row_bytes,
                                                                        float sums[4 * N], Release release) {
    const Unit<F> unit = read_slot<F>(slot, lanes);
    release();
    add_products<F, N>(unit, lanes, input, row_bytes, sums);
}

}  // namespace el::cuda
