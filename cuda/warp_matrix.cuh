// Matrices of float16 that the lanes of a warp hold together: lane 4 g + c has columns 2c and 2c + 1 of row g of an
// 8 x 8 one. Of signed bytes, it has columns 4c to 4c + 3 of row g of an 8 x 16 one.
#pragma once
#include "async_copy.cuh"

namespace el::cuda {

// Four 8 x 8 matrices; lane i gives the address of row i % 8 of matrix i / 8.
__device__ inline void load_matrices_at(uint32_t (&m)[4], uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(row)
                 : "memory");
}
__device__ inline void load_matrices(uint32_t (&m)[4], const uint8_t *row) { load_matrices_at(m, shared_address(row)); }
__device__ inline void load_transposed(uint32_t (&m)[4], const uint8_t *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ inline uint32_t transpose(uint32_t m) {
    uint32_t t;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(t) : "r"(m));
    return t;
}

// sum [16, 8] = start + a [16, 16] * b [16, 8]
__device__ inline void multiply_add(float (&sum)[4], const float (&start)[4], const uint32_t (&a)[4], uint32_t b0,
                                    uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%10,%11,%12,%13};"
                 : "=f"(sum[0]), "=f"(sum[1]), "=f"(sum[2]), "=f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(start[0]), "f"(start[1]),
                   "f"(start[2]), "f"(start[3]));
}
// sum += a * b
__device__ inline void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    multiply_add(sum, sum, a, b0, b1);
}

// sum [16, 8] += a [16, 32] * b [32, 8], of signed bytes
__device__ inline void multiply_bytes(uint32_t (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    uint32_t c[4] = {sum[0], sum[1], sum[2], sum[3]};
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%10,%11,%12,%13};"
                 : "=r"(sum[0]), "=r"(sum[1]), "=r"(sum[2]), "=r"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(c[0]), "r"(c[1]), "r"(c[2]),
                   "r"(c[3]));
}
// The same of 16 columns: a0 has rows 0 to 7, a1 rows 8 to 15.
__device__ inline void multiply_bytes(uint32_t (&sum)[4], uint32_t a0, uint32_t a1, uint32_t b) {
    uint32_t c[4] = {sum[0], sum[1], sum[2], sum[3]};
    asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};"
                 : "=r"(sum[0]), "=r"(sum[1]), "=r"(sum[2]), "=r"(sum[3])
                 : "r"(a0), "r"(a1), "r"(b), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}

}  // namespace el::cuda
