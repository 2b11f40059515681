// The weights of one model as the CPU backend keeps them: matrices as tiles, vectors as float32.
#pragma once
#include "backend/backend.h"
#include "backend/cpu/tile.h"

namespace el::cpu {

const Kernels &kernels_for(Isa isa);  // the best that is compiled in and not above `isa`

class CpuStore final : public WeightStore {
  public:
    CpuStore(std::span<const WeightTensor> tensors, Isa isa);
    static WeightLayout layout(std::span<const WeightTensor> tensors);

    std::byte *place(size_t tensor, uint64_t row_begin) override;
    void load(size_t tensor, uint64_t row_begin, uint64_t n_rows, const std::byte *rows) override;

    const Matrix &matrix(int32_t tensor) const { return tensors_[size_t(tensor)].matrix; }
    // The values of a reference to (a part of) one row; NULL if there is none.
    const float *vector(const WeightRef &ref) const;
    const Kernels &kernels() const { return kernels_; }

  private:
    struct Tensor {
        Format format = Format::kF32;
        uint64_t cols = 0;
        Matrix matrix;
        float *vector = nullptr;  // [rows, cols]
    };
    template <typename A> static Tensor lay_out(const WeightTensor &tensor, A &arena);

    Arena arena_;
    std::vector<Tensor> tensors_;
    const Kernels &kernels_;
};

}  // namespace el::cpu
