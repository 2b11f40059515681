#include "store.h"

namespace el::cuda {
namespace {

// The bytes of a tensor; each begins at a multiple of Pieces' alignment.
size_t bytes_of(const Tensor &t) {
    size_t bytes;
    if (__builtin_mul_overflow(size_t(t.rows), row_bytes(t.format, t.cols), &bytes))
        throw Failure(kOutOfMemory, "tensor %.*s is larger than the address space", int(t.name_bytes), t.name);
    return bytes;
}

}  // namespace

bool is_sticky(cudaError_t error) {
    switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorECCUncorrectable:
    case cudaErrorDeviceUninitialized:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
        return true;
    default:
        return false;
    }
}

DeviceMemory::DeviceMemory(size_t bytes, const char *what) {
    if (bytes == 0) return;
    const cudaError_t error = cudaMalloc(&data_, bytes);
    if (error != cudaErrorMemoryAllocation) {
        check(error, what);
        return;
    }
    cudaGetLastError();
    size_t available = 0, total = 0;
    cudaMemGetInfo(&available, &total);
    throw Failure(kOutOfMemory, "%s: needs %.1f MiB on the GPU, of which %.1f MiB are free", what,
                  double(bytes) / (1 << 20), double(available) / (1 << 20));
}

void Store::bytes(const Tensor *tensors, size_t n, uint64_t *bytes) {
    for (size_t i = 0; i < n; ++i) {
        Pieces counted;
        if (tensors[i].uses) counted.take<uint8_t>(bytes_of(tensors[i]));
        bytes[i] = counted.used();
    }
}

Store::Store(int32_t device_, const Tensor *tensors, size_t n) : device(device_), matrices(n) {
    check(cudaSetDevice(device), "choosing the GPU");
    std::vector<uint64_t> each(n);
    bytes(tensors, n, each.data());
    size_t all = 0;
    for (uint64_t b : each)
        if (__builtin_add_overflow(all, size_t(b), &all))
            throw Failure(kOutOfMemory, "the model's weights are larger than the address space");
    memory = DeviceMemory(all, "the model's weights");
    Pieces pieces(memory.data());
    for (size_t i = 0; i < n; ++i) {
        const Tensor &t = tensors[i];
        if (!t.uses) continue;
        matrices[i] = {pieces.take<uint8_t>(bytes_of(t)), t.format, uint32_t(t.cols), row_bytes(t.format, t.cols)};
    }
}

void Store::load(size_t tensor, uint64_t row, uint64_t n_rows, const void *rows) {
    const Matrix &m = matrices[tensor];
    check(cudaSetDevice(device), "choosing the GPU");
    check(cudaMemcpy(const_cast<uint8_t *>(m.data) + row * m.row_bytes, rows, n_rows * m.row_bytes,
                     cudaMemcpyHostToDevice),
          "copying weights to the GPU");
}

}  // namespace el::cuda
