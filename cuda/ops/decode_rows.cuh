// The rows of the cache that a block of decode_attention.cu looks at, and how they come to its warps.
#pragma once
#include "ops/decode_part.cuh"

namespace el::cuda {

constexpr int kDecodeWarps = 4;  // of a block; no more, so that it finds room beside those of products
constexpr int kUnits = 2;        // that a warp holds as they lie in a quantized cache

// What one block looks at.
struct Work {
    uint32_t token, kv_head, first_head, n_heads;
    int32_t begin, end;  // rows seen
    int32_t drafts;      // rows from here on: by the bits of `ancestors`
    uint64_t ancestors;
    int32_t unit_begin, unit_end;  // this block's
    const int32_t *pages;
    bool owner;           // makes the rows of this step
    int group, n_groups;  // of blocks: this one's, and those that work
};

// A warp's way through its units: every kDecodeWarps-th of the block's.
template <int kDim> struct Way {
    const HeadsCall &call;
    const Work &work;
    int32_t unit, n;                   // the first; how many
    int32_t page_unit = -1, page = 0;  // lane i: where the page of the unit page_unit + i begins

    __device__ Way(const HeadsCall &call_, const Work &work_) : call(call_), work(work_) {
        unit = work.unit_begin + int32_t(threadIdx.x / 32);
        n = max(0, (work.unit_end - unit + kDecodeWarps - 1) / kDecodeWarps);
    }
    __device__ int32_t first_row(int i) const { return (unit + i * kDecodeWarps) * kUnitRows; }
    __device__ int32_t rows(int i) const { return work.end - first_row(i); }  // that exist, if below kUnitRows
    // Where the unit's rows begin. Pages are looked up 32 units at once.
    __device__ const uint8_t *data(const Plane &plane, int i) {
        if (page_unit < 0 || i >= page_unit + 32) {
            page_unit = i;
            const int mine = i + int(threadIdx.x % 32);
            if (mine < n) page = __ldcg(work.pages + first_row(mine) / int32_t(kPageTokens));
            page *= int32_t(kPageTokens);  // here, so that nothing else waits for it
        }
        return plane.row(__shfl_sync(~0u, page, i - page_unit) + first_row(i) % int32_t(kPageTokens), work.kv_head);
    }
};

// ---- units of an F16 cache: in registers, those of the next while this one is used

template <int kDim, typename S> struct DirectReader {
    static constexpr int kAhead = kDim <= 128 ? 2 : 1;  // units that are loaded at once
    static constexpr bool kHoldsBoth = kDim <= 128;     // large heads leave registers for one of the two
    using Sums = Part<kDim, false>;
    Way<kDim> &way;
    S &shared;
    typename Sums::K k[kAhead];
    typename Sums::V v[kAhead];

    __device__ DirectReader(Way<kDim> &way_, S &shared_) : way(way_), shared(shared_) {}
    template <int kSlot, int kUsed, typename Rows>
    __device__ void load(Rows (&rows)[kAhead], const Plane &plane, int i) {
#pragma unroll
        for (int u = 0; u < kUsed; ++u) {
            if (i + u >= way.n) return;
            const uint8_t *from = way.data(plane, i + u);
            fill(rows[kSlot + u], [&](int row, int chunk) { return load16(from + row * 2 * kDim + 16 * chunk); });
        }
    }
    // Of kUsed units from i on, to k or v [kSlot] and behind.
    template <int kSlot, int kUsed> __device__ void load_keys(int i) { load<kSlot, kUsed>(k, way.call.attention.k, i); }
    template <int kSlot, int kUsed> __device__ void load_values(int i) {
        load<kSlot, kUsed>(v, way.call.attention.v, i);
    }
    // The first units, before what this step makes is known.
    __device__ void prefetch() {
        load_keys<0, kAhead>(0);
        if (kHoldsBoth) load_values<0, kAhead>(0);
    }
    __device__ void settle() {}
    // After that.
    __device__ void start() {
        if (!kHoldsBoth) load_values<0, kAhead>(0);
    }
    __device__ void begin(int) {}
    __device__ void middle(int) {}
    __device__ uint4 own(int p, int chunk) const { return reinterpret_cast<const uint4 *>(shared.own[p])[chunk]; }
};

// ---- units of other caches: as they are in shared memory, those of the next while this one is used

template <int kDim, typename S> struct DecodingReader {
    static constexpr int kAhead = 1;
    using Sums = Part<kDim, true>;
    Way<kDim> &way;
    S &shared;
    typename S::Warp &memory;
    typename Sums::K k[1];
    typename Sums::V v[1];

    __device__ DecodingReader(Way<kDim> &way_, S &shared_)
        : way(way_), shared(shared_), memory(shared_.warp[threadIdx.x / 32]) {}
    __device__ void copy(int i) {
#pragma unroll 1
        for (int p = 0; p < 2 && i < way.n; ++p) {
            const Plane &plane = p ? way.call.attention.v : way.call.attention.k;
            const uint8_t *from = way.data(plane, i);
            uint8_t *to = memory.rows[i % kUnits][p];
            for (int c = int(threadIdx.x % 32); c < int(plane.row_bytes); c += 32) copy16(to + 16 * c, from + 16 * c);
        }
        close_copies();
    }
    template <typename Rows> __device__ void decode(Rows &rows, const Plane &plane, int i, int p) {
        const uint8_t *from = memory.rows[i % kUnits][p];
        with_quantized_format(plane.format, [&](auto format) {
            if constexpr (Rows::kPaired && format() == Format::kQ4_0)
                fill_pairs(rows, [&](int row, int chunk, uint4 *pair) {
                    const QuantizedChunk<format(), kDim> bytes(from, row, chunk);
                    pair[0] = bytes.values();
                    pair[1] = bytes.template values<true>();
                });
            else
                fill(rows, [&](int row, int chunk) { return decode_chunk<format(), kDim>(from, row, chunk); });
        });
    }
    __device__ void prefetch() { copy(0); }
    __device__ void settle() {
        wait_copies<0>();
        __syncwarp();
        decode(k[0], way.call.attention.k, 0, 0);
        decode(v[0], way.call.attention.v, 0, 1);
    }
    __device__ void start() { copy(1); }
    __device__ void begin(int i) {
        if (i == 0) return;
        copy(i + 1);
        wait_copies<1>();
        __syncwarp();
        decode(k[0], way.call.attention.k, i, 0);
    }
    __device__ void middle(int i) {
        if (i == 0) return;
        decode(v[0], way.call.attention.v, i, 1);
        __syncwarp();
    }
    template <int kSlot, int kUsed> __device__ void load_keys(int) {}
    template <int kSlot, int kUsed> __device__ void load_values(int) {}
    __device__ uint4 own(int p, int chunk) const {
        uint4 values;
        const Plane &plane = p ? way.call.attention.v : way.call.attention.k;
        with_quantized_format(plane.format,
                              [&](auto format) { values = decode_chunk<format(), kDim>(shared.own[p], 0, chunk); });
        return values;
    }
};

// Of the unit with the row of this step, or with rows that do not exist: `n` do.
template <typename Reader, typename Rows> __device__ void finish(Reader &reader, Rows &rows, int n, int p) {
    if (n > kUnitRows) return;
    cut(rows, n);
    if (reader.way.call.k) replace(rows, n - 1, [&](int chunk) { return reader.own(p, chunk); });
}

// Scores of rows that are not seen become so small that they count nothing.
__device__ inline void mask(const Work &w, float soft_cap, int32_t first_row, float (&score)[4]) {
    if (soft_cap > 0)
        for (float &s : score) s = soft_cap * kLog2E * tanh_fast(s);
    if (first_row >= w.begin && first_row + kUnitRows <= w.drafts) return;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const int32_t row = first_row + lane_g() + 8 * i;
        if (row >= w.begin && row < w.end && (row < w.drafts || (w.ancestors >> (row - w.drafts) & 1))) continue;
        score[2 * i] = score[2 * i + 1] = -INFINITY;
    }
}

}  // namespace el::cuda
