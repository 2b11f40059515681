// The kernels of cuda/ops/select.cu on emulated blocks, against sorting.
#include "emulation/cuda_runtime.h"

#include "best_helpers.h"
#include "ops/select.h"
#include "random_values.h"

#include <cfloat>
#include <doctest/doctest.h>
#include <limits>
#include <random>

using namespace el;
using namespace el::cuda;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

enum class Kind { kRandom, kTies, kOdd, kEven, kNone };

std::vector<float> row(std::mt19937 &random, size_t n_vocab, Kind kind) {
    RandomNormal normal(-2, 4);
    std::vector<float> x(n_vocab);
    for (float &v : x) {
        v = kind == Kind::kEven ? 1 : kind == Kind::kTies ? std::round(normal(random)) : normal(random);
        constexpr float kOdd[] = {kNan, kInfinity, -kInfinity, 0.0f, -0.0f, FLT_MAX, -FLT_MAX};
        if (kind == Kind::kOdd && random() % 4 == 0) v = kOdd[random() % std::size(kOdd)];
        if (kind == Kind::kNone) v = random() % 2 ? kNan : -kInfinity;
    }
    return x;
}

class Selection {
  public:
    explicit Selection(size_t rows) : scratch_((rows * select_scratch() + 15) / 16), found(rows) {}
    void run(const std::vector<float> &logits, uint32_t vocab, int n) {
        const auto rows = int(logits.size() / vocab);
        select_best({logits.data(), vocab, rows, n, reinterpret_cast<uint8_t *>(scratch_.data()), found.data()}, true,
                    nullptr);
    }

  private:
    std::vector<uint4> scratch_;

  public:
    std::vector<RowBest> found;
};

}  // namespace

TEST_CASE("the kernels find the best tokens of rows, in order") {
    std::mt19937 random(3);
    const struct {
        uint32_t vocab;
        Kind kind[2];
        int n;
    } cases[] = {
        {1, {Kind::kRandom, Kind::kNone}, 1},      {32, {Kind::kRandom, Kind::kOdd}, 32},
        {100, {Kind::kTies, Kind::kNone}, 256},    {2048, {Kind::kRandom, Kind::kEven}, 40},
        {2049, {Kind::kRandom, Kind::kEven}, 256}, {5003, {Kind::kTies, Kind::kOdd}, 256},
        {5003, {Kind::kTies, Kind::kNone}, 1},     {32001, {Kind::kRandom, Kind::kOdd}, 40},
        {151936, {Kind::kRandom, Kind::kEven}, 5}, {262147, {Kind::kRandom, Kind::kEven}, 256},
    };
    Selection selection(2);
    for (const auto &one : cases) {
        const auto &[vocab, kinds, n] = one;
        CAPTURE(one.vocab);
        CAPTURE(one.n);
        std::vector<float> logits;
        for (Kind kind : kinds) {
            const std::vector<float> x = row(random, vocab, kind);
            logits.insert(logits.end(), x.begin(), x.end());
        }
        selection.run(logits, vocab, n);
        for (size_t r = 0; r < 2; ++r) {
            CAPTURE(r);
            const BestOfRow wanted(logits.data() + r * vocab, vocab, size_t(n));
            const RowBest &got = selection.found[r];
            REQUIRE(size_t(got.n) == wanted.tokens.n);
            CHECK(std::equal(wanted.ids.begin(), wanted.ids.end(), got.ids));
            CHECK(std::equal(wanted.logits.begin(), wanted.logits.end(), got.logits));
            CHECK(std::fabs(got.sum - wanted.tokens.sum) <= 0.3 * BestTokens::kSumError * wanted.tokens.sum);
        }
    }
}

TEST_CASE("too many tokens as good as each other are not collected, and leave no trace") {
    constexpr uint32_t kVocab = 40000;
    std::vector<float> logits(kVocab);
    for (uint32_t i = 0; i < kVocab; ++i) logits[i] = i / 8 % 1024 < 200 ? 5 : float(i) / kVocab;
    Selection selection(1);
    selection.run(logits, kVocab, 256);
    CHECK(selection.found[0].n == -1);
    selection.run(logits, kVocab, 1);
    CHECK(selection.found[0].n == 1);
    CHECK(selection.found[0].ids[0] == 0);
    logits[9] = 6;
    for (uint32_t i = 10; i < kVocab; ++i) logits[i] = 0;
    selection.run(logits, kVocab, 3);
    CHECK(selection.found[0].n == 3);
    CHECK(selection.found[0].ids[0] == 9);
    CHECK(selection.found[0].ids[1] == 0);
}
