// One block per multiprocessor walks through its share of tiles, whose slots its warps take in turn. They come through
// a ring of each warp's own in shared memory: weights are on their way while earlier ones are multiplied, and, as they
// depend on no other kernel, before the kernel before this one has ended.
//
// Every stage of a step runs through code that the stage before has not used, and instructions come slowly from memory:
// what runs once is not unrolled, and a kernel has no more formats than it needs.
#pragma once
#include "ops/activation.cuh"
#include "ops/matvec.h"
#include "ops/slot.cuh"

namespace el::cuda {

struct MatvecSpan {
    const uint8_t *data;
    const float *bias;
    float *out;
    uint32_t rows, slot_bytes, last_bytes, tile_bytes;
    uint32_t tiles, each, more, turn;  // every block has `each` tiles, and `more` blocks from `turn` on one more
    Format format;
    uint8_t tile_rows;
};

struct MatvecArgs {
    int n_parts, n;
    uint32_t cols, slots, last_lanes, n_stages, stage_bytes, sums_at, input_at;  // the latter two: in shared memory
    uint32_t warps;                   // that take slots; others only help before and after
    uint32_t step_tiles, step_slots;  // as many slots further
    uint32_t row_bytes;
    bool norm, gate;
    ActivationKind activation;
    float epsilon, inverse_cols;
    const float *x, *norm_weight, *residual;
    const uint8_t *quantized;
    MatvecSpan part[kMatvecParts];
};

// A block's share of the tiles of a part. Its slots, part after part, go to the block's warps in turn, so that together
// they read long runs of memory.
struct Share {
    uint32_t first, n;
    __device__ explicit Share(const MatvecSpan &p) {
        const uint32_t i = blockIdx.x >= p.turn ? blockIdx.x - p.turn : blockIdx.x + gridDim.x - p.turn;
        first = i * p.each + min(i, p.more);
        n = p.each + (i < p.more);
    }
};

// Walks through a warp's slots of a block's share.
struct Cursor {
    int part = -1;
    uint32_t tile, end = 0, slot;  // tiles of the part
    __device__ Cursor(const MatvecArgs &a, uint32_t warp) : tile(warp / a.slots), slot(warp % a.slots) {
        if (warp >= a.warps) part = a.n_parts;
        find_part(a);
    }
    __device__ void next(const MatvecArgs &a) {
        tile += a.step_tiles;
        slot += a.step_slots;
        if (slot >= a.slots) {
            slot -= a.slots;
            ++tile;
        }
        if (tile >= end) find_part(a);
    }
    __device__ bool exists(const MatvecArgs &a) const { return part < a.n_parts; }
    __device__ bool last(const MatvecArgs &a) const { return slot + 1 == a.slots; }
    __device__ const uint8_t *data(const MatvecArgs &a) const {
        const MatvecSpan &p = a.part[part];
        return p.data + size_t(tile) * p.tile_bytes + slot * p.slot_bytes;
    }
    __device__ uint32_t bytes(const MatvecArgs &a) const {
        return last(a) ? a.part[part].last_bytes : a.part[part].slot_bytes;
    }

  private:
    __device__ void find_part(const MatvecArgs &a) {
#pragma unroll 1
        while (tile >= end && part < a.n_parts && ++part < a.n_parts) {
            const Share share(a.part[part]);
            tile = tile - end + share.first;
            end = share.first + share.n;
        }
    }
};

// Asks for a slot, if there is one left, and goes on to the next.
__device__ inline void ask(const MatvecArgs &a, Cursor &ahead, const SlotCopies &copies, uint32_t stage) {
    if (!ahead.exists(a)) return copies.ask_nothing();
    copies.ask(stage, ahead.data(a), ahead.bytes(a));
    ahead.next(a);
}

// The sum of row r for token t of a tile over its slots.
template <int N> __device__ float tile_sum(const MatvecArgs &a, const float *sums, uint32_t tile, int r, int t) {
    float sum = 0;
#pragma unroll 2
    for (uint32_t s = 0; s < a.slots; ++s) sum += sums[(tile * a.slots + s) * 4 * N + r * N + t];
    return sum;
}

// One value to finish: `index` counts those of the block.
template <int N> struct Output {
    uint32_t tile, row = 0;
    int part = 0, r, t;
    bool exists = false;

    __device__ Output(const MatvecArgs &a, uint32_t index)
        : tile(index / (4 * N)), r(int(index / N % 4)), t(int(index % N)) {
        uint32_t in_part = tile;
#pragma unroll 1
        for (; part < (a.gate ? 1 : a.n_parts); ++part) {
            const Share share(a.part[part]);
            if (in_part < share.n) {
                row = (share.first + in_part) * a.part[part].tile_rows + uint32_t(r);
                exists = t < a.n && r < a.part[part].tile_rows && row < a.part[part].rows;
                return;
            }
            in_part -= share.n;
        }
    }
    __device__ float residual(const MatvecArgs &a) const {
        return exists && a.residual && part == 0 ? a.residual[size_t(t) * a.part[0].rows + row] : 0.0f;
    }
    __device__ void finish(const MatvecArgs &a, const float *sums, float factor, float residual) const {
        if (!exists) return;
        const MatvecSpan &p = a.part[part];
        if (N > 1) factor = factor_of(a.quantized, a.row_bytes, uint32_t(t));
        float y = factor * tile_sum<N>(a, sums, tile, r, t) + (p.bias ? p.bias[row] : 0.0f);
        if (a.gate) {
            const float *bias = a.part[1].bias;
            const uint32_t other = Share(p).n + tile;
            y = gated(a.activation, y, factor * tile_sum<N>(a, sums, other, r, t) + (bias ? bias[row] : 0.0f));
        }
        p.out[size_t(t) * p.rows + row] = y + residual;
    }
};

template <int N, typename Formats> __device__ void matvec_block(const MatvecArgs &a) {
    __shared__ float4 squares[kSquares];
    __shared__ RingBarriers barriers[kMostWarps];
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint8_t *shared = dynamic_shared(), *input = shared + a.input_at;
    float *sums = reinterpret_cast<float *>(shared + a.sums_at);
    SlotCopies copies(shared + warp * a.n_stages * a.stage_bytes, a.n_stages, a.stage_bytes, barriers[warp]);
    Cursor ahead(a, warp), at = ahead;
#pragma unroll 1
    for (uint32_t i = 0; i < a.n_stages; ++i) ask(a, ahead, copies, i);
    let_successor_start();
    const Output<N> first(a, threadIdx.x);
    float residual, factor = 1;
    if constexpr (N == 1) {
        RowQuantizer row(a.norm_weight, a.cols);
        if (threadIdx.x < kSquares) squares[threadIdx.x] = {};
        __syncthreads();
        wait_for_predecessor();
        residual = first.residual(a);
        const float sum = warp_sum(row.run(a.x, input));
        if (lane == 0) reinterpret_cast<float *>(squares)[warp] = sum;
        __syncthreads();
    } else {
        wait_for_predecessor();
        residual = first.residual(a);
    }
    const uint8_t *rows = N == 1 ? input : a.quantized;
    uint32_t unit = warp;
    while (at.exists(a)) {
        const int part = at.part;
        const Format format = a.part[part].format;
        Formats::for_each([&](auto f) {
            if (decltype(f)::type::kFormat != format) return;
            while (at.part == part) {
                const uint8_t *slot = copies.wait();
                float sum[4 * N] = {};
                multiply<typename decltype(f)::type, N>(slot, at.last(a) ? a.last_lanes : kSlotLanes,
                                                        rows + at.slot * kInputSlotBytes, a.row_bytes, sum, [&] {
                                                            __syncwarp();
                                                            ask(a, ahead, copies, copies.stage());
                                                        });
                copies.next();
                const float total = reduce<4 * N>(sum);
                if (lane < 4 * N) sums[unit * 4 * N + lane] = total;
                unit += a.warps;
                at.next(a);
            }
        });
    }
    __syncthreads();
    if (N == 1 && a.norm) factor = norm_factor(squares, a.inverse_cols, a.epsilon);
    first.finish(a, sums, factor, residual);
#pragma unroll 1
    for (uint32_t i = threadIdx.x + blockDim.x;; i += blockDim.x) {
        const Output<N> other(a, i);
        if (other.part >= (a.gate ? 1 : a.n_parts)) break;
        other.finish(a, sums, factor, other.residual(a));
    }
}

template <typename... F> constexpr uint64_t format_bits(FormatList<F...>) {
    return ((uint64_t{1} << uint32_t(F::kFormat)) | ...);
}

// Calls visit(FormatList<...>()) with the formats of the parts, or with more: best those of all calls of a step, so
// that they share a kernel.
template <typename Visit> void with_formats_of(const MatvecArgs &a, uint64_t of_step, Visit visit) {
    uint64_t own = 0;
    for (int i = 0; i < a.n_parts; ++i) own |= uint64_t{1} << uint32_t(a.part[i].format);
    bool done = false;
    for (uint64_t wanted : {own | of_step, own}) {
        auto consider = [&](auto formats) {
            if (done || (wanted & ~format_bits(formats))) return;
            done = true;
            visit(formats);
        };
        PackedFormats::for_each([&](auto f) { consider(FormatList<typename decltype(f)::type>()); });
        consider(FormatList<Q4_K, Q6_K>());
        consider(FormatList<Q5_K, Q6_K>());
        if (wanted == own) consider(PackedFormats());
    }
}

// The kernels for more than one token, N: 2, 4 or 8.
template <int N>
void start_tokens(const MatvecArgs &a, uint64_t formats, const Grid &grid, const Chip &chip, cudaStream_t stream);

}  // namespace el::cuda
