// One block per multiprocessor walks through its share of tiles. Each warp takes a run of slots, which come through a
// ring of its own in shared memory: weights are on their way while earlier ones are multiplied, and, as they depend on
// no other kernel, before the kernel before this one has ended.
#include "async_copy.cuh"
#include "launch.h"
#include "ops/activation.cuh"
#include "ops/matvec.h"
#include "packed.cuh"

#include <algorithm>

namespace el::cuda {
namespace {

constexpr int kMostWarps = 12, kMostThreads = 32 * kMostWarps, kMostStages = 4;
constexpr uint32_t kMostBlocks = 512;
constexpr uint32_t kMostSlotBytes = 3584;  // rounded up
constexpr size_t kRingBytes = 80 << 10;    // two blocks share a multiprocessor where one follows the other

// ---- the input in 8 bits, a scale for each group of 32

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
__device__ Eight first_weights(const float *weight, uint32_t n) { return Eight(weight, 8 * threadIdx.x, n, 1.0f); }

// Quantizes a row of n floats by all threads of the block, and returns this thread's sum of their squares. A group with
// a NaN gets the scale NaN.
__device__ float quantize_row(const float *x, const float *weight, Eight weights, uint32_t n, uint8_t *out) {
    float squares = 0;
    Eight next(x, 8 * threadIdx.x, n, 0.0f);  // one turn ahead
    for (uint32_t begin = 0; begin < n; begin += 8 * blockDim.x) {
        const uint32_t i = begin + 8 * threadIdx.x;
        const Eight factors = weights;
        Eight values = next;
        float(&v)[8] = values.v;
        next = Eight(x, i + 8 * blockDim.x, n, 0.0f);
        weights = Eight(weight, i + 8 * blockDim.x, n, 1.0f);
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
        if (i >= n) continue;
        const uint32_t lane = i % kSlotCols / kGroup, half = i % kGroup / 16;
        uint8_t *slot = out + i / kSlotCols * kInputSlotBytes;
        *reinterpret_cast<uint2 *>(slot + half * (kSlotCols / 2) + lane * 16 + i % 16) = {bytes[0], bytes[1]};
        if (i % kGroup == 0)
            reinterpret_cast<GroupScale *>(slot + kSlotCols)[lane] = {most / 127.0f, {int16_t(sum), int16_t(other)}};
    }
    return squares;
}

__device__ float warp_sum(float x) {
    for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(~0u, x, i);
    return x;
}

__device__ float norm_factor(const float *squares_of_warps, uint32_t n, float epsilon) {
    float sum = 0;
    for (unsigned w = 0; w < blockDim.x / 32; ++w) sum += squares_of_warps[w];
    return rsqrtf(sum / float(n) + epsilon);
}

// A quantized row in global memory ends with the factor that its values still want.
constexpr uint32_t kFactorBytes = 16;

struct QuantizeArgs {
    const float *x, *weight;
    uint32_t cols, row_bytes;
    bool norm;
    float epsilon;
    uint8_t *out;
};
__global__ void __launch_bounds__(kMostThreads) quantize_kernel(const QuantizeArgs a) {
    __shared__ float squares[kMostWarps];
    let_successor_start();
    const Eight weights = first_weights(a.weight, a.cols);
    wait_for_predecessor();
    uint8_t *out = a.out + size_t(blockIdx.x) * a.row_bytes;
    const float mine = warp_sum(quantize_row(a.x + size_t(blockIdx.x) * a.cols, a.weight, weights, a.cols, out));
    if (threadIdx.x % 32 == 0) squares[threadIdx.x / 32] = mine;
    __syncthreads();
    if (threadIdx.x == 0)
        *reinterpret_cast<float *>(out + a.row_bytes - kFactorBytes) =
            a.norm ? norm_factor(squares, a.cols, a.epsilon) : 1.0f;
}

// ---- the products

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

// By a warp.
__device__ void copy_slot(uint8_t *to, const uint8_t *from, uint32_t bytes) {
    const uint32_t at = threadIdx.x % 32 * 16;
#pragma unroll
    for (uint32_t i = 0; i < kMostSlotBytes; i += 512)
        if (at + i < bytes) copy_async(to + at + i, from + at + i);
}

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
            factor = *reinterpret_cast<const float *>(a.quantized + size_t(t + 1) * a.row_bytes - kFactorBytes);
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

// What a block may ask for; the rest is for what a kernel has beside.
size_t most_shared_bytes(const Chip &chip) { return chip.block_shared_bytes - 1024; }
size_t input_bytes(const Args &a) { return size_t(a.slots) * kInputSlotBytes; }

template <int N> void start(Args &a, const Chip &chip, cudaStream_t stream) {
    uint32_t tiles = 0, largest = 0;
    for (int i = 0; i < a.n_parts; ++i) {
        tiles += a.part[i].tiles;
        largest = std::max({largest, a.part[i].last_bytes, a.slots > 1 ? a.part[i].slot_bytes : 0});
    }
    a.stage_bytes = largest;
    // A block keeps the sums of all its slots; what is too much for one round of blocks takes several.
    constexpr size_t kMostSums = 32 << 10;
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
    uint32_t warps = kMostWarps;
    while (warps > 1 && 2 * warps * largest + others > most_shared_bytes(chip)) --warps;
    a.n_stages = int(std::clamp<size_t>(kRingBytes / (size_t(warps) * largest), 2, kMostStages));
    while (a.n_stages > 2 && a.n_stages * warps * largest + others > most_shared_bytes(chip)) --a.n_stages;
    a.step_tiles = warps / a.slots;
    a.step_slots = warps % a.slots;
    a.sums_at = uint32_t(warps * size_t(a.n_stages) * a.stage_bytes);
    a.input_at = uint32_t(a.sums_at + PackedShape::align(sum_bytes()));
    launch_early(matvec_kernel<N>, {blocks, 32 * warps, a.sums_at + others}, stream, chip.early, a);
}

}  // namespace

bool matvec_supported(const Matrix &m, uint32_t row_begin, uint32_t col_begin, uint32_t cols) {
    return m.packed && col_begin == 0 && cols == m.cols && row_begin % packed_shape(m.format).rows == 0;
}

size_t matvec_scratch(uint32_t cols) { return size_t(PackedShape::slots(cols)) * kInputSlotBytes + kFactorBytes; }

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
    const QuantizeArgs q = {c.x, c.norm_weight, c.cols, a.row_bytes, c.norm, c.epsilon, c.quantized};
    launch_early(quantize_kernel, {unsigned(c.n), kMostThreads}, stream, chip.early, q);
    if (c.n <= 2) return start<2>(a, chip, stream);
    if (c.n <= 4) return start<4>(a, chip, stream);
    start<8>(a, chip, stream);
}

void matvec_prepare(const Chip &chip) {
    allow_shared(matvec_kernel<1>, most_shared_bytes(chip));
    allow_shared(matvec_kernel<2>, most_shared_bytes(chip));
    allow_shared(matvec_kernel<4>, most_shared_bytes(chip));
    allow_shared(matvec_kernel<8>, most_shared_bytes(chip));
}

}  // namespace el::cuda
