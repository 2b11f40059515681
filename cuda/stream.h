// A stream that neither waits for the default one nor holds it up.
#pragma once
#include "device.h"

#include <algorithm>

namespace el::cuda {

class Stream {
  public:
    explicit Stream(int priority = 0) {
        int least = 0, greatest = 0;
        check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for the priorities of streams");
        check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, std::clamp(priority, greatest, least)),
              "making a stream");
    }
    Stream(const Stream &) = delete;
    ~Stream() { cudaStreamDestroy(stream_); }
    operator cudaStream_t() const { return stream_; }

  private:
    cudaStream_t stream_ = nullptr;
};

}  // namespace el::cuda
