// The rows of the cache that a block of decode_attention.cu looks at, and how they come to its warps.
#pragma once
#include "ops/decode_quantized.cuh"

namespace el::cuda {

constexpr int kDecodeWarps = 4;  // of a block; no more, so that it finds room beside those of products

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

// A warp's way through its units of kRows rows: every kDecodeWarps-th of the block's.
template <int kRows> struct Way {
    static_assert(kPageTokens % kRows == 0, "a unit lies in one page");
    const HeadsCall &call;
    const Work &work;
    int32_t unit, n;                   // the first; how many
    int32_t page_unit = -1, page = 0;  // lane i: where the page of the unit page_unit + i begins

    __device__ Way(const HeadsCall &call_, const Work &work_) : call(call_), work(work_) {
        unit = work.unit_begin + int32_t(threadIdx.x / 32);
        n = max(0, (work.unit_end - unit + kDecodeWarps - 1) / kDecodeWarps);
    }
    __device__ int32_t first_row(int i) const { return (unit + i * kDecodeWarps) * kRows; }
    __device__ int32_t rows(int i) const { return work.end - first_row(i); }  // that exist, if below kRows
    // The unit's first row, of all that a plane has. Pages are looked up 32 units at once.
    __device__ uint32_t place(int i) {
        if (page_unit < 0 || i >= page_unit + 32) {
            page_unit = i;
            const int mine = i + int(threadIdx.x % 32);
            if (mine < n) {
                page = __ldcg(work.pages + first_row(mine) / int32_t(kPageTokens));
                // Here, so that nothing else waits for it.
                page = (page * int32_t(call.attention.args.n_kv_heads) + int32_t(work.kv_head)) * int32_t(kPageTokens);
            }
        }
        return uint32_t(__shfl_sync(~0u, page, i - page_unit) + first_row(i) % int32_t(kPageTokens));
    }
};

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

// ---- units of an F16 cache: in registers, those of the next while this one is used

// kTwo: two units are used at once. In short contexts most warps have only one, and less code is less to fetch.
template <int kDim, typename S, bool kTwo> struct DirectReader {
    static constexpr int kRows = kUnitRows, kAhead = kDim <= 128 ? 2 : 1;  // units that are loaded at once
    static constexpr bool kHoldsBoth = kDim <= 128;  // large heads leave registers for one of the two
    Way<kRows> &way;
    S &shared;
    Keys<kDim> k[kAhead];
    Values<kDim> v[kAhead];

    __device__ DirectReader(Way<kRows> &way_, S &shared_, uint8_t *) : way(way_), shared(shared_) {}
    // The first units, before what this step makes is known.
    __device__ void prefetch() {
        load_keys<0, kAhead>(0);
        if (kHoldsBoth) load_values<0, kAhead>(0);
    }
    // After that.
    __device__ void use(float *result, int stride, float2 *state) {
        if (!kHoldsBoth) load_values<0, kAhead>(0);
        Part<kDim> part(shared.q[0], sizeof shared.q[0]);
#pragma unroll 1
        for (int i = 0; i < way.n; i += kAhead) {
            if constexpr (kTwo && kAhead == 2) {
                if (i + 1 < way.n)
                    use<0, 2>(part, i);
                else
                    use<0, 1>(part, i);
            } else {
                use<0, 1>(part, i);
                if constexpr (kAhead == 2)
                    if (i + 1 < way.n) use<1, 1>(part, i + 1);
            }
        }
        part.put(result, stride, state);
    }

  private:
    template <int kSlot, int kUsed, typename Rows>
    __device__ void load(Rows (&rows)[kAhead], const Plane &plane, int i) {
#pragma unroll
        for (int u = 0; u < kUsed; ++u) {
            if (i + u >= way.n) return;
            const uint8_t *from = plane.data + size_t(way.place(i + u)) * (2 * kDim);
            fill(rows[kSlot + u], [&](int row, int chunk) { return load16(from + row * 2 * kDim + 16 * chunk); });
        }
    }
    // Of kUsed units from i on, to k or v [kSlot] and behind.
    template <int kSlot, int kUsed> __device__ void load_keys(int i) { load<kSlot, kUsed>(k, way.call.attention.k, i); }
    template <int kSlot, int kUsed> __device__ void load_values(int i) {
        load<kSlot, kUsed>(v, way.call.attention.v, i);
    }
    // Those that are in k and v [kSlot] and behind.
    template <int kSlot, int kUsed> __device__ void use(Part<kDim> &part, int i) {
        constexpr bool kLast = kTwo && kUsed < kAhead;  // of the warp's
        float score[kUsed][4];
        finish(k[kSlot + kUsed - 1], way.rows(i + kUsed - 1), 0);
        part.scores(k + kSlot, score);
        if (!kLast) load_keys<kSlot, kUsed>(i + kAhead);
#pragma unroll
        for (int u = 0; u < kUsed; ++u)
            mask(way.work, way.call.attention.args.soft_cap, way.first_row(i + u), score[u]);
        part.soften(score);
        finish(v[kSlot + kUsed - 1], way.rows(i + kUsed - 1), 1);
#pragma unroll
        for (int u = 0; u < kUsed; ++u) part.add(v[kSlot + u], score[u]);
        if (!kLast) load_values<kSlot, kUsed>(i + kAhead);
    }
    // Of the unit with the row of this step, or with rows that do not exist: `n` do.
    template <typename Rows> __device__ void finish(Rows &rows, int n, int p) {
        if (n > kUnitRows) return;
        cut(rows, n);
        if (way.call.k)
            replace(rows, n - 1, [&](int chunk) { return reinterpret_cast<const uint4 *>(shared.own[p])[chunk]; });
    }
};

// ---- units of an F16 cache in long contexts, where the copy engine brings them (kIsBulk): by way of shared memory

// Twice 16 rows, whose keys arrive by themselves and so do their values. When these are in registers, before they are
// used, the next are asked for to the same place.
template <int kDim> struct BulkUnit {
    static constexpr int kRows = 2 * kUnitRows, kPairs = kRows / 2;  // of rows
    // From one pair to the next. Lanes read values of every other row at once: with 32 bytes between pairs they have
    // all columns of shared memory.
    static constexpr int kPairBytes = 2 * 2 * kDim, kKeyStride = kPairBytes, kValueStride = kPairBytes + 32;
    static constexpr int kKeyBytes = kPairs * kKeyStride, kBytes = kKeyBytes + kPairs * kValueStride;
};

template <int kDim, typename S> struct BulkReader {
    using Unit = BulkUnit<kDim>;
    static constexpr int kRows = Unit::kRows, kParts = kRows / kUnitRows, kAhead = 1;
    Way<kRows> &way;
    S &shared;
    uint8_t *const keys, *const values;
    uint64_t *const arrivals;  // of keys and of values

    // By all threads of a block.
    __device__ BulkReader(Way<kRows> &way_, S &shared_, uint8_t *memory)
        : way(way_), shared(shared_), keys(hold_shared(memory)), values(keys + Unit::kKeyBytes),
          arrivals(hold_shared(&shared_.arrivals[threadIdx.x / 32][0])) {
        init_arrivals(arrivals, 2);
    }
    __device__ void prefetch() {
        copy_keys(0);
        copy_values(0);
    }
    __device__ void use(float *result, int stride, float2 *state) {
        Part<kDim> part(shared.q[0], sizeof shared.q[0]);
#pragma unroll 1
        for (int i = 0; i < way.n; ++i) {
            float score[kParts][4];
            {
                Keys<kDim> k[kParts];
                take(k, keys, Unit::kKeyStride, i, 0);
                if (i + 1 < way.n) copy_keys(i + 1);
                finish(k, i, 0);
                part.scores(k, score);
            }
#pragma unroll
            for (int u = 0; u < kParts; ++u)
                mask(way.work, way.call.attention.args.soft_cap, way.first_row(i) + u * kUnitRows, score[u]);
            part.soften(score);
            Values<kDim> v[kParts];
            take(v, values, Unit::kValueStride, i, 1);
            if (i + 1 < way.n) copy_values(i + 1);
            finish(v, i, 1);
#pragma unroll
            for (int u = 0; u < kParts; ++u) part.add(v[u], score[u]);
        }
        part.put(result, stride, state);
    }

  private:
    __device__ const uint8_t *source(const Plane &plane, int i) {
        return plane.data + size_t(way.place(i)) * (2 * kDim);
    }
    __device__ void copy_keys(int i) {
        const uint8_t *from = source(way.call.attention.k, i);
        if (is_elected()) copy_bulk(keys, from, Unit::kKeyBytes, &arrivals[0], L2::kNormal);
    }
    __device__ void copy_values(int i) {
        copy_bulk_apart(values, Unit::kValueStride, source(way.call.attention.v, i), Unit::kPairBytes, Unit::kPairs,
                        &arrivals[1]);
    }
    // The unit's keys (p = 0) or values (1) into registers; then their place is free for the next, or for results.
    template <typename Rows>
    __device__ void take(Rows (&rows)[kParts], const uint8_t *from, int stride, int i, int p) const {
        wait_for_bulk(&arrivals[p], i % 2);
#pragma unroll
        for (int u = 0; u < kParts; ++u)
            fill(rows[u], [&](int row, int chunk) {
                row += u * kUnitRows;
                return *reinterpret_cast<const uint4 *>(from + row / 2 * stride + row % 2 * (2 * kDim) + 16 * chunk);
            });
        release_to_copies();
    }
    // The row of this step and those that do not exist.
    template <typename Rows> __device__ void finish(Rows (&rows)[kParts], int i, int p) const {
        const int n = way.rows(i);
        if (n > kRows) return;
#pragma unroll
        for (int u = 0; u < kParts; ++u) {
            cut(rows[u], n - u * kUnitRows);
            if (way.call.k)
                replace(rows[u], n - 1 - u * kUnitRows,
                        [&](int chunk) { return reinterpret_cast<const uint4 *>(shared.own[p])[chunk]; });
        }
    }
};

// ---- units of a quantized cache: as they are in shared memory, one on its way while another is used

// Of a unit. kTwo: twice 16, which are used one after the other, but at once: more to do while something is waited for.
template <bool kTwo> constexpr int kQuantizedRows = kTwo ? 2 * kUnitRows : kUnitRows;
// Units for which a warp has memory. More on their way are not faster, and leave room for fewer blocks.
constexpr int kSlots = 2;

template <int kDim, typename S, bool kTwo> struct QuantizedReader {
    static constexpr int kRows = kQuantizedRows<kTwo>, kParts = kRows / kUnitRows, kAhead = kSlots - 1;
    Way<kRows> &way;
    S &shared;
    const Plane &k, &v;
    uint8_t *const ring;
    uint64_t *const arrivals;  // of keys and values of each slot, where the chip has bulk copies
    const int k_bytes, v_bytes;

    // By all threads of a block.
    __device__ QuantizedReader(Way<kRows> &way_, S &shared_, uint8_t *ring_)
        : way(way_), shared(shared_), k(way.call.attention.k), v(way.call.attention.v), ring(ring_),
          arrivals(shared_.arrivals[threadIdx.x / 32]), k_bytes(kRows * int(k.row_bytes)),
          v_bytes(kRows * int(v.row_bytes)) {
        init_arrivals(arrivals, 2 * kSlots);
    }
    __device__ void prefetch() {
        for (int i = 0; i < kAhead; ++i) copy(i);
    }
    __device__ void use(float *result, int stride, float2 *state) {
        QuantizedPart<kDim> part(k.format, shared.q[0], sizeof shared.q[0]);
#pragma unroll 1
        for (int i = 0; i < way.n; ++i) {
            copy(i + kAhead);
            wait_for_keys(i);
            finish(i);
            float score[kParts][4];
            with_quantized_format(k.format, [&](auto f) {
#pragma unroll
                for (int u = 0; u < kParts; ++u) part.template scores<f()>(slot(i) + u * k_bytes / kParts, score[u]);
            });
#pragma unroll
            for (int u = 0; u < kParts; ++u)
                mask(way.work, way.call.attention.args.soft_cap, way.first_row(i) + u * kUnitRows, score[u]);
            part.soften(score);
            wait_for_values(i);
            with_quantized_format(v.format, [&](auto f) { part.template add<f()>(slot(i) + k_bytes, score); });
            release_to_copies();
        }
        part.put(v.format, result, stride, state);
    }

  private:
    __device__ uint8_t *slot(int i) const { return ring + i % kSlots * (k_bytes + v_bytes); }
    __device__ void copy(int i) {
        if (i < way.n) {
            const uint32_t row = way.place(i);
            uint8_t *to = slot(i);
            const uint8_t *keys = k.data + size_t(row) * k.row_bytes, *values = v.data + size_t(row) * v.row_bytes;
            if (kHasBulkCopies) {
                uint64_t *arrival = arrivals + 2 * (i % kSlots);
                if (is_elected()) {
                    copy_bulk(to, keys, uint32_t(k_bytes), arrival, L2::kNormal);
                    copy_bulk(to + k_bytes, values, uint32_t(v_bytes), arrival + 1, L2::kNormal);
                }
            } else {
                with_quantized_format(k.format, [&](auto f) { copy_pieces<f()>(to, keys); });
                with_quantized_format(v.format, [&](auto f) { copy_pieces<f()>(to + k_bytes, values); });
            }
        }
        if (!kHasBulkCopies) close_copies();
    }
    // 16 bytes a lane at a time.
    template <Format kFormat, int kFrom = 0> __device__ static void copy_pieces(uint8_t *to, const uint8_t *from) {
        constexpr int kBytes = kRows * QuantizedPart<kDim>::template kRowBytes<kFormat>, kAll = 32 * 16;
        const uint32_t lane = threadIdx.x % 32;
        if (kFrom + kAll <= kBytes || kFrom + int(16 * lane) < kBytes)
            copy16_at<kFrom>(to + 16 * lane, from + 16 * lane);
        if constexpr (kFrom + kAll < kBytes) copy_pieces<kFormat, kFrom + kAll>(to, from);
    }
    __device__ void wait_for_keys(int i) const {
        if (kHasBulkCopies) return wait_for_bulk(i, 0);
        wait_copies<kAhead>();
        __syncwarp();
    }
    // When the keys are there.
    __device__ void wait_for_values(int i) const {
        if (kHasBulkCopies) wait_for_bulk(i, 1);
    }
    __device__ void wait_for_bulk(int i, int p) const {
        cuda::wait_for_bulk(&arrivals[2 * (i % kSlots) + p], i / kSlots % 2);
    }
    // The row of this step and those that do not exist: what never was written may be infinite.
    __device__ void finish(int i) {
        const int n = way.rows(i), lane = int(threadIdx.x % 32);
        if (n > kRows) return;
        wait_for_values(i);
#pragma unroll 1
        for (int p = 0; p < 2; ++p) {
            const int row_bytes = int((p ? v : k).row_bytes);
            uint8_t *rows = slot(i) + (p ? k_bytes : 0);
#pragma unroll 1
            for (int at = n * row_bytes + 2 * lane; at < kRows * row_bytes; at += 64)
                *reinterpret_cast<uint16_t *>(rows + at) = 0;
#pragma unroll 1
            for (int at = 2 * lane; at < row_bytes && way.call.k; at += 64)
                *reinterpret_cast<uint16_t *>(rows + (n - 1) * row_bytes + at) =
                    *reinterpret_cast<const uint16_t *>(shared.own[p] + at);
        }
        __syncwarp();
    }
};

}  // namespace el::cuda
