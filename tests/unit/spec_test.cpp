// Specs from metadata and tensors: what the rows resolve to, and a sentence for everything that can be wrong.
#include "base/status.h"
#include "model/gguf_writer.h"
#include "model/spec.h"
#include "program/build.h"

#include <cstdio>
#include <doctest/doctest.h>
#include <functional>
#include <map>
#include <type_traits>
#include <unistd.h>

using namespace el;

namespace {

// A llama of one layer, to be damaged before it is written.
struct TinyModel {
    std::string architecture = "llama";
    std::map<std::string, uint32_t> counts = {
        {"llama.block_count", 1},          {"llama.context_length", 64},      {"llama.embedding_length", 32},
        {"llama.feed_forward_length", 48}, {"llama.attention.head_count", 4}, {"llama.attention.head_count_kv", 2},
    };
    std::map<std::string, float> reals = {{"llama.attention.layer_norm_rms_epsilon", 1e-5f}};
    std::map<std::string, std::string> texts;
    std::map<std::string, bool> flags;
    std::map<std::string, std::vector<uint32_t>> arrays;
    std::map<std::string, std::vector<uint64_t>> tensors = {
        {"token_embd.weight", {32, 50}},        {"output_norm.weight", {32}},
        {"blk.0.attn_norm.weight", {32}},       {"blk.0.attn_q.weight", {32, 32}},
        {"blk.0.attn_k.weight", {32, 16}},      {"blk.0.attn_v.weight", {32, 16}},
        {"blk.0.attn_output.weight", {32, 32}}, {"blk.0.ffn_norm.weight", {32}},
        {"blk.0.ffn_gate.weight", {32, 48}},    {"blk.0.ffn_up.weight", {32, 48}},
        {"blk.0.ffn_down.weight", {48, 32}},
    };

    GgufFile write() const {
        char path[] = "/tmp/edgellm-spec-XXXXXX";
        close(mkstemp(path));
        GgufWriter writer(path);
        writer.set("general.architecture", architecture);
        for (auto &[key, value] : counts) writer.set(key, value);
        for (auto &[key, value] : reals) writer.set(key, value);
        for (auto &[key, value] : texts) writer.set(key, value);
        for (auto &[key, value] : flags) writer.set(key, value);
        for (auto &[key, value] : arrays) writer.set_array<uint32_t>(key, value);
        uint64_t bytes = 0;
        for (auto &[name, shape] : tensors) bytes += writer.add_tensor(name, Format::kF32, shape);
        writer.begin_data();
        std::vector<char> zeros(bytes);
        writer.write(zeros.data(), zeros.size());
        writer.finish();
        GgufFile file = GgufFile::open(path);
        std::remove(path);
        return file;
    }
};

ModelSpec resolve(const std::function<void(TinyModel &)> &change = [](TinyModel &) {}) {
    TinyModel model;
    change(model);
    return resolve_spec(model.write());
}

void check_failure(Status status, const std::string &part, const std::function<void(TinyModel &)> &change) {
    try {
        resolve(change);
        FAIL_CHECK("resolved, expected: " << part);
    } catch (const Error &e) {
        CAPTURE(e.what());
        CHECK(e.status() == status);
        CHECK(std::string(e.what()).find(part) != std::string::npos);
    }
}

}  // namespace

TEST_CASE("a llama resolves") {
    ModelSpec spec = resolve();
    CHECK(spec.vocab == 50);
    REQUIRE(spec.layers.size() == 1);
    const LayerSpec &layer = spec.layers[0];
    CHECK(layer.head_dim_k == 8);
    CHECK(layer.head_dim_v == 8);
    CHECK(layer.rope.dims == 8);
    CHECK(layer.rope.pairs == RopePairs::kInterleaved);
    CHECK(spec.at(Role::kOutput) == -1);  // tied

    spec = resolve([](TinyModel &m) {
        m.counts.erase("llama.attention.head_count_kv");
        m.counts["llama.rope.dimension_count"] = 4;
        m.tensors["blk.0.attn_k.weight"] = m.tensors["blk.0.attn_v.weight"] = {32, 32};
        m.tensors["output.weight"] = {32, 50};
    });
    CHECK(spec.layers[0].n_kv_heads == 4);
    CHECK(spec.layers[0].rope.dims == 4);
    CHECK(spec.at(Role::kOutput) >= 0);
}

TEST_CASE("numbers may differ from layer to layer") {
    ModelSpec spec = resolve([](TinyModel &m) {
        m.counts.erase("llama.attention.head_count_kv");
        m.arrays["llama.attention.head_count_kv"] = {2};
    });
    CHECK(spec.layers[0].n_kv_heads == 2);
    check_failure(Status::kMetadataInvalid, "llama.attention.head_count_kv: has 2 values for 1 layers",
                  [](TinyModel &m) {
                      m.counts.erase("llama.attention.head_count_kv");
                      m.arrays["llama.attention.head_count_kv"] = {2, 2};
                  });
}

TEST_CASE("a rope factor without a type of scaling means linear") {
    ModelSpec spec = resolve([](TinyModel &m) { m.reals["llama.rope.scaling.factor"] = 4.0f; });
    CHECK(spec.layers[0].rope.scaling == RopeSpec::Scaling::kLinear);
    CHECK(spec.layers[0].rope.factor == 4.0f);
}

TEST_CASE("what is wrong is named") {
    using M = TinyModel;
    const Status metadata = Status::kMetadataInvalid, tensor = Status::kTensorInvalid;
    check_failure(Status::kUnknownArchitecture, "'lama' is not known; the nearest is llama; known: llama, mistral3",
                  [](M &m) { m.architecture = "lama"; });
    for (auto key :
         {"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"})
        check_failure(metadata, std::string("llama.") + key + ": is missing",
                      [&](M &m) { m.counts.erase(std::string("llama.") + key); });
    check_failure(metadata, "layer_norm_rms_epsilon: is missing", [](M &m) { m.reals.clear(); });
    check_failure(metadata, "head_count_kv: 3 does not divide",
                  [](M &m) { m.counts["llama.attention.head_count_kv"] = 3; });
    check_failure(metadata, "head_count: 5 does not divide",
                  [](M &m) { m.counts["llama.attention.head_count"] = m.counts["llama.attention.head_count_kv"] = 5; });
    check_failure(metadata, "head_count: 0 is out of range", [](M &m) { m.counts["llama.attention.head_count"] = 0; });
    check_failure(metadata, "block_count: 4000000000 is out of range",
                  [](M &m) { m.counts["llama.block_count"] = 4000000000u; });
    check_failure(metadata, "block_count: 2000000000 layers",
                  [](M &m) { m.counts["llama.block_count"] = 2000000000u; });
    check_failure(metadata, "rope.dimension_count: 9", [](M &m) { m.counts["llama.rope.dimension_count"] = 9; });
    check_failure(metadata, "vocab_size: is 51", [](M &m) { m.counts["llama.vocab_size"] = 51; });
    check_failure(metadata, "'spiral' is not known", [](M &m) { m.texts["llama.rope.scaling.type"] = "spiral"; });
    check_failure(metadata, "rope.scaling.factor: 0 is not positive", [](M &m) {
        m.texts["llama.rope.scaling.type"] = "linear";
        m.reals["llama.rope.scaling.factor"] = 0.0f;
    });
    check_failure(tensor, "tensor blk.0.ffn_up.weight is missing",
                  [](M &m) { m.tensors.erase("blk.0.ffn_up.weight"); });
    check_failure(tensor, "tensor blk.0.attn_q.weight has the shape [32, 31], expected [32, 32]", [](M &m) {
        m.tensors["blk.0.attn_q.weight"] = {32, 31};
    });
    check_failure(tensor, "token_embd.weight is missing", [](M &m) { m.tensors.erase("token_embd.weight"); });
    check_failure(tensor, "rope_freqs.weight has the shape [5, 1], expected [4, 1]",
                  [](M &m) { m.tensors["rope_freqs.weight"] = {5}; });
    check_failure(Status::kUnsupported, "tensor blk.0.attn_sinks.weight has no meaning for architecture llama",
                  [](M &m) { m.tensors["blk.0.attn_sinks.weight"] = {4}; });
    check_failure(tensor, "tensor blk.0.attn_q.bias has the shape [31, 1], expected [32, 1]",
                  [](M &m) { m.tensors["blk.0.attn_q.bias"] = {31}; });
    check_failure(Status::kNoWeights, "has no tensors", [](M &m) { m.tensors.clear(); });
}

namespace {

// The tiny llama as a file of another architecture.
void rename(TinyModel &m, const std::string &architecture) {
    auto renamed = [&](const std::string &key) { return architecture + key.substr(key.find('.')); };
    auto rename_all = [&](auto &keys) {
        std::remove_reference_t<decltype(keys)> out;
        for (auto &[key, value] : keys) out[renamed(key)] = value;
        keys = out;
    };
    m.architecture = architecture;
    rename_all(m.counts);
    rename_all(m.reals);
}

void give_post_norms(TinyModel &m) {
    m.tensors["blk.0.post_attention_norm.weight"] = m.tensors["blk.0.post_ffw_norm.weight"] = {32};
}

void give_experts(TinyModel &m, uint32_t n, uint32_t used) {
    m.counts["llama.expert_count"] = n;
    m.counts["llama.expert_used_count"] = used;
    m.counts["llama.expert_feed_forward_length"] = 16;
    for (const char *name : {"gate", "up", "down"}) m.tensors.erase("blk.0.ffn_" + std::string(name) + ".weight");
    m.tensors["blk.0.ffn_gate_inp.weight"] = {32, n};
    m.tensors["blk.0.ffn_gate_exps.weight"] = m.tensors["blk.0.ffn_up_exps.weight"] = {32, 16, n};
    m.tensors["blk.0.ffn_down_exps.weight"] = {16, 32, n};
}

}  // namespace

TEST_CASE("experts") {
    ModelSpec spec = resolve([](TinyModel &m) { give_experts(m, 6, 2); });
    CHECK(spec.layers[0].n_experts == 6);
    CHECK(spec.layers[0].n_experts_used == 2);
    CHECK(spec.layers[0].expert_width == 16);
    CHECK(spec.layers[0].has(Role::kRouter));
    CHECK(!spec.layers[0].has(Role::kFfnUp));

    const Status metadata = Status::kMetadataInvalid;
    check_failure(metadata, "llama.expert_used_count: 7 is more than the 6 experts",
                  [](TinyModel &m) { give_experts(m, 6, 7); });
    check_failure(metadata, "llama.expert_used_count: 0 is out of range", [](TinyModel &m) { give_experts(m, 6, 0); });
    check_failure(metadata, "llama.expert_used_count: is missing", [](TinyModel &m) {
        give_experts(m, 6, 2);
        m.counts.erase("llama.expert_used_count");
    });
    check_failure(Status::kTensorInvalid, "blk.0.ffn_up_exps.weight has the shape [32, 80], expected [32, 96]",
                  [](TinyModel &m) {
                      give_experts(m, 6, 2);
                      m.tensors["blk.0.ffn_up_exps.weight"] = {32, 16, 5};
                  });
    check_failure(Status::kUnsupported, "tensor blk.0.ffn_up.weight has no meaning", [](TinyModel &m) {
        give_experts(m, 6, 2);
        m.tensors["blk.0.ffn_up.weight"] = {32, 48};
    });
}

TEST_CASE("widths of experts come from the tensors where no key says them") {
    auto qwen2moe = [](TinyModel &m) {
        give_experts(m, 6, 3);
        m.counts.erase("llama.expert_feed_forward_length");
        rename(m, "qwen2moe");
        m.tensors["blk.0.ffn_gate_inp_shexp.weight"] = {32};
        m.tensors["blk.0.ffn_gate_shexp.weight"] = m.tensors["blk.0.ffn_up_shexp.weight"] = {32, 48};
        m.tensors["blk.0.ffn_down_shexp.weight"] = {48, 32};
    };
    ModelSpec spec = resolve(qwen2moe);
    CHECK(spec.layers[0].expert_width == 16);
    CHECK(spec.layers[0].shared_width == 48);
    check_failure(Status::kTensorInvalid, "blk.0.ffn_up_shexp.weight has the shape [32, 48], expected [32, 47]",
                  [&](TinyModel &m) {
                      qwen2moe(m);
                      m.tensors["blk.0.ffn_down_shexp.weight"] = {47, 32};
                      m.tensors["blk.0.ffn_gate_shexp.weight"] = {32, 47};
                  });
    check_failure(Status::kTensorInvalid, "blk.0.ffn_down_exps.weight is missing", [&](TinyModel &m) {
        qwen2moe(m);
        m.tensors.erase("blk.0.ffn_down_exps.weight");
        m.tensors["blk.0.ffn_gate_exps.weight"] = m.tensors["blk.0.ffn_up_exps.weight"] = {32, 48, 6};
    });
}

TEST_CASE("fused tensors") {
    auto fused = [](TinyModel &m) {
        for (const char *name : {"attn_q", "attn_k", "attn_v"})
            m.tensors.erase("blk.0." + std::string(name) + ".weight");
        m.tensors["blk.0.attn_qkv.weight"] = {32, 64};
    };
    CHECK(resolve(fused).layers[0].has(Role::kQueryKeyValue));
    CHECK(resolve([&](TinyModel &m) {
              fused(m);
              m.tensors["blk.0.attn_qkv.bias"] = {64};
          })
              .layers[0]
              .has(Role::kQueryKeyValueBias));
    const Status tensor = Status::kTensorInvalid, unsupported = Status::kUnsupported;
    check_failure(tensor, "blk.0.attn_qkv.weight has the shape [32, 63], expected [32, 64]", [&](TinyModel &m) {
        fused(m);
        m.tensors["blk.0.attn_qkv.weight"] = {32, 63};
    });
    check_failure(unsupported, "tensor blk.0.attn_k.weight has no meaning", [&](TinyModel &m) {
        fused(m);
        m.tensors["blk.0.attn_k.weight"] = {32, 16};
    });
    check_failure(unsupported, "tensor blk.0.attn_qkv.bias has no meaning",
                  [&](TinyModel &m) { m.tensors["blk.0.attn_qkv.bias"] = {64}; });
    check_failure(unsupported, "tensor blk.0.attn_q.bias has no meaning", [&](TinyModel &m) {
        fused(m);
        m.tensors["blk.0.attn_qkv.bias"] = {64};
        m.tensors["blk.0.attn_q.bias"] = {32};
    });

    auto experts = [](TinyModel &m) {
        give_experts(m, 6, 2);
        m.tensors.erase("blk.0.ffn_gate_exps.weight");
        m.tensors.erase("blk.0.ffn_up_exps.weight");
        m.tensors["blk.0.ffn_gate_up_exps.weight"] = {32, 32, 6};
        m.tensors["blk.0.ffn_gate_up_exps.scale"] = {6};
    };
    ModelSpec spec = resolve(experts);
    CHECK(spec.layers[0].has(Role::kExpertGateUp));
    CHECK(spec.layers[0].scale_of(Role::kExpertGateUp) >= 0);
    check_failure(tensor, "blk.0.ffn_gate_up_exps.weight has the shape [32, 186], expected [32, 192]",
                  [&](TinyModel &m) {
                      experts(m);
                      m.tensors["blk.0.ffn_gate_up_exps.weight"] = {32, 31, 6};
                  });
    check_failure(unsupported, "blk.0.ffn_gate.0.weight: the file has each expert in a tensor of its own",
                  [](TinyModel &m) {
                      give_experts(m, 2, 1);
                      for (const char *name : {"gate", "up", "down"})
                          m.tensors.erase("blk.0.ffn_" + std::string(name) + "_exps.weight");
                      m.tensors["blk.0.ffn_gate.0.weight"] = m.tensors["blk.0.ffn_gate.1.weight"] = {32, 48};
                  });
}

TEST_CASE("rope needs what its scaling is made of") {
    auto yarn = [](TinyModel &m) {
        m.texts["llama.rope.scaling.type"] = "yarn";
        m.reals["llama.rope.scaling.factor"] = 4.0f;
    };
    CHECK(resolve(yarn).layers[0].rope.original_context == 64);  // the model's own
    CHECK(resolve([&](TinyModel &m) {
              yarn(m);
              m.counts["llama.rope.scaling.original_context_length"] = 16;
          })
              .layers[0]
              .rope.original_context == 16);
    const Status metadata = Status::kMetadataInvalid;
    for (float base : {1.0f, 0.5f, 0.0f, -10000.0f})
        check_failure(metadata,
                      "llama.rope.freq_base: ", [&](TinyModel &m) { m.reals["llama.rope.freq_base"] = base; });

    auto long_rope = [](TinyModel &m) {
        rename(m, "phi3");
        for (const char *name : {"attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"})
            m.tensors.erase("blk.0." + std::string(name) + ".weight");
        m.tensors["blk.0.attn_qkv.weight"] = {32, 64};
        m.tensors["blk.0.ffn_up.weight"] = {32, 96};
        m.tensors["rope_factors_long.weight"] = m.tensors["rope_factors_short.weight"] = {4};
    };
    const char *key = "phi3.rope.scaling.original_context_length";
    check_failure(metadata, std::string(key) + ": is missing or 0", long_rope);
    check_failure(metadata, std::string(key) + ": is missing or 0", [&](TinyModel &m) {
        long_rope(m);
        m.counts[key] = 0;
    });
    auto with_key = [&](TinyModel &m) {
        long_rope(m);
        m.counts[key] = 32;
    };
    CHECK(resolve(with_key).has(Role::kRopeFactorsLong));
    check_failure(Status::kTensorInvalid, "rope_factors_short.weight is missing", [&](TinyModel &m) {
        with_key(m);
        m.tensors.erase("rope_factors_short.weight");
    });
}

TEST_CASE("scales beside matrices") {
    TinyModel model;
    model.tensors["blk.0.attn_q.scale"] = model.tensors["blk.0.attn_q.input_scale"] = {1};
    model.tensors["blk.0.attn_q.bias"] = {32};
    GgufFile file = model.write();
    ModelSpec spec = resolve_spec(file);
    REQUIRE(spec.layers[0].scale_of(Role::kQuery) >= 0);
    CHECK(spec.layers[0].scale_of(Role::kKey) == -1);
    const std::string dump = dump_program(build_program(spec, file.tensors()), file.tensors());
    CHECK(dump.find("scale factor=1 %2 blk.0.attn_q.scale F32[1, 1] blk.0.attn_q.bias F32[1, 32]") !=
          std::string::npos);

    check_failure(Status::kTensorInvalid, "blk.0.attn_q.scale has the shape [2, 1], expected [1, 1]",
                  [](TinyModel &m) { m.tensors["blk.0.attn_q.scale"] = {2}; });
    check_failure(Status::kTensorInvalid, "blk.0.ffn_up_exps.scale has the shape [1, 1], expected [6, 1]",
                  [](TinyModel &m) {
                      give_experts(m, 6, 2);
                      m.tensors["blk.0.ffn_up_exps.scale"] = {1};
                  });
    check_failure(Status::kUnsupported, "tensor blk.0.attn_norm.scale has no meaning",
                  [](TinyModel &m) { m.tensors["blk.0.attn_norm.scale"] = {1}; });
}

TEST_CASE("windows") {
    auto gemma2 = [](TinyModel &m) {
        rename(m, "gemma2");
        give_post_norms(m);
    };
    ModelSpec spec = resolve(gemma2);
    CHECK(spec.layers[0].window == 4096);
    CHECK(spec.layers[0].attention_soft_cap == 50);
    CHECK(spec.logit_soft_cap == 30);
    spec = resolve([&](TinyModel &m) {
        gemma2(m);
        m.counts["gemma2.attention.sliding_window"] = 7;
        m.reals["gemma2.attn_logit_softcapping"] = 0;
    });
    CHECK(spec.layers[0].window == 7);
    CHECK(spec.layers[0].attention_soft_cap == 0);
    spec = resolve([&](TinyModel &m) {
        gemma2(m);
        m.counts["gemma2.attention.sliding_window_pattern"] = 1;  // the last of every one
    });
    CHECK(spec.layers[0].window == 0);
    spec = resolve([&](TinyModel &m) {
        gemma2(m);
        m.arrays["gemma2.attention.sliding_window_pattern"] = {0};
    });
    CHECK(spec.layers[0].window == 0);

    const Status metadata = Status::kMetadataInvalid;
    check_failure(metadata, "gemma2.attention.sliding_window_pattern: has 2 values for 1 layers", [&](TinyModel &m) {
        gemma2(m);
        m.arrays["gemma2.attention.sliding_window_pattern"] = {0, 1};
    });
    check_failure(metadata, "gemma2.attention.sliding_window: is missing or 0", [&](TinyModel &m) {
        gemma2(m);
        m.counts["gemma2.attention.sliding_window"] = 0;
        m.counts["gemma2.attention.sliding_window_pattern"] = 2;
    });
    check_failure(metadata, "gpt-oss.attention.sliding_window: is missing or 0",
                  [](TinyModel &m) { rename(m, "gpt-oss"); });
    check_failure(metadata, "gemma2.final_logit_softcapping: is negative", [&](TinyModel &m) {
        gemma2(m);
        m.reals["gemma2.final_logit_softcapping"] = -1;
    });
}

TEST_CASE("keys of layers without attention") {
    const Status metadata = Status::kMetadataInvalid;
    auto lfm2 = [](TinyModel &m) {
        rename(m, "lfm2");
        m.counts.erase("lfm2.attention.head_count_kv");
        m.arrays["lfm2.attention.head_count_kv"] = {0};
    };
    check_failure(metadata, "lfm2.shortconv.l_cache: is missing", lfm2);
    check_failure(Status::kTensorInvalid, "token_embd_norm.weight is missing", [&](TinyModel &m) {
        lfm2(m);
        m.counts["lfm2.shortconv.l_cache"] = 3;
    });
    ModelSpec spec = resolve([&](TinyModel &m) {
        lfm2(m);
        m.arrays["lfm2.attention.head_count_kv"] = {2};
        m.counts["lfm2.attention.sliding_window"] = 7;
        m.tensors["token_embd_norm.weight"] = {32};
        m.tensors.erase("output_norm.weight");
        m.tensors["blk.0.attn_q_norm.weight"] = m.tensors["blk.0.attn_k_norm.weight"] = {8};
    });
    CHECK(spec.layers[0].window == 7);
    auto qwen35 = [](TinyModel &m) {
        rename(m, "qwen35");
        m.counts["qwen35.ssm.conv_kernel"] = 4;
        m.counts["qwen35.ssm.group_count"] = 2;
        m.counts["qwen35.ssm.time_step_rank"] = 4;
        m.counts["qwen35.ssm.state_size"] = 8;
        m.counts["qwen35.ssm.inner_size"] = 32;
    };
    check_failure(metadata, "qwen35.ssm.inner_size: 33 is no multiple of the 4 heads", [&](TinyModel &m) {
        qwen35(m);
        m.counts["qwen35.ssm.inner_size"] = 33;
    });
    check_failure(metadata, "qwen35.ssm.group_count: 3 does not divide the 4 heads", [&](TinyModel &m) {
        qwen35(m);
        m.counts["qwen35.ssm.group_count"] = 3;
    });
    check_failure(metadata, "qwen35.attention.recurrent_layers: has 2 values for 1 layers", [&](TinyModel &m) {
        qwen35(m);
        m.arrays["qwen35.attention.recurrent_layers"] = {1, 0};
    });
    check_failure(metadata, "llama.attention.head_count_kv: 0 is out of range",
                  [](TinyModel &m) { m.counts["llama.attention.head_count_kv"] = 0; });
}

TEST_CASE("keys shared between layers") {
    check_failure(Status::kMetadataInvalid, "llama.attention.shared_kv_layers: 1 leaves layer 0 no layer like it",
                  [](TinyModel &m) { m.counts["llama.attention.shared_kv_layers"] = 1; });
    check_failure(Status::kMetadataInvalid, "llama.attention.shared_kv_layers: 9 leaves layer 0 no layer like it",
                  [](TinyModel &m) { m.counts["llama.attention.shared_kv_layers"] = 9; });
}

namespace {

// Another layer like the first.
void give_layer(TinyModel &m, uint32_t i) {
    const std::map<std::string, std::vector<uint64_t>> tensors = m.tensors;
    for (auto &[name, shape] : tensors)
        if (name.starts_with("blk.0.")) m.tensors["blk." + std::to_string(i) + name.substr(5)] = shape;
}

}  // namespace

TEST_CASE("layers that share keys may keep their own in the file, unread") {
    auto gemma4 = [](TinyModel &m) {
        rename(m, "gemma4");
        give_post_norms(m);
        m.tensors["blk.0.attn_q_norm.weight"] = m.tensors["blk.0.attn_k_norm.weight"] = {8};
        for (const char *end : {"attn_k.scale", "attn_k.input_scale", "attn_v.scale"})
            m.tensors["blk.0." + std::string(end)] = {1};
        for (uint32_t i = 1; i < 4; ++i) give_layer(m, i);
        m.counts["gemma4.block_count"] = 4;
        m.counts["gemma4.attention.sliding_window"] = 7;
        m.counts["gemma4.attention.shared_kv_layers"] = 2;
        m.arrays["gemma4.attention.sliding_window_pattern"] = {1, 0, 1, 0};
    };
    ModelSpec spec = resolve(gemma4);
    CHECK(spec.layers[1].kv_layer == -1);
    CHECK(spec.layers[2].kv_layer == 0);
    CHECK(spec.layers[3].kv_layer == 1);
    CHECK(spec.layers[1].has(Role::kKey));
    CHECK(!spec.layers[2].has(Role::kKey));
    CHECK(!spec.layers[2].has(Role::kKeyNorm));
    CHECK(spec.layers[1].scale_of(Role::kKey) >= 0);
    CHECK(spec.layers[2].scale_of(Role::kKey) == -1);
    spec = resolve([&](TinyModel &m) {
        gemma4(m);
        for (const char *name : {"attn_k.weight", "attn_v.weight", "attn_k_norm.weight"})
            for (const char *layer : {"blk.2.", "blk.3."}) m.tensors.erase(std::string(layer) + name);
    });
    CHECK(spec.layers[3].kv_layer == 1);
    check_failure(Status::kTensorInvalid, "blk.1.attn_k.weight is missing", [&](TinyModel &m) {
        gemma4(m);
        m.tensors.erase("blk.1.attn_k.weight");
    });
}

TEST_CASE("layers that draft are left alone, and so are encoders") {
    auto drafting = [](TinyModel &m) {
        m.counts["llama.block_count"] = 2;
        m.counts["llama.nextn_predict_layers"] = 1;
        m.tensors["blk.1.nextn.eh_proj.weight"] = {64, 32};
        m.tensors["blk.1.attn_q.weight"] = {32, 32};
        m.tensors["v.patch_embd.weight"] = m.tensors["mm.0.weight"] = {8, 8};
    };
    CHECK(resolve(drafting).layers.size() == 1);
    for (const std::vector<uint32_t> &lengths : {std::vector<uint32_t>{48}, {48, 48}})
        CHECK(resolve([&](TinyModel &m) {
                  drafting(m);
                  m.counts.erase("llama.feed_forward_length");
                  m.arrays["llama.feed_forward_length"] = lengths;
              })
                  .layers[0]
                  .ffn_width == 48);
    check_failure(Status::kUnsupported, "tensor blk.2.attn_q.weight has no meaning", [&](TinyModel &m) {
        drafting(m);
        m.tensors["blk.2.attn_q.weight"] = {32, 32};
    });
    check_failure(Status::kMetadataInvalid, "llama.nextn_predict_layers: 2 leaves nothing of the 2 layers",
                  [&](TinyModel &m) {
                      drafting(m);
                      m.counts["llama.nextn_predict_layers"] = 2;
                  });
}

TEST_CASE("a parallel FFN needs no norm of its own, any other does") {
    auto stablelm = [](TinyModel &m) {
        rename(m, "stablelm");
        m.reals = {{"stablelm.attention.layer_norm_epsilon", 1e-5f}};
        m.tensors["output_norm.bias"] = m.tensors["blk.0.attn_norm.bias"] = {32};
        m.tensors.erase("blk.0.ffn_norm.weight");
    };
    check_failure(Status::kTensorInvalid, "tensor blk.0.ffn_norm.weight is missing", stablelm);
    CHECK(resolve([&](TinyModel &m) {
              stablelm(m);
              m.flags["stablelm.use_parallel_residual"] = true;
          }).parallel_residual);
    CHECK_FALSE(resolve([&](TinyModel &m) {  // as files of StableLM 3B say, whose configuration has no such entry
                    stablelm(m);
                    m.flags["stablelm.use_parallel_residual"] = true;
                    m.tensors["blk.0.ffn_norm.weight"] = m.tensors["blk.0.ffn_norm.bias"] = {32};
                })
                    .parallel_residual);
    check_failure(Status::kMetadataInvalid, "stablelm.attention.layer_norm_epsilon: is missing", [&](TinyModel &m) {
        stablelm(m);
        m.reals.clear();
    });
}

TEST_CASE("the program of a llama") {
    TinyModel model;
    GgufFile file = model.write();
    ModelSpec spec = resolve_spec(file);
    Program program = build_program(spec, file.tensors());
    REQUIRE(program.cache_layers.size() == 1);
    REQUIRE(program.cache_groups.size() == 1);
    CHECK(program.cache_groups[0].n_kv_heads == 2);
    CHECK(program.constants.size() == 4);
    CHECK(program.values[program.logits].rows == Rows::kOutputs);
    CHECK(program.values[program.logits].width == 50);
    std::string dump = dump_program(program, file.tensors());
    CHECK(dump == R"(cache group 0: full, 1 layers, 2 kv heads, head_dim 8/8
%0 [tokens, 32] = embed token_embd.weight F32[50, 32]
%1 [tokens, 32] = norm rms groups=1 epsilon=1e-05 %0 blk.0.attn_norm.weight F32[1, 32]
%2 [tokens, 32] = linear %1 blk.0.attn_q.weight F32[32, 32]
%3 [tokens, 16] = linear %1 blk.0.attn_k.weight F32[16, 32]
%4 [tokens, 16] = linear %1 blk.0.attn_v.weight F32[16, 32]
%5 [tokens, 32] = rope interleaved heads=4 head_dim=8 dims=8 frequencies@0 magnitude=1 %2
%6 [tokens, 16] = rope interleaved heads=2 head_dim=8 dims=8 frequencies@0 magnitude=1 %3
cache-write cache=0 %6 %4
%7 [tokens, 32] = attention cache=0 heads=4 kv_heads=2 head_dim=8/8 scale=0.353553 %5
%8 [tokens, 32] = linear %7 blk.0.attn_output.weight F32[32, 32]
%9 [tokens, 32] = add %0 %8
%10 [outputs, 32] = output-rows %9
%11 [outputs, 32] = norm rms groups=1 epsilon=1e-05 %10 blk.0.ffn_norm.weight F32[1, 32]
%12 [outputs, 48] = linear %11 blk.0.ffn_gate.weight F32[48, 32]
%13 [outputs, 48] = linear %11 blk.0.ffn_up.weight F32[48, 32]
%14 [outputs, 48] = gate silu %12 %13
%15 [outputs, 32] = linear %14 blk.0.ffn_down.weight F32[32, 48]
%16 [outputs, 32] = add %10 %15
%17 [outputs, 32] = norm rms groups=1 epsilon=1e-05 %16 output_norm.weight F32[1, 32]
%18 [outputs, 50] = linear %17 token_embd.weight F32[50, 32]
)");
}
