#include "backend/cpu/store.h"

#include <cstring>

namespace el::cpu {

const Kernels &kernels_for(Isa isa) {
    const Kernels *found = nullptr;
    if (isa == Isa::kAvx512) found = kernels_avx512();
    if (isa == Isa::kAvx2) found = kernels_avx2();
    if (isa == Isa::kNeon) found = kernels_neon();
    return found ? *found : *kernels_scalar();
}

template <typename A> CpuStore::Tensor CpuStore::lay_out(const WeightTensor &t, A &arena) {
    Tensor mine;
    mine.format = t.format;
    mine.cols = t.cols;
    if (t.uses & (kUseLookup | kUseMatrix)) {
        mine.matrix = Matrix(t.format, t.rows, t.cols);
        size_t bytes;
        if (__builtin_mul_overflow(mine.matrix.panels(), mine.matrix.panel_bytes, &bytes))
            fail(Status::kOutOfMemory, "tensor {} is larger than the address space", t.name);
        mine.matrix.data = arena.template take<std::byte>(bytes);
    }
    if (t.uses & kUseVector) {
        size_t values;
        if (__builtin_mul_overflow(t.rows, t.cols, &values))
            fail(Status::kOutOfMemory, "tensor {} is larger than the address space", t.name);
        mine.vector = arena.template take<float>(values);
    }
    return mine;
}

WeightLayout CpuStore::layout(std::span<const WeightTensor> tensors) {
    WeightLayout layout;
    layout.row_granularity = kPanelRows;
    layout.tensor_bytes.reserve(tensors.size());
    size_t sum = 0;
    for (const WeightTensor &t : tensors) {
        ArenaSizer sizer;
        lay_out(t, sizer);
        layout.tensor_bytes.push_back(sizer.bytes());
        sum = arena_advance(sum, 1, sizer.bytes());  // throws where the address space ends
    }
    return layout;
}

CpuStore::CpuStore(std::span<const WeightTensor> tensors, Isa isa)
    : arena_(layout(tensors).bytes(), Arena::Fill::kNone), kernels_(kernels_for(isa)) {
    tensors_.reserve(tensors.size());
    for (const WeightTensor &t : tensors) tensors_.push_back(lay_out(t, arena_));
}

std::byte *CpuStore::place(size_t tensor, uint64_t row_begin) {
    const Tensor &t = tensors_[tensor];
    if (t.matrix.data || !t.vector || t.format != Format::kF32) return nullptr;
    return reinterpret_cast<std::byte *>(t.vector + row_begin * t.cols);
}

void CpuStore::load(size_t tensor, uint64_t row_begin, uint64_t n_rows, const std::byte *rows) {
    const Tensor &t = tensors_[tensor];
    if (t.matrix.data) t.matrix.pack(row_begin, n_rows, rows);
    if (t.vector) format_info(t.format).decode(rows, n_rows * t.cols, t.vector + row_begin * t.cols);
}

const float *CpuStore::vector(const WeightRef &ref) const {
    if (!ref.exists()) return nullptr;
    const Tensor &t = tensors_[size_t(ref.tensor)];
    return t.vector + ref.row_begin * t.cols + ref.col_begin;
}

}  // namespace el::cpu
