// A step whose stages are timed.
#include "profile.h"

#include "executable.h"
#include "step.h"

#include <cstdio>

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define EL_NVTX 1
#else
#define EL_NVTX 0
#endif

namespace el::cuda {

StageMarks::StageMarks(const Program &program, cudaStream_t stream)
    : program_(program), stream_(stream), events_(program.ops.size() + 1) {
    spans_.reserve(program.ops.size());
}

void StageMarks::record(const Event &event) const {
    check(captured_ ? cudaEventRecordWithFlags(event, stream_, cudaEventRecordExternal)
                    : cudaEventRecord(event, stream_),
          "timing a stage");
}

void StageMarks::start() {
    cudaStreamCaptureStatus status;
    check(cudaStreamIsCapturing(stream_, &status), "timing a stage");
    captured_ = status == cudaStreamCaptureStatusActive;
    spans_.clear();
    record(events_[0]);
}

void StageMarks::mark(uint32_t begin, uint32_t end) {
    spans_.push_back({begin, end, 0});
    record(events_[spans_.size()]);
}

size_t StageMarks::read(StageSpan *spans) const {
    for (size_t i = 0; i < spans_.size(); ++i) {
        spans[i] = spans_[i];
        spans[i].seconds = Event::seconds(events_[i], events_[i + 1]);
    }
    return spans_.size();
}

void StageMarks::open_range(uint32_t begin, uint32_t end) const {
#if EL_NVTX
    char name[200];  // a longer one is cut
    int n = std::snprintf(name, sizeof name, "layer %d:", program_.ops[begin].layer);
    for (uint32_t i = begin; i < end && n < int(sizeof name); ++i)
        n += std::snprintf(name + n, sizeof name - size_t(n), " %s", op_name(program_.ops[i].kind));
    nvtxRangePushA(name);
#else
    (void)begin, (void)end;
#endif
}

void StageMarks::close_range() {
#if EL_NVTX
    nvtxRangePop();
#endif
}

// First launch by launch, so that Nsight sees the ranges. Steps of few tokens are then captured with their events and
// timed so, as the CPU would not keep up with their launches. A step may be repeated: it writes the same rows.
size_t Executable::profile(const Step &step, StepEvents events, StageSpan *spans) {
    struct InUse {
        StageMarks *&place;
        InUse(StageMarks *&place_, StageMarks *marks) : place(place_) { place = marks; }
        InUse(const InUse &) = delete;
        ~InUse() { place = nullptr; }
    };
    StageMarks marks(program, stream);
    const InUse in_use(marks_, &marks);
    try {
        wait_for(events);
        n_rows_ = 0;
        selected_ = {};
        const Captured *captured = captured_for(step);
        Step host;
        fill(host, step, captured ? captured->tokens : 0);
        send_tables(step);
        launch_all(host);
        check(cudaStreamSynchronize(stream), "running a step");
        if (captured) {
            const Graph graph = ready(record([&] { launch_all(host); }));
            check(cudaGraphLaunch(graph, stream), "starting a step");
            check(cudaStreamSynchronize(stream), "running a step");
        }
        settle_step(events);
        has_rows(step.n_outputs);
        return marks.read(spans);
    } catch (...) {
        tables_sent_ = false;
        cudaStreamSynchronize(stream);  // what was started still reads host_step
        throw;
    }
}

}  // namespace el::cuda
