// Products of few tokens: how blocks share the work, and the kernels for one token.
#include "ops/matvec_block.cuh"

#include <algorithm>

namespace el::cuda {
namespace {

// From 12.0 on multiprocessors have too little shared memory for two.
#if EL_PATH_90 && __CUDA_ARCH__ < 1200  // two blocks, of which one follows the other, share a multiprocessor
template <typename Formats> constexpr int kRegisters = 72;
template <> constexpr int kRegisters<PackedFormats> = 80;
[[maybe_unused]] constexpr uint32_t kWarps = kMostWarps;
#else  // `Room` adds no warps
template <typename Formats> constexpr int kRegisters = 112;
[[maybe_unused]] constexpr uint32_t kWarps = kMatvecWarps;
#endif

template <typename Formats> __global__ void EL_REGISTERS(kRegisters<Formats>, 32 * kWarps, 1)
    matvec_kernel(const __grid_constant__ MatvecArgs a) {
    matvec_block<1, Formats>(a);
}

MatvecSpan part_of(const MatvecPart &p, uint32_t cols) {
    const PackedShape s = packed_shape(p.m.format);
    MatvecSpan out = {};
    out.data = p.m.data;
    out.bias = p.bias;
    out.out = p.out;
    out.rows = p.rows;
    out.tiles = uint32_t(s.tiles(p.rows));
    out.slot_bytes = uint32_t(s.slot_bytes(kSlotLanes));
    out.last_bytes = uint32_t(s.slot_bytes(PackedShape::last_lanes(cols)));
    out.tile_bytes = uint32_t(s.tile_bytes(cols));
    out.data += size_t(p.row_begin / s.rows) * out.tile_bytes;
    out.format = p.m.format;
    out.tile_rows = s.rows;
    return out;
}

// Tiles that do not come out even go to other blocks for each part. Returns the most tiles of a block.
uint32_t share_out(MatvecArgs &a, uint32_t n_blocks) {
    uint32_t each = 0, more = 0;
    for (int i = 0; i < a.n_parts; ++i) {
        MatvecSpan &p = a.part[i];
        p.each = p.tiles / n_blocks;
        p.more = p.tiles % n_blocks;
        p.turn = a.gate ? 0 : more % n_blocks;
        each += p.each;
        more += p.more;
    }
    return each + (a.gate ? (more > 0 ? 2 : 0) : (more + n_blocks - 1) / n_blocks);
}

size_t input_bytes(const MatvecArgs &a) { return size_t(a.slots) * kInputSlotBytes; }

// What a block may have of a multiprocessor. Of two stages that follow each other, the block of the second asks for its
// weights while that of the first still works, so there must be room for both; but not for two blocks of one stage, as
// then other multiprocessors would have none. So every other stage takes more than half of the shared memory, and those
// between them, by more warps, more than half of the registers. (Attention of few tokens fits beside
// either where a kernel has 65 to 72 registers.)
struct Room {
    uint32_t warps = kMatvecWarps, least_warps = 1;
    size_t least = 0, enough, most;  // bytes of shared memory; more than `enough` gain nothing

    explicit Room(const Chip &chip) : enough(80 << 10), most(most_shared_bytes(chip)) {}
    Room(const Chip &chip, bool odd, int registers) : Room(chip) {
        constexpr size_t kOdd = 126 << 10, kBoth = 224 << 10;  // with what the blocks have beside: 3.4 KB
        if (!chip.early || most < kBoth) return;
        if (!odd) {
            // Each of the four schedulers has 16384 registers, which its warps get in pieces of 256.
            const uint32_t of_a_warp = uint32_t(std::max(registers, 1) + 7) / 8 * 256;
            warps = least_warps = std::clamp(16384 / 2 / of_a_warp * 4 + 4, kMatvecWarps, kMostWarps);
        } else {
            least = most / 2;
        }
        most = enough = odd ? kOdd : kBoth - kOdd;
    }
};

void cut_tiles(MatvecArgs &a, uint32_t pieces) {
    a.piece_slots = (a.slots + pieces - 1) / pieces;
    a.pieces = (a.slots + a.piece_slots - 1) / a.piece_slots;
    a.step_tiles = a.warps / a.pieces;
    a.step_pieces = a.warps % a.pieces;
}

// Large pieces are summed up less often, small ones come out more even among the warps.
void cut_for_least_work(MatvecArgs &a, uint32_t block_tiles) {
    constexpr uint32_t kSlotCost = 3, kPieceCost = 1;  // about 50 instructions
    uint32_t least = ~0u, best = 1;
    for (uint32_t n = 1; n <= a.slots; ++n) {
        cut_tiles(a, n);
        const uint32_t rounds = (block_tiles * a.pieces + a.warps - 1) / a.warps,
                       cost = rounds * (a.piece_slots * kSlotCost + kPieceCost);
        if (cost < least) best = n;
        least = std::min(least, cost);
    }
    cut_tiles(a, best);
}

// How a block goes about its `block_tiles`. One whose weights are more than twice its ring waits for memory, which is
// fastest if all warps read next to each other. Otherwise most weights are there when the input is: what counts is the
// work for them, and that the last ones do not come behind those of the next kernel.
void choose_ways(MatvecArgs &a, const MatvecCall &c, const Chip &chip, uint32_t blocks, uint32_t block_tiles) {
    size_t bytes = 0;
    for (int i = 0; i < a.n_parts; ++i) bytes += size_t(a.part[i].tiles) * a.part[i].tile_bytes / blocks;
    const bool flows = chip.early && bytes > 2 * size_t(a.warps) * a.n_stages * a.stage_bytes;
    a.late = c.amid && !flows;
    if (flows)
        cut_tiles(a, a.slots);
    else
        cut_for_least_work(a, block_tiles);
}

template <int N>
Grid grid_of(MatvecArgs &a, const MatvecCall &c, const Chip &chip, uint32_t blocks, size_t others, const Room &room) {
    const Ring ring(room.warps, a.stage_bytes, others, room.most, room.enough);
    a.warps = ring.warps;
    a.n_stages = ring.n_stages;
    const uint32_t block_tiles = share_out(a, blocks);
    a.outputs = block_tiles * 4 * N;
    a.sums_at = uint32_t(ring.bytes());
    choose_ways(a, c, chip, blocks, block_tiles);
    return {blocks, 32 * std::max(ring.warps, room.least_warps), std::max(ring.bytes() + others, room.least)};
}

template <int N> void start(MatvecArgs &a, const MatvecCall &c, const Chip &chip, cudaStream_t stream) {
    uint32_t tiles = 0, largest = 0;
    for (int i = 0; i < a.n_parts; ++i) {
        tiles += a.part[i].tiles;
        largest = std::max({largest, a.part[i].last_bytes, a.slots > 1 ? a.part[i].slot_bytes : 0});
    }
    a.stage_bytes = largest;
    const auto round = uint32_t(chip.n_multiprocessors);
    const uint32_t most_blocks = a.gate ? tiles / 2 : tiles;
    uint32_t blocks = std::min(round, most_blocks);
    auto sum_bytes = [&] { return size_t(share_out(a, blocks)) * a.slots * 4 * N * sizeof(float); };
    while (sum_bytes() > kMostSums && blocks < most_blocks) blocks = std::min(blocks + round, most_blocks);
    const size_t others = PackedShape::align(sum_bytes()) + (N == 1 ? input_bytes(a) : 0);
    const size_t most = most_shared_bytes(chip);
    a.input_at = uint32_t(PackedShape::align(sum_bytes()));  // behind the sums, which lie behind the ring
    if constexpr (N == 1) {
        with_formats_of(a, c.formats, [&]<typename... F>(FormatList<F...>) {
            const auto kernel = matvec_kernel<FormatList<F...>>;
            allow_shared(kernel, most);
            const Grid grid = grid_of<N>(a, c, chip, blocks, others, Room(chip, c.odd, registers_of(kernel)));
            a.input_at += a.sums_at;
            launch_early(kernel, grid, stream, chip.early, a);
        });
    } else {
        const Grid grid = grid_of<N>(a, c, chip, blocks, others, Room(chip));
        start_tokens<N>(a, c.formats, grid, chip, stream);
    }
}

}  // namespace

bool matvec_supported(const Matrix &m, uint32_t row_begin, uint32_t col_begin, uint32_t cols) {
    return m.packed && col_begin == 0 && cols == m.cols && row_begin % packed_shape(m.format).rows == 0;
}

size_t matvec_scratch(uint32_t cols) { return quantized_row_bytes(cols); }

void matvec(const MatvecCall &c, const Chip &chip, cudaStream_t stream) {
    MatvecArgs a = {};
    for (int i = 0; i < c.n_parts; ++i) a.part[i] = part_of(c.part[i], c.cols);
    a.n_parts = c.n_parts;
    a.n = c.n;
    a.cols = c.cols;
    a.inverse_cols = 1.0f / float(c.cols);
    a.slots = PackedShape::slots(c.cols);
    a.last_lanes = PackedShape::last_lanes(c.cols);
    a.x = c.x;
    a.norm = c.norm;
    a.norm_weight = c.norm_weight;
    a.epsilon = c.epsilon;
    a.residual = c.residual;
    a.gate = c.gate;
    a.activation = c.activation;
    a.quantized = c.quantized;
    a.row_bytes = uint32_t(matvec_scratch(c.cols));
    // A row that fits into shared memory is quantized there, by every block.
    if (c.n == 1 && input_bytes(a) <= most_shared_bytes(chip) / 6) return start<1>(a, c, chip, stream);
    quantize_rows({c.x, c.cols, c.n, c.norm, c.norm_weight, c.epsilon, c.quantized, c.n > int(kApart)}, chip.early,
                  stream);
    if (c.n <= 2) return start<2>(a, c, chip, stream);
    if (c.n <= int(kApart)) return start<4>(a, c, chip, stream);
    uint32_t tiles = 0;
    for (int i = 0; i < (a.gate ? 1 : a.n_parts); ++i) tiles += a.part[i].tiles;
    const uint32_t blocks = std::min(uint32_t(chip.n_multiprocessors), tiles);
    share_out(a, blocks);
    start_together(a, c, blocks, chip, stream);
}

}  // namespace el::cuda
