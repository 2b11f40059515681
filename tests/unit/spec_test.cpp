// Specs from metadata and tensors: what the rows resolve to, and a sentence for everything that can be wrong.
#include "program/build.h"
#include "spec_helpers.h"

using namespace el;

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
