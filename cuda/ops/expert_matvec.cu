// Few tokens times the experts that their routes have chosen. Blocks share the tiles of all experts that any token has
// chosen, and multiply each slot with the inputs of all of its expert's tokens, so that weights are read once. Nothing
// can be asked for before the routes are known.
#include "ops/matvec.h"
#include "ops/slot.cuh"

#include <algorithm>

namespace el::cuda {
namespace {

constexpr uint32_t kMostPairs = 128;               // of a token and an expert
constexpr uint32_t kSumBytes = 4 * sizeof(float);  // of a slot's rows and one input

struct Args {
    const uint8_t *data, *input;  // input [rows, row_bytes]
    const float *bias, *route;    // bias [n_experts, rows]; NULL: none
    float *out;                   // [n_pairs, rows]
    uint32_t rows, tiles, tile_rows, tile_bytes, slot_bytes, last_bytes, slots, last_lanes;  // of one expert
    uint32_t row_bytes, n_pairs, n_used;
    uint32_t stage_bytes, n_stages, chosen_at, sums_at;  // the latter two: in shared memory
    uint32_t step_tiles, step_slots;                     // from one slot of a warp to its next
    uint32_t n_sums;                                     // that there is room for, of four rows each
    bool own_input;
    Format format;

    __device__ uint32_t input_row(uint32_t pair) const { return own_input ? pair : pair / n_used; }
};

// How many of the first `index` bits of several words are 1 in word `word`.
__device__ uint32_t ones_before(uint32_t index, uint32_t word, uint32_t bits) {
    const int n = int(index) - 32 * int(word);
    return __popc(n >= 32 ? bits : n <= 0 ? 0 : bits & ((1u << n) - 1));
}

// The experts that routes have chosen, in the order of their first pairs, in shared memory. kMany: several tokens may
// have chosen the same one, each once; otherwise each pair has an expert of its own.
template <bool kMany> struct Chosen {
    uint32_t expert_of[kMostPairs];  // a pair
    // Of 32 pairs each: which are the first of their expert, the most pairs of one expert.
    uint32_t firsts[kMostPairs / 32], most[kMostPairs / 32];
    uint8_t n_pairs[kMostPairs], pairs[kMostPairs][kMatvecTokens];  // of each expert

    struct Size {
        uint32_t n_experts, most_pairs;  // of one of these
    };
    // By the whole block, which has a thread for each pair.
    __device__ Size find(const Args &a) {
        const uint32_t p = threadIdx.x, lane = p % 32, words = (a.n_pairs + 31) / 32;
        const bool exists = p < a.n_pairs;
        const uint32_t own = exists ? uint32_t(a.route[p / a.n_used * 2 * a.n_used + p % a.n_used]) : ~0u;
        if (p < 32 * words) expert_of[p] = own;
        __syncthreads();
        if (!kMany) return {a.n_pairs, 1};
        uint32_t first = kMostPairs, before = 0, n = 0;
        if (p < 32 * words) {
            for (uint32_t w = 0; w < words; ++w) {
                uint32_t same = 0;
#pragma unroll 8
                for (uint32_t i = 0; i < 32; ++i) same |= uint32_t(expert_of[32 * w + i] == own) << i;
                if (same) first = min(first, 32 * w + uint32_t(__ffs(int(same))) - 1);
                before += ones_before(p, w, same);
                n += __popc(same);
            }
            const uint32_t is_first = __ballot_sync(~0u, exists && before == 0);
            const uint32_t largest = __reduce_max_sync(~0u, exists ? n : 0);
            if (lane == 0) firsts[p / 32] = is_first, most[p / 32] = largest;
        }
        __syncthreads();
        Size size = {0, 1};
        uint32_t index = 0;
        for (uint32_t w = 0; w < words; ++w) {
            index += ones_before(first, w, firsts[w]);
            size.n_experts += __popc(firsts[w]);
            size.most_pairs = max(size.most_pairs, most[w]);
        }
        if (exists) {
            pairs[index][before] = uint8_t(p);
            if (before == 0) n_pairs[index] = uint8_t(n);
        }
        __syncthreads();
        return size;
    }
    __device__ uint32_t size(uint32_t i) const { return kMany ? n_pairs[i] : 1; }
    __device__ uint32_t pair(uint32_t i, uint32_t t) const { return kMany ? pairs[i][t] : i; }
    __device__ uint32_t expert(uint32_t i) const { return expert_of[pair(i, 0)]; }
};

// Tiles of all chosen experts, one expert after the other.
struct Tiles {
    uint32_t begin, end;
};

// Walks through a warp's slots of them.
struct Cursor {
    uint32_t unit, slot, tile, chosen;  // unit: counts all slots; tile: of the expert
    __device__ Cursor(const Args &a, uint32_t unit_)
        : unit(unit_), slot(unit % a.slots), tile(unit / a.slots % a.tiles), chosen(unit / a.slots / a.tiles) {}
    __device__ void next(const Args &a) {
        unit += blockDim.x / 32;
        slot += a.step_slots;
        tile += a.step_tiles;
        if (slot >= a.slots) {
            slot -= a.slots;
            ++tile;
        }
#pragma unroll 1
        for (; tile >= a.tiles; tile -= a.tiles) ++chosen;
    }
    __device__ bool last(const Args &a) const { return slot + 1 == a.slots; }
};

// What becomes of the sums [pair of an expert][tile][slot][4 rows] of `tiles`; there is room for `room` tiles of a
// pair.
template <bool kMany> __device__ void finish(const Args &a, const Chosen<kMany> &chosen, Tiles tiles, uint32_t room,
                                             uint32_t most_pairs, const float *sums) {
    const uint32_t n = (tiles.end - tiles.begin) * 4;
    for (uint32_t i = threadIdx.x; i < n * most_pairs; i += blockDim.x) {
        const uint32_t t = kMany ? i / n : 0, at = (i - t * n) / 4, r = i % 4, tile = tiles.begin + at;
        const uint32_t c = tile / a.tiles, row = tile % a.tiles * a.tile_rows + r;
        if (r >= a.tile_rows || row >= a.rows || t >= chosen.size(c)) continue;
        float y = 0;
        for (uint32_t s = 0; s < a.slots; ++s) y += sums[((t * room + at) * a.slots + s) * 4 + r];
        const uint32_t pair = chosen.pair(c, t);
        y *= factor_of(a.input, a.row_bytes, a.input_row(pair));
        if (a.bias) y += a.bias[size_t(chosen.expert(c)) * a.rows + row];
        a.out[size_t(pair) * a.rows + row] = y;
    }
}

template <bool kMany> __global__ void __launch_bounds__(32 * kMatvecWarps, 2)
    expert_matvec_kernel(const __grid_constant__ Args a) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    __shared__ RingBarriers barriers[kMatvecWarps];
    SlotCopies copies(dynamic_shared() + warp * a.n_stages * a.stage_bytes, a.n_stages, a.stage_bytes, barriers[warp]);
    auto &chosen = *reinterpret_cast<Chosen<kMany> *>(dynamic_shared() + a.chosen_at);
    float *sums = reinterpret_cast<float *>(dynamic_shared() + a.sums_at);
    wait_for_predecessor();
    const auto [n_experts, most_pairs] = chosen.find(a);
    const uint64_t all = uint64_t(n_experts) * a.tiles;
    const Tiles mine = {uint32_t(all * blockIdx.x / gridDim.x), uint32_t(all * (blockIdx.x + 1) / gridDim.x)};

    Cursor at(a, mine.begin * a.slots + warp), ahead = at;
    auto ask = [&](uint32_t stage, bool again) {
        if (ahead.unit < mine.end * a.slots) {
            const size_t tile = size_t(chosen.expert(ahead.chosen)) * a.tiles + ahead.tile;
            copies.ask(stage, a.data + tile * a.tile_bytes + ahead.slot * a.slot_bytes,
                       ahead.last(a) ? a.last_bytes : a.slot_bytes, again);
            ahead.next(a);
        } else {
            copies.ask_nothing();
            let_successor_start();
        }
    };
    for (uint32_t i = 0; i < a.n_stages; ++i) ask(i, false);
    const uint32_t room = a.n_sums / (a.slots * most_pairs);
    for (Tiles now = {mine.begin, 0}; now.begin < mine.end; now.begin = now.end) {
        now.end = min(now.begin + room, mine.end);
        with_packed_format(a.format, [&](auto f) {
            using F = typename decltype(f)::type;
            for (; at.unit < now.end * a.slots; at.next(a)) {
                const uint32_t lanes = at.last(a) ? a.last_lanes : kSlotLanes, n = chosen.size(at.chosen);
                const Unit<F> weights = read_slot<F>(copies.wait(), lanes);
                ask(copies.stage(), true);
                copies.next();
                const uint8_t *input = a.input + at.slot * kInputSlotBytes;
#pragma unroll 1  // weights stay decoded, and the code short
                for (uint32_t t = 0; t < n; ++t) {
                    const uint8_t *row = input + size_t(a.input_row(chosen.pair(at.chosen, t))) * a.row_bytes;
                    float sum[4] = {};
                    add_products<F, 1>(weights, lanes, row, 0, sum);
                    const float total = reduce<4>(sum);
                    if (lane < 4) sums[((t * room - now.begin) * a.slots + at.unit) * 4 + lane] = total;
                }
            }
        });
        __syncthreads();
        finish(a, chosen, now, room, most_pairs, sums);
        __syncthreads();  // before the next ones' sums
    }
}

}  // namespace

bool expert_matvec(const ExpertCall &e, uint8_t *quantized, const Chip &chip, cudaStream_t stream) {
    const LinearCall &c = e.linear;
    const PackedShape s = packed_shape(c.m.format);
    const uint32_t n_tokens = uint32_t(c.n) / e.n_used;
    if (!matvec_supported(c.m, c.row_begin, c.col_begin, c.cols) || c.row_begin != 0 || c.rows % s.rows != 0 ||
        uint32_t(c.n) > kMostPairs || n_tokens > kMatvecTokens)
        return false;
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
    // Blocks have room for the sums of their share if every pair has an expert of its own.
    const uint32_t all = a.n_pairs * a.tiles, blocks = std::min(uint32_t(chip.n_multiprocessors), all);
    a.n_sums = std::max(std::min((all / blocks + 1) * a.slots, uint32_t(kMostSums) / kSumBytes), n_tokens * a.slots);
    const size_t others = sizeof(Chosen<true>) + a.n_sums * kSumBytes;
    const Ring ring(kMatvecWarps, a.stage_bytes, others, most_shared_bytes(chip), 80 << 10);
    if (32 * ring.warps < a.n_pairs) return false;
    a.n_stages = ring.n_stages;
    a.step_tiles = ring.warps / a.slots;
    a.step_slots = ring.warps % a.slots;
    a.chosen_at = uint32_t(ring.bytes());
    a.sums_at = a.chosen_at + uint32_t(sizeof(Chosen<true>));
    quantize_rows({c.x, c.cols, int(e.own_input ? a.n_pairs : n_tokens), false, nullptr, 0, quantized}, chip.early,
                  stream);
    const auto kernel = n_tokens == 1 ? expert_matvec_kernel<false> : expert_matvec_kernel<true>;
    allow_shared(kernel, most_shared_bytes(chip));
    launch_early(kernel, {blocks, 32 * ring.warps, ring.bytes() + others}, stream, chip.early, a);
    return true;
}

}  // namespace el::cuda
