// The caller's stream, priority and events: what is sent where, and in which order.
#include "life.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <string>

namespace {

// A stream or an event of the caller.
class Handle {
  public:
    explicit Handle(void *handle) : handle_(handle) {}
    Handle(const Handle &) = delete;
    ~Handle() { fake_cuda().free_handle(handle_); }
    operator void *() const { return handle_; }

  private:
    void *handle_;
};

std::vector<FakeCuda::Call> recorded() { return {fake_cuda().record, fake_cuda().record + fake_cuda().n_recorded}; }

std::vector<std::string> names_on(const void *stream) {
    std::vector<std::string> names;
    for (const FakeCuda::Call &call : recorded())
        if (call.stream == stream) names.push_back(call.name);
    return names;
}

// Calls that are given a stream at all.
size_t n_on_other_streams(const void *stream) {
    size_t n = 0;
    for (const FakeCuda::Call &call : recorded()) n += call.stream && call.stream != stream;
    return n;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("steps go to the caller's stream, between his events") {
    FakeCuda &fake = fake_cuda();
    const Handle stream(fake.make_stream()), ready(fake.make_event()), done(fake.make_event());
    {
        Life life;
        life.options.cuda_stream = stream;
        REQUIRE_MESSAGE(life.load(), std::string(life.error));
        REQUIRE(life.create());
        edgellm_decode_options how = EDGELLM_DECODE_OPTIONS_INIT;
        how.wait_event = ready;
        how.done_event = done;

        fake.n_recorded = 0;
        REQUIRE(life.decode(1, 0, &how));
        CHECK(names_on(stream) ==
              Names{"cudaStreamWaitEvent", "cudaGraphLaunch", "cudaEventRecord", "cudaStreamSynchronize"});
        CHECK(n_on_other_streams(stream) == 0);

        // A prompt, with cuBLAS; and without events, none of the step before.
        fake.n_recorded = 0;
        REQUIRE(life.decode(Life::kPrompt));
        const Names prompt = names_on(stream);
        CHECK(prompt.front() == "cudaMemcpyAsync");
        CHECK(prompt.back() == "cudaStreamSynchronize");
        CHECK(prompt.size() > 10);
        CHECK(std::count(prompt.begin(), prompt.end(), "cudaStreamWaitEvent") == 0);
        CHECK(std::count(prompt.begin(), prompt.end(), "cudaEventRecord") == 0);
        CHECK(n_on_other_streams(stream) == 0);

        fake.n_recorded = 0;
        REQUIRE(life.use());
        CHECK(n_on_other_streams(stream) == 0);
    }
    CHECK(fake.live_handles == 3);  // the caller's are left alone
}

TEST_CASE("loading uses one stream of its own, and neither the default one nor all of the GPU") {
    FakeCuda &fake = fake_cuda();
    Life life;
    fake.n_recorded = 0;
    REQUIRE_MESSAGE(life.load(), std::string(life.error));
    REQUIRE(fake.n_recorded < FakeCuda::kRecorded);
    const void *stream = nullptr;
    int copies = 0, packed = 0;
    for (const FakeCuda::Call &call : recorded()) {
        const std::string name = call.name;
        CHECK(name != "cudaMemcpy");
        CHECK(name != "cudaMemset");
        CHECK(name != "cudaDeviceSynchronize");
        copies += name == "cudaMemcpyAsync";
        packed += name == "cudaLaunchKernel";
        if (name != "cudaMemcpyAsync" && name != "cudaMemsetAsync" && name != "cudaLaunchKernel") continue;
        if (!stream) stream = call.stream;
        CHECK(call.stream);
        CHECK(call.stream == stream);
    }
    CHECK(copies > 10);
    CHECK(packed > 2);
    const Names names = names_on(stream);
    for (size_t i = 0; i < names.size(); ++i)  // the memory that was copied from is used again
        if (names[i] == "cudaMemcpyAsync") REQUIRE(names.at(i + 1) == "cudaStreamSynchronize");
}

TEST_CASE("nothing is captured on the caller's stream, which others may use meanwhile") {
    FakeCuda &fake = fake_cuda();
    const Handle stream(fake.make_stream());
    Life life;
    life.options.cuda_stream = stream;
    REQUIRE_MESSAGE(life.load(), std::string(life.error));
    fake.n_recorded = 0;
    REQUIRE(life.create());
    const Names names = names_on(stream);
    for (const std::string &name : names) CHECK((name == "cudaStreamGetFlags" || name == "cublasSetStream"));
}

TEST_CASE("the own stream has the priority that was asked for, as far as there is one") {
    FakeCuda &fake = fake_cuda();
    for (const auto &[asked, given] : {std::pair(0, 0), std::pair(-2, -2), std::pair(-100, -5), std::pair(7, 0)}) {
        Life life;
        life.options.stream_priority = asked;
        REQUIRE_MESSAGE(life.load(), std::string(life.error));
        fake.n_recorded = 0;
        REQUIRE(life.create());
        int made = 0;
        for (const FakeCuda::Call &call : recorded()) {
            if (call.name != std::string("cudaStreamCreateWithPriority")) continue;
            ++made;
            CHECK(reinterpret_cast<intptr_t>(call.stream) == given);
        }
        CHECK(made == 1);
    }
}

TEST_CASE("what makes no sense is refused") {
    FakeCuda &fake = fake_cuda();
    const Handle stream(fake.make_stream()), event(fake.make_event());
    Life both, cpu("cpu");
    both.options.cuda_stream = stream;
    both.options.stream_priority = -1;
    REQUIRE(both.load());
    CHECK(!both.create());
    CHECK(both.status == EDGELLM_INVALID_ARGUMENT);
    CHECK(std::strstr(both.error, "stream_priority"));

    REQUIRE(cpu.load());
    cpu.options.cuda_stream = stream;
    CHECK(!cpu.create());
    CHECK(cpu.status == EDGELLM_UNSUPPORTED);
    CHECK(std::strstr(cpu.error, "cuda_stream"));
    cpu.options.cuda_stream = nullptr;
    cpu.options.stream_priority = -1;
    CHECK(!cpu.create());
    CHECK(cpu.status == EDGELLM_UNSUPPORTED);
    cpu.options.stream_priority = 0;
    REQUIRE(cpu.create());
    for (void *edgellm_decode_options::*member :
         {&edgellm_decode_options::wait_event, &edgellm_decode_options::done_event}) {
        edgellm_decode_options how = EDGELLM_DECODE_OPTIONS_INIT;
        how.*member = event;
        CHECK(!cpu.decode(1, 0, &how));
        CHECK(cpu.status == EDGELLM_UNSUPPORTED);
        CHECK(std::strstr(cpu.error, "wait_event"));
    }
    CHECK(cpu.decode(1));
}

TEST_CASE("programs that know neither streams nor events go on as before") {
    Life life;
    REQUIRE_MESSAGE(life.load(), std::string(life.error));
    life.options.struct_size = offsetof(edgellm_context_options, cuda_stream);
    REQUIRE(life.done(edgellm_context_create(life.model, &life.options, &life.context)));
    edgellm_decode_options how = EDGELLM_DECODE_OPTIONS_INIT;
    how.struct_size = offsetof(edgellm_decode_options, wait_event);
    how.wait_event = how.done_event = &how;  // bytes that are not the struct's
    CHECK(life.decode(1, 0, &how));
}
