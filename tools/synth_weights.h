// Random weights in any block format, faster than a disk takes them.
#pragma once
#include "quant/format.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace tool {

// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t next() {
        uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
    }
    float normal();  // mean 0, deviation 1

  private:
    uint64_t state_;
};

// Normally distributed weights with a deviation of 1/sqrt(columns), so that activations keep their size. Encoding is
// slow, so a pool of blocks is encoded once for each format and width, and tensors are drawn from it block by block.
class RandomWeights {
  public:
    explicit RandomWeights(uint64_t seed) : seed_(seed), random_(seed) {}
    // Fills `blocks` with whole blocks of a matrix of so many columns.
    void fill(el::Format format, uint64_t cols, std::span<std::byte> blocks);

  private:
    const std::vector<std::byte> &pool(el::Format format, uint64_t cols);

    uint64_t seed_;
    Random random_;
    std::map<std::pair<el::Format, uint64_t>, std::vector<std::byte>> pools_;
};

}  // namespace tool
