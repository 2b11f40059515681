// Files whose Q, K and V, or whose experts' gates and ups, are one tensor: the golden models, joined.
#include "engine_helpers.h"
#include "model/gguf.h"

#include <cstdio>
#include <fstream>
#include <iterator>
#include <unistd.h>

using namespace el;

namespace {

struct Tensor {
    std::string name;
    TensorInfo info;
    std::string bytes;
};

template <typename T> void put(std::string &out, T value) {
    out.append(reinterpret_cast<const char *>(&value), sizeof value);
}

// The file with its metadata as it is and other tensors.
std::string rewrite(const std::string &path, const std::vector<Tensor> &old, const std::vector<Tensor> &tensors) {
    std::ifstream in(path, std::ios::binary);
    std::string file((std::istreambuf_iterator<char>(in)), {}), first;
    put(first, uint64_t(old[0].name.size()));
    const size_t keys_end = file.find(first + old[0].name);
    REQUIRE(keys_end != file.npos);
    std::string out = file.substr(0, 8), data;
    put(out, uint64_t(tensors.size()));
    out += file.substr(16, keys_end - 16);
    for (const Tensor &t : tensors) {
        put(out, uint64_t(t.name.size()));
        out += t.name;
        put(out, t.info.n_dims);
        for (uint32_t d = 0; d < t.info.n_dims; ++d) put(out, t.info.shape[d]);
        put(out, t.info.format == Format::kF32 ? 0u : 1u);
        put(out, uint64_t(data.size()));
        data += t.bytes;
        data.resize((data.size() + 31) / 32 * 32);
    }
    out.resize((out.size() + 31) / 32 * 32);
    char to[] = "/tmp/edgellm-fused-XXXXXX";
    close(mkstemp(to));
    std::ofstream(to, std::ios::binary) << out << data;
    return to;
}

bool is_one_of(const std::string &name, const std::vector<std::string> &ends) {
    return std::any_of(ends.begin(), ends.end(), [&](const std::string &e) { return name.ends_with(e); });
}

// Joins tensors with these ends, expert by expert, where a layer has all of them. Returns how many layers had.
int join(std::vector<Tensor> &tensors, const std::vector<std::string> &ends, const std::string &end) {
    std::vector<Tensor> out;
    int n = 0;
    for (const Tensor &t : tensors) {
        const std::string layer = t.name.substr(0, t.name.find('.', 4) + 1);
        std::vector<const Tensor *> parts;
        for (const std::string &e : ends)
            for (const Tensor &other : tensors)
                if (other.name == layer + e) parts.push_back(&other);
        if (parts.size() < ends.size() || !is_one_of(t.name, ends)) {
            out.push_back(t);
            continue;
        }
        if (!t.name.ends_with(ends[0])) continue;
        Tensor joined = t;
        const uint32_t dim = t.info.n_dims == 1 ? 0 : 1;
        joined.name = layer + end;
        joined.bytes.clear();
        joined.info.shape[dim] = 0;
        for (const Tensor *p : parts) joined.info.shape[dim] += p->info.shape[dim];
        for (uint64_t e = 0; e < t.info.shape[2]; ++e)
            for (const Tensor *p : parts) {
                const size_t bytes = p->bytes.size() / t.info.shape[2];
                joined.bytes += p->bytes.substr(e * bytes, bytes);
            }
        out.push_back(joined);
        ++n;
    }
    tensors = out;
    return n;
}

struct Fused {
    std::string path;
    int qkv, biases, experts;
    ~Fused() { std::remove(path.c_str()); }
};

Fused fuse(const std::string &name, bool with_biases = true) {
    const std::string path = kGolden + name + ".gguf";
    GgufFile file = GgufFile::open(path);
    std::vector<Tensor> old;
    for (const TensorInfo &info : file.tensors()) {
        REQUIRE((info.format == Format::kF32 || info.format == Format::kF16));
        old.push_back({std::string(info.name), info, std::string(info.bytes, '\0')});
        file.read_tensor(info, 0, old.back().bytes.data(), info.bytes);
    }
    std::vector<Tensor> tensors = old;
    Fused out;
    out.qkv = join(tensors, {"attn_q.weight", "attn_k.weight", "attn_v.weight"}, "attn_qkv.weight");
    out.biases = with_biases ? join(tensors, {"attn_q.bias", "attn_k.bias", "attn_v.bias"}, "attn_qkv.bias") : 0;
    out.experts = join(tensors, {"ffn_gate_exps.weight", "ffn_up_exps.weight"}, "ffn_gate_up_exps.weight");
    out.path = rewrite(path, old, tensors);
    return out;
}

void check_logits(const std::string &name, const std::string &path) {
    use_backends();
    const auto tokens = read_npy<int32_t>(kGolden + name + ".tokens.npy");
    const auto wanted = read_npy<float>(kGolden + name + ".npy");
    for (bool reference : {true, false}) {
        ModelOptions options;
        options.reference_kernels = reference;
        for (size_t batch : {size_t(48), size_t(1), size_t(7)}) {
            Context context(Model::load(path, options), exact());
            CHECK(relative_error(all_logits(context, tokens, batch), wanted) < (reference ? 1e-4 : 3e-2));
        }
    }
}

}  // namespace

TEST_CASE("fused tensors give the logits of separate ones") {
    struct Case {
        const char *name;
        bool biases, experts;
    };
    for (const Case &c :
         {Case{"llama", false, false}, Case{"qwen2", true, false}, Case{"qwen2moe", true, true},
          Case{"qwen35", false, false}, Case{"gemma4-e2b", false, false}, Case{"granite-hybrid-moe", false, true}}) {
        CAPTURE(c.name);
        Fused fused = fuse(c.name);
        CHECK(fused.qkv > 0);
        CHECK((fused.biases > 0) == c.biases);
        CHECK((fused.experts > 0) == c.experts);
        check_logits(c.name, fused.path);
    }
    check_logits("qwen2", fuse("qwen2", false).path);  // one matrix, three biases
}
