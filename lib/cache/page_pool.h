// The pages of one cache group: which are free, and how many users the others have. A page can be kept for later
// prompts beside; if nothing else uses it, it is idle.
#pragma once
#include <cstdint>

namespace el {

class PagePool {
  public:
    template <typename Memory> PagePool(uint32_t n_pages, Memory &memory)
        : free_(memory.template take<int32_t>(n_pages)), users_(memory.template take<uint32_t>(n_pages)),
          kept_(memory.template take<bool>(n_pages)), n_free_(n_pages) {
        if (free_)
            for (uint32_t i = 0; i < n_pages; ++i) free_[i] = static_cast<int32_t>(n_pages - 1 - i);
    }
    uint32_t n_free() const { return n_free_; }
    uint32_t n_idle() const { return n_idle_; }
    uint32_t users(int32_t page) const { return users_[page]; }
    bool kept(int32_t page) const { return kept_[page]; }
    bool idle(int32_t page) const { return kept_[page] && users_[page] == 1; }

    int32_t take() {  // there must be one
        const int32_t page = free_[--n_free_];
        users_[page] = 1;
        return page;
    }
    void share(int32_t page) {
        n_idle_ -= idle(page);
        ++users_[page];
    }
    void release(int32_t page) {
        if (--users_[page] == 0) free_[n_free_++] = page;
        n_idle_ += users_[page] > 0 && idle(page);
    }

    // One more user, the only one of its kind that a page can have.
    void keep(int32_t page) {
        ++users_[page];
        kept_[page] = true;
    }
    void let_go(int32_t page) {
        n_idle_ -= idle(page);
        kept_[page] = false;
        release(page);
    }

  private:
    int32_t *free_;    // [n_pages] a stack
    uint32_t *users_;  // [n_pages]
    bool *kept_;       // [n_pages]
    uint32_t n_free_, n_idle_ = 0;
};

}  // namespace el
