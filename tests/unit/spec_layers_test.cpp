// Specs of layers: experts, fused tensors, windows, layers without attention and layers that share keys.
#include "spec_helpers.h"

using namespace el;

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
