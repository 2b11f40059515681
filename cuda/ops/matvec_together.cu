// Products of 5 to 8 tokens: one block per multiprocessor has a share of the tiles, whose bands its teams of warps take
// in turn. Four warps read a slot of all tiles of a band, each a chunk of it, through a ring of its own
// in shared memory; at the end of a band the team adds up and does what follows. So warps read next to each other, and
// blocks of any share need the same memory.
#include "ops/chunk.cuh"
#include "ops/matvec_block.cuh"
#include "team.cuh"

#include <algorithm>

namespace el::cuda {
namespace {

// Of a block, as registers allow.
template <typename Formats> constexpr uint32_t kTogetherWarps = 16;
template <> constexpr uint32_t kTogetherWarps<PackedFormats> = 12;

constexpr uint32_t kBandSums = kBandRows * kTogether, kSlotChunks = kSlotCols / kChunkCols;

struct TogetherArgs : MatvecArgs {
    uint32_t teams, width;  // warps of a team: some times kSlotChunks
    uint32_t tables_at, table_bytes, input_bytes, band_tiles[kMatvecParts];
    bool input_stays;      // all of it in shared memory, at input_at; otherwise a chunk comes with each stage, there
    bool early;            // launches overlap
    const float *factors;  // of the tokens
};

// Walks through the slots of which a warp has a chunk, band by band: with a gate through part 0, then part 1.
struct Walk {
    int part = 0;
    Format format;
    uint32_t band, slot, first_slot, end;  // bands: the block's of the part
    Share share;

    __device__ Walk(const TogetherArgs &a, uint32_t team, uint32_t first_slot_)
        : band(team), slot(first_slot_), first_slot(first_slot_), share(a.part[0]) {
        begin_part(a);
        find_part(a);
    }
    __device__ bool exists(const TogetherArgs &a) const { return part < a.n_parts; }
    __device__ bool ends_band(const TogetherArgs &a) const { return slot + a.width / kSlotChunks >= a.slots; }
    __device__ void next(const TogetherArgs &a) {
        slot += a.width / kSlotChunks;
        if (slot < a.slots) return;
        slot = first_slot;
        if (a.gate) {
            part ^= 1;
            format = a.part[part].format;
            if (part == 1) return;
        }
        band += a.teams;
        find_part(a);
    }
    __device__ uint32_t lanes(const TogetherArgs &a) const { return slot + 1 < a.slots ? kSlotLanes : a.last_lanes; }

  private:
    __device__ void begin_part(const TogetherArgs &a) {
        format = a.part[part].format;
        end = (share.n * a.part[part].tile_rows + kBandRows - 1) / kBandRows;
    }
    __device__ void find_part(const TogetherArgs &a) {
#pragma unroll 1
        while (band >= end) {
            band -= end;
            part = a.gate ? a.n_parts : part + 1;
            if (part >= a.n_parts) return;
            share = Share(a.part[part]);
            begin_part(a);
        }
    }
};

// The same some chunks ahead, with what is to be asked for.
struct Ahead : Walk {
    ChunkSource source;
    uint32_t step;  // bytes from one of the warp's slots to the next

    __device__ explicit Ahead(const TogetherArgs &a, const Walk &from) : Walk(from) { find(a); }
    __device__ void next(const TogetherArgs &a) {
        Walk::next(a);
        source.slot += step;
        if (slot == first_slot) find(a);
    }

  private:
    __device__ void find(const TogetherArgs &a) {
        if (!exists(a)) return;
        const MatvecSpan &p = a.part[part];
        const uint32_t tiles = a.band_tiles[part], tile = band * tiles;
        source = {p.data + size_t(share.first + tile) * p.tile_bytes + slot * p.slot_bytes, p.tile_bytes,
                  min(tiles, share.n - tile)};
        step = a.width / kSlotChunks * p.slot_bytes;
    }
};

// The sum of a row and a token that a thread finishes, `index` in its band. What it needs from memory is asked for
// before the sums are there.
struct BandOutput {
    uint32_t part, row, place;
    bool exists;
    float residual, bias, other_bias;

    __device__ BandOutput() {}  // not set
    __device__ BandOutput(const TogetherArgs &a, const Walk &at, uint32_t index) : part(a.gate ? 0 : at.part) {
        const MatvecSpan &p = a.part[part];
        const uint32_t begin = at.share.first * p.tile_rows, end = min(p.rows, begin + at.share.n * p.tile_rows),
                       token = index % kTogether;
        row = begin + at.band * kBandRows + index / kTogether;
        place = token * p.rows + row;
        exists = index < kBandSums && row < end && token < uint32_t(a.n);
        residual = exists && a.residual && part == 0 ? a.residual[place] : 0.0f;
        bias = exists && p.bias ? p.bias[row] : 0.0f;
        other_bias = exists && a.gate && a.part[1].bias ? a.part[1].bias[row] : 0.0f;
    }
    // sums: the first warp's, of the first part
    __device__ void finish(const TogetherArgs &a, const float *sums, float factor) const {
        if (!exists) return;
        float y = factor * sum_of(a, sums) + bias;
        if (a.gate) y = gated(a.activation, y, factor * sum_of(a, sums + a.width * kBandSums) + other_bias);
        a.part[part].out[place] = y + residual;
    }

  private:
    static __device__ float sum_of(const TogetherArgs &a, const float *sums) {
        float sum = 0;
#pragma unroll 1
        for (uint32_t i = 0; i < a.width; i += kSlotChunks)
            for (uint32_t j = 0; j < kSlotChunks; ++j) sum += sums[(i + j) * kBandSums];
        return sum;
    }
};

template <typename Formats> class Worker {
  public:
    __device__ explicit Worker(const TogetherArgs &args)
        : a_(args), warp_(threadIdx.x / 32), lane_(threadIdx.x % 32), team_(warp_ / a_.width),
          member_(warp_ % a_.width), chunk_(member_ % kSlotChunks), own_(chunk_),
          ring_bytes_(a_.n_stages * a_.stage_bytes), ring_(dynamic_shared() + warp_ * ring_bytes_),
          input_((a_.input_stays ? dynamic_shared() : ring_) + a_.input_at),
          sums_(reinterpret_cast<float *>(dynamic_shared() + a_.sums_at) +
                team_ * (a_.gate ? 2 : 1) * a_.width * kBandSums) {}

    __device__ void run() {
        Walk at(a_, team_, member_ / kSlotChunks);
        Ahead ahead(a_, at);
        begin(ahead, at);
        const float factor = a_.factors[lane_ % kTogether];
        float mine[4] = {};
        uint32_t stage = 0;  // bytes
        while (at.exists(a_)) {
            const bool ends = at.ends_band(a_);
            BandOutput out;
            if (ends && !waits(at)) out = BandOutput(a_, at, member_ * 32 + lane_);
            if (a_.n_stages == 2)
                wait_copies<0>();
            else
                wait_copies<1>();
            __syncwarp();
            if (ahead.exists(a_)) {  // into the stage that was read last
                uint8_t *to = ring_ + (stage == 0 ? ring_bytes_ : stage) - a_.stage_bytes;
                ask_weights(ahead, to);
                ask_input(ahead, to);
                ahead.next(a_);
            }
            close_copies();
            multiply(at, stage, mine);
            stage = stage + a_.stage_bytes == ring_bytes_ ? 0 : stage + a_.stage_bytes;
            if (ends) end_band(at, out, factor, mine);
            at.next(a_);
        }
    }

  private:
    // Weights depend on no other kernel, the input does. Where kernels do not overlap it is asked for first, as what is
    // asked for first may come first.
    __device__ void begin(Ahead &ahead, Walk second) const {
        const uint4 *from = reinterpret_cast<const uint4 *>(a_.quantized);
        uint4 *input = reinterpret_cast<uint4 *>(dynamic_shared() + a_.input_at);
        const uint32_t n = a_.input_stays ? a_.input_bytes / 16 : 0;
        if (!a_.early) {
            for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) copy_async(input + i, from + i);
            close_copies();
        }
#pragma unroll 1
        for (uint32_t i = a_.stage_bytes; i < ring_bytes_; i += a_.stage_bytes) {
            if (ahead.exists(a_)) {
                ask_weights(ahead, ring_ + i - a_.stage_bytes);
                ahead.next(a_);
            }
            if (a_.input_stays) close_copies();
        }
        let_successor_start();
        wait_for_predecessor();
        if (a_.input_stays) {
            if (a_.early) {
#pragma unroll 4
                for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) input[i] = from[i];
            } else {
                wait_for_copies(int(a_.n_stages) - 1);
            }
            __syncthreads();
            return;
        }
#pragma unroll 1
        for (uint32_t i = a_.stage_bytes; i < ring_bytes_; i += a_.stage_bytes) {
            if (second.exists(a_)) {
                ask_input(second, ring_ + i - a_.stage_bytes);
                second.next(a_);
            }
            close_copies();
        }
    }

    __device__ void ask_weights(const Ahead &at, uint8_t *stage) const {
        const uint32_t lanes = at.lanes(a_);
        if (own_.first >= lanes) return;
        Formats::for_each([&](auto f) {
            using F = typename decltype(f)::type;
            if (F::kFormat == at.format) copy_chunk<F>(at.source, lanes, own_, stage);
        });
    }
    __device__ uint32_t input_at(uint32_t slot) const { return (slot * kSlotChunks + chunk_) * kInputChunkBytes; }
    __device__ void ask_input(const Walk &at, uint8_t *stage) const {
        if (a_.input_stays) return;
        const uint8_t *from = a_.quantized + input_at(at.slot);
        for (uint32_t i = lane_ * 16; i < kInputChunkBytes; i += 512) copy_async(stage + a_.input_at + i, from + i);
    }

    __device__ void multiply(const Walk &at, uint32_t stage, float (&mine)[4]) const {
        const uint8_t *weights = ring_ + stage, *x = input_ + (a_.input_stays ? input_at(at.slot) : stage);
        uint8_t *table = dynamic_shared() + a_.tables_at + warp_ * a_.table_bytes;
        const uint32_t lanes = at.lanes(a_);
        Formats::for_each([&](auto f) {
            using F = typename decltype(f)::type;
            if (F::kFormat != at.format || own_.first >= lanes) return;
            decode_scales<F>(weights, own_, lanes, table);
            __syncwarp();
            multiply_chunk<F>(weights, x, table, own_, mine);
        });
    }

    // With a gate, the sums of part 0 wait for those of part 1.
    __device__ bool waits(const Walk &at) const { return a_.gate && at.part == 0; }

    // The sums of the team's warps meet.
    __device__ void end_band(const Walk &at, const BandOutput &out, float factor, float (&mine)[4]) const {
        const uint32_t n_threads = a_.width * 32, second = a_.gate && at.part == 1;
        if (!second) wait_for_team(team_, n_threads);  // until those before have been read
        float *to = sums_ + (second * a_.width + member_) * kBandSums + lane_ * 2;
        *reinterpret_cast<float2 *>(to) = {mine[0], mine[1]};
        *reinterpret_cast<float2 *>(to + kBandSums / 2) = {mine[2], mine[3]};
        for (float &one : mine) one = 0;
        if (waits(at)) return;
        wait_for_team(team_, n_threads);
        out.finish(a_, sums_ + member_ * 32 + lane_, factor);
    }

    const TogetherArgs &a_;
    const uint32_t warp_, lane_, team_, member_, chunk_;  // chunk: of each slot
    const ChunkLane own_;
    const uint32_t ring_bytes_;
    uint8_t *const ring_;
    const uint8_t *const input_;  // all of it, or that of the ring's first stage
    float *const sums_;           // [parts with a gate][width][kBandSums]
};

template <typename Formats> __global__ void __launch_bounds__(32 * kTogetherWarps<Formats>, 1)
    together_kernel(const __grid_constant__ TogetherArgs a) {
    Worker<Formats>(a).run();
}

// ---- host

// Chooses how a block's warps share its bands, and what lies in shared memory.
class Plan {
  public:
    // `bands`: of the block that has most; with a gate those of one part.
    Plan(TogetherArgs &a, uint32_t bands, uint32_t chunk_bytes, uint32_t most_warps, size_t most)
        : a_(a), chunk_bytes_(chunk_bytes) {
        uint32_t least = ~0u;
        for (bool stays : {true, false})
            for (uint32_t width = kSlotChunks; width <= std::min(most_warps, a.slots * kSlotChunks);
                 width += kSlotChunks)
                for (uint32_t teams = 1; teams * width <= most_warps; ++teams) {
                    if (bytes(teams * width, 2, stays) > most) break;
                    // The input of a single band need not stay; elsewhere it would come again with each band.
                    const uint32_t slots = width / kSlotChunks, turns = (bands + teams - 1) / teams,
                                   steps = turns * ((a.slots + slots - 1) / slots),
                                   cost = stays                   ? 4 * steps
                                          : bands == 1 && !a.gate ? 4 * steps - 1
                                                                  : 6 * steps;
                    if (cost >= least) continue;
                    least = cost;
                    a.teams = teams;
                    a.width = width;
                    a.input_stays = stays;
                }
        const uint32_t warps = a.teams * a.width;
        a.n_stages = bytes(warps, 3, a.input_stays) > most ? 2 : 3;
        a.stage_bytes = chunk_bytes + (a.input_stays ? 0 : kInputChunkBytes);
        a.tables_at = warps * a.n_stages * a.stage_bytes;
        a.sums_at = a.tables_at + warps * a.table_bytes;
        a.input_at = a.input_stays ? a.sums_at + sum_bytes(warps) : chunk_bytes;
    }
    size_t bytes() const { return bytes(a_.teams * a_.width, a_.n_stages, a_.input_stays); }

  private:
    uint32_t sum_bytes(uint32_t warps) const { return uint32_t(warps * (a_.gate ? 2 : 1) * kBandSums * sizeof(float)); }
    size_t bytes(uint32_t warps, uint32_t stages, bool stays) const {
        return size_t(warps) * (stages * (chunk_bytes_ + (stays ? 0 : kInputChunkBytes)) + a_.table_bytes) +
               sum_bytes(warps) + (stays ? a_.input_bytes : 0);
    }

    TogetherArgs &a_;
    const uint32_t chunk_bytes_;
};

}  // namespace

void start_together(const MatvecArgs &shared_out, const MatvecCall &c, uint32_t blocks, const Chip &chip,
                    cudaStream_t stream) {
    TogetherArgs a = {};
    static_cast<MatvecArgs &>(a) = shared_out;
    a.early = chip.early;
    a.input_bytes = input_chunks(a.cols) * kInputChunkBytes;
    a.factors = factors_behind(c.quantized, a.cols);
    uint32_t bands = 0, chunk_bytes = 0;
    for (int i = 0; i < a.n_parts; ++i) {
        const MatvecSpan &p = a.part[i];
        if (i == 0 || !a.gate) bands += ((p.each + (p.more > 0)) * p.tile_rows + kBandRows - 1) / kBandRows;
        const ChunkShape shape(packed_shape(p.format));
        a.band_tiles[i] = shape.tiles;
        chunk_bytes = std::max(chunk_bytes, shape.bytes);
        with_packed_format(p.format, [&](auto f) {
            a.table_bytes = std::max(a.table_bytes, kBandRows * kScaleRowBytes<typename decltype(f)::type>);
        });
    }
    const size_t most = most_shared_bytes(chip);
    with_formats_of(a, c.formats, [&]<typename... F>(FormatList<F...>) {
        const Plan plan(a, bands, chunk_bytes, kTogetherWarps<FormatList<F...>>, most);
        // Never two blocks on one multiprocessor, as then others would have none.
        const size_t bytes = std::max(plan.bytes(), chip.early ? most / 2 + 1024 : 0);
        const auto kernel = together_kernel<FormatList<F...>>;
        allow_shared(kernel, most);
        launch_early(kernel, {blocks, 32 * a.teams * a.width, bytes}, stream, chip.early, a);
    });
}

}  // namespace el::cuda
