// Attention of few tokens, split over what they see (Dao et al. 2023, "Flash-Decoding"): each warp takes 16 rows at a
// time for up to 8 query heads of one KV head, scores^T = K q^T and out^T = V^T p^T on matrix units, so that no lane
// is idle for want of tokens. Rows of earlier steps are fetched before the kernel waits for its predecessor.
//
// The parts of a KV head meet through shared memory where the chip has clusters of blocks; elsewhere they go through
// global memory and the last block to arrive adds them up, always in the same order.
#include "device.h"
#include "launch.h"
#include "ops/heads.cuh"

#include <algorithm>
#include <cooperative_groups.h>

namespace el::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kRows = 16;  // of a warp's tile
constexpr int kHeads = 8;  // of a block: more heads of a KV head go to further blocks
constexpr int kMaxSplits = 16;

struct Params {
    HeadsCall call;
    uint8_t *scratch;
};

// Shared memory of a block. kMixed: any pair of formats that tiles know, which lie as in the cache first.
template <int kDim, bool kMixed> struct Shared {
    using T = Tile<kDim>;
    // K or V of a tile's rows; large heads leave no room for float16 beside a quantized format.
    static constexpr int kSlotBytes = !kMixed       ? kRows * T::kRowBytes
                                      : kDim <= 128 ? kRows * 2 * kDim + 16
                                                    : kRows * kDim / 32 * 34 + 16;
    static constexpr int kSlots = kDim <= 64 ? 6 : kDim <= 128 ? (kMixed ? 4 : 5) : 2;
    static constexpr int kStride = kDim + 4;  // of a head's partial result: other banks for other heads

    struct alignas(16) Warp {
        uint8_t slots[kSlots][kSlotBytes];  // a ring: K, V, K, V, ...; in the end the result float [kHeads][kStride]
        uint8_t tile[kMixed ? kRows * T::kRowBytes : 16];
    };
    static_assert(kSlots * kSlotBytes >= kHeads * kStride * sizeof(float));

    Warp warp[kWarps];
    alignas(16) uint8_t q[kHeads * T::kRowBytes];
    alignas(16) uint8_t own[2][2 * kDim + 16];  // K and V row of this step
    union alignas(16) {
        struct {
            float2 turns[kDim / 2];
            float head[kWarps][kDim];
        };
        // From each block of the cluster its part of the heads, a slice of which is this block's.
        float parts[kHeads * kDim + 4 * kMaxSplits];
    };
    float2 states[kWarps][kHeads];  // maximum and total
    float2 part_states[kMaxSplits][kHeads];
    bool is_last;
};

// What one block looks at.
struct Work {
    uint32_t token, kv_head, first_head, n_heads;
    int32_t begin, end;  // rows seen
    int32_t drafts;      // rows from here on: by the bits of `ancestors`
    uint64_t ancestors;
    int32_t unit_begin, unit_end;  // of kRows rows: this block's
    const int32_t *pages;
    bool owner;  // makes the rows of this step
};

__device__ Work find_work(const HeadsCall &call) {
    const AttentionCall &c = call.attention;
    const StepLimits &limits = c.step.limits;
    const uint32_t group = c.args.n_heads / c.args.n_kv_heads, parts = (group + kHeads - 1) / kHeads;
    Work w;
    w.token = blockIdx.z;
    w.kv_head = blockIdx.y / parts;
    const uint32_t first = blockIdx.y % parts * kHeads;
    w.first_head = w.kv_head * group + first;
    w.n_heads = min(group - first, uint32_t(kHeads));
    const size_t at = size_t(c.group) * limits.max_tokens + w.token;
    // Past the first-level cache: a block may start while the kernel before it runs.
    w.begin = __ldcg(c.step.visible_begin + at);
    w.end = __ldcg(c.step.visible_end + at);
    w.ancestors = __ldcg(reinterpret_cast<const unsigned long long *>(c.step.ancestors + w.token));
    const int32_t sequence = max(__ldcg(c.step.sequence_of + w.token), 0);
    w.drafts = w.ancestors ? w.end - 64 + __clzll(int64_t(w.ancestors)) : w.end;
    w.pages = c.step.block_table + (size_t(c.group) * limits.max_sequences + size_t(sequence)) * limits.max_pages;
    const int32_t first_unit = w.begin / kRows, last = (w.end + kRows - 1) / kRows;
    const int32_t each = w.end > w.begin ? (last - first_unit + int32_t(gridDim.x) - 1) / int32_t(gridDim.x) : 0;
    w.unit_begin = w.end > w.begin ? min(first_unit + int32_t(blockIdx.x) * each, last) : 0;
    w.unit_end = w.end > w.begin ? min(w.unit_begin + each, last) : 0;
    w.owner = call.k && w.unit_begin < w.unit_end && w.unit_end == last;
    return w;
}

// A warp's way through its units: every kWarps-th of the block's.
template <int kDim, bool kMixed> struct Reader {
    using S = Shared<kDim, kMixed>;
    using T = Tile<kDim>;
    const HeadsCall &call;
    const Work &work;
    typename S::Warp &memory;
    int32_t unit, n;                   // the first; how many
    int32_t page_unit = -1, page = 0;  // lane i: page of the unit page_unit + i
    int issued = 0;                    // slots

    __device__ Reader(const HeadsCall &call_, const Work &work_, typename S::Warp &memory_)
        : call(call_), work(work_), memory(memory_) {
        unit = work.unit_begin + int32_t(threadIdx.x / 32);
        n = max(0, (work.unit_end - unit + kWarps - 1) / kWarps);
    }
    __device__ int32_t first_row(int i) const { return (unit + i * kWarps) * kRows; }

    // Pages are looked up 32 units at once.
    __device__ int32_t page_of(int i) {
        if (page_unit < 0 || i >= page_unit + 32) {
            page_unit = i;
            const int mine = i + int(threadIdx.x % 32);
            if (mine < n) page = __ldcg(work.pages + first_row(mine) / int32_t(kPageTokens));
        }
        return __shfl_sync(~0u, page, i - page_unit);
    }

    // Copies the next slot's rows. Every call closes one group, that of an empty one too.
    __device__ void issue() {
        const int i = issued / 2;
        if (i < n) {
            const Plane &plane = issued % 2 ? call.attention.v : call.attention.k;
            const int32_t row = first_row(i);
            const uint8_t *from =
                plane.row(page_of(i) * int32_t(kPageTokens) + row % int32_t(kPageTokens), work.kv_head);
            uint8_t *to = memory.slots[issued % S::kSlots];
            const int lane = int(threadIdx.x % 32);
            if constexpr (kMixed) {
                for (int c = lane; c < int(plane.row_bytes); c += 32) copy16(to + 16 * c, from + 16 * c);
            } else {
#pragma unroll
                for (int c = lane; c < kRows * T::kChunks; c += 32) {
                    const int r = c / T::kChunks, chunk = c % T::kChunks;
                    copy16(to + T::offset(r, chunk), from + 16 * c, row + r < work.end);
                }
            }
        }
        ++issued;
        close_copies();
    }

    // The rows of a slot that has arrived, as a tile.
    __device__ const uint8_t *tile(int slot, const uint8_t *own) {
        uint8_t *from = memory.slots[slot % S::kSlots];
        const Plane &plane = slot % 2 ? call.attention.v : call.attention.k;
        const int32_t row = first_row(slot / 2), own_row = work.end - 1 - row;
        const int lane = int(threadIdx.x % 32);
        const bool has_own = call.k && own_row >= 0 && own_row < kRows;
        if constexpr (!kMixed) {
            if (has_own) {
                for (int c = lane; c < T::kChunks; c += 32)
                    *reinterpret_cast<uint4 *>(from + T::offset(own_row, c)) = reinterpret_cast<const uint4 *>(own)[c];
                __syncwarp();
            }
            return from;
        } else {
            for (int c = lane; c < kRows * T::kChunks; c += 32) {
                const int r = c / T::kChunks, chunk = c % T::kChunks;
                const uint8_t *bytes = has_own && r == own_row ? own : from + r * int(plane.row_bytes);
                const uint4 values = row + r < work.end ? decode_chunk(plane.format, bytes, chunk) : uint4{};
                *reinterpret_cast<uint4 *>(memory.tile + T::offset(r, chunk)) = values;
            }
            __syncwarp();
            return memory.tile;
        }
    }
};

// ---- the rows of this step, and the queries

// Heads of q are tasks 0 .. n_heads - 1, then K and V; a warp has every kWarps-th. All are loaded before any is used.
template <int kDim, bool kMixed> struct Preparation {
    static constexpr int kTasks = (kHeads + 2 + kWarps - 1) / kWarps;
    HeadValues<kDim> weight[kTasks];
    const HeadsCall &call;
    const Work &work;

    __device__ Preparation(const HeadsCall &call_, const Work &work_) : call(call_), work(work_) {
#pragma unroll
        for (int i = 0; i < kTasks; ++i) {
            const uint32_t t = task(i);
            if (t < n_tasks())
                load_weight<kDim>(norm(t), t < work.n_heads ? work.first_head + t : work.kv_head, weight[i]);
        }
    }
    __device__ uint32_t task(int i) const { return threadIdx.x / 32 + uint32_t(i) * kWarps; }
    __device__ uint32_t n_tasks() const { return work.n_heads + (work.owner ? 2 : 0); }
    __device__ const HeadNorm &norm(uint32_t t) const {
        return t < work.n_heads ? call.q_norm : t == work.n_heads ? call.k_norm : call.v_norm;
    }
    __device__ const float *source(uint32_t t) const {
        const AttentionArgs &a = call.attention.args;
        if (t < work.n_heads) return call.attention.q + (size_t(work.token) * a.n_heads + work.first_head + t) * kDim;
        return (t == work.n_heads ? call.k : call.v) + (size_t(work.token) * a.n_kv_heads + work.kv_head) * kDim;
    }

    __device__ void run(Shared<kDim, kMixed> &shared) {
        float *head = shared.head[threadIdx.x / 32];
        HeadValues<kDim> x[kTasks];
#pragma unroll
        for (int i = 0; i < kTasks; ++i)
            if (task(i) < n_tasks()) load_head<kDim>(source(task(i)), x[i]);
#pragma unroll
        for (int i = 0; i < kTasks; ++i) {
            const uint32_t t = task(i);
            if (t >= n_tasks()) continue;
            const RopeArgs *rope = t < work.n_heads    ? &call.q_rope.args
                                   : t == work.n_heads ? &call.k_rope.args
                                                       : nullptr;
            prepare_head<kDim>(x[i], norm(t), weight[i], rope, shared.turns, head);
            if (t <= work.n_heads && call.attention.k.rotated) rotate_by_warp(head, kDim);
            if (t < work.n_heads)
                put_query(head, shared.q, int(t));
            else
                put_row(t == work.n_heads ? call.attention.k : call.attention.v, head, shared.own[t - work.n_heads]);
            __syncwarp();
        }
    }

    __device__ void put_query(const float *head, uint8_t *q, int n) const {
        const AttentionArgs &a = call.attention.args;
        const float scale = a.soft_cap > 0 ? a.scale / a.soft_cap : a.scale * kLog2E;
        for (int i = 2 * int(threadIdx.x % 32); i < kDim; i += 64)
            *reinterpret_cast<uint32_t *>(q + Tile<kDim>::offset(n, i / 8) + 2 * (i % 8)) =
                pack_halves(head[i] * scale, head[i + 1] * scale);
    }
    __device__ void put_row(const Plane &plane, const float *head, uint8_t *own) const {
        const AttentionCall &c = call.attention;
        const int32_t slot = c.step.slot[size_t(c.group) * c.step.limits.max_tokens + work.token];
        const bool writes = slot >= 0 && work.first_head % (c.args.n_heads / c.args.n_kv_heads) == 0;
        encode_row<kDim>(plane.format, head, writes ? plane.row(slot, work.kv_head) : nullptr, own);
    }
};

// ---- a warp's part: lane i holds heads 2 (i % 4) and the next; rows, then dims i / 4 and the 8th after it

template <int kDim> struct Part {
    static constexpr int kTiles = kDim / 16;
    float out[kTiles][4] = {};
    float maximum[2] = {kNoScore, kNoScore}, total[2] = {};
    uint32_t q[kTiles][2];

    __device__ void load_queries(const uint8_t *tile) {
        const int lane = int(threadIdx.x % 32);
        for (int i = 0; i < kTiles; ++i)
            load_two_matrices(q[i], tile + Tile<kDim>::offset(lane % 8, 2 * i + lane / 8 % 2));
    }

    __device__ void scores(const uint8_t *k, float (&sum)[4]) {
        const int lane = int(threadIdx.x % 32);
        float other[4] = {};  // two chains of products
        for (float &s : sum) s = 0;
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
            uint32_t a[4];
            load_matrices(a, k + Tile<kDim>::offset(lane % 16, 2 * i + lane / 16));
            multiply_add(i % 2 ? other : sum, a, q[i][0], q[i][1]);
        }
        for (int i = 0; i < 4; ++i) sum[i] += other[i];
    }

    // Turns scores into shares p^T, for rows as the left index.
    __device__ void soften(float (&score)[4]) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            float now = fmaxf(score[h], score[h + 2]);
            for (int i = 4; i < 32; i *= 2) now = fmaxf(now, __shfl_xor_sync(~0u, now, i));
            now = fmaxf(now, maximum[h]);
            const float keep = exp2_fast(maximum[h] - now);
            maximum[h] = now;
            score[h] = exp2_fast(score[h] - now);
            score[h + 2] = exp2_fast(score[h + 2] - now);
            total[h] = total[h] * keep + score[h] + score[h + 2];
            for (auto &o : out) {
                o[h] *= keep;
                o[h + 2] *= keep;
            }
        }
    }

    __device__ void add(const uint8_t *v, const float (&share)[4]) {
        const int lane = int(threadIdx.x % 32);
        const uint32_t p0 = transpose(pack_halves(share[0], share[1])), p1 = transpose(pack_halves(share[2], share[3]));
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
            uint32_t a[4];
            load_transposed(a, v + Tile<kDim>::offset(lane % 8 + lane / 16 * 8, 2 * i + lane / 8 % 2));
            multiply_add(out[i], a, p0, p1);
        }
    }

    __device__ void put(float *result, int stride, float2 *state) {
        const int lane = int(threadIdx.x % 32), head = lane % 4 * 2, dim = lane / 4;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            for (int i = 4; i < 32; i *= 2) total[h] += __shfl_xor_sync(~0u, total[h], i);
            for (int i = 0; i < kTiles; ++i) {
                result[(head + h) * stride + 16 * i + dim] = out[i][h];
                result[(head + h) * stride + 16 * i + dim + 8] = out[i][h + 2];
            }
            if (dim == 0) state[head + h] = {maximum[h], total[h]};
        }
    }
};

// Scores of rows that are not seen become so small that they count nothing.
__device__ inline void mask(const Work &w, float soft_cap, int32_t first_row, float (&score)[4]) {
    for (int i = 0; i < 4; ++i) {
        const int32_t row = first_row + int32_t(threadIdx.x % 32 / 4) + (i / 2) * 8;
        if (soft_cap > 0) score[i] = soft_cap * kLog2E * tanh_fast(score[i]);
        const bool seen = row >= w.begin && row < w.end && (row < w.drafts || (w.ancestors >> (row - w.drafts) & 1));
        if (!seen) score[i] = -INFINITY;
    }
}

// ---- putting parts together

// Of parts with their maximum and total: the factor of each, and the common state.
template <int kMax> struct Weights {
    float of[kMax];
    float maximum = kNoScore, total = 0;
    __device__ Weights(const float2 *states, int stride, int n) {
#pragma unroll
        for (int i = 0; i < kMax; ++i)
            if (i < n) maximum = fmaxf(maximum, states[i * stride].x);
#pragma unroll
        for (int i = 0; i < kMax; ++i)
            if (i < n) {
                of[i] = exp2_fast(states[i * stride].x - maximum);
                total += of[i] * states[i * stride].y;
            }
    }
    // What to multiply the sum of weighted parts by; a sink takes a share of its own.
    __device__ float last_factor(const float *sink) const {
        if (!sink) return total > 0 ? 1.0f / total : 0.0f;
        const float score = *sink * kLog2E, highest = fmaxf(maximum, score), keep = exp2_fast(maximum - highest);
        return keep / (total * keep + exp2_fast(score - highest));
    }
};

__device__ inline float *output(const AttentionCall &c, const Work &w, int i) {
    return c.out + (size_t(w.token) * c.args.n_heads + w.first_head) * c.args.head_dim_v + i;
}

// Of the warps of a block: four values of one head.
template <int kDim, bool kMixed>
__device__ float4 join_warps(Shared<kDim, kMixed> &shared, const Weights<kWarps> &weights, int head, int dim) {
    float4 sum = {};
#pragma unroll
    for (int i = 0; i < kWarps; ++i) {
        const float *part = reinterpret_cast<const float *>(shared.warp[i].slots[0]);
        const float4 x = *reinterpret_cast<const float4 *>(part + head * Shared<kDim, kMixed>::kStride + dim);
        sum.x += weights.of[i] * x.x;
        sum.y += weights.of[i] * x.y;
        sum.z += weights.of[i] * x.z;
        sum.w += weights.of[i] * x.w;
    }
    return sum;
}

// Each block gets a slice of all heads' values from each block of its cluster.
template <int kDim, bool kMixed>
__device__ void join_cluster(const AttentionCall &c, const Work &w, Shared<kDim, kMixed> &shared) {
#if __CUDA_ARCH__ >= 900
    namespace cg = cooperative_groups;
    const auto cluster = cg::this_cluster();
    const int n_blocks = int(gridDim.x), rank = int(blockIdx.x), n = int(w.n_heads) * kDim / 4,
              slice = (n + n_blocks - 1) / n_blocks;
    cluster.barrier_wait();  // all blocks have begun, and are done with what lay in the place of `parts`
    for (int i = int(threadIdx.x); i < n; i += kThreads) {
        const int head = 4 * i / kDim, to = i / slice;
        const Weights<kWarps> weights(&shared.states[0][head], kHeads, kWarps);
        const float4 sum = join_warps<kDim, kMixed>(shared, weights, head, 4 * i % kDim);
        float4 *parts = reinterpret_cast<float4 *>(cluster.map_shared_rank(shared.parts, unsigned(to)));
        parts[rank * slice + i - to * slice] = sum;
    }
    for (int i = int(threadIdx.x); i < n_blocks * kHeads; i += kThreads) {
        const Weights<kWarps> weights(&shared.states[0][i % kHeads], kHeads, kWarps);
        *cluster.map_shared_rank(&shared.part_states[rank][i % kHeads], unsigned(i / kHeads)) = {weights.maximum,
                                                                                                 weights.total};
    }
    cluster.sync();
    for (int i = int(threadIdx.x); i < 4 * slice; i += kThreads) {
        const int at = 4 * rank * slice + i, head = at / kDim;
        if (at >= 4 * n) break;
        const Weights<kMaxSplits> weights(&shared.part_states[0][head], kHeads, n_blocks);
        float sum = 0;
#pragma unroll
        for (int b = 0; b < kMaxSplits; ++b)
            if (b < n_blocks) sum += weights.of[b] * shared.parts[4 * b * slice + i];
        *output(c, w, at) = sum * weights.last_factor(c.sinks ? c.sinks + w.first_head + head : nullptr);
    }
#endif
}

// Scratch of a token and blockIdx.y: parts [splits, kHeads, kDim], states [splits, kHeads], a counter.
template <int kDim> struct Scratch {
    float *parts;
    float2 *states;
    unsigned *arrived;
    static __host__ __device__ size_t bytes(uint32_t splits) {
        return (splits * kHeads * (kDim * sizeof(float) + sizeof(float2)) + sizeof(unsigned) + 255) / 256 * 256;
    }
    __device__ Scratch(uint8_t *base, uint32_t splits) {
        uint8_t *mine = base + (size_t(blockIdx.z) * gridDim.y + blockIdx.y) * bytes(splits);
        parts = reinterpret_cast<float *>(mine);
        states = reinterpret_cast<float2 *>(parts + splits * kHeads * kDim);
        arrived = reinterpret_cast<unsigned *>(states + splits * kHeads);
    }
};

template <int kDim, bool kMixed>
__device__ void join_by_last(const AttentionCall &c, const Work &w, Shared<kDim, kMixed> &shared, uint8_t *memory) {
    const int n_blocks = int(gridDim.x), n = int(w.n_heads) * kDim / 4;
    const Scratch<kDim> scratch(memory, gridDim.x);
    for (int i = int(threadIdx.x); i < n; i += kThreads) {
        const int head = 4 * i / kDim;
        const Weights<kWarps> weights(&shared.states[0][head], kHeads, kWarps);
        reinterpret_cast<float4 *>(scratch.parts)[int(blockIdx.x) * n + i] =
            join_warps<kDim, kMixed>(shared, weights, head, 4 * i % kDim);
    }
    if (threadIdx.x < kHeads) {
        const Weights<kWarps> weights(&shared.states[0][threadIdx.x], kHeads, kWarps);
        scratch.states[blockIdx.x * kHeads + threadIdx.x] = {weights.maximum, weights.total};
    }
    __threadfence();
    __syncthreads();
    // The counter starts again at 0 behind the last block.
    if (threadIdx.x == 0) shared.is_last = atomicInc(scratch.arrived, gridDim.x - 1) == gridDim.x - 1;
    __syncthreads();
    if (!shared.is_last) return;
    __threadfence();
    for (int i = int(threadIdx.x); i < n_blocks * kHeads; i += kThreads)
        shared.part_states[i / kHeads][i % kHeads] = __ldcg(scratch.states + i);
    __syncthreads();
    for (int i = int(threadIdx.x); i < n; i += kThreads) {
        const int head = 4 * i / kDim;
        float4 part[kMaxSplits];
#pragma unroll
        for (int b = 0; b < kMaxSplits; ++b)
            if (b < n_blocks) part[b] = __ldcg(reinterpret_cast<const float4 *>(scratch.parts) + b * n + i);
        const Weights<kMaxSplits> weights(&shared.part_states[0][head], kHeads, n_blocks);
        const float factor = weights.last_factor(c.sinks ? c.sinks + w.first_head + head : nullptr);
        float4 sum = {};
#pragma unroll
        for (int b = 0; b < kMaxSplits; ++b)
            if (b < n_blocks) {
                sum.x += weights.of[b] * part[b].x;
                sum.y += weights.of[b] * part[b].y;
                sum.z += weights.of[b] * part[b].z;
                sum.w += weights.of[b] * part[b].w;
            }
        *reinterpret_cast<float4 *>(output(c, w, 4 * i)) = {sum.x * factor, sum.y * factor, sum.z * factor,
                                                            sum.w * factor};
    }
}

// ---- the kernel: a block for a part of what one token sees, for some heads of one KV head

template <int kDim, bool kMixed, bool kClustered> __global__ void __launch_bounds__(kThreads)
    decode_kernel(const __grid_constant__ Params p) {
#if __CUDA_ARCH__ < 900
    if constexpr (kClustered) return;  // never started there
#endif
    extern __shared__ uint8_t memory[];
    using S = Shared<kDim, kMixed>;
    S &shared = *reinterpret_cast<S *>(memory);
    const HeadsCall &call = p.call;
    let_successor_start();
    const Work work = find_work(call);
    Reader<kDim, kMixed> reader(call, work, shared.warp[threadIdx.x / 32]);

    // Rows that this step makes lie behind these, at most one for each of its tokens.
    const int32_t old_rows = call.k ? work.end : work.end - int32_t(gridDim.z);
    while (reader.issued < S::kSlots - 1 && reader.issued / 2 < reader.n &&
           reader.first_row(reader.issued / 2) + kRows <= old_rows)
        reader.issue();
    const Rope &rope = call.q_rope.args.dims ? call.q_rope : call.k_rope;
    if (rope.args.dims) make_turns(rope, __ldcg(call.attention.step.position + work.token), shared.turns);
    for (int i = int(threadIdx.x); i < int(sizeof shared.q) / 16; i += kThreads)
        reinterpret_cast<uint4 *>(shared.q)[i] = {};
    Preparation<kDim, kMixed> preparation(call, work);
    __syncthreads();

    wait_for_predecessor();
    while (reader.issued < S::kSlots - 1) reader.issue();
    preparation.run(shared);
    __syncthreads();
#if __CUDA_ARCH__ >= 900
    if constexpr (kClustered) cooperative_groups::this_cluster().barrier_arrive();
#endif

    Part<kDim> part;
    part.load_queries(shared.q);
    for (int i = 0; i < reader.n; ++i) {
        float score[4];
        wait_copies<S::kSlots - 2>();
        __syncwarp();
        reader.issue();
        part.scores(reader.tile(2 * i, shared.own[0]), score);
        mask(work, call.attention.args.soft_cap, reader.first_row(i), score);
        part.soften(score);
        wait_copies<S::kSlots - 2>();
        __syncwarp();
        reader.issue();
        part.add(reader.tile(2 * i + 1, shared.own[1]), score);
    }
    wait_copies<0>();
    __syncwarp();
    part.put(reinterpret_cast<float *>(reader.memory.slots[0]), S::kStride, shared.states[threadIdx.x / 32]);
    __syncthreads();
    if constexpr (kClustered)
        join_cluster<kDim, kMixed>(call.attention, work, shared);
    else
        join_by_last<kDim, kMixed>(call.attention, work, shared, p.scratch);
}

// ---- norm, rope and cache as a kernel of its own: a warp for each head of q, k and v of each token

template <int kDim> __global__ void __launch_bounds__(kThreads)
    rope_and_write_kernel(const __grid_constant__ HeadsCall call) {
    __shared__ float heads[kWarps][kDim];
    __shared__ float2 turns[kDim / 2];
    let_successor_start();
    const AttentionCall &c = call.attention;
    const uint32_t token = blockIdx.y, n_q = c.args.n_heads, n_kv = c.args.n_kv_heads,
                   job = blockIdx.x * kWarps + threadIdx.x / 32;
    const Rope &rope = call.q_rope.args.dims ? call.q_rope : call.k_rope;
    if (rope.args.dims) make_turns(rope, __ldcg(c.step.position + token), turns);
    __syncthreads();
    wait_for_predecessor();
    if (job >= n_q + (call.k ? 2 * n_kv : 0)) return;
    const bool is_q = job < n_q, is_k = !is_q && job < n_q + n_kv;
    const uint32_t head = is_q ? job : is_k ? job - n_q : job - n_q - n_kv;
    const float *from = is_q ? c.q + (size_t(token) * n_q + head) * kDim
                             : (is_k ? call.k : call.v) + (size_t(token) * n_kv + head) * kDim;
    const HeadNorm &norm = is_q ? call.q_norm : is_k ? call.k_norm : call.v_norm;
    HeadValues<kDim> x, weight;
    load_head<kDim>(from, x);
    load_weight<kDim>(norm, head, weight);
    float *values = heads[threadIdx.x / 32];
    prepare_head<kDim>(x, norm, weight, is_q ? &call.q_rope.args : is_k ? &call.k_rope.args : nullptr, turns, values);
    if (is_q) {
        for (int i = int(threadIdx.x % 32); i < kDim; i += 32)
            call.q_out[(size_t(token) * n_q + head) * kDim + size_t(i)] = values[i];
        return;
    }
    const int32_t slot = c.step.slot[size_t(c.group) * c.step.limits.max_tokens + token];
    if (slot < 0) return;
    const Plane &plane = is_k ? c.k : c.v;
    if (plane.rotated) rotate_by_warp(values, kDim);
    encode_row<kDim>(plane.format, values, plane.row(slot, head), nullptr);
}

// ---- starting them

uint32_t blocks_per_token(const AttentionArgs &a) {
    return a.n_kv_heads * ((a.n_heads / a.n_kv_heads + kHeads - 1) / kHeads);
}

// As many parts as fill the chip, a power of two as sizes of clusters are.
uint32_t splits_for(const AttentionArgs &a, int n, int n_multiprocessors) {
    uint32_t splits = 1;
    while (splits < kMaxSplits && 2 * splits * blocks_per_token(a) * uint32_t(n) <= uint32_t(n_multiprocessors) * 9 / 8)
        splits *= 2;
    return splits;
}

template <int kDim, bool kMixed, bool kClustered>
void start(const Params &p, dim3 blocks, bool early, cudaStream_t stream) {
    constexpr size_t bytes = sizeof(Shared<kDim, kMixed>);
    const auto kernel = decode_kernel<kDim, kMixed, kClustered>;
    static_assert(bytes <= 99 * 1024);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)), "preparing attention");
    if (kClustered && blocks.x > 8)
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1), "preparing attention");
    launch_early(kernel, {blocks, kThreads, bytes, kClustered ? blocks.x : 0}, stream, early, p);
}

template <int kDim, bool kMixed> void start(const DecodeAttentionCall &call, cudaStream_t stream) {
    const AttentionCall &c = call.heads.attention;
    const uint32_t splits = splits_for(c.args, c.n, call.n_multiprocessors);
    const dim3 blocks(splits, blocks_per_token(c.args), unsigned(c.n));
    const Params p{call.heads, call.scratch};
    if (call.early)
        start<kDim, kMixed, true>(p, blocks, true, stream);
    else
        start<kDim, kMixed, false>(p, blocks, false, stream);
}

}  // namespace

bool decode_attention_supported(const AttentionArgs &a, const Plane &k, const Plane &v) {
    const bool one_is_f16 = (k.format == Format::kF16) != (v.format == Format::kF16);
    return a.head_dim_k == a.head_dim_v && tile_format(k.format) && tile_format(v.format) &&
           !(one_is_f16 && a.head_dim_k > 128) && with_tile_dim(a.head_dim_k, [](auto) {});
}

size_t decode_attention_scratch(const AttentionArgs &a, int n, int n_multiprocessors) {
    const uint32_t splits = splits_for(a, n, n_multiprocessors);
    size_t bytes = 0;
    with_tile_dim(a.head_dim_k,
                  [&](auto dim) { bytes = size_t(n) * blocks_per_token(a) * Scratch<dim()>::bytes(splits); });
    return bytes;
}

void rope_and_write(const HeadsCall &call, bool early, cudaStream_t stream) {
    const AttentionArgs &a = call.attention.args;
    const uint32_t jobs = a.n_heads + (call.k ? 2 * a.n_kv_heads : 0);
    with_tile_dim(a.head_dim_k, [&](auto dim) {
        const dim3 blocks((jobs + kWarps - 1) / kWarps, unsigned(call.attention.n));
        launch_early(rope_and_write_kernel<dim()>, {blocks, kThreads}, stream, early, call);
    });
}

void decode_attention(const DecodeAttentionCall &call, cudaStream_t stream) {
    DecodeAttentionCall rest = call;
    AttentionCall &c = rest.heads.attention;
    if (c.n > 1) {
        rope_and_write(call.heads, call.early, stream);
        rest.heads = {};
        rest.heads.attention = call.heads.attention;
        c.q = call.heads.q_out;
    }
    const bool mixed = c.k.format != Format::kF16 || c.v.format != Format::kF16;
    with_tile_dim(c.args.head_dim_k, [&](auto dim) {
        if (mixed)
            start<dim(), true>(rest, stream);
        else
            start<dim(), false>(rest, stream);
    });
}

}  // namespace el::cuda
