// Few tokens times the experts that their routes have chosen: each pair of a token and an expert is a matrix of its
// own, and blocks share all tiles of all pairs. Nothing can be asked for before the routes are known.
#include "ops/matvec.h"
#include "ops/slot.cuh"

#include <algorithm>

namespace el::cuda {
namespace {

constexpr uint32_t kMostPairs = 128;

struct Args {
    const uint8_t *data, *input;  // input [rows, row_bytes]
    const float *bias, *route;    // bias [n_experts, rows]; NULL: none
    float *out;                   // [n_pairs, rows]
    uint32_t rows, tiles, tile_rows, tile_bytes, slot_bytes, last_bytes, slots, last_lanes;  // of one expert
    uint32_t row_bytes, n_pairs, n_used;
    uint32_t stage_bytes, n_stages, sums_at;  // sums_at: in shared memory
    bool own_input;
    Format format;
};

// Which of the slots of all pairs: `tile` counts the tiles of all of them.
struct Place {
    uint32_t tile, slot;
    __device__ Place(const Args &a, uint32_t unit) : tile(unit / a.slots), slot(unit % a.slots) {}
    __device__ uint32_t pair(const Args &a) const { return tile / a.tiles; }
    __device__ bool last(const Args &a) const { return slot + 1 == a.slots; }
};

__global__ void __launch_bounds__(32 * kMatvecWarps, 2) expert_matvec_kernel(const __grid_constant__ Args a) {
    __shared__ uint32_t experts[kMostPairs];
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    __shared__ RingBarriers barriers[kMatvecWarps];
    SlotCopies copies(dynamic_shared() + warp * a.n_stages * a.stage_bytes, a.n_stages, a.stage_bytes, barriers[warp]);
    float *sums = reinterpret_cast<float *>(dynamic_shared() + a.sums_at);
    const uint64_t all = uint64_t(a.n_pairs) * a.tiles;
    const uint32_t first = uint32_t(all * blockIdx.x / gridDim.x), end = uint32_t(all * (blockIdx.x + 1) / gridDim.x),
                   last_unit = end * a.slots;
    wait_for_predecessor();
    for (uint32_t i = threadIdx.x; i < a.n_pairs; i += blockDim.x)
        experts[i] = uint32_t(a.route[i / a.n_used * 2 * a.n_used + i % a.n_used]);
    __syncthreads();

    uint32_t asked = first * a.slots + warp;
    auto ask = [&](uint32_t stage) {
        if (asked < last_unit) {
            const Place p(a, asked);
            const size_t tile = size_t(experts[p.pair(a)]) * a.tiles + p.tile % a.tiles;
            copies.ask(stage, a.data + tile * a.tile_bytes + p.slot * a.slot_bytes,
                       p.last(a) ? a.last_bytes : a.slot_bytes);
            asked += warps;
        } else {
            copies.ask_nothing();
            let_successor_start();
        }
    };
    for (uint32_t i = 0; i < a.n_stages; ++i) ask(i);
    with_packed_format(a.format, [&](auto f) {
        for (uint32_t unit = first * a.slots + warp; unit < last_unit; unit += warps) {
            const uint8_t *slot = copies.wait();
            const Place p(a, unit);
            const uint32_t row = a.own_input ? p.pair(a) : p.pair(a) / a.n_used;
            float sum[4] = {};
            multiply<typename decltype(f)::type, 1>(slot, p.last(a) ? a.last_lanes : kSlotLanes,
                                                    a.input + size_t(row) * a.row_bytes + p.slot * kInputSlotBytes,
                                                    a.row_bytes, sum, [&] {
                                                        __syncwarp();
                                                        ask(copies.stage());
                                                    });
            copies.next();
            const float total = reduce<4>(sum);
            if (lane < 4) sums[(unit - first * a.slots) * 4 + lane] = total;
        }
    });
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < (end - first) * 4; i += blockDim.x) {
        const uint32_t tile = first + i / 4, pair = tile / a.tiles, row = tile % a.tiles * a.tile_rows + i % 4;
        if (i % 4 >= a.tile_rows || row >= a.rows) continue;
        float y = 0;
        for (uint32_t s = 0; s < a.slots; ++s) y += sums[(i / 4 * a.slots + s) * 4 + i % 4];
        y *= factor_of(a.input, a.row_bytes, a.own_input ? pair : pair / a.n_used);
        if (a.bias) y += a.bias[experts[pair] * a.rows + row];
        a.out[size_t(pair) * a.rows + row] = y;
    }
}

}  // namespace

bool expert_matvec(const ExpertCall &e, uint8_t *quantized, const Chip &chip, cudaStream_t stream) {
    const LinearCall &c = e.linear;
    const PackedShape s = packed_shape(c.m.format);
    if (!matvec_supported(c.m, c.row_begin, c.col_begin, c.cols) || c.row_begin != 0 || c.rows % s.rows != 0 ||
        uint32_t(c.n) > kMostPairs)
        return false;
    const int n_inputs = e.own_input ? c.n : c.n / int(e.n_used);
    Args a = {};
    a.data = c.m.data;
    a.input = quantized;
    a.bias = c.bias;
    a.route = e.route;
    a.out = c.out;
    a.rows = c.rows;
    a.tiles = uint32_t(s.tiles(c.rows));
    a.tile_rows = s.rows;
    a.tile_bytes = uint32_t(s.tile_bytes(c.cols));
    a.slots = PackedShape::slots(c.cols);
    a.last_lanes = PackedShape::last_lanes(c.cols);
    a.slot_bytes = uint32_t(s.slot_bytes(kSlotLanes));
    a.last_bytes = uint32_t(s.slot_bytes(a.last_lanes));
    a.row_bytes = uint32_t(quantized_row_bytes(c.cols));
    a.n_pairs = uint32_t(c.n);
    a.n_used = e.n_used;
    a.own_input = e.own_input;
    a.format = c.m.format;
    a.stage_bytes = a.slots > 1 ? a.slot_bytes : a.last_bytes;
    const uint32_t all = a.n_pairs * a.tiles, round = uint32_t(chip.n_multiprocessors);
    auto sum_bytes = [&](uint32_t blocks) { return size_t(all / blocks + 1) * a.slots * 4 * sizeof(float); };
    uint32_t blocks = std::min(round, all);
    while (sum_bytes(blocks) > kMostSums && blocks < all) blocks = std::min(blocks + round, all);
    const Ring ring(kMatvecWarps, a.stage_bytes, sum_bytes(blocks), most_shared_bytes(chip), 80 << 10);
    a.n_stages = ring.n_stages;
    a.sums_at = uint32_t(ring.bytes());
    quantize_rows({c.x, c.cols, n_inputs, false, nullptr, 0, quantized}, chip.early, stream);
    allow_shared(expert_matvec_kernel, most_shared_bytes(chip));
    launch_early(expert_matvec_kernel, {blocks, 32 * ring.warps, ring.bytes() + sum_bytes(blocks)}, stream, chip.early,
                 a);
    return true;
}

}  // namespace el::cuda
