// The input of integer products: 8 bits and a scale for each group of 32 columns, in slots as those of packed matrices.
#pragma once
#include "async_copy.cuh"
#include "fast_math.cuh"
#include "launch.h"
#include "ops/reduce.cuh"
#include "packed.h"

namespace el::cuda {

constexpr uint32_t kMatvecWarps = 12, kMostWarps = 20;  // of a block: that multiply; at most

// For each slot: 16 bytes of each group's first half, of its second half, and GroupScale of each group.
struct alignas(8) GroupScale {
    float scale;
    int16_t sum[2];  // of the halves' integers
};
// The last bits of a float near it are an integer.
constexpr float kMagic = 12582912.0f;  // 3 * 2^22
constexpr uint32_t kMagicBits = 0x4b400000;
// A scale has 18 bits, so that its product with a number of 6 bits is exact. (That with kMagic overflows where
// values of the input exceed 3e33.)
__device__ inline float rounded_scale(float x) {
    return x == x ? __uint_as_float((__float_as_uint(x) + 32) & ~63u) : x;
}
constexpr uint32_t kInputSlotBytes = kSlotCols + kSlotLanes * sizeof(GroupScale);

// Of more than kApart and up to kTogether tokens together, for matrix units: chunks of 8 groups. First the integers: of
// two groups at a time, [token][4 lanes] 16 bytes, where lane c has words c and c + 4 (four integers each) of one
// group, then of the other. Then [2 groups][2 tokens] four floats each, by group, then by token: scales, and behind
// them sums of the values.
constexpr uint32_t kApart = 4, kTogether = 8, kChunkGroups = 8, kChunkCols = kChunkGroups * kGroup;
constexpr uint32_t kChunkScalesAt = kTogether * kChunkCols, kChunkFloats = kTogether * kChunkGroups * sizeof(float),
                   kChunkSumsAt = kChunkScalesAt + kChunkFloats, kInputChunkBytes = kChunkSumsAt + kChunkFloats;
constexpr uint32_t input_chunks(uint32_t cols) { return (cols + kChunkCols - 1) / kChunkCols; }

// Where a token's row goes. A lane has quads, four integers from column i on and 128 k further;
// groups are finished one by one, `sums`: of a group's halves.
__device__ inline uint32_t end_of(const uint8_t *, uint32_t cols) { return cols; }
__device__ inline uint8_t *first_quad(uint8_t *row, uint32_t i) {
    uint8_t *half = row + i / kSlotCols * kInputSlotBytes + i % kGroup / 16 * (kSlotCols / 2);
    return half + i % kSlotCols / kGroup * 16 + i % 16;
}
constexpr uint32_t quad_offset(const uint8_t *, uint32_t k) { return k * 128 / 2; }
__device__ inline void put_scale(uint8_t *row, uint32_t i, float scale, const int (&sums)[2]) {
    auto *scales = reinterpret_cast<GroupScale *>(row + i / kSlotCols * kInputSlotBytes + kSlotCols);
    scales[i % kSlotCols / kGroup] = {scale, {int16_t(sums[0]), int16_t(sums[1])}};
}

struct TokenOfChunks {
    uint8_t *chunks;
    uint32_t token;
};
// The last chunk is filled with zeros.
__device__ inline uint32_t end_of(const TokenOfChunks &, uint32_t cols) { return input_chunks(cols) * kChunkCols; }
constexpr uint32_t kChunkPairBytes = kTogether * 2 * kGroup;  // of two groups
__device__ inline uint8_t *first_quad(const TokenOfChunks &to, uint32_t i) {
    const uint32_t group = i / kGroup % kChunkGroups, word = i % kGroup / 4;
    return to.chunks + i / kChunkCols * kInputChunkBytes + group / 2 * kChunkPairBytes +
           (4 * to.token + word % 4) * 16 + group % 2 * 8 + word / 4 * 4;
}
constexpr uint32_t quad_offset(const TokenOfChunks &, uint32_t k) {
    return k * 128 / kChunkCols * kInputChunkBytes + k * 128 % kChunkCols / (2 * kGroup) * kChunkPairBytes;
}
__device__ inline void put_scale(const TokenOfChunks &to, uint32_t i, float scale, const int (&sums)[2]) {
    const uint32_t group = i / kGroup % kChunkGroups, t = to.token;
    auto *floats = reinterpret_cast<float *>(to.chunks + i / kChunkCols * kInputChunkBytes + kChunkScalesAt);
    float *at = floats + (group / 2 * 4 + t / 2) * 4 + group % 2 * 2 + t % 2;
    at[0] = scale;
    at[kChunkFloats / sizeof(float)] = scale * float(sums[0] + sums[1]);
}

// A lane's part of kBlock values of a row from `first` on: quad k is that from first + place(k) on. A warp reads 512
// bytes in a row for each k; eight lanes have a group.
template <uint32_t kQuads> struct alignas(16) Quads {
    static_assert(kQuads == 2 || kQuads == 4);
    static constexpr uint32_t kBlock = kQuads * 128;
    static __device__ uint32_t place(uint32_t k) { return 128 * k + threadIdx.x % 32 * 4; }
    float v[kQuads][4];

    // From where this lane's first quad is, `left` values before the row's end; `otherwise` for what lies behind it,
    // or if `from` is NULL.
    __device__ Quads(const float *from, int left, float otherwise) {
#pragma unroll
        for (uint32_t k = 0; k < kQuads; ++k) {
            float4 four = {otherwise, otherwise, otherwise, otherwise};
            if (from && int(128 * k) < left) four = *reinterpret_cast<const float4 *>(from + 128 * k);
            *reinterpret_cast<float4 *>(v[k]) = four;
        }
    }
    __device__ float sum_of_squares() const {
        float sum[kQuads], all = 0;
#pragma unroll
        for (uint32_t k = 0; k < kQuads; ++k) {
            sum[k] = v[k][0] * v[k][0];
            for (int j = 1; j < 4; ++j) sum[k] = fmaf(v[k][j], v[k][j], sum[k]);
        }
        for (float one : sum) all += one;
        return all;
    }
    __device__ void scale_by(const Quads &factors) {
#pragma unroll
        for (uint32_t k = 0; k < kQuads; ++k)
            for (int j = 0; j < 4; ++j) v[k][j] *= factors.v[k][j];
    }
};

constexpr float kLeastLargest = 3.8e-37f;  // of a group: 127 divided by less is infinite

// Quantizes those from `first` on, to the end of the row or of its last chunk. A group with a NaN gets the scale NaN.
// Of the groups that eight lanes have, lane k finishes that of quad k.
template <uint32_t kQuads, typename Out>
__device__ void quantize(const Quads<kQuads> &x, uint32_t first, uint32_t n, Out out) {
    const uint32_t lane = threadIdx.x % 32, end = end_of(out, n);
    float sizes[kQuads];
#pragma unroll
    for (uint32_t k = 0; k < kQuads; ++k)
        sizes[k] =
            max_or_nan(max_or_nan(fabsf(x.v[k][0]), fabsf(x.v[k][1])), max_or_nan(fabsf(x.v[k][2]), fabsf(x.v[k][3])));
    const float most = join_lanes<kQuads, 8>(sizes, max_or_nan);
    const float inverse = most >= kLeastLargest ? 127.0f * reciprocal_fast(most) : 0.0f;
    uint8_t *quads = first_quad(out, first + x.place(0));
    int sums[kQuads];
#pragma unroll
    for (uint32_t k = 0; k < kQuads; ++k) {
        const float own = __shfl_sync(~0u, inverse, int((lane & ~(kQuads - 1)) + k));
        uint32_t q[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) q[j] = __float_as_uint(fmaf(x.v[k][j], own, kMagic));
        const uint32_t bytes = __byte_perm(__byte_perm(q[0], q[1], 0x0040), __byte_perm(q[2], q[3], 0x0040), 0x5410);
        sums[k] = __dp4a(int(bytes), 0x01010101, 0);
        if (first + x.place(k) < end) *reinterpret_cast<uint32_t *>(quads + quad_offset(out, k)) = bytes;
    }
    const int half = join_lanes<kQuads, 4>(sums, [](int a, int b) { return a + b; });
    const int halves[2] = {half, __shfl_xor_sync(~0u, half, 4)};
    const uint32_t group = first + 128 * (lane % kQuads) + lane / 8 * kGroup;
    if (lane % 8 < kQuads && group < end) put_scale(out, group, rounded_scale(most * (1.0f / 127.0f)), halves);
}

// By the warps of a block, kBlock values each at a time. What a row needs from far memory is asked for early: the first
// weights before x is there, and without a norm the next values before these are quantized. Loops stay loops, as this
// runs once in a kernel. kOnce: all warps together come through the row at once.
template <uint32_t kQuads, bool kOnce> class RowQuantizer {
    using Some = Quads<kQuads>;

  public:
    // x [n], of which nothing is read yet. norm: RMS; weight [n]: its weights, NULL: none. warp: of the block's
    // n_warps, so that the compiler sees that all lanes go the same way.
    __device__ RowQuantizer(const float *x, bool norm, const float *weight, uint32_t n, uint32_t warp, uint32_t n_warps)
        : norm_(norm), n_(n), first_(warp * Some::kBlock), step_(n_warps * Some::kBlock),
          left_(int(n) - int(first_ + Some::place(0))), x_(hold_global(x + first_ + Some::place(0))),
          weight_(weight ? weight + first_ + Some::place(0) : nullptr), weights_(weight_, left_, 1.0f) {}

    // Returns the warp's part of the sum of the squares of x, if there is a norm.
    template <typename Out> __device__ float run(Out out) {
        float squares = 0;
        const uint32_t end = end_of(out, n_);
        Some values(x_, left_, 0.0f);
        if (norm_) {
#pragma unroll 1
            while (first_ < end) {
                squares += warp_sum(values.sum_of_squares());  // beside what follows
                values.scale_by(weights_);
                quantize(values, first_, n_, out);
                next();
                if (kOnce || first_ >= end) break;
                values = Some(x_, left_, 0.0f);
                weights_ = Some(weight_, left_, 1.0f);
            }
        } else {
#pragma unroll 1
            while (first_ < end) {
                const uint32_t first = first_;
                next();
                const Some others(x_, kOnce ? 0 : left_, 0.0f);
                quantize(values, first, n_, out);
                if (kOnce) break;
                values = others;
            }
        }
        return squares;
    }

  private:
    __device__ void next() {
        first_ += step_;
        left_ -= int(step_);
        x_ += step_;
        if (weight_) weight_ += step_;
    }

    bool norm_;
    uint32_t n_, first_, step_;
    int left_;
    const float *x_, *weight_;
    Some weights_;
};

// Calls use(RowQuantizer) of that for these arguments which takes the least time: with few values a lane where the
// warps come through at once.
template <typename Use> __device__ void with_quantizer(const float *x, bool norm, const float *weight, uint32_t n,
                                                       uint32_t warp, uint32_t n_warps, Use use) {
    static_assert(Quads<2>::kBlock % kChunkCols == 0);  // the last chunk's end is not beyond the last warp's
    if (n <= n_warps * Quads<2>::kBlock)
        use(RowQuantizer<2, true>(x, norm, weight, n, warp, n_warps));
    else
        use(RowQuantizer<4, false>(x, norm, weight, n, warp, n_warps));
}

// By one warp, of the sums of squares of `n` warps, at most 32, which have met since.
__device__ inline float norm_factor(const float *squares, uint32_t n, float inverse_cols, float epsilon) {
    const uint32_t lane = threadIdx.x % 32;
    return rsqrtf(warp_sum(lane < n ? squares[lane] : 0.0f) * inverse_cols + epsilon);
}

// A quantized row in global memory ends with the factor that its values still want.
constexpr uint32_t kFactorBytes = 16;
constexpr size_t quantized_row_bytes(uint32_t cols) {
    return size_t(PackedShape::slots(cols)) * kInputSlotBytes + kFactorBytes;
}
__device__ inline float factor_of(const uint8_t *rows, uint32_t row_bytes, uint32_t row) {
    return *reinterpret_cast<const float *>(rows + size_t(row + 1) * row_bytes - kFactorBytes);
}

// The factors of kTogether tokens lie behind their chunks.
__host__ __device__ inline float *factors_behind(uint8_t *chunks, uint32_t cols) {
    return reinterpret_cast<float *>(chunks + size_t(input_chunks(cols)) * kInputChunkBytes);
}

struct QuantizeCall {
    const float *x;  // [n, cols]
    uint32_t cols;
    int n;
    bool norm;            // RMS, of whole rows
    const float *weight;  // of the norm, [cols]; NULL: none
    float epsilon;
    uint8_t *out;           // [n, quantized_row_bytes]
    bool together = false;  // in chunks, which take no more bytes than kTogether rows
};
void quantize_rows(const QuantizeCall &call, bool early, cudaStream_t stream);

}  // namespace el::cuda
