#include "model/catalog.h"

#include "quant/format.h"

namespace el {
namespace {

constexpr const char *kApache = "Apache-2.0", *kGemma = "Gemma", *kLfm = "LFM Open 1.0",
                     *kHunyuan = "Tencent Hunyuan Community", *kExaone = "EXAONE 1.2 NC",
                     *kLlama31 = "Llama 3.1 Community", *kLlama32 = "Llama 3.2 Community",
                     *kStability = "Stability AI Community";
constexpr Proof kReal = Proof::kRealFile, kGolden = Proof::kGolden;
constexpr bool kTied = true, kOwn = false;  // the output matrix

// Published facts: model cards, configurations, licenses.
// clang-format off
constexpr CatalogModel kCatalog[] = {
    // family, size, architecture, license, context, millions of parameters, proof,
    //     {layers, width, ffn, heads, KV heads, head size, vocabulary, output, experts, shared expert's ffn}
    {"TinyLlama", "1.1B", "llama", kApache, 2048, 1100, kGolden, {22, 2048, 5632, 32, 4, 64, 32000, kOwn}},
    {"Llama 3.1", "8B", "llama", kLlama31, 131072, 8030, kGolden, {32, 4096, 14336, 32, 8, 128, 128256, kOwn}},
    {"Llama 3.2", "1B", "llama", kLlama32, 131072, 1236, kGolden, {16, 2048, 8192, 32, 8, 64, 128256, kTied}},
    {"Llama 3.2", "3B", "llama", kLlama32, 131072, 3213, kGolden, {28, 3072, 8192, 24, 8, 128, 128256, kTied}},
    {"Llama 3.3", "70B", "llama", "Llama 3.3 Community", 131072, 70554, kGolden, {80, 8192, 28672, 64, 8, 128, 128256, kOwn}},
    {"DeepSeek-R1-Distill-Llama", "8B", "llama", "MIT, Llama 3.1 Community", 131072, 8030, kGolden, {32, 4096, 14336, 32, 8, 128, 128256, kOwn}},
    {"Llama-3.1-Minitron", "4B", "llama", "NVIDIA Open Model", 131072, 4513, kGolden, {32, 3072, 9216, 32, 8, 128, 128256, kOwn}},
    {"SmolLM2", "135M", "llama", kApache, 8192, 134.5, kReal, {30, 576, 1536, 9, 3, 64, 49152, kTied}},
    {"SmolLM2", "360M", "llama", kApache, 8192, 361.8, kGolden, {32, 960, 2560, 15, 5, 64, 49152, kTied}},
    {"SmolLM2", "1.7B", "llama", kApache, 8192, 1711, kGolden, {24, 2048, 8192, 32, 32, 64, 49152, kTied}},
    {"SmolLM3", "3B", "smollm3", kApache, 65536, 3075, kGolden, {36, 2048, 11008, 16, 4, 128, 128256, kTied}},
    {"Mistral v0.3", "7B", "llama", kApache, 32768, 7248, kGolden, {32, 4096, 14336, 32, 8, 128, 32768, kOwn}},
    {"Mistral Nemo", "12B", "llama", kApache, 131072, 12248, kGolden, {40, 5120, 14336, 32, 8, 128, 131072, kOwn}},
    {"Ministral 3", "3B", "mistral3", kApache, 262144, 3429, kGolden, {26, 3072, 9216, 32, 8, 128, 131072, kTied}},
    {"Ministral 3", "8B", "mistral3", kApache, 262144, 8490, kGolden, {34, 4096, 14336, 32, 8, 128, 131072, kOwn}},
    {"Ministral 3", "14B", "mistral3", kApache, 262144, 13506, kGolden, {40, 5120, 16384, 32, 8, 128, 131072, kOwn}},
    {"Mixtral", "8x7B", "llama", kApache, 32768, 46703, kGolden, {32, 4096, 14336, 32, 8, 128, 32000, kOwn, 8}},

    {"Qwen2.5", "0.5B", "qwen2", kApache, 32768, 494, kGolden, {24, 896, 4864, 14, 2, 64, 151936, kTied}},
    {"Qwen2.5", "1.5B", "qwen2", kApache, 32768, 1544, kGolden, {28, 1536, 8960, 12, 2, 128, 151936, kTied}},
    {"Qwen2.5", "3B", "qwen2", "Qwen Research", 32768, 3086, kGolden, {36, 2048, 11008, 16, 2, 128, 151936, kTied}},
    {"Qwen2.5", "7B", "qwen2", kApache, 32768, 7616, kGolden, {28, 3584, 18944, 28, 4, 128, 152064, kOwn}},
    {"Qwen2.5", "14B", "qwen2", kApache, 32768, 14770, kGolden, {48, 5120, 13824, 40, 8, 128, 152064, kOwn}},
    {"DeepSeek-R1-Distill-Qwen", "1.5B", "qwen2", "MIT", 131072, 1777, kGolden, {28, 1536, 8960, 12, 2, 128, 151936, kOwn}},
    {"DeepSeek-R1-Distill-Qwen", "7B", "qwen2", "MIT", 131072, 7616, kGolden, {28, 3584, 18944, 28, 4, 128, 152064, kOwn}},
    {"DeepSeek-R1-Distill-Qwen", "14B", "qwen2", "MIT", 131072, 14770, kGolden, {48, 5120, 13824, 40, 8, 128, 152064, kOwn}},
    {"Qwen1.5-MoE", "A2.7B", "qwen2moe", "Tongyi Qianwen", 8192, 14316, kGolden, {24, 2048, 1408, 16, 16, 128, 151936, kOwn, 60, 5632}},
    {"Qwen3", "0.6B", "qwen3", kApache, 40960, 596, kGolden, {28, 1024, 3072, 16, 8, 128, 151936, kTied}},
    {"Qwen3", "1.7B", "qwen3", kApache, 40960, 1721, kGolden, {28, 2048, 6144, 16, 8, 128, 151936, kTied}},
    {"Qwen3", "4B", "qwen3", kApache, 40960, 4022, kGolden, {36, 2560, 9728, 32, 8, 128, 151936, kTied}},
    {"Qwen3-2507", "4B", "qwen3", kApache, 262144, 4022, kGolden, {36, 2560, 9728, 32, 8, 128, 151936, kTied}},
    {"Qwen3", "8B", "qwen3", kApache, 40960, 8191, kGolden, {36, 4096, 12288, 32, 8, 128, 151936, kOwn}},
    {"Qwen3", "14B", "qwen3", kApache, 40960, 14768, kGolden, {40, 5120, 17408, 40, 8, 128, 151936, kOwn}},
    {"Qwen3", "30B-A3B", "qwen3moe", kApache, 40960, 30532, kGolden, {48, 2048, 768, 32, 4, 128, 151936, kOwn, 128}},
    {"Qwen3.5", "0.8B", "qwen35", kApache, 262144, 752, kGolden, {}},
    {"Qwen3.5", "2B", "qwen35", kApache, 262144, 1882, kGolden, {}},
    {"Qwen3.5", "4B", "qwen35", kApache, 262144, 4206, kGolden, {}},
    {"Qwen3.5", "9B", "qwen35", kApache, 262144, 8954, kGolden, {}},

    {"Gemma 2", "2B", "gemma2", kGemma, 8192, 2614, kGolden, {26, 2304, 9216, 8, 4, 256, 256000, kTied}},
    {"Gemma 2", "9B", "gemma2", kGemma, 8192, 9242, kGolden, {42, 3584, 14336, 16, 8, 256, 256000, kTied}},
    {"Gemma 2", "27B", "gemma2", kGemma, 8192, 27227, kGolden, {46, 4608, 36864, 32, 16, 128, 256000, kTied}},
    {"Gemma 3", "270M", "gemma3", kGemma, 32768, 268, kReal, {18, 640, 2048, 4, 1, 256, 262144, kTied}},
    {"Gemma 3", "1B", "gemma3", kGemma, 32768, 1000, kGolden, {26, 1152, 6912, 4, 1, 256, 262144, kTied}},
    {"Gemma 3", "4B", "gemma3", kGemma, 131072, 3880, kGolden, {34, 2560, 10240, 8, 4, 256, 262144, kTied}},
    {"Gemma 3", "12B", "gemma3", kGemma, 131072, 11766, kGolden, {48, 3840, 15360, 16, 8, 256, 262144, kTied}},
    {"Gemma 3", "27B", "gemma3", kGemma, 131072, 27009, kGolden, {62, 5376, 21504, 32, 16, 128, 262144, kTied}},
    {"Gemma 4", "E2B", "gemma4", kApache, 131072, 5100, kGolden, {}, 3'410'000'000},
    {"Gemma 4", "E4B", "gemma4", kApache, 131072, 8000, kGolden, {}},
    {"Gemma 4", "31B", "gemma4", kApache, 262144, 30700, kGolden, {}},

    {"Phi-3-mini", "3.8B", "phi3", "MIT", 4096, 3821, kGolden, {32, 3072, 8192, 32, 32, 96, 32064, kOwn}},
    {"Phi-3.5-mini", "3.8B", "phi3", "MIT", 131072, 3821, kGolden, {32, 3072, 8192, 32, 32, 96, 32064, kOwn}},
    {"Phi-3-medium", "14B", "phi3", "MIT", 4096, 13960, kGolden, {40, 5120, 17920, 40, 10, 128, 32064, kOwn}},
    {"Phi-4-mini", "3.8B", "phi3", "MIT", 131072, 3836, kGolden, {32, 3072, 8192, 24, 8, 128, 200064, kTied}},
    {"Phi-4", "14B", "phi3", "MIT", 16384, 14660, kGolden, {40, 5120, 17920, 40, 10, 128, 100352, kOwn}},
    {"StableLM 3B", "4E1T", "stablelm", "CC-BY-SA-4.0", 4096, 2795, kGolden, {32, 2560, 6912, 32, 32, 80, 50304, kOwn}},
    {"StableLM 2", "1.6B", "stablelm", kStability, 4096, 1644, kGolden, {24, 2048, 5632, 32, 32, 64, 100352, kOwn}},
    {"StableLM 2", "12B", "stablelm", kStability, 4096, 12143, kGolden, {40, 5120, 13824, 32, 8, 160, 100352, kOwn}},
    {"Nemotron-Mini", "4B", "nemotron", "NVIDIA Community", 4096, 4190, kGolden,
        {32, 3072, 9216, 24, 8, 128, 256000, kOwn, 0, 0, 2}},

    {"Granite 3.3", "2B", "granite", kApache, 131072, 2534, kGolden, {40, 2048, 8192, 32, 8, 64, 49159, kTied}},
    {"Granite 3.3", "8B", "granite", kApache, 131072, 8171, kGolden, {40, 4096, 12800, 32, 8, 128, 49159, kTied}},
    {"Granite 3.1", "1B-A400M", "granitemoe", kApache, 131072, 1335, kGolden, {24, 1024, 512, 16, 8, 64, 49155, kTied, 32}},
    {"Granite 3.1", "3B-A800M", "granitemoe", kApache, 131072, 3299, kGolden, {32, 1536, 512, 24, 8, 64, 49155, kTied, 40}},
    {"Granite 4.0", "350M", "granite", kApache, 32768, 352, kGolden, {28, 1024, 2048, 16, 4, 64, 100352, kTied}},
    {"Granite 4.0", "1B", "granite", kApache, 131072, 1632, kGolden, {40, 2048, 4096, 16, 4, 128, 100352, kTied}},
    {"Granite 4.0", "Micro 3B", "granite", kApache, 131072, 3403, kGolden, {40, 2560, 8192, 40, 8, 64, 100352, kTied}},
    {"Granite 4.0", "H-350M", "granitehybrid", kApache, 32768, 340, kGolden, {}},
    {"Granite 4.0", "H-1B", "granitehybrid", kApache, 131072, 1460, kGolden, {}},
    {"Granite 4.0", "H-Micro 3B", "granitehybrid", kApache, 131072, 3190, kGolden, {}},
    {"Granite 4.0", "H-Tiny 7B-A1B", "granitehybrid", kApache, 131072, 6940, kGolden, {}},

    {"OLMo 2", "1B", "olmo2", kApache, 4096, 1485, kGolden, {16, 2048, 8192, 16, 16, 128, 100352, kOwn}},
    {"OLMo 2", "7B", "olmo2", kApache, 4096, 7299, kGolden, {32, 4096, 11008, 32, 32, 128, 100352, kOwn}},
    {"OLMo 2", "13B", "olmo2", kApache, 4096, 13716, kGolden, {40, 5120, 13824, 40, 40, 128, 100352, kOwn}},
    {"OLMo 3", "7B", "olmo2", kApache, 65536, 7298, kGolden, {32, 4096, 11008, 32, 32, 128, 100278, kOwn}},
    {"OLMoE", "1B-7B", "olmoe", kApache, 4096, 6919, kGolden, {16, 2048, 1024, 16, 16, 128, 50304, kOwn, 64}},
    {"EXAONE 4.0", "1.2B", "exaone4", kExaone, 65536, 1280, kGolden, {30, 2048, 4096, 32, 8, 64, 102400, kTied}},
    {"EXAONE 4.0", "32B", "exaone4", kExaone, 131072, 32003, kGolden, {64, 5120, 27392, 40, 8, 128, 102400, kOwn}},
    {"Hunyuan", "0.5B", "hunyuan-dense", kHunyuan, 262144, 500, kGolden, {}},
    {"Hunyuan", "1.8B", "hunyuan-dense", kHunyuan, 262144, 1800, kGolden, {}},
    {"Hunyuan", "4B", "hunyuan-dense", kHunyuan, 262144, 4000, kGolden, {}},
    {"Hunyuan", "7B", "hunyuan-dense", kHunyuan, 262144, 7505, kGolden, {32, 4096, 14336, 32, 8, 128, 128167, kTied}},
    {"gpt-oss", "20b", "gpt-oss", kApache, 131072, 20915, kGolden, {24, 2880, 2880, 64, 8, 64, 201088, kOwn, 32},
        12'110'000'000, "MXFP4"},
    {"LFM2", "350M", "lfm2", kLfm, 32768, 354, kGolden, {}},
    {"LFM2", "700M", "lfm2", kLfm, 32768, 742, kGolden, {}},
    {"LFM2", "1.2B", "lfm2", kLfm, 32768, 1170, kGolden, {}},
    {"LFM2", "2.6B", "lfm2", kLfm, 32768, 2569, kGolden, {}},
};
// clang-format on

// What is left after embeddings are counted apart; models of hybrid kinds come to this as files.
constexpr double kUsualBitsPerWeight = 4.9;

uint64_t matrix_bytes(uint64_t rows, uint64_t cols, Format format) {
    // A row that whole blocks of 256 do not fill takes the next finer format of 32.
    if (cols % format_info(format).values != 0) format = format == Format::kQ4_K ? Format::kQ5_0 : Format::kQ8_0;
    return rows * (cols / format_info(format).values) * format_info(format).bytes;
}

// llama.cpp's Q4_K_M gives some layers' value and down matrices more bits: the first and last eighth, and every third
// between.
bool more_bits(uint32_t layer, uint32_t layers) {
    const uint32_t eighth = layers / 8;
    return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

uint64_t layer_bytes(const Geometry &g, uint32_t layer) {
    const Format finer = more_bits(layer, g.layers) ? Format::kQ6_K : Format::kQ4_K;
    const uint64_t queries = uint64_t{g.heads} * g.head_dim, keys = uint64_t{g.kv_heads} * g.head_dim;
    uint64_t bytes = 2 * uint64_t{4} * g.width;  // norms
    bytes += matrix_bytes(queries + keys, g.width, Format::kQ4_K) + matrix_bytes(keys, g.width, finer);
    bytes += matrix_bytes(g.width, queries, Format::kQ4_K);
    const auto ffn = [&](uint64_t count, uint64_t ffn_width) {
        return count * ((g.ffn_matrices - 1) * matrix_bytes(ffn_width, g.width, Format::kQ4_K) +
                        matrix_bytes(g.width, ffn_width, finer));
    };
    bytes += ffn(g.experts ? g.experts : 1, g.ffn);
    if (g.shared_ffn) bytes += ffn(1, g.shared_ffn);
    return bytes + uint64_t{4} * g.experts * g.width;  // the router, in F32
}

}  // namespace

std::span<const CatalogModel> catalog() { return kCatalog; }

uint64_t count_parameters(const Geometry &g) {
    const uint64_t queries = uint64_t{g.heads} * g.head_dim, keys = uint64_t{g.kv_heads} * g.head_dim;
    const uint64_t ffn = (g.experts ? uint64_t{g.experts} : 1) * g.ffn + g.shared_ffn;
    const uint64_t layer = g.width * (2 * queries + 2 * keys + g.ffn_matrices * ffn + g.experts);
    return g.layers * layer + uint64_t{g.tied ? 1u : 2u} * g.vocab * g.width;
}

WeightBytes q4_k_m_bytes(const CatalogModel &model) {
    const Geometry &g = model.geometry;
    if (model.file_bytes) return {model.file_bytes, BytesFrom::kFile};
    if (!g.layers) {
        const double bytes = model.parameters_millions * 1e6 * kUsualBitsPerWeight / 8;
        return {static_cast<uint64_t>(bytes), BytesFrom::kParameters};
    }
    uint64_t bytes = matrix_bytes(g.vocab, g.width, Format::kQ6_K) + uint64_t{4} * g.width;
    if (!g.tied) bytes += matrix_bytes(g.vocab, g.width, Format::kQ4_K);
    for (uint32_t i = 0; i < g.layers; ++i) bytes += layer_bytes(g, i);
    return {bytes, BytesFrom::kGeometry};
}

}  // namespace el
