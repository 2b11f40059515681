// Vectors for AVX-512 F, BW, DQ, VL, VNNI. Every simd_*.h defines the same names, with internal linkage.
#pragma once
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

namespace el::cpu {
namespace {

constexpr int kLanes = 16;
constexpr int kGroupTokens = 8;
constexpr int kByteOffset = 128;  // what byte quants, as loaded here, are too large by
using F = __m512;                 // kLanes float
using I = __m512i;                // kLanes int32
using B = __m512i;                // 4 * kLanes bytes

inline F zero() { return _mm512_setzero_ps(); }
inline F set(float x) { return _mm512_set1_ps(x); }
inline F load(const float *p) { return _mm512_loadu_ps(p); }
inline void store(float *p, F x) { _mm512_storeu_ps(p, x); }
inline __mmask16 first(size_t n) { return static_cast<__mmask16>((1u << n) - 1); }
inline F load_part(const float *p, size_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
inline void store_part(float *p, size_t n, F x) { _mm512_mask_storeu_ps(p, first(n), x); }
inline F add(F a, F b) { return _mm512_add_ps(a, b); }
inline F sub(F a, F b) { return _mm512_sub_ps(a, b); }
inline F mul(F a, F b) { return _mm512_mul_ps(a, b); }
inline F div(F a, F b) { return _mm512_div_ps(a, b); }
inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
inline F max(F a, F b) { return _mm512_max_ps(a, b); }
inline F min(F a, F b) { return _mm512_min_ps(a, b); }
inline F abs(F a) { return _mm512_abs_ps(a); }
inline float sum(F a) { return _mm512_reduce_add_ps(a); }
inline float largest(F a) { return _mm512_reduce_max_ps(a); }
inline I round(F a) { return _mm512_cvtps_epi32(a); }
inline F to_float(I a) { return _mm512_cvtepi32_ps(a); }
inline F times_power_of_2(F a, I n) { return _mm512_scalef_ps(a, to_float(n)); }
inline int32_t sum(I a) { return _mm512_reduce_add_epi32(a); }
inline I add(I a, I b) { return _mm512_add_epi32(a, b); }

inline F load_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i *>(p))); }
// One half in all lanes.
inline F set_f16(const void *p) {
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return set(_cvtsh_ss(half));
}
inline F load_bf16(const void *p) {
    __m256i x = _mm256_loadu_si256(static_cast<const __m256i *>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
inline F load_u8(const uint8_t *p) {
    return to_float(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))));
}
inline F load_i8(const uint8_t *p) {
    return to_float(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))));
}
// The low and high halves of bytes.
inline void load_u4(const uint8_t *p, F &low, F &high) {
    __m512i x = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
    low = to_float(_mm512_and_si512(x, _mm512_set1_epi32(15)));
    high = to_float(_mm512_srli_epi32(x, 4));
}
// 2^(e - 127); 0 for e = 0
inline F load_power(const uint8_t *p) {
    __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(e, 23));
}
// E4M3 without a sign: the bits of a half that is 256 times smaller.
inline F load_e4m3(const uint8_t *p) {
    __m256i x = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
    return mul(_mm512_cvtph_ps(_mm256_slli_epi16(x, 7)), set(256));
}
inline void store_f16(uint16_t *p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline void store_i8(int8_t *p, I x) { _mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm512_cvtepi32_epi8(x)); }

inline B load_bytes(const uint8_t *p) { return _mm512_loadu_si512(p); }
inline B load_byte_quants(const uint8_t *p) { return load_bytes(p); }
inline B load_table(const uint8_t *p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
}
inline B lookup(B table, B index) { return _mm512_shuffle_epi8(table, index); }
// Byte r of p in all four bytes of lane r.
inline B load_row_bytes(const uint8_t *p) {
    __m512i x = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
    return _mm512_mullo_epi32(x, _mm512_set1_epi32(0x01010101));
}
inline B mask(B a, int bits) { return _mm512_and_si512(a, _mm512_set1_epi8(static_cast<char>(bits))); }
inline B either(B a, B b) { return _mm512_or_si512(a, b); }
// Bits move across bytes: mask afterwards.
template <int N> B shift_right(B a) {
    if constexpr (N > 0) return _mm512_srli_epi16(a, N);
    if constexpr (N < 0) return _mm512_slli_epi16(a, -N);
    return a;
}

// Sum over N vectors of quants below 2^Bits with 4 * N bytes of activations, one row per lane.
template <int Bits, int N> [[gnu::always_inline]] inline I dot(const B *w, const int8_t *a) {
    I s = _mm512_setzero_si512();
    for (int j = 0; j < N; j++) {
        int32_t four;
        memcpy(&four, a + 4 * j, 4);
        s = _mm512_dpbusd_epi32(s, w[j], _mm512_set1_epi32(four));
    }
    return s;
}

inline void transpose(F r[16]) {
    __m512 t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
            r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    // Now r[4 * b + c] holds, in its 128-bit lane l, column 4 * l + c of rows 4 * b .. 4 * b + 3: a transpose of lanes
    // is left.
    for (int c = 0; c < 4; c++) {
        __m512 low02 = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x88), low13 = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xdd);
        __m512 high02 = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x88);
        __m512 high13 = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xdd);
        t[c] = _mm512_shuffle_f32x4(low02, high02, 0x88);
        t[8 + c] = _mm512_shuffle_f32x4(low02, high02, 0xdd);
        t[4 + c] = _mm512_shuffle_f32x4(low13, high13, 0x88);
        t[12 + c] = _mm512_shuffle_f32x4(low13, high13, 0xdd);
    }
    for (int i = 0; i < 16; i++) r[i] = t[i];
}

}  // namespace
}  // namespace el::cpu
