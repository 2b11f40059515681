// Products of packed or float16 weights with many tokens by mma.sync: weights go from memory to registers, become
// float16 there and are used for all tokens of a tile; they are read once for each tile of tokens.
//
// The order of columns within a sum is free as long as both operands have the same. So a thread takes a whole group of
// 32 columns of 4 rows, as it lies in a tile of the packed matrix, and convert() puts activations in the order in which
// the four threads that share these rows then need them.
#include "launch.h"
#include "ops/gemm.cuh"
#include "ops/source.cuh"
#include "ops/tile.cuh"

#include <algorithm>

namespace el::cuda {
namespace {

constexpr int kRowsPerWarp = 32, kStageCols = 64, kStageSteps = kStageCols / 16;

// A thread's rows of the weights: 4, from `row` on.
struct Place {
    Matrix m;
    size_t row, last_row;  // rows beyond the last are read as that one; nobody keeps their sums
    uint32_t col_begin, cols, part;
};

// Each thread of four holds one group of 128 columns, that is two stages.
template <typename F> class PackedWeights {
  public:
    __device__ explicit PackedWeights(const Place &p)
        : cols_(p.m.cols), group_(p.col_begin / kGroup + p.part), last_((p.col_begin + p.cols) / kGroup - 1) {
        constexpr PackedShape shape = U::kShape;
        for (int u = 0; u < kUnits; ++u)
            tile_[u] = p.m.data + min(p.row + u * U::kRows, p.last_row) / U::kRows * shape.tile_bytes(cols_);
        fetch();
    }

    template <int kHalf> __device__ void begin_stage() {
        if constexpr (kHalf == 0) {
            for (int u = 0; u < kUnits; ++u) unit_[u] = next_[u];
            fetch();
        }
        if constexpr (kHalf < Scales<F>::kHalves)
            for (int r = 0; r < 4; ++r) {
                const Affine a = unit_[r / U::kRows].affine(r % U::kRows);
                scale_[r] = __float2half2_rn(a.scale[kHalf] * weight_factor(F::kFormat));
                if constexpr (kOffset) offset_[r] = __float2half2_rn(a.offset[kHalf] * weight_factor(F::kFormat));
            }
    }

    // Values 4 * step to 4 * step + 3 of the stage's half group of row r.
    template <int kHalf> __device__ uint2 values(int r, int step) const {
        int codes[8];
        unit_[r / U::kRows].codes(r % U::kRows, codes);
        constexpr bool kSigned = U::kBits == 8 || kHasTable<F>;
        const uint32_t four = uint32_t(codes[4 * kHalf + step]) ^ (kSigned ? 0x80808080 : 0);
        // The codes in the low bits of 1024 as float16.
        const __half2 zero = __half2half2(__ushort_as_half(kSigned ? 0x6480 : 0x6400));
        auto pair = [&](uint32_t bits) {
            const __half2 code = __hsub2(*reinterpret_cast<const __half2 *>(&bits), zero);
            const __half2 w = kOffset ? __hfma2(code, scale_[r], offset_[r]) : __hmul2(code, scale_[r]);
            return *reinterpret_cast<const uint32_t *>(&w);
        };
        return {pair(__byte_perm(four, 0x64646464, 0x4140)), pair(__byte_perm(four, 0x64646464, 0x4342))};
    }

  private:
    using U = Unit<F>;
    static constexpr int kUnits = 4 / U::kRows;
    static constexpr bool kOffset = Scales<F>::kMins || Scales<F>::kMiddle;

    __device__ void fetch() {
        const uint32_t at = min(group_, last_), slot = at / kSlotLanes;
        const uint32_t lanes = slot + 1 < PackedShape::slots(cols_) ? kSlotLanes : PackedShape::last_lanes(cols_);
        constexpr PackedShape shape = U::kShape;
        for (int u = 0; u < kUnits; ++u)
            next_[u].load(tile_[u] + slot * shape.slot_bytes(kSlotLanes), lanes, at % kSlotLanes);
        group_ += 4;
    }

    const uint8_t *tile_[kUnits];
    uint32_t cols_, group_, last_;
    U unit_[kUnits], next_[kUnits];
    __half2 scale_[4], offset_[4];
};

// Each thread of four holds 8 of 32 columns, twice in a stage.
class HalfWeights {
  public:
    __device__ explicit HalfWeights(const Place &p) : col_(8 * p.part), cols_(p.cols) {
        for (int r = 0; r < 4; ++r)
            row_[r] = reinterpret_cast<const __half *>(p.m.data) + min(p.row + r, p.last_row) * p.m.cols + p.col_begin;
        fetch();
    }

    template <int kHalf> __device__ void begin_stage() {
        for (int r = 0; r < 4; ++r)
            for (int i = 0; i < 2; ++i) now_[r][i] = next_[r][i];
        fetch();
    }

    template <int kHalf> __device__ uint2 values(int r, int step) const {
        const uint4 &v = now_[r][step / 2];
        return step % 2 ? uint2{v.z, v.w} : uint2{v.x, v.y};
    }

  private:
    __device__ void fetch() {
        for (int i = 0; i < 2; ++i, col_ += 32)  // beyond the last column activations are zeros
            for (int r = 0; r < 4; ++r) next_[r][i] = *reinterpret_cast<const uint4 *>(row_[r] + min(col_, cols_ - 8));
    }

    const __half *row_[4];
    uint32_t col_, cols_;
    uint4 now_[4][2], next_[4][2];
};

// What a block does: rows of the weights, tokens of the activations.
template <typename Weights, int kTokens, int kWarps> struct Block {
    static constexpr int kThreads = 32 * kWarps, kRows = kRowsPerWarp * kWarps, kStages = 3;
    static constexpr int kStageBytes = kTokens * kStageCols * int(sizeof(__half));
    static constexpr int kBytes = kStages * kStageBytes + 3 * kTokens * int(sizeof(int32_t));

    const FusedCall &c;
    uint8_t *const stages;
    // [kTokens] rows of the activations and of the result (-1: none), where rows begin, in chunks of 16 bytes
    int32_t *const from, *const to;
    uint32_t *const chunk;
    const uint32_t n_stages;
    uint32_t read_at = 0, write_at = 0, written = 0;  // bytes, stages
    float sum[2][kTokens / 8][4] = {};

    __device__ Block(const FusedCall &call, uint8_t *memory)
        : c(call), stages(memory), from(reinterpret_cast<int32_t *>(memory + kStages * kStageBytes)),
          to(from + kTokens), chunk(reinterpret_cast<uint32_t *>(to + kTokens)),
          n_stages(uint32_t(operand_cols(call.cols)) / kStageCols) {}

    // What tokens that are not there get is a row of another: nobody keeps their sums.
    __device__ void choose(const Pairs::Tile &tile) const {
        for (int i = int(threadIdx.x); i < kTokens; i += kThreads) {
            const int at = tile.first + min(i, tile.n - 1), one = c.pairs.order ? c.pairs.order[at] : at;
            from[i] = int(uint32_t(one) / c.share);
            to[i] = i < tile.n ? one : -1;
            chunk[i] = uint32_t(from[i]) * n_stages * (kStageCols / 8);
        }
        __syncthreads();
    }

    __device__ void copy_stage() {
        constexpr int kStep = kThreads / 8;  // tokens
        if (written < n_stages) {
            const int token = int(threadIdx.x) / 8;
            uint8_t *tile = stages + write_at + Tile<kStageCols>::offset(token, int(threadIdx.x) % 8);
            const uint4 *x = reinterpret_cast<const uint4 *>(c.x) + written * (kStageCols / 8) + threadIdx.x % 8;
#pragma unroll
            for (int i = 0; i < kTokens / kStep; ++i)
                copy16(tile + i * kStep * Tile<kStageCols>::kRowBytes, x + chunk[token + i * kStep]);
        }
        close_copies();
        ++written;
        write_at = write_at == (kStages - 1) * kStageBytes ? 0 : write_at + kStageBytes;
    }

    template <int kHalf> __device__ void multiply_stage(Weights &weights) {
        wait_copies<kStages - 2>();
        __syncthreads();
        copy_stage();
        weights.template begin_stage<kHalf>();
        const int lane = int(threadIdx.x % 32);
        // Chunks of the steps differ in bits of the address that nothing else sets.
        const uint32_t first = shared_address(stages) + read_at +
                               uint32_t(Tile<kStageCols>::offset(lane / 16 * 8 + lane % 8, lane / 8 % 2));
        auto load = [&](uint32_t(&b)[4], int i) {
            constexpr int kPairs = kTokens / 16;
            load_matrices_at(b, (first ^ uint32_t(i / kPairs * 32)) + i % kPairs * 16 * Tile<kStageCols>::kRowBytes);
        };
        uint32_t b[2][4];
        load(b[0], 0);
#pragma unroll
        for (int step = 0; step < kStageSteps; ++step) {
            uint32_t a[2][4];
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                const uint2 w = weights.template values<kHalf>(r, step);
                a[r / 2][r % 2] = w.x;
                a[r / 2][r % 2 + 2] = w.y;
            }
#pragma unroll
            for (int t = 0; t < kTokens / 16; ++t) {
                const int i = step * (kTokens / 16) + t;
                if (i + 1 < kStageSteps * kTokens / 16) load(b[(i + 1) % 2], i + 1);
                const uint32_t(&now)[4] = b[i % 2];
#pragma unroll
                for (int m = 0; m < 2; ++m) {
                    multiply_add(sum[m][2 * t], a[m], now[0], now[1]);
                    multiply_add(sum[m][2 * t + 1], a[m], now[2], now[3]);
                }
            }
        }
        read_at = read_at == (kStages - 1) * kStageBytes ? 0 : read_at + kStageBytes;
    }

    // The thread's 4 rows of the tokens whose sums it has. `row`: within the call's range.
    __device__ void write(int64_t row, const float *bias) const {
        const bool whole = row >= 0 && row + 4 <= c.rows && row % 4 == 0 && c.out_stride % 4 == 0;
#pragma unroll
        for (int i = 0; i < kTokens / 4; ++i) {
            const int token = i / 2 * 8 + int(threadIdx.x % 4) * 2 + i % 2;
            if (to[token] < 0) continue;
            const float factor = c.undo[from[token]] * c.factor;
            float *out = c.out + size_t(to[token]) * c.out_stride + row, v[4];
#pragma unroll
            for (int r = 0; r < 4; ++r) v[r] = sum[r / 2][i / 2][r % 2 * 2 + i % 2] * factor;
            if (whole) {
                if (bias)
                    for (int r = 0; r < 4; ++r) v[r] += bias[row + r];
                *reinterpret_cast<float4 *>(out) = {v[0], v[1], v[2], v[3]};
                continue;
            }
            for (int r = 0; r < 4; ++r)
                if (row + r >= 0 && row + r < c.rows) out[r] = v[r] + (bias ? bias[row + r] : 0.0f);
        }
    }
};

template <typename Weights, int kTokens, int kWarps>
__global__ void __launch_bounds__(32 * kWarps, kTokens > 64 ? 2 : 6) fused_kernel(FusedCall c) {
    using B = Block<Weights, kTokens, kWarps>;
    B block(c, dynamic_shared());
    Pairs::Tile tile{0, int(blockIdx.x) * kTokens, min(kTokens, c.n - int(blockIdx.x) * kTokens)};
    if (c.pairs.order) {
        if (int(blockIdx.x) >= *c.pairs.n_tiles) return;
        tile = c.pairs.tiles[blockIdx.x];
        if (uint32_t(tile.expert) - c.first_expert >= c.n_experts) return;
    }
    block.choose(tile);
    for (int s = 0; s < B::kStages - 1; ++s) block.copy_stage();
    // Whole tiles of the matrix, the first from where the range begins or a little before.
    const int lane = int(threadIdx.x % 32);
    const size_t begin = c.row_begin + (c.pairs.order ? uint32_t(tile.expert) - c.first_expert : 0) * size_t(c.rows),
                 first = begin / 4 * 4,
                 row = first + blockIdx.y * size_t(B::kRows) + threadIdx.x / 32 * kRowsPerWarp + lane / 4 * 4;
    Weights weights({c.m, row, begin + c.rows - 1, c.col_begin, c.cols, uint32_t(lane % 4)});
    for (uint32_t s = 0; s < block.n_stages; s += 2) {
        block.template multiply_stage<0>(weights);
        block.template multiply_stage<1>(weights);
    }
    block.write(int64_t(row) - int64_t(begin), c.bias ? c.bias + size_t(tile.expert) * c.rows : nullptr);
}

template <typename Weights, int kTokens, int kWarps> void launch(const FusedCall &c, cudaStream_t stream) {
    using B = Block<Weights, kTokens, kWarps>;
    const size_t rows = c.rows + (c.pairs.order ? 3 : c.row_begin % 4),
                 tiles = c.pairs.order ? most_tiles(size_t(c.n), c.n_all_experts, kTokens)
                                       : (size_t(c.n) + kTokens - 1) / kTokens;
    const dim3 grid(unsigned(tiles), unsigned((rows + B::kRows - 1) / B::kRows));
    auto kernel = fused_kernel<Weights, kTokens, kWarps>;
    static_assert(B::kBytes <= 99 << 10);
    allow_shared(kernel, B::kBytes);
    launch_early(kernel, {grid, B::kThreads, B::kBytes}, stream, false, c);
}

template <typename Weights> void choose(const FusedCall &c, cudaStream_t stream) {
    if (c.tile == kFusedTiles[0])
        launch<Weights, kFusedTiles[0], 2>(c, stream);
    else
        launch<Weights, kFusedTiles[1], 4>(c, stream);
}

}  // namespace

uint32_t fused_run(const Matrix &m) { return m.packed ? 32 : 8; }

void fused_gemm(const FusedCall &c, cudaStream_t stream) {
    if (!c.m.packed) return choose<HalfWeights>(c, stream);
    with_packed_format(c.m.format, [&](auto f) { choose<PackedWeights<typename decltype(f)::type>>(c, stream); });
}

}  // namespace el::cuda
