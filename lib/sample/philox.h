// Philox4x32-10: a counter-based generator (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3;
// SC 2011). The numbers for a position depend on nothing but key and position, so that sampling needs no state.
#pragma once
#include <array>
#include <cstdint>

namespace el {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

constexpr PhiloxCounter philox4x32_10(PhiloxCounter c, PhiloxKey key) {
    for (int round = 0; round < 10; ++round) {
        uint64_t a = uint64_t(0xD2511F53) * c[0], b = uint64_t(0xCD9E8D57) * c[2];
        c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(b),
             static_cast<uint32_t>(a >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(a)};
        key[0] += 0x9E3779B9;
        key[1] += 0xBB67AE85;
    }
    return c;
}

// Uniform in [0, 1), 53 bits. `stream` tells apart several numbers wanted for one position.
constexpr double philox_uniform(uint64_t seed, uint64_t position, uint32_t stream = 0) {
    PhiloxCounter c = {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), stream, 0};
    c = philox4x32_10(c, {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
    return static_cast<double>((uint64_t(c[1]) << 32 | c[0]) >> 11) * 0x1p-53;
}

}  // namespace el
