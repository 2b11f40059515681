// One block per multiprocessor walks through its share of tiles, whose slots its warps take in turn. They come through
// a ring of each warp's own in shared memory: weights are on their way while earlier ones are multiplied, and, as they
// depend on no other kernel, before the kernel before this one has ended.
#include "ops/activation.cuh"
#include "ops/matvec.h"
#include "ops/slot.cuh"

#include <algorithm>

namespace el::cuda {
namespace {

constexpr uint32_t kMostBlocks = 512;

struct Part {
    const uint8_t *data;
    const float *bias;
    float *out;
    uint32_t rows, tiles, slot_bytes, last_bytes, tile_bytes;
    Format format;
    uint8_t tile_rows;
};

struct Args {
    Part part[kMatvecParts];
    int n_parts, n, n_stages;
    uint32_t cols, slots, last_lanes, stage_bytes, sums_at, input_at;  // the latter two: in shared memory
    uint32_t step_tiles, step_slots;                                   // as many slots further as a block has warps
    const float *x, *norm_weight, *residual;
    const uint8_t *quantized;
    uint32_t row_bytes;
    bool norm, gate;
    float epsilon;
    ActivationKind activation;
    uint32_t first_tile[kMostBlocks + 1];  // of each block's share
};

// A block's share of each part's tiles. Their slots, part after part, go to its warps in turn, so that together they
// read one long run of memory.
struct Share {
    uint32_t first[kMatvecParts], tiles[kMatvecParts], all_tiles;
    __device__ void find(const Args &a) {
        const uint32_t begin = a.first_tile[blockIdx.x], end = a.first_tile[blockIdx.x + 1];
        uint32_t before = 0;
        all_tiles = 0;
        for (int p = 0; p < a.n_parts; ++p) {
            const uint32_t n = a.part[p].tiles;
            first[p] = min(max(begin, before), before + n) - before;
            tiles[p] = min(max(end, before), before + n) - before - first[p];
            all_tiles += tiles[p];
            if (!a.gate) before += n;
        }
    }
};

// Walks through a warp's slots of a block's share.
struct Cursor {
    uint32_t part, tile, slot;  // tile: of the share's tiles of the part
    __device__ Cursor(const Args &a, const Share &share, uint32_t unit)
        : part(0), tile(unit / a.slots), slot(unit % a.slots) {
        find_part(a, share);
    }
    __device__ void next(const Args &a, const Share &share) {
        tile += a.step_tiles;
        slot += a.step_slots;
        if (slot >= a.slots) {
            slot -= a.slots;
            ++tile;
        }
        find_part(a, share);
    }
    __device__ bool exists(const Args &a) const { return int(part) < a.n_parts; }

  private:
    __device__ void find_part(const Args &a, const Share &share) {
        while (int(part) < a.n_parts && tile >= share.tiles[part]) tile -= share.tiles[part++];
    }
};

// Asks for a slot, if there is one left, and goes on to the next.
__device__ void ask(const Args &a, const Share &share, Cursor &ahead, uint8_t *to) {
    if (ahead.exists(a)) {
        const Part &p = a.part[ahead.part];
        const uint8_t *from =
            p.data + size_t(share.first[ahead.part] + ahead.tile) * p.tile_bytes + ahead.slot * p.slot_bytes;
        copy_slot(to, from, ahead.slot + 1 == a.slots ? p.last_bytes : p.slot_bytes);
        ahead.next(a, share);
    } else {
        let_successor_start();  // not before, as what it asks for early would only delay what is wanted now
    }
    close_copies();
}

// The sum of row r for token t of a tile over its slots.
template <int N> __device__ float tile_sum(const Args &a, const float *sums, uint32_t tile, int r, int t) {
    float sum = 0;
    for (uint32_t s = 0; s < a.slots; ++s) sum += sums[(tile * a.slots + s) * 4 * N + r * N + t];
    return sum;
}

// One value to finish: `index` counts those of the block.
template <int N> struct Output {
    uint32_t tile, part = 0, row = 0;
    int r, t;
    bool exists;

    __device__ Output(const Args &a, const Share &share, uint32_t index)
        : tile(index / (4 * N)), r(int(index / N % 4)), t(int(index % N)) {
        exists = t < a.n && tile < (a.gate ? share.tiles[0] : share.all_tiles);
        if (!exists) return;
        uint32_t in_part = tile;
        while (in_part >= share.tiles[part]) in_part -= share.tiles[part++];
        row = (share.first[part] + in_part) * a.part[part].tile_rows + uint32_t(r);
        exists = r < a.part[part].tile_rows && row < a.part[part].rows;
    }
    __device__ float residual(const Args &a) const {
        return exists && a.residual && part == 0 ? a.residual[size_t(t) * a.part[0].rows + row] : 0.0f;
    }
    __device__ void finish(const Args &a, const Share &share, const float *sums, const float *squares,
                           float residual) const {
        if (!exists) return;
        const Part &p = a.part[part];
        float factor = 1;
        if (N > 1)
            factor = factor_of(a.quantized, a.row_bytes, uint32_t(t));
        else if (a.norm)
            factor = norm_factor(squares, a.cols, a.epsilon);
        float y = factor * tile_sum<N>(a, sums, tile, r, t) + (p.bias ? p.bias[row] : 0.0f);
        if (a.gate) {
            const float *bias = a.part[1].bias;
            const float b = factor * tile_sum<N>(a, sums, share.tiles[0] + tile, r, t) + (bias ? bias[row] : 0.0f);
            y = gated(a.activation, y, b);
        }
        p.out[size_t(t) * p.rows + row] = y + residual;
    }
};

template <int N> __global__ void __launch_bounds__(kMostThreads, N == 1 ? 2 : 1)
    matvec_kernel(const __grid_constant__ Args a) {
    __shared__ float squares[kMostWarps];
    __shared__ Share share;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    uint8_t *shared = dynamic_shared(), *ring = shared + warp * a.n_stages * a.stage_bytes,
            *input = shared + a.input_at;
    float *sums = reinterpret_cast<float *>(shared + a.sums_at);
    if (threadIdx.x == 0) share.find(a);
    __syncthreads();
    Cursor ahead(a, share, warp), at = ahead;
    for (int i = 0; i < a.n_stages; ++i) ask(a, share, ahead, ring + i * a.stage_bytes);
    const Eight weights = first_weights(N == 1 ? a.norm_weight : nullptr, a.cols);

    wait_for_predecessor();
    const float residual = Output<N>(a, share, threadIdx.x).residual(a);
    if constexpr (N == 1) {
        const float sum = warp_sum(quantize_row(a.x, a.norm_weight, weights, a.cols, input));
        if (lane == 0) squares[warp] = sum;
        __syncthreads();
    }
    const uint8_t *rows = N == 1 ? input : a.quantized;
    uint32_t stage = 0, unit = warp;
    while (at.exists(a)) {
        const uint32_t part = at.part;
        with_packed_format(a.part[part].format, [&](auto f) {
            while (at.part == part) {
                wait_for_copies(a.n_stages - 1);
                __syncwarp();
                float sum[4 * N] = {};
                multiply<typename decltype(f)::type, N>(ring + stage,
                                                        at.slot + 1 == a.slots ? a.last_lanes : kSlotLanes,
                                                        rows + at.slot * kInputSlotBytes, a.row_bytes, sum, [&] {
                                                            __syncwarp();
                                                            ask(a, share, ahead, ring + stage);
                                                        });
                stage = stage + a.stage_bytes == a.n_stages * a.stage_bytes ? 0 : stage + a.stage_bytes;
                const float total = reduce<4 * N>(sum);
                if (lane < 4 * N) sums[unit * 4 * N + lane] = total;
                unit += blockDim.x / 32;
                at.next(a, share);
            }
        });
    }
    __syncthreads();
    Output<N>(a, share, threadIdx.x).finish(a, share, sums, squares, residual);
    for (uint32_t i = threadIdx.x + blockDim.x; i < share.all_tiles * 4 * N; i += blockDim.x) {
        const Output<N> other(a, share, i);
        other.finish(a, share, sums, squares, other.residual(a));
    }
}

Part part_of(const MatvecPart &p, uint32_t cols) {
    const PackedShape s = packed_shape(p.m.format);
    Part out = {};
    out.data = p.m.data;
    out.bias = p.bias;
    out.out = p.out;
    out.rows = p.rows;
    out.tiles = uint32_t(s.tiles(p.rows));
    out.slot_bytes = uint32_t(s.slot_bytes(kSlotLanes));
    out.last_bytes = uint32_t(s.slot_bytes(PackedShape::last_lanes(cols)));
    out.tile_bytes = uint32_t(s.tile_bytes(cols));
    out.data += size_t(p.row_begin / s.rows) * out.tile_bytes;
    out.format = p.m.format;
    out.tile_rows = s.rows;
    return out;
}

// Shares of equal bytes, told by where they begin among the tiles of all parts, one part after the other; with a gate,
// whose two parts are alike, among the tiles of either.
void share_out(Args &a, uint32_t n_blocks) {
    uint64_t all = 0, passed = 0;  // bytes
    for (int i = 0; i < a.n_parts; ++i) all += uint64_t(a.part[i].tiles) * a.part[i].tile_bytes;
    uint32_t part = 0, before = 0;  // tiles of earlier parts
    for (uint32_t b = 0; b <= n_blocks; ++b) {
        const uint64_t target = all * b / n_blocks;
        if (a.gate) {
            a.first_tile[b] = uint32_t(uint64_t(a.part[0].tiles) * b / n_blocks);
            continue;
        }
        while (part + 1 < uint32_t(a.n_parts) &&
               target > passed + uint64_t(a.part[part].tiles) * a.part[part].tile_bytes) {
            passed += uint64_t(a.part[part].tiles) * a.part[part].tile_bytes;
            before += a.part[part++].tiles;
        }
        a.first_tile[b] = before + uint32_t((target - passed + a.part[part].tile_bytes - 1) / a.part[part].tile_bytes);
    }
}

size_t input_bytes(const Args &a) { return size_t(a.slots) * kInputSlotBytes; }

// The product of some of the tokens, which are quantized in memory.
Args tokens_of(const Args &all, int first, int n) {
    Args a = all;
    a.n = n;
    a.quantized += size_t(first) * a.row_bytes;
    if (a.residual) a.residual += size_t(first) * a.part[0].rows;
    for (int i = 0; i < a.n_parts; ++i) a.part[i].out += size_t(first) * a.part[i].rows;
    return a;
}

template <int N> void start(Args &a, const Chip &chip, cudaStream_t stream) {
    uint32_t tiles = 0, largest = 0;
    for (int i = 0; i < a.n_parts; ++i) {
        tiles += a.part[i].tiles;
        largest = std::max({largest, a.part[i].last_bytes, a.slots > 1 ? a.part[i].slot_bytes : 0});
    }
    a.stage_bytes = largest;
    const auto round = std::min(uint32_t(chip.n_multiprocessors), kMostBlocks);
    const uint32_t most_blocks = std::min(kMostBlocks / round * round, a.gate ? tiles / 2 : tiles);
    uint32_t blocks = std::min(round, most_blocks);
    auto sum_bytes = [&] {
        share_out(a, blocks);
        uint32_t largest_share = 0;
        for (uint32_t b = 0; b < blocks; ++b)
            largest_share = std::max(largest_share, a.first_tile[b + 1] - a.first_tile[b]);
        return size_t(largest_share) * (a.gate ? 2 : 1) * a.slots * 4 * N * sizeof(float);
    };
    while (sum_bytes() > kMostSums && blocks < most_blocks) blocks = std::min(blocks + round, most_blocks);
    const size_t others = PackedShape::align(sum_bytes()) + (N == 1 ? input_bytes(a) : 0);
    if constexpr (N > 2)  // sums of the largest matrices may leave no room for weights
        if (others + 2 * size_t(largest) > most_shared_bytes(chip)) {
            for (int first = 0; first < a.n; first += N / 2) {
                Args half = tokens_of(a, first, std::min(N / 2, a.n - first));
                start<N / 2>(half, chip, stream);
            }
            return;
        }
    const Ring ring(largest, others, most_shared_bytes(chip));
    a.n_stages = int(ring.n_stages);
    a.step_tiles = ring.warps / a.slots;
    a.step_slots = ring.warps % a.slots;
    a.sums_at = uint32_t(ring.bytes());
    a.input_at = uint32_t(a.sums_at + PackedShape::align(sum_bytes()));
    launch_early(matvec_kernel<N>, {blocks, 32 * ring.warps, ring.bytes() + others}, stream, chip.early, a);
}

}  // namespace

bool matvec_supported(const Matrix &m, uint32_t row_begin, uint32_t col_begin, uint32_t cols) {
    return m.packed && col_begin == 0 && cols == m.cols && row_begin % packed_shape(m.format).rows == 0;
}

size_t matvec_scratch(uint32_t cols) { return quantized_row_bytes(cols); }

void matvec(const MatvecCall &c, const Chip &chip, cudaStream_t stream) {
    Args a = {};
    for (int i = 0; i < c.n_parts; ++i) a.part[i] = part_of(c.part[i], c.cols);
    a.n_parts = c.n_parts;
    a.n = c.n;
    a.cols = c.cols;
    a.slots = PackedShape::slots(c.cols);
    a.last_lanes = PackedShape::last_lanes(c.cols);
    a.x = c.x;
    a.norm = c.norm;
    a.norm_weight = c.norm_weight;
    a.epsilon = c.epsilon;
    a.residual = c.residual;
    a.gate = c.gate;
    a.activation = c.activation;
    a.quantized = c.quantized;
    a.row_bytes = uint32_t(matvec_scratch(c.cols));
    // A row that fits into shared memory is quantized there, by every block.
    if (c.n == 1 && input_bytes(a) <= most_shared_bytes(chip) / 3) return start<1>(a, chip, stream);
    quantize_rows({c.x, c.cols, c.n, c.norm, c.norm_weight, c.epsilon, c.quantized}, chip.early, stream);
    if (c.n <= 2) return start<2>(a, chip, stream);
    if (c.n <= 4) return start<4>(a, chip, stream);
    start<8>(a, chip, stream);
}

void matvec_prepare(const Chip &chip) {
    expert_matvec_prepare(chip);
    allow_shared(matvec_kernel<1>, most_shared_bytes(chip));
    allow_shared(matvec_kernel<2>, most_shared_bytes(chip));
    allow_shared(matvec_kernel<4>, most_shared_bytes(chip));
    allow_shared(matvec_kernel<8>, most_shared_bytes(chip));
}

}  // namespace el::cuda
