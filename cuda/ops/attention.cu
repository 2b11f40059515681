// Attention over pages for every head size and cache format, with the softmax computed tile by tile (Milakov and
// Gimelshein 2018, "Online normalizer calculation for softmax"). In steps of few tokens several blocks share what a
// token sees (Dao et al. 2023, "Flash-Decoding"), and a second kernel puts their parts together.
#include "launch.h"
#include "ops/cache_chunk.cuh"
#include "ops/heads.cuh"

#include <algorithm>

namespace el::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kBlocks = 3;                         // of a multiprocessor
constexpr int kHeads = 8;                          // of one KV head, for which a block reads rows once
constexpr int kRows = 64;                          // of the cache at a time, a tile: two pages
constexpr int kKeyRun = 8;                         // values of a key that a lane takes at once
constexpr int kValueRun = 4;                       // values of a V row that are a thread's
constexpr int kValueRows = 4;                      // of which it takes its run at once
constexpr uint32_t kSlice = kThreads * kValueRun;  // values of V rows in a block; other blocks have the rest

// How much of what is taken at once is on its way; registers have no room for more.
template <typename F> constexpr int kDepth = F::kFormat == Format::kF32 ? 1 : 2;

struct Params {
    AttentionCall call;
    int n_parts;     // of what a token sees, at most
    float2 *states;  // [n, n_parts, n_heads]: maximum and total of a part's scores
    float *sums;     // [n, n_parts, n_heads, head_dim_v]: weighted, yet to be divided by the total
};

// What a token sees, and how blocks share it.
struct Seen {
    int32_t begin, end;  // rows
    int32_t drafts;      // rows from here on: by the bits of `ancestors`
    uint64_t ancestors;
    int32_t first, part_rows;  // the first row of the first page; rows of a part, whole tiles
    int n_parts;               // with something in them; 1 if nothing is seen

    Seen() = default;
    __device__ Seen(const Params &p, uint32_t token) {
        const Step &step = p.call.step;
        const size_t at = size_t(p.call.group) * step.limits.max_tokens + token;
        // Past the first-level cache: a block may start while the kernel before it runs.
        begin = __ldcg(step.visible_begin + at);
        end = __ldcg(step.visible_end + at);
        ancestors = __ldcg(reinterpret_cast<const unsigned long long *>(step.ancestors + token));
        drafts = ancestors ? end - 64 + __clzll(int64_t(ancestors)) : end;
        first = begin / int32_t(kPageTokens) * int32_t(kPageTokens);
        const int32_t tiles = (max(end - first, 0) + kRows - 1) / kRows,
                      each = max((tiles + p.n_parts - 1) / p.n_parts, 1);
        part_rows = each * kRows;
        n_parts = max((tiles + each - 1) / each, 1);
    }
    __device__ bool has(int32_t row) const {
        return row >= begin && row < end && (row < drafts || (ancestors >> (row - drafts) & 1));
    }
};

// A block's part of what one token sees, for up to kHeads heads of one KV head.
struct Work {
    uint32_t token, kv_head, first_head, v_begin, v_dims;
    int n_heads, part;
    Seen seen;

    Work() = default;
    __device__ explicit Work(const Params &p) {
        const AttentionArgs &a = p.call.args;
        const uint32_t group = a.n_heads / a.n_kv_heads, chunks = (group + kHeads - 1) / kHeads,
                       first = blockIdx.y % chunks * kHeads;
        token = blockIdx.x % uint32_t(p.call.n);
        part = int(blockIdx.x / uint32_t(p.call.n));
        kv_head = blockIdx.y / chunks;
        first_head = kv_head * group + first;
        n_heads = int(min(group - first, uint32_t(kHeads)));
        v_begin = blockIdx.z * kSlice;
        v_dims = min(a.head_dim_v - v_begin, kSlice);
        seen = Seen(p, token);
    }
};

struct Shared {
    Work work;  // not in registers, of which all are needed
    float score[kHeads][kRows];
    alignas(16) float share[kRows][kHeads];
    float keep[kHeads];          // what becomes of the sums so far
    float2 state[kHeads];        // maximum and total
    alignas(16) float heads[1];  // queries [kHeads, padded head_dim_k], at last results [kHeads, kThreads, kValueRun]
};

__host__ __device__ uint32_t padded(uint32_t dim) { return (dim + 31) / 32 * 32; }

template <typename K, typename V> struct Part {
    const Params &p;
    const AttentionCall &c;
    Shared &shared;
    const Work &work;
    float sum[kHeads][kValueRun] = {};

    __device__ Part(const Params &p_, Shared &shared_) : p(p_), c(p_.call), shared(shared_), work(shared_.work) {}
    __device__ static int lane() { return int(threadIdx.x % 32); }
    __device__ static int warp() { return int(threadIdx.x / 32); }

    __device__ void run() {
        prepare();
        const Seen &seen = work.seen;
        const int32_t begin = seen.first + work.part * seen.part_rows, end = min(begin + seen.part_rows, seen.end),
                      n_pages = (end - begin + int32_t(kPageTokens) - 1) / int32_t(kPageTokens);
        const int32_t *pages = this->pages() + begin / int32_t(kPageTokens);
        int32_t known = 0;  // lane i: page i of 32, which are looked up at once
        for (int32_t page = 0; page < n_pages; page += 2) {
            if (page % 32 == 0) known = page + lane() < n_pages ? __ldcg(pages + page + lane()) : 0;
            const int32_t first = __shfl_sync(~0u, known, page % 32) * int32_t(kPageTokens),
                          second = __shfl_sync(~0u, known, page % 32 + 1) * int32_t(kPageTokens);
            const int32_t row = begin + page * int32_t(kPageTokens) + lane();
            const uint32_t low = __ballot_sync(~0u, seen.has(row)), high = __ballot_sync(~0u, seen.has(row + 32));
            const uint64_t rows = low | uint64_t(high) << 32;
            make_scores(c.k.row(warp() < kWarps / 2 ? first : second, work.kv_head), rows);
            __syncthreads();
            soften(rows);
            __syncthreads();
            add_values(c.v.row(first, work.kv_head), c.v.row(second, work.kv_head), rows);
        }
        finish();
    }

    __device__ const int32_t *pages() const {
        const StepLimits &limits = c.step.limits;
        const int32_t sequence = max(__ldcg(c.step.sequence_of + work.token), 0);  // -1: sees nothing
        return c.step.block_table + (size_t(c.group) * limits.max_sequences + size_t(sequence)) * limits.max_pages;
    }

    __device__ void prepare() {
        const uint32_t dim = c.args.head_dim_k, stride = padded(dim);
        const float scale = c.args.soft_cap > 0 ? c.args.scale / c.args.soft_cap : c.args.scale * kLog2E;
        for (int h = warp(); h < kHeads; h += kWarps) {
            const float *from = c.q + (size_t(work.token) * c.args.n_heads + work.first_head + uint32_t(h)) * dim;
            float *to = shared.heads + uint32_t(h) * stride;
            for (uint32_t i = uint32_t(lane()); i < stride; i += 32)
                to[i] = h < work.n_heads && i < dim ? from[i] * scale : 0.0f;
            __syncwarp();
            if (c.k.rotated) rotate_by_warp(to, int(dim));
            if (lane() == 0) shared.state[h] = {kNoScore, 0};
        }
        __syncthreads();
    }

    // A warp has 16 rows of the tile, half of a page: lane 4 g + i every fourth run of rows g and g + 8. What it makes
    // of those that are not seen is not used.
    __device__ void make_scores(const uint8_t *page, uint64_t rows) {
        if (!(rows >> 16 * warp() & 0xffff)) return;
        const uint32_t dim = c.args.head_dim_k, stride = padded(dim);
        const int g = lane() / 4;
        const uint8_t *row = page + uint32_t(16 * (warp() % 2) + g) * c.k.row_bytes, *other = row + 8 * c.k.row_bytes;
        constexpr int kAhead = kDepth<K>;
        Chunk<K, kKeyRun> next[kAhead][2];
        auto load = [&](int slot, uint32_t run) {
            next[slot][0].load(row, run, dim);
            next[slot][1].load(other, run, dim);
        };
        float score[2][kHeads] = {};
#pragma unroll
        for (int slot = 0; slot < kAhead; ++slot) load(slot, uint32_t(lane() % 4 + 4 * slot));
#pragma unroll 1
        for (uint32_t first = uint32_t(lane() % 4); first * kKeyRun < stride; first += 4 * kAhead)
#pragma unroll
            for (int slot = 0; slot < kAhead; ++slot) {
                const uint32_t run = first + 4 * uint32_t(slot);
                if (run * kKeyRun >= stride) break;
                float k[2][kKeyRun];
                for (int i = 0; i < 2; ++i) next[slot][i].decode(run, k[i]);
                load(slot, run + 4 * kAhead);
                add_scores(shared.heads + run * kKeyRun, k, score);
            }
#pragma unroll
        for (int h = 0; h < kHeads; ++h)
            for (int i = 0; i < 2; ++i) {
                score[i][h] += __shfl_xor_sync(~0u, score[i][h], 1);
                score[i][h] += __shfl_xor_sync(~0u, score[i][h], 2);
                if (lane() % 4 == 0) shared.score[h][16 * warp() + g + 8 * i] = score[i][h];
            }
    }

    __device__ void add_scores(const float *queries, const float (&k)[2][kKeyRun], float (&score)[2][kHeads]) const {
#pragma unroll
        for (int h = 0; h < kHeads; ++h) {
            if (h % 4 == 0 && h >= work.n_heads) break;
            const float4 *q = reinterpret_cast<const float4 *>(queries + uint32_t(h) * padded(c.args.head_dim_k));
#pragma unroll
            for (int j = 0; j < kKeyRun; j += 4, ++q)
                for (int i = 0; i < 2; ++i) {
                    score[i][h] += q->x * k[i][j];
                    score[i][h] += q->y * k[i][j + 1];
                    score[i][h] += q->z * k[i][j + 2];
                    score[i][h] += q->w * k[i][j + 3];
                }
        }
    }

    // Turns scores into shares.
    __device__ void soften(uint64_t rows) {
        const float cap = c.args.soft_cap;
        for (int h = warp(); h < work.n_heads; h += kWarps) {
            const float2 state = shared.state[h];
            float score[2], now = state.x, total = 0;
            for (int i = 0; i < 2; ++i) {
                const float s = shared.score[h][lane() + 32 * i];
                score[i] = rows >> (lane() + 32 * i) & 1 ? cap > 0 ? cap * kLog2E * tanhf(s) : s : -INFINITY;
                now = fmaxf(now, score[i]);
            }
            for (int i = 16; i > 0; i /= 2) now = fmaxf(now, __shfl_xor_sync(~0u, now, i));
            for (int i = 0; i < 2; ++i) total += shared.share[lane() + 32 * i][h] = exp2_fast(score[i] - now);
            total = warp_sum(total);
            const float keep = exp2_fast(state.x - now);
            __syncwarp();  // all lanes have read the state
            if (lane() > 0) continue;
            shared.keep[h] = keep;
            shared.state[h] = {now, state.y * keep + total};
        }
    }

    // A thread has one run of every n-th row, where n rows together are all threads'.
    __device__ uint32_t runs() const { return (work.v_dims + kValueRun - 1) / kValueRun; }
    __device__ void add_values(const uint8_t *first, const uint8_t *second, uint64_t rows) {
        const uint32_t n = kThreads / runs(), run = work.v_begin / kValueRun + threadIdx.x % runs(),
                       row0 = threadIdx.x / runs(), last = rows ? 64 - uint32_t(__clzll(int64_t(rows))) : 0;
        if (row0 >= n) return;
        constexpr int kAhead = kDepth<V>;
        Chunk<V, kValueRun> next[kAhead][kValueRows];
        const uint32_t row_bytes = uint32_t(c.v.row_bytes);
        second -= kPageTokens * row_bytes;  // where row 0 would lie
        auto load = [&](int slot, uint32_t row) {
#pragma unroll
            for (int i = 0; i < kValueRows; ++i, row += n)
                next[slot][i].load((row < kPageTokens ? first : second) + row * row_bytes, run, c.args.head_dim_v,
                                   row < last && rows >> row & 1);
        };
#pragma unroll
        for (int slot = 0; slot < kAhead; ++slot) load(slot, row0 + uint32_t(slot * kValueRows) * n);
#pragma unroll
        for (int h = 0; h < kHeads; ++h) {
            if (h % 4 == 0 && h >= work.n_heads) break;
            for (float &s : sum[h]) s *= shared.keep[h];
        }
#pragma unroll 1
        for (uint32_t row = row0; row < last;)
#pragma unroll
            for (int slot = 0; slot < kAhead; ++slot, row += kValueRows * n) {
                float v[kValueRows][kValueRun];
                for (int i = 0; i < kValueRows; ++i) next[slot][i].decode(run, v[i]);
                load(slot, row + kAhead * kValueRows * n);
#pragma unroll
                for (int i = 0; i < kValueRows; ++i) {
                    if (row + uint32_t(i) * n >= last) break;
                    const float4 *share = reinterpret_cast<const float4 *>(shared.share[row + uint32_t(i) * n]);
                    add_run(share[0], 0, v[i]);
                    if (work.n_heads > 4) add_run(share[1], 4, v[i]);
                }
            }
    }
    __device__ void add_run(const float4 &share, int h, const float (&v)[kValueRun]) {
#pragma unroll
        for (int d = 0; d < kValueRun; ++d) {
            sum[h][d] += share.x * v[d];
            sum[h + 1][d] += share.y * v[d];
            sum[h + 2][d] += share.z * v[d];
            sum[h + 3][d] += share.w * v[d];
        }
    }

    // Adds up what threads have of the same values.
    __device__ void finish() {
        const uint32_t n = kThreads / runs(), stride = runs() * kValueRun;
        float4 *mine = reinterpret_cast<float4 *>(shared.heads) + threadIdx.x;
        for (int h = 0; h < kHeads; ++h) mine[h * kThreads] = {sum[h][0], sum[h][1], sum[h][2], sum[h][3]};
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < uint32_t(work.n_heads) * stride; i += kThreads) {
            const uint32_t h = i / stride, d = i % stride;
            float all = 0;
            for (uint32_t row = 0; row < n; ++row) all += shared.heads[h * kSlice + row * stride + d];
            if (d < work.v_dims) put(h, work.v_begin + d, all);
        }
    }
    __device__ void put(uint32_t h, uint32_t d, float value) const {
        const uint32_t head = work.first_head + h, dim = c.args.head_dim_v;
        const float2 state = shared.state[h];
        if (work.seen.n_parts == 1) {
            c.out[(size_t(work.token) * c.args.n_heads + head) * dim + d] =
                value * last_factor(state.x, state.y, c.sinks ? c.sinks + head : nullptr);
            return;
        }
        const size_t at = (size_t(work.token) * uint32_t(p.n_parts) + uint32_t(work.part)) * c.args.n_heads + head;
        p.sums[at * dim + d] = value;
        if (d == 0) p.states[at] = state;
    }
};

template <typename K, typename V> __global__ void __launch_bounds__(kThreads, kBlocks)
    attention_kernel(const __grid_constant__ Params p) {
    let_successor_start();
    const Work work(p);
    if (work.part >= work.seen.n_parts) return;  // without waiting: the first part of each token does
    Shared &shared = dynamic_shared_as<Shared>();
    if (threadIdx.x == 0) shared.work = work;
    __syncthreads();
    wait_for_predecessor();
    Part<K, V>(p, shared).run();
}

// ---- parts put together

constexpr int kJoinWarps = 8, kJoinValues = 128;  // warps take turns with the parts

__global__ void __launch_bounds__(32 * kJoinWarps) join_kernel(const __grid_constant__ Params p) {
    __shared__ float sums[kJoinWarps][kJoinValues];
    let_successor_start();
    const AttentionCall &c = p.call;
    const uint32_t token = blockIdx.z, head = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32,
                   first = blockIdx.x * kJoinValues, dim = c.args.head_dim_v;
    const Seen seen(p, token);
    wait_for_predecessor();  // before it may end: whoever waits for this kernel waits for the parts as well
    if (seen.n_parts == 1) return;
    const size_t at = size_t(token) * uint32_t(p.n_parts) * c.args.n_heads + head;
    auto state_of = [&](int i) { return __ldcg(p.states + at + uint32_t(i) * c.args.n_heads); };
    float maximum = kNoScore, total = 0;
    for (int i = int(lane); i < seen.n_parts; i += 32) maximum = fmaxf(maximum, state_of(i).x);
    for (int i = 16; i > 0; i /= 2) maximum = fmaxf(maximum, __shfl_xor_sync(~0u, maximum, i));
    for (int i = int(lane); i < seen.n_parts; i += 32) {
        const float2 state = state_of(i);
        total += exp2_fast(state.x - maximum) * state.y;
    }
    total = warp_sum(total);

    float sum[kJoinValues / 32] = {};
#pragma unroll 4
    for (int i = int(warp); i < seen.n_parts; i += kJoinWarps) {
        const float weight = exp2_fast(state_of(i).x - maximum);
        const float *from = p.sums + (at + uint32_t(i) * c.args.n_heads) * dim;
        for (uint32_t j = 0; j < kJoinValues / 32; ++j) {
            const uint32_t d = first + 32 * j + lane;
            if (d < dim) sum[j] += weight * __ldcg(from + d);
        }
    }
    for (uint32_t j = 0; j < kJoinValues / 32; ++j) sums[warp][32 * j + lane] = sum[j];
    __syncthreads();
    const uint32_t d = threadIdx.x;
    if (d >= kJoinValues || first + d >= dim) return;
    float all = 0;
    for (auto &of_warp : sums) all += of_warp[d];
    c.out[(size_t(token) * c.args.n_heads + head) * dim + first + d] =
        all * last_factor(maximum, total, c.sinks ? c.sinks + head : nullptr);
}

// ---- starting them

dim3 blocks_per_token(const AttentionArgs &a) {
    const uint32_t chunks = (a.n_heads / a.n_kv_heads + kHeads - 1) / kHeads;
    return {1, a.n_kv_heads * chunks, (a.head_dim_v + kSlice - 1) / kSlice};
}

// Of what each of `n` tokens sees, so that all parts are at work at the same time.
uint32_t most_parts(const AttentionArgs &a, int n, uint32_t max_pages, int n_multiprocessors) {
    if (n > kDecodeTokens) return 1;
    const dim3 blocks = blocks_per_token(a);
    const uint32_t room = uint32_t(n_multiprocessors * kBlocks) / (uint32_t(n) * blocks.y * blocks.z);
    return std::max(1u, std::min(room, (max_pages + 1) / 2));
}

}  // namespace

size_t attention_shared_bytes(const AttentionArgs &a) {
    return sizeof(Shared) + kHeads * std::max(padded(a.head_dim_k), kSlice) * sizeof(float);
}

size_t attention_scratch(const AttentionArgs &a, uint32_t max_pages, int n_multiprocessors) {
    size_t most = 0;
    for (int n = 1; n <= kDecodeTokens; ++n) {
        const size_t parts = most_parts(a, n, max_pages, n_multiprocessors);
        if (parts > 1) most = std::max(most, parts * size_t(n));
    }
    return most * a.n_heads * (sizeof(float2) + a.head_dim_v * sizeof(float));
}

void attention(const AttentionCall &c, const AttentionSplit &split, cudaStream_t stream) {
    if (c.n > kDecodeTokens && flash_attention(c, stream)) return;
    const uint32_t n_parts = most_parts(c.args, c.n, c.step.limits.max_pages, split.n_multiprocessors);
    const size_t n_states = size_t(c.n) * n_parts * c.args.n_heads;
    auto *states = reinterpret_cast<float2 *>(split.scratch);
    const Params params{c, int(n_parts), states, reinterpret_cast<float *>(states + n_states)};
    dim3 blocks = blocks_per_token(c.args);
    blocks.x = uint32_t(c.n) * n_parts;
    const size_t bytes = attention_shared_bytes(c.args);
    with_cache_format(c.k.format, [&](auto k) {
        with_cache_format(c.v.format, [&](auto v) {
            const auto kernel = attention_kernel<typename decltype(k)::type, typename decltype(v)::type>;
            allow_shared(kernel, bytes);
            launch_early(kernel, {blocks, kThreads, bytes}, stream, split.early, params);
        });
    });
    if (n_parts == 1) return;
    const dim3 joins((c.args.head_dim_v + kJoinValues - 1) / kJoinValues, c.args.n_heads, uint32_t(c.n));
    launch_early(join_kernel, {joins, 32 * kJoinWarps}, stream, split.early, params);
}

}  // namespace el::cuda
