// Generating with a backend that hands over the best tokens of a row.
#include "best_helpers.h"
#include "engine/row.h"
#include "wrapped_backend.h"

using namespace el;

namespace {

int n_rows_fetched = 0;

class Telling final : public WrappedExecutable {
  public:
    Telling(std::unique_ptr<Executable> inner, const Program &program)
        : WrappedExecutable(std::move(inner)), n_vocab_(program.vocab) {}
    const float *logits(uint32_t row) const noexcept override {
        ++n_rows_fetched;
        return WrappedExecutable::logits(row);
    }
    bool best(uint32_t row, size_t n, BestTokens &out) const noexcept override {
        last_ = std::make_unique<BestOfRow>(WrappedExecutable::logits(row), n_vocab_, n);
        out = last_->tokens;
        return true;
    }

  private:
    size_t n_vocab_;
    mutable std::unique_ptr<BestOfRow> last_;
};

struct Heard {
    std::vector<int32_t> tokens, top_tokens;
    std::vector<float> logprobs, top_logprobs;
};

Heard generated(std::shared_ptr<const Model> model, const SamplerOptions &sampling, GenerateOptions options) {
    Context context(std::move(model), exact());
    Sampler sampler(context.model().n_vocab(), sampling);
    Heard heard;
    options.max_tokens = 30;
    options.ignore_end = true;
    options.user = &heard;
    options.callback = [](void *user, const TokenEvent &e) {
        auto &to = *static_cast<Heard *>(user);
        if (e.token < 0) return 0;
        to.tokens.push_back(e.token);
        to.logprobs.push_back(e.logprob);
        to.top_tokens.insert(to.top_tokens.end(), e.top_tokens.begin(), e.top_tokens.end());
        to.top_logprobs.insert(to.top_logprobs.end(), e.top_logprobs.begin(), e.top_logprobs.end());
        return 0;
    };
    GenerateResult result;
    Report report;
    REQUIRE(generate(context, 0, sampler, random_tokens(9), options, result, report) == Status::kOk);
    return heard;
}

}  // namespace

TEST_CASE("generating by the best tokens fetches no row and gives the same") {
    auto plain = load("llama"), telling = load_wrapped<Telling>("llama");
    const SamplerOptions samplings[] = {{.temperature = 0},
                                        {.seed = 7},
                                        {.temperature = 1.5f, .top_k = 0, .top_p = 1, .min_p = 0},
                                        {.mirostat_tau = 3}};
    for (const SamplerOptions &sampling : samplings) {
        for (uint32_t n_top : {0u, 5u, 32u}) {
            GenerateOptions options;
            options.logprobs = n_top > 0;
            options.n_top = n_top;
            const Heard wanted = generated(plain, sampling, options);
            n_rows_fetched = 0;
            const Heard got = generated(telling, sampling, options);
            CHECK(n_rows_fetched == 0);
            CHECK(got.tokens == wanted.tokens);
            CHECK(got.top_tokens == wanted.top_tokens);
            CHECK(got.top_tokens.size() == 30 * n_top);
            for (size_t i = 0; i < wanted.tokens.size(); ++i)
                REQUIRE(got.logprobs[i] == doctest::Approx(wanted.logprobs[i]).epsilon(1e-5));
            for (size_t i = 0; i < wanted.top_logprobs.size(); ++i)
                REQUIRE(got.top_logprobs[i] == doctest::Approx(wanted.top_logprobs[i]).epsilon(1e-5));
        }
    }
}

TEST_CASE("a token that is not among the best has its probability from the row") {
    Context plain(load("llama"), exact()), telling(load_wrapped<Telling>("llama"), exact());
    Report report;
    for (Context *context : {&plain, &telling}) REQUIRE(decode(*context, {1, 2, 3}, {0, 0, 0}, report) == Status::kOk);
    n_rows_fetched = 0;
    for (int32_t token = 0; token < 128; ++token)
        REQUIRE(log_probability_of_row(telling, 0, token, 10) ==
                doctest::Approx(log_probability_of_row(plain, 0, token, 10)).epsilon(1e-5));
    CHECK(n_rows_fetched == 118);
}
