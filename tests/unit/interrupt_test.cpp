// Steps that are cancelled or fail after they have computed everything: the cache and the recurrent state are as
// before.
#include "engine/state.h"
#include "wrapped_backend.h"

#include <functional>

using namespace el;

namespace {

// What happens when a step has written its rows and its state. The status is the step's.
std::function<Status()> at_end_of_step;

class Interrupted final : public WrappedExecutable {
  public:
    Interrupted(std::unique_ptr<Executable> inner, const Program &) : WrappedExecutable(std::move(inner)) {}
    Status run(const Step &step) noexcept override {
        const Status status = WrappedExecutable::run(step);
        return status == Status::kOk && at_end_of_step ? at_end_of_step() : status;
    }
    const char *error() const noexcept override { return "interrupted"; }
};

std::shared_ptr<const Model> load_interrupted(const std::string &name) { return load_wrapped<Interrupted>(name); }

std::vector<std::byte> saved(Context &context) {
    SequenceState state(context, 0);
    std::vector<std::byte> bytes(state.bytes());
    Report report;
    REQUIRE_MESSAGE(state.save_buffer(bytes.data(), bytes.size(), nullptr, report) == Status::kOk, report.text);
    return bytes;
}

std::vector<int32_t> tokens_from(int32_t first, size_t n) {
    std::vector<int32_t> tokens(n);
    for (size_t i = 0; i < n; ++i) tokens[i] = int32_t((uint32_t(first) + i) * 37 % 128);
    return tokens;
}

// Ends the step of some other tokens in the middle; nothing of the sequence may differ afterwards.
void interrupt(Context &context, const std::function<Status()> &how, Status wanted, size_t n) {
    const auto before = saved(context);
    std::vector<int32_t> tokens = tokens_from(7, n), sequences(n, 0);
    Report report;
    at_end_of_step = how;
    const Status status = decode(context, tokens, sequences, report);
    at_end_of_step = nullptr;
    CHECK(status == wanted);
    CHECK(std::string(report.text).find(wanted == Status::kCancelled ? "during the step" : "interrupted") !=
          std::string::npos);
    CHECK(context.n_outputs() == 0);
    CHECK(saved(context) == before);
}

constexpr const char *kModels[] = {"llama", "gemma3", "gpt-oss", "gemma4", "lfm2", "qwen35", "granite-hybrid"};

}  // namespace

TEST_CASE("a step that is cancelled or fails in its middle leaves no trace") {
    for (const char *name : kModels) {
        CAPTURE(name);
        auto model = load_interrupted(name);
        Context context(model, exact()), plain(model, exact());
        const std::pair<std::function<Status()>, Status> ways[] = {
            {[&] { return context.cancel(), Status::kOk; }, Status::kCancelled},
            {[] { return Status::kInternal; }, Status::kInternal},
        };
        int32_t done = 0;
        for (size_t n : {5, 27, 40, 1}) {  // to a page's border and over it
            CAPTURE(done);
            for (const auto &[how, status] : ways)
                for (size_t other : {1, 40}) interrupt(context, how, status, other);
            const auto tokens = tokens_from(done, n);
            CHECK(all_logits(context, tokens, n) == all_logits(plain, tokens, n));
            done += int32_t(n);
        }
    }
}

TEST_CASE("no state that a failed step has overwritten is gone back to") {
    for (const char *name : {"lfm2", "qwen35", "granite-hybrid"}) {
        CAPTURE(name);
        auto model = load_interrupted(name);
        Context context(model, exact()), plain(model, exact());
        Report report;
        all_logits(context, tokens_from(0, 20), 20);
        all_logits(context, tokens_from(20, 5), 5);
        interrupt(
            context, [&] { return context.cancel(), Status::kOk; }, Status::kCancelled, 3);
        CHECK(context.remove(0, 20, INT32_MAX, report) == Status::kUnsupported);
        all_logits(context, tokens_from(25, 5), 5);
        REQUIRE(context.remove(0, 25, INT32_MAX, report) == Status::kOk);  // that step did it
        all_logits(plain, tokens_from(0, 25), 25);
        CHECK(all_logits(context, tokens_from(9, 5), 5) == all_logits(plain, tokens_from(9, 5), 5));
    }
}
