// A few values of a row of the cache: loaded as they lie in memory, made floats when they are wanted, so that others
// can be on their way meanwhile.
#pragma once
#include "async_copy.cuh"
#include "ops/cache_row.cuh"

#include <cuda_fp16.h>

namespace el::cuda {

// kN values of a format without blocks.
template <typename F, int kN> struct PlainChunk {
    static constexpr int kBits = 8 * int(sizeof(typename F::Block)), kWords = kN * kBits / 32;
    using Bits = std::conditional_t<kBits == 16, uint16_t, uint32_t>;
    uint32_t words[kWords];

    // Values [kN c, kN c + kN) of a row that has `dim`; zeros where there are none.
    __device__ void load(const uint8_t *row, uint32_t c, uint32_t dim, bool exists = true) {
        for (uint32_t &word : words) word = 0;
        if (!exists || kN * c >= dim) return;
        const Bits *from = reinterpret_cast<const Bits *>(row) + kN * c;
        if (dim % kN) {  // neither whole nor aligned
            for (int i = 0; i < kN; ++i)
                if (kN * c + uint32_t(i) < dim) words[i * kBits / 32] |= uint32_t(from[i]) << i * kBits % 32;
        } else if constexpr (kWords == 2) {
            const uint2 x = __ldcg(reinterpret_cast<const uint2 *>(from));
            words[0] = x.x, words[1] = x.y;
        } else {
            for (int i = 0; i < kWords; i += 4) {
                const uint4 x = load16(from + i * 32 / kBits);
                words[i] = x.x, words[i + 1] = x.y, words[i + 2] = x.z, words[i + 3] = x.w;
            }
        }
    }
    __device__ void decode(uint32_t, float (&x)[kN]) const {
        for (int i = 0; i < kN; ++i)
            if constexpr (kBits == 16) {
                const __half2 pair = *reinterpret_cast<const __half2 *>(&words[i / 2]);
                x[i] = __half2float(i % 2 ? pair.y : pair.x);
            } else {
                x[i] = __uint_as_float(words[i]);
            }
    }
};

// The same of blocks of 32 integers with a scale, Q8_0 or Q4_0; their rows are padded with zeros.
template <typename F, int kN> struct IntegerChunk {
    using Row = QuantizedRow<F::kFormat>;
    static constexpr bool kBytes = Row::kBytes;
    static constexpr uint32_t kChunks = kBlockValues / kN, kRuns = kBytes ? kChunks : kChunks / 2;  // of a block
    uint32_t words[kN / 4];
    uint16_t scale;

    __device__ void load(const uint8_t *row, uint32_t c, uint32_t dim, bool exists = true) {
        for (uint32_t &word : words) word = 0;
        scale = 0;
        if (!exists || kN * c >= dim) return;
        const Row layout{int(dim)};
        const int block = int(c / kChunks);
        scale = *reinterpret_cast<const uint16_t *>(row + layout.scale_at(block));
        for (int i = 0; i < kN / 4; ++i) {
            const uint8_t *at = row + layout.word_at(block, int(c % kRuns) * (kN / 4) + i);
            const auto *halves = reinterpret_cast<const uint16_t *>(at);
            words[i] = reinterpret_cast<uintptr_t>(at) % 4 ? __ldcg(halves) | uint32_t(__ldcg(halves + 1)) << 16
                                                           : __ldcg(reinterpret_cast<const uint32_t *>(at));
        }
    }
    __device__ void decode(uint32_t c, float (&x)[kN]) const {
        const float d = __half2float(__ushort_as_half(scale));
        for (int i = 0; i < kN; ++i) {
            const uint32_t word = words[i / 4],
                           q = kBytes ? word ^ 0x80808080 : word >> c % kChunks / kRuns * 4 & 0x0f0f0f0f;
            // Small integers in the low bits of 2^23 as float32.
            x[i] = d * (__uint_as_float(__byte_perm(q, 0x4b000000, 0x7540 + uint32_t(i % 4))) -
                        (8388608.0f + (kBytes ? 128.0f : 8.0f)));
        }
    }
};

template <typename F, int kN> using Chunk = std::conditional_t<F::kValues == 1, PlainChunk<F, kN>, IntegerChunk<F, kN>>;

}  // namespace el::cuda
