// A fixed set of threads that executes a whole program of stages in one call.
//
//     pool.run([&](int worker, int n_workers) {
//         for (const Stage &stage : stages) {
//             stage.execute(split(stage.n_rows, worker, n_workers));
//             pool.barrier();
//         }
//     });
//
// The caller is worker 0, so a pool of one has no thread of its own. After construction nothing allocates and nothing
// throws. `run` is called by one thread at a time and not from inside a run.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace el {

struct ThreadPoolOptions {
    int threads = 0;        // with the caller; 0: as many as physical cores that the process (and cpu_mask) may use
    uint64_t cpu_mask = 0;  // bit i: the pool's own threads may run on CPU i; 0: wherever. The caller's is not moved
    int64_t spin_ns = 200'000;  // how long a thread without work looks for more before it sleeps
};

struct SplitRange {
    size_t begin, end;
};

// The part of [0, n) that belongs to `worker`: contiguous, multiples of granularity (but at the end), differing by at
// most one granule between workers.
constexpr SplitRange split(size_t n, int worker, int n_workers, size_t granularity = 1) {
    size_t granules = n / granularity + (n % granularity != 0);
    size_t each = granules / static_cast<size_t>(n_workers), rest = granules % static_cast<size_t>(n_workers);
    auto start = [&](size_t w) {
        size_t granule = each * w + (w < rest ? w : rest);
        return granule >= granules ? n : granule * granularity;
    };
    return {start(static_cast<size_t>(worker)), start(static_cast<size_t>(worker) + 1)};
}

class ThreadPool {
  public:
    static constexpr int kMaxThreads = 1024;

    // Throws Error: kInvalidArgument (names the option), kOutOfMemory (a thread cannot be started).
    explicit ThreadPool(const ThreadPoolOptions &options = {});
    ~ThreadPool();
    ThreadPool(const ThreadPool &) = delete;
    ThreadPool &operator=(const ThreadPool &) = delete;

    int size() const noexcept { return size_; }
    // That of a pool with these options. Throws kInvalidArgument as the constructor does.
    static int size_for(const ThreadPoolOptions &options);

    // Calls fn(worker, n_workers) once on every worker and returns when all have returned. fn must not throw.
    template <typename Fn> void run(Fn &&fn) noexcept {
        using Function = std::remove_reference_t<Fn>;
        Function *target = std::addressof(fn);
        run_raw([](void *context, int worker, int n) noexcept { (**static_cast<Function **>(context))(worker, n); },
                &target);
    }

    // Inside a run: returns when every worker has called it as often as this one. What was written before it is seen
    // after it by all.
    void barrier() noexcept;

  private:
    using RawFunction = void (*)(void *context, int worker, int n_workers) noexcept;

    void start_threads(const ThreadPoolOptions &options);
    void run_raw(RawFunction function, void *context) noexcept;
    void publish(RawFunction function, void *context) noexcept;
    void work(int worker) noexcept;
    void stop() noexcept;
    int wait_for_job(int seen) noexcept;

    int size_ = 1;
    int64_t spin_ns_ = 0;
    std::vector<std::thread> threads_;  // workers 1..size-1
    RawFunction function_ = nullptr;    // of the job under way; null tells the threads to end
    void *context_ = nullptr;
    // On lines of their own, as each is polled while the others are written.
    alignas(64) std::atomic<int> job_{0};         // changes with each job
    alignas(64) std::atomic<int> running_{0};     // threads that have not yet finished the job
    alignas(64) std::atomic<int> arrived_{0};     // workers waiting in the barrier
    alignas(64) std::atomic<unsigned> phase_{0};  // changes when the barrier opens
};

}  // namespace el
