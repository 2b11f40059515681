// What the opaque handles are. Each keeps alive what it uses, so that handles may be freed in any order.
#pragma once
#include "base/status.h"
#include "engine/context.h"
#include "engine/model.h"
#include "sample/sampler.h"
#include "text/text_stream.h"

#include <atomic>
#include <edgellm/edgellm.h>
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

// Holds a context while a call uses it; throws if another one does.
class Use {
  public:
    explicit Use(const edgellm_context &context) : busy_(context.busy) {
        if (busy_.exchange(true, std::memory_order_acquire))
            fail(Status::kBusy, "another call is using the context; one thread at a time, none in a callback");
    }
    ~Use() { busy_.store(false, std::memory_order_release); }
    Use(const Use &) = delete;
    Use &operator=(const Use &) = delete;

  private:
    std::atomic<bool> &busy_;
};

void check_read(const Context &context);  // throws if a GPU was lost before something of the last step could be read

inline uint32_t check_sequence(const edgellm_context &context, edgellm_sequence sequence,
                               const char *name = "sequence") {
    const uint32_t n = context.context.options().max_sequences;
    if (sequence < 0 || static_cast<uint32_t>(sequence) >= n)
        fail(Status::kInvalidArgument, "{} is {}; the context has {}, from 0", name, sequence, n);
    return static_cast<uint32_t>(sequence);
}

}  // namespace el
