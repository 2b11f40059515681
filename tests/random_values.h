// Random input for tests at little cost, also where they are emulated or under sanitizers.
#pragma once
#include "quant/format.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <numbers>
#include <random>
#include <vector>

namespace el {

// libstdc++'s std::normal_distribution takes logarithms of long doubles for each number.
class RandomNormal {
  public:
    explicit RandomNormal(float mean = 0, float deviation = 1) : mean_(mean), deviation_(deviation) {}
    // Two at once, by Box and Muller (1958); at most 5.8 deviations from the mean.
    float operator()(std::mt19937 &random) {
        has_next_ = !has_next_;
        if (!has_next_) return mean_ + deviation_ * next_;
        const float radius = std::sqrt(-2 * std::log(0x1p-24f * float((random() >> 8) + 1)));
        const float angle = 0x1p-23f * std::numbers::pi_v<float> * float(random() >> 8);
        next_ = radius * std::sin(angle);
        return mean_ + deviation_ * radius * std::cos(angle);
    }

  private:
    float mean_, deviation_, next_ = 0;
    bool has_next_ = false;
};

inline std::vector<float> random_floats(std::mt19937 &random, size_t n, float deviation = 1) {
    RandomNormal normal(0, deviation);
    std::vector<float> out(n);
    for (float &x : out) x = normal(random);
    return out;
}

// Blocks `begin` to `end` become some of those before.
inline void repeat_blocks(std::byte *blocks, size_t begin, size_t end, size_t block_bytes, std::mt19937 &random) {
    for (size_t i = begin; i < end; ++i)
        std::memcpy(blocks + i * block_bytes, blocks + random() % begin * block_bytes, block_bytes);
}

// As many blocks as `values` need. Encoders search, so only the first so many values are encoded, and the other blocks
// repeat those; of formats without blocks all.
constexpr size_t kEncodedValues = 128 * 256;
inline std::vector<std::byte> encode_blocks(const FormatInfo &info, const std::vector<float> &values,
                                            std::mt19937 &random) {
    const size_t n = info.values == 1 ? values.size() : std::min(values.size(), kEncodedValues);
    std::vector<std::byte> blocks(values.size() / info.values * info.bytes);
    info.encode(values.data(), n, blocks.data());
    repeat_blocks(blocks.data(), n / info.values, values.size() / info.values, info.bytes, random);
    return blocks;
}

}  // namespace el
