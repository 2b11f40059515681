// Tensors with random values for the models that tests write: declared first, then written in the same order.
#pragma once
#include "model/gguf_writer.h"
#include "random_blocks.h"

#include <array>

namespace el {

class RandomWeights {
  public:
    // Values are in [-limit, limit).
    explicit RandomWeights(GgufWriter &out, float limit = 0.5f) : out_(out), limit_(limit) {}
    // A vector, which is one row, is all ones.
    void declare(const std::string &name, Format format, uint64_t columns, uint64_t rows) {
        std::array<uint64_t, 2> shape{columns, rows};
        out_.add_tensor(name, format, std::span(shape).first(rows == 1 ? 1 : 2));
        tensors_.push_back({format, columns * rows, rows == 1});
    }
    void write() {
        out_.begin_data();
        for (const Tensor &tensor : tensors_) {
            std::vector<float> values(tensor.n);
            for (float &value : values) value = tensor.is_vector ? 1.0f : next();
            std::vector<std::byte> blocks = encode_or_random(tensor.format, values);
            out_.write(blocks.data(), blocks.size());
        }
        out_.finish();
    }

  private:
    struct Tensor {
        Format format;
        uint64_t n;
        bool is_vector;
    };
    float next() {  // by Knuth's MMIX generator
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return (static_cast<float>(state_ >> 40) * 0x1p-23f - 1.0f) * limit_;
    }
    GgufWriter &out_;
    float limit_;
    std::vector<Tensor> tensors_;
    uint64_t state_ = 1;
};

}  // namespace el
