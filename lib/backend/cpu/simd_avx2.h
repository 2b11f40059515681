// Vectors for AVX2, FMA, F16C. Every simd_*.h defines the same names, with internal linkage.
#pragma once
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

namespace el::cpu {
namespace {

constexpr int kLanes = 8;
constexpr int kGroupTokens = 4;
constexpr int kByteOffset = 0;  // what byte quants, as loaded here, are too large by
using F = __m256;               // kLanes float
using I = __m256i;              // kLanes int32
using B = __m256i;              // 4 * kLanes bytes

inline __m256i first(size_t n) {
    alignas(32) static const int32_t kMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
    return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(kMask + 8 - n));
}
inline F zero() { return _mm256_setzero_ps(); }
inline F set(float x) { return _mm256_set1_ps(x); }
inline F load(const float *p) { return _mm256_loadu_ps(p); }
inline void store(float *p, F x) { _mm256_storeu_ps(p, x); }
inline F load_part(const float *p, size_t n) { return _mm256_maskload_ps(p, first(n)); }
inline void store_part(float *p, size_t n, F x) { _mm256_maskstore_ps(p, first(n), x); }
inline F add(F a, F b) { return _mm256_add_ps(a, b); }
inline F sub(F a, F b) { return _mm256_sub_ps(a, b); }
inline F mul(F a, F b) { return _mm256_mul_ps(a, b); }
inline F div(F a, F b) { return _mm256_div_ps(a, b); }
inline F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
inline F max(F a, F b) { return _mm256_max_ps(a, b); }
inline F min(F a, F b) { return _mm256_min_ps(a, b); }
inline F abs(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline float sum(F a) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
inline float largest(F a) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
inline I round(F a) { return _mm256_cvtps_epi32(a); }
inline F to_float(I a) { return _mm256_cvtepi32_ps(a); }
// n in -126 .. 127
inline F times_power_of_2(F a, I n) {
    return mul(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)));
}
inline I add(I a, I b) { return _mm256_add_epi32(a, b); }
inline int32_t sum(I a) {
    __m128i x = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    x = _mm_add_epi32(x, _mm_unpackhi_epi64(x, x));
    return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 1)));
}

inline F load_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i *>(p))); }
// One half in all lanes.
inline F set_f16(const void *p) {
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return set(_cvtsh_ss(half));
}
inline F load_bf16(const void *p) {
    __m128i x = _mm_loadu_si128(static_cast<const __m128i *>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
inline F load_u8(const uint8_t *p) {
    return to_float(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p))));
}
inline F load_i8(const uint8_t *p) {
    return to_float(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p))));
}
// The low and high halves of bytes.
inline void load_u4(const uint8_t *p, F &low, F &high) {
    __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p)));
    low = to_float(_mm256_and_si256(x, _mm256_set1_epi32(15)));
    high = to_float(_mm256_srli_epi32(x, 4));
}
// 2^(e - 127); 0 for e = 0
inline F load_power(const uint8_t *p) {
    __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
// E4M3 without a sign: the bits of a half that is 256 times smaller.
inline F load_e4m3(const uint8_t *p) {
    __m128i x = _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p)));
    return mul(_mm256_cvtph_ps(_mm_slli_epi16(x, 7)), set(256));
}
inline void store_f16(uint16_t *p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline void store_i8(int8_t *p, I x) {
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i *>(p), _mm_packs_epi16(words, words));
}

inline B load_bytes(const uint8_t *p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)); }
inline B load_byte_quants(const uint8_t *p) { return _mm256_xor_si256(load_bytes(p), _mm256_set1_epi8(-128)); }
inline B load_table(const uint8_t *p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
}
inline B lookup(B table, B index) { return _mm256_shuffle_epi8(table, index); }
// Byte r of p in all four bytes of lane r.
inline B load_row_bytes(const uint8_t *p) {
    __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p)));
    return _mm256_mullo_epi32(x, _mm256_set1_epi32(0x01010101));
}
inline B mask(B a, int bits) { return _mm256_and_si256(a, _mm256_set1_epi8(static_cast<char>(bits))); }
inline B either(B a, B b) { return _mm256_or_si256(a, b); }
// Bits move across bytes: mask afterwards.
template <int N> B shift_right(B a) {
    if constexpr (N > 0) return _mm256_srli_epi16(a, N);
    if constexpr (N < 0) return _mm256_slli_epi16(a, -N);
    return a;
}

// Sum over N vectors of quants below 2^Bits (8: signed bytes) with 4 * N bytes of activations, one row per lane.
// A sum of two products has 16 bits: with few bits several of them may be added before they are widened.
template <int Bits, int N> [[gnu::always_inline]] inline I dot(const B *w, const int8_t *a) {
    constexpr int kStep = Bits >= 7 ? 1 : Bits == 6 ? 2 : Bits == 5 ? 4 : 8;
    const __m256i ones = _mm256_set1_epi16(1);
    I s = _mm256_setzero_si256();
    for (int begin = 0; begin < N; begin += kStep) {
        __m256i words = _mm256_setzero_si256();
        for (int j = begin; j < begin + kStep && j < N; j++) {
            int32_t four;
            memcpy(&four, a + 4 * j, 4);
            __m256i x = _mm256_set1_epi32(four), pair;
            // |w| <= 128 and |a| <= 127, so that two products fit.
            if (Bits == 8)
                pair = _mm256_maddubs_epi16(_mm256_abs_epi8(w[j]), _mm256_sign_epi8(x, w[j]));
            else
                pair = _mm256_maddubs_epi16(w[j], x);
            words = j == begin ? pair : _mm256_add_epi16(words, pair);
        }
        __m256i part = _mm256_madd_epi16(words, ones);
        s = begin == 0 ? part : _mm256_add_epi32(s, part);
    }
    return s;
}

inline void transpose(F r[8]) {
    __m256 t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        for (int j = 0; j < 2; j++) {
            __m256d a = _mm256_castps_pd(t[i + j]), b = _mm256_castps_pd(t[i + j + 2]);
            r[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
            r[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        }
    }
    for (int c = 0; c < 4; c++) {
        __m256 low = r[c], high = r[4 + c];
        r[c] = _mm256_permute2f128_ps(low, high, 0x20);
        r[4 + c] = _mm256_permute2f128_ps(low, high, 0x31);
    }
}

}  // namespace
}  // namespace el::cpu
