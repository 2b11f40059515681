// Products of 2 to 4 tokens: each weight is read and decoded once for all of them.
#include "ops/matvec_block.cuh"

namespace el::cuda {
namespace {

template <int N, typename Formats> __global__ void __launch_bounds__(32 * kMatvecWarps, 1)
    tokens_kernel(const __grid_constant__ MatvecArgs a) {
    matvec_block<N, Formats>(a);
}

}  // namespace

template <int N>
void start_tokens(const MatvecArgs &a, uint64_t formats, const Grid &grid, const Chip &chip, cudaStream_t stream) {
    with_formats_of(a, formats, [&]<typename... F>(FormatList<F...>) {
        const auto kernel = tokens_kernel<N, FormatList<F...>>;
        allow_shared(kernel, most_shared_bytes(chip));
        launch_early(kernel, grid, stream, chip.early, a);
    });
}
template void start_tokens<2>(const MatvecArgs &, uint64_t, const Grid &, const Chip &, cudaStream_t);
template void start_tokens<4>(const MatvecArgs &, uint64_t, const Grid &, const Chip &, cudaStream_t);

}  // namespace el::cuda
