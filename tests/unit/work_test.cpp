// What ops cost (tools/work.h), and what their time is said to be bound by.
#include "work.h"

#include "model/gguf.h"
#include "program/build.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <numeric>

using namespace el;
using namespace tool;

namespace {

const std::string kGolden = "tests/golden/arch/";

struct Loaded {
    GgufFile file;
    Program program;
    explicit Loaded(const std::string &name)
        : file(GgufFile::open(kGolden + name + ".gguf")), program(build_program(resolve_spec(file), file.tensors())) {}

    Work all(const StepShape &shape) const {
        Work work;
        for (const Op &op : program.ops) work += work_of(program, op, shape);
        return work;
    }
    double bytes_of(const std::string &tensor) const { return double(file.find_tensor(tensor)->bytes); }
};

}  // namespace

TEST_CASE("a token reads every tensor once, and one row of the table of tokens") {
    const Loaded model("llama");
    const TensorInfo &table = *model.file.find_tensor("token_embd.weight");
    double bytes = 0;
    for (const TensorInfo &tensor : model.file.tensors()) bytes += double(tensor.bytes);
    const double row = double(table.bytes) / double(table.rows());
    const bool tied = !model.file.find_tensor("output.weight");
    CHECK(model.all({}).weight_bytes == bytes - (tied ? 0 : double(table.bytes)) + row);
    StepShape many;
    many.tokens = 7;
    CHECK(model.all(many).weight_bytes == bytes - (tied ? 0 : double(table.bytes)) + 7 * row);
}

TEST_CASE("operations of linears are two for each weight and token") {
    const Loaded model("llama");
    for (const Op &op : model.program.ops) {
        if (op.kind != OpKind::kLinear) continue;
        StepShape shape;
        shape.tokens = 3;
        const double rows = model.program.values[size_t(op.out)].rows == Rows::kTokens ? 3 : 1;
        CHECK(work_of(model.program, op, shape).flops == 2.0 * rows * op.weight[0].rows * op.weight[0].cols);
    }
}

TEST_CASE("attention reads what is in the cache, and no more than the window") {
    for (const char *name : {"llama", "gemma3"}) {
        const Loaded model(name);
        StepShape shallow, deep;
        shallow.depth = 9;
        deep.depth = 99999;
        deep.cache_k = Format::kF32;
        int windows = 0;
        for (const Op &op : model.program.ops) {
            if (op.kind != OpKind::kAttention) continue;
            const CacheGroup &g =
                model.program.cache_groups[model.program.cache_layers[op.attention.cache_layer].group];
            const double heads = g.n_kv_heads, dims = g.head_dim_k + g.head_dim_v;
            CHECK(work_of(model.program, op, shallow).cache_bytes ==
                  std::min(10u, g.window ? g.window : 10) * heads * dims * 2);
            const double rows = g.window ? g.window : 100000;
            CHECK(work_of(model.program, op, deep).cache_bytes == rows * heads * (4 * g.head_dim_k + 2 * g.head_dim_v));
            CHECK(work_of(model.program, op, deep).flops == 2 * rows * op.attention.n_heads * dims);
            windows += g.window > 0;
        }
        CHECK((windows > 0) == (std::string(name) == "gemma3"));
    }
}

TEST_CASE("experts that no token chose are not read") {
    const Loaded model("mixtral");
    int experts = 0;
    for (const Op &op : model.program.ops) {
        if (op.kind != OpKind::kExpertLinear) continue;
        ++experts;
        const double matrix = op.weight[0].rows * double(row_bytes(op.weight[0].format, op.weight[0].cols));
        StepShape many;
        many.tokens = many.outputs = 1000;
        CHECK(work_of(model.program, op, {}).weight_bytes ==
              doctest::Approx(matrix * op.expert.n_used / op.expert.n_experts));
        CHECK(work_of(model.program, op, many).weight_bytes == doctest::Approx(matrix));
    }
    CHECK(experts > 0);
}

TEST_CASE("values inside a stage do not move") {
    const Loaded model("llama");
    const Program &p = model.program;
    std::vector<uint32_t> all(p.ops.size());
    std::iota(all.begin(), all.end(), 0);
    StepShape shape;
    shape.tokens = 5;
    CHECK(work_of(p, all, shape).value_bytes == 4.0 * p.vocab);  // only the logits leave
    CHECK(work_of(p, all, shape).weight_bytes == model.all(shape).weight_bytes);
    double apart = 0;
    for (uint32_t i : all) {
        const Op &op = p.ops[i];
        const Work work = work_of(p, std::span(&i, 1), shape);
        apart += work.value_bytes;
        if (op.kind == OpKind::kNorm)
            CHECK(work.value_bytes ==
                  (p.values[size_t(op.out)].rows == Rows::kTokens ? 10 : 2) * 4.0 * p.values[size_t(op.out)].width);
        if (op.kind == OpKind::kOutputRows) CHECK(work.value_bytes == 2 * 4.0 * p.values[size_t(op.out)].width);
    }
    CHECK(apart > 4.0 * p.vocab);
}

TEST_CASE("a time is bound by what explains at least half of it") {
    const DeviceRates rates{100, 1000};
    auto bound = [&](double bytes, double flops, double seconds) {
        Work work;
        work.weight_bytes = bytes / 2;
        work.cache_bytes = work.value_bytes = bytes / 4;
        work.flops = flops;
        return bound_of(work, seconds, rates);
    };
    CHECK(bound(100, 0, 1) == Bound::kBytes);
    CHECK(bound(100, 0, 2) == Bound::kBytes);
    CHECK(bound(100, 0, 2.1) == Bound::kLatency);
    CHECK(bound(0, 1000, 2) == Bound::kFlops);
    CHECK(bound(0, 1000, 2.1) == Bound::kLatency);
    CHECK(bound(100, 1100, 1.5) == Bound::kFlops);
    CHECK(bound(100, 900, 1.5) == Bound::kBytes);
    CHECK(bound(100, 0, 0.1) == Bound::kBytes);  // it came from a cache
    CHECK(bound_of({}, 1, {}) == Bound::kLatency);
    CHECK(std::string(bound_name(Bound::kFlops)) == "flops");
}
