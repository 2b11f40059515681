// Tiles of float16 rows in shared memory for mma.sync, copies into them, and rows of a quantized cache decoded into
// them.
#pragma once
#include "async_copy.cuh"
#include "ops.h"

#include <cuda_fp16.h>
#include <type_traits>

namespace el::cuda {

__device__ inline uint32_t shared_address(const void *p) { return uint32_t(__cvta_generic_to_shared(p)); }

// ---- copies of 16 bytes from global memory that go on meanwhile

// Zeros where `exists` is false; `from` is not read then.
__device__ inline void copy16(void *to, const void *from, bool exists = true) {
    asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(exists ? 16 : 0)
                 : "memory");
}
// Past the first-level cache; what follows in memory is wanted too.
__device__ inline uint4 load16(const void *from) {
    uint4 x;
    asm volatile("ld.global.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "l"(from));
    return x;
}
// Until at most kOpen of the closed groups are under way.
template <int kOpen> __device__ void wait_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(kOpen) : "memory"); }

// ---- tiles: [rows][kDim] float16 in chunks of 8 values, so placed that 8 rows' chunks lie in different banks

template <int kDim> struct Tile {
    static_assert(kDim % 16 == 0);
    static constexpr int kChunks = kDim / 8;
    static constexpr bool kSwizzled = kChunks % 8 == 0;
    static constexpr int kRowBytes = 16 * (kSwizzled ? kChunks : kChunks | 1);

    __device__ static int offset(int row, int chunk) {
        return row * kRowBytes + 16 * (kSwizzled ? chunk ^ (row & 7) : chunk);
    }
};

// Four 8 x 8 matrices; lane i gives the address of row i % 8 of matrix i / 8.
__device__ inline void load_matrices(uint32_t (&m)[4], const uint8_t *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ inline void load_transposed(uint32_t (&m)[4], const uint8_t *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ inline void load_two_matrices(uint32_t (&m)[2], const uint8_t *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(m[0]), "=r"(m[1])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ inline uint32_t transpose(uint32_t m) {
    uint32_t t;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(t) : "r"(m));
    return t;
}

// sum [16, 8] += a [16, 16] * b [16, 8]
__device__ inline void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline uint32_t pack_halves(float low, float high) {
    const __half2 h = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&h);
}

__device__ inline float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kNoScore = -1e30f;  // less than every score; finite, so that differences are numbers

// tanh by one exponential; the error is that of a float near 1.
__device__ inline float tanh_fast(float x) { return 1.0f - 2.0f * __frcp_rn(1.0f + exp2_fast(2.0f * kLog2E * x)); }

// ---- rows of quantized caches

__host__ __device__ inline bool tile_format(Format format) {
    return format == Format::kF16 || format == Format::kQ8_0 || format == Format::kQ4_0;
}

// Values [8 chunk, 8 chunk + 8) of a row of kDim values as the cache has it; rows lie at a multiple of 4 in shared
// memory that may be read 4 bytes beyond. Products of scale and integer are rounded once.
template <Format kFormat, int kDim> __device__ uint4 decode_chunk(const uint8_t *rows, int row, int chunk) {
    constexpr bool kBytes = kFormat == Format::kQ8_0;
    constexpr int kBlockBytes = kBytes ? 34 : 18, kRowBytes = (kDim + 31) / 32 * kBlockBytes;
    const int part = chunk % 4, at = row * kRowBytes + kBlockBytes * (chunk / 4),
              values = at + 2 + 8 * (kBytes ? part : part % 2);
    // Blocks lie at even addresses; every other one at a multiple of 4.
    const int odd = kRowBytes % 4 ? values & 2 : (chunk / 4 + 1) % 2 * 2;
    const uint32_t *words = reinterpret_cast<const uint32_t *>(rows + values - odd);
    const uint32_t w0 = words[0], w1 = words[1], w2 = words[2];
    uint32_t q[2] = {__funnelshift_r(w0, w1, 8 * odd), __funnelshift_r(w1, w2, 8 * odd)};
    if constexpr (kBytes)
        for (uint32_t &x : q) x ^= 0x80808080;
    else
        for (uint32_t &x : q) x = x >> (part / 2 * 4) & 0x0f0f0f0f;
    const __half2 zero = __half2half2(__ushort_as_half(kBytes ? 0x6480 : 0x6408)),
                  d = __half2half2(*reinterpret_cast<const __half *>(rows + at));
    uint32_t out[4];
    for (int i = 0; i < 4; ++i) {
        // Small integers in the low bits of 1024 as float16.
        const uint32_t pair = __byte_perm(q[i / 2], 0x64646464, i % 2 ? 0x4342 : 0x4140);
        const __half2 product = __hmul2(__hsub2(*reinterpret_cast<const __half2 *>(&pair), zero), d);
        out[i] = *reinterpret_cast<const uint32_t *>(&product);
    }
    return {out[0], out[1], out[2], out[3]};
}

// Calls visit(std::integral_constant<Format, format>()).
template <typename Visit> __device__ void with_quantized_format(Format format, Visit visit) {
    if (format == Format::kQ8_0)
        visit(std::integral_constant<Format, Format::kQ8_0>());
    else
        visit(std::integral_constant<Format, Format::kQ4_0>());
}

}  // namespace el::cuda
