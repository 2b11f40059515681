// Products of matrices of floats with few tokens, with what a stage has before and after them. A block takes tiles of
// some rows in turn; its warps share their columns. Lanes ask for 16 bytes of each row ahead, the first before their
// input is there: weights depend on no other kernel.
#include "async_copy.cuh"
#include "launch.h"
#include "ops/activation.cuh"
#include "ops/matvec.h"
#include "ops/reduce.cuh"
#include "quant/formats.h"

namespace el::cuda {
namespace {

constexpr uint32_t kMostWarps = 8;
// Rows of a tile where there is room for N tokens: more rows share what a tile costs besides, but take registers.
template <int N> constexpr uint32_t kTileRows = N <= 2 ? 8 : 4;

// 16 bytes as floats.
template <typename F> struct Chunk {
    static constexpr uint32_t kValues = 16 / sizeof(typename F::Block);
    uint4 bytes = {};
    __device__ float value(uint32_t i) const {
        const uint32_t words[4] = {bytes.x, bytes.y, bytes.z, bytes.w};
        typename F::Block block;
        if constexpr (kValues == 4) {
            memcpy(&block, &words[i], sizeof block);
        } else {
            const uint16_t half = uint16_t(words[i / 2] >> 16 * (i % 2));
            memcpy(&block, &half, sizeof block);
        }
        return F::decode1(block);
    }
};

// Of 16 bytes each.
template <uint32_t kN> __device__ void load(float (&to)[kN], const float *from) {
#pragma unroll
    for (uint32_t i = 0; i < kN; i += 4)
        *reinterpret_cast<float4 *>(to + i) = *reinterpret_cast<const float4 *>(from + i);
}

struct Part {
    const uint8_t *data;  // the first row that is wanted
    size_t row_bytes;
    uint32_t rows, tiles;
    const float *bias;  // NULL: none
    float *out;         // [n, rows]
};

struct Args {
    int n_parts, n;
    uint32_t cols, chunks, tiles;  // chunks of 32 lanes; tiles of all parts
    const float *x;                // [n, cols]
    bool norm, gate;  // gate: half of a tile's rows are of part 0, and those that they are gated by of part 1
    ActivationKind activation;
    float epsilon, inverse_cols;
    const float *norm_weight, *residual;  // NULL: none
    Part part[kMatvecParts];
};

// Where the rows of a tile are.
template <uint32_t kRows> struct Tile {
    int part = 0;
    uint32_t first;  // row of that part

    __device__ Tile(const Args &a, uint32_t tile) {
        if (a.gate) {
            first = tile * (kRows / 2);
            return;
        }
        while (tile >= a.part[part].tiles) tile -= a.part[part++].tiles;
        first = tile * kRows;
    }
    __device__ const uint8_t *row(const Args &a, uint32_t r) const {
        const Part &p = a.part[a.gate ? int(2 * r / kRows) : part];
        // Those that do not exist are the last one again.
        return p.data + size_t(min(first + (a.gate ? r % (kRows / 2) : r), p.rows - 1)) * p.row_bytes;
    }
};

// A lane's chunks of a warp's tiles, one after the other; the next ones are on their way.
template <typename F, uint32_t kRows> class Weights {
  public:
    __device__ Weights(const Args &a, uint32_t warp, uint32_t n_warps)
        : a_(a), tile_(blockIdx.x), chunk_(warp), warp_(warp), n_warps_(n_warps) {
        find_rows();
#pragma unroll
        for (uint32_t r = 0; r < kRows; ++r) ask(r);
    }
    __device__ const Chunk<F> &row(uint32_t r) const { return next_[r]; }
    // What is asked for from now on.
    __device__ void advance() {
        chunk_ += n_warps_;
        if (chunk_ >= a_.chunks) {
            chunk_ = warp_;
            tile_ += gridDim.x;
            find_rows();
        }
    }
    // In place of what row(r) is now.
    __device__ void ask(uint32_t r) {
        const uint32_t col = (chunk_ * 32 + threadIdx.x % 32) * Chunk<F>::kValues;
        if (tile_ < a_.tiles && col < a_.cols)
            next_[r].bytes = load16(row_[r] + size_t(col) * sizeof(typename F::Block));
    }

  private:
    __device__ void find_rows() {
        if (tile_ >= a_.tiles) return;
        const Tile<kRows> tile(a_, tile_);
#pragma unroll
        for (uint32_t r = 0; r < kRows; ++r) row_[r] = tile.row(a_, r);
    }
    const Args &a_;
    uint32_t tile_, chunk_, warp_, n_warps_;  // what is asked for
    const uint8_t *row_[kRows];
    Chunk<F> next_[kRows];
};

// One value of a tile: of its row r for token t. What it takes from far memory is fetched before it is needed.
struct Output {
    float *to = nullptr;  // NULL: there is none
    float added = 0, gate_added = 0, residual = 0;

    template <uint32_t kRows> __device__ Output(const Args &a, const Tile<kRows> &tile, uint32_t r, uint32_t t) {
        const Part &p = a.part[tile.part];
        const uint32_t row = tile.first + r;
        if (r >= (a.gate ? kRows / 2 : kRows) || t >= uint32_t(a.n) || row >= p.rows) return;
        const size_t at = size_t(t) * p.rows + row;
        to = p.out + at;
        if (p.bias) added = p.bias[row];
        if (a.gate && a.part[1].bias) gate_added = a.part[1].bias[row];
        if (a.residual) residual = a.residual[at];
    }
    __device__ void put(const Args &a, float sum, float gate_sum) const {
        sum += added + residual;
        *to = a.gate ? gated(a.activation, sum, gate_sum + gate_added) : sum;
    }
};

// From a column on, normed but for the row's factor; adds to `square` if `first`.
template <int N, uint32_t kN>
__device__ void load_input(const Args &a, uint32_t col, bool first, float (&x)[N][kN], float (&square)[N]) {
#pragma unroll
    for (int t = 0; t < N; ++t)
        if (t < a.n) load(x[t], a.x + size_t(t) * a.cols + col);
    if (!a.norm) return;
#pragma unroll
    for (int t = 0; t < N && first; ++t)
        for (float v : x[t]) square[t] += v * v;
    if (!a.norm_weight) return;
    float weight[kN];
    load(weight, a.norm_weight + col);
#pragma unroll
    for (int t = 0; t < N; ++t)
        for (uint32_t i = 0; i < kN; ++i) x[t][i] *= weight[i];
}

// Products of values of a chunk, from `begin` on, with those of the input.
template <typename F, int N, uint32_t kN>
__device__ void add(const Chunk<F> &chunk, uint32_t begin, const float (&x)[N][kN], float *sum) {
#pragma unroll
    for (uint32_t i = 0; i < kN; ++i) {
        const float value = chunk.value(begin + i);
#pragma unroll
        for (int t = 0; t < N; ++t) sum[t] += value * x[t][i];
    }
}

template <int N> struct Shared {
    float sums[2][kMostWarps][kTileRows<N> * N];  // of this tile and of the one before
    float squares[kMostWarps][N];
};

// N: tokens there is room for.
template <typename F, int N> __global__ void __launch_bounds__(32 * kMostWarps, 2)
    dense_kernel(const __grid_constant__ Args a) {
    constexpr uint32_t kValues = Chunk<F>::kValues, kRows = kTileRows<N>, kSums = kRows * N;
    constexpr uint32_t kAtOnce = N == 8 ? 4 : kValues;  // values of a chunk: registers are scarce
    auto &shared = dynamic_shared_as<Shared<N>>();
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_warps = blockDim.x / 32;
    let_successor_start();
    Weights<F, kRows> weights(a, warp, n_warps);
    wait_for_predecessor();
    const bool kept = kAtOnce == kValues && a.chunks <= n_warps;  // x: a warp needs no other columns
    float x[N][kAtOnce] = {}, factor = 1;
    for (uint32_t tile = blockIdx.x, turn = 0; tile < a.tiles; tile += gridDim.x, turn ^= 1) {
        const Output output(a, Tile<kRows>(a, tile), threadIdx.x / N, threadIdx.x % N);
        const bool first = tile == blockIdx.x;
        float sum[kSums] = {}, square[N] = {};
        for (uint32_t chunk = warp; chunk < a.chunks; chunk += n_warps) {
            const uint32_t col = (chunk * 32 + lane) * kValues;
            weights.advance();
#pragma unroll
            for (uint32_t begin = 0; begin < kValues; begin += kAtOnce) {
                if (col < a.cols && (first || !kept)) load_input(a, col + begin, first, x, square);
#pragma unroll
                for (uint32_t r = 0; r < kRows; ++r) {
                    if (col < a.cols) add(weights.row(r), begin, x, sum + r * N);
                    if (begin + kAtOnce == kValues) weights.ask(r);
                }
            }
        }
        const float total = reduce(sum);
        if (lane < kSums) shared.sums[turn][warp][lane] = total;
        if (a.norm && first) {
            const float of_row = reduce(square);
            if (lane < N) shared.squares[warp][lane] = of_row;
        }
        __syncthreads();
        if (a.norm && first) {
            float squares = 0;
            for (uint32_t i = 0; i < n_warps; ++i) squares += shared.squares[i][threadIdx.x % N];
            factor = rsqrtf(squares * a.inverse_cols + a.epsilon);
        }
        if (!output.to) continue;
        float all[2] = {};  // of the row, and of the one that it is gated by
        for (uint32_t i = 0; i < n_warps; ++i) {
            all[0] += shared.sums[turn][i][threadIdx.x];
            if (a.gate) all[1] += shared.sums[turn][i][threadIdx.x + kSums / 2];
        }
        output.put(a, factor * all[0], factor * all[1]);
    }
}

// As many blocks as find room at once, but none with more tiles than others need.
template <typename F, int N> void start(Args a, int n_multiprocessors, bool early, cudaStream_t stream) {
    constexpr uint32_t kRows = kTileRows<N>;
    for (int i = 0; i < a.n_parts; ++i) a.tiles += a.part[i].tiles = (a.part[i].rows + kRows - 1) / kRows;
    if (a.gate) a.tiles = (a.part[0].rows + kRows / 2 - 1) / (kRows / 2);
    allow_shared(dense_kernel<F, N>, sizeof(Shared<N>));
    const uint32_t rounds = (a.chunks + kMostWarps - 1) / kMostWarps, threads = 32 * ((a.chunks + rounds - 1) / rounds),
                   most = uint32_t(n_multiprocessors) *
                          blocks_at_once(dense_kernel<F, N>, int(threads), sizeof(Shared<N>)),
                   each = (a.tiles + most - 1) / most;
    launch_early(dense_kernel<F, N>, {(a.tiles + each - 1) / each, threads, sizeof(Shared<N>)}, stream, early, a);
}

}  // namespace

bool dense_matvec(const MatvecCall &c, const Chip &chip, cudaStream_t stream) {
    const Format format = c.part[0].m.format;
    const FormatInfo &info = format_info(format);
    if (c.n > kMatvecTokens || info.values != 1) return false;
    const uint32_t values = 16 / info.bytes;
    if (c.cols % values || !aligned(c.x) || !aligned(c.norm_weight)) return false;
    Args a = {c.n_parts,
              c.n,
              c.cols,
              (c.cols / values + 31) / 32,
              0,
              c.x,
              c.norm,
              c.gate,
              c.activation,
              c.epsilon,
              1.0f / float(c.cols),
              c.norm ? c.norm_weight : nullptr,
              c.residual,
              {}};
    for (int i = 0; i < c.n_parts; ++i) {
        const MatvecPart &p = c.part[i];
        const uint8_t *data = p.m.data + p.row_begin * p.m.row_bytes;
        if (p.m.format != format || p.m.row_bytes % 16 || !aligned(data)) return false;
        a.part[i] = {data, p.m.row_bytes, p.rows, 0, p.bias, p.out};
    }
    FormatList<F16, BF16, F32>::for_each([&](auto f) {
        using F = typename decltype(f)::type;
        if (F::kFormat != format) return;
        const auto start_it = [&]<int N>() { start<F, N>(a, chip.n_multiprocessors, chip.early, stream); };
        if (c.n == 1) return start_it.template operator()<1>();
        if (c.n == 2) return start_it.template operator()<2>();
        c.n <= 4 ? start_it.template operator()<4>() : start_it.template operator()<8>();
    });
    return true;
}

}  // namespace el::cuda
