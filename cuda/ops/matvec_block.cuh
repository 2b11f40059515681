// One block per multiprocessor walks through its share of tiles, whose slots its warps take in turn. They come through
// a ring of each warp's own in shared memory: weights are on their way while earlier ones are multiplied, and, as they
// depend on no other kernel, before the kernel before this one has ended.
//
// Every stage of a step runs through code that the stage before has not used, and instructions come slowly from memory:
// what runs once is not unrolled, and a kernel has no more formats than it needs.
#pragma once
#include "ops/activation.cuh"
#include "ops/matvec.h"
#include "ops/slot.cuh"

namespace el::cuda {

struct MatvecSpan {
    const uint8_t *data;
    const float *bias;
    float *out;
    uint32_t rows, slot_bytes, last_bytes, tile_bytes;
    uint32_t tiles, each, more, turn;  // every block has `each` tiles, and `more` blocks from `turn` on one more
    Format format;
    uint8_t tile_rows;
};

struct MatvecArgs {
    int n_parts, n;
    uint32_t cols, slots, last_lanes, n_stages, stage_bytes, sums_at, input_at;  // the latter two: in shared memory
    uint32_t pieces, piece_slots;      // of a tile: slots that follow each other go to one warp, which sums them up
    uint32_t outputs;                  // of a block, at most
    uint32_t warps;                    // that take pieces; others only help before and after
    uint32_t step_tiles, step_pieces;  // as many pieces further
    uint32_t row_bytes;
    bool norm, gate;
    bool late;  // lets the next kernel start only when this one has its input
    ActivationKind activation;
    float epsilon, inverse_cols;
    const float *x, *norm_weight, *residual;
    const uint8_t *quantized;
    MatvecSpan part[kMatvecParts];
};

// A block's share of the tiles of a part. Its pieces, part after part, go to the block's warps in turn, so that
// together they read long runs of memory.
struct Share {
    uint32_t first, n;
    __device__ explicit Share(const MatvecSpan &p) {
        const uint32_t i = blockIdx.x >= p.turn ? blockIdx.x - p.turn : blockIdx.x + gridDim.x - p.turn;
        first = i * p.each + min(i, p.more);
        n = p.each + (i < p.more);
    }
};

// Walks through a warp's pieces of a block's share.
struct Cursor {
    int part = -1;
    Format format = Format::kF32;   // of the part
    uint32_t tile, end = 0, piece;  // tiles of the part
    __device__ Cursor(const MatvecArgs &a, uint32_t warp) : tile(warp / a.pieces), piece(warp % a.pieces) {
        if (warp >= a.warps) part = a.n_parts;
        find_part(a);
    }
    __device__ void next(const MatvecArgs &a) {
        tile += a.step_tiles;
        piece += a.step_pieces;
        if (piece >= a.pieces) {
            piece -= a.pieces;
            ++tile;
        }
        if (tile >= end) find_part(a);
    }
    __device__ bool exists(const MatvecArgs &a) const { return part < a.n_parts; }
    __device__ uint32_t first_slot(const MatvecArgs &a) const { return piece * a.piece_slots; }
    __device__ uint32_t end_slot(const MatvecArgs &a) const { return min(first_slot(a) + a.piece_slots, a.slots); }

  private:
    __device__ void find_part(const MatvecArgs &a) {
#pragma unroll 1
        while (tile >= end && part < a.n_parts && ++part < a.n_parts) {
            const Share share(a.part[part]);
            tile = tile - end + share.first;
            end = share.first + share.n;
            format = a.part[part].format;
        }
    }
};

// Asks for the slots of a warp's pieces, one at a time, if there is one left.
class Refill {
  public:
    __device__ explicit Refill(const Cursor &first) : piece_(first) {}
    __device__ void ask(const MatvecArgs &a, const SlotCopies &copies, uint32_t stage, bool again) {
        if (left_ == 0) {
            if (!piece_.exists(a)) return copies.ask_nothing();
            begin(a);
        }
        --left_;
        ++open_;
        copies.ask(stage, from_, left_ ? bytes_ : end_bytes_, again);
        from_ += bytes_;
    }
    __device__ void used() { --open_; }
    __device__ bool open() const { return open_; }  // slots that were asked for and are not used

  private:
    __device__ void begin(const MatvecArgs &a) {
        const MatvecSpan &p = a.part[piece_.part];
        const uint32_t first = piece_.first_slot(a), end = piece_.end_slot(a);
        left_ = end - first;
        bytes_ = p.slot_bytes;
        end_bytes_ = end == a.slots ? p.last_bytes : p.slot_bytes;
        from_ = p.data + size_t(piece_.tile) * p.tile_bytes + first * p.slot_bytes;
        piece_.next(a);
    }

    Cursor piece_;  // the next
    const uint8_t *from_ = nullptr;
    uint32_t left_ = 0, bytes_ = 0, end_bytes_ = 0;  // of this one: slots; bytes of a slot, of the last
    uint32_t open_ = 0;
};

// One value to finish: `index` counts those of the block. What it takes from far memory is fetched early.
template <int N> struct Output {
    float *out = nullptr;                  // NULL: there is none
    const float *residual_from = nullptr;  // NULL: nothing is added to it
    uint32_t at, other_at;                 // of the sums of its pieces, of those of what it is a gate for: the first
    float added = 0, other_added = 0, residual = 0;

    __device__ Output(const MatvecArgs &a, uint32_t index) {
        uint32_t tile = index / (4 * N), in_part = tile;
        const uint32_t r = index / N % 4, t = index % N;
#pragma unroll 1
        for (int i = 0; i < (a.gate ? 1 : a.n_parts); ++i) {
            const MatvecSpan &p = a.part[i];
            const Share share(p);
            if (in_part >= share.n) {
                in_part -= share.n;
                continue;
            }
            const uint32_t row = (share.first + in_part) * p.tile_rows + r;
            if (t >= uint32_t(a.n) || r >= p.tile_rows || row >= p.rows) return;
            out = p.out + size_t(t) * p.rows + row;
            at = place(a, tile, r, t);
            other_at = place(a, tile + share.n, r, t);
            if (a.residual) residual_from = a.residual + (out - a.part[0].out);
            if (p.bias) added = p.bias[row];
            if (a.gate && a.part[1].bias) other_added = a.part[1].bias[row];
            return;
        }
    }
    // Once what the kernels before have written is there.
    __device__ void fetch() {
        if (residual_from) residual = *hold_global(residual_from);
    }
    __device__ void finish(const MatvecArgs &a, const float *sums, float factor, uint32_t index) const {
        if (!out) return;
        if (N > 1) factor = factor_of(a.quantized, a.row_bytes, index % N);
        float y = factor * sum(a, sums + at) + (added + residual);
        if (a.gate) y = gated(a.activation, y, factor * sum(a, sums + other_at) + other_added);
        *out = y;
    }

  private:
    __device__ static uint32_t place(const MatvecArgs &a, uint32_t tile, uint32_t r, uint32_t t) {
        return (tile * a.pieces * 4 + r) * N + t;
    }
    __device__ static float sum(const MatvecArgs &a, const float *of_piece) {
        float sum = 0;
#pragma unroll 2
        for (uint32_t i = 0; i < a.pieces; ++i) sum += of_piece[i * 4 * N];
        return sum;
    }
};

template <int N, typename Formats> __device__ void matvec_block(const MatvecArgs &a) {
    __shared__ float squares[kMostWarps], factor_of_all;
    __shared__ RingBarriers barriers[kMostWarps];
    const uint32_t warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;  // warp: the compiler sees it
    uint8_t *shared = hold_shared(dynamic_shared()), *input = shared + a.input_at;
    float *sums = reinterpret_cast<float *>(shared + a.sums_at);
    SlotCopies copies(shared + warp * a.n_stages * a.stage_bytes, a.n_stages, a.stage_bytes, barriers[warp]);
    Cursor at(a, warp);
    Refill ahead(at);
#pragma unroll 1
    for (uint32_t i = 0; i < a.n_stages; ++i) ahead.ask(a, copies, i, false);
    if (!a.late) let_successor_start();
    Output<N> first(a, threadIdx.x);
    const uint32_t n_warps = blockDim.x / 32;
    if constexpr (N == 1) {
        with_quantizer(a.x, a.norm, a.norm_weight, a.cols, warp, n_warps, [&](auto row) {
            wait_for_predecessor();
            if (a.late) let_successor_start();
            first.fetch();
            const float own_squares = row.run(input);
            if (lane == 0) squares[warp] = own_squares;
        });
        __syncthreads();
        // By the last warp, which has the least to do, while others multiply.
        if (a.norm && warp == n_warps - 1) {
            const float factor = norm_factor(squares, n_warps, a.inverse_cols, a.epsilon);
            if (lane == 0) factor_of_all = factor;
        }
    } else {
        wait_for_predecessor();
        if (a.late) let_successor_start();
        first.fetch();
    }
    const uint8_t *rows = N == 1 ? input : a.quantized;
    uint32_t unit = warp;
    while (ahead.open()) {
        const Format format = at.format;
        Formats::for_each([&](auto f) {
            if (decltype(f)::type::kFormat != format) return;
            while (ahead.open() && at.format == format) {
                float sum[4 * N] = {};
#pragma unroll 1
                for (uint32_t slot = at.first_slot(a), end = at.end_slot(a); slot < end; ++slot) {
                    const uint8_t *weights = copies.wait();
                    multiply<typename decltype(f)::type, N>(weights, slot + 1 == a.slots ? a.last_lanes : kSlotLanes,
                                                            rows + slot * kInputSlotBytes, a.row_bytes, sum,
                                                            [&] { ahead.ask(a, copies, copies.stage(), true); });
                    copies.next();
                    ahead.used();
                }
                const float total = reduce<4 * N>(sum);
                if (lane < 4 * N) sums[unit * 4 * N + lane] = total;
                unit += a.warps;
                if (ahead.open()) at.next(a);
            }
        });
    }
    __syncthreads();
    const float factor = N == 1 && a.norm ? factor_of_all : 1.0f;
    first.finish(a, sums, factor, threadIdx.x);
#pragma unroll 1
    for (uint32_t i = threadIdx.x + blockDim.x; i < a.outputs; i += blockDim.x) {
        Output<N> other(a, i);
        other.fetch();
        other.finish(a, sums, factor, i);
    }
}

template <typename... F> constexpr uint64_t format_bits(FormatList<F...>) {
    return ((uint64_t{1} << uint32_t(F::kFormat)) | ...);
}

// Calls visit(FormatList<...>()) with the formats of the parts, or with more: best those of all calls of a step, so
// that they share a kernel.
template <typename Visit> void with_formats_of(const MatvecArgs &a, uint64_t of_step, Visit visit) {
    uint64_t own = 0;
    for (int i = 0; i < a.n_parts; ++i) own |= uint64_t{1} << uint32_t(a.part[i].format);
    bool done = false;
    for (uint64_t wanted : {own | of_step, own}) {
        auto consider = [&](auto formats) {
            if (done || (wanted & ~format_bits(formats))) return;
            done = true;
            visit(formats);
        };
        PackedFormats::for_each([&](auto f) { consider(FormatList<typename decltype(f)::type>()); });
        consider(FormatList<Q4_K, Q6_K>());
        consider(FormatList<Q5_K, Q6_K>());
        if (wanted == own) consider(PackedFormats());
    }
}

// The kernels for 2 to 4 tokens, N: 2 or 4.
template <int N>
void start_tokens(const MatvecArgs &a, uint64_t formats, const Grid &grid, const Chip &chip, cudaStream_t stream);
// That for more, whose input is quantized together; tiles are shared out to `blocks`.
void start_together(const MatvecArgs &a, const MatvecCall &c, uint32_t blocks, const Chip &chip, cudaStream_t stream);

}  // namespace el::cuda
