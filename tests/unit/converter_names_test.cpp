// The tensors that the field's converter knows for each architecture have a place in its row here. Names without
// `blk.N.` and `.weight` are facts of the format.
#include "model/archs.h"

#include <doctest/doctest.h>
#include <map>
#include <set>
#include <sstream>

using namespace el;

namespace {

const char *const kTrunk = "token_embd output_norm output ";
const char *const kAttention = "attn_norm attn_qkv attn_q attn_k attn_v attn_output ";
const char *const kHeadNorms = "attn_q_norm attn_k_norm ";
const char *const kFfn = "ffn_norm ffn_gate ffn_down ffn_up ";
const char *const kExperts = "ffn_norm ffn_gate_inp ffn_gate_exps ffn_down_exps ffn_up_exps ";
const char *const kSharedExpert = "ffn_gate_shexp ffn_up_shexp ffn_down_shexp ";
const char *const kPostNorms = "post_attention_norm post_ffw_norm ";

// What the converter's lists name, but no file of these architectures has.
const std::set<std::string> kNeverWritten = {
    "attn_rot_embd",  // left out by every converter
    "qwen2 rope_freqs",     "qwen3 rope_freqs",      "smollm3 rope_freqs",     "stablelm rope_freqs",
    "nemotron rope_freqs",  "mistral3 ffn_gate_inp", "mistral3 ffn_gate_exps", "mistral3 ffn_down_exps",
    "mistral3 ffn_up_exps", "lfm2 dense_2",  // of retrievers
};

std::string tensors_of(const std::string &architecture) {
    const std::map<std::string, std::vector<std::string>> lists = {
        {"llama", {kTrunk, "rope_freqs attn_rot_embd ", kAttention, kFfn, kExperts}},
        {"mistral3", {kTrunk, "rope_freqs attn_rot_embd ", kAttention, kFfn, kExperts}},
        {"smollm3", {kTrunk, "rope_freqs attn_rot_embd ", kAttention, kFfn}},
        {"granite", {kTrunk, kAttention, kFfn}},
        {"granitemoe", {kTrunk, kAttention, kExperts, kSharedExpert}},
        {"granitehybrid",
         {kTrunk, kAttention, kFfn, kExperts, kSharedExpert, "ssm_in ssm_conv1d ssm_dt ssm_a ssm_d ssm_norm ssm_out"}},
        {"qwen2", {kTrunk, "rope_freqs ", kAttention, kFfn}},
        {"qwen2moe", {kTrunk, kAttention, kExperts, kSharedExpert, "ffn_gate_inp_shexp"}},
        {"qwen3", {kTrunk, "rope_freqs ", kAttention, kHeadNorms, kFfn}},
        {"qwen3moe", {kTrunk, kAttention, kHeadNorms, kExperts}},
        {"qwen35",
         {kTrunk, kAttention, kHeadNorms, "post_attention_norm attn_gate ffn_gate ffn_down ffn_up ",
          "ssm_a ssm_conv1d ssm_dt ssm_norm ssm_beta ssm_alpha ssm_out"}},
        {"gemma2", {"token_embd output_norm ", kAttention, kFfn, kPostNorms}},
        {"gemma3", {kTrunk, kAttention, kHeadNorms, kFfn, kPostNorms}},
        {"gemma4",  // without those of its mixture of experts
         {kTrunk, "rope_freqs ", kAttention, kHeadNorms, kFfn, kPostNorms, "layer_output_scale per_layer_token_embd ",
          "per_layer_model_proj inp_gate proj per_layer_proj_norm post_norm"}},
        {"phi3", {kTrunk, "rope_factors_long rope_factors_short ", kAttention, "ffn_norm ffn_down ffn_up"}},
        {"stablelm", {kTrunk, "rope_freqs ", kAttention, kHeadNorms, kFfn}},
        {"nemotron", {kTrunk, "rope_freqs attn_rot_embd ", kAttention, "ffn_norm ffn_down ffn_up"}},
        {"olmo2",
         {kTrunk, "attn_qkv attn_q attn_k attn_v attn_output ", kHeadNorms, kPostNorms, "ffn_gate ffn_down ffn_up"}},
        {"olmoe", {kTrunk, kAttention, kHeadNorms, kExperts}},
        {"exaone4",
         {kTrunk, "rope_freqs attn_qkv attn_q attn_k attn_v attn_output ", kHeadNorms, kPostNorms,
          "ffn_gate ffn_down ffn_up"}},
        {"hunyuan-dense", {kTrunk, kAttention, kHeadNorms, kFfn}},
        {"gpt-oss",
         {kTrunk, kAttention, "post_attention_norm attn_sinks ffn_gate_inp ffn_gate_exps ffn_down_exps ffn_up_exps"}},
        {"lfm2",
         {"token_embd token_embd_norm output dense_2 ", kAttention, kHeadNorms, kFfn,
          "shortconv.conv shortconv.in_proj shortconv.out_proj"}},
    };
    std::string all;
    auto found = lists.find(architecture);
    REQUIRE_MESSAGE(found != lists.end(), architecture);
    for (const std::string &part : found->second) all += part;
    return all;
}

// attn_q of blk.{}.attn_q.weight
std::string stem(std::string name) {
    if (name.starts_with("blk.{}.")) name = name.substr(7);
    for (const char *end : {".weight", ".bias"})
        if (name.ends_with(end)) name.resize(name.size() - std::string(end).size());
    return name;
}

}  // namespace

TEST_CASE("every tensor that converters write has a place") {
    for (const ArchRow &row : architectures()) {
        std::set<std::string> known;
        for (TensorRows rows : row.tensors)
            for (const TensorRow &tensor : rows) known.insert(stem(tensor.name));
        std::istringstream names(tensors_of(row.name));
        for (std::string name; names >> name;) {
            const std::string which = std::string(row.name) + " " + name;
            CAPTURE(which);
            CHECK((known.count(name) || kNeverWritten.count(name) || kNeverWritten.count(which)));
        }
    }
}

TEST_CASE("experts may come fused wherever the converter offers it") {
    for (const ArchRow &row : architectures()) {
        bool apart = false, fused = false, biases = false;
        for (TensorRows rows : row.tensors)
            for (const TensorRow &tensor : rows) {
                apart |= tensor.role == Role::kExpertGate;
                fused |= tensor.role == Role::kExpertGateUp;
                biases |= tensor.role == Role::kExpertGateBias;
            }
        CAPTURE(row.name);
        CHECK(fused == (apart && !biases));
    }
}
