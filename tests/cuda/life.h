// A model on the (fake) GPU, a context and what is done with them, in steps that stop at the first failure.
#pragma once
#include "fake_cuda.h"

#include "api/guard.h"
#include "api/handles.h"
#include "backend/backend.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <edgellm/edgellm.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

// Where the tests were built, or where the environment says.
inline const char *path_of(const char *variable, const char *built) {
    const char *given = std::getenv(variable);
    return given ? given : built;
}
inline const char *const kModulePath = path_of("EDGELLM_TEST_MODULE", CUDA_TEST_MODULE);
inline const char *const kModelPath = path_of("EDGELLM_TEST_MODEL", TINY_MODEL);

// The state of the runtime that the module is linked with; it is loaded by this.
inline FakeCuda &fake_cuda() {
    static FakeCuda *const fake = [] {
        setenv("EDGELLM_CUDA_MODULE", kModulePath, 1);
        void *library = dlopen(kModulePath, RTLD_NOW | RTLD_LOCAL);
        const auto function = library ? reinterpret_cast<FakeCudaFunction>(dlsym(library, kFakeCudaName)) : nullptr;
        if (!function) std::fprintf(stderr, "%s\n", dlerror()), std::exit(1);
        return function();
    }();
    return *fake;
}

// The k-th allocation from now on finds no memory left.
inline void fail_allocation(int64_t k) {
    FakeCuda &cuda = fake_cuda();
    cuda.allocations = 0;
    cuda.fail_allocation_at = k;
    cuda.refused = false;
}

// A sentence has these words.
inline bool contains(const char *text, const char *words) { return std::strstr(text, words) != nullptr; }

// Runs `body` in a child process, as a lost device stays lost. Returns what it returned; 99: it crashed.
template <typename Body> int in_child(Body body) {
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) _exit(body());
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

class Life {
  public:
    static constexpr int32_t kPrompt = 20;

    explicit Life(const char *device = "cuda") : device_(device) {
        fake_cuda();
        options.n_threads = 1;
        options.context_tokens = 128;
        options.max_batch_tokens = 32;
        options.max_sequences = 2;
        sampling.temperature = 0;
    }
    ~Life() { free(); }
    Life(const Life &) = delete;

    edgellm_model *model = nullptr;
    edgellm_context *context = nullptr;
    edgellm_sampler *sampler = nullptr;
    edgellm_status status = EDGELLM_OK;
    char error[512] = "";
    edgellm_context_options options = EDGELLM_CONTEXT_OPTIONS_INIT;
    edgellm_sampler_options sampling = EDGELLM_SAMPLER_OPTIONS_INIT;  // greedy
    std::string path = kModelPath;

    void free() {
        edgellm_model_free(model);
        edgellm_context_free(context);
        edgellm_sampler_free(sampler);
        model = nullptr;
        context = nullptr;
        sampler = nullptr;
    }
    // Keeps the sentence of a failure, which `again` may try to make good.
    bool done(edgellm_status result) {
        status = result;
        if (status != EDGELLM_OK) std::snprintf(error, sizeof error, "%s", edgellm_last_error());
        return status == EDGELLM_OK;
    }

    bool load() {
        edgellm_model_options how = EDGELLM_MODEL_OPTIONS_INIT;
        how.device = device_;
        return done(edgellm_model_load(path.c_str(), &how, &model));
    }
    bool create() {
        return done(edgellm_context_create(model, &options, &context)) &&
               done(edgellm_sampler_create(model, &sampling, &sampler));
    }
    // n tokens of so many sequences, by turns.
    bool decode(int32_t n, edgellm_sequence sequence = 0, const edgellm_decode_options *how = nullptr,
                int32_t n_sequences = 1) {
        edgellm_token tokens[kPrompt];
        edgellm_sequence sequences[kPrompt];
        for (int32_t i = 0; i < n; ++i) tokens[i] = 10 + i, sequences[i] = sequence + i % n_sequences;
        edgellm_batch batch = EDGELLM_BATCH_INIT;
        batch.n_tokens = n;
        batch.tokens = tokens;
        batch.sequences = sequences;
        return done(edgellm_context_decode(context, &batch, how, nullptr));
    }
    bool generate(int32_t n) {
        edgellm_generate_options how = EDGELLM_GENERATE_OPTIONS_INIT;
        how.max_tokens = n;
        how.flags = EDGELLM_GENERATE_IGNORE_END;
        const edgellm_token prompt[] = {5, 6, 7};
        return done(edgellm_context_generate(context, 0, sampler, prompt, 3, &how, nullptr, nullptr, nullptr));
    }
    // A prompt, an answer, and what is done to sequences between steps.
    bool use() {
        static std::vector<char> saved;
        size_t n = 0;
        edgellm_token token = 0;
        float logprob = 0;
        return decode(kPrompt) && done(edgellm_context_get_top(context, 0, 1, &token, &logprob, nullptr)) &&
               decode(1) && done(edgellm_sampler_sample(sampler, context, 0, &token)) && decode(5) &&
               (edgellm_sequence_save(context, 0, nullptr, 0, &n), saved.resize(n), true) &&
               done(edgellm_sequence_save(context, 0, saved.data(), n, &n)) &&
               done(edgellm_sequence_restore(context, 1, saved.data(), n)) && decode(1, 1) &&
               done(edgellm_sequence_fork(context, 0, 1)) && done(edgellm_sequence_remove(context, 1, 2, 5)) &&
               done(edgellm_sequence_shift(context, 1, 2, -1, 3)) && generate(2);
    }
    // A step whose stages are timed, and what the GPU does at most. Unlike use() both take memory.
    bool time() {
        std::vector<el::StageTime> times;
        el::DeviceRates rates;
        context->context.time_stages(&times);
        const bool timed = decode(1);
        context->context.time_stages(nullptr);
        return timed && !times.empty() && done(el::guard([&] {
                   el::ThreadPool none({.threads = 1});
                   rates = el::create_cuda_backend()->measure({}, none);
               })) &&
               rates.read_bytes_per_s > 0 && rates.matrix_flops_per_s > 0;
    }
    // Asks twice for the last row of logits. Returns its bytes, -1 if not just so many were copied.
    int64_t fetch_row() {
        const int64_t before = fake_cuda().copied_bytes;
        const float *logits = nullptr;
        size_t n = 0;
        for (int i = 0; i < 2; ++i)
            if (!done(edgellm_context_get_logits(context, 0, &logits, &n))) return -1;
        const auto bytes = int64_t(n * sizeof(float));
        return fake_cuda().copied_bytes - before == bytes ? bytes : -1;
    }
    bool run() { return load() && create() && use(); }

    std::vector<float> logits() {
        const float *row = nullptr;
        size_t n = 0;
        if (!decode(kPrompt) || !done(edgellm_context_get_logits(context, 0, &row, &n))) return {};
        return {row, row + n};
    }

  private:
    const char *device_;
};
