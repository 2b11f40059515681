#include "base/thread_pool.h"
#include "base/cpu_info.h"
#include "base/status.h"
#include <algorithm>
#include <bit>
#include <chrono>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <system_error>

namespace el {
namespace {

void pause_cpu() noexcept {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb" ::: "memory");  // waits some tens of cycles; `yield` is a no-op on most cores
#endif
}

// Waits for another worker: it is expected within microseconds, but with fewer CPUs than workers it may be waiting
// for this very CPU, so that after a while the wait yields.
template <typename Done> void spin_until(Done done) noexcept {
    for (int i = 0; !done(); ++i) {
        if (i < 2000) {
            pause_cpu();
        } else {
            i = 2000;
            sched_yield();
        }
    }
}

constexpr int64_t kMostSpinNs = 3'600'000'000'000;  // an hour is for ever, and the sum with a time fits

cpu_set_t cpus_of_mask(uint64_t mask) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (; mask; mask &= mask - 1) CPU_SET(static_cast<size_t>(std::countr_zero(mask)), &set);
    return set;
}

// Threads inherit the mask: the program's signal handlers are to run on the program's own threads.
struct SignalsBlocked {
    sigset_t before;
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
};

}  // namespace

int ThreadPool::size_for(const ThreadPoolOptions &options) {
    if (options.threads < 0 || options.threads > kMaxThreads)
        fail(Status::kInvalidArgument, "threads is {}; it must be 0 (choose) to {}", options.threads, kMaxThreads);
    if (options.spin_ns < 0) fail(Status::kInvalidArgument, "spin_ns is {}; it must not be negative", options.spin_ns);
    std::vector<int> usable = usable_cpus();
    if (options.cpu_mask) {
        std::erase_if(usable, [&](int cpu) { return cpu >= 64 || !(options.cpu_mask >> cpu & 1); });
        if (usable.empty())
            fail(Status::kInvalidArgument, "cpu_mask {:#x} names no CPU that this process may use", options.cpu_mask);
    }
    return options.threads ? options.threads : std::clamp(count_cores(usable), 1, kMaxThreads);
}

ThreadPool::ThreadPool(const ThreadPoolOptions &options)
    : size_(size_for(options)), spin_ns_(std::min(options.spin_ns, kMostSpinNs)) {
    threads_.reserve(static_cast<size_t>(size_ - 1));
    try {
        start_threads(options);
    } catch (const std::system_error &error) {
        size_t started = threads_.size();
        stop();
        fail(Status::kOutOfMemory, "cannot start thread {} of {} (error {}); ask for fewer threads", started + 2, size_,
             error.code().value());
    } catch (...) {
        stop();
        throw;
    }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::start_threads(const ThreadPoolOptions &options) {
    SignalsBlocked blocked;
    cpu_set_t wanted = cpus_of_mask(options.cpu_mask);
    for (int worker = 1; worker < size_; ++worker) {
        std::thread &thread = threads_.emplace_back([this, worker] { work(worker); });
        pthread_setname_np(thread.native_handle(), "edgellm");
        if (!options.cpu_mask) continue;
        if (pthread_setaffinity_np(thread.native_handle(), sizeof wanted, &wanted) != 0)
            fail(Status::kInvalidArgument, "cpu_mask {:#x} is refused by the system", options.cpu_mask);
    }
}

void ThreadPool::stop() noexcept {
    publish(nullptr, nullptr);
    for (std::thread &thread : threads_) thread.join();
    threads_.clear();
}

void ThreadPool::publish(RawFunction function, void *context) noexcept {
    function_ = function;
    context_ = context;
    running_.store(size_ - 1, std::memory_order_relaxed);
    // Wraps after 2^32 jobs, which is harmless: threads compare for inequality. On Linux wait and notify on an int are
    // a futex and a static table: no allocation.
    job_.fetch_add(1, std::memory_order_seq_cst);
    job_.notify_all();
}

void ThreadPool::run_raw(RawFunction function, void *context) noexcept {
    if (size_ == 1) return function(context, 0, 1);
    publish(function, context);
    function(context, 0, size_);
    spin_until([this] { return running_.load(std::memory_order_acquire) == 0; });
}

int ThreadPool::wait_for_job(int seen) noexcept {
    using Clock = std::chrono::steady_clock;
    auto until = Clock::now() + std::chrono::nanoseconds(spin_ns_);
    do {
        for (int i = 0; i < 64; ++i) {
            int job = job_.load(std::memory_order_acquire);
            if (job != seen) return job;
            pause_cpu();
        }
    } while (Clock::now() < until);
    job_.wait(seen, std::memory_order_acquire);
    return job_.load(std::memory_order_acquire);
}

void ThreadPool::work(int worker) noexcept {
    for (int seen = 0;;) {
        seen = wait_for_job(seen);
        if (!function_) return;
        function_(context_, worker, size_);
        running_.fetch_sub(1, std::memory_order_release);
    }
}

void ThreadPool::barrier() noexcept {
    // Sense-reversing barrier (Mellor-Crummey and Scott, 1991), the sense being a counter: it is read before arriving,
    // and cannot change until this worker has arrived.
    unsigned phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
        arrived_.store(0, std::memory_order_relaxed);
        phase_.store(phase + 1, std::memory_order_release);
    } else {
        spin_until([&] { return phase_.load(std::memory_order_acquire) != phase; });
    }
}

}  // namespace el
