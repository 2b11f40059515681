// What times the stages of a step: an event after each, and NVTX ranges around what it launches, which Nsight shows.
#pragma once
#include "backend/cuda/interface.h"
#include "device.h"

#include <vector>

namespace el::cuda {

class Event {
  public:
    Event() { check(cudaEventCreate(&event_), "making an event"); }
    Event(Event &&other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
    ~Event() {
        if (event_) cudaEventDestroy(event_);
    }
    operator cudaEvent_t() const { return event_; }
    static double seconds(const Event &from, const Event &to) {
        float ms = 0;
        check(cudaEventElapsedTime(&ms, from, to), "reading a time");
        return double(ms) / 1000;
    }

  private:
    cudaEvent_t event_ = nullptr;
};

class StageMarks {
  public:
    StageMarks(const Program &program, cudaStream_t stream);
    // Forgets what was marked. If the stream is being captured, marks become nodes of the graph.
    void start();
    void mark(uint32_t begin, uint32_t end);
    // Of each mark; the stream has come to its end.
    size_t read(StageSpan *spans) const;

    void open_range(uint32_t begin, uint32_t end) const;
    static void close_range();

  private:
    void record(const Event &event) const;

    const Program &program_;
    cudaStream_t stream_;
    bool captured_ = false;
    std::vector<Event> events_;  // one before the first stage, and one after each
    std::vector<StageSpan> spans_;
};

// Around the launches of ops [begin, end). Without marks it does nothing.
class StageRange {
  public:
    StageRange(StageMarks *marks, uint32_t begin, uint32_t end) : marks_(marks), begin_(begin), end_(end) {
        if (marks_) marks_->open_range(begin, end);
    }
    StageRange(const StageRange &) = delete;
    ~StageRange() {
        if (marks_) StageMarks::close_range();
    }
    bool done() const {
        if (marks_) marks_->mark(begin_, end_);
        return true;
    }

  private:
    StageMarks *marks_;
    uint32_t begin_, end_;
};

}  // namespace el::cuda
