// Memory that other kernels of a step write.
#pragma once
#include "emulation/cuda_runtime.h"

#include <vector>

namespace emulation {

// While this lives, what was added is no number until a kernel waits for those before it.
class Late {
  public:
    Late() {
        predecessors.hide = [this] {
            for (Piece &piece : pieces_) {
                std::memcpy(piece.bytes.data(), piece.at, piece.bytes.size());
                std::memset(piece.at, 0xff, piece.bytes.size());
            }
        };
        predecessors.show = [this] {
            for (Piece &piece : pieces_) std::memcpy(piece.at, piece.bytes.data(), piece.bytes.size());
        };
    }
    Late(const Late &) = delete;
    ~Late() { predecessors = {}; }
    void add(void *at, size_t n) { pieces_.push_back({static_cast<uint8_t *>(at), std::vector<uint8_t>(n)}); }
    template <typename T> void add(std::vector<T> &all) { add(all.data(), all.size() * sizeof(T)); }

  private:
    struct Piece {
        uint8_t *at;
        std::vector<uint8_t> bytes;
    };
    std::vector<Piece> pieces_;
};

}  // namespace emulation
