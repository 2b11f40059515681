// The kernels that measure a GPU do what their rates are told of (cuda/ops/measure.h).
#include "ops/measure.h"

#include <doctest/doctest.h>
#include <random>
#include <vector>

using namespace el::cuda;

TEST_CASE("the whole memory is read, each part as often as the others") {
    constexpr size_t kChunk = kReadChunkBytes / sizeof(uint4);
    std::mt19937 random(1);
    for (int blocks : {1, 2, 3}) {
        const size_t n = 5 * kChunk;
        std::vector<uint4> data(n), sums(size_t(blocks) * kReadThreads, uint4{1, 1, 1, 1});
        uint4 all = {};
        for (uint4 &x : data) {
            x = {uint32_t(random()), uint32_t(random()), uint32_t(random()), uint32_t(random())};
            all = {all.x ^ x.x, all.y ^ x.y, all.z ^ x.z, all.w ^ x.w};
        }
        read_all({data.data(), n, sums.data()}, blocks, nullptr);
        uint4 got = {};
        for (const uint4 &x : sums) got = {got.x ^ x.x, got.y ^ x.y, got.z ^ x.z, got.w ^ x.w};
        CHECK(got.x == all.x);
        CHECK(got.y == all.y);
        CHECK(got.z == all.z);
        CHECK(got.w == all.w);
    }
}

TEST_CASE("the operations of products are done") {
    std::vector<float> out(2 * kMultiplyThreads);
    multiply_long(out.data(), 3, 2, nullptr);
    // A thread holds 4 of the 128 values of each sum; a step adds 16 products of ones to each.
    for (float x : out) CHECK(x == 4.0f * kMultiplySums * 3 * 16);
    double flops = 0;
    for (float x : out) flops += 2.0 * double(x);
    CHECK(flops == 2 * 3 * kMultiplyFlops);
}
