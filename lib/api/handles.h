// What the opaque handles are. Each keeps alive what it uses, so that handles may be freed in any order.
#pragma once
#include "engine/context.h"
#include "engine/model.h"
#include "sample/sampler.h"
#include "text/text_stream.h"

#include <atomic>
#include <memory>

struct edgellm_model {
    std::shared_ptr<const el::Model> model;
};

struct edgellm_text_stream {
    std::shared_ptr<const el::Model> model;
    el::TextStream stream;
};

struct edgellm_sampler {
    el::Sampler sampler;
};

struct edgellm_context {
    el::Context context;
    mutable std::atomic<bool> busy{false};

    edgellm_context(std::shared_ptr<const el::Model> model, const el::ContextOptions &options)
        : context(std::move(model), options) {}
};

namespace el {

// Holds a context while a call uses it.
class Use {
  public:
    explicit Use(const edgellm_context &context) noexcept
        : busy_(context.busy), mine_(!busy_.exchange(true, std::memory_order_acquire)) {}
    ~Use() {
        if (mine_) busy_.store(false, std::memory_order_release);
    }
    Use(const Use &) = delete;
    Use &operator=(const Use &) = delete;
    void check() const {
        if (!mine_) fail(Status::kBusy, "another call is using the context; one thread at a time, none in a callback");
    }

  private:
    std::atomic<bool> &busy_;
    const bool mine_;
};

}  // namespace el
