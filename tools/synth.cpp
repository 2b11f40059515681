// edgellm synth: a file with the shape of a real model and random weights, for measuring.
#include "commands.h"
#include "compute.h"
#include "interrupt.h"
#include "output.h"
#include "synth_shapes.h"
#include "synth_weights.h"

#include "model/gguf_writer.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <optional>

namespace tool {
namespace {

using el::Format;

struct Options {
    std::string shape, file, quant = "Q4_K_M";
    uint32_t layers = 0;  // 0: as many as the real one
    uint64_t seed = 1;
    bool list = false;
};

struct Mixture {
    const char *name;
    Format matrices, finer;  // finer: the output, and with `some_finer` what more_bits() picks
    bool some_finer;
    uint32_t file_type;  // general.file_type
};
constexpr Mixture kMixtures[] = {
    {"Q4_K_M", Format::kQ4_K, Format::kQ6_K, true, 15},    {"Q4_0", Format::kQ4_0, Format::kQ6_K, false, 2},
    {"Q8_0", Format::kQ8_0, Format::kQ8_0, false, 7},      {"F16", Format::kF16, Format::kF16, false, 1},
    {"IQ4_NL", Format::kIQ4_NL, Format::kQ6_K, false, 25}, {"IQ4_XS", Format::kIQ4_XS, Format::kQ6_K, false, 30},
    {"TQ1_0", Format::kTQ1_0, Format::kQ6_K, false, 36},   {"TQ2_0", Format::kTQ2_0, Format::kQ6_K, false, 37},
    {"MXFP4", Format::kMXFP4, Format::kQ8_0, false, 38},   {"NVFP4", Format::kNVFP4, Format::kQ8_0, false, 39}};

std::string mixture_names() {
    std::string names;
    for (const Mixture &mixture : kMixtures) names += el::format("{}{}", names.empty() ? "" : ", ", mixture.name);
    return names;
}

const Mixture &find_mixture(const std::string &name) {
    for (const Mixture &mixture : kMixtures)
        if (name == mixture.name) return mixture;
    const el::FormatInfo *format = el::find_format(std::string_view(name));
    if (format && !format->encode)
        fail("--quant {}: {} can be read, but not written; choose one of {}", name, format->name, mixture_names());
    throw UsageError(el::format("--quant {}: must be one of {}", name, mixture_names()));
}

// The layers whose value and down matrices get more bits in llama.cpp's Q4_K_M: the first and last eighth, and every
// third between.
bool more_bits(uint32_t layer, uint32_t layers) {
    const uint32_t eighth = layers / 8;
    return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

// What stands in for a format whose blocks do not fit into a row.
Format fitting(Format format, uint64_t cols) {
    if (cols % el::format_info(format).values == 0) return format;
    if (format == Format::kQ4_K) return Format::kQ5_0;
    if (format == Format::kQ6_K) return Format::kQ8_0;
    if (format == Format::kIQ4_XS) return Format::kIQ4_NL;
    if (format == Format::kTQ1_0 || format == Format::kTQ2_0) return Format::kQ4_0;
    return Format::kF16;
}

// How llama 3.1 and later stretch their rope: low frequencies by `factor`, high ones not at all.
std::vector<float> rope_factors(const Shape &shape) {
    constexpr float kLow = 1, kHigh = 4, kTrained = 8192;
    std::vector<float> factors(shape.head_dim / 2);
    for (size_t i = 0; i < factors.size(); ++i) {
        const float frequency = std::pow(shape.rope_base, -2 * float(i) / float(shape.head_dim));
        const float wavelengths = kTrained * frequency / (2 * std::numbers::pi_v<float>);  // in the trained context
        const float blend = std::clamp((wavelengths - kLow) / (kHigh - kLow), 0.0f, 1.0f);
        factors[i] = 1 / ((1 - blend) / shape.rope_factor + blend);
    }
    return factors;
}

enum class Fill { kWeights, kOnes, kBias, kRopeFactors };

struct Tensor {
    std::string name;
    Format format;
    uint64_t rows, cols;  // rows 0: a vector
    Fill fill = Fill::kWeights;
    uint64_t bytes = 0;
    uint64_t experts = 0;  // so many matrices, one after the other; 0: one

    std::vector<uint64_t> dims() const {  // the fastest first
        std::vector<uint64_t> dims{cols};
        if (rows > 0) dims.push_back(rows);
        if (experts > 0) dims.push_back(experts);
        return dims;
    }
    uint64_t all_rows() const { return rows * std::max<uint64_t>(experts, 1); }
};

class TensorList {
  public:
    TensorList(const Shape &shape, const Mixture &mixture) : shape_(shape), mixture_(mixture) {
        const Format output = mixture.finer, embedding = shape.tied ? output : mixture.matrices;
        matrix("token_embd.weight", shape.vocab, shape.width, embedding);
        if (shape.rope_factor > 0) vector("rope_freqs.weight", shape.head_dim / 2, Fill::kRopeFactors);
        for (uint32_t i = 0; i < shape.layers; ++i) add_layer(i);
        vector("output_norm.weight", shape.width, Fill::kOnes);
        if (!shape.tied) matrix("output.weight", shape.vocab, shape.width, output);
    }

    std::vector<Tensor> tensors;

  private:
    void matrix(const std::string &name, uint64_t rows, uint64_t cols, Format format) {
        tensors.push_back({name, fitting(format, cols), rows, cols});
    }
    void feed_forward(const std::string &at, Format usual, Format down) {
        const std::string suffix = shape_.experts ? "_exps.weight" : ".weight";
        const size_t first = tensors.size();
        matrix(at + "ffn_gate" + suffix, shape_.ffn_width, shape_.width, usual);
        matrix(at + "ffn_up" + suffix, shape_.ffn_width, shape_.width, usual);
        matrix(at + "ffn_down" + suffix, shape_.width, shape_.ffn_width, down);
        for (size_t i = first; i < tensors.size(); ++i) tensors[i].experts = shape_.experts;
        if (shape_.experts) matrix(at + "ffn_gate_inp.weight", shape_.experts, shape_.width, Format::kF32);
    }
    void vector(const std::string &name, uint64_t cols, Fill fill) {
        tensors.push_back({name, Format::kF32, 0, cols, fill});
    }
    void add_layer(uint32_t i) {
        const std::string at = el::format("blk.{}.", i);
        const uint64_t queries = uint64_t{shape_.heads} * shape_.head_dim;
        const uint64_t keys = uint64_t{shape_.kv_heads} * shape_.head_dim;
        const Format usual = mixture_.matrices;
        const Format maybe_finer =
            mixture_.some_finer && more_bits(i, shape_.layers) ? mixture_.finer : mixture_.matrices;
        vector(at + "attn_norm.weight", shape_.width, Fill::kOnes);
        matrix(at + "attn_q.weight", queries, shape_.width, usual);
        matrix(at + "attn_k.weight", keys, shape_.width, usual);
        matrix(at + "attn_v.weight", keys, shape_.width, maybe_finer);
        matrix(at + "attn_output.weight", shape_.width, queries, usual);
        if (shape_.qkv_bias) {
            vector(at + "attn_q.bias", queries, Fill::kBias);
            vector(at + "attn_k.bias", keys, Fill::kBias);
            vector(at + "attn_v.bias", keys, Fill::kBias);
        }
        if (shape_.qk_norm) {
            vector(at + "attn_q_norm.weight", shape_.wide_norms ? queries : shape_.head_dim, Fill::kOnes);
            vector(at + "attn_k_norm.weight", shape_.wide_norms ? keys : shape_.head_dim, Fill::kOnes);
        }
        vector(at + "ffn_norm.weight", shape_.width, Fill::kOnes);
        if (shape_.post_norms) {
            vector(at + "post_attention_norm.weight", shape_.width, Fill::kOnes);
            vector(at + "post_ffw_norm.weight", shape_.width, Fill::kOnes);
        }
        feed_forward(at, usual, maybe_finer);
    }

    const Shape &shape_;
    const Mixture &mixture_;
};

void set_metadata(el::GgufWriter &file, const Shape &shape, const Mixture &mixture) {
    const std::string prefix = std::string(shape.architecture) + ".";
    file.set("general.architecture", shape.architecture);
    file.set("general.name", std::string(shape.name) + " with random weights");
    file.set("general.file_type", mixture.file_type);
    file.set("general.quantization_version", uint32_t{2});
    file.set(prefix + "block_count", shape.layers);
    file.set(prefix + "context_length", shape.context);
    file.set(prefix + "embedding_length", shape.width);
    file.set(prefix + "feed_forward_length", shape.ffn_width);
    if (shape.experts) {
        file.set(prefix + "expert_count", shape.experts);
        file.set(prefix + "expert_used_count", shape.experts_used);
        file.set(prefix + "expert_feed_forward_length", shape.ffn_width);
    }
    file.set(prefix + "attention.head_count", shape.heads);
    file.set(prefix + "attention.head_count_kv", shape.kv_heads);
    file.set(prefix + "attention.key_length", shape.head_dim);
    file.set(prefix + "attention.value_length", shape.head_dim);
    file.set(prefix + "attention.layer_norm_rms_epsilon", shape.norm_epsilon);
    if (shape.window) file.set(prefix + "attention.sliding_window", shape.window);
    file.set(prefix + "rope.dimension_count", shape.head_dim);
    file.set(prefix + "rope.freq_base", shape.rope_base);
    file.set(prefix + "vocab_size", shape.vocab);
    file.set("tokenizer.ggml.model", "none");
}

std::vector<float> vector_values(const Tensor &tensor, const Shape &shape, Random &random) {
    if (tensor.fill == Fill::kRopeFactors) return rope_factors(shape);
    std::vector<float> values(tensor.cols, 1.0f);
    if (tensor.fill == Fill::kBias)
        for (float &value : values) value = 0.1f * random.normal();
    return values;
}

void write_data(el::GgufWriter &file, const std::vector<Tensor> &tensors, const Shape &shape, uint64_t seed) {
    uint64_t total = 0, done = 0;
    for (const Tensor &tensor : tensors) total += tensor.bytes;
    Progress progress(el::format("writing {}", bytes_text(double(total))), total);
    Random random(~seed);
    RandomWeights weights(seed);
    std::vector<std::byte> buffer;
    constexpr uint64_t kChunkBytes = 4 << 20;
    for (const Tensor &tensor : tensors) {
        if (tensor.fill != Fill::kWeights) {
            const std::vector<float> values = vector_values(tensor, shape, random);
            file.write(values.data(), tensor.bytes);
        }
        const uint64_t row_bytes = el::row_bytes(tensor.format, tensor.cols);
        const uint64_t rows = std::max<uint64_t>(kChunkBytes / row_bytes, 1);
        for (uint64_t row = 0; tensor.fill == Fill::kWeights && row < tensor.all_rows(); row += rows) {
            check_interrupt();
            buffer.resize(std::min(rows, tensor.all_rows() - row) * row_bytes);
            weights.fill(tensor.format, tensor.cols, buffer);
            file.write(buffer.data(), buffer.size());
            progress.at(done + row * row_bytes);
        }
        done += tensor.bytes;
    }
}

void list_shapes() {
    for (const Shape &s : shapes())
        put(el::format("{:<15} {} layers, width {}, ffn {}, {} heads of {}, {} for keys, vocabulary {}{}{}{}\n", s.name,
                       s.layers, s.width, s.ffn_width, s.heads, s.head_dim, s.kv_heads, s.vocab, s.tied ? ", tied" : "",
                       s.window ? el::format(", window {}", s.window) : "",
                       s.experts ? el::format(", {} of {} experts", s.experts_used, s.experts) : ""));
}

void synth(const Options &options) {
    if (options.list) return list_shapes();
    if (options.file.empty()) throw UsageError("give a shape and a file to write; --list names the shapes");
    const Shape *known = find_shape(options.shape.c_str());
    if (!known) throw UsageError(el::format("there is no shape '{}'; edgellm synth --list names them", options.shape));
    Shape shape = *known;
    if (options.layers) shape.layers = options.layers;
    const Mixture &mixture = find_mixture(options.quant);

    std::vector<Tensor> tensors = TensorList(shape, mixture).tensors;
    el::GgufWriter file(options.file);
    set_metadata(file, shape, mixture);
    for (Tensor &tensor : tensors) {
        tensor.bytes = file.add_tensor(tensor.name, tensor.format, tensor.dims());
    }
    file.begin_data();
    write_data(file, tensors, shape, options.seed);
    file.finish();
}

}  // namespace

void add_synth(CLI::App &program) {
    auto options = std::make_shared<Options>();
    CLI::App *command = program.add_subcommand("synth", "a model of a real shape with random weights, for measuring");
    command->add_option("shape", options->shape, "whose shape (--list)");
    command->add_option("file", options->file, "model file to write (GGUF)");
    command->add_flag("--list", options->list, "print the shapes");
    command->add_option("--quant", options->quant, mixture_names())->capture_default_str();
    command->add_option("--layers", options->layers, "fewer or more layers than the real one")
        ->check(positive)
        ->check(CLI::Range(1, 1000));
    command->add_option("--seed", options->seed, "of the random numbers")->capture_default_str();
    command->callback([options] { synth(*options); });
}

}  // namespace tool
