// How much memory a model and its contexts may take together.
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace el {

// A part of memory that the plan knows.
struct PlannedRegion {
    std::string device, name;
    uint64_t bytes = 0;
    bool load_only = false;              // given back when the model is loaded
    uint64_t row_bytes = 0, n_rows = 0;  // of a cache group; bytes is their product. 0: another region
    bool own_memory = false;             // of a device that shares none with the CPU: no part of the budget
    bool in_arena = true;                // of a context: in its arena; false: the backend allocates it itself
};

uint64_t all_bytes(std::span<const PlannedRegion> regions);  // on all devices
// That the budget bounds, or with `own` of a device's own memory.
uint64_t peak_bytes(std::span<const PlannedRegion> regions, bool own = false);
uint64_t resident_bytes(std::span<const PlannedRegion> regions, bool own = false);  // without those that are load_only

// Bytes that may be taken: of the budget, and of a device's own memory.
struct Room {
    uint64_t budget = 0, device = UINT64_MAX;
    bool holds(std::span<const PlannedRegion> regions) const {
        return peak_bytes(regions) <= budget && peak_bytes(regions, true) <= device;
    }
};

// What the system and the control groups have available at the time, less a reserve.
constexpr uint64_t kBudgetAvailable = UINT64_MAX;

class Budget {
  public:
    explicit Budget(uint64_t limit_bytes) : limit_(limit_bytes) {}
    Budget(const Budget &) = delete;
    Budget &operator=(const Budget &) = delete;
    uint64_t available() const { return available_besides(0); }
    // Held while memory is claimed, compared and allocated, so that contexts made at the same time see each other.
    std::unique_lock<std::mutex> exclusive() { return std::unique_lock(mutex_); }

  private:
    friend class BudgetClaim;
    uint64_t available_besides(uint64_t own_claim) const;

    const uint64_t limit_;
    std::atomic<uint64_t> claimed_{0};
    std::mutex mutex_;
};

// Bytes of a budget, for as long as it lives. They are claimed before what they are for is allocated, and may be more
// than there is: compare with available().
class BudgetClaim {
  public:
    BudgetClaim() = default;
    BudgetClaim(Budget &budget, uint64_t bytes) noexcept : budget_(&budget), bytes_(bytes) { budget.claimed_ += bytes; }
    BudgetClaim(BudgetClaim &&other) noexcept : budget_(std::exchange(other.budget_, nullptr)), bytes_(other.bytes_) {}
    BudgetClaim &operator=(BudgetClaim &&other) noexcept {
        std::swap(budget_, other.budget_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~BudgetClaim() {
        if (budget_) budget_->claimed_ -= bytes_;
    }
    uint64_t available() const { return budget_->available_besides(bytes_); }

  private:
    Budget *budget_ = nullptr;  // outlives this
    uint64_t bytes_ = 0;
};

// Throws kOutOfMemory, naming the first region for which there is no room after those before it. `room` does not hold
// them all.
[[noreturn]] void refuse(std::span<const PlannedRegion> regions, const Room &room, std::string_view what,
                         std::string_view advice);

}  // namespace el
