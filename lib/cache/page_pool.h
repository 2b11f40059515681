// The pages of one cache group: which are free, and how many users the others have.
#pragma once
#include <cstdint>

namespace el {

class PagePool {
  public:
    template <typename Memory> PagePool(uint32_t n_pages, Memory &memory)
        : free_(memory.template take<int32_t>(n_pages)), users_(memory.template take<uint32_t>(n_pages)),
          n_free_(n_pages) {
        if (free_)
            for (uint32_t i = 0; i < n_pages; ++i) free_[i] = static_cast<int32_t>(n_pages - 1 - i);
    }
    uint32_t n_free() const { return n_free_; }
    uint32_t users(int32_t page) const { return users_[page]; }

    int32_t take() {  // there must be one
        const int32_t page = free_[--n_free_];
        users_[page] = 1;
        return page;
    }
    void share(int32_t page) { ++users_[page]; }
    void release(int32_t page) {
        if (--users_[page] == 0) free_[n_free_++] = page;
    }

  private:
    int32_t *free_;    // [n_pages] a stack
    uint32_t *users_;  // [n_pages]
    uint32_t n_free_;
};

}  // namespace el
