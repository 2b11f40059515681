// Saved sequences: what is in the cache for one, as bytes that another context of the same model takes up again.
//
// Format, version 1; little-endian, nothing is padded:
//     header     Header (state.cpp)
//     groups     [n_groups] Group
//     tokens     [n_rows] int32
//     positions  [n_rows] int32
//     state      recurrent state of all layers, float32; only if there is one
//     rows       of each group: rows from first_row on, then the spare page if there is one; a row is K and V of each
//                layer, all heads, in the cache's formats
//     checksum   XXH64 of everything before it
#pragma once
#include "engine/context.h"

namespace el {

// Where saved bytes go, in order.
class StateSink {
  public:
    virtual Status write(const std::byte *from, size_t n, Report &report) noexcept = 0;

  protected:
    ~StateSink() = default;
};

// Where they come from. They are read twice: once to see whether they are whole.
class StateSource {
  public:
    virtual const char *name() const noexcept = 0;  // for messages
    virtual uint64_t size() const noexcept = 0;
    virtual Status read(uint64_t offset, std::byte *to, size_t n, Report &report) noexcept = 0;

  protected:
    ~StateSource() = default;
};

// One sequence of a context. Allocates nothing.
class SequenceState {
  public:
    SequenceState(Context &context, uint32_t sequence) noexcept : context_(context), sequence_(sequence) {}

    uint64_t bytes() noexcept;  // that save() writes
    // kUnsupported for a sequence that ends with a tree of drafts. Nothing is written then.
    Status check_savable(Report &report) const noexcept;
    Status save(StateSink &sink, Report &report) noexcept;
    // All or nothing: what is refused leaves the sequence as it was. Only when the source fails or changes between its
    // two readings, or there are no free pages, it is empty afterwards.
    Status restore(StateSource &source, Report &report) noexcept;

    // The same with a file, which is replaced whole, or with a buffer. kBufferTooSmall if `cap` is less than bytes().
    Status save_file(const char *path, Report &report) noexcept;
    Status save_buffer(void *buffer, size_t cap, size_t *needed, Report &report) noexcept;
    Status restore_file(const char *path, Report &report) noexcept;
    Status restore_buffer(const void *buffer, size_t n, Report &report) noexcept;

  private:
    struct Header;
    struct Group;
    class Writer;
    class Reader;

    Header header() const noexcept;
    Group group(uint32_t g) const noexcept;
    uint64_t bytes_of(const Header &header) const noexcept;
    Status write_all(Writer &writer, Report &report) noexcept;
    Status check_whole(StateSource &source, Report &report) noexcept;
    Status check_fits(const Header &header, const char *name, Report &report) const noexcept;
    Status read_tables(Reader &reader, Header &header, Report &report) noexcept;
    Status read_content(Reader &reader, const Header &header, Report &report) noexcept;
    template <typename Visit> Status for_rows(uint32_t g, Visit visit) noexcept;
    template <typename Visit> Status for_state(Visit visit) noexcept;

    Cache &cache() const noexcept { return *context_.cache_; }
    uint32_t n_groups() const noexcept { return context_.limits_.step.n_groups; }
    std::span<std::byte> buffer() const noexcept { return context_.state_buffer_; }
    SavedGroup *groups() const noexcept { return context_.saved_groups_; }

    Context &context_;
    const uint32_t sequence_;
};

}  // namespace el
