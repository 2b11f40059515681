// Clocks for backends that run on the CPU.
#pragma once
#include "backend/backend.h"

#include <chrono>

namespace el {

// Times the stages of a step at the barriers between them. Without a place for the times it does nothing.
class StageClock {
  public:
    explicit StageClock(std::vector<StageTime> *times = nullptr) : times_(times) {}
    void start() noexcept {
        if (!times_) return;
        for (StageTime &t : *times_) t.seconds = 0;
        last_ = Clock::now();
    }
    void stop(size_t stage) noexcept {
        if (!times_) return;
        const Clock::time_point now = Clock::now();
        (*times_)[stage].seconds = std::chrono::duration<double>(now - last_).count();
        last_ = now;
    }

  private:
    using Clock = std::chrono::steady_clock;
    std::vector<StageTime> *times_;
    Clock::time_point last_;
};

// Bytes per second that all workers together read from memory.
double measure_read_rate(ThreadPool &pool);

// How often per second the workers together can call function(worker), each on its own.
template <typename Function> double measure_call_rate(ThreadPool &pool, Function function) {
    constexpr double kSeconds = 0.05;
    std::vector<double> rates(size_t(pool.size()));
    pool.run([&](int worker, int) noexcept {
        using Clock = std::chrono::steady_clock;
        const Clock::time_point begin = Clock::now();
        double seconds = 0, calls = 0;
        while (seconds < kSeconds) {
            for (int i = 0; i < 16; ++i) function(worker);
            calls += 16;
            seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        }
        rates[size_t(worker)] = calls / seconds;
    });
    return std::accumulate(rates.begin(), rates.end(), 0.0);
}

}  // namespace el
