// A llama of one layer to make files of other architectures from, right and wrong ones.
#pragma once
#include "base/status.h"
#include "model/gguf_writer.h"
#include "model/spec.h"

#include <cstdio>
#include <doctest/doctest.h>
#include <functional>
#include <map>
#include <type_traits>
#include <unistd.h>

namespace el {

// To be changed before it is written.
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

inline ModelSpec resolve(const std::function<void(TinyModel &)> &change = [](TinyModel &) {}) {
    TinyModel model;
    change(model);
    return resolve_spec(model.write());
}

inline void check_failure(Status status, const std::string &part, const std::function<void(TinyModel &)> &change) {
    try {
        resolve(change);
        FAIL_CHECK("resolved, expected: " << part);
    } catch (const Error &e) {
        CAPTURE(e.what());
        CHECK(e.status() == status);
        CHECK(std::string(e.what()).find(part) != std::string::npos);
    }
}

// The tiny llama as a file of another architecture.
inline void rename(TinyModel &m, const std::string &architecture) {
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

inline void give_post_norms(TinyModel &m) {
    m.tensors["blk.0.post_attention_norm.weight"] = m.tensors["blk.0.post_ffw_norm.weight"] = {32};
}

inline void give_experts(TinyModel &m, uint32_t n, uint32_t used) {
    m.counts["llama.expert_count"] = n;
    m.counts["llama.expert_used_count"] = used;
    m.counts["llama.expert_feed_forward_length"] = 16;
    for (const char *name : {"gate", "up", "down"}) m.tensors.erase("blk.0.ffn_" + std::string(name) + ".weight");
    m.tensors["blk.0.ffn_gate_inp.weight"] = {32, n};
    m.tensors["blk.0.ffn_gate_exps.weight"] = m.tensors["blk.0.ffn_up_exps.weight"] = {32, 16, n};
    m.tensors["blk.0.ffn_down_exps.weight"] = {16, 32, n};
}

}  // namespace el
