// Attention of few tokens, split over what they see (Dao et al. 2023, "Flash-Decoding"). Rows of earlier steps are
// fetched before the kernel waits for its predecessor.
#include "device.h"
#include "launch.h"
#include "ops/decode_join.cuh"
#include "ops/decode_rows.cuh"
#include "ops/heads.cuh"

#include <algorithm>

namespace el::cuda {
namespace {

constexpr uint32_t kMaxTokenHeads = 1024;  // blocks along y and z
constexpr int kLeastRows = 64;             // of a warp, before another group works
constexpr size_t kMostShared = 99 << 10;   // bytes that a block may have on every chip

struct Params {
    HeadsCall call;
    uint8_t *scratch;  // for each token and blockIdx.y: kMaxTokenHeads JoinCounters, then JoinScratch
    // Blocks along x are a cluster for the rows that a token sees. All tokens come once for each group of clusters:
    // those behind the first work where contexts are long.
    int n_groups;
    uint32_t warp_bytes;  // of shared memory behind Shared, for each warp: rows, and what it made of them when the last
                          // have been used
};

// So that, on chips with clusters, a block of the stage after it finds room beside it: 16 warps with 72 registers (Room
// in matvec.cu; formats whose kernels need fewer or more have other blocks, which come later). Elsewhere two of
// attention.
template <bool kClustered> constexpr int kRegisters = kClustered ? 224 : 255;

// Shared memory of a block. kQuantized: Q8_0 or Q4_0; otherwise both planes are F16.
template <int kDim, bool kQuantized, bool kClustered, bool kTwo> struct Shared {
    // Eight lanes read 16 bytes each of two queries at once, for which shared memory has eight columns. The second
    // query begins four columns further: all lanes have their own.
    static constexpr int kChunks = kDim / 8, kQueryBytes = 16 * (kChunks + (12 - kChunks % 8) % 8);
    using Join = JoinMemory<kDim, kDecodeWarps, kClustered>;

    static constexpr bool kIsQuantized = kQuantized;
    // Measured on an H200: heads of 64 are slower that way; 80 and 96 were not tried.
    static constexpr bool kIsBulk = !kQuantized && kClustered && kTwo && kDim == 128;
    Join join;
    alignas(16) uint8_t q[kPartHeads][kQueryBytes];
    alignas(16) uint8_t own[2][2 * kDim + 16];  // K and V row of this step
    float2 turns[kDim / 2];
    float head[kDecodeWarps][kDim];
    // See QuantizedReader and BulkReader.
    uint64_t arrivals[kQuantized || kIsBulk ? kDecodeWarps : 1][kQuantized ? 2 * kSlots : 2];

    static constexpr size_t warp_bytes(size_t k_row_bytes, size_t v_row_bytes) {
        const size_t result = sizeof(float) * kPartHeads * Join::kStride;
        const size_t rows = kQuantized ? kSlots * kQuantizedRows<kTwo> * (k_row_bytes + v_row_bytes)
                            : kIsBulk  ? BulkUnit<kDim>::kBytes
                                       : 0;
        return std::max(result, rows);
    }
};

// Where the memory of warps begins: a multiple of 128, as the copy engine is slower elsewhere.
template <typename S> constexpr size_t kOfWarps = (sizeof(S) + 127) / 128 * 128;

// kRows: of a unit
template <int kRows> __device__ Work find_work(const Params &p) {
    const HeadsCall &call = p.call;
    const AttentionCall &c = call.attention;
    const StepLimits &limits = c.step.limits;
    const uint32_t group = c.args.n_heads / c.args.n_kv_heads, parts = (group + kPartHeads - 1) / kPartHeads;
    Work w;
    w.token = blockIdx.z % uint32_t(c.n);
    w.kv_head = blockIdx.y / parts;
    const uint32_t first = blockIdx.y % parts * kPartHeads;
    w.first_head = w.kv_head * group + first;
    w.n_heads = min(group - first, uint32_t(kPartHeads));
    const size_t at = size_t(c.group) * limits.max_tokens + w.token;
    // Past the first-level cache: a block may start while the kernel before it runs.
    w.begin = __ldcg(c.step.visible_begin + at);
    w.end = __ldcg(c.step.visible_end + at);
    w.ancestors = __ldcg(reinterpret_cast<const unsigned long long *>(c.step.ancestors + w.token));
    const int32_t sequence = max(__ldcg(c.step.sequence_of + w.token), 0);
    w.drafts = w.ancestors ? w.end - 64 + __clzll(int64_t(w.ancestors)) : w.end;
    w.pages = c.step.block_table + (size_t(c.group) * limits.max_sequences + size_t(sequence)) * limits.max_pages;
    const int32_t first_unit = w.begin / kRows, last = w.end > w.begin ? (w.end + kRows - 1) / kRows : first_unit,
                  n = last - first_unit;
    // Some units for a warp cost less than another cluster's part.
    const int cluster_blocks = int(gridDim.x);
    w.group = int(blockIdx.z / uint32_t(c.n));
    w.n_groups = max(1, min(p.n_groups, n / (kLeastRows / kRows * cluster_blocks * kDecodeWarps)));
    const int32_t n_blocks = w.n_groups * cluster_blocks, each = (n + n_blocks - 1) / n_blocks;
    w.unit_begin = min(first_unit + (w.group * cluster_blocks + int32_t(blockIdx.x)) * each, last);
    w.unit_end = min(w.unit_begin + each, last);
    w.owner = call.k && w.unit_begin < w.unit_end && w.unit_end == last;
    return w;
}

// ---- the queries, and the rows of this step

// Heads of q are tasks 0 .. n_heads - 1, then K and V; a warp has every kDecodeWarps-th. Two are loaded ahead.
template <int kDim, typename S> struct Preparation {
    static constexpr uint32_t kAhead = 2;  // tasks whose values are on their way
    HeadPairs<kDim> x[kAhead];
    HeadFactors<kDim> factors;  // of the first
    const HeadsCall &call;
    const Work &work;
    S &shared;
    int32_t slot = -1;  // where this step's rows go
    bool together;      // K and V are made a pair of values a thread, which is sooner than by two warps after their q

    // Two values of K that are turned together, or two neighbours of V: a thread's part of `together`.
    struct OwnPair {
        bool exists = false, is_v = false;
        uint32_t at[2] = {};
        float2 value = {}, turn = {1, 0}, weight = {1, 1};
        HeadPairs<kDim> head = {};  // where there is a norm: this lane's of the whole head
    } pair;

    __device__ Preparation(const HeadsCall &call_, const Work &work_, S &shared_)
        : call(call_), work(work_), shared(shared_) {
        const AttentionCall &c = call.attention;
        const bool norms = call.k_norm.exists || call.v_norm.exists;  // want whole warps for K and for V
        together = work.owner && kDim <= 32 * kDecodeWarps && (!norms || kDim % 64 == 0) &&
                   c.k.format == Format::kF16 && c.v.format == Format::kF16 && !c.k.rotated && !c.v.rotated;
        find_pair();
        if (work.owner) slot = __ldcg(c.step.slot + size_t(c.group) * c.step.limits.max_tokens + work.token);
    }
    // When `turns` are there.
    __device__ void load_factors() {
        if (pair.exists) pair.turn = own_pairs().turn(own_pair(), shared.turns);
        load_factors(task(0));
    }
    __device__ bool writes() const {
        const AttentionArgs &a = call.attention.args;
        return slot >= 0 && work.first_head % (a.n_heads / a.n_kv_heads) == 0;
    }
    __device__ uint32_t task(uint32_t i) const { return threadIdx.x / 32 + i * kDecodeWarps; }
    __device__ uint32_t n_tasks() const { return work.n_heads + (work.owner && !together ? 2 : 0); }
    __device__ bool is_q(uint32_t t) const { return t < work.n_heads; }
    __device__ bool is_k(uint32_t t) const { return t == work.n_heads; }
    __device__ const HeadNorm &norm(uint32_t t) const {
        return is_q(t) ? call.q_norm : is_k(t) ? call.k_norm : call.v_norm;
    }
    __device__ Pairs pairs(uint32_t t) const {
        return Pairs(is_q(t) ? &call.q_rope.args : is_k(t) ? &call.k_rope.args : nullptr);
    }
    __device__ void load_factors(uint32_t t) {
        if (t >= n_tasks()) return;
        factors.load(pairs(t), shared.turns, weight_of(norm(t), is_q(t) ? work.first_head + t : work.kv_head));
    }
    __device__ void load(uint32_t t, HeadPairs<kDim> &to) const {
        if (t < n_tasks()) to.load(source(t), pairs(t));
    }
    __device__ const float *source(uint32_t t) const {
        const AttentionArgs &a = call.attention.args;
        if (is_q(t)) return call.attention.q + (size_t(work.token) * a.n_heads + work.first_head + t) * kDim;
        return (is_k(t) ? call.k : call.v) + (size_t(work.token) * a.n_kv_heads + work.kv_head) * kDim;
    }

    __device__ void run() {
        float *head = shared.head[threadIdx.x / 32];
        load_pair();
#pragma unroll
        for (uint32_t i = 0; i < kAhead; ++i) load(task(i), x[i]);
#pragma unroll 1
        for (uint32_t i = 0, t; (t = task(i)) < n_tasks(); ++i) {
            prepare_head(x[0], norm(t), factors);
            const Plane &plane = is_q(t) || is_k(t) ? call.attention.k : call.attention.v;
            if (is_q(t) && !plane.rotated) {
                put_query(x[0], pairs(t), shared.q[t]);
            } else {
                x[0].each(pairs(t), [&](uint32_t at, float value) { head[at] = value; });
                __syncwarp();
                if (plane.rotated) rotate_by_warp(head, kDim);
                if (is_q(t)) {
                    x[0].load(head, Pairs(nullptr));
                    put_query(x[0], Pairs(nullptr), shared.q[t]);
                } else {
                    put_row(plane, head, shared.own[t - work.n_heads]);
                }
                __syncwarp();
            }
            x[0] = x[1];
            load(task(i + kAhead), x[1]);
            load_factors(task(i + 1));
        }
        put_pair();
    }

    __device__ const HeadNorm &pair_norm() const { return pair.is_v ? call.v_norm : call.k_norm; }
    __device__ Pairs own_pairs() const { return Pairs(pair.is_v ? nullptr : &call.k_rope.args); }
    __device__ uint32_t own_pair() const { return threadIdx.x - (pair.is_v ? kDim / 2 : 0); }
    __device__ void find_pair() {
        pair.exists = together && threadIdx.x < kDim;
        if (!pair.exists) return;
        pair.is_v = threadIdx.x >= kDim / 2;
        pair.at[0] = own_pairs().first(own_pair());
        pair.at[1] = own_pairs().second(own_pair());
        if (const float *weight = weight_of(pair_norm(), work.kv_head))
            pair.weight = {weight[pair.at[0]], weight[pair.at[1]]};
    }
    __device__ void load_pair() {
        if (!pair.exists) return;
        const float *from = source(work.n_heads + pair.is_v);
        pair.value = {from[pair.at[0]], from[pair.at[1]]};
        if (pair_norm().exists) pair.head.load(from, own_pairs());
    }
    __device__ void put_pair() {
        if (!pair.exists) return;
        if (const HeadNorm &norm = pair_norm(); norm.exists) {
            const float scale = pair.head.norm_scale(norm);
            pair.value = {pair.value.x * (scale * pair.weight.x), pair.value.y * (scale * pair.weight.y)};
        }
        const float2 value = turned(pair.value, pair.turn);
        const uint32_t both = pack_halves(value.x, value.y);
        const Plane &plane = pair.is_v ? call.attention.v : call.attention.k;
        uint8_t *row = writes() ? plane.row(slot, work.kv_head) : nullptr;
        for (int j = 0; j < 2; ++j) {
            const auto half = uint16_t(both >> 16 * j);
            reinterpret_cast<uint16_t *>(shared.own[pair.is_v])[pair.at[j]] = half;
            if (row) reinterpret_cast<uint16_t *>(row)[pair.at[j]] = half;
        }
    }

    __device__ void put_query(const HeadPairs<kDim> &head, const Pairs &pairs, uint8_t *q) const {
        const AttentionArgs &a = call.attention.args;
        const float scale = a.soft_cap > 0 ? __fdividef(a.scale, a.soft_cap) : a.scale * kLog2E;
        head.each(pairs, [&](uint32_t at, float value) {
            reinterpret_cast<__half *>(q)[at] = __float2half_rn(value * scale);
        });
    }
    __device__ void put_row(const Plane &plane, const float *head, uint8_t *own) const {
        const Format format = S::kIsQuantized ? plane.format : Format::kF16;  // the latter the compiler sees
        encode_row<kDim>(format, head, writes() ? plane.row(slot, work.kv_head) : nullptr, own);
    }
};

// Those of heads that do not exist: what lay there before could raise a base again and again.
template <typename S> __device__ void clear_queries(S &shared, uint32_t n_heads) {
    constexpr uint32_t kPieces = sizeof(S::q[0]) / 16;
    for (uint32_t i = n_heads * kPieces + threadIdx.x; i < kPartHeads * kPieces; i += 32 * kDecodeWarps)
        reinterpret_cast<uint4 *>(shared.q)[i] = {};
}

// ---- the kernel: a block for a part of what one token sees, for some heads of one KV head

// kTwo: 32 rows at once.
template <int kDim, bool kQuantized, bool kClustered, bool kTwo>
__global__ void EL_REGISTERS(kRegisters<kClustered>, 32 * kDecodeWarps, 2)
    decode_kernel(const __grid_constant__ Params p) {
    if constexpr (kClustered && !kHasClusters) return;  // never started there
    using S = Shared<kDim, kQuantized, kClustered, kTwo>;
    using FloatReader = std::conditional_t<S::kIsBulk, BulkReader<kDim, S>, DirectReader<kDim, S, kTwo>>;
    using Reader = std::conditional_t<kQuantized, QuantizedReader<kDim, S, kTwo>, FloatReader>;
    using Join = Joiner<kDim, kDecodeWarps, kClustered>;
    S &shared = dynamic_shared_as<S>();
    const HeadsCall &call = p.call;
    let_successor_start();
    const Work work = find_work<Reader::kRows>(p);
    if (work.group >= work.n_groups) return;
    const int rank = int(blockIdx.x), n_blocks = int(gridDim.x);
    if constexpr (kClustered) Join::begin(shared.join, int(work.n_heads), rank, n_blocks);
    Way<Reader::kRows> way(call, work);
    uint8_t *of_warps = dynamic_shared() + kOfWarps<S>, *of_mine = of_warps + threadIdx.x / 32 * p.warp_bytes;
    Reader reader(way, shared, of_mine);

    // Rows that this step makes lie behind these, at most one for each of its tokens.
    const int32_t old_rows = call.k ? work.end : work.end - call.attention.n;
    const int32_t fetched_rows = way.first_row(min(Reader::kAhead, way.n) - 1) + Reader::kRows;
    if (min(fetched_rows, work.end) > old_rows) wait_for_predecessor();
    if (way.n > 0) reader.prefetch();
    clear_queries(shared, work.n_heads);
    const Rope &rope = call.q_rope.args.dims ? call.q_rope : call.k_rope;
    if (rope.args.dims) make_turns(rope, __ldcg(call.attention.step.position + work.token), shared.turns);
    Preparation<kDim, S> preparation(call, work, shared);
    __syncthreads();
    constexpr bool kLateFactors = kTwo && !kQuantized && !S::kIsBulk;  // registers are scarce
    if constexpr (!kLateFactors) preparation.load_factors();

    wait_for_predecessor();
    if constexpr (kLateFactors) preparation.load_factors();
    preparation.run();
    __syncthreads();

    if (way.n > 0)
        reader.use(reinterpret_cast<float *>(of_mine), S::Join::kStride, shared.join.states[threadIdx.x / 32]);
    __syncthreads();
    const AttentionCall &c = call.attention;
    const uint32_t at = work.token * gridDim.y + blockIdx.y;
    auto *counters = reinterpret_cast<JoinCounters *>(p.scratch);
    auto *scratch = reinterpret_cast<JoinScratch<kDim> *>(counters + kMaxTokenHeads);
    Join{shared.join,
         reinterpret_cast<const float *>(of_warps),
         int(p.warp_bytes / sizeof(float)),
         min(kDecodeWarps, work.unit_end - work.unit_begin),
         int(work.n_heads),
         work.group,
         work.n_groups,
         rank,
         n_blocks,
         c.out + (size_t(work.token) * c.args.n_heads + work.first_head) * kDim,
         c.sinks ? c.sinks + work.first_head : nullptr,
         scratch + at,
         counters + at}
        .join();
}

// ---- starting them

uint32_t blocks_per_token(const AttentionArgs &a) {
    return a.n_kv_heads * ((a.n_heads / a.n_kv_heads + kPartHeads - 1) / kPartHeads);
}

// How what a token sees is split for each of `rows`, a token's KV heads: clusters of n_blocks, n_groups of them. Blocks
// of a cluster join their parts sooner than groups do, but clusters of eight do not find room on all multiprocessors.
struct Split {
    uint32_t n_blocks, n_groups;
};
// fit: on a multiprocessor at once, if it has nothing else. What is counted in eighths was measured on H200s.
template <bool kQuantized, bool kClustered, bool kLong>
Split split_of(uint32_t n_multiprocessors, uint32_t fit, uint32_t rows) {
    const uint32_t of_eight = !kClustered  ? 8 * fit
                              : kQuantized ? std::min(8 * fit + 1, 17u)
                              : kLong      ? 8
                                           : 9,
                   most = n_multiprocessors * of_eight / 8;
    uint32_t n_blocks = !kClustered ? 1 : kLong ? 2 : kMaxClusterBlocks;
    while (n_blocks > 1 && n_blocks * rows > most) n_blocks /= 2;
    if (kClustered && !kLong) return {n_blocks, 1};
    return {n_blocks, std::clamp(most / (n_blocks * rows), 1u, uint32_t(kMaxGroups))};
}

template <int kDim, bool kQuantized, bool kClustered, bool kLong = false>
void start(const DecodeAttentionCall &call, cudaStream_t stream) {
    const AttentionCall &c = call.heads.attention;
    constexpr bool kTwo = kDim <= 128 && (kLong || !kClustered);
    using S = Shared<kDim, kQuantized, kClustered, kTwo>;
    const auto kernel = decode_kernel<kDim, kQuantized, kClustered, kTwo>;
    constexpr int kThreads = 32 * kDecodeWarps;
    const size_t warp_bytes = S::warp_bytes(c.k.row_bytes, c.v.row_bytes);
    constexpr size_t kMostRowBytes = QuantizedPart<kDim>::template kRowBytes<Format::kQ8_0>;
    static_assert(kOfWarps<S> + kDecodeWarps * S::warp_bytes(kMostRowBytes, kMostRowBytes) <= kMostShared);
    allow_shared(kernel, kMostShared);
    size_t bytes = kOfWarps<S> + kDecodeWarps * warp_bytes;
    const uint32_t fit = blocks_at_once(kernel, kThreads, bytes);
    // Some come when a block of the stage before has gone: not three to a multiprocessor while others have one.
    if (kClustered && kLong && kQuantized && fit > 2)
        bytes = std::clamp(shared_of_each(kernel, 3, kThreads) + 128, bytes, kMostShared);
    const uint32_t rows = blocks_per_token(c.args);
    const Split split =
        split_of<kQuantized, kClustered, kLong>(uint32_t(call.n_multiprocessors), fit, rows * uint32_t(c.n));
    const Grid grid{
        {split.n_blocks, rows, split.n_groups * unsigned(c.n)}, kThreads, bytes, kClustered ? split.n_blocks : 0};
    launch_early(kernel, grid, stream, call.early,
                 Params{call.heads, call.scratch, int(split.n_groups), uint32_t(warp_bytes)});
}

}  // namespace

bool decode_formats(Format k, Format v) {
    return tile_format(k) && tile_format(v) && (k == Format::kF16) == (v == Format::kF16);
}

bool decode_attention_supported(const AttentionArgs &a, const Plane &k, const Plane &v) {
    return a.head_dim_k == a.head_dim_v && decode_formats(k.format, v.format) &&
           blocks_per_token(a) * kDecodeTokens <= kMaxTokenHeads && with_tile_dim(a.head_dim_k, [](auto) {});
}

size_t decode_attention_scratch(const AttentionArgs &a, int n) {
    size_t bytes = 0;
    with_tile_dim(a.head_dim_k, [&](auto dim) { bytes = sizeof(JoinScratch<dim()>) * blocks_per_token(a); });
    return bytes * size_t(n) + kMaxTokenHeads * sizeof(JoinCounters);
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
    with_tile_dim(c.args.head_dim_k, [&](auto dim) {
        const auto start_it = [&]<bool kQuantized>() {
            if (!call.early)
                start<dim(), kQuantized, false>(rest, stream);
            else if (call.long_context)
                start<dim(), kQuantized, true, true>(rest, stream);
            else
                start<dim(), kQuantized, true>(rest, stream);
        };
        c.k.format == Format::kF16 ? start_it.template operator()<false>() : start_it.template operator()<true>();
    });
}

}  // namespace el::cuda
