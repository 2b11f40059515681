#include "base/system_memory.h"
#include "device.h"

namespace el::cuda {

bool is_sticky(cudaError_t error) {
    switch (error) {
    case cudaErrorCudartUnloading:  // the process is ending
    case cudaErrorDeviceUninitialized:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorMpsClientTerminated:
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:  // what drivers say of a GPU that has fallen off the bus
        return true;
    default:
        // Those that toolkits before 12.8 do not name: an uncorrectable error that was contained, and a leak of tensor
        // memory.
        return int(error) == 226 || int(error) == 721;
    }
}

namespace {

double mebibytes(uint64_t bytes) { return double(bytes) / (1 << 20); }

double free_mebibytes() {
    size_t available = 0, total = 0;
    cudaMemGetInfo(&available, &total);
    cudaGetLastError();
    return mebibytes(available);
}

}  // namespace

void fail_call(cudaError_t error, const char *what) {
    cudaGetLastError();  // not to be reported again by what comes later; sticky ones stay
    if (is_sticky(error)) throw Failure(kDeviceLost, "%s: %s; %s", what, cudaGetErrorString(error), kLostAdvice);
    if (error == cudaErrorMemoryAllocation)
        throw Failure(kOutOfMemory, "%s: the GPU's driver finds no memory for it; %.1f MiB are free on the GPU", what,
                      free_mebibytes());
    throw Failure(kInternal, "%s: %s", what, cudaGetErrorString(error));
}

void check_handle(cudaError_t error, const char *name) {
    if (error != cudaErrorInvalidResourceHandle && error != cudaErrorInvalidValue) return check(error, name);
    cudaGetLastError();
    throw Failure(kInvalidArgument, "%s is no stream or event of this GPU: %s", name, cudaGetErrorString(error));
}

int current_device() {
    int device = 0;
    check(cudaGetDevice(&device), "asking for the GPU");
    return device;
}

int device_attribute(cudaDeviceAttr attribute, int device) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, attribute, device), "asking a GPU what it is");
    return value;
}

DeviceMemory::DeviceMemory(size_t bytes, const char *what) {
    if (bytes == 0) return;
    const cudaError_t error = cudaMalloc(&data_, bytes);
    if (error != cudaErrorMemoryAllocation) check(error, what);
    if (error == cudaSuccess) return;
    cudaGetLastError();
    throw Failure(kOutOfMemory, "%s: needs %.1f MiB on the GPU, of which %.1f MiB are free", what, mebibytes(bytes),
                  free_mebibytes());
}

HostMemory::HostMemory(size_t bytes, const char *what) {
    const cudaError_t error = cudaMallocHost(&data_, bytes);
    if (error != cudaErrorMemoryAllocation) check(error, what);
    if (error == cudaSuccess) return;
    cudaGetLastError();
    throw Failure(kOutOfMemory, "%s: needs %.1f MiB of the CPU's memory, pinned, of which %.1f MiB are free", what,
                  mebibytes(bytes), mebibytes(available_memory_bytes()));
}

}  // namespace el::cuda
