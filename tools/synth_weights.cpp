#include "synth_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

namespace tool {
namespace {

constexpr uint32_t kPoolValues = 1 << 19;
constexpr uint32_t kPieceValues = 256;  // drawn at once: one block of the largest formats

}  // namespace

float Random::normal() {  // Box and Muller, 1958
    const double u = (double(next() >> 11) + 0.5) * 0x1p-53, v = double(next() >> 11) * 0x1p-53;
    return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v));
}

const std::vector<std::byte> &RandomWeights::pool(el::Format format, uint64_t cols) {
    auto [place, is_new] = pools_.try_emplace({format, cols});
    if (is_new) {
        const el::FormatInfo &info = el::format_info(format);
        Random random(seed_ ^ cols << 8 ^ static_cast<uint64_t>(format));
        const float deviation = 1 / std::sqrt(static_cast<float>(cols));
        std::vector<float> values(kPoolValues);
        for (float &value : values) value = deviation * random.normal();
        place->second.resize(kPoolValues / info.values * info.bytes);
        info.encode(values.data(), values.size(), place->second.data());
    }
    return place->second;
}

void RandomWeights::fill(el::Format format, uint64_t cols, std::span<std::byte> blocks) {
    const el::FormatInfo &info = el::format_info(format);
    const std::vector<std::byte> &from = pool(format, cols);
    const size_t piece = kPieceValues / info.values * info.bytes;
    for (; !blocks.empty(); blocks = blocks.subspan(std::min(piece, blocks.size()))) {
        const size_t pick = random_.next() % (from.size() / piece);
        std::memcpy(blocks.data(), from.data() + pick * piece, std::min(piece, blocks.size()));
    }
}

}  // namespace tool
