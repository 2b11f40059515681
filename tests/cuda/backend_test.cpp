// The backend over the module, as the engine sees it: what the C ABI does not show.
#include "life.h"

#include "backend/backend.h"
#include "backend/cuda/interface.h"

#include <algorithm>
#include <array>
#include <bit>
#include <doctest/doctest.h>
#include <random>
#include <set>

using namespace el;

namespace {

// Cache groups that no op uses.
struct Groups {
    Program program;
    ExecutableLimits limits;

    explicit Groups(uint32_t n, uint32_t max_pages = 4, uint32_t max_sequences = 1) {
        fake_cuda();
        program.values = {{32, Rows::kOutputs}};
        program.logits = 0;
        program.vocab = 32;
        limits.step.max_tokens = limits.step.max_outputs = limits.step.max_sequences = max_sequences;
        limits.step.max_pages = max_pages;
        limits.step.context = max_pages * kPageTokens;
        limits.step.n_groups = n;
        limits.n_pages.assign(n, 4);
        for (uint32_t g = 0; g < n; ++g) {
            program.cache_groups.push_back({.n_kv_heads = g + 1, .head_dim_k = 64, .head_dim_v = 64});
            program.cache_layers.push_back({g, 0});
        }
    }
};

}  // namespace

TEST_CASE("a module whose structs have other sizes is not taken") {
    fake_cuda();
    const auto entry =
        reinterpret_cast<cuda::Entry>(dlsym(dlopen(kModulePath, RTLD_NOW | RTLD_LOCAL), cuda::kEntryName));
    REQUIRE((entry != nullptr));
    constexpr size_t kSizes = sizeof(cuda::Sizes) / sizeof(uint32_t);
    const auto sizes = std::bit_cast<std::array<uint32_t, kSizes>>(cuda::Sizes());
    auto taken = [&](const std::array<uint32_t, kSizes> &all) {
        const auto of_caller = std::bit_cast<cuda::Sizes>(all);
        return entry(&of_caller) != nullptr;
    };
    CHECK(taken(sizes));
    for (size_t i = 0; i < kSizes; ++i) {
        auto others = sizes;
        ++others[i];
        CHECK_FALSE(taken(others));
    }
}

TEST_CASE("the memory of any number of cache groups is told") {
    constexpr uint32_t kGroups = 100;
    const Groups groups(kGroups);
    const auto regions = create_cuda_backend()->memory(groups.program, groups.limits, 1);
    REQUIRE(regions.size() > kGroups);
    for (uint32_t g = 0; g < kGroups; ++g) {
        CHECK(regions[g].cache_group == int32_t(g));
        CHECK(regions[g].bytes == 2 * 4 * kPageTokens * (g + 1) * 64 * sizeof(uint16_t));  // K and V, F16
    }
    CHECK(regions.back().name == "pinned best tokens");
}

TEST_CASE("the device has the block tables of every step, and is sent what is new in them") {
    constexpr uint32_t kGroups = 3, kPages = 50, kSequences = 12;
    FakeCuda &fake = fake_cuda();
    const Groups groups(kGroups, kPages, kSequences);
    const std::unique_ptr<Backend> backend = create_cuda_backend();
    const std::unique_ptr<WeightStore> store = backend->create_store({}, {});
    ThreadPool pool({.threads = 1});
    Arena none, memory(1 << 20);
    const auto executable = backend->compile(groups.program, groups.limits, *store, none, pool);
    const auto *device = static_cast<const int32_t *>(fake.rectangle.to);  // [kGroups, kSequences, kPages]
    CHECK(fake.rectangle.width == kPages * sizeof(int32_t));
    CHECK(fake.rectangle.rows == kGroups * kSequences);

    Step step = lay_out_step(groups.limits.step, memory);
    std::mt19937 random(5);
    auto below = [&](uint32_t n) { return uint32_t(random() % n); };
    auto run = [&] {
        fake.n_recorded = 0;
        fake.rectangle = {};
        return executable->run(step);
    };
    for (int i = 0; i < 500; ++i) {
        step.n_sequences = step.n_tokens = int32_t(1 + below(kSequences));  // captured and not
        const uint32_t longest = 1 + below(below(4) ? 5 : kPages);
        for (uint32_t r = 0; r < kGroups * kSequences; ++r) {
            const uint32_t n = 1 + below(longest);
            step.length[r] = int32_t((n - 1) * kPageTokens + 1 + below(kPageTokens));
            for (uint32_t p = below(n); p < kPages; ++p) step.block_table[r * kPages + p] = int32_t(random());
        }
        REQUIRE(run() == Status::kOk);
        for (uint32_t g = 0; g < kGroups; ++g)
            for (uint32_t s = 0; s < uint32_t(step.n_sequences); ++s) {
                const int32_t n = (step.length[g * kSequences + s] - 1) / int32_t(kPageTokens) + 1;
                const int32_t *pages = step.pages_of(g, s);
                REQUIRE(std::equal(pages, pages + n, device + (pages - step.block_table)));
            }
        REQUIRE(fake.rectangle.width <= longest * sizeof(int32_t));
        REQUIRE(fake.rectangle.rows <= kGroups * kSequences);
    }

    std::fill_n(step.length, kGroups * kSequences, 7 * kPageTokens);
    REQUIRE(run() == Status::kOk);
    REQUIRE(run() == Status::kOk);
    CHECK(fake.rectangle.rows == 0);  // all is known
    step.n_sequences = 2;
    ++step.length[kSequences + 1];
    step.block_table[(kSequences + 1) * kPages + 7] ^= 1;
    REQUIRE(run() == Status::kOk);
    CHECK(fake.rectangle.to == device + (kSequences + 1) * kPages + 7);
    CHECK(fake.rectangle.width == sizeof(int32_t));
    CHECK(fake.rectangle.rows == 1);
    step.n_tokens = 1;
    REQUIRE(run() == Status::kOk);
    CHECK(fake.rectangle.rows == 0);
}

TEST_CASE("steps of long contexts are captured apart, and told by what their tokens see") {
    if (EL_AS_ORIN) return;  // only where there are clusters
    constexpr uint32_t kPages = 200, kTokens = 8;
    FakeCuda &fake = fake_cuda();
    Groups groups(2, kPages, kTokens);
    groups.program.cache_groups[0].window = 100;  // of tokens
    const std::unique_ptr<Backend> backend = create_cuda_backend();
    const std::unique_ptr<WeightStore> store = backend->create_store({}, {});
    ThreadPool pool({.threads = 1});
    Arena none, memory(1 << 20);
    fake.instantiations = 0;
    const auto executable = backend->compile(groups.program, groups.limits, *store, none, pool);
    CHECK(fake.instantiations == 2 * 4);  // 1, 2, 4 and 8 tokens

    Step step = lay_out_step(groups.limits.step, memory);
    auto graph_of = [&](int32_t n, int32_t begin, int32_t end) {  // the last token sees these rows, the others few
        step.n_tokens = step.n_outputs = step.n_sequences = n;
        for (int32_t t = 0; t < n; ++t) {
            const bool last = t + 1 == n;
            step.visible_begin[t] = last ? std::max(begin, end - 100) : 0;
            step.visible_begin[kTokens + t] = last ? begin : 0;
            step.visible_end[t] = step.visible_end[kTokens + t] = last ? end : 10;
        }
        fake.launched = nullptr;
        REQUIRE(executable->run(step) == Status::kOk);
        return fake.launched;
    };
    std::set<const void *> all;
    for (int32_t n : {8, 5, 3, 2, 1}) {  // what longer steps saw lies behind
        const void *few = graph_of(n, 0, 10), *many = graph_of(n, 0, 4096);
        CHECK(graph_of(n, 0, 4095) == few);
        CHECK(graph_of(n, 2000, 6000) == few);
        CHECK(graph_of(n, 0, 6000) == many);
        all.insert(few);
        all.insert(many);
    }
    CHECK(all.size() == 8);
    CHECK(all.count(nullptr) == 0);
    CHECK(fake.instantiations == 2 * 4);
}

TEST_CASE(
    "long contexts are split in another way, but not what windows see of them, nor where other kernels are needed") {
    if (EL_AS_ORIN) return;  // no clusters
    FakeCuda &fake = fake_cuda();
    const std::unique_ptr<Backend> backend = create_cuda_backend();
    const std::unique_ptr<WeightStore> store = backend->create_store({}, {});
    ThreadPool pool({.threads = 1});
    // How often clusters of two and of eight blocks are captured for a step of one token, with 8 multiprocessors.
    auto clusters = [&](uint32_t n_pages, uint32_t window, Format cache_k, Format cache_v) {
        Groups groups(2, n_pages);
        Program &p = groups.program;
        groups.limits.cache_k = cache_k;
        groups.limits.cache_v = cache_v;
        for (uint16_t layer : {0, 1}) {
            p.cache_groups[layer].n_kv_heads = 1;
            p.values.push_back({2 * 64, Rows::kTokens});
            p.values.push_back({2 * 64, Rows::kTokens});
            Op op;
            op.kind = OpKind::kAttention;
            op.in[0] = ValueId(p.values.size() - 2);
            op.out = ValueId(p.values.size() - 1);
            op.attention = {layer, 2, 1, 64, 64, 0.1f, 0};
            p.ops.push_back(op);
        }
        p.cache_groups[0].window = window;
        Arena none;
        std::fill(std::begin(fake.of_cluster), std::end(fake.of_cluster), 0);
        REQUIRE(backend->compile(p, groups.limits, *store, none, pool));
        return std::pair(fake.of_cluster[2], fake.of_cluster[8]);
    };
    using Counts = std::pair<int64_t, int64_t>;
    constexpr Format kF16 = Format::kF16, kQ8 = Format::kQ8_0;
    CHECK(clusters(128, 100, kF16, kF16) == Counts(0, 2));
    CHECK(clusters(129, 100, kF16, kF16) == Counts(1, 3));
    CHECK(clusters(129, 0, kF16, kF16) == Counts(2, 2));
    CHECK(clusters(129, 0, kQ8, kQ8) == Counts(2, 2));
    CHECK(clusters(129, 0, kQ8, Format::kQ4_0) == Counts(2, 2));
    CHECK(clusters(129, 0, Format::kF32, Format::kF32) == Counts(0, 0));
    CHECK(clusters(129, 0, kQ8, kF16) == Counts(0, 0));
}

TEST_CASE("heads that no block has room for are refused by name") {
    Groups groups(1);
    for (int i = 0; i < 2; ++i) groups.program.values.push_back({8192, Rows::kTokens});
    Op op;
    op.kind = OpKind::kAttention;
    op.in[0] = 1;
    op.out = 2;
    op.attention = {0, 1, 1, 8192, 8192, 0.1f, 0};
    groups.program.ops.push_back(op);
    groups.program.cache_groups[0].head_dim_k = groups.program.cache_groups[0].head_dim_v = 8192;
    const std::unique_ptr<Backend> backend = create_cuda_backend();
    const std::unique_ptr<WeightStore> store = backend->create_store({}, {});
    ThreadPool pool({.threads = 1});
    Arena none;
    const int64_t handles = fake_cuda().live_handles;
    try {
        backend->compile(groups.program, groups.limits, *store, none, pool);
        FAIL("compiled");
    } catch (const Error &e) {
        CHECK(e.status() == Status::kUnsupported);
        CHECK(std::string(e.what()).find("heads of 8192 values") != std::string::npos);
    }
    CHECK(fake_cuda().live_handles == handles);
}

TEST_CASE("a step may have more pairs of a token and an expert than a grid has rows") {
    constexpr uint32_t kTokens = 5000, kUsed = 16, kWidth = 2 * kUsed, kRows = 4;
    const Groups nothing(0, 1);
    Program program;
    program.vocab = kUsed * kRows;
    program.values = {{kWidth, Rows::kTokens}, {program.vocab, Rows::kTokens}, {program.vocab, Rows::kOutputs}};
    program.logits = 2;
    const WeightTensor tensors[] = {{"table", Format::kF32, 1, kWidth, kUseLookup},
                                    {"experts", Format::kF32, kUsed * kRows, kWidth, kUseMatrix}};
    Op embed, multiply, take;
    embed.kind = OpKind::kEmbed;
    embed.out = 0;
    multiply.kind = OpKind::kExpertLinear;  // the table's row is the route, too
    multiply.in[0] = multiply.in[1] = 0;
    multiply.out = 1;
    multiply.expert = {kUsed, kUsed, false};
    take.kind = OpKind::kOutputRows;
    take.in[0] = 1;
    take.out = 2;
    for (auto [op, tensor] : {std::pair(&embed, 0), std::pair(&multiply, 1)}) {
        op->weight[0].tensor = tensor;
        op->weight[0].rows = uint32_t(tensors[tensor].rows);
        op->weight[0].cols = kWidth;
    }
    program.ops = {embed, multiply, take};
    ExecutableLimits limits = nothing.limits;
    limits.step.max_tokens = kTokens;
    const std::unique_ptr<Backend> backend = create_cuda_backend();
    const std::unique_ptr<WeightStore> store = backend->create_store(tensors, {});
    ThreadPool pool({.threads = 1});
    Arena none, memory(1 << 20);
    const auto executable = backend->compile(program, limits, *store, none, pool);
    Step step = lay_out_step(limits.step, memory);
    step.n_tokens = kTokens;
    step.n_outputs = 1;
    CHECK(executable->run(step) == Status::kOk);
    CHECK(std::string(executable->error()) == "");
}

TEST_CASE("a step that is timed waits for the caller's event and records the other one, as any step") {
    FakeCuda &fake = fake_cuda();
    const Groups groups(1, 4, 12);
    const std::unique_ptr<Backend> backend = create_cuda_backend();
    const std::unique_ptr<WeightStore> store = backend->create_store({}, {});
    ThreadPool pool({.threads = 1});
    Arena none, memory(1 << 20);
    const auto executable = backend->compile(groups.program, groups.limits, *store, none, pool);
    Step step = lay_out_step(groups.limits.step, memory);
    void *const wait = fake.make_event(), *const done = fake.make_event();
    std::vector<StageTime> times;
    for (std::vector<StageTime> *timed : {&times, static_cast<std::vector<StageTime> *>(nullptr)})
        for (int32_t n : {1, 12}) {  // captured, and not
            step.n_tokens = n;
            executable->time_stages(timed);
            executable->use_events(wait, done);
            for (bool with_events : {true, false}) {
                fake.n_recorded = 0;
                REQUIRE(executable->run(step) == Status::kOk);
                const std::vector<FakeCuda::Call> calls(fake.record, fake.record + fake.n_recorded);
                const auto waited = std::find_if(calls.begin(), calls.end(), [](const FakeCuda::Call &call) {
                    return call.name == std::string("cudaStreamSynchronize");
                });
                REQUIRE(waited != calls.end());
                std::vector<std::string> names;  // on the stream of the steps
                for (const FakeCuda::Call &call : calls)
                    if (call.stream == waited->stream) names.push_back(call.name);
                REQUIRE(names.size() >= 2);
                CHECK((names.front() == "cudaStreamWaitEvent") == with_events);
                CHECK((names[names.size() - 2] == "cudaEventRecord") == with_events);
                CHECK(names.back() == "cudaStreamSynchronize");
            }
        }
    fake.free_handle(wait);
    fake.free_handle(done);
}
