// The catalog: models that people run on small computers, and what is known of them here.
#pragma once
#include <cstdint>
#include <span>

namespace el {

// How far a model's support is proven.
enum class Proof : uint8_t {
    kRealFile,  // its own file gives what the original implementation gives
    kGolden,    // a tiny model of the same make does
    kExpected,  // the architecture is there; some part of this size has no recorded proof
};

// Enough to count weights. layers 0: not known here, or not of this simple kind.
struct Geometry {
    uint32_t layers = 0, width = 0, ffn = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0;
    bool tied = false;                     // the output matrix is the embedding
    uint32_t experts = 0, shared_ffn = 0;  // experts: `ffn` is the width of one
    uint32_t ffn_matrices = 3;             // of one expert or layer; 2 without a gate
};

struct CatalogModel {
    const char *family, *size;
    const char *architecture;  // its row in the table of architectures
    const char *license;
    uint32_t context_tokens;
    double parameters_millions;  // as published
    Proof proof;
    Geometry geometry;
    uint64_t file_bytes = 0;  // where neither counting nor estimating is good enough: of a published file
    const char *file_format = "Q4_K_M";
};

enum class BytesFrom : uint8_t { kGeometry, kParameters, kFile };
struct WeightBytes {
    uint64_t bytes;
    BytesFrom from;
};

std::span<const CatalogModel> catalog();
uint64_t count_parameters(const Geometry &geometry);  // of the matrices
// Of the weights in Q4_K_M: counted tensor by tensor, or estimated from the number of parameters.
WeightBytes q4_k_m_bytes(const CatalogModel &model);

}  // namespace el
