// Weights and activations as float16, for matrix units.
#include "ops/gemm.cuh"
#include "ops/source.cuh"

#include <algorithm>

namespace el::cuda {
namespace {

constexpr int kThreads = 256, kWarps = 4;

__device__ uint32_t two_halves(float a, float b) {
    const __half2 h = __floats2half2_rn(a, b);
    return *reinterpret_cast<const uint32_t *>(&h);
}

// A byte as a float, by the mantissa of 2^23, as conversions are slow.
__device__ float byte_value(uint32_t four, int i) {
    return __uint_as_float(__byte_perm(four, 0x4b000000, 0x7650 + i)) - 8388608.0f;
}

// 32 values of a row of a unit as 16 pairs.
template <typename F> __device__ void decode_halves(const Unit<F> &unit, int r, uint32_t out[16]) {
    constexpr bool kSigned = Unit<F>::kBits == 8 || kHasTable<F>;
    int codes[8];
    unit.codes(r, codes);
    const Affine a = unit.affine(r);
    constexpr float kFactor = weight_factor(F::kFormat);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        const float scale = a.scale[j / 4] * kFactor,
                    offset = a.offset[j / 4] * kFactor - (kSigned ? 128.0f * scale : 0.0f);
        const uint32_t four = uint32_t(codes[j]) ^ (kSigned ? 0x80808080 : 0);
        float w[4];
        for (int i = 0; i < 4; ++i) w[i] = byte_value(four, i) * scale + offset;
        out[2 * j] = two_halves(w[0], w[1]);
        out[2 * j + 1] = two_halves(w[2], w[3]);
    }
}

// A warp takes 32 groups of a tile's rows, a lane one each; through shared memory it writes whole lines.
template <typename F> __global__ void packed_kernel(DequantizeCall c) {
    __shared__ uint4 staged[kWarps][128];
    using U = Unit<F>;
    const uint32_t lane = threadIdx.x % 32, groups = c.cols / kGroup;
    const uint32_t first = (blockIdx.x * kWarps + threadIdx.x / 32) * 32;  // group of the range
    if (first >= groups) return;
    const size_t tile = c.row_begin / U::kRows + blockIdx.y;
    const GroupPlace at(U::kShape, c.m.cols, tile * U::kRows, c.col_begin / kGroup + min(first + lane, groups - 1));
    U unit;
    unit.load(c.m.data + at.slot, at.lanes, at.lane);
    uint4 *const mine = staged[threadIdx.x / 32];
    const uint32_t chunks = min(c.stride - first * kGroup, 32 * kGroup) / 8;
#pragma unroll
    for (int r = 0; r < U::kRows; ++r) {
        uint32_t pairs[16];
        decode_halves<F>(unit, r, pairs);
        __syncwarp();
        for (int i = 0; i < 4; ++i)
            mine[4 * lane + (i ^ (lane / 2 & 3))] = {pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2],
                                                     pairs[4 * i + 3]};
        __syncwarp();
        const size_t row = tile * U::kRows + r;
        if (row < c.row_begin || row >= c.row_begin + c.rows) continue;
        uint4 *out = reinterpret_cast<uint4 *>(c.out + (row - c.row_begin) * c.stride + first * kGroup);
        for (uint32_t i = lane; i < chunks; i += 32) {
            const uint4 v = mine[i / 4 * 4 + ((i & 3) ^ (i / 8 & 3))];
            out[i] = i < (groups - first) * 4 ? v : uint4{};
        }
    }
}

__device__ bool unused(const DequantizeCall &c, size_t row) {
    return c.pairs_of_expert && c.pairs_of_expert[(row - c.first_row) / c.expert_rows] == 0;
}

// A thread for each run of a row.
template <typename Source> __global__ void plain_kernel(DequantizeCall c, float factor) {
    const uint32_t i = (blockIdx.x * kThreads + threadIdx.x) * Source::kRun;
    if (i >= c.stride || unused(c, c.row_begin + blockIdx.y)) return;
    __half *out = c.out + blockIdx.y * size_t(c.stride) + i;
    float w[Source::kRun] = {};
    if (i < c.cols) Source::decode(c.m, c.row_begin + blockIdx.y, c.col_begin + i, w);
    for (uint32_t j = 0; j < Source::kRun && i + j < c.stride; ++j) out[j] = __float2half(w[j] * factor);
}

constexpr uint32_t kRowsPerLaunch = 32768;  // grids have at most 65535 blocks along y

// A power of two that brings `largest` into float16's range.
__device__ float factor_for(float largest) {
    if ((largest >= 0.015625f && largest < 32768.0f) || largest == 0.0f) return 1;
    const int exponent = int(__float_as_uint(largest) >> 23) - 127;
    return __uint_as_float(uint32_t(127 + min(max(12 - exponent, -120), 120)) << 23);
}

// The 8 values that follow each other at chunk `i` of a converted row, zeros after the last column.
template <int kRun> __device__ void load_chunk(const float *x, uint32_t cols, uint32_t i, float v[8]) {
    constexpr uint32_t kChunks = kRun ? 4 * kRun / 8 : 1;  // of the columns that four threads have
    for (uint32_t t = 0; t < 4; ++t) {
        const uint32_t from = kRun ? i / kChunks * 4 * kRun + kRun * t + 2 * (i % kChunks) : 8 * i + 2 * t;
        if (from + 1 < cols && cols % 2 == 0) {
            const float2 two = *reinterpret_cast<const float2 *>(x + from);
            v[2 * t] = two.x, v[2 * t + 1] = two.y;
        } else {
            v[2 * t] = from < cols ? x[from] : 0.0f;
            v[2 * t + 1] = from + 1 < cols ? x[from + 1] : 0.0f;
        }
    }
}

// A block for a row; so many chunks of each thread stay in registers, others are read twice.
constexpr int kKeptChunks = 4;

template <int kRun> __global__ void __launch_bounds__(512) convert_kernel(ConvertCall c) {
    __shared__ float part[32];
    const float *x = c.x + size_t(blockIdx.x) * c.cols;
    const uint32_t stride = uint32_t(operand_cols(c.cols)), chunks = stride / 8;
    float kept[kKeptChunks][8] = {}, other[8], largest = 0;
    auto look = [&](const float v[8]) {
        for (int i = 0; i < 8; ++i) largest = fmaxf(largest, fabsf(v[i]));
    };
#pragma unroll
    for (int j = 0; j < kKeptChunks; ++j) {
        const uint32_t i = uint32_t(j) * blockDim.x + threadIdx.x;
        if (i < chunks) load_chunk<kRun>(x, c.cols, i, kept[j]);
        look(kept[j]);
    }
    for (uint32_t i = kKeptChunks * blockDim.x + threadIdx.x; i < chunks; i += blockDim.x) {
        load_chunk<kRun>(x, c.cols, i, other);
        look(other);
    }
    for (int i = 16; i > 0; i /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, i));
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = largest;
    __syncthreads();
    for (uint32_t w = 0; w < blockDim.x / 32; ++w) largest = fmaxf(largest, part[w]);
    const float factor = factor_for(largest);
    if (threadIdx.x == 0) c.undo[blockIdx.x] = 1.0f / factor;

    uint4 *out = reinterpret_cast<uint4 *>(c.out + size_t(blockIdx.x) * stride);
    auto write = [&](uint32_t i, const float v[8]) {
        out[i] = {two_halves(v[0] * factor, v[1] * factor), two_halves(v[2] * factor, v[3] * factor),
                  two_halves(v[4] * factor, v[5] * factor), two_halves(v[6] * factor, v[7] * factor)};
    };
#pragma unroll
    for (int j = 0; j < kKeptChunks; ++j) {
        const uint32_t i = uint32_t(j) * blockDim.x + threadIdx.x;
        if (i < chunks) write(i, kept[j]);
    }
    for (uint32_t i = kKeptChunks * blockDim.x + threadIdx.x; i < chunks; i += blockDim.x) {
        load_chunk<kRun>(x, c.cols, i, other);
        write(i, other);
    }
}

__global__ void undo_kernel(UndoCall c) {
    const float factor = c.undo ? c.undo[blockIdx.x] : 1.0f;
    if (factor == 1.0f && !c.bias) return;
    float *out = c.out + size_t(blockIdx.x) * c.rows;
    for (uint32_t i = blockIdx.y * kThreads + threadIdx.x; i < c.rows; i += gridDim.y * kThreads)
        out[i] = out[i] * factor + (c.bias ? c.bias[i] : 0.0f);
}

}  // namespace

void dequantize(const DequantizeCall &call, cudaStream_t stream) {
    DequantizeCall c = call;
    for (size_t done = 0; done < call.rows; done += c.rows) {
        c.row_begin = call.row_begin + done;
        c.rows = std::min<size_t>(call.rows - done, kRowsPerLaunch);
        c.out = call.out + done * call.stride;
        if (c.m.packed)
            with_packed_format(c.m.format, [&](auto f) {
                using F = typename decltype(f)::type;
                constexpr size_t kRows = Unit<F>::kRows;
                const size_t tiles = (c.row_begin + c.rows - 1) / kRows - c.row_begin / kRows + 1;
                const dim3 grid((c.cols / kGroup + 32 * kWarps - 1) / (32 * kWarps), unsigned(tiles));
                packed_kernel<F><<<grid, 32 * kWarps, 0, stream>>>(c);
            });
        else
            with_blocks(c.m, [&](auto source) {
                using Source = typename decltype(source)::type;
                const dim3 grid((c.stride + kThreads * Source::kRun - 1) / (kThreads * Source::kRun), unsigned(c.rows));
                plain_kernel<Source><<<grid, kThreads, 0, stream>>>(c, weight_factor(c.m.format));
            });
    }
}

void convert(const ConvertCall &c, cudaStream_t stream) {
    const int threads = c.cols <= 2048 ? 128 : c.cols <= 8192 ? 256 : 512;
    auto kernel = c.run == 32 ? convert_kernel<32> : c.run == 8 ? convert_kernel<8> : convert_kernel<0>;
    kernel<<<c.n, threads, 0, stream>>>(c);
}

void undo(const UndoCall &c, cudaStream_t stream) {
    if (!c.undo && !c.bias) return;
    const unsigned parts = (c.rows + 4 * kThreads - 1) / (4 * kThreads);
    undo_kernel<<<dim3(c.n, parts), kThreads, 0, stream>>>(c);
}

}  // namespace el::cuda
