// The C++ interface: what it adds to the C one, which is ownership, exceptions and containers.
#include <doctest/doctest.h>
#include <edgellm/edgellm.hpp>

#include <algorithm>
#include <cstdio>
#include <stdexcept>

using namespace edgellm;

namespace {

constexpr Token kEndOfTurn = 2, kA = 3 + 'a';  // of the tiny model, whose tokens 3 to 258 are the 256 bytes

Sampler always(const Model &model, Token token) {
    return Sampler(model, {.temperature = 0, .logit_bias = {{token, 1e3f}}});
}

edgellm_status status_of(auto call) {
    try {
        call();
    } catch (const Error &error) {
        CHECK(std::string(error.what()) == edgellm_last_error());
        return error.status();
    }
    return EDGELLM_OK;
}

}  // namespace

TEST_CASE("failures are exceptions that carry the status and the sentence") {
    CHECK(status_of([] { Model("/no/such/file"); }) == EDGELLM_IO_ERROR);
    Model model(TINY_MODEL);
    CHECK(status_of([&] { Context(model, {.max_sequences = 0}); }) == EDGELLM_INVALID_ARGUMENT);
    CHECK(status_of([&] { model.detokenize(std::vector<Token>{1000}); }) == EDGELLM_INVALID_ARGUMENT);
    CHECK(status_of([&] { Sampler(model, {.top_p = 7}); }) == EDGELLM_INVALID_ARGUMENT);
}

TEST_CASE("what a model says about itself") {
    CHECK(devices().front().name == std::string("cpu"));
    Model model(TINY_MODEL);
    CHECK(model.info().n_layers == 2);
    CHECK(model.metadata("general.name") == "Tiny");
    CHECK_FALSE(model.metadata("general.nothing"));
    CHECK(model.metadata("tokenizer.ggml.tokens")->size() > 1000);
    CHECK(model.metadata_key(0) == "general.architecture");
    CHECK((model.token_info(kEndOfTurn).flags & EDGELLM_TOKEN_END_OF_TURN));
    Model words(TINY_MODEL, {.vocabulary_only = true});
    CHECK_FALSE((words.info().flags & EDGELLM_MODEL_HAS_WEIGHTS));
}

TEST_CASE("text of any length and any content") {
    Model model(TINY_MODEL);
    std::string text;
    for (int i = 0; i < 3000; ++i) text += static_cast<char>(i * 7);
    std::vector<Token> tokens = model.tokenize(text, EDGELLM_TOKENIZE_NO_BOS);
    CHECK(model.detokenize(tokens) == text);
    CHECK(model.tokenize("").size() == 1);  // BOS
    CHECK(model.detokenize({}).empty());

    std::string odd = "\"quotes\", \\, \n and \x01";
    std::string chat = model.render_chat({{"system", odd}, {"user", std::string(5000, 'x')}});
    CHECK(chat == "<|im_start|>system\n" + odd + "<|im_end|>\n<|im_start|>user\n" + std::string(5000, 'x') +
                      "<|im_end|>\n<|im_start|>assistant\n");
    CHECK(model.render_chat({}, "{\"add_generation_prompt\": false}").empty());

    TextStream stream(model);
    std::string back;
    for (Token token : model.tokenize("h\xc3\xa9llo", EDGELLM_TOKENIZE_NO_BOS)) back += stream.push(token);
    CHECK(back + stream.flush() == "h\xc3\xa9llo");
}

TEST_CASE("decode, logits, top, sample") {
    Model model(TINY_MODEL);
    Context context(model, {.max_sequences = 2, .n_threads = 1});
    const std::vector<Token> tokens = {10, 20, 30};
    context.decode(tokens, 1);
    CHECK(context.sequence_length(1) == 3);
    CHECK(context.sequence_length() == 0);
    auto top = context.top(5);
    REQUIRE(top.size() == 5);
    auto logits = context.logits();
    for (float logit : logits) CHECK(logit <= logits[static_cast<size_t>(top[0].token)]);
    CHECK(context.logprob(top[3].token) == top[3].logprob);
    Sampler greedy(model, {.temperature = 0});
    CHECK(greedy.sample(context) == top[0].token);
    greedy.accept(top[0].token);
    greedy.reset();
    context.sequence_remove(1);
    CHECK(context.sequence_length(1) == 0);
    CHECK_THROWS_WITH(Context(model, {.stream_priority = -1}), doctest::Contains("stream_priority"));  // on the CPU
    CHECK_THROWS_WITH(Context(model, {.cuda_stream = &model}), doctest::Contains("cuda_stream"));
}

TEST_CASE("a memory plan says what a context will take") {
    edgellm::ContextOptions options{.context_tokens = 64, .n_threads = 2};
    edgellm::MemoryPlan plan(TINY_MODEL, {.budget_bytes = 1 << 30}, options);
    const edgellm_memory_summary summary = plan.summary();
    CHECK(summary.budget_bytes == 1 << 30);
    CHECK(summary.flags == EDGELLM_MEMORY_FITS);
    uint64_t sum = 0;
    for (const edgellm_memory_region &region : plan.regions()) sum += region.bytes;
    CHECK(sum == summary.total_bytes);
    edgellm::Context context(edgellm::Model(TINY_MODEL), options);
    CHECK(context.info().memory_bytes == summary.total_bytes - summary.load_peak_bytes);
    CHECK_THROWS_AS(edgellm::Model(TINY_MODEL, {.budget_bytes = 1000}), edgellm::Error);
    CHECK_THROWS_AS(edgellm::MemoryPlan("/no/such/file"), edgellm::Error);
}

TEST_CASE("saved sequences go on") {
    Model model(TINY_MODEL);
    Context context(model, {.max_sequences = 2, .n_threads = 1}), other(model, {.n_threads = 1});
    context.decode(std::vector<Token>{10, 20, 30}, 1);
    const std::vector<std::byte> bytes = context.sequence_save(1);
    const std::string path = TINY_MODEL ".hpp_state";
    context.sequence_save_file(1, path);
    context.decode(std::vector<Token>{40}, 1);
    const std::vector<float> wanted(context.logits().begin(), context.logits().end());
    for (bool file : {false, true}) {
        if (file)
            other.sequence_restore_file(0, path);
        else
            other.sequence_restore(0, bytes);
        CHECK(other.sequence_length() == 3);
        other.decode(std::vector<Token>{40});
        CHECK(std::equal(wanted.begin(), wanted.end(), other.logits().begin()));
    }
    CHECK(std::remove(path.c_str()) == 0);
    CHECK(status_of([&] { other.sequence_restore_file(0, path); }) == EDGELLM_IO_ERROR);
    CHECK(status_of([&] { other.sequence_restore(0, std::span(bytes).first(50)); }) == EDGELLM_FILE_TRUNCATED);
    CHECK(other.sequence_length() == 4);
}

TEST_CASE("generate: lambdas with and without an answer, and ones that throw") {
    Model model(TINY_MODEL);
    Context context(model, {.n_threads = 1});
    Sampler sampler = always(model, kA);
    const std::vector<Token> prompt = {10, 20};

    std::string text;
    auto result = context.generate(sampler, prompt, [&](const TokenEvent &e) { text += e.text; }, {.max_tokens = 4});
    CHECK(text == "aaaa");
    CHECK(result.stop_reason == EDGELLM_STOP_LENGTH);
    result = context.generate(sampler, prompt, [](const TokenEvent &e) { return e.n_generated < 3; });
    CHECK(result.stop_reason == EDGELLM_STOP_CALLBACK);
    CHECK(result.n_generated == 3);
    auto has_top = [](const TokenEvent &e) {
        CHECK(e.logprob < 0);
        CHECK(e.top_tokens.size() == 2);
        CHECK(e.top_logprobs[1] <= e.top_logprobs[0]);
    };
    context.generate(sampler, prompt, has_top, {.max_tokens = 1, .n_top = 2});
    context.generate(sampler, prompt, [](const TokenEvent &e) { CHECK(e.logprob < 0); },
                     {.max_tokens = 1, .logprobs = true});
    result = context.generate(sampler, prompt, [](const TokenEvent &) {}, {.stop_strings = {"b", "aa"}});
    CHECK(result.stop_reason == EDGELLM_STOP_STRING);
    CHECK(result.stop_string == 1);

    auto throws = [](const TokenEvent &) { throw std::runtime_error("enough"); };
    CHECK_THROWS_WITH_AS(context.generate(sampler, prompt, throws), "enough", std::runtime_error);
    result = context.generate(sampler, prompt, [&](const TokenEvent &) { context.cancel(); });
    CHECK(result.stop_reason == EDGELLM_STOP_CANCELLED);
    result = context.generate(sampler, prompt, [](const TokenEvent &) {});
    CHECK(result.stop_reason == EDGELLM_STOP_CONTEXT_FULL);
}

TEST_CASE("the options of samplers reach them, and the defaults are those of the C interface") {
    Model model(TINY_MODEL);
    Context context(model, {.n_threads = 1});
    context.decode(std::vector<Token>{10});
    const edgellm_sampler_options c = EDGELLM_SAMPLER_OPTIONS_INIT;
    const SamplerOptions cpp;
    CHECK(cpp.temperature == c.temperature);
    CHECK(cpp.top_k == c.top_k);
    CHECK(cpp.top_p == c.top_p);
    CHECK(cpp.min_p == c.min_p);
    CHECK(cpp.typical_p == c.typical_p);
    CHECK(cpp.top_n_sigma == c.top_n_sigma);
    CHECK(cpp.repetition_penalty == c.repetition_penalty);
    CHECK(cpp.penalty_last_n == c.penalty_last_n);
    CHECK(cpp.xtc_probability == c.xtc_probability);
    CHECK(cpp.xtc_threshold == c.xtc_threshold);
    CHECK(cpp.dynatemp_range == c.dynatemp_range);
    CHECK(cpp.dynatemp_exponent == c.dynatemp_exponent);
    CHECK(cpp.mirostat_tau == c.mirostat_tau);
    CHECK(cpp.mirostat_eta == c.mirostat_eta);
    CHECK(cpp.dry_multiplier == c.dry_multiplier);
    CHECK(cpp.dry_base == c.dry_base);
    CHECK(cpp.dry_allowed_length == c.dry_allowed_length);
    CHECK(cpp.dry_penalty_last_n == c.dry_penalty_last_n);

    auto refused = [&](const SamplerOptions &options, const char *name) {
        CHECK(status_of([&] { Sampler(model, options); }) == EDGELLM_INVALID_ARGUMENT);
        CHECK(std::string(edgellm_last_error()).find(name) != std::string::npos);
    };
    refused({.typical_p = 2}, "typical_p");
    refused({.top_n_sigma = -1}, "top_n_sigma");
    refused({.xtc_probability = 2}, "xtc_probability");
    refused({.dynatemp_range = -1}, "dynatemp_range");
    refused({.mirostat_tau = -1}, "mirostat_tau");
    refused({.dry_base = 0}, "dry_base");
    refused({.stages = "top_k,nothing"}, "stages");
    refused({.dry_multiplier = 1, .dry_breakers = {{""}}}, "dry_breakers");
    for (bool breaks : {false, true}) {
        SamplerOptions options = {.temperature = 0, .dry_multiplier = 1e4f, .logit_bias = {{kA, 1e3f}}};
        options.dry_breakers.emplace();
        if (breaks) options.dry_breakers->push_back("y");
        Sampler sampler(model, options);
        for (char c : std::string("xyaxy")) sampler.accept(3 + c);
        CHECK((sampler.sample(context) == kA) == breaks);
    }
}

TEST_CASE("callbacks of the load: progress, and logs that live as long as a context") {
    int calls = 0;
    std::vector<std::string> logs;
    ModelOptions options;
    options.log = [&](edgellm_log_level, std::string_view text) { logs.emplace_back(text); };
    options.log_level = EDGELLM_LOG_DEBUG;
    options.progress = [&](uint64_t done, uint64_t total) { return ++calls, done <= total; };
    auto context = [&] { return Context(Model(TINY_MODEL, options), {.n_threads = 1}); }();
    CHECK(calls >= 2);
    context.decode(std::vector<Token>{10});
    options.progress = [](uint64_t, uint64_t) { return false; };
    CHECK(status_of([&] { Model(TINY_MODEL, options); }) == EDGELLM_CANCELLED);
    options.progress = [](uint64_t, uint64_t) -> bool { throw std::logic_error("no"); };
    CHECK_THROWS_AS(Model(TINY_MODEL, options), std::logic_error);
}

TEST_CASE("objects move and do not copy") {
    static_assert(!std::is_copy_constructible_v<Model> && !std::is_copy_assignable_v<Context>);
    static_assert(!std::is_copy_constructible_v<Sampler> && !std::is_copy_constructible_v<TextStream>);
    static_assert(std::is_nothrow_move_constructible_v<Model> && std::is_nothrow_move_assignable_v<Context>);
    Model model(TINY_MODEL);
    Context context(model, {.n_threads = 1});
    Context moved = std::move(context);
    CHECK(context.get() == nullptr);
    moved = Context(model, {.context_tokens = 64, .n_threads = 1});
    CHECK(moved.info().context_tokens == 64);
}
