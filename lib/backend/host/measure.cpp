#include "backend/host/measure.h"

#include "base/system_memory.h"

#include <algorithm>

namespace el {
namespace {

constexpr size_t kBytes = size_t{512} << 20;  // more than caches hold
constexpr int kPasses = 5;

// Far apart places at once, so that they do not wait for each other.
uint64_t sum_of(const uint64_t *x, size_t n) {
    uint64_t sum[4] = {};
    const size_t part = n / 4;
    for (size_t i = 0; i < part; ++i)
        for (size_t p = 0; p < 4; ++p) sum[p] += x[p * part + i];
    return sum[0] + sum[1] + sum[2] + sum[3];
}

}  // namespace

double measure_read_rate(ThreadPool &pool) {
    const size_t bytes = std::min<uint64_t>(kBytes, available_memory_bytes() / 4);
    Arena arena(bytes, Arena::Fill::kNone);
    uint64_t *values = arena.take<uint64_t>(bytes / sizeof(uint64_t));
    const size_t n = bytes / sizeof(uint64_t);
    std::vector<uint64_t> sums(size_t(pool.size()));
    double best = 0;
    for (int pass = 0; pass <= kPasses; ++pass) {
        const auto begin = std::chrono::steady_clock::now();
        pool.run([&](int worker, int n_workers) noexcept {
            const SplitRange mine = split(n, worker, n_workers);
            if (pass == 0)  // otherwise all pages were one
                std::fill(values + mine.begin, values + mine.end, uint64_t(worker) + 1);
            else
                sums[size_t(worker)] = sum_of(values + mine.begin, mine.end - mine.begin);
        });
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
        if (pass > 0) best = std::max(best, double(bytes) / seconds.count());
    }
    // Whatever was read counts: without this the compiler could leave the reading out.
    return std::accumulate(sums.begin(), sums.end(), uint64_t{0}) == 0 ? 0 : best;
}

}  // namespace el
