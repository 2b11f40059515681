// How the CUDA backend cuts programs into stages (cuda/stages.h), and which values may share memory then.
#include "stages.h"

#include "backend/buffers.h"
#include "model/gguf.h"
#include "program/build.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>

using namespace el;
using namespace el::cuda;

namespace {

Program program_of(const std::string &path) {
    const GgufFile file = GgufFile::open(path);
    return build_program(resolve_spec(file), file.tensors());
}

std::vector<Stage> stages_of(const Program &program) {
    return find_stages(program, {4, linear_kind, [](const Op &) { return true; }});
}

// "linear 3, norm": what a stage does.
std::string text(const Stage &s) {
    if (s.kind == Stage::kProducts) {
        std::string out = s.norm >= 0 ? "norm " : "";
        out += "linears " + std::to_string(s.n_linears);
        return out + (s.gate >= 0 ? " gate" : "") + (s.add >= 0 ? " add" : "");
    }
    if (s.kind == Stage::kHeads) {
        std::string out = "heads";
        for (int32_t norm : {s.q_norm, s.k_norm, s.v_norm}) out += norm >= 0 ? " norm" : "";
        for (int32_t rope : {s.q_rope, s.k_rope}) out += rope >= 0 ? " rope" : "";
        return out + (s.write >= 0 ? " write" : "");
    }
    if (s.kind == Stage::kNormAdd) return "norm add";
    return "op";
}

std::vector<std::string> texts(const std::string &name, int32_t layer) {
    const Program program = program_of("tests/golden/arch/" + name + ".gguf");
    std::vector<std::string> out;
    for (const Stage &s : stages_of(program))
        if (program.ops[s.begin].layer == layer) out.push_back(text(s));
    return out;
}

template <typename Visit> void for_recorded_models(Visit visit) {
    for (const auto &entry : std::filesystem::directory_iterator("tests/golden/arch"))
        if (entry.path().extension() == ".gguf") {
            CAPTURE(entry.path().filename().string());
            visit(program_of(entry.path().string()));
        }
}

}  // namespace

TEST_CASE("a layer of a plain transformer is five stages") {
    using List = std::vector<std::string>;
    const List llama = {"norm linears 3", "heads rope rope write", "linears 1 add", "norm linears 2 gate",
                        "linears 1 add"};
    CHECK(texts("llama", 0) == llama);
    List qwen3 = llama;
    qwen3[1] = "heads norm norm rope rope write";
    CHECK(texts("qwen3", 0) == qwen3);
    // What a layer adds is normed.
    CHECK(texts("gemma2", 0) == List{"norm linears 3", "heads rope rope write", "linears 1", "norm add",
                                     "norm linears 2 gate", "linears 1", "norm add"});
}

TEST_CASE("linears that do not go together are stages of their own") {
    Program program = program_of("tests/golden/arch/llama.gguf");
    std::vector<Op *> linears;  // q, k, v, output, gate, up and down of the first layer, in F16
    for (Op &op : program.ops)
        if (op.kind == OpKind::kLinear && op.layer == 0) linears.push_back(&op);
    REQUIRE(linears.size() == 7);
    linears[2]->weight[0].format = Format::kBF16;
    linears[3]->weight[0].format = Format::kNVFP4;  // by a simple kernel
    linears[4]->weight[0].format = Format::kQ4_K;
    linears[5]->weight[0].format = Format::kQ6_K;
    std::vector<std::string> out;
    std::vector<int> kinds;
    for (const Stage &s : stages_of(program))
        if (program.ops[s.begin].layer == 0) {
            out.push_back(text(s));
            if (s.kind == Stage::kProducts) kinds.push_back(s.linear_kind);
        }
    // The norm is also read outside of the stage of q and k.
    CHECK(out == std::vector<std::string>{"op", "linears 2", "linears 1", "heads rope rope write", "op", "op",
                                          "norm linears 2 gate", "linears 1 add"});
    REQUIRE(kinds.size() == 4);
    CHECK(kinds[2] == kPackedLinears);
    CHECK(kinds[0] == kinds[3]);
    CHECK(kinds[0] != kinds[1]);
    CHECK(kinds[0] != kPackedLinears);
}

TEST_CASE("a gate of matrices whose tiles are of other heights is an op of its own") {
    Program program = program_of("tests/golden/arch/llama.gguf");
    for (Op &op : program.ops)
        if (op.kind == OpKind::kLinear) op.weight[0].format = Format::kQ6_K;
    auto stages = [&] {
        std::vector<std::string> out;
        for (const Stage &s : stages_of(program))
            if (program.ops[s.begin].layer == 0) out.push_back(text(s));
        return out;
    };
    REQUIRE(stages().size() == 5);
    for (Op &op : program.ops)
        if (op.kind == OpKind::kGate) {
            Op &up = *std::find_if(program.ops.begin(), program.ops.end(),
                                   [&](const Op &other) { return other.out == op.in[1]; });
            up.weight[0].format = Format::kQ8_0;
        }
    CHECK(stages() == std::vector<std::string>{"norm linears 3", "heads rope rope write", "linears 1 add",
                                               "norm linears 2", "op", "linears 1 add"});
}

TEST_CASE("stages of products take turns, and know when they are among their like") {
    std::string odd, amid;
    for (const Stage &s : stages_of(program_of("tests/golden/arch/llama.gguf")))
        if (s.kind == Stage::kProducts) {
            odd += s.odd ? 'o' : 'e';
            amid += s.amid ? 'a' : '-';
        }
    // Each layer: q, k and v; output; gate and up; down.
    CHECK(odd.substr(0, 8) == "oeoeoeoe");
    CHECK(amid.substr(0, 5) == "--aa-");
}

TEST_CASE("stages of products do not count those with linears of another kind") {
    Program program = program_of("tests/golden/arch/llama.gguf");
    for (Op &op : program.ops)
        if (op.kind == OpKind::kLinear && program.values[size_t(op.in[0])].width == 96)
            op.weight[0].format = Format::kQ8_0;
    std::string turns;
    for (const Stage &s : stages_of(program)) {
        if (s.kind == Stage::kProducts)
            turns += s.linear_kind == kPackedLinears ? (s.odd ? 'P' : 'p') : (s.odd ? 'F' : 'f');
        CHECK(!(s.amid && s.linear_kind == kPackedLinears));
    }
    CHECK(turns.substr(0, 8) == "FfFPfFfp");  // of each layer only down is packed
}

TEST_CASE("stages take every op once and in order, and keep no value from others") {
    for_recorded_models([](const Program &program) {
        const std::vector<Stage> stages = stages_of(program);
        uint32_t next = 0;
        for (const Stage &s : stages) {
            CHECK(s.begin == next);
            next = s.end;
            if (s.kind == Stage::kSingle) {
                CHECK(s.end == s.begin + 1);
                continue;
            }
            // Values that are made inside and read inside are read nowhere else; the last op's is what the stage makes,
            // or with several linears all of theirs.
            for (uint32_t i = s.begin; i + 1 < s.end; ++i) {
                const ValueId made = program.ops[i].out;
                if (made == kNoValue) continue;
                bool inside = false, outside = made == program.logits;
                for (uint32_t j = 0; j < program.ops.size(); ++j)
                    for (ValueId in : program.ops[j].in)
                        if (in == made) (j >= s.begin && j < s.end ? inside : outside) = true;
                CHECK(!(inside && outside));
                CHECK((inside || (s.kind == Stage::kProducts && s.gate < 0 && s.add < 0)));
            }
        }
        CHECK(next == program.ops.size());
    });
}

TEST_CASE("a stage writes no buffer that it still reads") {
    for_recorded_models([](const Program &program) {
        const std::vector<Stage> stages = stages_of(program);
        const BufferPlan plan(program, done_with(stages, program.ops.size()));
        auto buffer = [&](ValueId v) { return v == kNoValue ? -1 : plan.buffer_of[size_t(v)]; };
        for (const Stage &s : stages)
            for (uint32_t i = s.begin; i < s.end; ++i)
                for (uint32_t j = s.begin; j < s.end; ++j)
                    for (ValueId in : program.ops[j].in) {
                        const ValueId out = program.ops[i].out;
                        const bool in_place = s.kind == Stage::kNormAdd && j < i;  // each thread what it has read
                        if (in != out && buffer(out) >= 0 && !in_place) CHECK(buffer(out) != buffer(in));
                    }
    });
}
