// Attention of many tokens on matrix units, without scores in memory (Dao 2023, "FlashAttention-2"). A block takes the
// query heads of one KV head for some consecutive tokens as rows of one tile, so that short runs of tokens fill it too
// and a quantized row is decoded once for all of them. Tokens of several sequences take turns.
#include "device.h"
#include "launch.h"
#include "ops/heads.cuh"

#include <algorithm>

namespace el::cuda {
namespace {

template <int kDim_, bool kQuantized_> struct Shape {
    static constexpr int kDim = kDim_;
    static constexpr bool kQuantized = kQuantized_;
    static constexpr int kWarps = kDim == 64 || kDim > 128 ? 4 : 8, kThreads = 32 * kWarps;
    static constexpr int kRows = 16 * kWarps;            // pairs of token and query head
    static constexpr int kKeys = kDim <= 128 ? 64 : 32;  // rows of the cache at a time
    static constexpr bool kHoldsQueries = kDim <= 128;   // in registers
    static constexpr int kBlocks = kDim == 64 ? 2 : 1;   // of a multiprocessor
    using T = Tile<kDim>;
};

template <typename S> struct Shared {
    static constexpr int kTileBytes = S::kKeys * S::T::kRowBytes,
                         kRawBytes = S::kKeys * QuantizedRow<Format::kQ8_0>(S::kDim).n_blocks *
                                     QuantizedRow<Format::kQ8_0>::kBlockBytes;  // Q8_0's, the longer
    struct Queries {
        alignas(16) uint8_t q[S::kRows * S::T::kRowBytes];
    };
    struct Copies {
        alignas(16) uint8_t tile[S::kQuantized ? 1 : 2][2][kTileBytes];  // K, V
        alignas(16) uint8_t raw[2][S::kQuantized ? kRawBytes : 16];
    };
    struct First {
        Queries queries;
        float head[S::kWarps][S::kDim];
    };
    struct Both : Queries, Copies {};
    // What is held in registers may be overwritten by what follows.
    union {
        First first;
        std::conditional_t<S::kHoldsQueries, Copies, Both> loop;
    };
    // Of each token
    int32_t sequence[S::kRows], begin[S::kRows], end[S::kRows];
    uint64_t ancestors[S::kRows];
    bool is_first[S::kRows];  // of its sequence
};

struct Params {
    AttentionCall call;
    uint32_t group, n_tokens;  // query heads of a KV head; tokens of a block
};

// ---- rows of the cache on their way in

struct Span {
    const int32_t *pages;
    int32_t begin, end;  // rows that some token sees
    uint32_t kv_head;
    // There are no pages before.
    __device__ int32_t first_row() const { return begin / int32_t(kPageTokens) * int32_t(kPageTokens); }
};

template <typename S>
__device__ void copy_tile(const Plane &plane, const Span &span, int32_t first, int p, int buffer, Shared<S> &shared) {
    using T = typename S::T;
#pragma unroll
    for (int i = 0; i < S::kKeys / int(kPageTokens); ++i) {
        const int32_t row = first + i * int32_t(kPageTokens);
        const bool exists = row >= span.first_row() && row < span.end;
        const uint8_t *page =
            exists ? plane.row(span.pages[row / int32_t(kPageTokens)] * int32_t(kPageTokens), span.kv_head)
                   : plane.data;
        if constexpr (S::kQuantized) {
            uint8_t *to = shared.loop.raw[p] + i * int(kPageTokens * plane.row_bytes);
            for (int c = int(threadIdx.x); c < int(kPageTokens / 16 * plane.row_bytes) && exists; c += S::kThreads)
                copy16(to + 16 * c, page + 16 * c);
        } else {
            uint8_t *to = shared.loop.tile[buffer][p];
#pragma unroll
            for (int c = int(threadIdx.x); c < int(kPageTokens) * T::kChunks; c += S::kThreads) {
                const int r = c / T::kChunks, chunk = c % T::kChunks;
                copy16(to + T::offset(i * int(kPageTokens) + r, chunk), page + 16 * c, exists && row + r < span.end);
            }
        }
    }
}

template <typename S>
__device__ void decode_tile(const Plane &plane, const Span &span, int32_t first, int p, Shared<S> &shared) {
    using T = typename S::T;
    with_quantized_format(plane.format, [&](auto format) {
        using Row = QuantizedRow<format()>;
        constexpr int kBlocks = Row(S::kDim).n_blocks, kRowBytes = kBlocks * Row::kBlockBytes;
        // Neighbours have different rows, whose words lie in different banks, at least those of 8.
        for (int c = int(threadIdx.x); c < S::kKeys * kBlocks * Row::kWords / 4; c += S::kThreads) {
            const int r = c % S::kKeys;
            const bool exists = first + r >= span.first_row() && first + r < span.end;
            decode_words<format(), S::kDim>(
                shared.loop.raw[p] + r * kRowBytes, c / S::kKeys, [&](int chunk, const uint4 &values) {
                    if (chunk < T::kChunks)
                        *reinterpret_cast<uint4 *>(shared.loop.tile[0][p] + T::offset(r, chunk)) =
                            exists ? values : uint4{};
                });
        }
    });
}

// ---- a warp's 16 rows: lane 4 g + c holds rows g and g + 8, columns 2c and 2c + 1 of every 8

template <typename S> struct Warp {
    static constexpr int kSteps = S::kDim / 16;
    using T = typename S::T;
    const Params &p;
    uint32_t q[S::kHoldsQueries ? kSteps : 1][4];
    float out[S::kDim / 8][4] = {};
    float maximum[2] = {kNoScore, kNoScore}, total[2] = {};
    int token[2];                                    // of the two rows, counted in the block; -1: none
    int32_t sequence = -1;                           // the present one
    int32_t all_begin, all_end, any_begin, any_end;  // seen by all of the warp's rows; by any of them

    __device__ Warp(const Params &p_, int n_tokens) : p(p_) {
        for (int h = 0; h < 2; ++h) {
            token[h] = row(h) / int(p.group);
            if (token[h] >= n_tokens) token[h] = -1;
        }
    }
    __device__ static int first_row() { return int(threadIdx.x / 32) * 16; }
    __device__ static int row(int h) { return first_row() + int(threadIdx.x % 32 / 4) + 8 * h; }

    // q of the warp's rows to shared memory, and from there to registers.
    __device__ void load_queries(Shared<S> &shared, uint32_t first_token, int n_tokens, uint32_t kv_head) {
        const AttentionArgs &a = p.call.args;
        const int lane = int(threadIdx.x % 32);
        const float scale = a.soft_cap > 0 ? a.scale / a.soft_cap : a.scale * kLog2E;
        float *head = shared.first.head[threadIdx.x / 32];
        uint8_t *tile = shared.first.queries.q;
        constexpr int kBatch = 4, kPieces = (S::kDim + 127) / 128;  // rows loaded together; of a row by a lane
        for (int base = first_row(); base < first_row() + 16; base += kBatch) {
            float4 x[kBatch][kPieces];
#pragma unroll
            for (int i = 0; i < kBatch; ++i)
#pragma unroll
                for (int j = 0; j < kPieces; ++j) {
                    const uint32_t t = uint32_t(base + i) / p.group, n = uint32_t(base + i) % p.group;
                    const int d = 128 * j + 4 * lane;
                    const float *from =
                        p.call.q + (size_t(first_token + t) * a.n_heads + kv_head * p.group + n) * S::kDim + d;
                    x[i][j] = int(t) < n_tokens && d < S::kDim ? *reinterpret_cast<const float4 *>(from) : float4{};
                }
#pragma unroll
            for (int i = 0; i < kBatch; ++i) {
#pragma unroll
                for (int j = 0; j < kPieces; ++j)
                    if (128 * j + 4 * lane < S::kDim) *reinterpret_cast<float4 *>(head + 128 * j + 4 * lane) = x[i][j];
                __syncwarp();
                if (p.call.k.rotated) rotate_by_warp(head, S::kDim);
                for (int d = 2 * lane; d < S::kDim; d += 64)
                    *reinterpret_cast<uint32_t *>(tile + T::offset(base + i, d / 8) + 2 * (d % 8)) =
                        pack_halves(head[d] * scale, head[d + 1] * scale);
                __syncwarp();
            }
        }
        for (int i = 0; i < kSteps && S::kHoldsQueries; ++i) read_query(tile, i, q[i]);
    }
    __device__ static void read_query(const uint8_t *tile, int i, uint32_t (&to)[4]) {
        const int lane = int(threadIdx.x % 32);
        load_matrices(to, tile + T::offset(first_row() + lane % 16, 2 * i + lane / 16));
    }

    // What a row sees of the present sequence.
    struct Seen {
        int32_t begin = INT32_MAX, end = 0, drafts = 0;  // rows from there on: by the bits
        uint64_t ancestors = 0;
        __device__ bool has(int32_t row) const {
            return row >= begin && row < end && (row < drafts || (ancestors >> (row - drafts) & 1));
        }
    };
    __device__ Seen seen(const Shared<S> &shared, int h) const {
        const int t = token[h];
        if (t < 0 || shared.sequence[t] != sequence) return {};
        const int32_t end = shared.end[t];
        const uint64_t ancestors = shared.ancestors[t];
        return {shared.begin[t], end, ancestors ? end - 64 + __clzll(int64_t(ancestors)) : end, ancestors};
    }

    __device__ void choose_sequence(const Shared<S> &shared, int32_t sequence_) {
        sequence = sequence_;
        all_begin = 0, any_begin = INT32_MAX;
        all_end = INT32_MAX, any_end = 0;
        for (int h = 0; h < 2; ++h) {
            if (token[h] < 0) continue;  // nobody reads what it makes
            const Seen s = seen(shared, h);
            all_begin = max(all_begin, s.begin);
            all_end = min(all_end, s.drafts);
            any_begin = min(any_begin, s.begin);
            any_end = max(any_end, s.end);
        }
        all_begin = __reduce_max_sync(~0u, all_begin);
        all_end = __reduce_min_sync(~0u, all_end);
        any_begin = __reduce_min_sync(~0u, any_begin);
        any_end = __reduce_max_sync(~0u, any_end);
    }

    __device__ void add(const Shared<S> &shared, const uint8_t *k, const uint8_t *v, int32_t first) {
        if (first >= any_end || first + S::kKeys <= any_begin) return;
        float score[S::kKeys / 8][4] = {};
        make_scores(shared.first.queries.q, k, score);
        if (p.call.args.soft_cap > 0)
            for (auto &s : score)
                for (float &x : s) x = p.call.args.soft_cap * kLog2E * tanh_fast(x);
        if (first < all_begin || first + S::kKeys > all_end) mask(shared, first, score);
        soften(score);
        add_values(v, score);
    }

    __device__ void make_scores(const uint8_t *queries, const uint8_t *k, float (&score)[S::kKeys / 8][4]) {
        const int lane = int(threadIdx.x % 32);
#pragma unroll(S::kHoldsQueries ? kSteps : 1)
        for (int i = 0; i < kSteps; ++i) {
            if constexpr (!S::kHoldsQueries) read_query(queries, i, q[0]);
            const uint32_t(&a)[4] = q[S::kHoldsQueries ? i : 0];
#pragma unroll
            for (int n = 0; n < S::kKeys / 16; ++n) {
                uint32_t b[4];
                load_matrices(b, k + T::offset(16 * n + lane % 8 + lane / 16 * 8, 2 * i + lane / 8 % 2));
                multiply_add(score[2 * n], a, b[0], b[1]);
                multiply_add(score[2 * n + 1], a, b[2], b[3]);
            }
        }
    }

    __device__ void mask(const Shared<S> &shared, int32_t first, float (&score)[S::kKeys / 8][4]) const {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            const Seen s = seen(shared, h);
#pragma unroll
            for (int n = 0; n < S::kKeys / 8; ++n)
                for (int i = 0; i < 2; ++i)
                    if (!s.has(first + 8 * n + 2 * int(threadIdx.x % 4) + i)) score[n][2 * h + i] = -INFINITY;
        }
    }

    // Turns scores into shares.
    __device__ void soften(float (&score)[S::kKeys / 8][4]) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            float now = maximum[h];
            for (auto &s : score) now = fmaxf(now, fmaxf(s[2 * h], s[2 * h + 1]));
            now = fmaxf(now, __shfl_xor_sync(~0u, now, 1));
            now = fmaxf(now, __shfl_xor_sync(~0u, now, 2));
            const float keep = exp2_fast(maximum[h] - now);
            maximum[h] = now;
            total[h] *= keep;
            for (auto &s : score)
                for (int i = 2 * h; i < 2 * h + 2; ++i) total[h] += s[i] = exp2_fast(s[i] - now);
            for (auto &o : out)
                for (int i = 2 * h; i < 2 * h + 2; ++i) o[i] *= keep;
        }
    }

    __device__ void add_values(const uint8_t *v, const float (&share)[S::kKeys / 8][4]) {
        const int lane = int(threadIdx.x % 32);
#pragma unroll
        for (int n = 0; n < S::kKeys / 16; ++n) {
            const float(&x)[4] = share[2 * n], (&y)[4] = share[2 * n + 1];
            const uint32_t a[4] = {pack_halves(x[0], x[1]), pack_halves(x[2], x[3]), pack_halves(y[0], y[1]),
                                   pack_halves(y[2], y[3])};
#pragma unroll
            for (int i = 0; i < kSteps; ++i) {
                uint32_t b[4];
                load_transposed(b, v + T::offset(16 * n + lane % 16, 2 * i + lane / 16));
                multiply_add(out[2 * i], a, b[0], b[1]);
                multiply_add(out[2 * i + 1], a, b[2], b[3]);
            }
        }
    }

    __device__ void write(uint32_t first_token, uint32_t kv_head) {
        const AttentionArgs &a = p.call.args;
        for (int h = 0; h < 2; ++h) {
            total[h] += __shfl_xor_sync(~0u, total[h], 1);
            total[h] += __shfl_xor_sync(~0u, total[h], 2);
            if (token[h] < 0) continue;
            const uint32_t head = kv_head * p.group + uint32_t(row(h)) % p.group;
            float factor = total[h] > 0 ? 1.0f / total[h] : 0.0f;
            if (p.call.sinks) {  // a share of its own
                const float sink = p.call.sinks[head] * kLog2E, highest = fmaxf(maximum[h], sink),
                            keep = exp2_fast(maximum[h] - highest);
                factor = keep / (total[h] * keep + exp2_fast(sink - highest));
            }
            float *to = p.call.out + (size_t(first_token + uint32_t(token[h])) * a.n_heads + head) * S::kDim +
                        2 * (threadIdx.x % 4);
            for (int i = 0; i < S::kDim / 8; ++i)
                *reinterpret_cast<float2 *>(to + 8 * i) = {out[i][2 * h] * factor, out[i][2 * h + 1] * factor};
        }
    }
};

// ---- the kernel

template <typename S>
__device__ void read_step(const AttentionCall &c, uint32_t first_token, int n_tokens, Shared<S> &shared) {
    const int t = int(threadIdx.x);
    if (t < n_tokens) {
        const size_t at = size_t(c.group) * c.step.limits.max_tokens + first_token + uint32_t(t);
        shared.sequence[t] = c.step.sequence_of[first_token + uint32_t(t)];
        shared.begin[t] = c.step.visible_begin[at];
        shared.end[t] = c.step.visible_end[at];
        shared.ancestors[t] = c.step.ancestors[first_token + uint32_t(t)];
    }
    __syncthreads();
    if (t < n_tokens) {
        int before = t - 1;  // mostly the same
        while (before >= 0 && shared.sequence[before] != shared.sequence[t]) --before;
        shared.is_first[t] = before < 0 && shared.sequence[t] >= 0;
    }
    __syncthreads();
}

// What the block's tokens see of one sequence; each warp finds it by itself.
template <typename S> __device__ Span find_span(const AttentionCall &c, int32_t sequence, int n_tokens,
                                                uint32_t kv_head, const Shared<S> &shared) {
    Span span{c.step.block_table +
                  (size_t(c.group) * c.step.limits.max_sequences + size_t(sequence)) * c.step.limits.max_pages,
              INT32_MAX, 0, kv_head};
    for (int t = int(threadIdx.x % 32); t < n_tokens; t += 32)
        if (shared.sequence[t] == sequence && shared.end[t] > shared.begin[t]) {
            span.begin = min(span.begin, shared.begin[t]);
            span.end = max(span.end, shared.end[t]);
        }
    span.begin = __reduce_min_sync(~0u, span.begin);
    span.end = __reduce_max_sync(~0u, span.end);
    return span;
}

template <typename S>
__device__ void add_sequence(const AttentionCall &c, const Span &span, Warp<S> &warp, Shared<S> &shared) {
    auto copy = [&](int32_t first, int buffer) {
        if (first < span.end) {
            copy_tile<S>(c.k, span, first, 0, buffer, shared);
            copy_tile<S>(c.v, span, first, 1, buffer, shared);
        }
        close_copies();
    };
    __syncthreads();  // the buffers are free
    int buffer = 0;
    int32_t first = span.begin / S::kKeys * S::kKeys;
    copy(first, buffer);
    for (; first < span.end; first += S::kKeys, buffer ^= 1) {
        wait_copies<0>();
        __syncthreads();
        if constexpr (S::kQuantized) {
            decode_tile<S>(c.k, span, first, 0, shared);
            decode_tile<S>(c.v, span, first, 1, shared);
            __syncthreads();
        }
        copy(first + S::kKeys, buffer ^ 1);
        const auto &tile = shared.loop.tile[S::kQuantized ? 0 : buffer];
        warp.add(shared, tile[0], tile[1], first);
    }
}

template <typename S> __global__ void __launch_bounds__(S::kThreads, S::kBlocks)
    flash_kernel(const __grid_constant__ Params p) {
    Shared<S> &shared = dynamic_shared_as<Shared<S>>();
    const AttentionCall &c = p.call;
    // The last tokens see most: they begin first.
    const uint32_t kv_head = blockIdx.x, first_token = (gridDim.y - 1 - blockIdx.y) * p.n_tokens;
    const int n_tokens = int(min(p.n_tokens, uint32_t(c.n) - first_token));
    read_step<S>(c, first_token, n_tokens, shared);
    Warp<S> warp(p, n_tokens);
    warp.load_queries(shared, first_token, n_tokens, kv_head);
    for (int base = 0; base < n_tokens; base += 32) {
        const int t = base + int(threadIdx.x % 32);
        for (unsigned firsts = __ballot_sync(~0u, t < n_tokens && shared.is_first[t]); firsts; firsts &= firsts - 1) {
            const int32_t sequence = shared.sequence[base + __ffs(int(firsts)) - 1];
            warp.choose_sequence(shared, sequence);
            add_sequence<S>(c, find_span<S>(c, sequence, n_tokens, kv_head, shared), warp, shared);
        }
    }
    warp.write(first_token, kv_head);
}

template <typename S> bool start(const AttentionCall &c, cudaStream_t stream) {
    const uint32_t group = c.args.n_heads / c.args.n_kv_heads;
    if (group > uint32_t(S::kRows)) return false;
    constexpr size_t bytes = sizeof(Shared<S>);
    static_assert(bytes <= 99 * 1024);
    allow_shared(flash_kernel<S>, bytes);
    const uint32_t n_tokens = uint32_t(S::kRows) / group;
    const dim3 blocks(c.args.n_kv_heads, (uint32_t(c.n) + n_tokens - 1) / n_tokens);
    launch_early(flash_kernel<S>, {blocks, S::kThreads, bytes}, stream, false, Params{c, group, n_tokens});
    return true;
}

}  // namespace

bool flash_attention(const AttentionCall &c, cudaStream_t stream) {
    if (!decode_attention_supported(c.args, c.k, c.v)) return false;
    bool done = false;
    with_tile_dim(c.args.head_dim_k, [&](auto dim) {
        done =
            c.k.format == Format::kF16 ? start<Shape<dim(), false>>(c, stream) : start<Shape<dim(), true>>(c, stream);
    });
    return done;
}

}  // namespace el::cuda
