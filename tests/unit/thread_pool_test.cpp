#include "base/status.h"
#include "base/thread_pool.h"
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <doctest/doctest.h>
#include <new>
#include <sched.h>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>
#include <vector>

static std::atomic<long> n_allocations{0};
void *operator new(size_t n) {
    ++n_allocations;
    if (void *p = std::malloc(n ? n : 1)) return p;
    throw std::bad_alloc();
}
void operator delete(void *p) noexcept { std::free(p); }
void operator delete(void *p, size_t) noexcept { std::free(p); }

using namespace el;

static Status status_of(const ThreadPoolOptions &options) {
    try {
        ThreadPool pool(options);
        return Status::kOk;
    } catch (const Error &error) {
        return error.status();
    }
}

TEST_CASE("split covers everything once, in order, on granules, evenly") {
    for (size_t n : {0u, 1u, 2u, 7u, 31u, 32u, 33u, 100u, 1000u})
        for (int workers : {1, 2, 3, 7, 16})
            for (size_t granularity : {1u, 4u, 32u}) {
                size_t at = 0, smallest = n + granularity, largest = 0;
                for (int worker = 0; worker < workers; ++worker) {
                    SplitRange range = split(n, worker, workers, granularity);
                    REQUIRE(range.begin == at);
                    REQUIRE(range.end >= range.begin);
                    if (range.begin < n) REQUIRE(range.begin % granularity == 0);
                    at = range.end;
                    size_t granules = (range.end - range.begin + granularity - 1) / granularity;
                    smallest = std::min(smallest, granules);
                    largest = std::max(largest, granules);
                }
                REQUIRE(at == n);
                REQUIRE(largest - smallest <= 1);
            }
}

TEST_CASE("run calls every worker once and returns after the last, without allocating") {
    for (int threads : {1, 2, 3, 8})
        for (int64_t spin_ns : {0, 50'000}) {
            ThreadPool pool({.threads = threads, .spin_ns = spin_ns});
            REQUIRE(pool.size() == threads);
            std::vector<int> calls(static_cast<size_t>(threads));
            bool sizes_agree = true;
            long before = n_allocations;
            for (int i = 0; i < 200; ++i)
                pool.run([&](int worker, int n_workers) {
                    ++calls[static_cast<size_t>(worker)];
                    if (n_workers != threads && worker == 0) sizes_agree = false;
                });
            long after = n_allocations;
            CHECK(after == before);
            CHECK(sizes_agree);
            for (int n : calls) CHECK(n == 200);
        }
}

TEST_CASE("worker 0 is the caller, the others are not") {
    ThreadPool pool({.threads = 3});
    std::vector<std::thread::id> ids(3);
    pool.run([&](int worker, int) { ids[static_cast<size_t>(worker)] = std::this_thread::get_id(); });
    CHECK(ids[0] == std::this_thread::get_id());
    CHECK(ids[1] != ids[0]);
    CHECK(ids[2] != ids[0]);
    CHECK(ids[1] != ids[2]);
}

TEST_CASE("stages between barriers see all of the stage before") {
    for (int threads : {1, 2, 5}) {
        ThreadPool pool({.threads = threads, .spin_ns = 10'000});
        constexpr size_t kWidth = 64;
        std::vector<long> a(kWidth, 1), b(kWidth);
        std::atomic<int> wrong{0};
        pool.run([&](int worker, int n_workers) {
            long expected = 1;
            for (int stage = 0; stage < 100; ++stage) {
                const auto [begin, end] = split(kWidth, worker, n_workers, 4);
                // Each value depends on one that another worker wrote.
                for (size_t i = begin; i < end; ++i) b[i] = a[kWidth - 1 - i] + 1;
                pool.barrier();
                for (size_t i = begin; i < end; ++i) a[i] = b[kWidth - 1 - i] + 1;
                pool.barrier();
                expected += 2;
                for (long value : a) wrong += value != expected;
                pool.barrier();
            }
        });
        CHECK(wrong == 0);
    }
}

TEST_CASE("threads that went to sleep wake up") {
    ThreadPool pool({.threads = 2, .spin_ns = 0});
    std::atomic<int> calls{0};
    for (int i = 0; i < 5; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        pool.run([&](int worker, int) { calls += worker; });
    }
    CHECK(calls == 5);
}

TEST_CASE("a const or stateless function can be run") {
    ThreadPool pool({.threads = 2});
    static std::atomic<int> calls{0};
    const auto function = [](int, int) { ++calls; };
    pool.run(function);
    pool.run([](int, int) { ++calls; });
    CHECK(calls == 4);
}

TEST_CASE("options") {
    CHECK(status_of({.threads = -1}) == Status::kInvalidArgument);
    CHECK(status_of({.threads = ThreadPool::kMaxThreads + 1}) == Status::kInvalidArgument);
    CHECK(status_of({.spin_ns = -1}) == Status::kInvalidArgument);
    cpu_set_t set;
    REQUIRE(sched_getaffinity(0, sizeof set, &set) == 0);
    CHECK(ThreadPool().size() == CPU_COUNT(&set));
    int usable = -1, unusable = -1;
    for (int cpu = 0; cpu < 64; ++cpu) (CPU_ISSET(cpu, &set) ? usable : unusable) = cpu;
    if (unusable >= 0)
        CHECK(status_of({.threads = 2, .cpu_mask = uint64_t(1) << unusable}) == Status::kInvalidArgument);
    if (usable >= 0) {
        CHECK(ThreadPool({.cpu_mask = uint64_t(1) << usable}).size() == 1);
        ThreadPool pool({.threads = 3, .cpu_mask = uint64_t(1) << usable});
        std::vector<int> cpus(3, -1);
        pool.run([&](int worker, int) { cpus[static_cast<size_t>(worker)] = sched_getcpu(); });
        CHECK(cpus[1] == usable);
        CHECK(cpus[2] == usable);
    }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they need address space themselves
TEST_CASE("a thread that cannot be started is an error, and those before it end") {
    rlimit stack, space;
    REQUIRE(getrlimit(RLIMIT_AS, &space) == 0);
    REQUIRE(getrlimit(RLIMIT_STACK, &stack) == 0);
    FILE *file = std::fopen("/proc/self/statm", "r");
    REQUIRE(file);
    unsigned long pages = 0;
    REQUIRE(std::fscanf(file, "%lu", &pages) == 1);
    std::fclose(file);
    rlimit tight = space;
    tight.rlim_cur = pages * static_cast<unsigned long>(sysconf(_SC_PAGESIZE)) + (64u << 20);
    REQUIRE(setrlimit(RLIMIT_AS, &tight) == 0);
    Status status = status_of({.threads = 512});
    REQUIRE(setrlimit(RLIMIT_AS, &space) == 0);
    CHECK(status == Status::kOutOfMemory);
    CHECK(status_of({.threads = 4}) == Status::kOk);
}
#endif
